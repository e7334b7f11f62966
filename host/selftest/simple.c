/* Simple ops against their references: each case runs on the device and again on the host device, where an op
   is its reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/status.h"
#include "ops/batchnorm.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/lenet5.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/resample.h"
#include "ops/resize.h"
#include "ops/sum_rows.h"
#include "selftest/cases.h"
#include "selftest/selftest.h"
#include "tune/measure.h"

/* ---- One run of a case, whose first failure ends it ---- */

enum { BUFFERS = 24, OUTPUTS = 16 };
static const float poison = 1e6f; /* what outputs hold before: what is not written shows */

typedef struct probe {
    convoy_device *device;
    convoy_status status;
    cvy_buffer *buffers[BUFFERS];
    struct {
        bool given;
        uint64_t hash;
    } contents[BUFFERS]; /* that they were given */
    int buffer_count;
    float *outputs[OUTPUTS];
    size_t counts[OUTPUTS];
    int output_count;
} probe;

static void try(probe *p, convoy_status status) {
    if (!p->status)
        p->status = status;
}

static cvy_buffer *put(probe *p, const void *data, size_t bytes) {
    cvy_buffer *buffer = NULL;
    if (!p->status)
        p->status = cvy_buffer_create(p->device, bytes, "the self-test", &buffer);
    if (buffer) {
        if (data)
            p->contents[p->buffer_count].hash = XXH3_64bits(data, bytes);
        p->contents[p->buffer_count].given = data != NULL;
        p->buffers[p->buffer_count++] = buffer;
    }
    if (!p->status && data && bytes)
        p->status = cvy_buffer_write(buffer, 0, data, bytes);
    return buffer;
}

/* Random values, scale times and offset off those in [-1, 1); 0 in the columns from n on where n is not 0. */
static cvy_buffer *make(probe *p, size_t count, uint32_t stream, float scale, float offset, size_t pitch,
                        int n) {
    float *values = cvy_random_floats(count, stream);
    for (size_t i = 0; values && i < count; i++)
        values[i] = n && i % pitch >= (size_t)n ? 0 : values[i] * scale + offset;
    if (!values)
        try(p, cvy_fail_memory("the self-test", count * sizeof *values));
    cvy_buffer *buffer = put(p, values, count * sizeof(float));
    free(values);
    return buffer;
}
static cvy_buffer *values(probe *p, size_t count, uint32_t stream) {
    return make(p, count, stream, 1, 0, 1, 0);
}
static cvy_buffer *gradient(probe *p, size_t rows, int pitch, int n, uint32_t stream) {
    return make(p, rows * (size_t)pitch, stream, 1, 0, (size_t)pitch, n);
}
static cvy_buffer *poisoned(probe *p, size_t count) {
    return make(p, count, 99, 0, poison, 1, 0);
}

/* Keeps [rows][n] of a result [rows][pitch]. */
static void keep(probe *p, cvy_buffer *buffer, size_t rows, int pitch, int n) {
    const size_t count = rows * (size_t)pitch;
    float *read = malloc((count ? count : 1) * sizeof *read);
    if (!read)
        try(p, cvy_fail_memory("the self-test", count * sizeof *read));
    if (!p->status)
        p->status = cvy_buffer_read(buffer, 0, read, count * sizeof *read);
    if (p->status) {
        free(read);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        memmove(read + r * (size_t)n, read + r * (size_t)pitch, (size_t)n * sizeof *read);
    p->outputs[p->output_count] = read;
    p->counts[p->output_count++] = rows * (size_t)n;
}

static void end(probe *p) {
    for (int i = 0; i < p->buffer_count; i++)
        cvy_buffer_free(p->buffers[i]);
    for (int i = 0; i < p->output_count; i++)
        free(p->outputs[i]);
}

/* ---- The ops: each prepares, runs and keeps what came out ---- */

static void pool2d(probe *p, size_t i, const int batch[2]) {
    cvy_pool2d_shape s = cvy_pool2d_cases[i];
    cvy_pool2d op;
    s.pitch = batch[1];
    s.relu = cvy_pool2d_takes_relu(&s) && i % 2;
    try(p, cvy_pool2d_infer(&s));
    if (!p->status)
        p->status = cvy_pool2d_prepare(p->device, &s, &op);
    if (p->status)
        return;
    const size_t in = (size_t)s.channels * (size_t)s.in_height * (size_t)s.in_width,
                 out = (size_t)s.channels * (size_t)s.out_height * (size_t)s.out_width,
                 pitch = (size_t)s.pitch;
    cvy_buffer *x = values(p, in * pitch, 1), *y = poisoned(p, out * pitch), *gx = poisoned(p, in * pitch),
               *gy = gradient(p, out, s.pitch, batch[0], 2),
               *indices = s.kind == CVY_POOL_MAX ? put(p, NULL, out * pitch) : NULL;
    if (p->status)
        return;
    try(p, cvy_pool2d_forward(&op, x, y, indices));
    try(p, cvy_pool2d_backward(&op, gy, indices, x, gx));
    keep(p, y, out, s.pitch, batch[0]);
    keep(p, gx, in, s.pitch, s.pitch);
}

/* The same once more with statistics that went through the host, here those of one piece. */
static void shared_batchnorm(probe *p, cvy_batchnorm_shape s, int n, cvy_batchnorm_buffers b) {
    const size_t channels = (size_t)s.channels, rows = channels * cvy_batchnorm_pixels(&s);
    double *pairs = calloc(2 * channels, sizeof *pairs);
    cvy_batchnorm *op = NULL;
    s.shared = true;
    const double count = cvy_batchnorm_count(&s, n);
    try(p, pairs ? cvy_batchnorm_create(p->device, &s, &op)
                 : cvy_fail_memory("the self-test", 2 * channels * sizeof *pairs));
    b.y = poisoned(p, rows * (size_t)s.pitch);
    b.gx = b.gy = gradient(p, rows, s.pitch, n, 2);
    b.gweight = poisoned(p, channels);
    b.gbias = poisoned(p, channels);
    b.workspace = put(p, NULL, cvy_batchnorm_workspace(cvy_device_get_traits(p->device), &s));
    if (!p->status)
        p->status = cvy_batchnorm_moments(op, n, &b, pairs);
    if (!p->status)
        p->status = cvy_batchnorm_forward_shared(op, pairs, count, &b);
    keep(p, b.y, rows, s.pitch, n);
    if (!p->status)
        p->status = cvy_batchnorm_sums(op, n, false, &b, pairs);
    if (!p->status)
        p->status = cvy_batchnorm_backward_shared(op, n, pairs, count, &b);
    keep(p, b.gx, rows, s.pitch, s.pitch);
    keep(p, b.gweight, channels, 1, 1);
    keep(p, b.gbias, channels, 1, 1);
    cvy_batchnorm_free(op);
    free(pairs);
}

/* A convolution's weight and bias with the norm in them. */
static void fold(probe *p, size_t channels, const cvy_batchnorm_buffers *b) {
    enum { ROW = 9 };
    const cvy_folding of = {values(p, channels * ROW, 6), values(p, channels, 7), poisoned(p, channels * ROW),
                            poisoned(p, channels)};
    cvy_fold op;
    try(p, cvy_fold_prepare(p->device, (int)channels, 1e-5f, &op));
    if (!p->status)
        p->status = cvy_fold_run(&op, &of, b);
    keep(p, of.folded_weight, channels * ROW, 1, 1);
    keep(p, of.folded_bias, channels, 1, 1);
}

static void batchnorm(probe *p, size_t i, const int batch[2]) {
    const int *size = cvy_batchnorm_cases[i];
    const cvy_batchnorm_shape s = {batch[1], size[0],      size[1], size[2], 1e-5f,
                                   0.3f,     CVY_IDENTITY, false,   false};
    const size_t channels = (size_t)size[0], rows = channels * (size_t)size[1] * (size_t)size[2],
                 count = rows * (size_t)s.pitch;
    cvy_batchnorm *op = NULL;
    try(p, cvy_batchnorm_create(p->device, &s, &op));
    cvy_batchnorm_buffers b = {.x = make(p, count, 1, 1, 10, 1, 0),
                               .y = poisoned(p, count),
                               .gy = gradient(p, rows, s.pitch, batch[0], 2),
                               .weight = values(p, channels, 3),
                               .bias = values(p, channels, 4),
                               .running_mean = values(p, channels, 5),
                               .running_var = make(p, channels, 6, 0.5f, 1, 1, 0),
                               .saved_mean = poisoned(p, channels),
                               .saved_invstd = poisoned(p, channels),
                               .gweight = poisoned(p, channels),
                               .gbias = poisoned(p, channels)};
    b.gx = b.gy;
    b.workspace = put(p, NULL, cvy_batchnorm_workspace(cvy_device_get_traits(p->device), &s));
    fold(p, channels, &b); /* first, as training changes the running statistics */
    if (!p->status)
        p->status = cvy_batchnorm_forward_training(op, batch[0], &b);
    keep(p, b.y, rows, s.pitch, batch[0]);
    if (!p->status)
        p->status = cvy_batchnorm_backward(op, batch[0], false, &b);
    keep(p, b.gx, rows, s.pitch, s.pitch);
    keep(p, b.gweight, channels, 1, 1);
    keep(p, b.gbias, channels, 1, 1);
    keep(p, b.running_mean, channels, 1, 1);
    keep(p, b.running_var, channels, 1, 1);
    if (!p->status)
        p->status = cvy_batchnorm_forward_eval(op, &b);
    keep(p, b.y, rows, s.pitch, batch[0]);
    cvy_batchnorm_free(op);
    shared_batchnorm(p, s, batch[0], b);
}

static void activations(probe *p, size_t i, const int batch[2]) {
    const size_t count = cvy_length_cases[i];
    const cvy_activation kind = (cvy_activation)(batch[0] % CVY_ACTIVATION_COUNT);
    cvy_elementwise forward, backward;
    try(p, cvy_elementwise_prepare(p->device, CVY_ACTIVATE, kind, count, &forward));
    try(p, cvy_elementwise_prepare(p->device, CVY_ACTIVATE_BACKWARD, kind, count, &backward));
    cvy_buffer *x = make(p, count, 1, 3, 0, 1, 0), *gy = values(p, count, 2), *y = poisoned(p, count);
    if (p->status)
        return;
    try(p, cvy_elementwise_run(&forward, x, NULL, y));
    try(p, cvy_elementwise_run(&backward, y, gy, gy));
    keep(p, y, 1, (int)count, (int)count);
    keep(p, gy, 1, (int)count, (int)count);
}

static void sums(probe *p, size_t i, const int batch[2]) {
    const size_t count = cvy_length_cases[i];
    cvy_elementwise op;
    try(p,
        cvy_elementwise_prepare(p->device, batch[0] % 2 ? CVY_ADD : CVY_MULTIPLY, CVY_IDENTITY, count, &op));
    cvy_buffer *a = values(p, count, 1), *b = values(p, count, 2);
    if (!p->status)
        p->status = cvy_elementwise_run(&op, a, b, b);
    keep(p, b, 1, (int)count, (int)count);
}

static void loss(probe *p, size_t i, const int batch[2]) {
    const int classes = cvy_loss_cases[i];
    const size_t count = (size_t)classes * (size_t)batch[1], parts = cvy_loss_parts(p->device, batch[1]);
    int32_t labels[64];
    cvy_loss_op *op = NULL;
    for (int k = 0; k < 64; k++)
        labels[k] = k * 7 % classes;
    try(p, cvy_loss_create(p->device, (cvy_loss)(batch[0] % CVY_LOSS_COUNT), classes, batch[1], &op));
    const cvy_loss_operands o = {.n = batch[0],
                                 .output = make(p, count, 1, 20, 0, 1, 0),
                                 .labels = put(p, labels, (size_t)batch[1] * sizeof *labels),
                                 .grad_scale = 1.0f / (float)batch[0],
                                 .gradient = poisoned(p, count),
                                 .statistics = poisoned(p, 2 * parts)};
    if (!p->status)
        p->status = cvy_loss_run(op, &o);
    keep(p, o.gradient, (size_t)classes, batch[1], batch[1]);
    keep(p, o.statistics, parts, 2, 2);
    cvy_loss_free(op);
    if (p->status)
        return;
    /* A slot has as many parts as the device has work-groups for it: their sums are what counts. */
    float *pairs = p->outputs[1];
    for (size_t k = 1; k < parts; k++)
        for (int f = 0; f < 2; f++)
            pairs[f] += pairs[2 * k + (size_t)f];
    p->counts[1] = 2;
}

static void softmax(probe *p, size_t i, const int batch[2]) {
    const size_t classes = (size_t)cvy_loss_cases[i], pitch = (size_t)batch[1], count = classes * pitch;
    cvy_softmax op;
    try(p, cvy_softmax_prepare(p->device, classes, pitch, &op));
    cvy_buffer *x = make(p, count, 1, 20, 0, 1, 0), *y = poisoned(p, count), *gx = poisoned(p, count),
               *gy = gradient(p, classes, batch[1], batch[0], 2);
    if (p->status)
        return;
    try(p, cvy_softmax_forward(&op, x, y));
    try(p, cvy_softmax_backward(&op, y, gy, gx));
    keep(p, y, classes, batch[1], batch[0]);
    keep(p, gx, classes, batch[1], batch[0]);
}

static void gather(probe *p, size_t i, const int batch[2]) {
    enum { IMAGES = 64 };
    cvy_gather_shape s = cvy_gather_cases[i];
    int32_t labels[IMAGES];
    uint32_t indices[IMAGES];
    cvy_gather *op = NULL;
    cvy_resample *resample = NULL;
    s.pitch = batch[1];
    s.floats = batch[0] % 2;
    for (int k = 0; k < IMAGES; k++) {
        labels[k] = k * k % 10;
        indices[k] = (uint32_t)(k * 37 + 11) % IMAGES;
    }
    const cvy_image_spec *image = &s.image;
    const size_t pixels = (size_t)(image->channels * s.in_height * s.in_width) * IMAGES,
                 rows = (size_t)image->channels * ((size_t)image->height + 2 * (size_t)image->border) *
                        ((size_t)image->width + 2 * (size_t)image->border);
    cvy_gather_shape made = s;
    if (cvy_resampling_needed(image, s.in_height, s.in_width)) {
        try(p, cvy_resample_create(p->device, &s, &resample));
        made.in_height = image->height;
        made.in_width = image->width;
        made.in_order = true;
    }
    try(p, cvy_gather_create(p->device, &made, &op));
    unsigned char *bytes = malloc(pixels);
    for (size_t k = 0; bytes && k < pixels; k++)
        bytes[k] = (unsigned char)(k * 2654435761u >> 13);
    if (!bytes)
        try(p, cvy_fail_memory("the self-test", pixels));
    cvy_buffer *images = s.floats ? values(p, pixels, 1) : put(p, bytes, pixels);
    free(bytes);
    cvy_buffer *all = put(p, labels, sizeof labels), *chosen = put(p, indices, sizeof indices),
               *y = poisoned(p, rows * (size_t)s.pitch), *classes = poisoned(p, (size_t)s.pitch);
    for (int again = 0; again < 2; again++) { /* what the ops hold themselves stays what it was */
        cvy_buffer *sampled = images;
        if (!p->status && resample)
            p->status = cvy_resample_run(resample, batch[0], images, chosen, 0, &sampled);
        if (!p->status)
            p->status = cvy_gather_run(op, batch[0], sampled, all, chosen, 0, y, classes);
    }
    keep(p, y, rows, s.pitch, s.pitch);
    keep(p, classes, 1, s.pitch, batch[0]);
    for (int k = 0; !p->status && k < batch[0]; k++) { /* whole numbers */
        int32_t label;
        memcpy(&label, &p->outputs[1][k], sizeof label);
        p->outputs[1][k] = (float)label;
    }
    cvy_gather_free(op);
    cvy_resample_free(resample);
}

static void resize(probe *p, size_t i, const int batch[2]) {
    const int *size = cvy_resize_cases[i];
    const cvy_resize_shape s = {batch[1], 2, size[0], size[1], size[2], size[3]};
    const size_t in = 2 * (size_t)(size[0] * size[1]), out = 2 * (size_t)(size[2] * size[3]),
                 pitch = (size_t)batch[1];
    cvy_resize op;
    try(p, cvy_resize_prepare(p->device, &s, &op));
    cvy_buffer *x = values(p, in * pitch, 1), *y = poisoned(p, out * pitch), *gx = poisoned(p, in * pitch),
               *gy = gradient(p, out, batch[1], batch[0], 2);
    if (p->status)
        return;
    try(p, cvy_resize_forward(&op, x, y));
    try(p, cvy_resize_backward(&op, gy, gx));
    keep(p, y, out, batch[1], batch[0]);
    keep(p, gx, in, batch[1], batch[1]);
}

static void optimizer(probe *p, size_t i, const int batch[2]) {
    static const char *const names[] = {"SGD", "Adam", "AdamW"};
    const size_t count = cvy_update_cases[i];
    cvy_optimizer o = {.lr = 0.01, .weight_decay = 0.1, .momentum = 0.9, .betas = {0.8, 0.99}, .eps = 1e-6};
    o.type = cvy_optimizer_type_find(names[batch[0] % 3]);
    cvy_update op;
    const size_t states = (size_t)cvy_optimizer_states(&o);
    cvy_buffer *parameters = values(p, count, 1), *gradients = values(p, count, 2),
               *state = make(p, states * count, 3, 0.5f, 1, 1, 0);
    if (!p->status)
        p->status = cvy_update_prepare(p->device, &o, count, &op);
    if (!p->status)
        p->status = cvy_update_run(&op, 7, parameters, gradients, states ? state : NULL);
    keep(p, parameters, 1, (int)count, (int)count);
    if (states)
        keep(p, state, 1, (int)(states * count), (int)(states * count));
}

static void dropout(probe *p, size_t i, const int batch[2]) {
    const cvy_dropout_shape s = {batch[1], 123, cvy_dropout_cases[i], 0x123456789abcdef, 70000};
    const size_t count = s.features * (size_t)s.pitch;
    cvy_dropout op;
    try(p, cvy_dropout_prepare(p->device, &s, &op));
    cvy_buffer *x = values(p, count, 1), *y = poisoned(p, count);
    if (!p->status)
        p->status = cvy_dropout_run(&op, 17, x, y);
    keep(p, y, s.features, s.pitch, s.pitch);
}

static void linear(probe *p, size_t i, const int batch[2]) {
    const cvy_linear_shape s = {batch[1], cvy_gemm_cases[i][2], cvy_gemm_cases[i][0], CVY_RELU, CVY_IDENTITY};
    const size_t pitch = (size_t)batch[1], x = s.in_features * pitch, y = s.out_features * pitch,
                 weights = s.in_features * s.out_features;
    cvy_linear *op = NULL;
    try(p, cvy_linear_create(p->device, &s, 7, NULL, &op));
    cvy_buffer *in = values(p, x, 1), *weight = values(p, weights, 2), *bias = values(p, s.out_features, 3),
               *out = poisoned(p, y), *gy = gradient(p, s.out_features, batch[1], batch[0], 4),
               *gx = poisoned(p, x), *gweight = poisoned(p, weights), *gbias = poisoned(p, s.out_features),
               *workspace = p->status ? NULL : put(p, NULL, cvy_linear_workspace(op));
    if (!p->status)
        p->status = cvy_linear_forward(op, in, weight, bias, out, workspace);
    if (!p->status)
        p->status = cvy_linear_backward_data(op, gy, weight, in, gx, workspace);
    if (!p->status)
        p->status = cvy_linear_backward_weights(op, in, gy, gweight, gbias, false, workspace);
    keep(p, out, s.out_features, batch[1], batch[0]);
    keep(p, gx, s.in_features, batch[1], batch[0]);
    keep(p, gweight, 1, (int)weights, (int)weights);
    keep(p, gbias, 1, (int)s.out_features, (int)s.out_features);
    cvy_linear_free(op);
}

static void subsample(probe *p, size_t i, const int batch[2]) {
    const cvy_subsample_shape s = {batch[1], 3, (int)i + 2, 7, 2};
    const size_t in = 3 * (size_t)(s.in_height * 7) * (size_t)batch[1],
                 out_rows = 3 * (size_t)(s.in_height / 2 * 3), out = out_rows * (size_t)batch[1];
    cvy_subsample op;
    try(p, cvy_subsample_prepare(p->device, &s, &op));
    cvy_buffer *x = values(p, in, 1), *weight = values(p, 3, 2), *bias = values(p, 3, 3),
               *y = poisoned(p, out), *gy = gradient(p, out_rows, batch[1], batch[0], 4),
               *gx = poisoned(p, in), *gweight = poisoned(p, 3), *gbias = poisoned(p, 3),
               *workspace = put(p, NULL, cvy_subsample_workspace(cvy_device_get_traits(p->device), &s));
    if (p->status)
        return;
    try(p, cvy_subsample_forward(&op, x, weight, bias, y));
    try(p, cvy_subsample_backward(&op, x, gy, weight, gx, gweight, gbias, false, workspace));
    keep(p, y, out_rows, batch[1], batch[0]);
    keep(p, gx, in / (size_t)batch[1], batch[1], batch[0]);
    keep(p, gweight, 3, 1, 1);
    keep(p, gbias, 3, 1, 1);
}

static void rbf(probe *p, size_t i, const int batch[2]) {
    const cvy_rbf_shape s = {batch[1], 3 + 27 * (int)i, 10};
    const size_t in = (size_t)s.features * (size_t)batch[1], out = 10 * (size_t)batch[1];
    cvy_rbf op;
    try(p, cvy_rbf_prepare(p->device, &s, &op));
    cvy_buffer *x = values(p, in, 1), *weight = values(p, 10 * (size_t)s.features, 2), *y = poisoned(p, out),
               *gy = gradient(p, 10, batch[1], batch[0], 3), *gx = poisoned(p, in);
    if (p->status)
        return;
    try(p, cvy_rbf_forward(&op, x, weight, y));
    try(p, cvy_rbf_backward(&op, x, weight, gy, gx));
    keep(p, y, 10, batch[1], batch[0]);
    keep(p, gx, (size_t)s.features, batch[1], batch[0]);
}

/* ---- The table ---- */

enum { SUBSAMPLE_CASES = 4, RBF_CASES = 4, LINEAR_CASES = 8 };
static const size_t subsample_count = SUBSAMPLE_CASES, rbf_count = RBF_CASES, linear_count = LINEAR_CASES;

/* One value has no variance. */
static bool has_variance(size_t i, const int batch[2]) {
    return batch[0] * cvy_batchnorm_cases[i][1] * cvy_batchnorm_cases[i][2] > 1;
}

static bool is_training(size_t i, const int batch[2]) {
    (void)i;
    return batch[1] % 16 == 0;
}

/* `tolerance`: as the tests have it. `applies`: NULL where every case does. */
static const struct row {
    const char *name;
    void (*run)(probe *p, size_t i, const int batch[2]);
    const size_t *cases;
    double tolerance;
    bool (*applies)(size_t i, const int batch[2]);
} rows[] = {
    {"pool2d", pool2d, &cvy_pool2d_case_count, 1e-6, NULL},
    {"batchnorm", batchnorm, &cvy_batchnorm_case_count, 3e-5, has_variance},
    {"activations", activations, &cvy_length_case_count, 3e-7, NULL},
    {"sums", sums, &cvy_length_case_count, 0, NULL},
    {"loss", loss, &cvy_loss_case_count, 2e-6, NULL},
    {"softmax", softmax, &cvy_loss_case_count, 2e-6, NULL},
    {"gather", gather, &cvy_gather_case_count, 1e-6, NULL},
    {"resize", resize, &cvy_resize_case_count, 1e-6, NULL},
    {"optimizer", optimizer, &cvy_update_case_count, 1e-6, NULL},
    {"dropout", dropout, &cvy_dropout_case_count, 0, is_training},
    {"linear", linear, &linear_count, 5e-6, is_training},
    {"subsample", subsample, &subsample_count, 5e-6, NULL},
    {"rbf", rbf, &rbf_count, 5e-6, NULL},
};

static convoy_status is_as_given(const probe *p, int i, bool *as_given) {
    const size_t bytes = cvy_buffer_bytes(p->buffers[i]);
    void *data = malloc(bytes ? bytes : 1);
    const convoy_status status =
        data ? cvy_buffer_read(p->buffers[i], 0, data, bytes) : cvy_fail_memory("the self-test", bytes);
    *as_given = !status && XXH3_64bits(data, bytes) == p->contents[i].hash;
    free(data);
    return status;
}

/* What the reference only reads, the device's kernels leave as it is. */
static convoy_status check_operands(const probe *found, const probe *right) {
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < right->buffer_count && i < found->buffer_count && !status; i++) {
        bool read_only = false, kept = true;
        if (right->contents[i].given && right->contents[i].hash == found->contents[i].hash)
            status = is_as_given(right, i, &read_only);
        if (!status && read_only)
            status = is_as_given(found, i, &kept);
        if (!kept && !status)
            status = cvy_fail(CONVOY_FAILED, "operand %d, which is only read, was changed", i + 1);
    }
    return status;
}

static convoy_status compare(const probe *found, const probe *right, double tolerance, double *error) {
    for (int i = 0; i < right->output_count; i++) {
        const convoy_status status =
            cvy_compare(found->outputs[i], right->outputs[i], right->counts[i], tolerance, error);
        if (status)
            return cvy_fail_in(status, "result %d", i + 1);
    }
    return CONVOY_OK;
}

static bool run_simple(const cvy_selftest_job *job, convoy_device *device, size_t i, cvy_selftest_case *out) {
    const struct row *row = job->about[0];
    const int *batch = cvy_batch_cases[i % CVY_BATCH_CASES];
    const size_t shape = i / CVY_BATCH_CASES;
    convoy_device *host = NULL;
    if ((job->level == CVY_SELFTEST_QUICK && i % 7 != 1 && i % 7 != 4) ||
        (row->applies && !row->applies(shape, batch)))
        return false;
    snprintf(out->name, sizeof out->name, "shape %zu, %d images in %d", shape, batch[0], batch[1]);
    job->tell(job->context, out->name);
    probe right = {.status = convoy_device_open("host", &host)}, found = {.device = device};
    right.device = host;
    if (!right.status)
        row->run(&right, shape, batch);
    found.status = right.status;
    if (!found.status)
        row->run(&found, shape, batch);
    out->status = found.status ? found.status : check_operands(&found, &right);
    if (!out->status)
        out->status = compare(&found, &right, row->tolerance, &out->error);
    end(&right);
    end(&found);
    convoy_device_close(host);
    return true;
}

void cvy_selftest_simple_ops(cvy_selftest_level level, cvy_selftest_job *jobs, size_t *count) {
    for (size_t r = 0; r < sizeof rows / sizeof *rows && *count < CVY_SELFTEST_PARTS; r++) {
        cvy_selftest_job *job = &jobs[(*count)++];
        *job = (cvy_selftest_job){.patience = 1,
                                  .cases = *rows[r].cases * CVY_BATCH_CASES,
                                  .run = run_simple,
                                  .about = {&rows[r]},
                                  .level = level};
        snprintf(job->name, sizeof job->name, "%s", rows[r].name);
    }
}
