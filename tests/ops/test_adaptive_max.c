/* host/ops/adaptive_max.h: PyTorch's values with overlaps, ties, NaN and infinities; kernels against the
   reference. */
#define REFERENCE_ADAPTIVE_MAX
#include "ops/adaptive_max.h"
#include "ops/data/ops_reference.h"
#include "ops/ops.h"

static size_t in_floats(const cvy_adaptive_max_shape *s) {
    return (size_t)s->channels * (size_t)s->in_height * (size_t)s->in_width * (size_t)s->pitch;
}
static size_t out_floats(const cvy_adaptive_max_shape *s) {
    return (size_t)s->channels * (size_t)s->out_height * (size_t)s->out_width * (size_t)s->pitch;
}

/* All results are to be freed. */
static void run(const cvy_adaptive_max_shape *s, const float *x, const float *gy, float **y,
                int32_t **indices, float **gx) {
    const size_t in = in_floats(s), out = out_floats(s);
    cvy_buffer *from = upload(x, in), *to = garbage(out), *again = garbage(out), *places = garbage(out);
    cvy_buffer *incoming = upload(gy, out), *back = garbage(in);
    cvy_adaptive_max op;
    assert_ok(cvy_adaptive_max_prepare(device, s, &op));
    assert_ok(cvy_adaptive_max_forward(&op, from, again, NULL));
    assert_ok(cvy_adaptive_max_forward(&op, from, to, places));
    assert_ok(cvy_adaptive_max_backward(&op, incoming, places, back));
    float *without = download(again, out);
    *y = download(to, out);
    *indices = (int32_t *)download(places, out);
    *gx = download(back, in);
    assert_memory_equal(*y, without, out * sizeof(float));
    cvy_buffer_free(from), cvy_buffer_free(incoming);
    free(without);
}

static void test_recorded(void **state) {
    (void)state;
    enum { IMAGES = 3, PITCH = 16, IN = 2 * 7 * 6, OUT = 2 * 3 * 4 };
    const cvy_adaptive_max_shape shape = {PITCH, 2, 7, 6, 3, 4};
    float *x = spread_rows(adaptive_max_x, IN, IMAGES, PITCH, 5),
          *gy = spread_rows(adaptive_max_gy, OUT, IMAGES, PITCH, 0), *y, *gx;
    int32_t *indices;
    run(&shape, x, gy, &y, &indices, &gx);
    check_recorded("y", y, adaptive_max_y, OUT, IMAGES, PITCH, false, 0);
    check_recorded("gx", gx, adaptive_max_gx, IN, IMAGES, PITCH, true, 3e-7);
    for (size_t row = 0; row < OUT; row++)
        assert_memory_equal(indices + row * PITCH, adaptive_max_indices + row * IMAGES,
                            IMAGES * sizeof(int32_t));
    free(x), free(gy), free(y), free(indices), free(gx);
}

static void test_kernels(void **state) {
    (void)state;
    /* All of the input, more than a byte counts; as many as there are; more than there are. */
    static const int shapes[][5] = {{3, 19, 17, 1, 1}, {2, 5, 4, 5, 4}, {2, 3, 5, 4, 7}, {5, 11, 6, 4, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const cvy_adaptive_max_shape s = {48,           shapes[i][0], shapes[i][1],
                                          shapes[i][2], shapes[i][3], shapes[i][4]};
        float *x = test_random(in_floats(&s), 1), *gy = test_random(out_floats(&s), 2), *y, *gx;
        float *expected_y = malloc(out_floats(&s) * sizeof(float)),
              *expected_gx = malloc(in_floats(&s) * sizeof(float));
        int32_t *indices, *expected = malloc(out_floats(&s) * sizeof(int32_t));
        run(&s, x, gy, &y, &indices, &gx);
        cvy_adaptive_max_forward_reference(&s, x, expected_y, expected);
        cvy_adaptive_max_backward_reference(&s, gy, expected, expected_gx);
        assert_memory_equal(y, expected_y, out_floats(&s) * sizeof(float));
        assert_memory_equal(indices, expected, out_floats(&s) * sizeof(int32_t));
        test_close("gx", gx, expected_gx, in_floats(&s), 1e-6);
        free(x), free(gy), free(y), free(gx), free(expected_y), free(expected_gx);
        free(indices), free(expected);
    }
}

int main(void) {
    const struct CMUnitTest adaptive_max[] = {cmocka_unit_test(test_recorded),
                                              cmocka_unit_test(test_kernels)};
    return RUN_ON_DEVICES(adaptive_max);
}
