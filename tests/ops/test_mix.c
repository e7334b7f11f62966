/* host/ops/mix.h: mixed batches against torchvision's, the kernel against the reference, and how what is
   drawn is distributed. */
#include "ops/mix.h"

#include "ops/augment.h"
#include "ops/data/mix_reference.h"
#include "ops/ops.h"

static const cvy_image_spec small = {.channels = 2, .height = 3, .width = 4};

/* ---- Against torchvision ---- */

static void test_recorded_batches(void **state) {
    (void)state;
    const struct {
        const char *what;
        cvy_mix mix;
        const float *expected;
    } cases[] = {{"MixUp", {0.3, 0.3, {0, 0, 4, 3}}, mixed_up},
                 {"CutMix", {0.5, 0, {1, 0, 4, 2}}, cut_and_mixed}};
    for (size_t c = 0; c < 2; c++) {
        float *y = spread_rows(unmixed, 24, 5, 16, 1e30f);
        cvy_mix_reference(&small, 16, 5, &cases[c].mix, y);
        check_recorded(cases[c].what, y, cases[c].expected, 24, 5, 16, false, 1e-6);
        for (size_t i = 0; i < 24 * 16; i++)
            assert_true(i % 16 < 5 || y[i] == 1e30f); /* padding columns stay */
        free(y);
    }
}

/* ---- Against the reference ---- */

static void check_kernel(const cvy_image_spec *image, const cvy_mix *mix, int n, int pitch) {
    const size_t count = (size_t)image->channels * (size_t)(image->height + 2 * image->border) *
                         (size_t)(image->width + 2 * image->border) * (size_t)pitch;
    float *expected = test_random(count, 1);
    cvy_buffer *y = upload(expected, count);
    cvy_mixer op;
    assert_ok(cvy_mixer_prepare(device, image, pitch, &op));
    assert_ok(cvy_mixer_run(&op, n, mix, y));
    cvy_mix_reference(image, pitch, n, mix, expected);
    float *actual = download(y, count);
    test_close("mixed images", actual, expected, count, 1e-6);
    free(actual), free(expected);
}

/* More vectors than a work-group has items, a border, an empty box, and an image that is its own partner. */
static void test_against_reference(void **state) {
    (void)state;
    cvy_image_spec bordered = small;
    bordered.border = 2;
    const cvy_mix mixes[] = {{0.3, 0.3, {0, 0, 4, 3}}, {0.5, 0, {1, 1, 3, 3}}, {1, 0, {2, 1, 2, 3}}};
    for (size_t m = 0; m < 3; m++) {
        for (size_t b = 0; b < BATCHES; b += test_stride())
            check_kernel(m ? &bordered : &small, &mixes[m], batches[b][0], batches[b][1]);
        check_kernel(&small, &mixes[m], 1037, 1040);
        check_kernel(&small, &mixes[m], 1, 16);
    }
}

/* ---- What is drawn ---- */

enum { DRAWS = 4000 };

static cvy_mix draw(const char *name, double alpha, uint64_t seed, uint32_t epoch, size_t begin) {
    const cvy_image_spec image = {.channels = 3, .height = 20, .width = 24};
    cvy_transform t = {.type = cvy_transform_type_find(name), .alpha = alpha};
    cvy_mix mix;
    assert_true(cvy_transforms_mix(&(cvy_transforms){&t, 1}));
    cvy_transforms_draw_mix(&(cvy_transforms){&t, 1}, seed, epoch, begin, &image, &mix);
    return mix;
}

/* Kolmogorov and Smirnov's bound, at 1 %, against recorded counts [21] of 20000 draws that were at most k
 * / 20. */
static void check_drawn(const char *what, const double *values, const int *recorded) {
    for (int step = 0; step <= 20; step++) {
        size_t at_most = 0;
        for (size_t i = 0; i < DRAWS; i++)
            at_most += values[i] <= step / 20.0 + 1e-9;
        const double difference = (double)at_most / DRAWS - recorded[step] / 20000.0;
        if (!(fabs(difference) < 1.63 * sqrt(1.0 / DRAWS + 1.0 / 20000)))
            fail_msg("%s: at most %g comes %g too often", what, step / 20.0, difference);
    }
}

static void test_draws(void **state) {
    (void)state;
    static double values[3][DRAWS];
    const struct {
        double alpha;
        const int *recorded;
    } cases[] = {{0.2, mixup_02}, {1, mixup_1}, {4, mixup_4}};
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < DRAWS; i++) {
            const cvy_mix mix = draw("MixUp", cases[c].alpha, 7, 3, 32 * i);
            assert_true(mix.target == mix.pixels && mix.box[0] == 0 && mix.box[3] == 20);
            values[0][i] = mix.target;
        }
        check_drawn("MixUp", values[0], cases[c].recorded);
    }
    for (size_t i = 0; i < DRAWS; i++) {
        const cvy_mix mix = draw("CutMix", 1, 7, 3, 32 * i);
        const int width = mix.box[2] - mix.box[0], height = mix.box[3] - mix.box[1];
        assert_true(mix.pixels == 0 && fabs(mix.target - (1 - width * height / 480.0)) < 1e-12);
        values[0][i] = mix.target;
        values[1][i] = mix.box[0] / 24.0;
        values[2][i] = width / 24.0;
    }
    for (size_t which = 0; which < 3; which++)
        check_drawn("CutMix", values[which], cutmix + 21 * which);
    for (int i = 0; i < 100; i++) { /* where gamma numbers are too small for a double */
        const double share = draw("MixUp", 1e-4, 7, 3, (size_t)i).target;
        assert_true(share >= 0 && share <= 1);
    }
}

/* The same for the same seed, epoch and place; another for another of each. */
static void test_draws_are_of_their_keys(void **state) {
    (void)state;
    const uint32_t keys[][3] = {{1, 2, 3}, {1, 2, 3}, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
    double shares[5];
    for (size_t i = 0; i < 5; i++)
        shares[i] = draw("MixUp", 1, keys[i][0], keys[i][1], keys[i][2]).target;
    assert_true(shares[0] == shares[1]);
    for (size_t i = 2; i < 5; i++)
        assert_true(shares[i] != shares[0]);
}

int main(void) {
    const struct CMUnitTest mix[] = {cmocka_unit_test(test_against_reference)};
    const struct CMUnitTest reference[] = {
        cmocka_unit_test(test_recorded_batches),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_draws_are_of_their_keys),
    };
    RUN_ON_DEVICES(mix);
    return cmocka_run_group_tests(reference, NULL, NULL);
}
