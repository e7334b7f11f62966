/* convoy diff MODEL --device A --device B: one training step on both, layer by layer. */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"
#include "train/diff.h"

typedef struct options {
    cli_common common;
    const char *data, *weights;
    int batch_size;
    long long seed;
    double tolerance;
} options;

static const cvy_param params[] = {
    {"device", CVY_TEXT, offsetof(cli_common, device), "", 0, 0, NULL,
     "given twice: the device to compare with, and the one in question"},
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL, CLI_DATA_TEXT},
    {"weights", CVY_TEXT, offsetof(options, weights), "", 0, 0, NULL,
     "to begin with (safetensors or .pth); default: new ones from the seed"},
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images of the step; default: the recipe's, but at most 16"},
    {"seed", CVY_SIZE, offsetof(options, seed), "0", 0, 9e18, NULL, "of initial weights, order and dropout"},
    {"tolerance", CVY_FLOAT, offsetof(options, tolerance), "1e-4", 0, 1, NULL,
     "how far values may part, relative to the layer's largest"},
    CLI_ROW_PRECISION,
    CLI_ROW_SET,
    CLI_ROW_VARIANT,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

static json_t *row_json(const cvy_diff_row *row) {
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:b}", "pass", row->pass, "layer",
                     cli_string(row->layer), "type", row->type, "value", row->what, "variants",
                     json_pack("[o, o]", cli_string(row->variants[0]), cli_string(row->variants[1])),
                     "difference", cli_number(row->difference), "parted", row->parted);
}

static json_t *result_json(const convoy_model *model, convoy_device *const devices[2], double tolerance,
                           const cvy_diff *diff) {
    json_t *rows = json_array();
    for (size_t i = 0; i < diff->count; i++)
        json_array_append_new(rows, row_json(&diff->rows[i]));
    return json_pack("{s:o, s:o, s:f, s:o, s:o}", "model", cli_string(convoy_model_name(model)), "devices",
                     json_pack("[o, o]", cli_string(convoy_device_get_info(devices[0])->name),
                               cli_string(convoy_device_get_info(devices[1])->name)),
                     "tolerance", tolerance, "first",
                     diff->first < diff->count ? row_json(&diff->rows[diff->first]) : json_null(), "rows",
                     rows);
}

static void print_diff(const cli_call *call, convoy_device *const devices[2], const cvy_diff *diff) {
    printf("%-10s %-16s %-14s %-22s %-26s %-40s %10s\n", "pass", "layer", "type", "value",
           "variant on the first", "on the second", "difference");
    for (size_t i = 0; i < diff->count; i++) {
        const cvy_diff_row *row = &diff->rows[i];
        printf("%-10s %-16s %-14s %-22s %-26s %-40s %10.2g%s\n", row->pass,
               cli_visible(call->arena, row->layer), row->type, row->what, row->variants[0], row->variants[1],
               row->difference, row->parted ? "  PARTED" : "");
    }
    const char *names[2] = {convoy_device_get_info(devices[0])->name,
                            convoy_device_get_info(devices[1])->name};
    if (diff->first == diff->count) {
        printf("%s and %s agree\n", names[0], names[1]);
        return;
    }
    const cvy_diff_row *first = &diff->rows[diff->first];
    printf("%s and %s part first in %s%s, pass %s: the %s differs by %.2g of its largest value\n", names[0],
           names[1], *first->layer ? "layer " : "what is beside the layers",
           cli_visible(call->arena, first->layer), first->pass, first->what, first->difference);
}

static convoy_status begin_weights(const options *o, convoy_model *model) {
    return o->weights ? convoy_model_load_weights(model, o->weights)
                      : convoy_model_initialise(model, (uint64_t)o->seed);
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *devices[2] = {NULL, NULL};
    convoy_dataset *set = NULL;
    cvy_diff diff = {0};
    if (call->device_count != 2)
        return cvy_fail(
            CONVOY_INVALID,
            "convoy diff: --device is given %zu times; it takes two, as --device host --device gpu",
            call->device_count);
    const cli_data_request request = {.data = o->data, .limit_train = 4096, .train = true};
    convoy_status status = o->weights ? cli_check_file(call, "weights file", o->weights) : CONVOY_OK;
    if (!status)
        status = cli_load(call, &request, &model, &set, NULL);
    if (!status)
        status = begin_weights(o, model);
    for (int i = 0; i < 2 && !status; i++)
        status = cli_open_selected(call, call->devices[i], &devices[i]);
    if (status)
        goto done;
    const int recipe = cvy_model_recipe(model)->batch_size, few = recipe < 16 ? recipe : 16;
    const cvy_diff_options options = {.batch_size = o->batch_size ? o->batch_size : few,
                                      .seed = (uint64_t)o->seed,
                                      .tolerance = o->tolerance,
                                      .variant = call->variants};
    status = cvy_diff_run(model, devices, set, &options, &diff);
    if (status)
        goto done;
    if (o->common.json)
        call->result = result_json(model, devices, o->tolerance, &diff);
    else
        print_diff(call, devices, &diff);
    if (diff.first < diff.count)
        status = cvy_fail(CONVOY_FAILED,
                          "the devices part by more than %g; the first value that differs is "
                          "in row %zu of %zu",
                          o->tolerance, diff.first + 1, diff.count);
done:
    cvy_diff_free(&diff);
    convoy_dataset_free(set);
    convoy_model_free(model);
    for (int i = 0; i < 2; i++)
        convoy_device_close(devices[i]);
    return status;
}

const cli_command cli_diff = {"diff",
                              "MODEL",
                              "Run one training step on two devices, and name the layer in which they part.",
                              1,
                              1,
                              params,
                              sizeof(options),
                              false,
                              run};
