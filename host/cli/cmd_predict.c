/* convoy predict MODEL --weights F FILE...: the likeliest classes of photographs, IDX files and
   folders. What cannot be read is named, and the rest is answered. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/cli.h"
#include "data/dataset.h"
#include "data/files.h"
#include "model/model.h"
#include "train/predictor.h"

typedef struct options {
    cli_common common;
    const char *weights, *data;
    int top, batch_size;
    bool logits;
} options;

static const cvy_param params[] = {
    {"weights", CVY_TEXT, offsetof(options, weights), "", 0, 0, NULL,
     "safetensors file, as a run's best.safetensors"},
    {"top", CVY_INT, offsetof(options, top), "3", 1, 1 << 20, NULL, "how many classes to show for an image"},
    {"logits", CVY_FLAG, offsetof(options, logits), "", 0, 0, NULL, "show the network's outputs too"},
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL,
     "data set to take class names from; default: those stored with the weights"},
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images at a time; default: the recipe's"},
    CLI_ROW_DEVICE,
    CLI_ROW_PRECISION,
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* ---- class names ---- */

/* Those of a set, in the order in which the weights know them where they do. */
static convoy_status names_from_data(cvy_arena *arena, const options *o, cvy_classes *classes) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options one = {.limit = 1}; /* the names are all that is wanted */
    convoy_status status = convoy_dataset_open(o->data, "test", &one, &set);
    if (!status && classes->count)
        status = cvy_dataset_order_classes(set, classes, o->weights);
    if (status) {
        convoy_dataset_free(set);
        return status;
    }
    classes->count = convoy_dataset_classes(set);
    const char **names = cvy_arena_alloc(arena, (size_t)(classes->count + 1) * sizeof *names);
    for (int c = 0; c < classes->count; c++)
        names[c] = cvy_arena_strdup(arena, convoy_dataset_class_name(set, c));
    classes->names = names;
    convoy_dataset_free(set);
    return CONVOY_OK;
}

/* Classes without a name are called by their number. */
static const char **name_all(cvy_arena *arena, const cvy_classes *known, int classes) {
    const char **all = cvy_arena_alloc(arena, (size_t)classes * sizeof *all);
    for (int c = 0; c < classes; c++)
        all[c] = known->names && c < known->count ? known->names[c] : cvy_arena_printf(arena, "%d", c);
    return all;
}

/* ---- answers ---- */

/* The class with the largest value that was not taken yet; ties go to the lower class. */
static int take_best(double *p, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (p[c] > p[best])
            best = c;
    return best;
}

/* What a prediction works with, and what came of it so far. */
typedef struct prediction {
    cli_call *call;
    const options *options;
    convoy_model *model;
    convoy_device *device;
    cvy_files *files;
    convoy_predictor *predictor; /* NULL: not open yet, or its device failed */
    const char **names, **shown; /* [classes]; as a screen may have them */
    int classes, top;
    double *p; /* [classes] */
    json_t *answers, *refused;
    size_t answered, failed; /* images; files and images */
    convoy_status first_failure;
} prediction;

/* A file or an image that gets no answer: the others go on. */
static void refuse(void *context, const char *path, convoy_status status, const char *message) {
    prediction *x = context;
    x->first_failure = x->failed++ ? x->first_failure : status;
    cli_note("error: %s", message);
    if (x->refused)
        json_array_append_new(
            x->refused, json_pack("{s:o, s:o}", "file", cli_string(path), "message", cli_string(message)));
}

static json_t *answer_json(const prediction *x, const char *file, const float *outputs) {
    json_t *top = json_array(), *logits = json_array();
    for (int k = 0; k < x->top; k++) {
        int class = take_best(x->p, x->classes);
        json_array_append_new(top,
                              json_pack("{s:i, s:o, s:o}", "class", class, "name",
                                        cli_string(x->names[class]), "probability", cli_number(x->p[class])));
        x->p[class] = -1;
    }
    for (int c = 0; c < x->classes; c++)
        json_array_append_new(logits, cli_number((double)outputs[c]));
    return json_pack("{s:o, s:o, s:o}", "file", cli_string(file), "top", top, "logits", logits);
}

static void print_answer(const prediction *x, const char *file, const float *outputs) {
    cvy_text line = {0};
    cvy_text_add_visible(&line, file, false);
    printf("%s:", cvy_text_get(&line));
    for (int k = 0; k < x->top; k++) {
        int class = take_best(x->p, x->classes);
        printf("%s %s %.4f", k ? "," : "", x->shown[class], x->p[class]);
        x->p[class] = -1;
    }
    cvy_text_free(&line);
    printf("\n");
    for (int c = 0; x->options->logits && c < x->classes; c++)
        printf("%s%.6g%s", c ? " " : "  outputs ", (double)outputs[c], c == x->classes - 1 ? "\n" : "");
}

static void answer(prediction *x, const char *file, const float *outputs) {
    convoy_status status = cvy_probabilities(x->model, file, outputs, x->p);
    if (status) {
        char *message = cvy_arena_strdup(x->call->arena, convoy_error_message());
        refuse(x, file, status, message);
        return;
    }
    if (x->answers)
        json_array_append_new(x->answers, answer_json(x, file, outputs));
    else
        print_answer(x, file, outputs);
    x->answered++;
}

static convoy_status find_outputs(prediction *x, const convoy_dataset *set, float *outputs) {
    size_t images = cvy_files_count(x->files);
    int batch = x->options->batch_size ? x->options->batch_size : cvy_model_recipe(x->model)->batch_size;
    convoy_status status;
    batch = images < (size_t)batch ? (int)images : batch; /* no room for images that are not there */
    do {
        status =
            x->predictor ? CONVOY_OK : cvy_predictor_open(x->model, x->device, set, batch, &x->predictor);
        if (!status)
            status = cvy_predictor_run(x->predictor, set, outputs);
        if (status) {
            convoy_predictor_close(x->predictor);
            x->predictor = NULL;
        }
    } while (cli_fall_back(x->call, status, &x->device));
    return status;
}

/* An IDX file gives many images: "<file>[<index in the file>]". */
static convoy_status answer_chunk(prediction *x, const cvy_chunk *chunk) {
    size_t count = convoy_dataset_count(chunk->set), classes = (size_t)x->classes;
    float *outputs = malloc(count * classes * sizeof *outputs);
    if (!outputs)
        return cvy_fail_memory("the outputs", count * classes * sizeof *outputs);
    convoy_status status = find_outputs(x, chunk->set, outputs);
    cvy_text name = {0};
    for (size_t i = 0; i < count && !status; i++) {
        name.length = 0;
        cvy_text_add(&name, "%s", convoy_dataset_path(chunk->set, i));
        if (chunk->indexed)
            cvy_text_add(&name, "[%zu]", chunk->first + i);
        answer(x, cvy_text_get(&name), outputs + i * classes);
    }
    cvy_text_free(&name);
    free(outputs);
    return status;
}

/* ---- the command ---- */

static convoy_status check_files(const cli_call *call, const options *o) {
    if (!o->weights)
        return cvy_fail(CONVOY_INVALID, "convoy predict: --weights is missing: which weights are to answer?");
    convoy_status status = cli_check_file(call, "weights file", o->weights);
    for (size_t i = 1; i < call->operand_count && !status; i++)
        if (!cvy_folder_exists(call->operands[i]))
            status = cli_check_file(call, "image file", call->operands[i]);
    return status;
}

static convoy_status load_model(prediction *x) {
    cli_call *call = x->call;
    const options *o = x->options;
    cvy_tensor_file *file = NULL;
    cvy_classes classes = {0};
    convoy_status status = cvy_tensor_file_load(o->weights, &file);
    if (!status)
        status = cvy_classes_read(call->arena, file, o->weights, &classes);
    if (!status && o->data)
        status = names_from_data(call->arena, o, &classes);
    if (!status)
        status = cli_load_model(call, classes.count, &x->model);
    if (!status)
        status = cvy_model_take_weights(x->model, file, o->weights, CVY_WEIGHTS_ALL);
    cvy_tensor_file_free(file);
    if (status)
        return status;
    x->classes = convoy_model_classes(x->model);
    x->top = o->top < x->classes ? o->top : x->classes;
    x->names = name_all(call->arena, &classes, x->classes);
    x->shown = cvy_arena_alloc(call->arena, (size_t)x->classes * sizeof *x->shown);
    for (int c = 0; c < x->classes; c++)
        x->shown[c] = cli_visible(call->arena, x->names[c]);
    x->p = malloc((size_t)x->classes * sizeof *x->p);
    return x->p ? CONVOY_OK : cvy_fail_memory("the answers", (size_t)x->classes * sizeof *x->p);
}

static convoy_status open_images(prediction *x) {
    cvy_files_options options = cli_files_options(x->model);
    options.refuse = refuse;
    options.context = x;
    return cvy_files_open(x->call->operands + 1, x->call->operand_count - 1, &options, &x->files);
}

static convoy_status answer_all(prediction *x) {
    cvy_chunk chunk;
    convoy_status status = cvy_files_next(x->files, &chunk);
    while (!status && chunk.set) {
        status = x->device ? CONVOY_OK : cli_open_device(x->call, &x->device);
        if (!status)
            status = answer_chunk(x, &chunk);
        if (!status)
            status = cvy_files_next(x->files, &chunk);
    }
    if (status || !x->failed)
        return status;
    return cvy_fail(x->first_failure, "%zu file%s or image%s without an answer, %zu with one", x->failed,
                    x->failed == 1 ? "" : "s", x->failed == 1 ? "" : "s", x->answered);
}

static convoy_status run(cli_call *call) {
    prediction x = {.call = call, .options = call->options};
    convoy_status status = check_files(call, x.options);
    if (!status && x.options->common.json) {
        x.answers = json_array();
        x.refused = json_array();
    }
    if (!status)
        status = load_model(&x);
    if (!status)
        status = open_images(&x);
    if (!status)
        status = answer_all(&x);
    if (x.answered && x.answers && (!status || x.failed)) {
        call->result = json_pack("{s:O}", "predictions", x.answers);
        if (x.failed)
            json_object_set(call->result, "failed", x.refused);
    }
    json_decref(x.answers);
    json_decref(x.refused);
    free(x.p);
    convoy_predictor_close(x.predictor);
    cvy_files_close(x.files);
    convoy_model_free(x.model);
    convoy_device_close(x.device);
    return status;
}

const cli_command cli_predict = {.name = "predict",
                                 .operands = "MODEL FILE...",
                                 .summary =
                                     "Classify photographs, images in IDX files, or what folders hold.",
                                 .operands_min = 2,
                                 .operands_max = -1,
                                 .params = params,
                                 .options_size = sizeof(options),
                                 .run = run};
