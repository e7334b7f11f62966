/* host/ops/gather.h: images of bytes and floats into a batch, plain and with a border. */
#include "ops/gather.h"

#include "ops/ops.h"
#include "selftest/cases.h"

enum { IMAGES = 70, INDEX_OFFSET = 3 };

static uint8_t *random_bytes(size_t count) {
    uint8_t *bytes = malloc(count);
    float *values = test_random(count, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((values[i] + 1) * 127.99f);
    free(values);
    return bytes;
}

static size_t out_rows(const cvy_gather_shape *shape) {
    return (size_t)shape->image.channels * (size_t)(shape->image.height + 2 * shape->image.border) *
           (size_t)(shape->image.width + 2 * shape->image.border);
}

/* Runs on the device; the caller frees y. */
static float *run(const cvy_gather_shape *shape, int n, const void *images, const int32_t *all_labels,
                  const uint32_t *indices, int32_t *labels) {
    size_t bytes = IMAGES * (size_t)(shape->image.channels * shape->in_height * shape->in_width) *
                   (shape->floats ? sizeof(float) : 1);
    size_t pitch = (size_t)shape->pitch, count = out_rows(shape) * pitch;
    cvy_gather *op = NULL;
    assert_ok(cvy_gather_create(device, shape, &op));
    cvy_buffer *set = test_buffer(device, images, bytes), *y = garbage(count), *classes = garbage(pitch);
    cvy_buffer *set_labels = test_buffer(device, all_labels, IMAGES * sizeof(int32_t));
    cvy_buffer *chosen = test_buffer(device, indices, IMAGES * sizeof(uint32_t));
    assert_ok(cvy_gather_run(op, n, set, set_labels, chosen, INDEX_OFFSET, y, classes));
    assert_ok(cvy_buffer_read(classes, 0, labels, pitch * sizeof(int32_t)));
    cvy_buffer_free(set);
    cvy_buffer_free(set_labels);
    cvy_buffer_free(chosen);
    cvy_buffer_free(classes);
    cvy_gather_free(op);
    return download(y, count);
}

static void test_against_reference(void **state) {
    (void)state;
    uint8_t *bytes = random_bytes(IMAGES * 3 * 32 * 32);
    float *floats = test_random(IMAGES * 3 * 32 * 32, 2);
    int32_t all_labels[IMAGES], labels[64], expected_labels[64];
    uint32_t indices[IMAGES];
    for (int i = 0; i < IMAGES; i++) {
        all_labels[i] = i * i % 10;
        indices[i] = (uint32_t)(i * 37 + 11) % IMAGES;
    }
    for (size_t s = 0; s < cvy_gather_case_count; s += test_stride())
        for (size_t b = 0; b < BATCHES; b += test_stride()) {
            cvy_gather_shape shape = cvy_gather_cases[s];
            int n = batches[b][0];
            shape.pitch = batches[b][1];
            shape.in_height = shape.image.height;
            shape.in_width = shape.image.width;
            shape.floats = (s + b) % 2;
            shape.in_order = s % 3 == 1;
            const void *images = shape.floats ? (const void *)floats : bytes;
            size_t rows = out_rows(&shape), pitch = (size_t)shape.pitch;
            float *expected = malloc(rows * pitch * sizeof(float));
            cvy_gather_reference(&shape, n, images, all_labels, indices + INDEX_OFFSET, expected,
                                 expected_labels);
            float *y = run(&shape, n, images, all_labels, indices, labels);
            test_close_columns("gather", y, expected, rows, shape.pitch, n, true, 1e-6);
            assert_memory_equal(labels, expected_labels, pitch * sizeof(int32_t));
            free(expected), free(y);
        }
    free(bytes), free(floats);
}

/* The reference, by hand: places, border, normalisation, padding columns. */
static void test_places(void **state) {
    (void)state;
    const cvy_gather_shape shape = {
        .pitch = 16,
        .in_height = 2,
        .in_width = 3,
        .image = {.channels = 2, .height = 2, .width = 3, .border = 1, .mean = {0.5f, 0}, .std = {0.5f, 1}}};
    const uint32_t indices[2] = {1, 0};
    const int32_t all_labels[2] = {7, 8};
    uint8_t images[24];
    for (int i = 0; i < 24; i++)
        images[i] = (uint8_t)(10 * i);
    float y[2 * 4 * 5 * 16];
    int32_t labels[16];
    cvy_gather_reference(&shape, 2, images, all_labels, indices, y, labels);
    assert_true(labels[0] == 8 && labels[1] == 7 && labels[2] == 0);
    /* channel 0, pixel (1, 2) of image 1: byte 12 + 5 */
    assert_true(fabsf(y[(2 * 5 + 3) * 16] - (170 / 255.0f - 0.5f) / 0.5f) < 1e-6f);
    /* channel 1, pixel (0, 0) of image 0: byte 6 */
    assert_true(fabsf(y[(20 + 5 + 1) * 16 + 1] - 60 / 255.0f) < 1e-6f);
    assert_true(y[0] == -1 && y[20 * 16] == 0 && y[2] == 0); /* border of a black image; padding column */
    cvy_gather_shape floats = shape;
    float values[24];
    for (int i = 0; i < 24; i++)
        values[i] = 0.1f * (float)i - 1;
    floats.floats = true;
    cvy_gather_reference(&floats, 2, values, all_labels, indices, y, labels);
    assert_true(fabsf(y[(2 * 5 + 3) * 16] - (0.7f - 0.5f) / 0.5f) < 1e-6f); /* value 12 + 5 */
}

/* Images that were made for the batch lie in its order; their labels are those of the set. */
static void test_in_order(void **state) {
    (void)state;
    const cvy_gather_shape shape = {.pitch = 16,
                                    .in_height = 1,
                                    .in_width = 1,
                                    .image = {.channels = 1, .height = 1, .width = 1, .std = {1}},
                                    .in_order = true};
    const uint32_t indices[2] = {1, 0};
    const int32_t all_labels[2] = {7, 8};
    const uint8_t images[2] = {0, 255};
    float y[16];
    int32_t labels[16];
    cvy_gather_reference(&shape, 2, images, all_labels, indices, y, labels);
    assert_true(labels[0] == 8 && labels[1] == 7 && y[0] == 0 && y[1] == 1);
}

static void test_impossible_shapes(void **state) {
    (void)state;
    cvy_gather_shape shape = {.pitch = 16,
                              .in_height = 4,
                              .in_width = 4,
                              .image = {.channels = 5, .height = 4, .width = 4, .std = {1, 1, 1, 1}}};
    cvy_gather *op = NULL;
    assert_fails(cvy_gather_create(device, &shape, &op), CONVOY_INVALID, "5 channels");
    shape.image.channels = 4, shape.image.height = 0;
    assert_fails(cvy_gather_create(device, &shape, &op), CONVOY_INVALID, "0x4");
    shape.image.height = 4, shape.image.std[2] = 0;
    assert_fails(cvy_gather_create(device, &shape, &op), CONVOY_INVALID,
                 "channel 2 cannot be normalised by mean 0 and std 0");
    shape.image.std[2] = 1, shape.in_width = 5;
    assert_fails(cvy_gather_create(device, &shape, &op), CONVOY_INVALID, "4x5 are gathered as 4x4");
}

int main(void) {
    const struct CMUnitTest gather[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_impossible_shapes),
    };
    return RUN_ON_DEVICES(gather);
}
