/* conv2d: every variant for CPUs and any device, every pass, against the host reference; few images; the host
   device; the checks. */
#include "support/conv2d.h"

static void test_variants(void **state) {
    (void)state;
    conv_check_variants(false);
}

/* Winograd where the images are larger than the caches. */
static void test_streamed(void **state) {
    (void)state;
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const size_t real = traits->cache;
    if (!traits->cpu)
        skip();
    traits->cache = 0;
    for (size_t i = 0; i < cvy_conv2d_case_count; i++)
        if (!conv_skipped(&cvy_conv2d_cases[i], conv_streamed(i)))
            conv_check_case(&cvy_conv2d_cases[i], conv_streamed(i));
    traits->cache = real;
}

static void check_few_images(const cvy_conv2d_shape *shape, const char *variant, const char *name) {
    conv_tensors t = conv_tensors_of(shape, shape->pitch);
    cvy_conv2d *op = NULL;
    cvy_needs needs;
    char what[128];
    assert_ok(cvy_conv2d_create(test_device(), shape, 1 << CVY_CONV2D_FORWARD, variant, &op));
    assert_ok(cvy_conv2d_describe(cvy_device_get_traits(test_device()), test_device(), shape,
                                  1 << CVY_CONV2D_FORWARD, variant, &needs));
    assert_int_equal(needs.workspace, cvy_conv2d_workspace(op));
    for (int with = 0; with < 2; with++) {
        snprintf(what, sizeof what, "%s, %s, pitch %d, vectors of %d, bias %d", variant, name, shape->pitch,
                 cvy_device_get_traits(test_device())->vector_width, with);
        conv_check_forward(op, shape, &t, shape->pitch, what, with);
    }
    cvy_conv2d_free(op);
    conv_tensors_free(&t);
}

/* Forward of one to eight images, whose pitch is their number rounded up to a power of two, with vectors of
   each width. */
static void test_few_images(void **state) {
    (void)state;
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const int real = traits->vector_width, widths[] = {16, 8, 4};
    if (!traits->cpu)
        skip();
    for (size_t i = 0; i < cvy_conv2d_case_count; i++) {
        conv_case c = cvy_conv2d_cases[i];
        cvy_conv2d_shape shape = cvy_conv2d_case_shape(&c);
        shape.pitch = 1 << i % 4;
        if (conv_skipped(&c, "columns_cpu"))
            continue;
        traits->vector_width = widths[i % 3];
        check_few_images(&shape, "columns_cpu", c.name);
        if (i % 5 == 4) /* once with each pitch */
            check_few_images(&shape, "pieces_cpu", c.name);
        traits->vector_width = real;
    }
}

static const char *chosen(int pitch, int kernel, int channels, int size, int stride, int pass) {
    cvy_conv2d_shape shape = {.pitch = pitch,
                              .in_channels = channels,
                              .in_height = size,
                              .in_width = size,
                              .out_channels = 64,
                              .kernel = {kernel, kernel},
                              .stride = {stride, stride},
                              .dilation = {1, 1},
                              .groups = 1};
    cvy_prepared prepared;
    assert_ok(cvy_conv2d_infer(&shape));
    const cvy_job job = cvy_job_of(test_device(), &shape, pass);
    assert_ok(cvy_prepared_choose(&cvy_conv2d_op, &job, NULL, &prepared));
    return prepared.variant->name;
}

/* Kernels of one pixel are products of matrices where their planes are large and their channels many; 3x3 go
   through Winograd where tiles cover the map well, a few images in pieces. */
static void test_choice(void **state) {
    (void)state;
    if (!cvy_device_get_traits(test_device())->cpu)
        skip();
    assert_string_equal(chosen(16, 1, 64, 14, 1, CVY_CONV2D_FORWARD), "im2col_gemm");
    assert_string_equal(chosen(16, 1, 64, 14, 2, CVY_CONV2D_FORWARD), "direct_cpu"); /* a plane of 3 KiB */
    assert_string_equal(chosen(16, 1, 64, 28, 2, CVY_CONV2D_FORWARD), "im2col_gemm");
    assert_string_equal(chosen(16, 1, 32, 14, 1, CVY_CONV2D_FORWARD), "direct_cpu");
    assert_string_equal(chosen(16, 1, 32, 14, 1, CVY_CONV2D_BACKWARD_DATA), "im2col_gemm");
    assert_string_equal(chosen(16, 1, 64, 14, 1, CVY_CONV2D_BACKWARD_WEIGHTS), "direct_cpu");
    assert_string_equal(chosen(16, 3, 64, 30, 1, CVY_CONV2D_FORWARD), "winograd8_cpu");         /* 28x28 */
    assert_string_equal(chosen(16, 3, 64, 9, 1, CVY_CONV2D_BACKWARD_WEIGHTS), "winograd6_cpu"); /* 7x7 */
    assert_string_equal(chosen(16, 3, 64, 7, 1, CVY_CONV2D_FORWARD), "winograd1d_cpu");         /* 5x5 */
    assert_string_equal(chosen(1, 3, 64, 16, 1, CVY_CONV2D_FORWARD), "pieces_cpu");
    assert_string_equal(chosen(4, 1, 64, 16, 1, CVY_CONV2D_FORWARD), "columns_cpu");
    assert_string_equal(chosen(1, 3, 64, 5, 1, CVY_CONV2D_FORWARD), "columns_cpu"); /* 3x3 in 16 pieces */
}

/* The same call twice gives the same bits. */
static void test_deterministic(void **state) {
    (void)state;
    convoy_device *device = test_device();
    const cvy_conv2d_shape shape = cvy_conv2d_case_shape(&cvy_conv2d_cases[4]);
    conv_tensors t = conv_tensors_of(&shape, cvy_conv2d_cases[4].n);
    cvy_conv2d *op = NULL;
    assert_ok(cvy_conv2d_create(device, &shape, CONV_ALL_PASSES, NULL, &op));
    cvy_buffer *x = test_buffer(device, t.x, t.inputs * sizeof(float));
    cvy_buffer *gy = test_buffer(device, t.gy, t.outputs * sizeof(float));
    cvy_buffer *gweight = test_buffer(device, NULL, t.weights * sizeof(float));
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    float *runs[2];
    for (int i = 0; i < 2; i++) {
        assert_ok(cvy_conv2d_backward_weights(op, x, gy, gweight, NULL, false, workspace));
        runs[i] = test_read(gweight, t.weights);
    }
    assert_memory_equal(runs[0], runs[1], t.weights * sizeof(float));
    free(runs[0]);
    free(runs[1]);
    FREE_BUFFERS(x, gy, gweight, workspace);
    cvy_conv2d_free(op);
    conv_tensors_free(&t);
}

/* ---- With a pooling behind it ---- */

static const conv_case pooled_cases[] = {
    {"edges", 35, 3, 5, 1, 7, 9, {4, 2}, {1, 1}, {1, 0}, {1, 1}, CVY_IDENTITY},
    {"lenet", 16, 1, 6, 1, 12, 12, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"strides and groups", 20, 4, 30, 2, 8, 10, {3, 3}, {2, 1}, {1, 2}, {1, 2}, CVY_TANH},
    {"odd tiles", 32, 6, 17, 1, 14, 14, {5, 5}, {1, 1}, {0, 0}, {1, 1}, CVY_SIGMOID},
    {"3x3", 48, 5, 9, 1, 10, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY},
};

/* Forward in one with a mean, a maximum, or a maximum with ReLU, with and without the map in front and the
   indices: the bits of the two ops one after the other. False where the variant does not pool this shape. */
static bool check_pooled(const conv_case *c, const char *variant, int kind) {
    convoy_device *device = test_device();
    cvy_conv2d_shape shape = cvy_conv2d_case_shape(c);
    shape.pooling.kind = kind ? CVY_POOLING_MAXIMUM : CVY_POOLING_MEAN;
    shape.pooling.relu = kind == 2;
    cvy_conv2d *op = NULL;
    if (cvy_conv2d_create(device, &shape, 1 << CVY_CONV2D_FORWARD, variant, &op))
        return false; /* a shape that it does not run */
    if (!cvy_conv2d_pools(op)) {
        cvy_conv2d_free(op);
        return false;
    }
    cvy_pool2d_shape pool_shape = {.kind = kind ? CVY_POOL_MAX : CVY_POOL_AVERAGE,
                                   .pitch = shape.pitch,
                                   .channels = shape.out_channels,
                                   .in_height = shape.out_height,
                                   .in_width = shape.out_width,
                                   .relu = shape.pooling.relu,
                                   .kernel = {2, 2},
                                   .stride = {2, 2},
                                   .dilation = {1, 1}};
    cvy_pool2d pool;
    assert_ok(cvy_pool2d_infer(&pool_shape));
    assert_ok(cvy_pool2d_prepare(device, &pool_shape, &pool));
    conv_tensors t = conv_tensors_of(&shape, c->n);
    const size_t pooled = t.outputs / 4;
    cvy_buffer *x = test_buffer(device, t.x, t.inputs * sizeof(float));
    cvy_buffer *weight = test_buffer(device, t.weight, t.weights * sizeof(float));
    cvy_buffer *bias = test_buffer(device, t.bias, t.channels * sizeof(float));
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    cvy_buffer *y[3], *small[3], *indices[2];
    for (int i = 0; i < 3; i++) {
        y[i] = test_buffer(device, NULL, t.outputs * sizeof(float));
        small[i] = test_buffer(device, NULL, pooled * sizeof(float));
    }
    for (int i = 0; i < 2; i++)
        indices[i] = test_buffer(device, NULL, pooled);
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y[0], NULL, NULL, workspace));
    assert_ok(cvy_pool2d_forward(&pool, y[0], small[0], kind ? indices[0] : NULL));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y[1], small[1], kind ? indices[1] : NULL, workspace));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, NULL, small[2], NULL, workspace));
    float *maps[2] = {test_read(y[0], t.outputs), test_read(y[1], t.outputs)};
    float *results[3] = {test_read(small[0], pooled), test_read(small[1], pooled),
                         test_read(small[2], pooled)};
    float *winners[2] = {test_read(indices[0], pooled / 4), test_read(indices[1], pooled / 4)};
    assert_memory_equal(maps[1], maps[0], t.outputs * sizeof(float));
    assert_memory_equal(results[1], results[0], pooled * sizeof(float));
    assert_memory_equal(results[2], results[0], pooled * sizeof(float));
    assert_memory_equal(winners[1], winners[0], pooled);
    for (int i = 0; i < 3; i++)
        free(results[i]);
    free(maps[0]), free(maps[1]), free(winners[0]), free(winners[1]);
    FREE_BUFFERS(x, weight, bias, workspace, y[0], y[1], y[2], small[0], small[1], small[2], indices[0],
                 indices[1]);
    cvy_conv2d_free(op);
    conv_tensors_free(&t);
    return true;
}

static void test_pooled(void **state) {
    (void)state;
    if (!cvy_device_get_traits(test_device())->cpu)
        skip();
    for (int i = 0; i < (int)(sizeof pooled_cases / sizeof *pooled_cases); i++) {
        assert_true(check_pooled(&pooled_cases[i], "direct_cpu", i % 3));
        check_pooled(&pooled_cases[i], "winograd8_cpu", (i + 1) % 3);
        check_pooled(&pooled_cases[i], "winograd6_cpu", (i + 2) % 3);
        check_pooled(&pooled_cases[i], "winograd1d_cpu", i % 3);
    }
}

/* ---- The host device ---- */

static void test_host_device(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    const cvy_conv2d_shape shape = cvy_conv2d_case_shape(&cvy_conv2d_cases[8]);
    conv_tensors t = conv_tensors_of(&shape, cvy_conv2d_cases[8].n);
    cvy_conv2d *op = NULL;
    assert_ok(cvy_conv2d_create(host, &shape, 1 << CVY_CONV2D_FORWARD, NULL, &op));
    assert_string_equal(cvy_conv2d_variant(op, CVY_CONV2D_FORWARD), "reference");
    assert_null(cvy_conv2d_variant(op, CVY_CONV2D_BACKWARD_DATA));
    cvy_buffer *x = test_buffer(host, t.x, t.inputs * sizeof(float));
    cvy_buffer *weight = test_buffer(host, t.weight, t.weights * sizeof(float));
    cvy_buffer *bias = test_buffer(host, t.bias, t.channels * sizeof(float));
    cvy_buffer *y = test_buffer(host, NULL, t.outputs * sizeof(float));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y, NULL, NULL, NULL));
    float *expected = conv_zeros(t.outputs);
    cvy_conv2d_forward_reference(&shape, t.x, t.weight, t.bias, expected);
    assert_memory_equal(cvy_buffer_host(y), expected, t.outputs * sizeof(float));
    assert_fails(cvy_conv2d_backward_data(op, y, weight, x, NULL), CONVOY_INVALID, "not prepared");
    FREE_BUFFERS(x, weight, bias, y);
    cvy_conv2d_free(op);
    conv_tensors_free(&t);
    free(expected);
    convoy_device_close(host);
}

/* ---- Checks ---- */

static void test_checks(void **state) {
    (void)state;
    const cvy_conv2d_shape good = cvy_conv2d_case_shape(&cvy_conv2d_cases[0]);
    assert_int_equal(good.out_height, 9);
    assert_int_equal(good.out_width, 7);
    cvy_conv2d_shape s = good;
    s.kernel[1] = 12;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "width");
    s = good;
    s.stride[0] = 0;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "stride");
    s = good;
    s.padding[0] = -1;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "padding");
    s = good;
    s.groups = 4;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "groups");
    s = good;
    s.pitch = 20;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "pitch");
    s = good;
    s.out_channels = 0;
    assert_fails(cvy_conv2d_infer(&s), CONVOY_INVALID, "out_channels");
    cvy_conv2d *op = NULL;
    assert_fails(cvy_conv2d_create(test_device(), &good, CONV_ALL_PASSES, "fft", &op), CONVOY_INVALID, "fft");
    assert_null(op);
}

/* What passes 2^31 in sizes of tensors and of transformed weights: 128 images' channels of 4200 x 4200, and
   8192 channels on both sides. Nothing is allocated. */
static void test_huge_shapes(void **state) {
    (void)state;
    cvy_conv2d_shape shapes[] = {cvy_conv2d_case_shape(&cvy_conv2d_cases[9]),
                                 cvy_conv2d_case_shape(&cvy_conv2d_cases[9])};
    const int sizes[][2] = {{128, 4200}, {8192, 16}};
    size_t described = 0;
    for (int i = 0; i < 2; i++) {
        cvy_conv2d_shape *s = &shapes[i];
        s->in_channels = s->out_channels = sizes[i][0];
        s->in_height = s->in_width = sizes[i][1];
        assert_ok(cvy_conv2d_infer(s));
        const size_t x = (size_t)sizes[i][0] * (size_t)(sizes[i][1] * sizes[i][1]) * (size_t)s->pitch;
        const size_t weights = (size_t)sizes[i][0] * (size_t)sizes[i][0] * 9;
        for (int pass = 0; pass < 3; pass++) {
            cvy_op_tensors tensors;
            cvy_conv2d_op.tensors(s, pass, &tensors);
            assert_int_equal(tensors.inputs[0], x);
            assert_int_equal(tensors.inputs[1], pass == CVY_CONV2D_BACKWARD_WEIGHTS ? x : weights);
        }
        for (const cvy_variant *const *variant = cvy_conv2d_op.variants; *variant; variant++) {
            cvy_needs needs;
            convoy_status status = cvy_conv2d_describe(cvy_device_get_traits(test_device()), test_device(), s,
                                                       CONV_ALL_PASSES, (*variant)->name, &needs);
            assert_true(status == CONVOY_OK || status == CONVOY_DEVICE);
            described += !status;
            if (!status && strncmp((*variant)->name, "winograd8", 9) == 0) /* packed weights, 64 for 9 */
                assert_true(needs.workspace >= weights / 9 * 64 * sizeof(float));
        }
    }
    assert_true(described >= 4);
}

/* The one variant of Winograd's that takes kernels of other heights, of which the shared shapes have none. */
static void test_row_of_three(void **state) {
    (void)state;
    static const conv_case row = {"a row of 3", 20, 6, 10, 1, 7, 9, {1, 3}, {1, 1}, {0, 1}, {1, 1}, CVY_RELU};
    if (!cvy_device_get_traits(test_device())->cpu || test_quick())
        skip();
    assert_true(conv_check_case(&row, "winograd1d_cpu"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),      cmocka_unit_test(test_row_of_three),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_host_device),
        cmocka_unit_test(test_checks),        cmocka_unit_test(test_huge_shapes),
        cmocka_unit_test(test_choice)};
    const struct CMUnitTest built_plainly[] = {
        cmocka_unit_test(test_streamed), cmocka_unit_test(test_few_images), cmocka_unit_test(test_pooled)};
    int failed = cmocka_run_group_tests_name("conv2d", tests, NULL, NULL);
    failed += cmocka_run_group_tests_name("conv2d, built plainly", built_plainly, test_build_plainly, NULL);
    test_device_close();
    return failed;
}
