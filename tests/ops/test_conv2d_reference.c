/* conv2d's host reference: values recorded from PyTorch, and its gradients against finite differences. */
#include "ops/conv2d/conv2d.h"

#include "ops/data/conv2d_reference.h"
#include "support/test.h"

enum { PITCH = 16 };

static float *zeros(size_t count) {
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    return values;
}

/* ---- Recorded from PyTorch ---- */

/* [rows][n] -> [rows][PITCH], the padding columns 0. */
static float *padded(const float *values, size_t rows, int n) {
    float *out = zeros(rows * PITCH);
    for (size_t r = 0; r < rows; r++)
        memcpy(out + r * PITCH, values + r * (size_t)n, (size_t)n * sizeof *out);
    return out;
}

static void check_rows(const char *what, const float *actual, const float *values, size_t rows, int n) {
    float *expected = padded(values, rows, n);
    test_close_columns(what, actual, expected, rows, PITCH, n, false, 1e-7);
    free(expected);
}

static cvy_conv2d_shape recorded_shape(const struct recorded *r) {
    cvy_conv2d_shape shape = {.pitch = PITCH,
                              .in_channels = r->in,
                              .in_height = r->size[0],
                              .in_width = r->size[1],
                              .out_channels = r->out,
                              .kernel = {r->kernel[0], r->kernel[1]},
                              .stride = {r->stride[0], r->stride[1]},
                              .padding = {r->padding[0], r->padding[1]},
                              .dilation = {r->dilation[0], r->dilation[1]},
                              .groups = r->groups};
    assert_ok(cvy_conv2d_infer(&shape));
    assert_int_equal(shape.out_height, r->out_size[0]);
    assert_int_equal(shape.out_width, r->out_size[1]);
    return shape;
}

static void check_recorded(const struct recorded *r) {
    const cvy_conv2d_shape shape = recorded_shape(r);
    const size_t in_rows = (size_t)(r->in * r->size[0] * r->size[1]);
    const size_t out_rows = (size_t)(r->out * r->out_size[0] * r->out_size[1]);
    const size_t weights = (size_t)(r->out * r->in / r->groups * r->kernel[0] * r->kernel[1]);
    float *x = padded(r->x, in_rows, r->n), *gy = padded(r->gy, out_rows, r->n);
    float *y = zeros(out_rows * PITCH), *gx = zeros(in_rows * PITCH), *gweight = zeros(weights);
    float *gbias = zeros((size_t)r->out);
    cvy_conv2d_forward_reference(&shape, x, r->weight, r->bias, y);
    check_rows(r->name, y, r->y, out_rows, r->n);
    cvy_conv2d_backward_data_reference(&shape, gy, r->weight, gx);
    check_rows(r->name, gx, r->gx, in_rows, r->n);
    cvy_conv2d_backward_weights_reference(&shape, x, gy, gweight, gbias, false);
    test_close(r->name, gweight, r->gweight, weights, 1e-7);
    test_close(r->name, gbias, r->gbias, (size_t)r->out, 1e-7);
    float *all[] = {x, gy, y, gx, gweight, gbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void test_recorded(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++)
        check_recorded(&recorded[i]);
}

/* ---- Finite differences ---- */
/* The output is linear in x, in the weights and in the bias, so that a central difference over a step of 1/4
   has no error but rounding. */

typedef struct problem {
    cvy_conv2d_shape shape;
    size_t inputs, outputs, weights;
    float *x, *weight, *bias, *gy, *y;
} problem;

static double loss(const problem *p) {
    cvy_conv2d_forward_reference(&p->shape, p->x, p->weight, p->bias, p->y);
    double sum = 0;
    for (size_t i = 0; i < p->outputs; i++)
        sum += (double)p->y[i] * (double)p->gy[i];
    return sum;
}

static void check_slope(const problem *p, const char *what, float *value, float gradient) {
    const float kept = *value;
    *value = kept + 0.25f;
    const double after = loss(p), step = (double)*value;
    *value = kept - 0.25f;
    const double slope = (after - loss(p)) / (step - (double)*value);
    *value = kept;
    if (!(fabs(slope - (double)gradient) <= 1e-5 * (1 + fabs(slope))))
        fail_msg("%s: the gradient is %g, the slope %g", what, (double)gradient, slope);
}

static void test_finite_differences(void **state) {
    (void)state;
    problem p = {.shape = {.pitch = PITCH,
                           .in_channels = 4,
                           .in_height = 6,
                           .in_width = 7,
                           .out_channels = 6,
                           .kernel = {3, 2},
                           .stride = {2, 1},
                           .padding = {2, 1},
                           .dilation = {1, 3},
                           .groups = 2}};
    assert_ok(cvy_conv2d_infer(&p.shape));
    p.inputs = 4 * 6 * 7 * PITCH;
    p.outputs = (size_t)(6 * p.shape.out_height * p.shape.out_width * PITCH);
    p.weights = 6 * 2 * 3 * 2;
    p.x = test_random(p.inputs, 1);
    p.weight = test_random(p.weights, 2);
    p.bias = test_random(6, 3);
    p.gy = test_random(p.outputs, 4);
    p.y = zeros(p.outputs);
    float *gx = zeros(p.inputs), *gweight = test_random(p.weights, 5), *gbias = test_random(6, 6);
    float *before = test_random(p.weights, 5), *bias_before = test_random(6, 6);
    cvy_conv2d_backward_data_reference(&p.shape, p.gy, p.weight, gx);
    cvy_conv2d_backward_weights_reference(&p.shape, p.x, p.gy, gweight, gbias, true);
    for (size_t i = 0; i < p.inputs; i += 37)
        check_slope(&p, "x", &p.x[i], gx[i]);
    for (size_t i = 0; i < p.weights; i++)
        check_slope(&p, "weight", &p.weight[i], gweight[i] - before[i]);
    for (size_t i = 0; i < 6; i++)
        check_slope(&p, "bias", &p.bias[i], gbias[i] - bias_before[i]);
    float *all[] = {p.x, p.weight, p.bias, p.gy, p.y, gx, gweight, gbias, before, bias_before};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recorded),
                                       cmocka_unit_test(test_finite_differences)};
    return cmocka_run_group_tests_name("conv2d reference", tests, NULL, NULL);
}
