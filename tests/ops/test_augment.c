/* host/ops/augment.h: transforms with given parameters against torchvision's, what is drawn against its
   distributions, and the kernel against the reference. */
#include "ops/augment.h"

#include "ops/data/augment_reference.h"
#include "ops/ops.h"

enum { HEIGHT = 20, WIDTH = 24 };

/* A list that needs nothing but what `frame` says. */
static cvy_augment_shape shape_of(cvy_frame frame, int channels, int height, int width, int out_height,
                                  int out_width) {
    cvy_augment_shape shape = {.gather = {.pitch = 16, .in_height = height, .in_width = width},
                               .frame = frame,
                               .height = height,
                               .width = width};
    shape.gather.image = (cvy_image_spec){.channels = channels, .height = out_height, .width = out_width};
    for (int c = 0; c < 4; c++)
        shape.gather.image.std[c] = 1;
    return shape;
}

static size_t outputs(const cvy_augment_shape *shape) {
    const cvy_image_spec *image = &shape->gather.image;
    return (size_t)image->channels * (size_t)(image->height + 2 * image->border) *
           (size_t)(image->width + 2 * image->border) * (size_t)shape->gather.pitch;
}

/* What the device makes of n of `count` images; the caller frees it. */
static float *run(const cvy_augment_shape *shape, int n, const void *images, size_t count,
                  const int32_t *all_labels, const uint32_t *indices, const int32_t *words, size_t room,
                  size_t first, int32_t *labels) {
    const cvy_gather_shape *gather = &shape->gather;
    const size_t pitch = (size_t)gather->pitch, bytes = (size_t)gather->image.channels *
                                                        (size_t)(gather->in_height * gather->in_width) *
                                                        (gather->floats ? sizeof(float) : 1);
    cvy_augment *op = NULL;
    assert_ok(cvy_augment_create(device, shape, &op));
    cvy_augment_operands on = {.n = n,
                               .images = test_buffer(device, images, count * bytes),
                               .all_labels = test_buffer(device, all_labels, count * sizeof(int32_t)),
                               .indices = test_buffer(device, indices, (size_t)n * sizeof(uint32_t)),
                               .looks =
                                   test_buffer(device, words, cvy_look_words(shape) * room * sizeof(int32_t)),
                               .room = room,
                               .look_offset = first,
                               .y = garbage(outputs(shape)),
                               .labels = garbage(pitch)};
    assert_ok(cvy_augment_run(op, &on));
    assert_ok(cvy_buffer_read(on.labels, 0, labels, pitch * sizeof(int32_t)));
    cvy_buffer_free(on.images);
    cvy_buffer_free(on.all_labels);
    cvy_buffer_free(on.indices);
    cvy_buffer_free(on.looks);
    cvy_buffer_free(on.labels);
    cvy_augment_free(op);
    return download(on.y, outputs(shape));
}

/* ---- Against torchvision ---- */

/* Compares the recorded picture, so looked at, with `expected` [3][height][width]. */
static void check(const char *what, cvy_frame frame, const cvy_look *look, const uint8_t *expected,
                  double most, double mean) {
    const cvy_augment_shape shape = shape_of(frame, 3, HEIGHT, WIDTH, look->height, look->width);
    const int32_t label = 3;
    const uint32_t index = 0;
    int32_t words[64] = {0}, labels[16];
    double sum = 0;
    cvy_look_pack(&shape, look, words, 1, 0);
    float *y = run(&shape, 1, picture, 1, &label, &index, words, 1, 0, labels);
    const size_t count = outputs(&shape) / 16;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)y[16 * i] * 255 - expected[i]);
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
        cvy_look_begin(&look, HEIGHT, WIDTH);
        cvy_look_flip(&look, true, false);
        cvy_look_flip(&look, false, true);
        check("flips", frames[f], &look, flipped, exact, exact);
        cvy_look_begin(&look, HEIGHT, WIDTH);
        cvy_look_crop(&look, 1 - 4, 7 - 4, 19, 23);
        check("a crop", frames[f], &look, cropped, exact, exact);
    }
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
        cvy_look_begin(&look, HEIGHT, WIDTH);
        cvy_look_turn(&look, &cases[i].turn);
        check(cases[i].what, cases[i].frame, &look, cases[i].expected, cases[i].most, cases[i].mean);
    }
}

/* What lies beside a picture stays the fill, whatever is done with it afterwards. */
static void test_compositions(void **state) {
    (void)state;
    const cvy_turn turn = {.angle = -12, .scale = 1};
    cvy_look look;
    cvy_look_begin(&look, HEIGHT, WIDTH);
    cvy_look_crop(&look, 0 - 2, 3 - 2, HEIGHT, WIDTH);
    cvy_look_flip(&look, true, false);
    cvy_look_turn(&look, &turn);
    check("a crop, turned", whole_pixels, &look, turned_crop, exact, exact);
    cvy_look_begin(&look, HEIGHT, WIDTH);
    cvy_look_turn(&look, &turn);
    cvy_look_crop(&look, 0 - 3, 5 - 3, HEIGHT, WIDTH);
    check("a turn, cropped", whole_pixels, &look, cropped_turn, exact, exact);
}

static void test_resized_crop(void **state) {
    (void)state;
    cvy_look look;
    cvy_look_begin(&look, HEIGHT, WIDTH);
    cvy_look_crop(&look, 3, 5, 9, 11);
    cvy_look_resize(&look, HEIGHT, WIDTH);
    check("a crop, enlarged", smooth, &look, enlarged, 1, 0.5);
}

/* ---- Against the reference ---- */

enum { IMAGES = 9 };

/* Lists that need every kind of kernel. */
typedef struct kind {
    const char *what;
    int channels, in_height, in_width, height, width, border;
    bool floats, smooth;
} kind;

static const kind kinds[] = {
    {"whole pixels", 3, 13, 17, 13, 17, 1, false, false},
    {"smooth", 3, 13, 17, 13, 17, 0, false, true},
    {"resized, of floats", 1, 7, 9, 14, 12, 2, true, false},
};

static void draw(const cvy_augment_shape *shape, uint32_t index, cvy_look *look) {
    const cvy_image_spec *image = &shape->gather.image;
    cvy_rng rng = cvy_rng_stream(5, 77, index);
    cvy_look_begin(look, shape->height, shape->width);
    if (index % 4 == 1)
        cvy_look_flip(look, true, index % 8 == 1);
    if (index % 4 != 3)
        cvy_look_crop(look, (int)cvy_rng_below(&rng, 7) - 3, (int)cvy_rng_below(&rng, 7) - 3, image->height,
                      image->width);
    if (index % 2 == 0)
        cvy_look_turn(look, &(cvy_turn){.angle = 360 * (double)cvy_rng_uniform(&rng),
                                        .translate = {1, -2},
                                        .scale = 0.5 + (double)cvy_rng_uniform(&rng)});
    cvy_look_crop(look, (int)cvy_rng_below(&rng, 3) - 1, 0, image->height, image->width);
}

static void check_kind(const kind *kind, int n, int pitch) {
    const cvy_frame frame = {.smooth = kind->smooth, .shrink = 1, .fill = 40};
    cvy_augment_shape shape =
        shape_of(frame, kind->channels, kind->in_height, kind->in_width, kind->height, kind->width);
    const size_t count = IMAGES * (size_t)(kind->channels * kind->in_height * kind->in_width),
                 room = (size_t)n + 3;
    float *floats = test_random(count, 1);
    uint8_t *bytes = malloc(count);
    int32_t *words = calloc(cvy_look_words(&shape), room * sizeof *words), all_labels[IMAGES], labels[64],
            expected_labels[64];
    uint32_t indices[64];
    shape.gather.pitch = pitch;
    shape.gather.floats = kind->floats;
    shape.gather.image.border = kind->border;
    shape.gather.image.mean[0] = 0.25f;
    shape.height = kind->height;
    shape.width = kind->width;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((floats[i] + 1) * 127.99f);
    for (int i = 0; i < IMAGES; i++)
        all_labels[i] = i * i % 10;
    for (int i = 0; i < n; i++) {
        cvy_look look;
        indices[i] = (uint32_t)i * 5 % IMAGES;
        draw(&shape, (uint32_t)i, &look);
        cvy_look_pack(&shape, &look, words, room, (size_t)i + 2);
    }
    const void *images = kind->floats ? (const void *)floats : bytes;
    float *expected = malloc(outputs(&shape) * sizeof *expected);
    cvy_augment_reference(&shape, n, images, all_labels, indices, words + 2, room, expected, expected_labels);
    float *y = run(&shape, n, images, IMAGES, all_labels, indices, words, room, 2, labels);
    test_close_columns(kind->what, y, expected, outputs(&shape) / (size_t)pitch, pitch, n, true, 2e-5);
    assert_memory_equal(labels, expected_labels, (size_t)pitch * sizeof *labels);
    free(floats), free(bytes), free(words), free(expected), free(y);
}

static void test_against_reference(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        check_kind(&kinds[k], 5, 16);
        check_kind(&kinds[k], 33, 48);
    }
}

int main(void) {
    const struct CMUnitTest augment[] = {
        cmocka_unit_test(test_flips_and_crops),   cmocka_unit_test(test_turns),
        cmocka_unit_test(test_compositions),      cmocka_unit_test(test_resized_crop),
        cmocka_unit_test(test_against_reference),
    };
    return RUN_ON_DEVICES(augment);
}
