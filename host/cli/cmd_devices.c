/* convoy devices: what there is to compute on, and which one `auto` takes and why. */
#include <stdlib.h>

#include "base/status.h"
#include "cli/cli.h"
#include "device/drivers.h"
#include "ops/known_bad.h"

static const cvy_param params[] = {CLI_ROW_JSON, CLI_ROW_HELP, CVY_PARAM_END};

/* Variants that the table of known devices has found wrong there, and that are avoided. */
static json_t *avoided_json(const convoy_device_info *d) {
    const cvy_known_bad *bad;
    const size_t count = cvy_known_bad_of(d, &bad);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "op", bad[i].op, "variant", bad[i].variant,
                                              "reason", bad[i].reason));
    return list;
}

static json_t *device_json(const convoy_device_info *d) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s, s:i, s:b, s:s, s:o}", "id", d->id,
                     "name", d->name, "platform", d->platform, "vendor", d->vendor, "type", d->type,
                     "compute_units", d->compute_units, "memory", (json_int_t)d->memory, "max_allocation",
                     (json_int_t)d->max_allocation, "driver", d->driver, "opencl_version", d->opencl_version,
                     "score", d->score, "chosen", d->chosen, "reason", d->reason, "avoided", avoided_json(d));
}

static void print_device(const convoy_device_info *d) {
    char memory[32], allocation[32];
    printf("%s %-5s %-11s %s\n", d->chosen ? "*" : " ", d->id, d->type, d->name);
    printf("      platform %s; vendor %s; driver %s%s%s\n", d->platform, d->vendor, d->driver,
           *d->opencl_version ? "; " : "", d->opencl_version);
    printf("      %d compute units; memory %s, at most %s in one buffer; score %d%s%s\n", d->compute_units,
           cli_bytes((double)d->memory, memory), cli_bytes((double)d->max_allocation, allocation), d->score,
           *d->reason ? "; " : "", d->reason);
    const cvy_known_bad *bad;
    const size_t count = cvy_known_bad_of(d, &bad);
    for (size_t i = 0; i < count; i++)
        printf("      warning: %s's variant %s is avoided: %s\n", bad[i].op, bad[i].variant, bad[i].reason);
}

/* Anew, and each device that `auto` might take is opened: here is where people look when something is wrong.
 */
static convoy_status list_devices(const convoy_device_info *const **list, size_t *count) {
    cvy_drivers_forget();
    convoy_status status = convoy_device_list(list, count);
    bool failed = false;
    for (size_t i = 0; !status && i < *count; i++)
        if ((*list)[i]->score > 0)
            failed |= cvy_driver_try_device((*list)[i]) != CONVOY_OK;
    if (!failed)
        return status;
    convoy_device_list_free(*list); /* another one is chosen */
    return convoy_device_list(list, count);
}

static json_t *aside_json(void) {
    const cvy_driver *aside;
    const size_t count = cvy_drivers_aside(&aside);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:o, s:o}", "driver", cli_string(aside[i].file), "reason",
                                              cli_string(aside[i].reason)));
    return list;
}

static void print_aside(cvy_arena *arena) {
    const cvy_driver *aside;
    const size_t count = cvy_drivers_aside(&aside);
    for (size_t i = 0; i < count; i++)
        printf("- driver %s is not used: %s\n", cli_visible(arena, aside[i].file),
               cli_visible(arena, aside[i].reason));
}

static convoy_status run(cli_call *call) {
    const convoy_device_info *const *list = NULL;
    size_t count = 0;
    convoy_status status = list_devices(&list, &count);
    if (status)
        return status;
    if (cli_common_of(call)->json) {
        json_t *devices = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(devices, device_json(list[i]));
        const bool complete = json_array_size(devices) == count;
        call->result = json_pack("{s:o, s:o}", "devices", devices, "drivers_set_aside", aside_json());
        if (!call->result || !complete)
            status = cvy_fail(CONVOY_DEVICE, "a device describes itself in bytes that are no UTF-8");
    } else {
        for (size_t i = 0; i < count; i++)
            print_device(list[i]);
        print_aside(call->arena);
        printf("* is what `auto` takes; --device takes an id, a type or part of a name.\n");
    }
    convoy_device_list_free(list);
    return status;
}

const cli_command cli_devices = {"devices",
                                 "",
                                 "List compute devices, and which one `auto` takes and why.",
                                 0,
                                 0,
                                 params,
                                 sizeof(cli_common),
                                 false,
                                 run};
