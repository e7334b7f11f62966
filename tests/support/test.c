/* The helpers of test.h. */
#include "support/test.h"

static size_t tests_over, tests_skipped;
static bool any_failed;

void test_skip(const char *file, int line) {
    tests_skipped++;
    _skip(file, line);
}

int test_group_over(int failed, size_t tests) {
    tests_over += tests;
    any_failed |= failed != 0;
    return any_failed ? 1 : tests_skipped == tests_over ? 77 : 0;
}

/* In place of the C library's: a test writes thousands of small files, and waits for no disk. */
int fsync(int file) {
    (void)file;
    return 0;
}

static convoy_device *opened;

convoy_device *test_device(void) {
    if (!opened) {
        const char *selector = getenv("CONVOY_TEST_DEVICE");
        assert_ok(convoy_device_open(selector ? selector : "cpu", &opened));
    }
    return opened;
}

void test_device_close(void) {
    convoy_device_close(opened);
    opened = NULL;
}

bool test_quick(void) {
    const char *quick = getenv("CONVOY_TEST_QUICK");
    return quick && strcmp(quick, "0") != 0;
}

bool test_shortest(void) {
    const char *quick = getenv("CONVOY_TEST_QUICK");
    return quick && strcmp(quick, "tiny") == 0;
}

int test_build_plainly(void **state) {
    (void)state;
    test_build(true);
    return 0;
}

void test_build(bool plainly) {
    const cvy_device_traits *traits = cvy_device_get_traits(test_device());
    if (plainly && traits->cpu && !(traits->quirks & CVY_QUIRK_INTERPRETS)) {
        setenv("CONVOY_KERNEL_OPTIONS", "-cl-opt-disable", 1);
        setenv("CLBLAST_BUILD_OPTIONS", "-cl-opt-disable ", 1);
    } else if (!plainly) {
        unsetenv("CONVOY_KERNEL_OPTIONS");
        unsetenv("CLBLAST_BUILD_OPTIONS");
    }
}

size_t test_stride(void) {
    return test_quick() ? 3 : 1;
}

float *test_random(size_t count, uint32_t seed) {
    float *values = malloc((count ? count : 1) * sizeof(float));
    assert_non_null(values);
    cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_SYNTHETIC, 0);
    for (size_t i = 0; i < count; i++)
        values[i] = 2 * cvy_rng_uniform(&rng) - 1;
    return values;
}

cvy_buffer *test_buffer(convoy_device *device, const void *data, size_t bytes) {
    cvy_buffer *buffer = NULL;
    assert_ok(cvy_buffer_create(device, bytes, "test", &buffer));
    if (bytes && data)
        assert_ok(cvy_buffer_write(buffer, 0, data, bytes));
    return buffer;
}

float *test_read(cvy_buffer *buffer, size_t count) {
    float *values = malloc((count ? count : 1) * sizeof(float));
    assert_non_null(values);
    if (count)
        assert_ok(cvy_buffer_read(buffer, 0, values, count * sizeof(float)));
    return values;
}

void test_close(const char *what, const float *actual, const float *expected, size_t count,
                double tolerance) {
    test_close_columns(what, actual, expected, 1, (int)count, (int)count, false, tolerance);
}

void test_close_columns(const char *what, const float *actual, const float *expected, size_t rows, int pitch,
                        int n, bool padding_zero, double tolerance) {
    double scale = 1, worst = -1;
    size_t where = 0;
    for (size_t r = 0; r < rows; r++)
        for (int i = 0; i < pitch; i++) {
            size_t at = r * (size_t)pitch + (size_t)i;
            if (i >= n) {
                if (padding_zero && actual[at] != 0)
                    fail_msg("%s: padding column %d of row %zu is %g, not 0", what, i, r, (double)actual[at]);
                continue;
            }
            double difference = fabs((double)actual[at] - (double)expected[at]);
            if (fabs((double)expected[at]) > scale)
                scale = fabs((double)expected[at]);
            if (!(difference <= worst)) {
                worst = isnan(difference) ? INFINITY : difference;
                where = at;
            }
        }
    if (!(worst <= tolerance * scale))
        fail_msg("%s: element %zu is %.9g, expected %.9g (largest difference %.3g, allowed %.3g)", what,
                 where, (double)actual[where], (double)expected[where], worst, tolerance * scale);
}
