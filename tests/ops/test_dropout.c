/* host/ops/dropout.h: how many survive, which, and that host and device agree bit for bit. */
#include "ops/dropout.h"

#include "ops/ops.h"
#include "selftest/cases.h"

static float *run(cvy_dropout_shape shape, uint32_t step, const float *x) {
    size_t count = shape.features * (size_t)shape.pitch;
    cvy_buffer *from = upload(x, count), *to = garbage(count);
    cvy_dropout op;
    assert_ok(cvy_dropout_prepare(device, &shape, &op));
    assert_ok(cvy_dropout_run(&op, step, from, to));
    cvy_buffer_free(from);
    return download(to, count);
}

static void test_agrees_with_reference(void **state) {
    (void)state;
    for (int b = 0; b < BATCHES; b++)
        for (int k = 0; k < (int)cvy_dropout_case_count && batches[b][1] % 16 == 0;
             k++) { /* it serves training alone */
            cvy_dropout_shape shape = {.pitch = batches[b][1],
                                       .features = 123,
                                       .p = cvy_dropout_cases[k],
                                       .seed = 0x123456789abcdefULL,
                                       .purpose = CVY_RNG_LAYER + 3};
            size_t count = shape.features * (size_t)shape.pitch;
            float *x = test_random(count, 1), *expected = malloc(count * sizeof(float));
            cvy_dropout_reference(&shape, 17, x, expected);
            float *y = run(shape, 17, x);
            assert_memory_equal(y, expected, count * sizeof(float));
            if (k == 0)
                assert_memory_equal(y, x, count * sizeof(float));
            free(x), free(expected), free(y);
        }
}

/* The contract of the header, word for word. */
static void test_mask_is_philox(void **state) {
    (void)state;
    const cvy_dropout_shape shape = {
        .pitch = 32, .features = 7, .p = 0.3f, .seed = 5ULL << 32 | 9, .purpose = 70000};
    float ones[224];
    for (int i = 0; i < 224; i++)
        ones[i] = 1;
    float *y = run(shape, 11, ones);
    for (uint32_t feature = 0; feature < 7; feature++)
        for (uint32_t image = 0; image < 32; image++) {
            uint32_t words[4];
            cvy_philox((const uint32_t[4]){feature, image / 4, 11, 70000}, (const uint32_t[2]){9, 5}, words);
            bool kept = (float)(words[image % 4] >> 8) / 16777216.0f >= 0.3f;
            assert_true(y[feature * 32 + image] == (kept ? 1 / 0.7f : 0));
        }
    free(y);
}

static void test_rate_and_independence(void **state) {
    (void)state;
    enum { FEATURES = 2000, PITCH = 32, COUNT = FEATURES * PITCH };
    float *ones = malloc(COUNT * sizeof(float));
    for (int i = 0; i < COUNT; i++)
        ones[i] = 1;
    cvy_dropout_shape shape = {
        .pitch = PITCH, .features = FEATURES, .p = 0.25f, .seed = 1, .purpose = CVY_RNG_LAYER};
    float *first = run(shape, 1, ones), *second = run(shape, 2, ones);
    shape.purpose++;
    float *other = run(shape, 1, ones);
    double kept = 0, both_steps = 0, both_layers = 0;
    for (int i = 0; i < COUNT; i++) {
        kept += first[i] != 0;
        both_steps += first[i] != 0 && second[i] != 0;
        both_layers += first[i] != 0 && other[i] != 0;
    }
    /* The standard deviation of these rates is about 0.002. */
    assert_true(fabs(kept / COUNT - 0.75) < 0.01);
    assert_true(fabs(both_steps / COUNT - 0.5625) < 0.01);
    assert_true(fabs(both_layers / COUNT - 0.5625) < 0.01);
    free(ones), free(first), free(second), free(other);
}

static void test_same_mask_for_every_pitch(void **state) {
    (void)state;
    cvy_dropout_shape shape = {.pitch = 16, .features = 50, .p = 0.5f, .seed = 3, .purpose = CVY_RNG_LAYER};
    float *dense = test_random(50 * 16, 1), *wide = spread_rows(dense, 50, 16, 64, 1);
    float *narrow_y = run(shape, 1, dense);
    shape.pitch = 64;
    float *wide_y = run(shape, 1, wide);
    for (size_t row = 0; row < 50; row++)
        assert_memory_equal(narrow_y + row * 16, wide_y + row * 64, 16 * sizeof(float));
    free(dense), free(wide), free(narrow_y), free(wide_y);
}

static void test_in_place_and_limits(void **state) {
    (void)state;
    cvy_dropout_shape shape = {.pitch = 16, .features = 9, .p = 0.5f, .seed = 3, .purpose = CVY_RNG_LAYER};
    float *x = test_random(144, 1), *expected = run(shape, 4, x);
    cvy_buffer *buffer = upload(x, 144);
    cvy_dropout op;
    assert_ok(cvy_dropout_prepare(device, &shape, &op));
    assert_ok(cvy_dropout_run(&op, 4, buffer, buffer));
    shape.p = 1.5f;
    assert_fails(cvy_dropout_prepare(device, &shape, &op), CONVOY_INVALID, "0 to 1");
    float *y = download(buffer, 144);
    assert_memory_equal(y, expected, 144 * sizeof(float));
    free(x), free(expected), free(y);
}

int main(void) {
    const struct CMUnitTest dropout[] = {
        cmocka_unit_test(test_agrees_with_reference), cmocka_unit_test(test_mask_is_philox),
        cmocka_unit_test(test_rate_and_independence), cmocka_unit_test(test_same_mask_for_every_pitch),
        cmocka_unit_test(test_in_place_and_limits),
    };
    return RUN_ON_DEVICES(dropout);
}
