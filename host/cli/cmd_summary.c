/* convoy summary MODEL: its layers, parameters, operations and memory. Needs no device and no data. */
#include "base/status.h"
#include "cli/cli.h"
#include "graph/model.h"
#include "graph/network.h"

typedef struct options {
    cli_common common;
    int batch_size, classes;
} options;

static const cvy_param params[] = {
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "for the memory; default: the recipe's"},
    {"classes", CVY_INT, offsetof(options, classes), "", 1, 1 << 20, NULL,
     "outputs of a model that leaves them to the data"},
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

typedef struct totals {
    unsigned long long parameters, multiply_adds;
} totals;

static json_t *layer_json(const convoy_layer_info *layer) {
    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I}", "name", layer->name, "type", layer->type, "output",
                     cli_numbers(layer->output, 3), "parameters", (json_int_t)layer->parameters,
                     "multiply_adds", (json_int_t)layer->multiply_adds, "connections",
                     (json_int_t)layer->connections);
}

static json_t *summary_json(const convoy_model *model, totals totals, size_t memory) {
    json_t *layers = json_array();
    int input[3];
    convoy_model_input(model, input);
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        convoy_layer_info layer = convoy_model_layer(model, i);
        json_array_append_new(layers, layer_json(&layer));
    }
    return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I}", "model", convoy_model_name(model), "input",
                     cli_numbers(input, 3), "layers", layers, "parameters", (json_int_t)totals.parameters,
                     "multiply_adds", (json_int_t)totals.multiply_adds, "memory_bytes", (json_int_t)memory);
}

static void print_row(const convoy_layer_info *layer) {
    char output[64], parameters[32], multiply_adds[32], connections[32];
    snprintf(output, sizeof output, "%d x %d x %d", layer->output[0], layer->output[1], layer->output[2]);
    printf("%-18s %-18s %-18s %14s %16s %16s\n", layer->name, layer->type, output,
           cli_thousands(layer->parameters, parameters), cli_thousands(layer->multiply_adds, multiply_adds),
           cli_thousands(layer->connections, connections));
}

static void print_summary(const convoy_model *model, totals totals, size_t memory, int batch_size) {
    char parameters[32], multiply_adds[32], bytes[32];
    int input[3];
    convoy_model_input(model, input);
    printf("%s: input %d x %d x %d\n", convoy_model_name(model), input[0], input[1], input[2]);
    printf("%-18s %-18s %-18s %14s %16s %16s\n", "layer", "type", "output", "parameters", "multiply-adds",
           "connections");
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        convoy_layer_info layer = convoy_model_layer(model, i);
        print_row(&layer);
    }
    printf("%s parameters; %s multiply-adds for an image; %s to train with batches of %d\n",
           cli_thousands(totals.parameters, parameters), cli_thousands(totals.multiply_adds, multiply_adds),
           cli_bytes((double)memory, bytes), batch_size);
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    totals totals = {0, 0};
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
    int batch_size = o->batch_size ? o->batch_size : cvy_model_recipe(model)->batch_size;
    size_t memory = cvy_model_memory(model, batch_size, true);
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        totals.parameters += convoy_model_layer(model, i).parameters;
        totals.multiply_adds += convoy_model_layer(model, i).multiply_adds;
    }
    if (o->common.json)
        call->result = summary_json(model, totals, memory);
    else
        print_summary(model, totals, memory, batch_size);
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
