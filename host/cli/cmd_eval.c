/* convoy eval MODEL --weights F: loss, accuracy, per-class figures and the confusion matrix of a set. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/ranks.h"
#include "model/model.h"
#include "train/evaluator.h"

typedef struct options {
    cli_common common;
    const char *weights, *data, *logits, *devices;
    int split, batch_size, mpi;
    long long limit;
    double test_fraction;
} options;

static const cvy_param params[] = {
    {"weights", CVY_TEXT, offsetof(options, weights), "", 0, 0, NULL,
     "safetensors file, as a run's best.safetensors"},
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL, CLI_DATA_TEXT},
    {"split", CVY_CHOICE, offsetof(options, split), "test", 0, 0, "train|test|val|all",
     "which images; all: of photographs that are no split"},
    {"limit", CVY_SIZE, offsetof(options, limit), "", 1, 9e18, NULL, "use only so many images"},
    {"test-fraction", CVY_FLOAT, offsetof(options, test_fraction), "", 0.001, 0.999, NULL,
     "of a folder without train/ and test/; default: the recipe's"},
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images at a time; default: the recipe's"},
    {"logits", CVY_TEXT, offsetof(options, logits), "", 0, 0, NULL,
     "file to write the network's outputs to, as CSV: a row for each image, a column for each class"},
    CLI_ROW_DEVICE,
    CLI_ROW_DEVICES,
    CLI_ROW_MPI,
    CLI_ROW_PRECISION,
    CLI_ROW_VERIFY,
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SKIP_DAMAGED,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* A row for each class; of so many that it were mostly zeros, [class, answer, images] for each that is none.
 */
static json_t *confusion_json(const convoy_evaluation *e) {
    enum { MOST_ROWS = 1000 };
    json_t *confusion = json_array();
    const size_t classes = (size_t)e->class_count;
    for (size_t c = 0; c < classes; c++) {
        json_t *row = classes > MOST_ROWS ? NULL : json_array();
        for (size_t answer = 0; answer < classes; answer++) {
            const unsigned long long images = e->confusion[c * classes + answer];
            if (row)
                json_array_append_new(row, json_integer((json_int_t)images));
            else if (images)
                json_array_append_new(
                    confusion, json_pack("[I, I, I]", (json_int_t)c, (json_int_t)answer, (json_int_t)images));
        }
        if (row)
            json_array_append_new(confusion, row);
    }
    return confusion;
}

static json_t *evaluation_json(const convoy_model *model, const convoy_device *device,
                               const convoy_evaluation *e) {
    json_t *classes = json_array();
    for (int c = 0; c < e->class_count; c++) {
        const convoy_class_result *r = e->classes[c];
        json_array_append_new(classes,
                              json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "name", cli_string(r->name),
                                        "precision", cli_number(r->precision), "recall",
                                        cli_number(r->recall), "f1", cli_number(r->f1), "support",
                                        (json_int_t)r->support, "roc_auc", cli_number(r->roc_auc)));
    }
    json_t *result =
        json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "model", cli_string(convoy_model_name(model)),
                  "device", cli_string(convoy_device_get_info(device)->name), "images", (json_int_t)e->images,
                  "loss", cli_number(e->loss), "accuracy", cli_number(e->accuracy), "classes", classes,
                  "confusion", confusion_json(e));
    const struct {
        const char *key;
        double value;
    } means[] = {{"top5_accuracy", e->top5_accuracy},
                 {"balanced_accuracy", e->balanced_accuracy},
                 {"macro_precision", e->macro_precision},
                 {"macro_recall", e->macro_recall},
                 {"macro_f1", e->macro_f1},
                 {"weighted_precision", e->weighted_precision},
                 {"weighted_recall", e->weighted_recall},
                 {"weighted_f1", e->weighted_f1},
                 {"roc_auc", e->roc_auc}};
    for (size_t i = 0; result && i < sizeof means / sizeof *means; i++)
        json_object_set_new(result, means[i].key, cli_number(means[i].value));
    return result;
}

/* A matrix of more classes would be wider than any screen. */
enum { MATRIX_LIMIT = 20 };

static void print_confusion(const convoy_evaluation *e) {
    if (e->class_count > MATRIX_LIMIT) {
        printf("confusion matrix of %d classes: see --json\n", e->class_count);
        return;
    }
    printf("confusion matrix (rows: true classes, columns: answers)\n%-6s", "");
    for (int c = 0; c < e->class_count; c++)
        printf(" %6d", c);
    printf("\n");
    for (int c = 0; c < e->class_count; c++) {
        printf("%6d", c);
        for (int answer = 0; answer < e->class_count; answer++)
            printf(" %6llu", e->confusion[c * e->class_count + answer]);
        printf("\n");
    }
}

static void print_evaluation(cvy_arena *arena, const convoy_evaluation *e) {
    printf("%zu images: loss %.4f, accuracy %.4f\n", e->images, e->loss, e->accuracy);
    printf("%5s  %-24s %9s %9s %9s %9s\n", "class", "name", "precision", "recall", "f1", "images");
    for (int c = 0; c < e->class_count; c++) {
        const convoy_class_result *r = e->classes[c];
        printf("%5d  %-24s %9.4f %9.4f %9.4f %9llu\n", c, cli_visible(arena, r->name), r->precision,
               r->recall, r->f1, r->support);
    }
    printf("%5s  %-24s %9.4f %9.4f %9.4f %9zu\n", "", "mean of the classes", e->macro_precision,
           e->macro_recall, e->macro_f1, e->images);
    printf("%5s  %-24s %9.4f %9.4f %9.4f %9zu\n", "", "weighted by their images", e->weighted_precision,
           e->weighted_recall, e->weighted_f1, e->images);
    printf("top-5 accuracy %.4f, balanced accuracy %.4f, ROC-AUC (one against the rest) %.4f\n",
           e->top5_accuracy, e->balanced_accuracy, e->roc_auc);
    print_confusion(e);
}

/* ---- outputs ---- */

static void add_table(cvy_text *text, const convoy_model *model, const convoy_dataset *set,
                      const float *outputs) {
    const int classes = convoy_model_classes(model);
    cvy_text_add(text, "file,class");
    for (int c = 0; c < classes; c++) {
        cvy_text_add(text, ",");
        cvy_text_add_field(text, convoy_dataset_class_name(set, c));
    }
    for (size_t i = 0; i < convoy_dataset_count(set); i++) {
        cvy_text_add(text, "\n");
        cvy_text_add_field(text, convoy_dataset_path(set, i));
        cvy_text_add(text, ",%d", convoy_dataset_label(set, i));
        for (int c = 0; c < classes; c++)
            cvy_text_add(text, ",%.9g", (double)*outputs++);
    }
    cvy_text_add(text, "\n");
}

/* Nine digits: what is read back is the same float. */
static convoy_status write_logits(const char *path, const convoy_model *model, const convoy_dataset *set,
                                  const float *outputs) {
    cvy_text text = {0};
    add_table(&text, model, set, outputs);
    convoy_status status = cvy_file_write(path, cvy_text_get(&text), text.length);
    cvy_text_free(&text);
    return status;
}

static convoy_status evaluate(const cli_call *call, convoy_model *model, convoy_device **device,
                              convoy_dataset *set, float **outputs, const convoy_evaluation **evaluation) {
    const options *o = call->options;
    convoy_status status;
    do
        status = cvy_evaluate(cli_ranks(), model, *device, set, o->batch_size, o->logits ? outputs : NULL,
                              evaluation);
    while (!cli_ranks() && cli_fall_back(call, status, device));
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    convoy_dataset *set = NULL;
    const convoy_evaluation *evaluation = NULL;
    float *outputs = NULL;
    bool training = o->split == 0;
    cli_data_request request = {.data = o->data,
                                .limit_train = (size_t)o->limit,
                                .limit_test = (size_t)o->limit,
                                .test_fraction = o->test_fraction,
                                .train = training,
                                .test = !training,
                                .validation = o->split == 2,
                                .evaluation = true,
                                .all = o->split == 3};
    if (!o->weights)
        return cvy_fail(CONVOY_INVALID,
                        "convoy eval: --weights is missing: which weights are to be evaluated?");
    convoy_status status = cli_check_file(call, "weights file", o->weights);
    if (!status)
        status = cli_ranks_join(call, o->mpi, o->devices);
    if (!status && cvy_rank(cli_ranks()) == 0) /* which writes */
        status = cli_check_output(call, "--logits", o->logits);
    if (!status)
        status = cli_load(call, &request, &model, training ? &set : NULL, training ? NULL : &set);
    if (!status)
        status = cli_check_images(call, "--logits", o->logits, set);
    if (!status)
        status = convoy_model_load_weights(model, o->weights);
    if (!status)
        status = cli_open_device(call, &device);
    if (!status)
        status = cli_ranks_name(convoy_device_get_info(device)->name);
    if (!status)
        status = evaluate(call, model, &device, set, &outputs, &evaluation);
    status = cli_ranks_leave(status);
    if (status || cvy_rank(cli_ranks()) > 0)
        goto done;
    if (o->logits) /* a full disk does not take the figures along */
        status = write_logits(o->logits, model, set, outputs);
    if (o->common.json)
        call->result = evaluation_json(model, device, evaluation);
    else
        print_evaluation(call->arena, evaluation);
done:
    free(outputs);
    convoy_evaluation_free(evaluation);
    convoy_dataset_free(set);
    convoy_model_free(model);
    convoy_device_close(device);
    return status;
}

const cli_command cli_eval = {
    "eval",
    "MODEL",
    "Evaluate weights on a set: loss, accuracy, per-class figures, confusion matrix.",
    1,
    1,
    params,
    sizeof(options),
    false,
    run};
