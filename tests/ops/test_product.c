/* host/ops/product.h: the reference by its formula, kernels against the reference. */
#include "ops/channel_scale.h"
#include "ops/ops.h"
#include "ops/product.h"

static void test_formula(void **state) {
    (void)state;
    const cvy_product_shape shape = {1, 2, 3};
    const float x[] = {1, 2, 3, -4, 5, 6}, gate[] = {10, 0.5f}, gy[] = {1, 1, 2, 2, 0, -1};
    const float products[] = {10, 20, 30, -2, 2.5f, 3}, sums[] = {9, -14};
    float y[6], ggate[2];
    cvy_product_reference(&shape, x, gate, y);
    assert_memory_equal(y, products, sizeof y);
    cvy_product_sums_reference(&shape, gy, x, ggate);
    assert_memory_equal(ggate, sums, sizeof ggate);
}

static void test_kernels(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {3, 2}, {5, 63}, {2, 64}, {2, 200}, {70, 9}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (size_t b = 0; b < 6; b += 5 * test_stride()) {
            const cvy_product_shape shape = {batches[b][1], sizes[k][0], sizes[k][1]};
            const size_t pitch = (size_t)shape.pitch, gates = shape.channels * pitch,
                         all = gates * shape.pixels;
            float *x = test_random(all, 1), *gate = test_random(gates, 2), *gy = test_random(all, 3);
            float *y = malloc(all * sizeof *y), *ggate = malloc(gates * sizeof *ggate);
            cvy_product op;
            assert_ok(cvy_product_prepare(device, &shape, &op));
            cvy_buffer *xs = upload(x, all), *gs = upload(gate, gates), *gys = upload(gy, all),
                       *sums = garbage(gates);
            assert_ok(cvy_product_sums(&op, gys, xs, sums));
            assert_ok(cvy_product_run(&op, xs, gs, xs)); /* in place */
            float *actual = download(xs, all), *actual_sums = download(sums, gates);
            cvy_product_reference(&shape, x, gate, y);
            cvy_product_sums_reference(&shape, gy, x, ggate);
            assert_memory_equal(actual, y, all * sizeof *y);
            test_close("sums", actual_sums, ggate, gates, 1e-6);
            cvy_buffer_free(gs), cvy_buffer_free(gys);
            free(x), free(gate), free(gy), free(y), free(ggate), free(actual), free(actual_sums);
        }
}

/* A value for each map, in place, and its gradient, added to what is there. */
static void test_channel_scale(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {3, 2}, {2, 65}, {70, 9}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const cvy_product_shape shape = {48, sizes[k][0], sizes[k][1]};
        const size_t all = shape.channels * shape.pixels * 48, floats = shape.pixels * 48;
        float *x = test_random(all, 1), *scale = test_random(shape.channels, 2), *gy = test_random(all, 3),
              *gscale = test_random(shape.channels, 4), *y = malloc(all * sizeof *y);
        cvy_channel_scale op;
        assert_ok(cvy_channel_scale_prepare(device, &shape, true, &op));
        cvy_buffer *xs = upload(x, all), *scales = upload(scale, shape.channels), *gys = upload(gy, all),
                   *sums = upload(gscale, shape.channels),
                   *workspace = garbage(cvy_channel_scale_workspace(cvy_device_get_traits(device), &shape) /
                                        sizeof(float));
        assert_ok(cvy_channel_scale_backward(&op, gys, xs, sums, true, workspace));
        assert_ok(cvy_channel_scale_run(&op, xs, scales, xs));
        float *actual = download(xs, all), *actual_sums = download(sums, shape.channels);
        cvy_channel_scale_reference(&shape, x, scale, y);
        assert_memory_equal(actual, y, all * sizeof *y);
        for (size_t c = 0; c < shape.channels; c++) {
            double sum = gscale[c];
            for (size_t i = c * floats; i < (c + 1) * floats; i++)
                sum += (double)gy[i] * (double)x[i];
            gscale[c] = (float)sum;
        }
        test_close("gradient", actual_sums, gscale, shape.channels, 1e-6);
        cvy_buffer_free(scales), cvy_buffer_free(gys), cvy_buffer_free(workspace);
        free(x), free(scale), free(gy), free(gscale), free(y), free(actual), free(actual_sums);
    }
}

int main(void) {
    const struct CMUnitTest product[] = {cmocka_unit_test(test_formula), cmocka_unit_test(test_kernels),
                                         cmocka_unit_test(test_channel_scale)};
    return RUN_ON_DEVICES(product);
}
