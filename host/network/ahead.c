/* Building ahead: a driver that compiles each kernel when it is first launched, under one lock a process,
   makes a newcomer wait on one core. Where it is seen to compile, a child process opens the same network from
   its other end and rehearses a step (train/ahead.c); the driver keeps what it built where this process finds
   it, and the two meet in the middle. A child that fails has only not helped: nothing that it computes is
   used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "device/drivers.h"
#include "network/inside.h"

static const double compiles = 0.15; /* seconds of one kernel that no cache had */

static bool is_worth_a_process(const convoy_network *network) {
    const char *wish = getenv("CONVOY_BUILD_AHEAD");
    const cvy_device_traits *traits = network->traits;
    const cvy_memory memory = cvy_network_memory(network);
    return (!wish || strcmp(wish, "0") != 0) && traits->cpu && traits->quirks & CVY_QUIRK_OWN_CACHE &&
           cvy_machine_cores() > 1 && cvy_memory_total(&memory) < cvy_machine_memory() / 8;
}

/* The model's file in pieces of its lines, behind each of which stands whether its line goes on; and an empty
   message. */
static bool say_model(cvy_child *child, const convoy_model *model) {
    enum { PIECE = CVY_LINE_SIZE / 2 };
    char *text = cvy_model_print(model), *rest = text, *line;
    bool said = text;
    while (said && (line = strsep(&rest, "\n")))
        for (; said && *line; line += strnlen(line, PIECE))
            said = cvy_child_say(child, "%.*s%c", PIECE, line, strlen(line) > PIECE ? '+' : '.');
    free(text);
    return said && cvy_child_say(child, "%s", "");
}

static bool ask(const convoy_network *network, cvy_child *child) {
    char batch[16], training[2] = {network->options.training ? '1' : '0'};
    snprintf(batch, sizeof batch, "%d", network->options.batch_size);
    const convoy_device_info *info = convoy_device_get_info(network->device);
    const char *variant = network->options.variant;
    const char *const arguments[] = {info->id, info->name, batch, training, variant ? variant : "", NULL};
    const bool hears = child->id > 0 ? cvy_child_go_on(child, "build-network", arguments)
                                     : cvy_child_start(child, "build-network", arguments, NULL) == CONVOY_OK;
    return hears && say_model(child, network->model);
}

void cvy_network_build_ahead(convoy_network *network) {
    cvy_child *child = &network->ahead;
    if (network->ahead_asked || network->options.last_first || network->options.parameters_of)
        return;
    *child = cvy_driver_take_child(); /* there is one where the driver was met for the first time */
    if (child->id <= 0 && cvy_device_building(network->device)->slowest <= compiles)
        return;
    network->ahead_asked = true;
    if (!is_worth_a_process(network) || !ask(network, child)) {
        cvy_debug("kernels are built by one process alone");
        cvy_child_end(child);
    }
}
