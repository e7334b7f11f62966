/* convoy explain MODEL --weights F IMAGE: where the network looks for a class, and what a layer makes of an
   image. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/cli.h"
#include "data/files.h"
#include "model/model.h"
#include "report/explain.h"

typedef struct options {
    cli_common common;
    const char *weights, *class, *layer, *out;
} options;

static const cvy_param params[] = {
    {"weights", CVY_TEXT, offsetof(options, weights), "", 0, 0, NULL,
     "safetensors file, as a run's best.safetensors"},
    {"class", CVY_TEXT, offsetof(options, class), "", 0, 0, NULL,
     "by name or number: what the network is to have looked for; default: its answer"},
    {"layer", CVY_TEXT, offsetof(options, layer), "", 0, 0, NULL,
     "whose maps are shown, by its name in `convoy summary`; default: the last that gives maps"},
    {"out", CVY_TEXT, offsetof(options, out), "explain.png", 0, 0, NULL, "the picture, a PNG"},
    CLI_ROW_DEVICE,
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* The model as its weights know it, every layer by itself. */
static convoy_status load_model(cli_call *call, const char *weights, convoy_model **model) {
    cvy_tensor_file *file = NULL;
    cvy_classes classes = {0};
    convoy_status status = cvy_tensor_file_load(weights, &file);
    if (!status)
        status = cvy_classes_read(call->arena, file, weights, &classes);
    if (!status)
        status = cli_load_layers(call, classes.count, model);
    if (!status)
        status = cvy_model_take_weights(*model, file, weights, CVY_WEIGHTS_ALL);
    cvy_tensor_file_free(file);
    return status;
}

static const char **class_names(cvy_arena *arena, const convoy_model *model) {
    const int classes = convoy_model_classes(model);
    const char **names = cvy_arena_alloc(arena, (size_t)classes * sizeof *names);
    for (int c = 0; c < classes; c++)
        names[c] = cvy_arena_strdup(arena, convoy_model_class_name(model, c));
    return names;
}

/* -1: the network's answer. */
static convoy_status find_class(const char *wanted, const char *const *names, int classes, int *found) {
    long long number;
    *found = -1;
    if (!wanted)
        return CONVOY_OK;
    for (int c = 0; c < classes && *found < 0; c++)
        if (strcmp(names[c], wanted) == 0)
            *found = c;
    if (*found < 0 && cvy_text_to_long(wanted, &number) && number >= 0 && number < classes)
        *found = (int)number;
    if (*found >= 0)
        return CONVOY_OK;
    const char *nearest = cvy_text_nearest(wanted, names, (size_t)classes);
    return cvy_fail(CONVOY_INVALID,
                    "convoy explain: there is no class `%s` among the %d of these weights%s%s%s", wanted,
                    classes, nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "");
}

typedef struct failure {
    convoy_status status;
} failure;

static void refuse(void *context, const char *path, convoy_status status, const char *message) {
    (void)path;
    ((failure *)context)->status = cvy_fail(status, "%s", message);
}

static convoy_status open_image(const cli_call *call, const convoy_model *model, cvy_files **files,
                                cvy_chunk *chunk) {
    failure refused = {CONVOY_OK};
    cvy_files_options options = cli_files_options(model);
    options.refuse = refuse;
    options.context = &refused;
    convoy_status status = cvy_files_open(call->operands + 1, 1, &options, files);
    if (!status)
        status = cvy_files_next(*files, chunk);
    if (!status && !chunk->set)
        status = refused.status
                     ? refused.status
                     : cvy_fail(CONVOY_INVALID, "convoy explain: %s holds no image", call->operands[1]);
    return status;
}

static json_t *result_json(const cli_call *call, const convoy_model *model, const cvy_gradcam *g,
                           const char *const *names) {
    const options *o = call->options;
    const convoy_layer_info *layer = convoy_model_layer(model, g->layer);
    json_t *rows = json_array();
    for (int y = 0; y < g->height; y++) {
        json_t *row = json_array();
        for (int x = 0; x < g->width; x++)
            json_array_append_new(row, cli_number(g->map[y * g->width + x]));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
                     cli_string(convoy_model_name(model)), "file", cli_string(call->operands[1]), "class",
                     g->class_index, "name", cli_string(names[g->class_index]), "probability",
                     cli_number(g->probabilities[g->class_index]), "layer", cli_string(layer->name), "maps",
                     cli_numbers(layer->output, 3), "gradcam", rows, "out", cli_string(o->out));
}

static convoy_status check(const cli_call *call) {
    const options *o = call->options;
    convoy_status status = cvy_canvas_check();
    if (!status && !o->weights)
        status = cvy_fail(CONVOY_INVALID,
                          "convoy explain: --weights is missing: whose answer is to be explained?");
    if (!status)
        status = cli_check_file(call, "weights file", o->weights);
    if (!status)
        status = cli_check_file(call, "image file", call->operands[1]);
    return status ? status : cli_check_output(call, "--out", o->out);
}

/* What is asked of the model: a class, a layer. */
static convoy_status choose(cli_call *call, const convoy_model *model, const char *const *names,
                            int *class_index, size_t *layer) {
    const options *o = call->options;
    convoy_status status = find_class(o->class, names, convoy_model_classes(model), class_index);
    if (status || o->layer)
        return status ? status : cvy_gradcam_find_layer(model, o->layer, layer);
    *layer = cvy_gradcam_layer(model);
    return *layer == SIZE_MAX
               ? cvy_fail(CONVOY_INVALID, "no layer of model %s gives maps: there is nothing to look at",
                          convoy_model_name(model))
               : CONVOY_OK;
}

static convoy_status explain(cli_call *call, convoy_model *model, convoy_device **device,
                             const convoy_dataset *set, cvy_gradcam *found) {
    const options *o = call->options;
    const char **names = class_names(call->arena, model);
    cvy_canvas *canvas = NULL;
    int class_index;
    size_t layer;
    convoy_status status = choose(call, model, names, &class_index, &layer);
    if (!status)
        status = cli_open_device(call, device);
    if (status)
        return status;
    do {
        cvy_gradcam_free(found);
        status = cvy_gradcam_find(model, *device, set, layer, class_index, found);
    } while (cli_fall_back(call, status, device));
    if (!status)
        status = cvy_explain_draw(model, found, names, &canvas);
    if (!status)
        status = cvy_canvas_save(canvas, o->out);
    if (!status && o->common.json)
        call->result = result_json(call, model, found, names);
    else if (!status)
        printf("%s: %s %.4f, %s\n", cli_visible(call->arena, call->operands[1]),
               cli_visible(call->arena, names[found->class_index]), found->probabilities[found->class_index],
               cli_visible(call->arena, o->out));
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    cvy_files *files = NULL;
    cvy_chunk chunk = {0};
    cvy_gradcam found = {0};
    convoy_status status = check(call);
    if (!status)
        status = load_model(call, o->weights, &model);
    if (!status)
        status = open_image(call, model, &files, &chunk);
    if (!status)
        status = explain(call, model, &device, chunk.set, &found);
    cvy_gradcam_free(&found);
    cvy_files_close(files);
    convoy_model_free(model);
    convoy_device_close(device);
    return status;
}

const cli_command cli_explain = {"explain",
                                 "MODEL IMAGE",
                                 "Draw where a network looks for a class (Grad-CAM), and a layer's maps.",
                                 2,
                                 2,
                                 params,
                                 sizeof(options),
                                 false,
                                 run};
