/* host/ops/tone.h and autoaugment.c: operations against torchvision's, the kernel against the reference to
   the bit, and what is drawn. */
#include "ops/tone.h"

#include "ops/augment.h"
#include "ops/data/augment_reference.h"
#include "ops/data/tone_reference.h"
#include "ops/ops.h"
#include "support/photograph.h"

enum { HEIGHT = 20, WIDTH = 24, DRAWS = 6000 };

static cvy_augment_shape shape_of(int channels, int steps, int border) {
    cvy_augment_shape shape = {.gather = {.pitch = 16, .in_height = HEIGHT, .in_width = WIDTH},
                               .frame = {.channels = channels, .shrink = 1, .fill = 90, .steps = steps}};
    shape.gather.image = (cvy_image_spec){
        .channels = channels, .height = HEIGHT, .width = WIDTH, .border = border, .mean = {0.5f, 0.4f, 0.3f}};
    for (int c = 0; c < 3; c++)
        shape.gather.image.std[c] = 0.25f + 0.1f * (float)c;
    return shape;
}

static size_t outputs(const cvy_augment_shape *shape) {
    const cvy_image_spec *image = &shape->gather.image;
    return (size_t)image->channels * (size_t)(image->height + 2 * image->border) *
           (size_t)(image->width + 2 * image->border) * (size_t)shape->gather.pitch;
}

/* ---- Against torchvision ---- */

/* As the sampling makes it, and the steps behind that. */
static void check(const char *what, const cvy_look *look, const uint8_t *expected, double mean) {
    const cvy_augment_shape shape = shape_of(3, CVY_MOST_STEPS, 0);
    const cvy_image_spec *image = &shape.gather.image;
    const cvy_tone_shape steps = cvy_augment_steps(&shape);
    const int32_t label = 0;
    const uint32_t index = 0;
    int32_t words[128], labels[16];
    float *y = malloc(outputs(&shape) * sizeof *y);
    assert_true(cvy_look_words(&shape) <= 128);
    cvy_look_pack(&shape, look, words, 1, 0);
    cvy_augment_reference(&shape, 1, &(cvy_augment_source){picture, &label, &index, NULL, words, 1}, y,
                          labels);
    cvy_tone_reference(&steps, 1, words + cvy_look_step_word(&shape), 1, y);
    double sum = 0;
    for (int i = 0; i < 3 * HEIGHT * WIDTH; i++) {
        const int c = i / (HEIGHT * WIDTH);
        const double level = 255 * ((double)y[16 * i] * (double)image->std[c] + (double)image->mean[c]),
                     difference = fabs(level - expected[i]);
        sum += difference;
        if (difference > 1.01)
            fail_msg("%s: value %d is %g instead of %d", what, i, level, expected[i]);
    }
    if (sum / (3 * HEIGHT * WIDTH) > mean)
        fail_msg("%s: %g levels from torchvision's on average", what, sum / (3 * HEIGHT * WIDTH));
    free(y);
}

/* A step on bytes, and nothing else. */
static cvy_look operated(int kind, double factor) {
    cvy_look look;
    float single = (float)factor;
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    look.steps[0] = (cvy_tone){{kind, (int32_t)factor}};
    if (kind != CVY_TONE_POSTERIZE && kind != CVY_TONE_SOLARIZE)
        memcpy(&look.steps[0].words[1], &single, sizeof single);
    look.step_count = 1;
    return look;
}

static void test_operations(void **state) {
    (void)state;
    const struct {
        const char *what;
        int kind;
        double factor;
        const uint8_t *expected;
        double mean; /* torchvision's products are rounded elsewhere */
    } cases[] = {{"Brightness", CVY_TONE_BRIGHTEN, 1.6, brightened, 0.01},
                 {"Color", CVY_TONE_SATURATE, 0.3, color_down, 0.01},
                 {"Contrast", CVY_TONE_CONTRAST, 1.5, contrast_up, 0.01},
                 {"Sharpness", CVY_TONE_SHARPEN, 1.9, sharpness_up, 0.01},
                 {"less Sharpness", CVY_TONE_SHARPEN, 0.2, sharpness_down, 0.01},
                 {"Posterize", CVY_TONE_POSTERIZE, 256 - 32, posterize_up, 1e-4},
                 {"Solarize", CVY_TONE_SOLARIZE, 102, solarize_up, 1e-4},
                 {"AutoContrast", CVY_TONE_AUTOCONTRAST, 0, autocontrast_up, 0.02},
                 {"Equalize", CVY_TONE_EQUALIZE, 0, equalize_up, 1e-4}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const cvy_look look = operated(cases[c].kind, cases[c].factor);
        check(cases[c].what, &look, cases[c].expected, cases[c].mean);
    }
}

/* Moves are part of the sampling, or steps of their own behind one on levels. */
static void test_moves(void **state) {
    (void)state;
    double turn[6];
    cvy_turn_map(&(cvy_turn){.angle = -40, .scale = 1}, HEIGHT, WIDTH, turn);
    const struct {
        const char *what;
        double map[6];
        const uint8_t *expected;
    } cases[] = {{"ShearX", {1, 0.4, 0.2, 0, 1, 0}, shearx_up},
                 {"ShearY", {1, 0, 0, -0.3, 1, -0.15}, sheary_down},
                 {"TranslateX", {1, 0, -5, 0, 1, 0}, translatex_up},
                 {"TranslateY", {1, 0, 0, 0, 1, 3}, translatey_down},
                 {"Rotate", {turn[0], turn[1], turn[2], turn[3], turn[4], turn[5]}, rotate_up}};
    cvy_look look;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cvy_look_map(&look, cases[c].map);
        check(cases[c].what, &look, cases[c].expected, 1e-4);
        look = operated(CVY_TONE_MAP, 0);
        look.steps[0].words[7] = cvy_map_words(cases[c].map, HEIGHT, WIDTH, &look.steps[0].words[1]);
        check(cases[c].what, &look, cases[c].expected, 1e-4);
    }
    look = operated(CVY_TONE_EQUALIZE, 0);
    cvy_look_map(&look, turn);
    look.steps[1] = (cvy_tone){{CVY_TONE_MAP}};
    look.steps[1].words[7] = cvy_map_words(cases[0].map, HEIGHT, WIDTH, &look.steps[1].words[1]);
    look.steps[2] = (cvy_tone){{CVY_TONE_SOLARIZE, 102}};
    look.steps[3] = (cvy_tone){{CVY_TONE_AUTOCONTRAST}};
    look.step_count = 4;
    check("one after the other", &look, chain, 0.05);
}

/* ---- Against the reference ---- */

/* Eight operations on each image, and a box. */
static void draw_words(const cvy_augment_shape *shape, size_t room, int32_t *words, bool seen[12]) {
    cvy_transform list[] = {
        {.type = cvy_transform_type_find("RandAugment"),
         .num_ops = 8,
         .magnitude = 5,
         .num_magnitude_bins = 11},
        {.type = cvy_transform_type_find("RandomErasing"), .p = 0.5, .scale = {0.1, 0.2}, .ratio = {0.5, 2}}};
    for (size_t i = 0; i < room; i++) {
        cvy_look look;
        cvy_transforms_draw(&(cvy_transforms){list, 2}, 3, 1, (uint32_t)i, HEIGHT, WIDTH,
                            &shape->gather.image, &look);
        if (i % 5 == 3)
            look.step_count = 0;
        cvy_look_pack(shape, &look, words, room, i);
        for (size_t step = 0; step < 9; step++)
            seen[words[(cvy_look_step_word(shape) + step * CVY_TONE_WORDS) * room + i]] = true;
    }
}

static void check_kernel(int channels, int border, int n) {
    cvy_augment_shape shape = shape_of(channels, CVY_MOST_STEPS, border);
    shape.frame.erases = true;
    shape.frame.erased = 33;
    shape.gather.pitch = 32;
    const size_t count = outputs(&shape), first = cvy_look_step_word(&shape);
    const cvy_tone_shape steps = cvy_augment_steps(&shape);
    int32_t *words = calloc(cvy_look_words(&shape) * 40, sizeof *words);
    float *expected = test_random(count, 1);
    bool seen[12] = {false};
    cvy_toner op;
    draw_words(&shape, 40, words, seen);
    for (int kind = CVY_TONE_NONE; kind <= CVY_TONE_EQUALIZE; kind++)
        assert_true(seen[kind] || (channels == 1 && kind == CVY_TONE_SATURATE));
    cvy_buffer *y = upload(expected, count),
               *looks = test_buffer(device, words, cvy_look_words(&shape) * 40 * sizeof *words);
    assert_ok(cvy_toner_create(device, &steps, n, &op));
    assert_ok(cvy_toner_run(&op, n, looks, 40, 5, first, y));
    cvy_tone_reference(&steps, n, words + first * 40 + 5, 40, expected);
    float *actual = download(y, count);
    assert_memory_equal(actual, expected, count * sizeof *actual);
    cvy_toner_free(&op);
    cvy_buffer_free(looks);
    free(words), free(actual), free(expected);
}

static void test_against_reference(void **state) {
    (void)state;
    check_kernel(3, 0, test_quick() ? 2 : 32);
    check_kernel(1, 2, test_quick() ? 2 : 29);
}

/* ---- What is drawn ---- */

/* Each operation as often as the others, each strength too; Rotate's angles by the test of Kolmogorov and
 * Smirnov. */
static void test_draws(void **state) {
    (void)state;
    static double angles[DRAWS];
    const cvy_transform trivial = {.type = cvy_transform_type_find("TrivialAugmentWide"),
                                   .num_magnitude_bins = 31};
    const cvy_transforms list = {(cvy_transform *)(uintptr_t)&trivial, 1};
    const cvy_image_spec image = {.channels = 3, .height = HEIGHT, .width = WIDTH};
    size_t kinds[12] = {0}, turns = 0, unmoved = 0, bits[9] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        cvy_look look;
        cvy_transforms_draw(&list, 7, 3, i, HEIGHT, WIDTH, &image, &look);
        kinds[look.steps[0].words[0] * (look.step_count > 0)]++;
        unmoved += !look.turned && !look.step_count;
        if (look.turned && look.place[1] * look.place[3] != 0)
            angles[turns++] = atan2(look.place[1], look.place[0]) * 180 / acos(-1);
        if (look.step_count && look.steps[0].words[0] == CVY_TONE_POSTERIZE)
            for (int b = 2; b <= 8; b++)
                bits[b] += look.steps[0].words[1] == 256 - (1 << (8 - b));
    }
    const double expected = DRAWS / 14.0, off = 4 * sqrt(expected);
    for (int kind = CVY_TONE_SATURATE; kind <= CVY_TONE_EQUALIZE; kind++)
        assert_true(kind == CVY_TONE_ERASE || fabs((double)kinds[kind] - expected) < off);
    assert_true(fabs((double)unmoved - expected) < off);
    /* 30 of 31 strengths turn; six of them are next to each end. */
    assert_true(fabs((double)turns - expected * 30 / 31) < off);
    assert_true(bits[8] && bits[2] && bits[5] > bits[8] && bits[5] > bits[2] && !bits[0]);
    for (int step = -30; step <= 30; step++) {
        size_t at_most = 0;
        for (size_t i = 0; i < turns; i++)
            at_most += angles[i] <= 4.5 * step + 1e-6;
        const double share = (step + 30 + (step < 0)) / 60.0;
        assert_true(fabs((double)at_most / (double)turns - share) < 1.63 / sqrt((double)turns));
    }
}

/* RandAugment: so many operations of one strength, each either way. */
static void test_rand_draws(void **state) {
    (void)state;
    const cvy_transform rand = {.type = cvy_transform_type_find("RandAugment"),
                                .num_ops = 2,
                                .magnitude = 9,
                                .num_magnitude_bins = 31};
    const cvy_transforms list = {(cvy_transform *)(uintptr_t)&rand, 1};
    const cvy_image_spec image = {.channels = 3, .height = HEIGHT, .width = WIDTH};
    size_t steps = 0, up = 0, factors = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        cvy_look look;
        cvy_transforms_draw(&list, 7, 3, i, HEIGHT, WIDTH, &image, &look);
        steps += (size_t)look.step_count;
        for (int s = 0; s < look.step_count; s++) {
            float factor;
            memcpy(&factor, &look.steps[s].words[1], sizeof factor);
            const int kind = look.steps[s].words[0];
            if (kind == CVY_TONE_BRIGHTEN || kind == CVY_TONE_CONTRAST) {
                assert_true(fabs(fabs((double)factor - 1) - 0.27) < 1e-6);
                factors++;
                up += factor > 1;
            }
            assert_true(kind != CVY_TONE_POSTERIZE || look.steps[s].words[1] == 256 - 2);
            assert_true(kind != CVY_TONE_SOLARIZE || look.steps[s].words[1] == 179);
        }
    }
    assert_true(fabs((double)up / (double)factors - 0.5) < 0.07);
    /* 8 of 14 are steps, and a move behind one of them is. */
    assert_true(fabs((double)steps / DRAWS - (2 * 8 / 14.0 + 8 / 14.0 * 5 / 14)) < 0.04);
}

int main(void) {
    const struct CMUnitTest tone[] = {cmocka_unit_test(test_against_reference)};
    const struct CMUnitTest reference[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_rand_draws),
    };
    RUN_ON_DEVICES(tone);
    return cmocka_run_group_tests(reference, NULL, NULL);
}
