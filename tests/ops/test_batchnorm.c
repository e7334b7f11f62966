/* host/ops/batchnorm.h: PyTorch's values, finite differences, kernels against the reference. */
#define REFERENCE_BATCHNORM
#include "ops/batchnorm.h"
#include "ops/data/ops_reference.h"
#include "ops/elementwise.h"
#include "ops/ops.h"
#include "selftest/cases.h"

/* All buffers of one op, and what the reference makes of the same input. */
typedef struct fixture {
    cvy_batchnorm_shape shape;
    int n;
    size_t rows, count, channels;
    cvy_batchnorm *op;
    cvy_batchnorm_buffers b; /* gx takes the place of gy */
} fixture;

static fixture open_fixture(cvy_batchnorm_shape shape, int n, const float *x, const float *gy,
                            const float *weight, const float *bias, const float *mean, const float *var) {
    fixture f = {.shape = shape, .n = n, .channels = (size_t)shape.channels};
    f.rows = f.channels * (size_t)shape.height * (size_t)shape.width;
    f.count = f.rows * (size_t)shape.pitch;
    assert_ok(cvy_batchnorm_create(device, &shape, &f.op));
    f.b.x = upload(x, f.count), f.b.gy = upload(gy, f.count), f.b.y = garbage(f.count);
    f.b.weight = upload(weight, f.channels), f.b.bias = upload(bias, f.channels);
    f.b.running_mean = upload(mean, f.channels), f.b.running_var = upload(var, f.channels);
    f.b.saved_mean = garbage(f.channels), f.b.saved_invstd = garbage(f.channels);
    f.b.gweight = garbage(f.channels), f.b.gbias = garbage(f.channels);
    f.b.gx = f.b.gy;
    f.b.workspace = garbage(cvy_batchnorm_workspace(cvy_device_get_traits(device), &shape) / sizeof(float));
    return f;
}

static void close_fixture(fixture *f) {
    cvy_buffer *buffers[] = {
        f->b.x,           f->b.gy,         f->b.weight,       f->b.bias,    f->b.y,     f->b.running_mean,
        f->b.running_var, f->b.saved_mean, f->b.saved_invstd, f->b.gweight, f->b.gbias, f->b.workspace};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        cvy_buffer_free(buffers[i]);
    cvy_batchnorm_free(f->op);
}

static convoy_status forward(fixture *f) {
    return cvy_batchnorm_forward_training(f->op, f->n, &f->b);
}

static convoy_status backward(fixture *f, bool accumulate) {
    return cvy_batchnorm_backward(f->op, f->n, accumulate, &f->b);
}

static void check_buffer(const char *what, cvy_buffer *buffer, const float *expected, size_t count,
                         double tolerance) {
    float *actual = test_read(buffer, count);
    test_close(what, actual, expected, count, tolerance);
    free(actual);
}

static void check_columns(const char *what, cvy_buffer *buffer, const float *expected, const fixture *f,
                          bool padding_zero, double tolerance) {
    float *actual = test_read(buffer, f->count);
    test_close_columns(what, actual, expected, f->rows, f->shape.pitch, f->n, padding_zero, tolerance);
    free(actual);
}

static void test_recorded(void **state) {
    (void)state;
    const cvy_batchnorm_shape shape = {
        .pitch = 16, .channels = 2, .height = 4, .width = 3, .eps = 1e-5f, .momentum = 0.1f};
    float *x = spread_rows(bn_x, 24, 3, 16, 1e6f), *gy = spread_rows(bn_gy, 24, 3, 16, 0);
    fixture f = open_fixture(shape, 3, x, gy, bn_weight, bn_bias, bn_running_mean, bn_running_var);
    assert_ok(cvy_batchnorm_forward_eval(f.op, &f.b));
    float *y = test_read(f.b.y, f.count);
    check_recorded("eval y", y, bn_eval_y, 24, 3, 16, false, 2e-6);
    free(y);
    assert_ok(forward(&f));
    assert_ok(backward(&f, false));
    y = test_read(f.b.y, f.count);
    float *gx = test_read(f.b.gy, f.count);
    check_recorded("y", y, bn_y, 24, 3, 16, false, 2e-6);
    check_recorded("gx", gx, bn_gx, 24, 3, 16, true, 2e-6);
    check_buffer("gweight", f.b.gweight, bn_gweight, 2, 2e-6);
    check_buffer("gbias", f.b.gbias, bn_gbias, 2, 2e-6);
    check_buffer("running mean", f.b.running_mean, bn_new_mean, 2, 1e-6);
    check_buffer("running variance", f.b.running_var, bn_new_var, 2, 1e-6);
    close_fixture(&f);
    free(x), free(gy), free(y), free(gx);
}

/* Forward and backward (replacing, then adding) against the reference. The values of channel c lie around 100
   c, where a naive sum of squares would lose its digits; padding columns hold garbage. */
static void check_against_reference(cvy_batchnorm_shape shape, int n) {
    shape.eps = 1e-5f, shape.momentum = 0.3f;
    size_t channels = (size_t)shape.channels, rows = channels * (size_t)shape.height * (size_t)shape.width;
    size_t pitch = (size_t)shape.pitch, count = rows * pitch;
    float *x = test_random(count, 1), *gy = random_gradient(rows, n, shape.pitch, 2);
    float *weight = test_random(channels, 3), *bias = test_random(channels, 4);
    float *mean = test_random(channels, 5), *var = test_random(channels, 6), *saved = calloc(2 * channels, 4);
    float *expected = malloc(count * sizeof(float)), *sums = calloc(2 * channels, 4);
    for (size_t i = 0; i < count; i++)
        x[i] = i % pitch < (size_t)n ? x[i] + 100 * (float)(i / (count / channels)) : 1e5f * x[i];
    fixture f = open_fixture(shape, n, x, gy, weight, bias, mean, var);
    assert_ok(forward(&f));
    cvy_batchnorm_values v = {.x = x,
                              .gy = gy,
                              .weight = weight,
                              .bias = bias,
                              .y = expected,
                              .gx = expected,
                              .running_mean = mean,
                              .running_var = var,
                              .saved_mean = saved,
                              .saved_invstd = saved + channels,
                              .gweight = sums,
                              .gbias = sums + channels};
    cvy_batchnorm_forward_training_reference(&shape, n, &v);
    check_columns("y", f.b.y, expected, &f, false, 3e-5);
    check_buffer("running mean", f.b.running_mean, mean, channels, 1e-6);
    check_buffer("running variance", f.b.running_var, var, channels, 1e-5);
    check_buffer("saved mean", f.b.saved_mean, saved, channels, 1e-6);
    check_buffer("saved invstd", f.b.saved_invstd, saved + channels, channels, 1e-5);
    /* Backward from the device's own statistics: a mean's last digit times the sum of gy is no small number.
     */
    assert_ok(cvy_buffer_read(f.b.saved_mean, 0, saved, channels * sizeof(float)));
    assert_ok(cvy_buffer_read(f.b.saved_invstd, 0, saved + channels, channels * sizeof(float)));
    assert_ok(backward(&f, false));
    cvy_batchnorm_backward_reference(&shape, n, false, &v);
    check_columns("gx", f.b.gy, expected, &f, true, 1e-5);
    check_buffer("gweight", f.b.gweight, sums, channels, 1e-5);
    check_buffer("gbias", f.b.gbias, sums + channels, channels, 1e-5);
    assert_ok(cvy_buffer_write(f.b.gy, 0, gy, count * sizeof(float)));
    assert_ok(backward(&f, true));
    for (size_t i = 0; i < 2 * channels; i++)
        sums[i] *= 2;
    check_buffer("gweight twice", f.b.gweight, sums, channels, 1e-5);
    check_buffer("gbias twice", f.b.gbias, sums + channels, channels, 1e-5);
    close_fixture(&f);
    free(x), free(gy), free(weight), free(bias), free(mean), free(var), free(saved), free(expected),
        free(sums);
}

static void test_edges(void **state) {
    (void)state;
    for (size_t s = 0; s < cvy_batchnorm_case_count; s += test_stride())
        for (size_t b = 0; b < BATCHES; b += test_stride())
            if (batches[b][0] * cvy_batchnorm_cases[s][1] * cvy_batchnorm_cases[s][2] > 1)
                check_against_reference((cvy_batchnorm_shape){.pitch = batches[b][1],
                                                              .channels = cvy_batchnorm_cases[s][0],
                                                              .height = cvy_batchnorm_cases[s][1],
                                                              .width = cvy_batchnorm_cases[s][2]},
                                        batches[b][0]);
}

/* Many blocks in a channel; on a CPU with a cache, more bytes than are handled together, and an output that
   is written past the cache. */
static void test_large(void **state) {
    (void)state;
    const int height = test_quick() ? 5 : 40;
    cvy_batchnorm_shape shape = {.pitch = 32, .channels = 2, .height = height, .width = 151};
    check_against_reference(shape, 19);
    if (cvy_device_get_traits(device)->compute_units <= 1)
        return; /* an emulator would take minutes */
    check_against_reference((cvy_batchnorm_shape){.pitch = 32, .channels = 3, .height = 150, .width = 151},
                            32);
    check_against_reference((cvy_batchnorm_shape){.pitch = 32, .channels = 4, .height = 225, .width = 225},
                            32);
}

/* Without weight, bias, running statistics and parameter gradients. */
static void test_optional_buffers(void **state) {
    (void)state;
    const cvy_batchnorm_shape shape = {
        .pitch = 16, .channels = 2, .height = 3, .width = 4, .eps = 1e-5f, .momentum = 0.1f};
    float *x = test_random(384, 1), *gy = random_gradient(24, 5, 16, 2), expected[384], saved[4],
          ones[2] = {1, 1};
    fixture f = open_fixture(shape, 5, x, gy, ones, ones, ones, ones);
    cvy_batchnorm_buffers b = {.x = f.b.x,
                               .y = f.b.y,
                               .gy = f.b.gy,
                               .gx = f.b.gy,
                               .saved_mean = f.b.saved_mean,
                               .saved_invstd = f.b.saved_invstd,
                               .workspace = f.b.workspace};
    cvy_batchnorm_values v = {
        .x = x, .gy = gy, .y = expected, .gx = expected, .saved_mean = saved, .saved_invstd = saved + 2};
    assert_ok(cvy_batchnorm_forward_training(f.op, 5, &b));
    assert_ok(cvy_batchnorm_backward(f.op, 5, false, &b));
    cvy_batchnorm_forward_training_reference(&shape, 5, &v);
    check_columns("y", f.b.y, expected, &f, false, 1e-5);
    cvy_batchnorm_backward_reference(&shape, 5, false, &v);
    check_columns("gx", f.b.gy, expected, &f, true, 1e-5);
    b.running_mean = f.b.running_mean, b.running_var = f.b.running_var;
    v.running_mean = v.running_var = ones;
    assert_ok(cvy_batchnorm_forward_eval(f.op, &b));
    cvy_batchnorm_forward_eval_reference(&shape, &v);
    check_columns("eval y", f.b.y, expected, &f, false, 1e-6);
    close_fixture(&f);
    free(x), free(gy);
}

/* A batch of 13 and 19 images whose statistics meet is one of 32. */
static void test_shared(void **state) {
    (void)state;
    enum { CHANNELS = 3, ALL = 32 };
    const int sizes[2] = {13, 19}, height = test_quick() ? 5 : 40;
    cvy_batchnorm_shape shape = {.pitch = ALL,
                                 .channels = CHANNELS,
                                 .height = height,
                                 .width = 30,
                                 .eps = 1e-5f,
                                 .activation = CVY_RELU};
    const size_t rows = (size_t)(CHANNELS * height * shape.width), count = rows * ALL;
    float *x = test_random(count, 1), *gy = test_random(count, 2), *part[2] = {NULL, NULL};
    float *weight = test_random(CHANNELS, 3), *bias = test_random(CHANNELS, 4), saved[2 * CHANNELS];
    float *y = malloc(count * sizeof *y), *gx = malloc(count * sizeof *gx), sums[2 * CHANNELS];
    for (size_t i = 0; i < count; i++)
        x[i] += 100 * (float)(i / (count / CHANNELS));
    const cvy_batchnorm_values v = {.x = x,
                                    .gy = gy,
                                    .weight = weight,
                                    .bias = bias,
                                    .y = y,
                                    .gx = gx,
                                    .saved_mean = saved,
                                    .saved_invstd = saved + CHANNELS,
                                    .gweight = sums,
                                    .gbias = sums + CHANNELS};
    cvy_batchnorm_forward_training_reference(&shape, ALL, &v);
    cvy_batchnorm_backward_reference(&shape, ALL, false, &v);
    shape.shared = true;
    fixture f[2];
    double pairs[2][2 * CHANNELS], joined[2 * CHANNELS], counts[2];
    for (int i = 0; i < 2; i++) { /* its images in the first columns, garbage in the others */
        float *own[2];
        for (int k = 0; k < 2; k++) {
            own[k] = test_random(count, 7);
            for (size_t r = 0; r < rows; r++)
                memcpy(own[k] + r * ALL, (k ? gy : x) + r * ALL + (i ? sizes[0] : 0),
                       (size_t)sizes[i] * sizeof *x);
        }
        f[i] = open_fixture(shape, sizes[i], own[0], own[1], weight, bias, weight, bias);
        counts[i] = sizes[i] * (double)(height * shape.width);
        assert_ok(cvy_batchnorm_moments(f[i].op, sizes[i], &f[i].b, pairs[i]));
        free(own[0]), free(own[1]);
    }
    cvy_batchnorm_join(false, pairs[0], counts, 2, CHANNELS, joined);
    for (int i = 0; i < 2; i++) {
        assert_ok(cvy_batchnorm_forward_shared(f[i].op, joined, counts[0] + counts[1], &f[i].b));
        assert_ok(cvy_batchnorm_sums(f[i].op, sizes[i], false, &f[i].b, pairs[i]));
    }
    cvy_batchnorm_join(true, pairs[0], counts, 2, CHANNELS, joined);
    for (int i = 0; i < 2; i++) {
        assert_ok(cvy_batchnorm_backward_shared(f[i].op, sizes[i], joined, counts[0] + counts[1], &f[i].b));
        part[i] = malloc(count * sizeof *part[i]);
        for (int k = 0; k < 2; k++) {
            const float *whole = k ? gx : y;
            for (size_t r = 0; r < rows; r++)
                memcpy(part[i] + r * ALL, whole + r * ALL + (i ? sizes[0] : 0), (size_t)sizes[i] * sizeof *x);
            check_columns(k ? "gx" : "y", k ? f[i].b.gx : f[i].b.y, part[i], &f[i], k == 1, 3e-5);
        }
    }
    float *gweight[2], *gbias[2];
    for (int i = 0; i < 2; i++) {
        gweight[i] = test_read(f[i].b.gweight, CHANNELS), gbias[i] = test_read(f[i].b.gbias, CHANNELS);
        free(part[i]);
    }
    for (int c = 0; c < CHANNELS; c++)
        gweight[0][c] += gweight[1][c], gbias[0][c] += gbias[1][c];
    test_close("gweight", gweight[0], sums, CHANNELS, 3e-5);
    test_close("gbias", gbias[0], sums + CHANNELS, CHANNELS, 3e-5);
    for (int i = 0; i < 2; i++) {
        close_fixture(&f[i]);
        free(gweight[i]), free(gbias[i]);
    }
    free(x), free(gy), free(weight), free(bias), free(y), free(gx);
}

/* With an activation the op is what the op and the activation do one after the other, forward, backward and
   in evaluation: the reference cannot say so, where its output and the kernel's lie on two sides of 0. */
static void check_activation(cvy_batchnorm_shape shape, cvy_activation kind, int n, bool affine) {
    size_t channels = (size_t)shape.channels, rows = channels * (size_t)shape.height * (size_t)shape.width;
    size_t count = rows * (size_t)shape.pitch;
    float *x = test_random(count, 1), *gy = random_gradient(rows, n, shape.pitch, 2), *expected;
    float *weight = test_random(channels, 3), *bias = test_random(channels, 4);
    float *mean = test_random(channels, 5), *var = test_random(channels, 6);
    for (size_t c = 0; c < channels; c++)
        var[c] = 1 + var[c] * var[c];
    shape.eps = 1e-5f, shape.momentum = 0.3f;
    fixture apart = open_fixture(shape, n, x, gy, weight, bias, mean, var);
    shape.activation = kind;
    fixture fused = open_fixture(shape, n, x, gy, weight, bias, mean, var);
    fixture *fixtures[] = {&apart, &fused};
    const bool from_input = CVY_ACTIVATIONS_FROM_INPUT >> kind & 1;
    for (int pass = 0; pass < 2; pass++) { /* evaluation, then training */
        for (int i = 0; i < 2; i++) {
            fixture *f = fixtures[i];
            cvy_buffer *kept_weight = f->b.weight, *kept_bias = f->b.bias;
            if (!affine)
                f->b.weight = f->b.bias = NULL;
            if (pass)
                assert_ok(forward(f));
            else
                assert_ok(cvy_batchnorm_forward_eval(f->op, &f->b));
            if (i == 0 && pass && from_input)
                assert_ok(activate_backward(kind, count, f->b.y, f->b.gy, f->b.gy));
            if (i == 0)
                assert_ok(activate(kind, count, f->b.y, f->b.y));
            if (i == 0 && pass && !from_input)
                assert_ok(activate_backward(kind, count, f->b.y, f->b.gy, f->b.gy));
            if (pass)
                assert_ok(backward(f, false));
            f->b.weight = kept_weight, f->b.bias = kept_bias;
        }
        expected = test_read(apart.b.y, count);
        check_columns(pass ? "y" : "eval y", fused.b.y, expected, &fused, false, 1e-6);
        free(expected);
    }
    expected = test_read(apart.b.gy, count);
    check_columns("gx", fused.b.gy, expected, &fused, true, 1e-6);
    free(expected);
    expected = test_read(apart.b.gweight, channels);
    check_buffer("gweight", fused.b.gweight, expected, channels, 1e-6);
    free(expected);
    expected = test_read(apart.b.gbias, channels);
    check_buffer("gbias", fused.b.gbias, expected, channels, 1e-6);
    free(expected);
    close_fixture(&apart);
    close_fixture(&fused);
    free(x), free(gy), free(weight), free(bias), free(mean), free(var);
}

static void test_relu(void **state) {
    (void)state;
    check_activation((cvy_batchnorm_shape){.pitch = 16, .channels = 3, .height = 5, .width = 7}, CVY_RELU, 16,
                     true);
    check_activation((cvy_batchnorm_shape){.pitch = 32, .channels = 2, .height = 6, .width = 3}, CVY_RELU, 19,
                     true);
    check_activation((cvy_batchnorm_shape){.pitch = 48, .channels = 2, .height = 1, .width = 9}, CVY_RELU, 41,
                     false);
}

/* Of those of the output and those of the input one, in programs of their own. */
static void test_further(void **state) {
    (void)state;
    if (test_shortest())
        skip();
    check_activation((cvy_batchnorm_shape){.pitch = 16, .channels = 3, .height = 5, .width = 7}, CVY_RELU6,
                     16, true);
    check_activation((cvy_batchnorm_shape){.pitch = 16, .channels = 2, .height = 6, .width = 3}, CVY_SILU, 11,
                     true);
    check_activation((cvy_batchnorm_shape){.pitch = 16, .channels = 2, .height = 1, .width = 9}, CVY_SILU, 9,
                     false);
}

/* A convolution with folded weights: the kernel against the reference, with and without each optional tensor.
   The meaning of the reference is checked where networks with and without folding are compared. */
static void test_fold(void **state) {
    (void)state;
    enum { CHANNELS = 5, ROW = 75 };
    float *values[6], folded[CHANNELS * ROW], folded_bias[CHANNELS];
    cvy_buffer *buffers[6], *to = garbage(CHANNELS * ROW), *to_bias = garbage(CHANNELS);
    for (size_t i = 0; i < 6; i++) {
        size_t count =
            i ? CHANNELS : CHANNELS * ROW; /* weight and bias; the op's weight, bias, mean, variance */
        values[i] = test_random(count, 1 + (uint32_t)i);
        for (size_t k = 0; i == 5 && k < count; k++)
            values[i][k] = values[i][k] * values[i][k];
        buffers[i] = upload(values[i], count);
    }
    cvy_fold op;
    assert_ok(cvy_fold_prepare(device, CHANNELS, 1e-3f, &op));
    for (int bias = 0; bias < 2; bias++)
        for (int affine = 0; affine < 2; affine++) {
            const cvy_folding of = {buffers[0], bias ? buffers[1] : NULL, to, to_bias};
            const cvy_batchnorm_buffers norm = {.weight = affine ? buffers[2] : NULL,
                                                .bias = affine ? buffers[3] : NULL,
                                                .running_mean = buffers[4],
                                                .running_var = buffers[5]};
            assert_ok(cvy_fold_run(&op, &of, &norm));
            cvy_fold_reference(&op, ROW,
                               &(cvy_folding_values){values[0], bias ? values[1] : NULL, folded, folded_bias},
                               &(cvy_batchnorm_values){.weight = affine ? values[2] : NULL,
                                                       .bias = affine ? values[3] : NULL,
                                                       .running_mean = values[4],
                                                       .running_var = values[5]});
            check_buffer("weight", to, folded, CHANNELS * ROW, 1e-6);
            check_buffer("bias", to_bias, folded_bias, CHANNELS, 1e-6);
        }
    for (size_t i = 0; i < 6; i++)
        cvy_buffer_free(buffers[i]), free(values[i]);
    cvy_buffer_free(to);
    cvy_buffer_free(to_bias);
}

static void test_one_value_is_refused(void **state) {
    (void)state;
    const cvy_batchnorm_shape shape = {
        .pitch = 16, .channels = 2, .height = 1, .width = 1, .eps = 1e-5f, .momentum = 0.1f};
    const float zeros[32] = {0};
    fixture f = open_fixture(shape, 1, zeros, zeros, zeros, zeros, zeros, zeros);
    assert_fails(forward(&f), CONVOY_INVALID, "more than one value per channel");
    close_fixture(&f);
}

/* sum(y * gy) as a function of x, by the reference. */
static double objective(const cvy_batchnorm_shape *shape, const float *x, const float *gy,
                        const float *weight) {
    float y[96], saved[4];
    double sum = 0;
    const cvy_batchnorm_values v = {
        .x = x, .weight = weight, .y = y, .saved_mean = saved, .saved_invstd = saved + 2};
    cvy_batchnorm_forward_training_reference(shape, 4, &v);
    for (int i = 0; i < 96; i++)
        sum += (double)y[i] * gy[i];
    return sum;
}

static void test_finite_differences(void **state) {
    (void)state;
    const cvy_batchnorm_shape shape = {.pitch = 16, .channels = 2, .height = 1, .width = 3, .eps = 1e-5f};
    float *x = test_random(96, 1), *gy = random_gradient(6, 4, 16, 2), weight[2] = {0.7f, -1.3f};
    float y[96], saved[4], gx[96], gweight[2], gbias[2];
    const cvy_batchnorm_values v = {.x = x,
                                    .gy = gy,
                                    .weight = weight,
                                    .y = y,
                                    .gx = gx,
                                    .saved_mean = saved,
                                    .saved_invstd = saved + 2,
                                    .gweight = gweight,
                                    .gbias = gbias};
    cvy_batchnorm_forward_training_reference(&shape, 4, &v);
    cvy_batchnorm_backward_reference(&shape, 4, false, &v);
    for (int i = 0; i < 96; i++) {
        float at = x[i];
        x[i] = at + 1e-2f;
        double up = objective(&shape, x, gy, weight);
        x[i] = at - 1e-2f;
        double down = objective(&shape, x, gy, weight);
        x[i] = at;
        double expected = i % 16 < 4 ? (up - down) / 2e-2 : 0;
        assert_true(fabs(gx[i] - expected) < 5e-3);
    }
    free(x), free(gy);
}

/* With constant statistics forward is evaluation's, and backward scales: no value moves another's output. */
static void test_frozen(void **state) {
    (void)state;
    for (size_t b = 0; b < 3; b++) {
        const cvy_batchnorm_shape shape = {.pitch = batches[b][1],
                                           .channels = 3,
                                           .height = 2,
                                           .width = 3,
                                           .eps = 1e-3f,
                                           .momentum = 0.5f,
                                           .activation = b == 1 ? CVY_RELU : CVY_IDENTITY,
                                           .frozen = true};
        const int n = batches[b][0];
        const size_t rows = 18, count = rows * (size_t)shape.pitch;
        const float weight[] = {0.7f, -1.3f, 2}, bias[] = {0.1f, 0, -0.4f}, mean[] = {0.2f, -0.1f, 0},
                    var[] = {0.5f, 2, 0.01f};
        float *x = test_random(count, 1), *gy = random_gradient(rows, n, shape.pitch, 2);
        float *y = calloc(count, sizeof *y), *gx = calloc(count, sizeof *gx);
        for (size_t i = 0; i < count; i++) {
            const size_t c = i / (count / 3);
            const double scale = weight[c] / sqrt((double)var[c] + (double)shape.eps);
            const double value = (x[i] - mean[c]) * scale + bias[c];
            const bool passes = !shape.activation || value > 0;
            y[i] = passes ? (float)value : 0;
            gx[i] = passes && i % (size_t)shape.pitch < (size_t)n ? (float)(gy[i] * scale) : 0;
        }
        fixture f = open_fixture(shape, n, x, gy, weight, bias, mean, var);
        assert_ok(cvy_batchnorm_forward_frozen(f.op, &f.b));
        check_columns("y", f.b.y, y, &f, false, 2e-6);
        assert_ok(backward(&f, false));
        check_columns("gx", f.b.gx, gx, &f, true, 2e-6);
        check_buffer("running mean", f.b.running_mean, mean, 3, 0);
        check_buffer("running variance", f.b.running_var, var, 3, 0);
        close_fixture(&f);
        free(x), free(gy), free(y), free(gx);
    }
}

int main(void) {
    const struct CMUnitTest batchnorm[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_optional_buffers),
        cmocka_unit_test(test_relu),
        cmocka_unit_test(test_further),
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_one_value_is_refused),
        cmocka_unit_test(test_finite_differences),
    };
    return RUN_ON_DEVICES(batchnorm);
}
