/* Evaluation: batches in the set's own order, forward, loss; figures and answers stay on the device until
   they are asked for. */
#include "train/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/integer.h"
#include "base/machine.h"
#include "data/dataset.h"
#include "train/handshake.h"
#include "train/metrics.h"
#include "train/step.h"

struct cvy_evaluator {
    convoy_network *network;
    cvy_loader *loader;
    cvy_loss_op *loss, *host_loss; /* the host's is there with a verifier */
    cvy_buffer *labels;            /* int32 [pitch] */
    cvy_statistics statistics;
    cvy_buffer *truth, *answers; /* int32 [images]; NULL where not wanted */
    size_t images, classes;
    cvy_buffer *recent; /* with answers: the outputs of `slots` batches, until they are looked at */
    float *outputs;     /* [images][classes], what was looked at; NULL where not wanted */
    size_t looked;      /* images */
    size_t slots;
    cvy_verifier *verifier;     /* NULL: the device is not watched */
    cvy_collective *collective; /* NULL: this process evaluates all of them */
    struct figures *batches;    /* of all of them, and how many of its own this rank has */
    size_t taken;
};

/* What one batch came to. */
typedef struct figures {
    double loss;
    unsigned long long correct;
} figures;

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
                    const cvy_transforms *augment, cvy_growth growth, cvy_sizes *sizes) {
    const cvy_image_spec image = cvy_model_image(model);
    cvy_loader_sizes(device, set, &image, augment, growth, sizes);
}

convoy_status cvy_feed_open(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                            const cvy_feed_options *o, cvy_loader **loader) {
    convoy_status status = cvy_feed_check(model, set);
    if (status)
        return status;
    const cvy_loader_options options = {.batch_size = o->batch_size,
                                        .first = o->first,
                                        .share = o->share,
                                        .piece = o->piece,
                                        .pitch = o->pitch,
                                        .image = cvy_model_image(model),
                                        .shuffle = o->shuffle,
                                        .balanced = o->shuffle && cvy_model_recipe(model)->sampler,
                                        .seed = o->seed,
                                        .augment = o->augment,
                                        .device_budget = device_budget(device)};
    return cvy_loader_create(device, set, &options, loader);
}

convoy_status cvy_feed_create(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                              int batch_size, bool shuffle, uint64_t seed, const cvy_transforms *augment,
                              cvy_loader **loader) {
    const cvy_feed_options options = {.piece = cvy_network_batch_size(network),
                                      .batch_size = batch_size,
                                      .pitch = cvy_network_pitch(network),
                                      .shuffle = shuffle,
                                      .seed = seed,
                                      .augment = augment};
    return cvy_feed_open(cvy_network_model(network), device, set, &options, loader);
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
    const cvy_loss kind = (cvy_loss)cvy_model_recipe(model)->loss;
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
    e->classes = (size_t)convoy_model_classes(model);
    convoy_status status =
        cvy_feed_create(network, device, set, cvy_network_batch_size(network), false, 0, NULL, &e->loader);
    if (!status)
        status = cvy_verifier_create(device, &e->verifier);
    if (!status)
        status = cvy_loss_create(device, kind, convoy_model_classes(model), pitch, &e->loss);
    if (!status && e->verifier)
        status = cvy_loss_create(cvy_verifier_host(e->verifier), kind, convoy_model_classes(model), pitch,
                                 &e->host_loss);
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
        status = cvy_size_create(device, &outputs, 1, &e->recent);
    if (status) {
        cvy_evaluator_free(e);
        return status;
    }
    *evaluator = e;
    return CONVOY_OK;
}

void cvy_evaluator_sizes(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                         int pitch, bool answers, cvy_sizes *sizes) {
    cvy_feed_sizes(model, device, set, NULL, CVY_PER_PIECE, sizes);
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
    cvy_loss_free(e->host_loss);
    cvy_loss_free(e->loss);
    cvy_verifier_free(e->verifier);
    cvy_buffer_free(e->labels);
    cvy_statistics_free(&e->statistics);
    cvy_buffer_free(e->truth);
    cvy_buffer_free(e->answers);
    free(e->outputs);
    free(e->batches);
    cvy_buffer_free(e->recent);
    free(e);
}

/* ---- parts of ranks ---- */

convoy_status cvy_evaluator_share(cvy_evaluator *e, cvy_collective *collective) {
    const size_t batches = cvy_loader_batches(e->loader);
    if (cvy_ranks(collective) == 1)
        return CONVOY_OK;
    e->batches = calloc(batches, sizeof *e->batches);
    e->collective = collective;
    return e->batches ? CONVOY_OK : cvy_fail_memory("an evaluation", batches * sizeof *e->batches);
}

/* The first batch of a rank's part; of the one behind the last: how many there are. */
static size_t first_batch(const cvy_evaluator *e, int rank) {
    return cvy_loader_batches(e->loader) * (size_t)rank / (size_t)cvy_ranks(e->collective);
}

static size_t first_image(const cvy_evaluator *e, int rank) {
    return min_size(first_batch(e, rank) * (size_t)cvy_network_batch_size(e->network), e->images);
}

/* `each` bytes for every batch or image of each rank. */
static convoy_status gather(cvy_evaluator *e, convoy_status own, size_t (*first)(const cvy_evaluator *, int),
                            size_t each, void *all) {
    const int ranks = cvy_ranks(e->collective);
    size_t *bytes = calloc((size_t)ranks, sizeof *bytes);
    if (!bytes)
        return cvy_fail_memory("an evaluation", (size_t)ranks * sizeof *bytes);
    for (int r = 0; r < ranks; r++)
        bytes[r] = (first(e, r + 1) - first(e, r)) * each;
    convoy_status status = cvy_collective_gather(
        e->collective, "evaluation", own, (char *)all + first(e, cvy_rank(e->collective)) * each, bytes, all);
    free(bytes);
    return status;
}

static convoy_status take_batches(cvy_evaluator *e) {
    double losses[CVY_STATISTICS_SLOTS];
    unsigned long long correct[CVY_STATISTICS_SLOTS];
    const size_t count = e->statistics.pending, first = first_batch(e, cvy_rank(e->collective));
    convoy_status status = cvy_statistics_take(&e->statistics, losses, correct);
    for (size_t i = 0; i < count && !status; i++)
        e->batches[first + e->taken++] = (figures){losses[i], correct[i]};
    return status;
}

/* What all ranks have, added up as one would. */
static convoy_status add_parts(cvy_evaluator *e, convoy_status own) {
    const size_t batch = (size_t)cvy_network_batch_size(e->network);
    convoy_status status = gather(e, own, first_batch, sizeof *e->batches, e->batches);
    cvy_statistics_reset(&e->statistics);
    for (size_t b = 0; b < cvy_loader_batches(e->loader) && !status; b++)
        cvy_statistics_add(&e->statistics, e->batches[b].loss, e->batches[b].correct,
                           (int)min_size(batch, e->images - b * batch));
    return status;
}

/* ---- running ---- */

/* From now on every image's outputs are kept. */
static convoy_status keep_outputs(cvy_evaluator *e) {
    e->outputs = cvy_machine_allocate(e->images * e->classes, sizeof *e->outputs);
    return e->outputs ? CONVOY_OK
                      : cvy_fail_memory("the outputs", e->images * e->classes * sizeof *e->outputs);
}

static convoy_status evaluate_batch(cvy_evaluator *e, int n, size_t done) {
    const size_t bytes = e->recent ? cvy_buffer_bytes(e->recent) / e->slots : 0;
    convoy_status status = cvy_network_forward(e->network, n, false, 0);
    if (!status && e->recent)
        status = cvy_buffer_copy(cvy_network_output(e->network), 0, e->recent, e->statistics.pending * bytes,
                                 bytes);
    if (!status)
        status =
            cvy_loss_run_verified(e->verifier, e->loss, e->host_loss, e->statistics.parts,
                                  &(cvy_loss_operands){.n = n,
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

/* Of one batch, [classes][pitch]. An infinite output beside finite ones can have a finite loss, and is no
 * answer all the same. */
static convoy_status look_at(cvy_evaluator *e, const float *values, size_t pitch, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < e->classes; c++) {
            const float value = values[c * pitch + i];
            if (!isfinite(value))
                return cvy_fail(
                    CONVOY_FAILED,
                    "the output for class %zu of an image is %s: the network's outputs are no answers. Its "
                    "weights are too large, or training has diverged",
                    c, isnan(value) ? "NaN" : "infinite");
            if (e->outputs)
                e->outputs[(e->looked + i) * e->classes + c] = value;
        }
    e->looked += n;
    return CONVOY_OK;
}

static convoy_status read_outputs(cvy_evaluator *e, size_t batches, const int *sizes) {
    const size_t bytes = cvy_buffer_bytes(e->recent) / e->slots;
    float *values = malloc(bytes);
    convoy_status status = values ? CONVOY_OK : cvy_fail_memory("outputs", bytes);
    for (size_t b = 0; b < batches && !status; b++) {
        status = cvy_buffer_read(e->recent, b * bytes, values, bytes);
        if (!status)
            status = look_at(e, values, (size_t)cvy_network_pitch(e->network), (size_t)sizes[b]);
    }
    free(values);
    return status;
}

static bool is_due(const cvy_evaluator *e) {
    if (e->collective)
        return e->statistics.pending >= (e->recent ? e->slots : CVY_STATISTICS_SLOTS);
    return cvy_statistics_due(&e->statistics) || (e->recent && e->statistics.pending >= e->slots);
}

static convoy_status read_batches(cvy_evaluator *e) {
    int sizes[CVY_STATISTICS_SLOTS];
    const size_t batches = e->statistics.pending;
    memcpy(sizes, e->statistics.sizes, sizeof sizes);
    convoy_status status = e->collective ? take_batches(e) : cvy_statistics_read(&e->statistics);
    return status || !e->recent || e->statistics.first_bad ? status : read_outputs(e, batches, sizes);
}

/* The batches of this rank. */
static convoy_status run_part(cvy_evaluator *e, const volatile int *interrupt) {
    const int rank = cvy_rank(e->collective);
    const size_t end = first_image(e, rank + 1);
    size_t done = first_image(e, rank);
    convoy_status status = cvy_loader_start(e->loader, 0, first_batch(e, rank));
    cvy_network_verify(e->network, e->verifier);
    cvy_loader_verify(e->loader, e->verifier);
    while (!status && done < end) {
        int n = 0;
        cvy_verifier_begin(e->verifier);
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
    cvy_network_verify(e->network, NULL);
    return status ? status : read_batches(e);
}

static convoy_status evaluate_all(cvy_evaluator *e, const volatile int *interrupt, double *loss,
                                  double *accuracy) {
    e->looked = first_image(e, cvy_rank(e->collective));
    e->taken = 0;
    e->statistics.pending = 0; /* of a run that failed in its middle */
    cvy_statistics_reset(&e->statistics);
    convoy_status status = run_part(e, e->collective ? NULL : interrupt); /* ranks stop together, after it */
    if (e->collective)
        status = add_parts(e, status);
    if (!status && e->collective && e->outputs)
        status = gather(e, status, first_image, e->classes * sizeof *e->outputs, e->outputs);
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

/* malloc'ed */
static convoy_status read_parameters(const cvy_evaluator *e, char **data) {
    cvy_buffer *parameters = cvy_network_parameters(e->network);
    const size_t bytes = cvy_buffer_bytes(parameters);
    *data = malloc(bytes ? bytes : 1);
    return *data ? cvy_buffer_read(parameters, 0, *data, bytes) : cvy_fail_memory("the parameters", bytes);
}

/* On a device that is watched: what learns in between is not touched by an evaluation. */
convoy_status cvy_evaluator_run(cvy_evaluator *e, const volatile int *interrupt, double *loss,
                                double *accuracy) {
    char *before = NULL, *after = NULL;
    convoy_status status = e->verifier ? read_parameters(e, &before) : CONVOY_OK;
    if (!status)
        status = evaluate_all(e, interrupt, loss, accuracy);
    if (!status && e->verifier)
        status = read_parameters(e, &after);
    if (!status && e->verifier &&
        memcmp(before, after, cvy_buffer_bytes(cvy_network_parameters(e->network))) != 0)
        status = cvy_verifier_fail(
            e->verifier, "the evaluation",
            &(cvy_difference){.text = "the weights are behind it not what they were in front of it"});
    free(before);
    free(after);
    return status;
}

convoy_status cvy_evaluator_answers(cvy_evaluator *e, int32_t *truth, int32_t *answers) {
    const struct {
        cvy_buffer *buffer;
        int32_t *values;
    } parts[] = {{e->truth, truth}, {e->answers, answers}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        status = cvy_buffer_read(parts[i].buffer, 0, parts[i].values, e->images * sizeof(int32_t));
        if (e->collective)
            status = gather(e, status, first_image, sizeof(int32_t), parts[i].values);
    }
    return status;
}

/* Class and answer of every image, counted; malloc'ed. */
static convoy_status count_answers(cvy_evaluator *e, unsigned long long *confusion, int32_t **truth) {
    int32_t *both = *truth = calloc(2 * e->images + 1, sizeof *both);
    if (!both)
        return cvy_fail_memory("the answers", 2 * e->images * sizeof *both);
    convoy_status status = cvy_evaluator_answers(e, both, both + e->images);
    return status ? status : cvy_confusion_count(e->classes, e->images, both, both + e->images, confusion);
}

convoy_status cvy_evaluator_monitor(cvy_evaluator *e, int monitor, double *value) {
    unsigned long long *confusion = calloc(e->classes * e->classes, sizeof *confusion);
    int32_t *truth = NULL;
    cvy_averages averages = {0};
    convoy_status status = confusion ? count_answers(e, confusion, &truth)
                                     : cvy_fail_memory("a confusion matrix", e->classes * e->classes);
    if (!status)
        cvy_class_averages(e->classes, confusion, &averages);
    *value = monitor == CVY_MONITOR_MACRO_F1 ? averages.macro_f1 : averages.balanced_accuracy;
    free(truth);
    free(confusion);
    return status;
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

static void fill_averages(convoy_evaluation *figures) {
    cvy_averages a;
    cvy_class_averages((size_t)figures->class_count, figures->confusion, &a);
    figures->balanced_accuracy = a.balanced_accuracy;
    figures->macro_precision = a.macro_precision;
    figures->macro_recall = a.macro_recall;
    figures->macro_f1 = a.macro_f1;
    figures->weighted_precision = a.weighted_precision;
    figures->weighted_recall = a.weighted_recall;
    figures->weighted_f1 = a.weighted_f1;
}

static void negate(const cvy_evaluator *e) {
    for (size_t i = 0; i < e->images * e->classes; i++)
        e->outputs[i] = -e->outputs[i];
}

/* What takes the outputs themselves: how far down the right class stands, and ROC-AUC. */
static convoy_status fill_ranks(const cvy_evaluator *evaluator, const int32_t *truth, bool smallest,
                                evaluation *e) {
    const size_t classes = evaluator->classes, images = evaluator->images;
    double *areas = malloc(classes * sizeof *areas), sum = 0;
    size_t defined = 0;
    if (!areas)
        return cvy_fail_memory("areas under curves", classes * sizeof *areas);
    if (smallest)
        negate(evaluator);
    e->figures.top5_accuracy = cvy_top_k(classes, images, truth, evaluator->outputs, 5);
    convoy_status status = cvy_roc_auc(classes, images, truth, evaluator->outputs, areas);
    for (size_t c = 0; c < classes && !status; c++) {
        e->results[c].roc_auc = areas[c];
        sum += isnan(areas[c]) ? 0 : areas[c];
        defined += !isnan(areas[c]);
    }
    e->figures.roc_auc = defined ? sum / (double)defined : NAN;
    if (smallest)
        negate(evaluator);
    free(areas);
    return status;
}

static convoy_status fill_evaluation(cvy_evaluator *evaluator, const convoy_dataset *set, bool smallest,
                                     evaluation *e) {
    const size_t classes = (size_t)e->figures.class_count;
    int32_t *truth = NULL;
    convoy_status status = count_answers(evaluator, e->confusion, &truth);
    cvy_class_results(classes, e->confusion, e->results);
    fill_averages(&e->figures);
    for (size_t c = 0; c < classes; c++) {
        e->results[c].size = sizeof *e->results;
        e->results[c].name = convoy_dataset_class_name(set, (int)c);
        e->classes[c] = &e->results[c];
    }
    if (!status)
        status = fill_ranks(evaluator, truth, smallest, e);
    free(truth);
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

/* An evaluator, and what its evaluation comes to. */
static convoy_status run_evaluation(cvy_collective *collective, convoy_network *network,
                                    convoy_device *device, convoy_dataset *set, float **outputs,
                                    evaluation *result) {
    const convoy_model *model = cvy_network_model(network);
    const bool smallest = cvy_loss_answer_is_smallest((cvy_loss)cvy_model_recipe(model)->loss);
    cvy_evaluator *evaluator = NULL;
    convoy_status status = cvy_evaluator_create(network, device, set, true, &evaluator);
    if (!status)
        status = keep_outputs(evaluator);
    if (!status)
        status = cvy_evaluator_share(evaluator, collective);
    if (!status)
        status = cvy_evaluator_run(evaluator, NULL, &result->figures.loss, &result->figures.accuracy);
    if (!status)
        status = fill_evaluation(evaluator, set, smallest, result);
    if (!status && outputs) {
        *outputs = evaluator->outputs;
        evaluator->outputs = NULL;
    }
    cvy_evaluator_free(evaluator);
    return status;
}

convoy_status cvy_evaluate(cvy_collective *collective, convoy_model *model, convoy_device *device,
                           convoy_dataset *set, int batch_size, float **outputs,
                           const convoy_evaluation **out) {
    convoy_network *network = NULL;
    evaluation *result = NULL;
    convoy_status status = cvy_given_pointer("convoy_evaluate", "evaluation", out);
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
    const cvy_network_options options = {
        .batch_size = batch, .beside = &beside, .as_before = cvy_rank(collective) > 0};
    status = make_evaluation(set, (size_t)convoy_model_classes(model), &result);
    if (!status)
        status = cvy_network_create_on_ranks(collective, model, device, &options, &network);
    if (!status && cvy_ranks(collective) > 1)
        status = cvy_handshake_of(collective, network, device, set);
    if (!status)
        status = run_evaluation(collective, network, device, set, outputs, result);
    convoy_network_close(network);
    if (status)
        convoy_evaluation_free(result ? &result->figures : NULL);
    else
        *out = &result->figures;
    return status;
}

convoy_status convoy_evaluate(convoy_model *model, convoy_device *device, convoy_dataset *set, int batch_size,
                              const convoy_evaluation **evaluation) {
    return cvy_evaluate(NULL, model, device, set, batch_size, NULL, evaluation);
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
