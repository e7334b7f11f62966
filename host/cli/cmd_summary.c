/* convoy summary MODEL: its layers, parameters, operations and memory. Needs no device and no data. */
#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"

typedef struct options {
    cli_common common;
    int batch_size, micro_batch, classes;
} options;

static const cvy_param params[] = {
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "for the memory; default: the recipe's"},
    {"micro-batch", CVY_INT, offsetof(options, micro_batch), "", 1, 1 << 20, NULL,
     "for the memory: a batch is computed in pieces of so many images; default: the recipe's"},
    {"classes", CVY_INT, offsetof(options, classes), "", 1, 1 << 20, NULL,
     "outputs of a model that leaves them to the data"},
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* What memory is planned for: sizes of scratch depend a little on the device. */
enum { CORES = 8 };
static const cvy_device_traits usual_cpu = {.cpu = true,
                                            .vector_width = 16,
                                            .pitch_multiple = 16,
                                            .compute_units = CORES,
                                            .max_work_group = 4096,
                                            .local_memory = 1 << 20,
                                            .cache = 32 << 20,
                                            .max_allocation = SIZE_MAX / 2,
                                            .memory = SIZE_MAX / 2,
                                            .view_alignment = 128};

typedef struct totals {
    unsigned long long parameters, multiply_adds;
    int batch_size, micro_batch; /* equal unless the batch is computed in pieces */
    cli_memory memory;
} totals;

static json_t *layer_json(const convoy_layer_info *layer) {
    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I}", "name", layer->name, "type", layer->type, "output",
                     cli_numbers(layer->output, 3), "parameters", (json_int_t)layer->parameters,
                     "multiply_adds", (json_int_t)layer->multiply_adds, "connections",
                     (json_int_t)layer->connections);
}

static json_t *summary_json(const convoy_model *model, const totals *totals) {
    json_t *layers = json_array();
    int input[3];
    convoy_model_input(model, input);
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        const convoy_layer_info layer = *convoy_model_layer(model, i);
        json_array_append_new(layers, layer_json(&layer));
    }
    return json_pack("{s:s, s:o, s:o, s:I, s:I, s:i, s:i, s:I, s:o}", "model", convoy_model_name(model),
                     "input", cli_numbers(input, 3), "layers", layers, "parameters",
                     (json_int_t)totals->parameters, "multiply_adds", (json_int_t)totals->multiply_adds,
                     "batch_size", totals->batch_size, "micro_batch", totals->micro_batch, "memory_bytes",
                     (json_int_t)cvy_memory_total(&totals->memory.training), "memory",
                     cli_memory_json(&totals->memory));
}

static void print_row(const convoy_layer_info *layer) {
    char output[64], parameters[32], multiply_adds[32], connections[32];
    snprintf(output, sizeof output, "%d x %d x %d", layer->output[0], layer->output[1], layer->output[2]);
    printf("%-18s %-18s %-18s %14s %16s %16s\n", layer->name, layer->type, output,
           cli_thousands(layer->parameters, parameters), cli_thousands(layer->multiply_adds, multiply_adds),
           cli_thousands(layer->connections, connections));
}

static void print_summary(const convoy_model *model, const totals *totals) {
    char parameters[32], multiply_adds[32];
    int input[3];
    convoy_model_input(model, input);
    printf("%s: input %d x %d x %d\n", convoy_model_name(model), input[0], input[1], input[2]);
    printf("%-18s %-18s %-18s %14s %16s %16s\n", "layer", "type", "output", "parameters", "multiply-adds",
           "connections");
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        const convoy_layer_info layer = *convoy_model_layer(model, i);
        print_row(&layer);
    }
    printf("%s parameters; %s multiply-adds for an image; in batches of %d",
           cli_thousands(totals->parameters, parameters), cli_thousands(totals->multiply_adds, multiply_adds),
           totals->batch_size);
    if (totals->micro_batch < totals->batch_size)
        printf(", in pieces of %d", totals->micro_batch);
    printf(", on a CPU of %d cores (convoy bench: on your device):\n", CORES);
    cli_print_memory(&totals->memory);
}

static totals sum(const convoy_model *model, const options *o) {
    const cvy_recipe *recipe = cvy_model_recipe(model);
    totals t = {.batch_size = o->batch_size ? o->batch_size : recipe->batch_size,
                .micro_batch = o->micro_batch ? o->micro_batch : recipe->micro_batch};
    if (t.micro_batch == 0 || t.micro_batch > t.batch_size)
        t.micro_batch = t.batch_size;
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        t.parameters += convoy_model_layer(model, i)->parameters;
        t.multiply_adds += convoy_model_layer(model, i)->multiply_adds;
    }
    t.memory.training = cvy_model_memory(model, &usual_cpu, t.micro_batch, true);
    t.memory.evaluation = cvy_model_memory(model, &usual_cpu, t.micro_batch, false);
    return t;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_status status = cli_load_model(call, o->classes, &model);
    if (status)
        return status;
    if (o->classes && convoy_model_classes(model) != o->classes) {
        status = cvy_fail(CONVOY_INVALID,
                          "convoy summary: model %s fixes its %d outputs: --classes %d has no effect",
                          convoy_model_name(model), convoy_model_classes(model), o->classes);
        convoy_model_free(model);
        return status;
    }
    totals totals = sum(model, o);
    if (o->common.json)
        call->result = summary_json(model, &totals);
    else
        print_summary(model, &totals);
    convoy_model_free(model);
    return CONVOY_OK;
}

const cli_command cli_summary = {"summary",
                                 "MODEL",
                                 "Show a model's layers, parameters, operations and memory.",
                                 1,
                                 1,
                                 params,
                                 sizeof(options),
                                 false,
                                 run};
