/* host/ops/lenet5.h: subsampling and radial-basis units against plain arithmetic, finite differences and the
   reference. */
#include "ops/lenet5.h"

#include "ops/ops.h"

/* ---- Subsampling ---- */

static void check_subsample(cvy_subsample_shape shape, int n) {
    size_t channels = (size_t)shape.channels, pitch = (size_t)shape.pitch;
    size_t in = channels * (size_t)shape.in_height * (size_t)shape.in_width;
    size_t out =
        channels * (size_t)(shape.in_height / shape.kernel) * (size_t)(shape.in_width / shape.kernel);
    float *x = test_random(in * pitch, 1), *gy = random_gradient(out, n, shape.pitch, 2);
    float *weight = test_random(channels, 3), *bias = test_random(channels, 4);
    float *expected_y = malloc(out * pitch * sizeof(float)),
          *expected_gx = malloc(in * pitch * sizeof(float));
    float *expected = malloc(2 * channels * sizeof(float));
    cvy_subsample_forward_reference(&shape, x, weight, bias, expected_y);
    cvy_subsample_backward_reference(&shape, x, gy, weight, expected_gx, expected, expected + channels,
                                     false);
    cvy_subsample op;
    assert_ok(cvy_subsample_prepare(device, &shape, &op));
    cvy_buffer *from = upload(x, in * pitch), *incoming = upload(gy, out * pitch),
               *w = upload(weight, channels);
    cvy_buffer *b = upload(bias, channels), *y = garbage(out * pitch), *gx = garbage(in * pitch);
    cvy_buffer *gweight = garbage(channels), *gbias = garbage(channels);
    cvy_buffer *workspace =
        test_buffer(device, NULL, cvy_subsample_workspace(cvy_device_get_traits(device), &shape));
    assert_ok(cvy_subsample_forward(&op, from, w, b, y));
    assert_ok(cvy_subsample_backward(&op, from, incoming, w, gx, gweight, gbias, false, workspace));
    assert_ok(cvy_subsample_backward(&op, from, incoming, w, NULL, gweight, gbias, true, workspace));
    float *actual_y = download(y, out * pitch), *actual_gx = download(gx, in * pitch);
    float *actual_gweight = download(gweight, channels), *actual_gbias = download(gbias, channels);
    for (size_t i = 0; i < 2 * channels; i++)
        expected[i] *= 2; /* the second call added the same again */
    test_close_columns("subsample y", actual_y, expected_y, out, shape.pitch, n, false, 1e-6);
    test_close_columns("subsample gx", actual_gx, expected_gx, in, shape.pitch, n, true, 1e-6);
    test_close("subsample gweight", actual_gweight, expected, channels, 1e-5);
    test_close("subsample gbias", actual_gbias, expected + channels, channels, 1e-5);
    cvy_buffer *buffers[] = {from, incoming, w, b, workspace};
    for (int i = 0; i < 5; i++)
        cvy_buffer_free(buffers[i]);
    free(x), free(gy), free(weight), free(bias), free(expected_y), free(expected_gx), free(expected);
    free(actual_y), free(actual_gx), free(actual_gweight), free(actual_gbias);
}

static void test_subsample_edges(void **state) {
    (void)state;
    const cvy_subsample_shape shapes[] = {
        {0, 6, 28, 28, 2}, {0, 1, 5, 7, 2}, {0, 3, 8, 11, 3}, {0, 2, 4, 4, 4}, {0, 2, 3, 5, 1},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s += test_stride())
        for (size_t b = 0; b < BATCHES; b += test_stride()) {
            cvy_subsample_shape shape = shapes[s];
            shape.pitch = batches[b][1];
            check_subsample(shape, batches[b][0]);
        }
}

static void test_subsample_by_hand(void **state) {
    (void)state;
    const cvy_subsample_shape shape = {16, 1, 3, 2, 2};
    float x[96], y[16], gx[96], gy[16], gweight, gbias;
    for (int i = 0; i < 96; i++)
        x[i] = (float)(i / 16 + 1); /* rows 1 2, 3 4, 5 6 */
    for (int i = 0; i < 16; i++)
        gy[i] = i == 0 ? 1 : 0;
    cvy_subsample_forward_reference(&shape, x, &(float){0.5f}, &(float){-1}, y);
    cvy_subsample_backward_reference(&shape, x, gy, &(float){0.5f}, gx, &gweight, &gbias, false);
    assert_true(y[0] == 4 && gweight == 10 && gbias == 1);
    assert_true(gx[0] == 0.5f && gx[48] == 0.5f && gx[1] == 0 && gx[64] == 0 && gx[80] == 0);
}

static void test_subsample_needs_a_window(void **state) {
    (void)state;
    const cvy_subsample_shape shape = {16, 1, 3, 4, 4};
    cvy_subsample op;
    assert_fails(cvy_subsample_prepare(device, &shape, &op), CONVOY_INVALID, "no window fits");
}

/* ---- Radial-basis units ---- */

static void check_rbf(cvy_rbf_shape shape, int n) {
    size_t pitch = (size_t)shape.pitch, in = (size_t)shape.features, out = (size_t)shape.units;
    float *x = test_random(in * pitch, 1), *weight = test_random(in * out, 2);
    float *gy = random_gradient(out, n, shape.pitch, 3),
          *expected = malloc((in + out) * pitch * sizeof(float));
    cvy_rbf_forward_reference(&shape, x, weight, expected);
    cvy_rbf_backward_reference(&shape, x, weight, gy, expected + out * pitch);
    cvy_buffer *from = upload(x, in * pitch), *w = upload(weight, in * out),
               *incoming = upload(gy, out * pitch);
    cvy_buffer *y = garbage(out * pitch), *gx = garbage(in * pitch);
    cvy_rbf op;
    assert_ok(cvy_rbf_prepare(device, &shape, &op));
    assert_ok(cvy_rbf_forward(&op, from, w, y));
    assert_ok(cvy_rbf_backward(&op, from, w, incoming, gx));
    float *actual_y = download(y, out * pitch), *actual_gx = download(gx, in * pitch);
    test_close_columns("rbf y", actual_y, expected, out, shape.pitch, n, false, 1e-6);
    test_close_columns("rbf gx", actual_gx, expected + out * pitch, in, shape.pitch, n, true, 1e-6);
    cvy_buffer_free(from);
    cvy_buffer_free(w);
    cvy_buffer_free(incoming);
    free(x), free(weight), free(gy), free(expected), free(actual_y), free(actual_gx);
}

static void test_rbf_edges(void **state) {
    (void)state;
    for (size_t b = 0; b < BATCHES; b += test_stride()) {
        check_rbf((cvy_rbf_shape){batches[b][1], 84, 10}, batches[b][0]);
        check_rbf((cvy_rbf_shape){batches[b][1], 1, 1}, batches[b][0]);
        check_rbf((cvy_rbf_shape){batches[b][1], 5, 33}, batches[b][0]);
    }
}

static void test_rbf_slopes(void **state) {
    (void)state;
    const cvy_rbf_shape shape = {16, 3, 2};
    float *x = test_random(48, 1), *weight = test_random(6, 2), *gy = test_random(32, 3), gx[48], up[32],
          down[32];
    cvy_rbf_backward_reference(&shape, x, weight, gy, gx);
    for (int at = 0; at < 48; at++) {
        float value = x[at];
        double slope = 0;
        x[at] = value + 1e-2f;
        cvy_rbf_forward_reference(&shape, x, weight, up);
        x[at] = value - 1e-2f;
        cvy_rbf_forward_reference(&shape, x, weight, down);
        x[at] = value;
        for (int i = 0; i < 32; i++)
            slope += ((double)up[i] - down[i]) / 2e-2 * gy[i];
        assert_true(fabs(slope - gx[at]) < 1e-3);
    }
    free(x), free(weight), free(gy);
}

int main(void) {
    const struct CMUnitTest lenet5[] = {
        cmocka_unit_test(test_subsample_edges),
        cmocka_unit_test(test_subsample_by_hand),
        cmocka_unit_test(test_subsample_needs_a_window),
        cmocka_unit_test(test_rbf_edges),
        cmocka_unit_test(test_rbf_slopes),
    };
    return RUN_ON_DEVICES(lenet5);
}
