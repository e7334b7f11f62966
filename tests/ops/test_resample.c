/* host/ops/resample.h: pictures brought to the size of an image, to the same bytes on every device. That they
   are those of torchvision, tests/data/test_image.c shows. */
#include "ops/resample.h"

#include "ops/ops.h"
#include "ops/resize.h"

enum { IMAGES = 5, CHANNELS = 2, PITCH = 16, INDEX_OFFSET = 2 };

typedef struct kind {
    int from[2], to[2];
    cvy_resize_mode resize;
    int short_side;
} kind;

static const kind kinds[] = {
    {{5, 7}, {24, 19}, CVY_SHORT_SIDE, 0}, {{11, 9}, {4, 6}, CVY_SHORT_SIDE, 0},
    {{9, 14}, {5, 6}, CVY_SHORT_SIDE, 8},  {{1, 1}, {3, 2}, CVY_SQUASH, 0},
    {{17, 70}, {17, 9}, CVY_SQUASH, 0},    {{13, 6}, {8, 11}, CVY_LETTERBOX, 0},
    {{6, 21}, {9, 9}, CVY_LETTERBOX, 0},
};

static cvy_gather_shape shape_of(const kind *kind, bool floats) {
    return (cvy_gather_shape){.pitch = PITCH,
                              .in_height = kind->from[0],
                              .in_width = kind->from[1],
                              .floats = floats,
                              .image = {.channels = CHANNELS,
                                        .height = kind->to[0],
                                        .width = kind->to[1],
                                        .resize = kind->resize,
                                        .short_side = kind->short_side}};
}

static const uint32_t indices[INDEX_OFFSET + PITCH] = {9, 9, 4, 0, 2, 2, 1, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4};

/* n images from the device; the caller frees them. */
static void *run(const cvy_gather_shape *shape, int n, const void *images, size_t bytes, size_t made_bytes) {
    cvy_resample *op = NULL;
    assert_ok(cvy_resample_create(device, shape, &op));
    cvy_buffer *set = test_buffer(device, images, bytes), *made,
               *chosen = test_buffer(device, indices, sizeof indices);
    assert_ok(cvy_resample_run(op, n, set, chosen, INDEX_OFFSET, &made));
    void *result = malloc(made_bytes);
    assert_ok(cvy_buffer_read(made, 0, result, made_bytes));
    cvy_buffer_free(set);
    cvy_buffer_free(chosen);
    cvy_resample_free(op);
    return result;
}

static void check_kind(const kind *kind, bool floats) {
    const cvy_gather_shape shape = shape_of(kind, floats);
    const size_t size = IMAGES * CHANNELS * (size_t)(kind->from[0] * kind->from[1]),
                 made = CHANNELS * (size_t)(kind->to[0] * kind->to[1]);
    float *values = test_random(size, 1);
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((values[i] + 1) * 127.99f);
    const void *images = floats ? (const void *)values : bytes;
    const size_t pixel = floats ? sizeof(float) : 1;
    for (int n = 1; n <= PITCH; n += 6) {
        void *expected = malloc((size_t)n * made * pixel);
        assert_ok(cvy_resample_reference(&shape, n, images, indices + INDEX_OFFSET, expected));
        void *actual = run(&shape, n, images, size * pixel, (size_t)n * made * pixel);
        if (floats)
            test_close("resample", actual, expected, (size_t)n * made, 1e-6);
        else
            assert_memory_equal(actual, expected, (size_t)n * made);
        free(expected);
        free(actual);
    }
    free(values);
    free(bytes);
}

static void test_against_reference(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int floats = 0; floats < 2; floats++)
            check_kind(&kinds[k], floats);
}

/* Enlarged, it is torch.nn.functional.interpolate(mode="bilinear"), but for the 15 bits of weights; a plane's
   mean is the mean of what it becomes. */
static void test_enlarging(void **state) {
    (void)state;
    const kind kind = {{9, 6}, {13, 15}, CVY_SQUASH, 0};
    cvy_gather_shape shape = shape_of(&kind, true);
    shape.image.channels = 1;
    const cvy_resize_shape resize = {1, 1, 9, 6, 13, 15};
    float *x = test_random(54, 3), expected[195], y[195];
    const uint32_t index = 0;
    double sum = 0;
    float mean;
    cvy_resample *op = NULL;
    cvy_resize_forward_reference(&resize, x, expected);
    assert_ok(cvy_resample_reference(&shape, 1, x, &index, y));
    test_close("resize", y, expected, 195, 2e-4);
    for (int i = 0; i < 195; i++)
        sum += (double)y[i];
    assert_ok(cvy_resample_create(device, &shape, &op));
    cvy_resample_means(op, x, &mean);
    assert_true(fabs((double)mean - sum / 195) < 1e-6);
    cvy_resample_free(op);
    free(x);
}

/* By hand: the middle of a wide picture, half as large; and all of it between rows of zeros. */
static void test_parts(void **state) {
    (void)state;
    const uint8_t picture[2 * 6] = {10, 10, 50, 50, 90, 90, 30, 30, 70, 70, 110, 110};
    kind kind = {{2, 6}, {3, 3}, CVY_LETTERBOX, 0};
    cvy_gather_shape shape = shape_of(&kind, false);
    shape.image.channels = 1;
    const uint32_t index = 0;
    uint8_t made[9];
    assert_ok(cvy_resample_reference(&shape, 1, picture, &index, made));
    assert_true(made[0] == 0 && made[2] == 0 && made[6] == 0 && made[8] == 0);
    /* a triangle four pixels wide over 10 10 50, 50 in the middle, and both rows */
    assert_int_equal(made[4], 60);
    kind.to[0] = kind.to[1] = 2;
    shape = shape_of(&kind, false);
    shape.image.channels = 1;
    shape.image.resize = CVY_SHORT_SIDE;
    assert_ok(cvy_resample_reference(&shape, 1, picture, &index, made));
    const uint8_t middle[4] = {50, 50, 70, 70};
    assert_memory_equal(made, middle, 4);
}

int main(void) {
    const struct CMUnitTest resample[] = {cmocka_unit_test(test_against_reference)};
    const struct CMUnitTest host[] = {
        cmocka_unit_test(test_enlarging),
        cmocka_unit_test(test_parts),
    };
    RUN_ON_DEVICES(resample);
    return cmocka_run_group_tests(host, use_host, close_host);
}
