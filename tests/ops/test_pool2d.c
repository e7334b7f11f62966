/* host/ops/pool2d.h: shapes, PyTorch's values with ties, NaN and infinities, kernels against the reference.
 */
#define REFERENCE_POOLING
#define REFERENCE_CEIL_POOLING
#include "ops/data/ops_reference.h"
#include "ops/elementwise.h"
#include "ops/ops.h"
#include "ops/pool2d.h"
#include "selftest/cases.h"

/* A uint8_t buffer comes back as bytes. */
static uint8_t *download_bytes(cvy_buffer *buffer, size_t bytes) {
    uint8_t *values = malloc(bytes);
    assert_non_null(values);
    assert_ok(cvy_buffer_read(buffer, 0, values, bytes));
    cvy_buffer_free(buffer);
    return values;
}

static size_t in_rows(const cvy_pool2d_shape *shape) {
    return (size_t)shape->channels * (size_t)shape->in_height * (size_t)shape->in_width;
}
static size_t out_rows(const cvy_pool2d_shape *shape) {
    return (size_t)shape->channels * (size_t)shape->out_height * (size_t)shape->out_width;
}

/* ---- Against PyTorch ---- */

enum { RECORDED_IMAGES = 3, RECORDED_PITCH = 16 };

#define RECORDED_SHAPE(KIND)                                                                                 \
    .kind = KIND, .pitch = RECORDED_PITCH, .channels = 2, .in_height = 7, .in_width = 6

static const struct {
    const char *name;
    cvy_pool2d_shape shape;
    const float *x, *y, *gy, *gx;
    const uint8_t *indices;
} recorded[] = {
    {"max",
     {RECORDED_SHAPE(CVY_POOL_MAX), .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1},
      .dilation = {1, 1}},
     max_x,
     max_y,
     max_gy,
     max_gx,
     max_indices},
    {"dilated",
     {RECORDED_SHAPE(CVY_POOL_MAX), .kernel = {2, 2}, .stride = {1, 1}, .padding = {1, 1},
      .dilation = {2, 2}},
     max_x,
     dilated_y,
     dilated_gy,
     dilated_gx,
     dilated_indices},
    {"gaps",
     {RECORDED_SHAPE(CVY_POOL_MAX), .kernel = {2, 2}, .stride = {3, 3}, .dilation = {1, 1}},
     max_x,
     gaps_y,
     gaps_gy,
     gaps_gx,
     gaps_indices},
    {"average",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}},
     average_x,
     average_y,
     average_gy,
     average_gx,
     NULL},
    {"cells",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {2, 2}, .stride = {2, 2}},
     average_x,
     cells_y,
     cells_gy,
     cells_gx,
     NULL},
    {"adaptive",
     {RECORDED_SHAPE(CVY_POOL_ADAPTIVE_AVERAGE), .out_height = 3, .out_width = 4},
     average_x,
     adaptive_y,
     adaptive_gy,
     adaptive_gx,
     NULL},
    {"ceil_max",
     {RECORDED_SHAPE(CVY_POOL_MAX), .kernel = {3, 3}, .stride = {2, 2}, .padding = {0, 0}, .dilation = {1, 1},
      .ceil_mode = true, .exclude_padding = false},
     ceil_x,
     ceil_max_y,
     ceil_max_gy,
     ceil_max_gx,
     NULL},
    {"ceil_max2",
     {RECORDED_SHAPE(CVY_POOL_MAX), .kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0}, .dilation = {1, 1},
      .ceil_mode = true, .exclude_padding = false},
     ceil_x,
     ceil_max2_y,
     ceil_max2_gy,
     ceil_max2_gx,
     NULL},
    {"ceil_average",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0},
      .dilation = {1, 1}, .ceil_mode = true, .exclude_padding = false},
     ceil_x,
     ceil_average_y,
     ceil_average_gy,
     ceil_average_gx,
     NULL},
    {"ceil_border",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {3, 3}, .stride = {3, 3}, .padding = {1, 1},
      .dilation = {1, 1}, .ceil_mode = true, .exclude_padding = false},
     ceil_x,
     ceil_border_y,
     ceil_border_gy,
     ceil_border_gx,
     NULL},
    {"ceil_real",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1},
      .dilation = {1, 1}, .ceil_mode = true, .exclude_padding = true},
     ceil_x,
     ceil_real_y,
     ceil_real_gy,
     ceil_real_gx,
     NULL},
    {"real",
     {RECORDED_SHAPE(CVY_POOL_AVERAGE), .kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1},
      .dilation = {1, 1}, .ceil_mode = false, .exclude_padding = true},
     ceil_x,
     real_y,
     real_gy,
     real_gx,
     NULL},
};

static void check_recorded_indices(const uint8_t *actual, const uint8_t *expected, size_t rows) {
    for (size_t row = 0; row < rows; row++)
        assert_memory_equal(actual + row * RECORDED_PITCH, expected + row * RECORDED_IMAGES, RECORDED_IMAGES);
}

static void test_recorded(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof recorded / sizeof *recorded; c++) {
        cvy_pool2d_shape shape = recorded[c].shape;
        cvy_pool2d op;
        assert_ok(cvy_pool2d_infer(&shape));
        assert_ok(cvy_pool2d_prepare(device, &shape, &op));
        size_t in = in_rows(&shape), out = out_rows(&shape), bytes = cvy_pool2d_indices_bytes(&op);
        assert_int_equal(bytes, shape.kind == CVY_POOL_MAX ? out * RECORDED_PITCH : 0);
        float *dense_x = spread_rows(recorded[c].x, in, RECORDED_IMAGES, RECORDED_PITCH, 77);
        float *dense_gy = spread_rows(recorded[c].gy, out, RECORDED_IMAGES, RECORDED_PITCH, 0);
        cvy_buffer *x = upload(dense_x, in * RECORDED_PITCH), *gy = upload(dense_gy, out * RECORDED_PITCH);
        cvy_buffer *y = garbage(out * RECORDED_PITCH), *gx = garbage(in * RECORDED_PITCH);
        cvy_buffer *indices = bytes ? test_buffer(device, NULL, bytes) : NULL;
        assert_ok(cvy_pool2d_forward(&op, x, y, indices));
        assert_ok(cvy_pool2d_backward(&op, gy, indices, x, gx));
        float *actual_y = download(y, out * RECORDED_PITCH), *actual_gx = download(gx, in * RECORDED_PITCH);
        check_recorded(recorded[c].name, actual_y, recorded[c].y, out, RECORDED_IMAGES, RECORDED_PITCH, false,
                       3e-7);
        check_recorded(recorded[c].name, actual_gx, recorded[c].gx, in, RECORDED_IMAGES, RECORDED_PITCH, true,
                       3e-7);
        if (recorded[c].indices) {
            uint8_t *actual = download_bytes(indices, bytes);
            check_recorded_indices(actual, recorded[c].indices, out);
            free(actual);
        } else {
            cvy_buffer_free(indices);
        }
        cvy_buffer_free(x);
        cvy_buffer_free(gy);
        free(dense_x), free(dense_gy), free(actual_y), free(actual_gx);
    }
}

/* ---- Kernels against the reference ---- */

static void check_against_reference(cvy_pool2d_shape shape, int n) {
    assert_ok(cvy_pool2d_infer(&shape));
    cvy_pool2d op;
    assert_ok(cvy_pool2d_prepare(device, &shape, &op));
    size_t pitch = (size_t)shape.pitch, in = in_rows(&shape), out = out_rows(&shape);
    float *x = test_random(in * pitch, 5);
    for (size_t i = 0; shape.relu && i < in * pitch; i++)
        x[i] -= 0.7f; /* maxima on both sides of 0 */
    float *gy = random_gradient(out, n, shape.pitch, 6);
    float *expected_y = malloc(out * pitch * sizeof(float)),
          *expected_gx = malloc(in * pitch * sizeof(float));
    uint8_t *expected = malloc(out * pitch);
    bool max = shape.kind == CVY_POOL_MAX;
    cvy_pool2d_forward_reference(&shape, x, expected_y, max ? expected : NULL);
    cvy_pool2d_backward_reference(&shape, gy, expected, expected_gx);
    cvy_activation_backward_reference(shape.input_activation, NULL, in * pitch, x, expected_gx, expected_gx);
    cvy_buffer *from = upload(x, in * pitch), *y = garbage(out * pitch), *again = garbage(out * pitch);
    cvy_buffer *incoming = upload(gy, out * pitch), *gx = garbage(in * pitch);
    cvy_buffer *indices = max ? test_buffer(device, NULL, out * pitch) : NULL;
    assert_ok(cvy_pool2d_forward(&op, from, y, indices));
    assert_ok(cvy_pool2d_forward(&op, from, again, NULL)); /* without indices */
    assert_ok(cvy_pool2d_backward(&op, incoming, indices, from, gx));
    float *actual_y = download(y, out * pitch), *actual_again = download(again, out * pitch);
    float *actual_gx = download(gx, in * pitch);
    test_close_columns("pool2d y", actual_y, expected_y, out, shape.pitch, n, false, 1e-6);
    assert_memory_equal(actual_y, actual_again, out * pitch * sizeof(float));
    test_close_columns("pool2d gx", actual_gx, expected_gx, in, shape.pitch, n, true, 1e-6);
    if (max) {
        uint8_t *actual = download_bytes(indices, out * pitch);
        assert_memory_equal(actual, expected, out * pitch);
        free(actual);
    }
    cvy_buffer_free(from);
    cvy_buffer_free(incoming);
    free(x), free(gy), free(expected_y), free(expected_gx), free(expected);
    free(actual_y), free(actual_again), free(actual_gx);
}

static void test_edges(void **state) {
    (void)state;
    for (size_t e = 0; e < cvy_pool2d_case_count; e++)
        for (int b = 0; b < BATCHES; b++) {
            cvy_pool2d_shape shape = cvy_pool2d_cases[e];
            shape.pitch = batches[b][1];
            check_against_reference(shape, batches[b][0]);
            shape.relu = cvy_pool2d_takes_relu(&shape);
            if (shape.relu)
                check_against_reference(shape, batches[b][0]);
            shape.input_activation = CVY_RELU + (cvy_activation)((e + (size_t)b) % 4);
            check_against_reference(shape, batches[b][0]);
        }
}

/* The reference with ReLU is the one without, and the activation's. */
static void test_relu(void **state) {
    (void)state;
    cvy_pool2d_shape shape = cvy_pool2d_cases[0];
    shape.pitch = 16;
    assert_ok(cvy_pool2d_infer(&shape));
    size_t in = in_rows(&shape) * 16, out = out_rows(&shape) * 16, zeros = 0;
    float *x = test_random(in, 5), *gy = test_random(out, 6), *y[2], *gx[2];
    uint8_t *indices = malloc(out);
    for (size_t i = 0; i < in; i++)
        x[i] -= 0.7f;
    for (int fused = 0; fused < 2; fused++) {
        y[fused] = malloc(out * sizeof(float)), gx[fused] = malloc(in * sizeof(float));
        shape.relu = fused;
        float *g = malloc(out * sizeof(float));
        memcpy(g, gy, out * sizeof(float));
        cvy_pool2d_forward_reference(&shape, x, y[fused], indices);
        if (!fused) {
            cvy_activation_forward_reference(CVY_RELU, NULL, out, y[0], y[0]);
            cvy_activation_backward_reference(CVY_RELU, NULL, out, y[0], g, g);
        }
        cvy_pool2d_backward_reference(&shape, g, indices, gx[fused]);
        free(g);
    }
    assert_memory_equal(y[0], y[1], out * sizeof(float));
    assert_memory_equal(gx[0], gx[1], in * sizeof(float));
    for (size_t i = 0; i < out; i++)
        zeros += y[1][i] == 0;
    assert_true(zeros > 0 && zeros < out);
    shape.kind = CVY_POOL_AVERAGE;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "only with maxima");
    for (int i = 0; i < 2; i++)
        free(y[i]), free(gx[i]);
    free(x), free(gy), free(indices);
}

/* The sum of a gradient field is spread, not changed: sum(gx * x) = sum(gy * y) for these linear ops. */
static void test_average_is_its_own_adjoint(void **state) {
    (void)state;
    for (size_t e = 0; e < cvy_pool2d_case_count; e++) {
        cvy_pool2d_shape shape = cvy_pool2d_cases[e];
        if (shape.kind == CVY_POOL_MAX)
            continue;
        shape.pitch = 16;
        assert_ok(cvy_pool2d_infer(&shape));
        size_t in = in_rows(&shape) * 16, out = out_rows(&shape) * 16;
        float *x = test_random(in, 7), *gy = test_random(out, 8), *y = malloc(out * sizeof(float));
        float *gx = malloc(in * sizeof(float));
        double forward = 0, backward = 0;
        cvy_pool2d_forward_reference(&shape, x, y, NULL);
        cvy_pool2d_backward_reference(&shape, gy, NULL, gx);
        for (size_t i = 0; i < out; i++)
            forward += (double)y[i] * gy[i];
        for (size_t i = 0; i < in; i++)
            backward += (double)x[i] * gx[i];
        assert_true(fabs(forward - backward) < 1e-4 * (1 + fabs(forward)));
        free(x), free(gy), free(y), free(gx);
    }
}

static void test_impossible_shapes(void **state) {
    (void)state;
    const cvy_pool2d_shape good = {.kind = CVY_POOL_MAX,
                                   .channels = 1,
                                   .in_height = 8,
                                   .in_width = 8,
                                   .kernel = {2, 2},
                                   .stride = {2, 2},
                                   .dilation = {1, 1}};
    cvy_pool2d_shape shape = good;
    assert_ok(cvy_pool2d_infer(&shape));
    assert_int_equal(shape.out_height, 4);
    shape = good, shape.padding[1] = 2;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "over half the kernel_size 2");
    shape = good, shape.kernel[0] = 9;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "does not fit");
    shape = good, shape.stride[0] = 0;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "at least 1");
    shape = good, shape.in_height = shape.in_width = 32, shape.kernel[0] = shape.kernel[1] = 17;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "256 positions");
    shape = good, shape.kind = CVY_POOL_ADAPTIVE_AVERAGE, shape.out_height = 0;
    assert_fails(cvy_pool2d_infer(&shape), CONVOY_INVALID, "output_size");
}

int main(void) {
    const struct CMUnitTest pool2d[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_relu),
        cmocka_unit_test(test_average_is_its_own_adjoint),
        cmocka_unit_test(test_impossible_shapes),
    };
    return RUN_ON_DEVICES(pool2d);
}
