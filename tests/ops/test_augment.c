/* host/ops/augment.h: transforms with given parameters against torchvision's, what is drawn against its
   distributions, and the kernel against the reference. */
#include "ops/augment.h"

#include "ops/data/augment_reference.h"
#include "ops/ops.h"
#include "support/photograph.h"

enum { HEIGHT = 20, WIDTH = 24 };

/* A list that needs nothing but what `frame` says. */
static cvy_augment_shape shape_of(cvy_frame frame, int height, int width, int out_height, int out_width) {
    cvy_augment_shape shape = {.gather = {.pitch = 16, .in_height = height, .in_width = width},
                               .frame = frame};
    shape.gather.image =
        (cvy_image_spec){.channels = frame.channels, .height = out_height, .width = out_width};
    for (int c = 0; c < 4; c++)
        shape.gather.image.std[c] = 1;
    return shape;
}

static size_t outputs(const cvy_augment_shape *shape) {
    const cvy_image_spec *image = &shape->gather.image;
    return (size_t)image->channels * (size_t)(image->height + 2 * image->border) *
           (size_t)(image->width + 2 * image->border) * (size_t)shape->gather.pitch;
}

/* What the device makes of n of `count` images, whose looks begin at `first`; the caller frees it. */
static float *run(const cvy_augment_shape *shape, int n, size_t count, const cvy_augment_source *from,
                  size_t first, int32_t *labels) {
    const cvy_gather_shape *gather = &shape->gather;
    const size_t pitch = (size_t)gather->pitch, channels = (size_t)gather->image.channels,
                 bytes = channels * (size_t)(gather->in_height * gather->in_width) *
                         (gather->floats ? sizeof(float) : 1);
    float *means = calloc(count * channels, sizeof *means);
    for (size_t i = 0; i < count; i++)
        cvy_augment_means(gather, (const char *)from->images + i * bytes, gather->in_height, gather->in_width,
                          means + i * channels);
    cvy_augment *op = NULL;
    assert_ok(cvy_augment_create(device, shape, &op));
    cvy_augment_operands on = {
        .n = n,
        .images = test_buffer(device, from->images, count * bytes),
        .all_labels = test_buffer(device, from->all_labels, count * sizeof(int32_t)),
        .indices = test_buffer(device, from->indices, (size_t)n * sizeof(uint32_t)),
        .means = shape->frame.contrasts ? upload(means, count * channels) : NULL,
        .looks = test_buffer(device, from->looks, cvy_look_words(shape) * from->room * sizeof(int32_t)),
        .room = from->room,
        .look_offset = first,
        .y = garbage(outputs(shape)),
        .labels = garbage(pitch)};
    assert_ok(cvy_augment_run(op, &on));
    assert_ok(cvy_buffer_read(on.labels, 0, labels, pitch * sizeof(int32_t)));
    cvy_buffer_free(on.images);
    cvy_buffer_free(on.all_labels);
    cvy_buffer_free(on.indices);
    cvy_buffer_free(on.means);
    cvy_buffer_free(on.looks);
    cvy_buffer_free(on.labels);
    cvy_augment_free(op);
    free(means);
    return download(on.y, outputs(shape));
}

/* ---- Against torchvision ---- */

/* What the reference makes of one image. */
static float *refer(const cvy_augment_shape *shape, const uint8_t *image, const int32_t *label,
                    const int32_t *words, int32_t *labels) {
    const uint32_t index = 0;
    float means[4], *y = malloc(outputs(shape) * sizeof *y);
    cvy_augment_means(&shape->gather, image, shape->gather.in_height, shape->gather.in_width, means);
    cvy_augment_reference(shape, 1, &(cvy_augment_source){image, label, &index, means, words, 1}, y, labels);
    return y;
}

/* Compares the recorded picture, so looked at, with `expected` [3][height][width]. */
static void check(const char *what, cvy_frame frame, const cvy_look *look, const uint8_t *expected,
                  double most, double mean) {
    frame.channels = 3;
    const cvy_augment_shape shape = shape_of(frame, HEIGHT, WIDTH, look->height, look->width);
    const int32_t label = 3;
    int32_t words[96] = {0}, labels[16];
    double sum = 0;
    cvy_look_pack(&shape, look, words, 1, 0);
    float *y = refer(&shape, picture, &label, words, labels);
    const size_t count = outputs(&shape) / 16;
    for (size_t i = 0; i < count; i++) {
        /* torchvision cuts colours off to bytes. */
        const double level = (double)y[16 * i] * 255, value = frame.colours ? floor(level + 1e-3) : level,
                     difference = fabs(value - expected[i]);
        sum += difference;
        if (difference > most)
            fail_msg("%s: value %zu is %g instead of %d", what, i, (double)y[16 * i] * 255, expected[i]);
    }
    if (sum / (double)count > mean)
        fail_msg("%s: %g levels from torchvision's on average", what, sum / (double)count);
    assert_int_equal(labels[0], 3);
    free(y);
}

static const double exact = 1e-4;
static const cvy_frame whole_pixels = {.shrink = 1}, smooth = {.smooth = true, .shrink = 1};

static void test_flips_and_crops(void **state) {
    (void)state;
    const cvy_frame frames[] = {whole_pixels, smooth};
    for (size_t f = 0; f < 2; f++) {
        cvy_look look;
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cvy_look_flip(&look, true, false);
        cvy_look_flip(&look, false, true);
        check("flips", frames[f], &look, flipped, exact, exact);
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cvy_look_crop(&look, 1 - 4, 7 - 4, 19, 23);
        check("a crop", frames[f], &look, cropped, exact, exact);
    }
}

/* A crop of a flipped picture that its own pixels surround; and what a turn shows beside such a crop, which
   is not what was cut off there. */
static void test_padding(void **state) {
    (void)state;
    const uint8_t *const expected[] = {[CVY_PAD_EDGE] = cropped_edge,
                                       [CVY_PAD_REFLECT] = cropped_reflect,
                                       [CVY_PAD_SYMMETRIC] = cropped_symmetric};
    const cvy_turn turn = {.angle = -12, .scale = 1};
    cvy_look look;
    for (int mode = CVY_PAD_EDGE; mode <= CVY_PAD_SYMMETRIC; mode++)
        for (int f = 0; f < 2; f++) {
            cvy_frame frame = f ? smooth : whole_pixels;
            frame.fold = mode == CVY_PAD_EDGE ? CVY_FOLD_EDGE : CVY_FOLD_MIRROR;
            cvy_look_begin(&look, 3, HEIGHT, WIDTH);
            cvy_look_flip(&look, true, false);
            cvy_look_pad(&look, 9, mode);
            cvy_look_crop(&look, 3, 16, 19, 23);
            check("a padded crop", frame, &look, expected[mode], exact, exact);
        }
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    cvy_look_pad(&look, 9, CVY_PAD_REFLECT);
    cvy_look_crop(&look, 3, 16, HEIGHT, WIDTH);
    cvy_look_turn(&look, &turn);
    check("a padded crop, turned", (cvy_frame){.shrink = 1, .fill = 90, .fold = CVY_FOLD_MIRROR}, &look,
          turned_reflection, exact, exact);
}

static void test_turns(void **state) {
    (void)state;
    const struct {
        const char *what;
        cvy_frame frame;
        cvy_turn turn;
        const uint8_t *expected;
        double most, mean;
    } cases[] = {
        {"rotate nearest",
         {.shrink = 1, .fill = 90},
         {-30, {0, 0}, 1, {0, 0}},
         rotated_nearest,
         exact,
         exact},
        {"rotate", smooth, {17, {0, 0}, 1, {0, 0}}, rotated, 255, 0.6},
        {"affine nearest", whole_pixels, {25, {3, -2}, 0.8, {10, 0}}, affine_nearest, exact, exact},
        {"affine", smooth, {-40, {-2, 1}, 1.3, {0, 15}}, affine, 255, 0.6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_look look;
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cvy_look_turn(&look, &cases[i].turn);
        check(cases[i].what, cases[i].frame, &look, cases[i].expected, cases[i].most, cases[i].mean);
    }
}

/* What lies beside a picture stays the fill, whatever is done with it afterwards. */
static void test_compositions(void **state) {
    (void)state;
    const cvy_turn turn = {.angle = -12, .scale = 1};
    cvy_look look;
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    cvy_look_crop(&look, 0 - 2, 3 - 2, HEIGHT, WIDTH);
    cvy_look_flip(&look, true, false);
    cvy_look_turn(&look, &turn);
    check("a crop, turned", whole_pixels, &look, turned_crop, exact, exact);
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    cvy_look_turn(&look, &turn);
    cvy_look_crop(&look, 0 - 3, 5 - 3, HEIGHT, WIDTH);
    check("a turn, cropped", whole_pixels, &look, cropped_turn, exact, exact);
}

static void test_resized_crop(void **state) {
    (void)state;
    cvy_look look;
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    cvy_look_crop(&look, 3, 5, 9, 11);
    cvy_look_resize(&look, HEIGHT, WIDTH, true);
    check("a crop, enlarged", smooth, &look, enlarged, 1, 0.5);
    cvy_look_begin(&look, 3, HEIGHT, WIDTH);
    cvy_look_crop(&look, 1, 2, 18, 21);
    cvy_look_resize(&look, 10, 8, true);
    check("a crop, shrunk", (cvy_frame){.smooth = true, .shrink = 3}, &look, shrunk, 1, 0.5);
}

static void test_colours(void **state) {
    (void)state;
    const struct {
        const char *what;
        void (*change)(cvy_look *look, double factor);
        double factor;
        const uint8_t *expected;
    } cases[] = {{"brightness", cvy_look_brighten, 1.6, brightened},
                 {"contrast", cvy_look_contrast, 0.4, contrasted},
                 {"saturation", cvy_look_saturate, 1.7, saturated},
                 {"grey", cvy_look_saturate, 0, grey}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_look look;
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cases[i].change(&look, cases[i].factor);
        check(cases[i].what, (cvy_frame){.shrink = 1, .colours = true, .contrasts = true}, &look,
              cases[i].expected, 1, 0.5);
    }
}

/* torchvision cuts off to bytes behind each change. The last looks at the mean, which the hue moves. */
static void test_hues(void **state) {
    (void)state;
    const struct {
        const char *what;
        double before, turn, brightness, contrast;
        const uint8_t *expected;
        double most, mean;
    } cases[] = {{"hue", 1, 0.3, 1, 1, hued, 1, 0.2},
                 {"hue, back", 1, -0.45, 1, 1, hued_back, 1, 0.2},
                 {"saturation, hue, brightness", 0.7, 0.1, 1.2, 1, jittered, 3, 0.8},
                 {"hue, contrast", 1, 0.3, 1, 0.4, hue_contrast, 2, 0.8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_look look;
        cvy_look_begin(&look, 3, HEIGHT, WIDTH);
        cvy_look_saturate(&look, cases[i].before);
        cvy_look_hue(&look, cases[i].turn);
        cvy_look_brighten(&look, cases[i].brightness);
        cvy_look_contrast(&look, cases[i].contrast);
        check(cases[i].what, (cvy_frame){.shrink = 1, .colours = true, .contrasts = true, .hues = true},
              &look, cases[i].expected, cases[i].most, cases[i].mean);
    }
}

/* Three greys of which the mean is known, and a fill that is coloured or not. */
static void test_order_of_fill(void **state) {
    (void)state;
    const uint8_t images[4] = {60, 120, 60, 120};
    const int32_t label = 0;
    for (int last = 0; last < 2; last++) {
        const cvy_frame frame = {
            .channels = 1, .shrink = 1, .fill = 10, .colours = true, .contrasts = true, .fill_last = last};
        const cvy_augment_shape shape = shape_of(frame, 2, 2, 2, 3);
        int32_t words[32], labels[16];
        cvy_look look;
        cvy_look_begin(&look, 1, 2, 2);
        cvy_look_crop(&look, 0, -1, 2, 3);
        cvy_look_contrast(&look, 0.5);
        cvy_look_brighten(&look, 3);
        cvy_look_saturate(&look, 0); /* grey is grey */
        cvy_look_pack(&shape, &look, words, 1, 0);
        float *y = refer(&shape, images, &label, words, labels);
        const double expected[3] = {last ? 10 : 3 * (5 + 45), 3 * (30 + 45), 255};
        for (size_t x = 0; x < 3; x++)
            assert_true(fabs((double)y[16 * x] * 255 - expected[x]) < 1e-3);
        free(y);
    }
}

/* ---- Against the reference ---- */

enum { IMAGES = 9 };

/* Lists that need every kind of kernel. */
typedef struct kind {
    const char *what;
    cvy_frame frame;
    int in_height, in_width, height, width, border;
    bool floats;
} kind;

static const kind kinds[] = {
    {"whole pixels", {.channels = 3, .shrink = 1, .fill = 40}, 13, 17, 13, 17, 1, false},
    {"smooth",
     {.channels = 1, .smooth = true, .shrink = 1, .fill = 40, .erases = true, .erased = 200},
     13,
     17,
     13,
     17,
     0,
     false},
    {"everything",
     {.channels = 3,
      .smooth = true,
      .shrink = 2.2,
      .fill = 90,
      .colours = true,
      .contrasts = true,
      .hues = true,
      .fill_last = true,
      .erases = true,
      .fold = CVY_FOLD_MIRROR},
     13,
     17,
     13,
     17,
     0,
     false},
    {"of floats, in order",
     {.channels = 1, .shrink = 1, .colours = true, .fold = CVY_FOLD_MIRROR},
     14,
     12,
     14,
     12,
     2,
     true},
    {"edges", {.channels = 1, .shrink = 1, .fold = CVY_FOLD_EDGE}, 13, 17, 13, 17, 0, false},
};

static void draw(const cvy_augment_shape *shape, uint32_t index, cvy_look *look) {
    const cvy_image_spec *image = &shape->gather.image;
    cvy_rng rng = cvy_rng_stream(5, 77, index);
    cvy_look_begin(look, image->channels, shape->gather.in_height, shape->gather.in_width);
    if (index % 4 == 1)
        cvy_look_flip(look, true, index % 8 == 1);
    const int pad = shape->frame.fold ? 5 : 0;
    if (pad)
        cvy_look_pad(look, pad,
                     shape->frame.fold == CVY_FOLD_EDGE ? CVY_PAD_EDGE
                     : index % 3 == 2                   ? CVY_PAD_SYMMETRIC
                                                        : CVY_PAD_REFLECT);
    if (index % 4 != 3 || pad)
        cvy_look_crop(look, pad + (int)cvy_rng_below(&rng, 7) - 3, pad + (int)cvy_rng_below(&rng, 7) - 3,
                      image->height, image->width);
    if (index % 3 == 1 && shape->frame.smooth)
        cvy_look_resize(look, 6 + (int)(index % 5) * 4, 9 + (int)(index % 7) * 3, shape->frame.shrink > 1);
    if (index % 2 == 0)
        cvy_look_turn(look, &(cvy_turn){.angle = 360 * (double)cvy_rng_uniform(&rng),
                                        .translate = {1, -2},
                                        .scale = 0.5 + (double)cvy_rng_uniform(&rng)});
    cvy_look_crop(look, (int)cvy_rng_below(&rng, 3) - 1, 0, image->height, image->width);
    cvy_look_brighten(look, 0.5 + (double)cvy_rng_uniform(&rng));
    if (shape->frame.contrasts)
        cvy_look_contrast(look, 2 * (double)cvy_rng_uniform(&rng));
    if (shape->frame.hues) {
        cvy_look_hue(look, (double)cvy_rng_uniform(&rng) - 0.5);
        cvy_look_contrast(look, 2 * (double)cvy_rng_uniform(&rng));
    }
    cvy_look_saturate(look, 2 * (double)cvy_rng_uniform(&rng));
    if (index % 3)
        cvy_look_erase(look, 2, (int)(index % 5), 3, 4);
}

static void check_kind(const kind *kind, int n, int pitch) {
    cvy_augment_shape shape =
        shape_of(kind->frame, kind->in_height, kind->in_width, kind->height, kind->width);
    const size_t channels = (size_t)kind->frame.channels,
                 size = channels * (size_t)(kind->in_height * kind->in_width), room = (size_t)n + 3;
    float *floats = test_random(IMAGES * size, 1), *means = calloc(IMAGES * channels, sizeof *means);
    uint8_t *bytes = malloc(IMAGES * size);
    shape.gather.pitch = pitch;
    shape.gather.floats = kind->floats;
    shape.gather.image.border = kind->border;
    shape.gather.image.mean[0] = 0.25f;
    shape.gather.in_order = kind->floats && n <= IMAGES;
    int32_t *words = calloc(cvy_look_words(&shape), room * sizeof *words), all_labels[IMAGES], labels[64],
            expected_labels[64];
    uint32_t indices[64];
    for (size_t i = 0; i < IMAGES * size; i++)
        bytes[i] = (uint8_t)((floats[i] + 1) * 127.99f);
    const void *images = kind->floats ? (const void *)floats : bytes;
    for (size_t i = 0; i < IMAGES; i++) {
        all_labels[i] = (int32_t)(i * i % 10);
        cvy_augment_means(&shape.gather, (const char *)images + i * size * (kind->floats ? sizeof(float) : 1),
                          kind->in_height, kind->in_width, means + i * channels);
    }
    for (int i = 0; i < n; i++) {
        cvy_look look;
        indices[i] = (uint32_t)i * 5 % IMAGES;
        draw(&shape, (uint32_t)i, &look);
        cvy_look_pack(&shape, &look, words, room, (size_t)i + 2);
    }
    cvy_augment_source from = {images, all_labels, indices, means, words + 2, room};
    float *expected = malloc(outputs(&shape) * sizeof *expected);
    cvy_augment_reference(&shape, n, &from, expected, expected_labels);
    from.looks = words;
    float *y = run(&shape, n, IMAGES, &from, 2, labels);
    test_close_columns(kind->what, y, expected, outputs(&shape) / (size_t)pitch, pitch, n, true, 2e-5);
    assert_memory_equal(labels, expected_labels, (size_t)pitch * sizeof *labels);
    free(floats), free(bytes), free(words), free(expected), free(y), free(means);
}

static void test_against_reference(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        check_kind(&kinds[k], 5, 16);
        if (!test_quick())
            check_kind(&kinds[k], 33, 48);
    }
}

/* ---- What is drawn ---- */

enum { DRAWS = 4000 };

/* Kolmogorov and Smirnov's bound for so many draws against `others` (0: the distribution itself), at 1 %. */
static double bound(double others) {
    return 1.63 * sqrt(1.0 / DRAWS + (others > 0 ? 1 / others : 0));
}

static cvy_look draw_one(const cvy_transform *t, uint32_t index) {
    const cvy_transforms list = {(cvy_transform *)(uintptr_t)t, 1};
    const cvy_image_spec image = {.channels = 3, .height = HEIGHT, .width = WIDTH};
    cvy_look look;
    cvy_transforms_draw(&list, 7, 3, index, HEIGHT, WIDTH, &image, &look);
    return look;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Values [DRAWS] against a uniform distribution. */
static void check_uniform(const char *what, double *values, double low, double high) {
    qsort(values, DRAWS, sizeof *values, ascending);
    double most = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        const double wanted = (values[i] - low) / (high - low);
        most = fmax(most, fmax(fabs(wanted - (double)i / DRAWS), fabs(wanted - (double)(i + 1) / DRAWS)));
    }
    if (!(most < bound(0)))
        fail_msg("%s: %g from uniform in %g..%g", what, most, low, high);
}

/* Of each transform, one number that it draws. */
static double angle_of(const cvy_look *look) {
    return atan2(look->place[3], look->place[0]) * 180 / acos(-1);
}
static double scale_of(const cvy_look *look) {
    return 1 / sqrt(look->place[0] * look->place[4] - look->place[1] * look->place[3]);
}
static double shear_of(const cvy_look *look) {
    return atan(look->place[1]) * 180 / acos(-1);
}
static double brightness_of(const cvy_look *look) {
    return look->colour[0][0];
}
static double pivot_of(const cvy_look *look) {
    return 1 - look->pivot[1][1] / 0.587;
}
static double saturation_of(const cvy_look *look) {
    return (look->colour[1][1] - 0.587) / (1 - 0.587);
}

static double hue_of(const cvy_look *look) {
    return look->hue;
}

static void test_uniform_draws(void **state) {
    (void)state;
    const struct {
        const char *name;
        cvy_transform transform;
        double (*value)(const cvy_look *look);
        double low, high;
    } cases[] = {
        {"RandomRotation", {.degrees = {15, NAN}}, angle_of, -15, 15},
        {"RandomRotation", {.degrees = {-10, 40}}, angle_of, -10, 40},
        {"RandomAffine", {.degrees = {20, NAN}, .scale = {0.7, 1.9}}, scale_of, 0.7, 1.9},
        {"RandomAffine", {.scale = {1, 1}, .shear = {-9, 30}}, shear_of, -9, 30},
        {"ColorJitter", {.brightness = {0.4, NAN}}, brightness_of, 0.6, 1.4},
        {"ColorJitter", {.contrast = {0.4, 0.9}}, pivot_of, 0.4, 0.9},
        {"ColorJitter", {.saturation = {1.5, NAN}}, saturation_of, 0, 2.5},
        {"ColorJitter", {.hue = {0.1, NAN}}, hue_of, -0.1, 0.1},
        {"ColorJitter", {.hue = {-0.3, 0.5}}, hue_of, -0.3, 0.5},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cvy_transform t = cases[c].transform;
        double values[DRAWS];
        t.type = cvy_transform_type_find(cases[c].name);
        double *const factors[4] = {t.brightness, t.contrast, t.saturation, t.hue};
        for (int f = 0; f < 4; f++)
            if (factors[f][0] == 0 && factors[f][1] == 0)
                factors[f][1] = NAN; /* none */
        for (uint32_t i = 0; i < DRAWS; i++) {
            const cvy_look look = draw_one(&t, i);
            values[i] = cases[c].value(&look);
        }
        check_uniform(cases[c].name, values, cases[c].low, cases[c].high);
    }
}

/* Each of a jitter's changes comes as often before another as behind it. */
static void test_order_of_jitter(void **state) {
    (void)state;
    const cvy_transform t = {.type = cvy_transform_type_find("ColorJitter"),
                             .brightness = {0, NAN},
                             .contrast = {0.5, 0.5},
                             .saturation = {0.5, 0.5},
                             .hue = {0.1, 0.1}};
    size_t early[3] = {0, 0, 0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        const cvy_look look = draw_one(&t, i);
        const bool contrast = look.early_pivot[0][0] != 0, saturation = look.early_colour[0][1] != 0;
        early[0] += contrast;
        early[1] += saturation;
        early[2] += contrast && saturation;
        assert_true((look.pivot[0][0] != 0) != contrast && (look.colour[0][1] != 0) != saturation);
    }
    const double expected[3] = {1.0 / 2, 1.0 / 2, 1.0 / 3};
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs((double)early[i] / DRAWS - expected[i]) < 0.03);
}

/* Whole numbers [DRAWS][4] against recorded counts [4][25] of 20000 draws. */
static void check_recorded_draws(const char *what, int (*values)[4], size_t count, const int *recorded) {
    for (int which = 0; which < 4; which++)
        for (int value = 0; value < 25; value++) {
            size_t at_most = 0;
            for (size_t i = 0; i < count; i++)
                at_most += values[i][which] <= value;
            const double difference =
                (double)at_most / (double)count - recorded[which * 25 + value] / 20000.0;
            if (!(fabs(difference) < bound(20000) * sqrt((double)DRAWS / (double)count)))
                fail_msg("%s: number %d is at most %d %g too often", what, which, value, difference);
        }
}

static void test_draws_of_areas(void **state) {
    (void)state;
    static int values[DRAWS][4];
    const cvy_transform crop = {.type = cvy_transform_type_find("RandomResizedCrop"),
                                .size = {HEIGHT, WIDTH},
                                .scale = {0.08, 1},
                                .ratio = {3.0 / 4, 4.0 / 3},
                                .interpolation = CVY_BILINEAR};
    const cvy_transform erasing = {.type = cvy_transform_type_find("RandomErasing"),
                                   .p = 0.5,
                                   .scale = {0.02, 0.33},
                                   .ratio = {0.3, 3.3}};
    for (uint32_t i = 0; i < DRAWS; i++) {
        const cvy_look look = draw_one(&crop, i);
        values[i][0] = (int)lround(look.place[5] - 0.5 * look.place[4] + 0.5);
        values[i][1] = (int)lround(look.place[2] - 0.5 * look.place[0] + 0.5);
        values[i][2] = (int)lround(look.place[4] * HEIGHT);
        values[i][3] = (int)lround(look.place[0] * WIDTH);
    }
    check_recorded_draws("RandomResizedCrop", values, DRAWS, resized_crops);
    size_t count = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const cvy_look look = draw_one(&erasing, i);
        if (look.erased[2] < 0)
            continue;
        values[count][0] = look.erased[1];
        values[count][1] = look.erased[0];
        values[count][2] = look.erased[3] - look.erased[1] + 1;
        values[count++][3] = look.erased[2] - look.erased[0] + 1;
    }
    assert_true(fabs((double)count / DRAWS - 0.5) < 0.03);
    check_recorded_draws("RandomErasing", values, count, erasings);
}

/* Where crops, flips and moves land: each place as often as the others. */
static void test_whole_draws(void **state) {
    (void)state;
    const struct {
        const char *name;
        cvy_transform transform;
        int axis, low, high;
    } cases[] = {
        {"RandomCrop", {.size = {HEIGHT, WIDTH}, .padding = 3}, 0, -3, 3},
        {"RandomCrop", {.size = {HEIGHT, WIDTH}, .padding = 3}, 1, -3, 3},
        {"RandomCrop", {.size = {HEIGHT, WIDTH}, .padding = 3, .padding_mode = CVY_PAD_REFLECT}, 1, -3, 3},
        {"RandomHorizontalFlip", {.p = 0.5}, 0, 0, WIDTH - 1},
        {"RandomVerticalFlip", {.p = 0.5}, 1, 0, HEIGHT - 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cvy_transform t = cases[c].transform;
        int counts[64] = {0};
        t.type = cvy_transform_type_find(cases[c].name);
        for (uint32_t i = 0; i < DRAWS; i++) {
            const cvy_look look = draw_one(&t, i);
            counts[(int)look.place[cases[c].axis ? 5 : 2] - cases[c].low]++;
        }
        const int span = cases[c].high - cases[c].low, step = t.p > 0 ? span : 1;
        for (int at = 0; at <= span; at += step)
            assert_true(fabs(counts[at] * (span / step + 1.0) / DRAWS - 1) < 0.15);
    }
    const cvy_transform move = {.type = cvy_transform_type_find("RandomAffine"),
                                .translate = {0.25, 0.1},
                                .scale = {1, 1}}; /* 6 columns, 2 rows */
    double most[2] = {0, 0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        const cvy_look look = draw_one(&move, i);
        assert_true(look.place[2] == round(look.place[2]) && look.place[5] == round(look.place[5]));
        most[0] = fmax(most[0], fabs(look.place[2]));
        most[1] = fmax(most[1], fabs(look.place[5]));
    }
    assert_true(most[0] == 6 && most[1] == 2);
}

/* The same for the same seed, epoch and image; another for another of each. */
static void test_draws_are_of_their_keys(void **state) {
    (void)state;
    cvy_transform t = {.type = cvy_transform_type_find("RandomRotation"), .degrees = {180, NAN}};
    const cvy_transforms list = {&t, 1};
    const cvy_image_spec image = {.channels = 1, .height = HEIGHT, .width = WIDTH};
    const uint32_t keys[][3] = {{1, 2, 3}, {1, 2, 3}, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
    double places[5];
    for (size_t i = 0; i < 5; i++) {
        cvy_look look;
        cvy_transforms_draw(&list, keys[i][0], keys[i][1], keys[i][2], HEIGHT, WIDTH, &image, &look);
        places[i] = look.place[0];
    }
    assert_true(places[0] == places[1]);
    for (size_t i = 2; i < 5; i++)
        assert_true(places[i] != places[0]);
    cvy_look look; /* what is left over is cut off around the centre */
    cvy_transforms_draw(&(cvy_transforms){&t, 0}, 1, 1, 1, HEIGHT + 3, WIDTH + 4, &image, &look);
    assert_true(look.place[2] == 2 && look.place[5] == 2 && look.height == HEIGHT && look.width == WIDTH);
}

int main(void) {
    const struct CMUnitTest augment[] = {cmocka_unit_test(test_against_reference)};
    const struct CMUnitTest reference[] = {
        cmocka_unit_test(test_flips_and_crops),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_compositions),
        cmocka_unit_test(test_resized_crop),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_hues),
        cmocka_unit_test(test_order_of_jitter),
        cmocka_unit_test(test_order_of_fill),
        cmocka_unit_test(test_uniform_draws),
        cmocka_unit_test(test_draws_of_areas),
        cmocka_unit_test(test_whole_draws),
        cmocka_unit_test(test_draws_are_of_their_keys),
    };
    RUN_ON_DEVICES(augment);
    return cmocka_run_group_tests(reference, NULL, NULL);
}
