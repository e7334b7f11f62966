/* Whole networks: training steps against the losses that PyTorch recorded and against the host, the same bits
   twice, the largest buffer, and training images per second. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "model/model.h"
#include "selftest/record.h"
#include "selftest/selftest.h"
#include "train/diff.h"
#include "train/step.h"

/* A network in training, on the batches of record.h. */
typedef struct session {
    json_t *record; /* NULL: none, the weights are those of a seed */
    convoy_model *model;
    convoy_network *network;
    cvy_training training;
    cvy_record_batch batch;
} session;

static void stop(session *s) {
    cvy_training_free(&s->training);
    convoy_network_close(s->network);
    convoy_model_free(s->model);
    json_decref(s->record);
    *s = (session){0};
}

/* `record` NULL: with the recipe's batch size. */
static convoy_status start(session *s, convoy_device *device, const char *model, const char *record) {
    int shape[3];
    convoy_status status = cvy_model_read_text(model, cvy_selftest_file(model), &s->model);
    if (!status)
        status = cvy_model_complete(s->model, 0);
    if (!status && record) {
        s->record = json_loads(cvy_selftest_file(record), 0, NULL);
        status = cvy_record_set_tensors(s->record, s->model);
    }
    if (status)
        return status;
    s->batch.n = record ? (int)json_integer_value(json_object_get(s->record, "batch_size"))
                        : cvy_model_recipe(s->model)->batch_size;
    s->batch.classes = convoy_model_classes(s->model);
    convoy_model_input(s->model, shape);
    s->batch.pixels = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
    const cvy_network_options options = {.batch_size = s->batch.n, .training = true};
    status = cvy_network_create(s->model, device, &options, &s->network);
    if (!status)
        status = cvy_training_create(s->network, device, s->batch.n, &s->training);
    if (!status) {
        s->batch.pitch = (size_t)cvy_network_pitch(s->network);
        s->batch.images = cvy_network_input(s->network);
        s->batch.labels = s->training.labels;
    }
    return status;
}

static convoy_status step(session *s, uint32_t i, double *loss) {
    convoy_status status = cvy_record_set_batch(&s->batch, i);
    if (!status)
        status = cvy_training_step(&s->training, NULL, s->batch.n, i);
    if (!status)
        status = cvy_statistics_read(&s->training.statistics);
    *loss = s->training.statistics.batch_loss;
    return status;
}

/* ---- Training as PyTorch does ---- */

enum { STEPS = 20, STEPS_SIMULATED = 2, STEPS_TWICE = 5, PATIENCE = 5 };
/* Winograd's convolutions, which the parity tests leave out, stray farther than four times PyTorch's own
 * float32. */
static const double least_allowed = 2e-5;

/* A simulator takes minutes for a step. */
static bool is_simulated(convoy_device *device) {
    return cvy_device_get_traits(device)->quirks & CVY_QUIRK_INTERPRETS;
}

static convoy_status train(convoy_device *device, const char *const *about, cvy_selftest_case *out) {
    session s = {0};
    double loss;
    convoy_status status = start(&s, device, about[0], about[1]);
    const json_t *losses = json_object_get(s.record, "losses");
    const double limit = fmax(
        cvy_record_allowed(json_number_value(json_object_get(s.record, "loss_yardstick"))), least_allowed);
    const uint32_t steps = is_simulated(device) ? STEPS_SIMULATED : STEPS;
    for (uint32_t i = 0; i < steps && !status; i++) {
        const double right = json_number_value(json_array_get(losses, i));
        status = step(&s, i, &loss);
        if (status)
            break;
        const double off = isfinite(loss) ? fabs(loss - right) / right : INFINITY;
        out->error = fmax(out->error, off);
        if (!(off <= limit))
            status = cvy_fail(CONVOY_FAILED, "the loss of step %u is %.9g, PyTorch's %.9g", i, loss, right);
    }
    stop(&s);
    return status;
}

/* All parameters after a few steps; malloc'ed. */
static convoy_status parameters_after(convoy_device *device, const char *const *about, float **values,
                                      size_t *count) {
    session s = {0};
    double loss;
    convoy_status status = start(&s, device, about[0], about[1]);
    for (uint32_t i = 0; i < STEPS_TWICE && !status; i++)
        status = step(&s, i, &loss);
    if (!status)
        status = cvy_network_download(s.network);
    *count = 0;
    for (size_t i = 0; i < convoy_model_tensor_count(s.model) && !status; i++) {
        const convoy_tensor *tensor = convoy_model_tensor(s.model, i);
        size_t more = 1;
        for (int d = 0; d < tensor->dimensions; d++)
            more *= tensor->shape[d];
        float *larger = realloc(*values, (*count + more) * sizeof **values);
        if (!larger) {
            status = cvy_fail_memory("the self-test", (*count + more) * sizeof **values);
            break;
        }
        *values = larger;
        memcpy(larger + *count, tensor->values, more * sizeof **values);
        *count += more;
    }
    stop(&s);
    return status;
}

static convoy_status train_twice(convoy_device *device, const char *const *about, cvy_selftest_case *out) {
    float *values[2] = {NULL, NULL};
    size_t count[2] = {0, 0}, different = 0;
    convoy_status status = CONVOY_OK;
    (void)out;
    for (int i = 0; i < 2 && !status; i++)
        status = parameters_after(device, about, &values[i], &count[i]);
    for (size_t i = 0; !status && i < count[0]; i++)
        different += memcmp(&values[0][i], &values[1][i], sizeof(float)) != 0;
    if (different)
        status = cvy_fail(CONVOY_FAILED, "%zu of %zu parameters differ after the same %d steps", different,
                          count[0], STEPS_TWICE);
    free(values[0]);
    free(values[1]);
    return status;
}

/* ---- Layers, recipes and images of all kinds, as the host has them ---- */

/* Each value of the first step, of a network with the layers that have no cases of their own. */
static convoy_status like_host(convoy_device *device, const char *const *about, cvy_selftest_case *out) {
    static const cvy_diff_options options = {.seed = 1, .batch_size = 6, .tolerance = 1e-4};
    convoy_device *devices[2] = {NULL, device};
    convoy_model *model = NULL;
    convoy_dataset *set = NULL;
    cvy_diff diff = {0};
    int shape[3] = {0};
    convoy_status status = cvy_model_read_text(about[0], cvy_selftest_file(about[0]), &model);
    if (!status)
        status = cvy_model_complete(model, 0);
    if (!status) {
        convoy_model_input(model, shape);
        status =
            convoy_dataset_open("synthetic", "train",
                                &(convoy_dataset_options){.channels = shape[0],
                                                          .height = shape[1],
                                                          .width = shape[2],
                                                          .synthetic_classes = convoy_model_classes(model),
                                                          .synthetic_images = options.batch_size},
                                &set);
    }
    if (!status)
        status = convoy_device_open("host", &devices[0]);
    if (!status)
        status = cvy_diff_run(model, devices, set, &options, &diff);
    for (size_t i = 0; i < diff.count && !status; i++)
        out->error = fmax(out->error, diff.rows[i].difference);
    if (!status && diff.first < diff.count) {
        const cvy_diff_row *first = &diff.rows[diff.first];
        status =
            cvy_fail(CONVOY_FAILED, "layer %s (%s%s%s), pass %s: the %s is off by %.2g of its largest value",
                     first->layer, first->type, *first->variants[1] ? ", " : "", first->variants[1],
                     first->pass, first->what, first->difference);
    }
    cvy_diff_free(&diff);
    convoy_device_close(devices[0]);
    convoy_dataset_free(set);
    convoy_model_free(model);
    return status;
}

/* ---- The largest buffer ---- */

/* As much as the device says that it gives in one piece, but no more than an eighth of the host's memory
   where that is the device's too. Both ends hold what is written to them. */
static convoy_status allocate(convoy_device *device, const char *const *about, cvy_selftest_case *out) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t bytes = traits->max_allocation < traits->memory / 2 ? traits->max_allocation : traits->memory / 2;
    unsigned char written[4096], read[4096];
    cvy_buffer *buffer = NULL;
    (void)about, (void)out;
    if ((traits->cpu || traits->host) && bytes > traits->memory / 8)
        bytes = traits->memory / 8;
    bytes -= bytes % 4096;
    convoy_status status = cvy_buffer_create(device, bytes, "the self-test", &buffer);
    for (int end = 0; end < 2 && !status; end++) {
        const size_t offset = end ? bytes - sizeof written : 0;
        for (size_t i = 0; i < sizeof written; i++)
            written[i] = (unsigned char)(i * 7 + (size_t)end);
        status = cvy_buffer_write(buffer, offset, written, sizeof written);
        if (!status)
            status = cvy_buffer_copy(buffer, offset, buffer, bytes / 2 / 4096 * 4096, sizeof written);
        if (!status)
            status = cvy_buffer_read(buffer, bytes / 2 / 4096 * 4096, read, sizeof read);
        if (!status && memcmp(written, read, sizeof read) != 0)
            status = cvy_fail(CONVOY_FAILED, "a buffer of %zu bytes does not hold what is written at %zu",
                              bytes, offset);
    }
    cvy_buffer_free(buffer);
    return status;
}

/* ---- How fast ---- */

/* The best of some windows; the first one builds the kernels. Where a step takes seconds, one that is warm
   does, and the host has nothing to build. */
static convoy_status bench(convoy_device *device, const char *const *about, cvy_selftest_case *out) {
    enum { WINDOWS = 6 };
    const double window = 0.4, enough = 4;
    const int least = cvy_device_get_traits(device)->host ? 1 : 2;
    session s = {0};
    double best = 0, spent = 0;
    uint32_t steps = 0;
    convoy_status status = start(&s, device, about[0], NULL);
    if (!status)
        status = cvy_record_set_batch(&s.batch, 0);
    for (int w = 0; w < WINDOWS && !status && (w < least || spent < enough); w++) {
        const uint32_t before = steps;
        const double begin = cvy_seconds();
        double took = 0;
        while (!status && took < window) {
            s.training.statistics.pending = 0;
            status = cvy_training_step(&s.training, NULL, s.batch.n, steps++);
            if (!status)
                status = cvy_device_finish(device);
            took = cvy_seconds() - begin;
        }
        best = fmax(best, (steps - before) * (double)s.batch.n / took);
        spent += took;
    }
    out->figure = best;
    stop(&s);
    return status;
}

/* ---- The table ---- */

#define LENET "models/lenet.yaml"
#define BATCH_NORM "tests/models/monkeypox_bn_48.yaml"
static const struct row {
    const char *name;
    convoy_status (*run)(convoy_device *device, const char *const *about, cvy_selftest_case *out);
    const char *about[2]; /* model, record */
    cvy_selftest_level from;
    bool simulated; /* simulators are asked for it, too */
} rows[] = {
    {"train:lenet", train, {LENET, "tests/train/parity/lenet.json"}, CVY_SELFTEST_QUICK, true},
    {"train:batch_norm",
     train,
     {BATCH_NORM, "tests/train/parity/monkeypox_bn.json"},
     CVY_SELFTEST_QUICK,
     false},
    {"layers:blocks", like_host, {"tests/models/blocks.yaml", NULL}, CVY_SELFTEST_NORMAL, true},
    {"layers:heads", like_host, {"tests/models/heads.yaml", NULL}, CVY_SELFTEST_NORMAL, true},
    {"layers:others", like_host, {"tests/models/others.yaml", NULL}, CVY_SELFTEST_NORMAL, true},
    {"same bits:lenet", train_twice, {LENET, "tests/train/parity/lenet.json"}, CVY_SELFTEST_QUICK, false},
    {"same bits:batch_norm",
     train_twice,
     {BATCH_NORM, "tests/train/parity/monkeypox_bn.json"},
     CVY_SELFTEST_NORMAL,
     false},
    {"allocation", allocate, {NULL, NULL}, CVY_SELFTEST_NORMAL, false},
    {"bench:lenet", bench, {LENET, NULL}, CVY_SELFTEST_QUICK, false},
    {"bench:mnist_cnn", bench, {"models/mnist_cnn.yaml", NULL}, CVY_SELFTEST_NORMAL, false},
    {"bench:digits_cnn", bench, {"models/digits_cnn.yaml", NULL}, CVY_SELFTEST_NORMAL, false},
    {"bench:alexnet", bench, {"models/alexnet.yaml", NULL}, CVY_SELFTEST_NORMAL, false},
    {"bench:monkeypox_bn", bench, {"models/monkeypox_bn.yaml", NULL}, CVY_SELFTEST_NORMAL, false},
};

static bool run_row(const cvy_selftest_job *job, convoy_device *device, size_t i, cvy_selftest_case *out) {
    const struct row *row = job->about[0];
    (void)i;
    snprintf(out->name, sizeof out->name, "%s", row->name);
    job->tell(job->context, out->name);
    out->status = row->run(device, row->about, out);
    return true;
}

void cvy_selftest_networks(convoy_device *device, cvy_selftest_level level, cvy_selftest_job *jobs,
                           size_t *count) {
    for (size_t r = 0; r < sizeof rows / sizeof *rows && *count < CVY_SELFTEST_PARTS; r++) {
        if (level < rows[r].from || (is_simulated(device) && !rows[r].simulated) ||
            (rows[r].run == like_host && cvy_device_get_traits(device)->host))
            continue;
        cvy_selftest_job *job = &jobs[(*count)++];
        *job = (cvy_selftest_job){
            .cases = 1, .patience = PATIENCE, .run = run_row, .about = {&rows[r]}, .level = level};
        snprintf(job->name, sizeof job->name, "%s", rows[r].name);
    }
}
