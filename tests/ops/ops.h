/* What the tests of the simple ops share: they run on the device under test and again on the host device,
   over batches that fill their pitch and batches that do not. */
#ifndef CVY_TESTS_OPS_H
#define CVY_TESTS_OPS_H

#include "ops/elementwise.h"
#include "selftest/cases.h"
#include "support/test.h"

/* The device that the running group of tests uses. */
static convoy_device *device;

#define batches cvy_batch_cases
enum { BATCHES = CVY_BATCH_CASES };

static inline int use_device(void **state) {
    (void)state;
    device = test_device();
    return 0;
}
static inline int close_device(void **state) {
    (void)state;
    test_build(false);
    test_device_close();
    return 0;
}
static inline int use_host(void **state) {
    (void)state;
    return convoy_device_open("host", &device) == CONVOY_OK ? 0 : -1;
}
static inline int close_host(void **state) {
    (void)state;
    convoy_device_close(device);
    return 0;
}
/* The device under test with a GPU's work-groups and vectors, so that they are tested where there is no GPU;
   not optimized, which nobody runs and takes three quarters of the time. */
static inline int use_as_gpu(void **state) {
    device = test_device();
    test_build_plainly(state);
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    traits->cpu = false;
    traits->vector_width = 1;
    return 0;
}
#define RUN_ON_DEVICES(tests)                                                                                \
    (cmocka_run_group_tests_name(#tests, tests, use_device, close_device),                                   \
     cmocka_run_group_tests_name(#tests " as on a GPU", tests, use_as_gpu, close_device),                    \
     cmocka_run_group_tests_name(#tests " on the host", tests, use_host, close_host))

static inline cvy_buffer *upload(const void *data, size_t floats) {
    return test_buffer(device, data, floats * sizeof(float));
}

/* What the buffer holds, and frees it. */
static inline float *download(cvy_buffer *buffer, size_t floats) {
    float *values = test_read(buffer, floats);
    cvy_buffer_free(buffer);
    return values;
}

/* A buffer to be overwritten: full of garbage, so that what is not written shows. */
static inline cvy_buffer *garbage(size_t floats) {
    float *values = test_random(floats, 4242);
    for (size_t i = 0; i < floats; i++)
        values[i] *= 1000;
    cvy_buffer *buffer = upload(values, floats);
    free(values);
    return buffer;
}

/* [rows][n] recorded values as [rows][pitch], with `filler` in the padding columns. */
static inline float *spread_rows(const float *values, size_t rows, int n, int pitch, float filler) {
    float *spread = malloc(rows * (size_t)pitch * sizeof(float));
    assert_non_null(spread);
    for (size_t i = 0; i < rows * (size_t)pitch; i++) {
        size_t row = i / (size_t)pitch, column = i % (size_t)pitch;
        spread[i] = column < (size_t)n ? values[row * (size_t)n + column] : filler;
    }
    return spread;
}

/* Random, with zeros in the padding columns: an incoming gradient. */
static inline float *random_gradient(size_t rows, int n, int pitch, uint32_t seed) {
    float *dense = test_random(rows * (size_t)n, seed), *spread = spread_rows(dense, rows, n, pitch, 0);
    free(dense);
    return spread;
}

/* As test_close, but a NaN must meet a NaN and an infinity the same infinity. */
static inline void check_special(const char *what, const float *actual, const float *expected, size_t count,
                                 double tolerance) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(expected[i]) ? isnan(actual[i]) : actual[i] == expected[i])
            continue;
        double allowed = tolerance * fmax(1, fabs((double)expected[i]));
        if (!(fabs((double)actual[i] - expected[i]) <= allowed))
            fail_msg("%s: element %zu is %.9g, expected %.9g", what, i, (double)actual[i],
                     (double)expected[i]);
    }
}

/* Compares column by column with recorded [rows][n] values; padding columns must be 0 when `padding_zero`. */
static inline void check_recorded(const char *what, const float *actual, const float *recorded, size_t rows,
                                  int n, int pitch, bool padding_zero, double tolerance) {
    for (size_t row = 0; row < rows; row++) {
        check_special(what, actual + row * (size_t)pitch, recorded + row * (size_t)n, (size_t)n, tolerance);
        for (int i = n; padding_zero && i < pitch; i++)
            if (actual[row * (size_t)pitch + (size_t)i] != 0)
                fail_msg("%s: padding column %d of row %zu is not 0", what, i, row);
    }
}

/* An activation, prepared and run: y of x, or gx of y and gy. */
static inline convoy_status activate(cvy_activation kind, size_t count, cvy_buffer *x, cvy_buffer *y) {
    cvy_elementwise op;
    convoy_status status = cvy_elementwise_prepare(device, CVY_ACTIVATE, kind, count, &op);
    return status ? status : cvy_elementwise_run(&op, x, NULL, y);
}
static inline convoy_status activate_backward(cvy_activation kind, size_t count, cvy_buffer *y,
                                              cvy_buffer *gy, cvy_buffer *gx) {
    cvy_elementwise op;
    convoy_status status = cvy_elementwise_prepare(device, CVY_ACTIVATE_BACKWARD, kind, count, &op);
    return status ? status : cvy_elementwise_run(&op, y, gy, gx);
}

#endif
