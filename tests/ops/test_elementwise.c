/* host/ops/elementwise.h: activations against PyTorch and finite differences, kernels against the reference.
 */
#include <math.h>

#define REFERENCE_ACTIVATIONS
#define REFERENCE_FURTHER
#include "ops/data/ops_reference.h"
#include "ops/elementwise.h"
#include "ops/ops.h"
#include "selftest/cases.h"

enum {
    KINDS = CVY_FIRST_FURTHER, /* first the common ones */
    RECORDED = sizeof activation_x / sizeof *activation_x,
    FURTHER = sizeof further_x / sizeof *further_x
};

#define Y(NAME, name, ...) name##_y,
static const float *const recorded_y[KINDS] = {activation_x, CVY_ACTIVATIONS(Y)};
#define GX(NAME, name, ...) name##_gx,
static const float *const recorded_gx[KINDS] = {activation_gy, CVY_ACTIVATIONS(GX)};
#define TITLE(NAME, name, ...) #name,
static const char *const names[KINDS] = {"identity", CVY_ACTIVATIONS(TITLE)};

static void test_recorded(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        cvy_buffer *x = upload(activation_x, RECORDED), *gy = upload(activation_gy, RECORDED);
        cvy_buffer *y = garbage(RECORDED), *gx = garbage(RECORDED);
        assert_ok(activate(kind, RECORDED, x, y));
        assert_ok(activate_backward(kind, RECORDED, y, gy, gx));
        float *actual_y = download(y, RECORDED), *actual_gx = download(gx, RECORDED);
        check_special(names[kind], actual_y, recorded_y[kind], RECORDED, 2e-7);
        check_special(names[kind], actual_gx, recorded_gx[kind], RECORDED, 1e-6);
        free(actual_y);
        free(actual_gx);
        cvy_buffer_free(x);
        cvy_buffer_free(gy);
    }
}

static void test_lengths(void **state) {
    (void)state;
    for (size_t l = 0; l < cvy_length_case_count; l++)
        for (int kind = 0; kind < KINDS; kind++) {
            size_t count = cvy_length_cases[l];
            float *x = test_random(count, 1), *gy = test_random(count, 2),
                  *expected = malloc(count * sizeof(float));
            cvy_activation_forward_reference(kind, NULL, count, x, expected);
            cvy_buffer *values = upload(x, count), *gradient = upload(gy, count);
            assert_ok(activate(kind, count, values, values)); /* in place */
            assert_ok(activate_backward(kind, count, values, gradient, gradient));
            float *y = download(values, count), *gx = download(gradient, count);
            test_close(names[kind], y, expected, count, 3e-7);
            cvy_activation_backward_reference(kind, NULL, count, y, gy, expected);
            test_close(names[kind], gx, expected, count, 3e-7);
            free(x), free(gy), free(expected), free(y), free(gx);
        }
}

static void test_slopes(void **state) {
    (void)state;
    float x[200], up[200], down[200], y[200], ones[200], gx[200];
    for (int i = 0; i < 200; i++) {
        x[i] = (float)(i - 100) * 0.05f + 0.01f;
        ones[i] = 1;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        float higher[200], lower[200], expected[200];
        for (int i = 0; i < 200; i++) {
            higher[i] = x[i] + 0.005f;
            lower[i] = x[i] - 0.005f;
        }
        cvy_activation_forward_reference(kind, NULL, 200, higher, up);
        cvy_activation_forward_reference(kind, NULL, 200, lower, down);
        cvy_activation_forward_reference(kind, NULL, 200, x, y);
        for (int i = 0; i < 200; i++)
            expected[i] = (float)(((double)up[i] - down[i]) / ((double)higher[i] - lower[i]));
        cvy_activation_backward_reference(kind, NULL, 200, y, ones, gx);
        test_close(names[kind], gx, expected, 200, 1e-4);
    }
}

/* Relative to the value itself, also where it is tiny. */
static void test_sigmoid_range(void **state) {
    (void)state;
    enum { COUNT = 4000 };
    float x[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(i - COUNT / 2) * (86.0f / (COUNT / 2));
    cvy_buffer *values = upload(x, COUNT);
    assert_ok(activate(CVY_SIGMOID, COUNT, values, values));
    float *y = download(values, COUNT);
    for (int i = 0; i < COUNT; i++) {
        const double expected = 1 / (1 + exp(-(double)x[i]));
        if (fabs(y[i] - expected) > 1e-6 * expected)
            fail_msg("sigmoid(%g) is %.9g, expected %.9g", (double)x[i], (double)y[i], expected);
    }
    free(y);
}

/* Units in the last place between a float and the value that it stands for. */
static double units_off(float actual, double expected) {
    const float nearest = fabsf((float)expected);
    return fabs(actual - expected) / ((double)nextafterf(nearest, INFINITY) - nearest);
}

/* From tiny values to where nothing but 1 is left, where tanh is 1 and its slope 0. */
static void test_tanh_range(void **state) {
    (void)state;
    enum { COUNT = 8000, ENDS = 6 };
    const float ends[ENDS] = {9.02f, -9.02f, 20, -1e30f, INFINITY, -INFINITY};
    float x[COUNT + ENDS], ones[COUNT + ENDS];
    for (int i = 0; i < COUNT; i++)
        x[i] = (i % 2 ? -1 : 1) *
               (i < COUNT / 2 ? (float)i * (10.0f / (COUNT / 2)) : ldexpf((float)i, -i % 40 - 12));
    memcpy(x + COUNT, ends, sizeof ends);
    for (int i = 0; i < COUNT + ENDS; i++)
        ones[i] = 1;
    for (int scaled = 0; scaled < 2; scaled++) {
        const cvy_activation kind = scaled ? CVY_SCALED_TANH : CVY_TANH;
        const float end = scaled ? 1.7159f : 1, stretch = scaled ? 2 : 1;
        for (int i = 0; i < ENDS; i++)
            x[COUNT + i] = ends[i] * stretch;
        cvy_buffer *in = upload(x, COUNT + ENDS), *out = garbage(COUNT + ENDS),
                   *slopes = upload(ones, COUNT + ENDS);
        assert_ok(activate(kind, COUNT + ENDS, in, out));
        assert_ok(activate_backward(kind, COUNT + ENDS, out, slopes, slopes));
        float *y = download(out, COUNT + ENDS), *gx = download(slopes, COUNT + ENDS);
        for (int i = 0; i < COUNT; i++) {
            const double expected = scaled ? 1.7159 * tanh((double)x[i] * 2 / 3) : tanh(x[i]);
            if (units_off(y[i], expected) > 6)
                fail_msg("%s(%.9g) is %.9g, %.1f units off", names[kind], (double)x[i], (double)y[i],
                         units_off(y[i], expected));
        }
        for (int i = COUNT; i < COUNT + ENDS; i++)
            if (y[i] != copysignf(end, x[i]) || gx[i] != 0)
                fail_msg("%s(%g) is %.9g with slope %g", names[kind], (double)x[i], (double)y[i],
                         (double)gx[i]);
        cvy_buffer_free(in);
        free(y), free(gx);
    }
}

/* ---- Further ones ---- */

static const struct further {
    const char *name;
    const float *y, *gx;
} further_rows[CVY_ACTIVATION_COUNT] = {
#define FURTHER_ROW(NAME, name, ...) [CVY_##NAME] = {#name, name##_y, name##_gx},
    CVY_FURTHER_ACTIVATIONS(FURTHER_ROW)};

/* What was recorded with them. */
static cvy_activation_parameters parameters_of(int kind) {
    static const cvy_activation_parameters leaky = {0.2f, 0}, elu = {0.7f, 0}, softplus = {2, 5}, none = {0};
    return kind == CVY_LEAKY_RELU ? leaky : kind == CVY_ELU ? elu : kind == CVY_SOFTPLUS ? softplus : none;
}

/* A program each: as on a GPU, where vectors are one float, two of them. The NaN at the end has a gradient of
   its own in PyTorch for some. */
static void test_further(void **state) {
    (void)state;
    const int step = cvy_device_get_traits(device)->vector_width == 1 ? 6 : 1;
    for (int kind = KINDS; kind < CVY_ACTIVATION_COUNT; kind += step) {
        const struct further *row = &further_rows[kind];
        cvy_buffer *x = upload(further_x, FURTHER), *gy = upload(further_gy, FURTHER);
        cvy_buffer *y = garbage(FURTHER), *gx = garbage(FURTHER);
        cvy_elementwise forward, backward;
        assert_ok(cvy_elementwise_prepare(device, CVY_ACTIVATE, kind, FURTHER, &forward));
        assert_ok(cvy_elementwise_prepare(device, CVY_ACTIVATE_BACKWARD, kind, FURTHER, &backward));
        forward.parameters = backward.parameters = parameters_of(kind);
        assert_ok(cvy_elementwise_run(&forward, x, NULL, y));
        cvy_buffer *values = CVY_ACTIVATIONS_FROM_INPUT >> kind & 1 ? x : y;
        assert_ok(cvy_elementwise_run(&backward, values, gy, gx));
        float *actual_y = download(y, FURTHER), *actual_gx = download(gx, FURTHER);
        check_special(row->name, actual_y, row->y, FURTHER, 3e-7);
        check_special(row->name, actual_gx, row->gx, FURTHER - 1, 1e-6);
        free(actual_y), free(actual_gx);
        cvy_buffer_free(x);
        cvy_buffer_free(gy);
    }
}

/* The references, far from kinks and near. */
static void test_further_slopes(void **state) {
    (void)state;
    enum { COUNT = 160 };
    float x[COUNT], y[COUNT], ones[COUNT], gx[COUNT], expected[COUNT];
    for (int kind = KINDS; kind < CVY_ACTIVATION_COUNT; kind++) {
        const cvy_activation_parameters p = parameters_of(kind);
        float higher[COUNT], lower[COUNT], up[COUNT], down[COUNT];
        for (int i = 0; i < COUNT; i++) {
            x[i] = (float)(i - COUNT / 2) * 0.1f + 0.05f;
            ones[i] = 1;
            higher[i] = x[i] + 0.005f;
            lower[i] = x[i] - 0.005f;
        }
        cvy_activation_forward_reference(kind, &p, COUNT, higher, up);
        cvy_activation_forward_reference(kind, &p, COUNT, lower, down);
        cvy_activation_forward_reference(kind, &p, COUNT, x, y);
        for (int i = 0; i < COUNT; i++)
            expected[i] = (float)(((double)up[i] - down[i]) / ((double)higher[i] - lower[i]));
        cvy_activation_backward_reference(kind, &p, COUNT, CVY_ACTIVATIONS_FROM_INPUT >> kind & 1 ? x : y,
                                          ones, gx);
        test_close(further_rows[kind].name, gx, expected, COUNT, 2e-4);
    }
}

static void test_add_and_multiply(void **state) {
    (void)state;
    for (size_t l = 0; l < cvy_length_case_count; l++) {
        size_t count = cvy_length_cases[l];
        float *a = test_random(count, 3), *b = test_random(count, 4);
        float *sums = malloc(count * sizeof(float)), *products = malloc(count * sizeof(float));
        for (size_t i = 0; i < count; i++) {
            sums[i] = a[i] + b[i];
            products[i] = a[i] * b[i];
        }
        cvy_buffer *left = upload(a, count), *right = upload(b, count), *out = garbage(count);
        cvy_elementwise add, multiply;
        assert_ok(cvy_elementwise_prepare(device, CVY_ADD, CVY_IDENTITY, count, &add));
        assert_ok(cvy_elementwise_prepare(device, CVY_MULTIPLY, CVY_IDENTITY, count, &multiply));
        assert_ok(cvy_elementwise_run(&add, left, right, out));
        assert_ok(cvy_elementwise_run(&multiply, left, right, right));
        float *actual_sums = download(out, count), *actual_products = download(right, count);
        assert_memory_equal(actual_sums, sums, count * sizeof(float));
        assert_memory_equal(actual_products, products, count * sizeof(float));
        cvy_buffer_free(left);
        free(a), free(b), free(sums), free(products), free(actual_sums), free(actual_products);
    }
}

/* Nothing is written behind the last element. */
static void test_stays_inside(void **state) {
    (void)state;
    float zeros[64] = {0}, after[64];
    cvy_buffer *x = upload(zeros, 64), *y = upload(zeros, 64);
    assert_ok(activate(CVY_SIGMOID, 37, x, y));
    assert_ok(cvy_buffer_read(y, 0, after, sizeof after));
    for (int i = 0; i < 64; i++)
        assert_true(after[i] == (i < 37 ? 0.5f : 0));
    cvy_buffer_free(x);
    cvy_buffer_free(y);
}

int main(void) {
    const struct CMUnitTest elementwise[] = {
        cmocka_unit_test(test_recorded),       cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_slopes),         cmocka_unit_test(test_sigmoid_range),
        cmocka_unit_test(test_tanh_range),     cmocka_unit_test(test_add_and_multiply),
        cmocka_unit_test(test_stays_inside),   cmocka_unit_test(test_further),
        cmocka_unit_test(test_further_slopes),
    };
    return RUN_ON_DEVICES(elementwise);
}
