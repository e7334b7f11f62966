/* host/ops/clip.h and host/ops/average.h: closed forms, and kernels against the references. Against PyTorch
   they stand in tests/train/test_recipes.c. */
#include "ops/average.h"
#include "ops/clip.h"
#include "ops/ops.h"

static const size_t lengths[] = {1, 5, 16, 31, 1000, 70001};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static double norm(const float *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    return sqrt(sum);
}

static float *clip(double limit, const float *values, size_t count) {
    cvy_clip op;
    cvy_buffer *buffer = upload(values, count);
    assert_ok(cvy_clip_prepare(device, limit, count, &op));
    assert_ok(cvy_clip_run(&op, buffer));
    cvy_clip_free(&op);
    return download(buffer, count);
}

/* Of norm 5: to 1 exactly as torch's 1e-6 in the denominator has it, and as it is where the limit is above.
 */
static void test_known_norm(void **state) {
    (void)state;
    const float values[] = {3, 0, -4};
    const float scaled[] = {(float)(3 / 5.000001), 0, (float)(-4 / 5.000001)};
    float *clipped = clip(1, values, 3), *kept = clip(5.1, values, 3), *unlimited = clip(0, values, 3);
    test_close("clipped", clipped, scaled, 3, 2e-7);
    assert_memory_equal(kept, values, sizeof values);
    assert_memory_equal(unlimited, values, sizeof values);
    free(clipped), free(kept), free(unlimited);
}

static void test_lengths(void **state) {
    (void)state;
    for (size_t l = 0; l < LENGTHS; l += test_stride()) {
        const size_t count = lengths[l];
        float *values = test_random(count, 1), *clipped = clip(0.5, values, count),
              *again = clip(0.5, values, count);
        assert_memory_equal(clipped, again, count * sizeof *again); /* the same order each time */
        cvy_clip_reference(0.5, count, values);
        test_close("clipped", clipped, values, count, 1e-6);
        assert_true(norm(clipped, count) < 0.5 * (1 + 1e-5));
        free(values), free(clipped), free(again);
    }
}

static void test_average(void **state) {
    (void)state;
    for (size_t l = 0; l < LENGTHS; l += test_stride()) {
        const size_t count = lengths[l];
        const double weights[] = {1, 0.001, 0.7};
        float *expected = calloc(count, sizeof *expected);
        cvy_buffer *averages = garbage(count);
        cvy_average op;
        assert_ok(cvy_average_prepare(device, count, &op));
        for (uint32_t step = 0; step < 3; step++) {
            float *values = test_random(count, step);
            cvy_buffer *buffer = upload(values, count);
            assert_ok(cvy_average_run(&op, weights[step], buffer, averages));
            cvy_average_reference(weights[step], count, values, expected);
            if (step == 0) {
                float *first = test_read(averages, count);
                assert_memory_equal(first, values, count * sizeof *first); /* whatever was there */
                free(first);
            }
            cvy_buffer_free(buffer);
            free(values);
        }
        float *actual = download(averages, count);
        test_close("average", actual, expected, count, 1e-6);
        free(actual), free(expected);
    }
}

int main(void) {
    const struct CMUnitTest clip_and_average[] = {
        cmocka_unit_test(test_known_norm),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_average),
    };
    return RUN_ON_DEVICES(clip_and_average);
}
