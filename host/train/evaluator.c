/* Evaluation: batches in the set's own order, forward, loss; figures and answers stay on the device until
   they are asked for. */
#include "train/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "data/dataset.h"
#include "train/metrics.h"
#include "train/statistics.h"

struct cvy_evaluator {
    convoy_network *network;
    cvy_loader *loader;
    cvy_loss_op *loss;
    cvy_buffer *labels; /* int32 [pitch] */
    cvy_statistics statistics;
    cvy_buffer *truth, *answers; /* int32 [images]; NULL where not wanted */
    cvy_buffer *outputs;         /* with answers: those of `slots` batches, until they are looked at */
    size_t slots;
    size_t images;
};

/* ---- feeding ---- */

convoy_status cvy_feed_check(const convoy_model *model, const convoy_dataset *set) {
    int wanted = cvy_model_image(model).channels, channels = convoy_dataset_channels(set),
        classes = convoy_dataset_classes(set);
    if (convoy_dataset_count(set) == 0)
        return cvy_fail(CONVOY_INVALID, "%s holds no images", convoy_dataset_name(set));
    if (channels != wanted)
        return cvy_fail(CONVOY_INVALID, "model %s takes images of %d channel%s, but %s has %d",
                        convoy_model_name(model), wanted, wanted == 1 ? "" : "s", convoy_dataset_name(set),
                        channels);
    if (classes && classes != convoy_model_classes(model))
        return cvy_fail(
            CONVOY_INVALID,
            "model %s has %d outputs, but %s has %d classes: give the last layer as many outputs as there "
            "are classes, or choose other data",
            convoy_model_name(model), convoy_model_classes(model), convoy_dataset_name(set), classes);
    return CONVOY_OK;
}

/* Half of what is left on the device once the network is there. */
static size_t device_budget(const convoy_device *device) {
    size_t memory = cvy_device_get_traits(device)->memory, used = cvy_device_get_counters(device).bytes;
    return used < memory ? (memory - used) / 2 : 0;
}

void cvy_feed_sizes(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                    cvy_growth growth, cvy_sizes *sizes) {
    const cvy_image_spec image = cvy_model_image(model);
    cvy_loader_sizes(device, set, &image, growth, sizes);
}

convoy_status cvy_feed_create(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                              int batch_size, bool shuffle, uint64_t seed, cvy_loader **loader) {
    const convoy_model *model = cvy_network_model(network);
    convoy_status status = cvy_feed_check(model, set);
    if (status)
        return status;
    const cvy_loader_options options = {.batch_size = batch_size,
                                        .piece = cvy_network_batch_size(network),
                                        .pitch = cvy_network_pitch(network),
                                        .image = cvy_model_image(model),
                                        .shuffle = shuffle,
                                        .seed = seed,
                                        .device_budget = device_budget(device)};
    return cvy_loader_create(device, set, &options, loader);
}

/* ---- the evaluator ---- */

static cvy_size classes_of(const convoy_dataset *set) {
    return (cvy_size){"the classes of all images", convoy_dataset_count(set) * sizeof(int32_t),
                      CVY_FIXED_SIZE};
}

/* As many batches' outputs as wait for a look together. */
enum { OUTPUTS_BYTES = 4 << 20 };
static size_t output_slots(const convoy_model *model, int pitch) {
    const size_t bytes = (size_t)convoy_model_classes(model) * (size_t)pitch * sizeof(float),
                 slots = OUTPUTS_BYTES / bytes;
    return slots < 1 ? 1 : slots < CVY_STATISTICS_SLOTS ? slots : CVY_STATISTICS_SLOTS;
}

static cvy_size outputs_of(const convoy_model *model, int pitch) {
    return (cvy_size){"outputs",
                      output_slots(model, pitch) * (size_t)convoy_model_classes(model) * (size_t)pitch *
                          sizeof(float),
                      CVY_FIXED_SIZE};
}

convoy_status cvy_evaluator_create(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                                   bool answers, cvy_evaluator **evaluator) {
    const convoy_model *model = cvy_network_model(network);
    int pitch = cvy_network_pitch(network);
    cvy_evaluator *e = *evaluator = NULL;
    if (convoy_dataset_classes(set) == 0)
        return cvy_fail(CONVOY_INVALID, "%s has no labels: nothing to evaluate against",
                        convoy_dataset_name(set));
    e = calloc(1, sizeof *e);
    if (!e)
        return cvy_fail_memory("an evaluator", sizeof *e);
    e->network = network;
    e->images = convoy_dataset_count(set);
    convoy_status status =
        cvy_feed_create(network, device, set, cvy_network_batch_size(network), false, 0, &e->loader);
    if (!status)
        status = cvy_loss_create(device, (cvy_loss)cvy_model_recipe(model)->loss, convoy_model_classes(model),
                                 pitch, &e->loss);
    if (!status)
        status = cvy_size_create(device, &cvy_loader_labels, (size_t)pitch, &e->labels);
    if (!status)
        status = cvy_statistics_create(device, cvy_loss_parts(device, pitch), &e->statistics);
    const cvy_size classes = classes_of(set);
    if (!status && answers)
        status = cvy_size_create(device, &classes, 1, &e->truth);
    if (!status && answers)
        status = cvy_size_create(device, &classes, 1, &e->answers);
    const cvy_size outputs = outputs_of(model, pitch);
    e->slots = output_slots(model, pitch);
    if (!status && answers)
        status = cvy_size_create(device, &outputs, 1, &e->outputs);
    if (status) {
        cvy_evaluator_free(e);
        return status;
    }
    *evaluator = e;
    return CONVOY_OK;
}

void cvy_evaluator_sizes(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                         int pitch, bool answers, cvy_sizes *sizes) {
    cvy_feed_sizes(model, device, set, CVY_PER_PIECE, sizes);
    cvy_sizes_add(sizes, cvy_loader_labels);
    cvy_sizes_add(sizes, cvy_statistics_size(cvy_loss_parts(device, pitch), pitch));
    for (int i = 0; i < 2 && answers; i++)
        cvy_sizes_add(sizes, classes_of(set));
    if (answers)
        cvy_sizes_add(sizes, outputs_of(model, pitch));
}

void cvy_evaluator_free(cvy_evaluator *e) {
    if (!e)
        return;
    cvy_loader_free(e->loader);
    cvy_loss_free(e->loss);
    cvy_buffer_free(e->labels);
    cvy_statistics_free(&e->statistics);
    cvy_buffer_free(e->truth);
    cvy_buffer_free(e->answers);
    cvy_buffer_free(e->outputs);
    free(e);
}

static convoy_status evaluate_batch(cvy_evaluator *e, int n, size_t done) {
    const size_t bytes = e->outputs ? cvy_buffer_bytes(e->outputs) / e->slots : 0;
    convoy_status status = cvy_network_forward(e->network, n, false, 0);
    if (!status && e->outputs)
        status = cvy_buffer_copy(cvy_network_output(e->network), 0, e->outputs, e->statistics.pending * bytes,
                                 bytes);
    if (!status)
        status =
            cvy_loss_run(e->loss, &(cvy_loss_operands){.n = n,
                                                       .output = cvy_network_output(e->network),
                                                       .labels = e->labels,
                                                       .grad_scale = 1,
                                                       .statistics = e->statistics.ring,
                                                       .slot = cvy_statistics_next_slot(&e->statistics, n),
                                                       .predictions = e->answers,
                                                       .prediction_offset = done});
    if (!status && e->truth)
        status = cvy_buffer_copy(e->labels, 0, e->truth, done * sizeof(int32_t), (size_t)n * sizeof(int32_t));
    return status;
}

/* An infinite output beside finite ones can have a finite loss, and is no answer all the same. */
static convoy_status check_outputs(cvy_evaluator *e, size_t batches, const int *sizes) {
    const size_t count = cvy_buffer_bytes(e->outputs) / e->slots / sizeof(float),
                 pitch = (size_t)cvy_network_pitch(e->network);
    float *values = malloc(count * sizeof *values);
    convoy_status status = values ? CONVOY_OK : cvy_fail_memory("outputs", count * sizeof *values);
    for (size_t b = 0; b < batches && !status; b++) {
        status = cvy_buffer_read(e->outputs, b * count * sizeof *values, values, count * sizeof *values);
        for (size_t i = 0; i < count && !status; i++)
            if (i % pitch < (size_t)sizes[b] && !isfinite(values[i]))
                status = cvy_fail(
                    CONVOY_FAILED,
                    "the output for class %zu of an image is %s: the network's outputs are no answers. Its "
                    "weights are too large, or training has diverged",
                    i / pitch, isnan(values[i]) ? "NaN" : "infinite");
    }
    free(values);
    return status;
}

static bool is_due(const cvy_evaluator *e) {
    return cvy_statistics_due(&e->statistics) || (e->outputs && e->statistics.pending >= e->slots);
}

static convoy_status read_batches(cvy_evaluator *e) {
    int sizes[CVY_STATISTICS_SLOTS];
    const size_t batches = e->statistics.pending;
    memcpy(sizes, e->statistics.sizes, sizeof sizes);
    convoy_status status = cvy_statistics_read(&e->statistics);
    return status || !e->outputs || e->statistics.first_bad ? status : check_outputs(e, batches, sizes);
}

convoy_status cvy_evaluator_run(cvy_evaluator *e, const volatile int *interrupt, double *loss,
                                double *accuracy) {
    size_t done = 0;
    e->statistics.pending = 0; /* of a run that failed in its middle */
    cvy_statistics_reset(&e->statistics);
    convoy_status status = cvy_loader_start(e->loader, 0, 0);
    while (!status) {
        int n = 0;
        status = cvy_loader_next(e->loader, cvy_network_input(e->network), e->labels, &n);
        if (status || n == 0)
            break;
        status = evaluate_batch(e, n, done);
        done += (size_t)n;
        if (!status && is_due(e)) {
            status = read_batches(e);
            if (!status && interrupt && *interrupt)
                status = cvy_fail(CONVOY_INTERRUPTED, "interrupted after evaluating %zu of %zu images", done,
                                  e->images);
        }
    }
    if (!status)
        status = read_batches(e);
    if (!status && e->statistics.first_bad)
        status =
            cvy_fail(CONVOY_FAILED,
                     "the loss of batch %zu is NaN or infinite: the network's outputs are no answers. Its "
                     "weights are too large, or training has diverged",
                     e->statistics.first_bad);
    *loss = cvy_statistics_loss(&e->statistics);
    *accuracy = cvy_statistics_accuracy(&e->statistics);
    return status;
}

convoy_status cvy_evaluator_answers(cvy_evaluator *e, int32_t *truth, int32_t *answers) {
    convoy_status status = cvy_buffer_read(e->truth, 0, truth, e->images * sizeof(int32_t));
    return status ? status : cvy_buffer_read(e->answers, 0, answers, e->images * sizeof(int32_t));
}

/* ---- the public call ---- */

static int batch_of(const convoy_model *model, const convoy_dataset *set, int batch_size) {
    size_t images = convoy_dataset_count(set);
    if (batch_size <= 0)
        batch_size = cvy_model_recipe(model)->batch_size;
    return images < (size_t)batch_size ? (int)images : batch_size; /* no room for images that are not there */
}

/* The figures of a caller, with what its pointers point to. */
typedef struct evaluation {
    convoy_evaluation figures; /* first: its address is the caller's */
    const convoy_class_result **classes;
    convoy_class_result *results;
    unsigned long long *confusion;
} evaluation;

static convoy_status make_evaluation(const convoy_dataset *set, size_t classes, evaluation **out) {
    evaluation *e = *out = calloc(1, sizeof *e);
    if (e) {
        cvy_object_open(e);
        e->classes = calloc(classes, sizeof *e->classes);
        e->results = calloc(classes, sizeof *e->results);
        e->confusion = calloc(classes * classes, sizeof *e->confusion);
    }
    if (!e || !e->classes || !e->results || !e->confusion)
        return cvy_fail_memory("an evaluation", classes * classes * sizeof(unsigned long long));
    e->figures = (convoy_evaluation){.size = sizeof e->figures,
                                     .images = convoy_dataset_count(set),
                                     .class_count = (int)classes,
                                     .classes = e->classes,
                                     .confusion = e->confusion};
    return CONVOY_OK;
}

static convoy_status fill_evaluation(cvy_evaluator *evaluator, const convoy_dataset *set, evaluation *e) {
    const size_t classes = (size_t)e->figures.class_count, images = e->figures.images;
    int32_t *truth = calloc(2 * images + 1, sizeof *truth);
    if (!truth)
        return cvy_fail_memory("the answers", 2 * images * sizeof *truth);
    convoy_status status = cvy_evaluator_answers(evaluator, truth, truth + images);
    if (!status)
        status = cvy_confusion_count(classes, images, truth, truth + images, e->confusion);
    free(truth);
    cvy_class_results(classes, e->confusion, e->results);
    for (size_t c = 0; c < classes; c++) {
        e->results[c].size = sizeof *e->results;
        e->results[c].name = convoy_dataset_class_name(set, (int)c);
        e->classes[c] = &e->results[c];
    }
    return status;
}

static convoy_status check_evaluation(const convoy_model *model, const convoy_device *device,
                                      convoy_dataset *set) {
    convoy_status status = cvy_given_object("convoy_evaluate", "model", model);
    if (!status)
        status = cvy_given_object("convoy_evaluate", "device", device);
    if (!status)
        status = cvy_given_object("convoy_evaluate", "set", set);
    if (status)
        return status;
    const cvy_classes known = cvy_model_classes(model);
    status = cvy_feed_check(model, set);
    return status || !known.count ? status : cvy_dataset_order_classes(set, &known, "the weights");
}

convoy_status convoy_evaluate(convoy_model *model, convoy_device *device, convoy_dataset *set, int batch_size,
                              const convoy_evaluation **out) {
    convoy_network *network = NULL;
    cvy_evaluator *evaluator = NULL;
    evaluation *result = NULL;
    convoy_status status = cvy_given_pointer(__func__, "evaluation", out);
    if (status)
        return status;
    *out = NULL;
    status = check_evaluation(model, device, set);
    if (status)
        return status;
    const int batch = batch_of(model, set, batch_size);
    cvy_sizes beside = {0};
    cvy_evaluator_sizes(model, device, set, cvy_network_pitch_of(cvy_device_get_traits(device), batch, false),
                        true, &beside);
    const cvy_network_options options = {.batch_size = batch, .beside = &beside};
    status = make_evaluation(set, (size_t)convoy_model_classes(model), &result);
    if (!status)
        status = cvy_network_create(model, device, &options, &network);
    if (!status)
        status = cvy_evaluator_create(network, device, set, true, &evaluator);
    if (!status)
        status = cvy_evaluator_run(evaluator, NULL, &result->figures.loss, &result->figures.accuracy);
    if (!status)
        status = fill_evaluation(evaluator, set, result);
    cvy_evaluator_free(evaluator);
    convoy_network_close(network);
    if (status)
        convoy_evaluation_free(result ? &result->figures : NULL);
    else
        *out = &result->figures;
    return status;
}

void convoy_evaluation_free(const convoy_evaluation *figures) {
    evaluation *e = (evaluation *)(uintptr_t)figures;
    if (!e || !cvy_object_close(__func__, "evaluation", e))
        return;
    free(e->classes);
    free(e->results);
    free(e->confusion);
    free(e);
}
