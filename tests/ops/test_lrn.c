/* host/ops/lrn.h: PyTorch's values, and kernels against the reference. */
#define REFERENCE_LRN
#include "ops/data/ops_reference.h"
#include "ops/lrn.h"
#include "ops/ops.h"

static void run(const cvy_lrn_shape *shape, const float *x, const float *gy, float **y, float **gx) {
    const size_t all = shape->channels * shape->pixels * (size_t)shape->pitch;
    cvy_buffer *in = upload(x, all), *out = garbage(all), *base = garbage(all), *back = upload(gy, all),
               *to = garbage(all);
    cvy_lrn op;
    assert_ok(cvy_lrn_prepare(device, shape, &op));
    assert_ok(cvy_lrn_forward(&op, in, out, NULL));
    assert_ok(cvy_lrn_forward(&op, in, out, base));
    assert_ok(cvy_lrn_backward(&op, in, base, back, to));
    *y = download(out, all);
    *gx = download(to, all);
    cvy_buffer_free(in), cvy_buffer_free(base), cvy_buffer_free(back);
}

static void test_recorded(void **state) {
    (void)state;
    enum { IMAGES = 3, PITCH = 16, ROWS = 28 };
    for (int even = 0; even < 2; even++) {
        const cvy_lrn_shape shape = {PITCH, 7, 4, even ? 4 : 3, 0.5f, 0.75f, even ? 2 : 1};
        float *x = spread_rows(lrn_x, ROWS, IMAGES, PITCH, 3),
              *gy = spread_rows(lrn_gy, ROWS, IMAGES, PITCH, 0);
        float *y, *gx;
        run(&shape, x, gy, &y, &gx);
        check_recorded("y", y, even ? lrn4_y : lrn3_y, ROWS, IMAGES, PITCH, false, 1e-6);
        check_recorded("gx", gx, even ? lrn4_gx : lrn3_gx, ROWS, IMAGES, PITCH, true, 1e-6);
        free(x), free(gy), free(y), free(gx);
    }
}

static void test_kernels(void **state) {
    (void)state;
    static const int shapes[][3] = {{1, 1, 5}, {3, 7, 9}, {20, 5, 5}, {20, 70, 2}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const cvy_lrn_shape shape = {48,  (size_t)shapes[s][0], (size_t)shapes[s][1], shapes[s][2], 1, 0.6f,
                                     0.5f};
        const size_t all = shape.channels * shape.pixels * 48;
        float *x = test_random(all, 1), *gy = test_random(all, 2), *y, *gx;
        float *expected_y = malloc(all * sizeof(float)), *base = malloc(all * sizeof(float)),
              *expected_gx = malloc(all * sizeof(float));
        run(&shape, x, gy, &y, &gx);
        cvy_lrn_forward_reference(&shape, x, expected_y, base);
        cvy_lrn_backward_reference(&shape, x, base, gy, expected_gx);
        test_close("y", y, expected_y, all, 2e-6);
        test_close("gx", gx, expected_gx, all, 2e-6);
        free(x), free(gy), free(y), free(gx), free(expected_y), free(base), free(expected_gx);
    }
}

int main(void) {
    const struct CMUnitTest lrn[] = {cmocka_unit_test(test_recorded), cmocka_unit_test(test_kernels)};
    return RUN_ON_DEVICES(lrn);
}
