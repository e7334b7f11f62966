/* host/ops/stochastic_depth.h: which images survive, by its contract, and how many. */
#include "ops/stochastic_depth.h"

#include "ops/ops.h"

enum { FEATURES = 5, PITCH = 32 };

/* The counter of the header, word for word. */
static void test_images(void **state) {
    (void)state;
    for (int batch = 0; batch < 2; batch++) {
        const cvy_stochastic_depth_shape shape = {.pitch = PITCH,
                                                  .features = FEATURES,
                                                  .p = 0.3f,
                                                  .batch = batch,
                                                  .seed = 5ULL << 32 | 9,
                                                  .purpose = 70000};
        float *x = test_random(FEATURES * PITCH, 1);
        cvy_buffer *from = upload(x, FEATURES * PITCH), *to = garbage(FEATURES * PITCH),
                   *factors = garbage(PITCH);
        cvy_stochastic_depth op;
        assert_ok(cvy_stochastic_depth_prepare(device, &shape, &op));
        assert_ok(cvy_stochastic_depth_forward(&op, 11, from, factors, to));
        float *y = download(to, FEATURES * PITCH);
        cvy_buffer_free(from), cvy_buffer_free(factors);
        for (uint32_t i = 0; i < PITCH; i++) {
            const uint32_t drawn = batch ? 0 : i;
            uint32_t words[4];
            cvy_philox((const uint32_t[4]){0, drawn / 4, 11, 70000}, (const uint32_t[2]){9, 5}, words);
            const bool kept = (float)(words[drawn % 4] >> 8) / 16777216.0f >= 0.3f;
            for (size_t f = 0; f < FEATURES; f++)
                assert_true(y[f * PITCH + i] == x[f * PITCH + i] * (kept ? 1 / 0.7f : 0));
        }
        free(x), free(y);
    }
}

static void test_rate(void **state) {
    (void)state;
    const float probabilities[] = {0, 0.25f, 1};
    for (int k = 0; k < 3; k++) {
        const cvy_stochastic_depth_shape shape = {
            .pitch = 4096, .features = 1, .p = probabilities[k], .seed = 3};
        float factors[4096];
        double sum = 0;
        cvy_stochastic_depth_reference(&shape, 7, factors);
        for (int i = 0; i < 4096; i++)
            sum += factors[i];
        assert_true(fabs(sum / 4096 - (k < 2)) < 0.04); /* the mean stays, but for p = 1 */
    }
}

int main(void) {
    const struct CMUnitTest depth[] = {cmocka_unit_test(test_images), cmocka_unit_test(test_rate)};
    return RUN_ON_DEVICES(depth);
}
