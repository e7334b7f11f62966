/* convoy predict MODEL --weights F FILE...: the likeliest classes of images in PNG, JPEG or IDX files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"
#include "train/evaluator.h"

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
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* ---- class names ---- */

typedef struct class_names {
    const char **names;
    int count; /* 0: none known */
} class_names;

static convoy_status names_from_weights(cvy_arena *arena, const char *path, class_names *out) {
    cvy_tensor_file *file = NULL;
    convoy_status status = cvy_tensor_file_load(path, &file);
    if (status)
        return status;
    const char *stored = cvy_tensor_file_metadata(file, "class_names");
    if (stored) {
        char *rest = cvy_arena_strdup(arena, stored), *name;
        out->names = cvy_arena_alloc(arena, (strlen(stored) + 1) * sizeof *out->names);
        while ((name = strsep(&rest, "\n")))
            out->names[out->count++] = name;
    }
    cvy_tensor_file_free(file);
    return CONVOY_OK;
}

static convoy_status names_from_data(cvy_arena *arena, const char *what, class_names *out) {
    convoy_dataset *set = NULL;
    const convoy_dataset_options one = {.limit = 1}; /* the names are all that is wanted */
    convoy_status status = convoy_dataset_open(what, "test", &one, &set);
    if (status)
        return status;
    out->count = convoy_dataset_classes(set);
    out->names = cvy_arena_alloc(arena, (size_t)(out->count + 1) * sizeof *out->names);
    for (int c = 0; c < out->count; c++)
        out->names[c] = cvy_arena_strdup(arena, convoy_dataset_class_name(set, c));
    convoy_dataset_free(set);
    return CONVOY_OK;
}

static const char *name_of(const cli_call *call, const class_names *names, int class) {
    return class < names->count ? names->names[class] : cvy_arena_printf(call->arena, "%d", class);
}

/* ---- answers ---- */

/* Softmax of the outputs; of their negatives where the smallest output is the answer. */
static void probabilities(const float *outputs, int classes, bool smallest, double *p) {
    double largest = -INFINITY, sum = 0;
    for (int c = 0; c < classes; c++) {
        p[c] = smallest ? -(double)outputs[c] : (double)outputs[c];
        largest = fmax(largest, p[c]);
    }
    for (int c = 0; c < classes; c++)
        sum += p[c] = exp(p[c] - largest);
    for (int c = 0; c < classes; c++)
        p[c] /= sum;
}

/* The class with the largest value that was not taken yet; ties go to the lower class. */
static int take_best(double *p, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (p[c] > p[best])
            best = c;
    return best;
}

typedef struct answer_printer {
    const cli_call *call;
    const class_names *names;
    int classes, top;
    bool logits, smallest;
    double *p;
} answer_printer;

static json_t *answer_json(const answer_printer *a, const char *file, const float *outputs) {
    json_t *top = json_array(), *logits = json_array();
    probabilities(outputs, a->classes, a->smallest, a->p);
    for (int k = 0; k < a->top; k++) {
        int class = take_best(a->p, a->classes);
        json_array_append_new(top, json_pack("{s:i, s:s, s:o}", "class", class, "name",
                                             name_of(a->call, a->names, class), "probability",
                                             cli_number(a->p[class])));
        a->p[class] = -1;
    }
    for (int c = 0; c < a->classes; c++)
        json_array_append_new(logits, cli_number((double)outputs[c]));
    return json_pack("{s:s, s:o, s:o}", "file", file, "top", top, "logits", logits);
}

static void print_answer(const answer_printer *a, const char *file, const float *outputs) {
    probabilities(outputs, a->classes, a->smallest, a->p);
    printf("%s:", file);
    for (int k = 0; k < a->top; k++) {
        int class = take_best(a->p, a->classes);
        printf("%s %s %.4f", k ? "," : "", name_of(a->call, a->names, class), a->p[class]);
        a->p[class] = -1;
    }
    printf("\n");
    for (int c = 0; a->logits && c < a->classes; c++)
        printf("%s%.6g%s", c ? " " : "  outputs ", (double)outputs[c], c == a->classes - 1 ? "\n" : "");
}

/* An IDX file gives many images: "<file>[<index in the file>]". */
static const char *label_of(const cli_call *call, const convoy_dataset *set, size_t index) {
    const char *path = convoy_dataset_path(set, index);
    size_t first = index, count = convoy_dataset_count(set);
    while (first > 0 && strcmp(convoy_dataset_path(set, first - 1), path) == 0)
        first--;
    bool many =
        first < index || (index + 1 < count && strcmp(convoy_dataset_path(set, index + 1), path) == 0);
    return many ? cvy_arena_printf(call->arena, "%s[%zu]", path, index - first) : path;
}

static convoy_status answer(cli_call *call, const convoy_model *model, const convoy_dataset *set,
                            const class_names *names, const float *outputs) {
    const options *o = call->options;
    int classes = convoy_model_classes(model);
    answer_printer a = {.call = call,
                        .names = names,
                        .classes = classes,
                        .top = o->top < classes ? o->top : classes,
                        .logits = o->logits,
                        .smallest = cvy_loss_answer_is_smallest((cvy_loss)cvy_model_recipe(model)->loss),
                        .p = malloc((size_t)classes * sizeof(double))};
    if (!a.p)
        return cvy_fail_memory("the answers", (size_t)classes * sizeof(double));
    json_t *predictions = json_array();
    for (size_t i = 0; i < convoy_dataset_count(set); i++) {
        const char *file = label_of(call, set, i);
        const float *row = outputs + i * (size_t)classes;
        if (o->common.json)
            json_array_append_new(predictions, answer_json(&a, file, row));
        else
            print_answer(&a, file, row);
    }
    if (o->common.json)
        call->result = json_pack("{s:O}", "predictions", predictions);
    json_decref(predictions);
    free(a.p);
    return CONVOY_OK;
}

/* ---- the command ---- */

static convoy_status open_images(const cli_call *call, const convoy_model *model, convoy_dataset **set) {
    int input[3], border = cvy_model_recipe(model)->border;
    convoy_model_input(model, input);
    convoy_dataset_options options = {
        .channels = input[0], .height = input[1] - 2 * border, .width = input[2] - 2 * border};
    return convoy_dataset_open_files(call->operands + 1, call->operand_count - 1, &options, set);
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    convoy_dataset *set = NULL;
    class_names names = {NULL, 0};
    float *outputs = NULL;
    if (!o->weights)
        return cvy_fail(CONVOY_INVALID, "convoy predict: --weights is missing: which weights are to answer?");
    convoy_status status = cli_check_file(call, "weights file", o->weights);
    for (size_t i = 1; i < call->operand_count && !status; i++)
        status = cli_check_file(call, "image file", call->operands[i]);
    if (!status)
        status = o->data ? names_from_data(call->arena, o->data, &names)
                         : names_from_weights(call->arena, o->weights, &names);
    if (!status)
        status = cli_load_model(call, names.count, &model);
    if (!status)
        status = convoy_model_load_weights(model, o->weights);
    if (!status)
        status = open_images(call, model, &set);
    if (!status)
        status = cli_open_device(call, &device);
    if (status)
        goto done;
    size_t values = convoy_dataset_count(set) * (size_t)convoy_model_classes(model);
    outputs = malloc(values * sizeof *outputs);
    if (!outputs) {
        status = cvy_fail_memory("the outputs", values * sizeof *outputs);
        goto done;
    }
    do
        status = cvy_outputs(model, device, set, o->batch_size, outputs);
    while (cli_fall_back(call, status, &device));
    if (!status)
        status = answer(call, model, set, &names, outputs);
done:
    free(outputs);
    convoy_dataset_free(set);
    convoy_model_free(model);
    convoy_device_close(device);
    return status;
}

const cli_command cli_predict = {"predict",
                                 "MODEL FILE...",
                                 "Classify images in PNG, JPEG or IDX files.",
                                 2,
                                 -1,
                                 params,
                                 sizeof(options),
                                 false,
                                 run};
