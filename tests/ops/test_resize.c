/* host/ops/resize.h: PyTorch's values, adjointness, kernels against the reference. */
#define REFERENCE_RESIZE
#include "ops/data/ops_reference.h"
#include "ops/ops.h"
#include "ops/resize.h"
#include "selftest/cases.h"

/* in and out: rows, that is channels * height * width. Returns y and gx of the device. */
static void run(const cvy_resize_shape *shape, const float *x, const float *gy, float **y, float **gx) {
    size_t in =
        (size_t)shape->channels * (size_t)shape->in_height * (size_t)shape->in_width * (size_t)shape->pitch;
    size_t out =
        (size_t)shape->channels * (size_t)shape->out_height * (size_t)shape->out_width * (size_t)shape->pitch;
    cvy_buffer *from = upload(x, in), *incoming = upload(gy, out), *to = garbage(out), *back = garbage(in);
    cvy_resize op;
    assert_ok(cvy_resize_prepare(device, shape, &op));
    assert_ok(cvy_resize_forward(&op, from, to));
    assert_ok(cvy_resize_backward(&op, incoming, back));
    cvy_buffer_free(from);
    cvy_buffer_free(incoming);
    *y = download(to, out);
    *gx = download(back, in);
}

static void test_recorded(void **state) {
    (void)state;
    const cvy_resize_shape shape = {16, 2, 5, 7, 11, 4};
    float *x = spread_rows(resize_x, 70, 2, 16, 1), *gy = spread_rows(resize_gy, 88, 2, 16, 0), *y, *gx;
    run(&shape, x, gy, &y, &gx);
    check_recorded("resize y", y, resize_y, 88, 2, 16, false, 5e-7);
    check_recorded("resize gx", gx, resize_gx, 70, 2, 16, true, 1e-6);
    free(x), free(gy), free(y), free(gx);
}

static void test_edges(void **state) {
    (void)state;
    for (size_t s = 0; s < cvy_resize_case_count; s++)
        for (int b = 0; b < BATCHES; b++) {
            const cvy_resize_shape shape = {batches[b][1],          2,
                                            cvy_resize_cases[s][0], cvy_resize_cases[s][1],
                                            cvy_resize_cases[s][2], cvy_resize_cases[s][3]};
            size_t in = 2 * (size_t)(cvy_resize_cases[s][0] * cvy_resize_cases[s][1]),
                   out = 2 * (size_t)(cvy_resize_cases[s][2] * cvy_resize_cases[s][3]);
            size_t pitch = (size_t)shape.pitch;
            float *x = test_random(in * pitch, 1), *gy = random_gradient(out, batches[b][0], shape.pitch, 2),
                  *y, *gx;
            float *expected_y = malloc(out * pitch * sizeof(float)),
                  *expected_gx = malloc(in * pitch * sizeof(float));
            cvy_resize_forward_reference(&shape, x, expected_y);
            cvy_resize_backward_reference(&shape, gy, expected_gx);
            run(&shape, x, gy, &y, &gx);
            test_close_columns("resize y", y, expected_y, out, shape.pitch, batches[b][0], false, 1e-6);
            test_close_columns("resize gx", gx, expected_gx, in, shape.pitch, batches[b][0], true, 1e-6);
            /* The op is linear, so sum(y gy) = sum(x gx). */
            double forward = 0, backward = 0;
            for (size_t i = 0; i < out * pitch; i++)
                forward += (double)y[i] * gy[i];
            for (size_t i = 0; i < in * pitch; i++)
                backward += (double)x[i] * gx[i];
            assert_true(fabs(forward - backward) < 1e-4 * (1 + fabs(forward)));
            free(x), free(gy), free(y), free(gx), free(expected_y), free(expected_gx);
        }
}

static void test_impossible_sizes(void **state) {
    (void)state;
    const cvy_resize_shape empty = {16, 1, 4, 4, 0, 4}, huge = {16, 1, 4, 4, 4, 20000};
    cvy_resize op;
    assert_fails(cvy_resize_prepare(device, &empty, &op), CONVOY_INVALID, "4x4 to 0x4");
    assert_fails(cvy_resize_prepare(device, &huge, &op), CONVOY_INVALID, "16384");
}

int main(void) {
    const struct CMUnitTest resize[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_impossible_sizes),
    };
    return RUN_ON_DEVICES(resize);
}
