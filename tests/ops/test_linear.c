/* The fully connected layer: gradients of the reference against finite differences, every device and variant
   against the reference. */
#include "ops/gemm/gemm.h"
#include "ops/linear.h"
#include "ops/sum_rows.h"
#include "support/test.h"

enum {
    ALL_PASSES = 1 << CVY_LINEAR_FORWARD | 1 << CVY_LINEAR_BACKWARD_DATA | 1 << CVY_LINEAR_BACKWARD_WEIGHTS
};

/* Zeroes the columns from n on, as every gradient that reaches an op has it. */
static void clear_padding(float *values, size_t rows, int pitch, int n) {
    for (size_t i = 0; i < rows; i++)
        for (int j = n; j < pitch; j++)
            values[i * (size_t)pitch + (size_t)j] = 0;
}

/* ---- Reference ---- */

static void forward_reference(const cvy_linear_shape *s, const float *x, const float *weight,
                              const float *bias, float *y) {
    const size_t in = s->in_features, out = s->out_features, pitch = (size_t)s->pitch;
    const cvy_gemm_shape product = {.m = out, .n = pitch, .k = in, .lda = in, .ldb = pitch, .ldc = pitch};
    for (size_t i = 0; bias && i < out * pitch; i++)
        y[i] = bias[i / pitch];
    cvy_gemm_reference(&product, weight, x, y, bias != NULL);
    cvy_activation_forward_reference(s->activation, NULL, out * pitch, y, y);
}

/* Without input_activation. */
static void backward_data_reference(const cvy_linear_shape *s, const float *gy, const float *weight,
                                    float *gx) {
    const size_t in = s->in_features, out = s->out_features, pitch = (size_t)s->pitch;
    const cvy_gemm_shape product = {
        .transpose_a = true, .m = in, .n = pitch, .k = out, .lda = in, .ldb = pitch, .ldc = pitch};
    cvy_gemm_reference(&product, weight, gy, gx, false);
}

static void backward_weights_reference(const cvy_linear_shape *s, const float *x, const float *gy,
                                       float *gweight, float *gbias, bool accumulate) {
    const size_t in = s->in_features, out = s->out_features, pitch = (size_t)s->pitch;
    const cvy_gemm_shape product = {
        .transpose_b = true, .m = out, .n = in, .k = pitch, .lda = pitch, .ldb = pitch, .ldc = in};
    cvy_gemm_reference(&product, gy, x, gweight, accumulate);
    cvy_sum_rows_reference(out, pitch, gy, gbias, accumulate);
}

/* ---- Reference against finite differences of loss = sum(gy * y) ---- */

typedef struct problem {
    cvy_linear_shape shape;
    size_t xs, ws, ys;
    float *x, *weight, *bias, *gy;
} problem;

static problem make_problem(int pitch, size_t in, size_t out, cvy_activation activation) {
    problem p = {.shape = {pitch, in, out, activation, activation},
                 .xs = in * (size_t)pitch,
                 .ws = in * out,
                 .ys = out * (size_t)pitch};
    p.x = test_random(p.xs, 1);
    p.weight = test_random(p.ws, 2);
    p.bias = test_random(out, 3);
    p.gy = test_random(p.ys, 4);
    clear_padding(p.gy, out, pitch, pitch - pitch / 4);
    return p;
}

static void free_problem(problem *p) {
    free(p->x);
    free(p->weight);
    free(p->bias);
    free(p->gy);
}

static double loss(const problem *p) {
    float *y = test_random(p->ys, 5);
    forward_reference(&p->shape, p->x, p->weight, p->bias, y);
    double sum = 0;
    for (size_t i = 0; i < p->ys; i++)
        sum += (double)p->gy[i] * (double)y[i];
    free(y);
    return sum;
}

/* The loss is linear in each of x, weight and bias, so a central difference is exact up to rounding. */
static void check_gradient(const char *what, const problem *p, float *values, const float *gradient,
                           size_t count) {
    for (size_t i = 0; i < count; i++) {
        float kept = values[i];
        values[i] = kept + 0.5f;
        double above = loss(p);
        values[i] = kept - 0.5f;
        double below = loss(p);
        values[i] = kept;
        if (!(fabs(above - below - (double)gradient[i]) <= 1e-5))
            fail_msg("%s[%zu]: gradient %.9g, finite difference %.9g", what, i, (double)gradient[i],
                     above - below);
    }
}

static void the_reference_has_the_right_gradients(void **state) {
    (void)state;
    problem p = make_problem(8, 5, 3, CVY_IDENTITY);
    float *gx = test_random(p.xs, 6), *gweight = test_random(p.ws, 7), *gbias = test_random(3, 8);
    backward_data_reference(&p.shape, p.gy, p.weight, gx);
    backward_weights_reference(&p.shape, p.x, p.gy, gweight, gbias, false);
    check_gradient("x", &p, p.x, gx, p.xs);
    check_gradient("weight", &p, p.weight, gweight, p.ws);
    check_gradient("bias", &p, p.bias, gbias, 3);
    free(gx);
    free(gweight);
    free(gbias);
    free_problem(&p);
}

/* ---- Devices against the reference ---- */

static void check_forward(convoy_device *device, cvy_linear *op, problem *p, bool with_bias,
                          cvy_buffer *workspace) {
    float *expected = test_random(p->ys, 9);
    forward_reference(&p->shape, p->x, p->weight, with_bias ? p->bias : NULL, expected);
    cvy_buffer *x = test_buffer(device, p->x, p->xs * sizeof(float));
    cvy_buffer *weight = test_buffer(device, p->weight, p->ws * sizeof(float));
    cvy_buffer *bias = test_buffer(device, p->bias, p->shape.out_features * sizeof(float));
    cvy_buffer *y = test_buffer(device, p->gy, p->ys * sizeof(float));
    assert_ok(cvy_linear_forward(op, x, weight, with_bias ? bias : NULL, y, workspace));
    float *actual = test_read(y, p->ys);
    test_close("y", actual, expected, p->ys, 3e-6);
    free(actual);
    free(expected);
    cvy_buffer_free(x);
    cvy_buffer_free(weight);
    cvy_buffer_free(bias);
    cvy_buffer_free(y);
}

static void check_backward_data(convoy_device *device, cvy_linear *op, problem *p, cvy_buffer *workspace) {
    float *expected = test_random(p->xs, 9);
    int pitch = p->shape.pitch;
    backward_data_reference(&p->shape, p->gy, p->weight, expected);
    cvy_activation_backward_reference(p->shape.input_activation, NULL, p->xs, p->x, expected, expected);
    cvy_buffer *gy = test_buffer(device, p->gy, p->ys * sizeof(float));
    cvy_buffer *weight = test_buffer(device, p->weight, p->ws * sizeof(float));
    cvy_buffer *x = test_buffer(device, p->x, p->xs * sizeof(float));
    cvy_buffer *gx = test_buffer(device, p->x, p->xs * sizeof(float));
    assert_ok(cvy_linear_backward_data(op, gy, weight, x, gx, workspace));
    float *actual = test_read(gx, p->xs);
    test_close_columns("gx", actual, expected, p->shape.in_features, pitch, pitch - pitch / 4, true, 3e-6);
    free(actual);
    free(expected);
    cvy_buffer_free(gy);
    cvy_buffer_free(weight);
    cvy_buffer_free(x);
    cvy_buffer_free(gx);
}

static void check_backward_weights(convoy_device *device, cvy_linear *op, problem *p, bool accumulate,
                                   cvy_buffer *workspace) {
    size_t out = p->shape.out_features;
    float *expected = test_random(p->ws, 9), *expected_bias = test_random(out, 10);
    cvy_buffer *x = test_buffer(device, p->x, p->xs * sizeof(float));
    cvy_buffer *gy = test_buffer(device, p->gy, p->ys * sizeof(float));
    cvy_buffer *gweight = test_buffer(device, expected, p->ws * sizeof(float));
    cvy_buffer *gbias = test_buffer(device, expected_bias, out * sizeof(float));
    backward_weights_reference(&p->shape, p->x, p->gy, expected, expected_bias, accumulate);
    assert_ok(cvy_linear_backward_weights(op, x, gy, gweight, gbias, accumulate, workspace));
    float *actual = test_read(gweight, p->ws), *actual_bias = test_read(gbias, out);
    test_close("gweight", actual, expected, p->ws, 3e-6);
    test_close("gbias", actual_bias, expected_bias, out, 3e-6);
    assert_ok(cvy_linear_backward_weights(op, x, gy, gweight, NULL, false, workspace));
    free(actual);
    free(actual_bias);
    free(expected);
    free(expected_bias);
    cvy_buffer_free(x);
    cvy_buffer_free(gy);
    cvy_buffer_free(gweight);
    cvy_buffer_free(gbias);
}

static void check_linear(convoy_device *device, const char *variant, int pitch, size_t in, size_t out,
                         cvy_activation activation) {
    problem p = make_problem(pitch, in, out, activation);
    cvy_linear *op = NULL;
    assert_ok(cvy_linear_create(device, &p.shape, ALL_PASSES, variant, &op));
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_linear_workspace(op));
    for (int flag = 0; flag < 2; flag++) {
        check_forward(device, op, &p, flag, workspace);
        check_backward_data(device, op, &p, workspace);
        check_backward_weights(device, op, &p, flag, workspace);
    }
    cvy_buffer_free(workspace);
    cvy_linear_free(op);
    free_problem(&p);
}

/* pitch, in, out, activation: one product in one block of k, in several, and with k split among work-items */
static const int shapes[][4] = {{16, 1, 1, CVY_IDENTITY},       {32, 33, 5, CVY_TANH},
                                {48, 130, 60, CVY_SCALED_TANH}, {64, 3136, 10, CVY_RELU},
                                {256, 84, 10, CVY_IDENTITY},    {256, 400, 120, CVY_SIGMOID}};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void the_device_agrees_with_the_reference(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i += test_quick() ? 2 : 1)
        check_linear(test_device(), NULL, shapes[i][0], (size_t)shapes[i][1], (size_t)shapes[i][2],
                     (cvy_activation)shapes[i][3]);
}

static void the_host_agrees_with_the_reference(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    for (int i = 0; i < SHAPES; i++)
        check_linear(host, NULL, shapes[i][0], (size_t)shapes[i][1], (size_t)shapes[i][2],
                     (cvy_activation)shapes[i][3]);
    convoy_device_close(host);
}

/* Those that the device has for all three passes, which vector_cpu is not. */
static void every_gemm_variant_can_be_forced(void **state) {
    (void)state;
    const cvy_gemm_shape product = {
        .transpose_a = true, .m = 12, .n = 16, .k = 7, .lda = 12, .ldb = 16, .ldc = 16};
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const cvy_task task = cvy_task_of(&cvy_gemm_op, &product, 0);
    const size_t count = cvy_task_candidates(test_device(), &task, candidates);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        const char *name = candidates[i].name;
        cvy_linear_shape shape = {16, 12, 7, CVY_IDENTITY, CVY_IDENTITY};
        cvy_linear *op = NULL;
        assert_ok(cvy_linear_create(test_device(), &shape, ALL_PASSES, name, &op));
        assert_string_equal(cvy_linear_variant(op, CVY_LINEAR_BACKWARD_DATA), name);
        cvy_needs needs;
        assert_ok(cvy_linear_describe(cvy_device_get_traits(test_device()), test_device(), &shape, ALL_PASSES,
                                      name, &needs));
        assert_int_equal(needs.workspace, cvy_linear_workspace(op));
        cvy_linear_free(op);
        check_linear(test_device(), name, 16, 12, 7, CVY_IDENTITY);
        check_linear(test_device(), name, 16, 12, 7, CVY_SIGMOID);
    }
}

static void a_pass_that_was_not_prepared_is_refused(void **state) {
    (void)state;
    cvy_linear_shape shape = {16, 4, 3, CVY_IDENTITY, CVY_IDENTITY};
    cvy_linear *op = NULL;
    assert_ok(cvy_linear_create(test_device(), &shape, 1 << CVY_LINEAR_FORWARD, NULL, &op));
    assert_fails(cvy_linear_backward_data(op, NULL, NULL, NULL, NULL, NULL), CONVOY_INVALID, "backward data");
    assert_string_equal(cvy_linear_variant(op, CVY_LINEAR_BACKWARD_DATA), "none");
    cvy_linear_free(op);
    shape.in_features = 0;
    assert_fails(cvy_linear_create(test_device(), &shape, 1, NULL, &op), CONVOY_INVALID, "0 inputs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_has_the_right_gradients),
        cmocka_unit_test(the_device_agrees_with_the_reference),
        cmocka_unit_test(the_host_agrees_with_the_reference),
        cmocka_unit_test(every_gemm_variant_can_be_forced),
        cmocka_unit_test(a_pass_that_was_not_prepared_is_refused),
    };
    int failed = cmocka_run_group_tests_name("ops/linear", tests, NULL, NULL);
    test_device_close();
    return failed;
}
