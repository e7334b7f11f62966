/* The shapes of the tests of conv2d, and how one variant is checked on one of them. */
#include "support/conv2d.h"

const conv_case conv_cases[] = {
    {"one channel, one image", 1, 1, 3, 1, 9, 7, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5 images, 13 channels", 5, 3, 13, 1, 5, 8, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_RELU},
    {"16 images, kernel larger than the input",
     16,
     2,
     4,
     1,
     3,
     2,
     {5, 5},
     {1, 1},
     {2, 2},
     {1, 1},
     CVY_IDENTITY},
    {"33 images, stride over kernel", 33, 3, 5, 1, 11, 13, {2, 2}, {3, 4}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"20 images, stride 2", 20, 4, 8, 1, 6, 7, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_SIGMOID},
    {"dilation 2", 16, 2, 16, 1, 5, 6, {3, 3}, {1, 1}, {2, 2}, {2, 2}, CVY_IDENTITY},
    {"dilation 2, stride 2", 33, 2, 3, 1, 10, 9, {3, 2}, {2, 2}, {2, 1}, {2, 2}, CVY_SCALED_TANH},
    {"dilation 3, stride 2", 16, 2, 3, 1, 12, 13, {3, 3}, {2, 2}, {2, 3}, {3, 3}, CVY_IDENTITY},
    {"groups", 20, 6, 10, 2, 3, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"3x3, tiles cut off at two edges", 60, 5, 14, 1, 13, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"5x5, tiles cut off at two edges", 33, 5, 25, 1, 13, 15, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5x5, padding by axis", 16, 35, 25, 1, 9, 7, {5, 5}, {1, 1}, {0, 4}, {1, 1}, CVY_IDENTITY},
    {"depthwise", 5, 7, 7, 7, 6, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"1x1 kernel", 20, 9, 14, 1, 4, 5, {1, 1}, {1, 1}, {0, 0}, {1, 1}, CVY_TANH},
    {"1x1 kernel, stride 2", 16, 8, 8, 1, 7, 7, {1, 1}, {2, 2}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"kernel and stride differ by axis", 16, 3, 12, 1, 7, 12, {1, 4}, {1, 3}, {0, 2}, {1, 1}, CVY_IDENTITY},
    {"output of one pixel", 33, 5, 9, 1, 5, 5, {5, 5}, {1, 1}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"wide kernel, stride 4", 16, 1, 4, 1, 21, 17, {11, 11}, {4, 4}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"many channels", 20, 32, 40, 1, 3, 20, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_RELU},
    {"many channels, stride 2", 5, 100, 52, 1, 4, 9, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_RELU},
    {"too many channels for sums in a core's cache",
     16,
     50,
     50,
     1,
     3,
     3,
     {3, 3},
     {1, 1},
     {0, 0},
     {1, 1},
     CVY_IDENTITY},
    {"the same, several tiles", 33, 70, 60, 1, 9, 8, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"padding wider than the kernel", 16, 2, 3, 1, 4, 4, {2, 2}, {1, 1}, {3, 3}, {1, 1}, CVY_IDENTITY},
};
const size_t conv_case_count = sizeof conv_cases / sizeof *conv_cases;

cvy_conv2d_shape conv_shape_of(const conv_case *c) {
    cvy_conv2d_shape shape = {.pitch = (c->n + 15) / 16 * 16,
                              .in_channels = c->in,
                              .in_height = c->height,
                              .in_width = c->width,
                              .out_channels = c->out,
                              .kernel = {c->kernel[0], c->kernel[1]},
                              .stride = {c->stride[0], c->stride[1]},
                              .padding = {c->padding[0], c->padding[1]},
                              .dilation = {c->dilation[0], c->dilation[1]},
                              .groups = c->groups,
                              .activation = c->activation};
    assert_ok(cvy_conv2d_infer(&shape));
    return shape;
}

conv_tensors conv_tensors_of(const cvy_conv2d_shape *s, int n) {
    conv_tensors t = {.in_rows = (size_t)(s->in_channels * s->in_height * s->in_width),
                      .out_rows = (size_t)(s->out_channels * s->out_height * s->out_width),
                      .channels = (size_t)s->out_channels};
    t.inputs = t.in_rows * (size_t)s->pitch;
    t.outputs = t.out_rows * (size_t)s->pitch;
    t.weights = (size_t)(s->out_channels * (s->in_channels / s->groups) * s->kernel[0] * s->kernel[1]);
    t.x = test_random(t.inputs, 1);
    t.weight = test_random(t.weights, 2);
    t.bias = test_random(t.channels, 3);
    t.gy = test_random(t.outputs, 4);
    for (size_t i = 0; i < t.outputs; i++)
        if ((int)(i % (size_t)s->pitch) >= n)
            t.gy[i] = 0;
    return t;
}

void conv_tensors_free(conv_tensors *t) {
    free(t->x);
    free(t->weight);
    free(t->bias);
    free(t->gy);
}

float *conv_zeros(size_t count) {
    float *values = calloc(count ? count : 1, sizeof *values);
    assert_non_null(values);
    return values;
}

void conv_free_buffers(cvy_buffer **buffers, size_t count) {
    for (size_t i = 0; i < count; i++)
        cvy_buffer_free(buffers[i]);
}

/* ---- Variants against the reference ---- */

/* Relative to the largest expected value (at least 1). Winograd's transforms multiply by up to 16 and take
   the differences again; RECIPES.md allows it 1e-4. */
static double tolerance_of(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    /* Both factors of each product are off by at most 2^-11 (TF32) or 2^-8 (BF16), by half of that on
       average; rounding errors are independent, so that those of a sum grow as the sum itself does. */
    if (!strcmp(cvy_conv2d_variant(op, pass), "mma_nvidia"))
        return cvy_device_get_traits(test_device())->precision == CONVOY_TF32 ? 0x2p-11 : 0x2p-9;
    if (!strncmp(cvy_conv2d_variant(op, pass), "winograd", 8))
        return 2e-5;
    return pass == CVY_CONV2D_BACKWARD_WEIGHTS ? 5e-6 : 2e-6;
}

void conv_check_forward(cvy_conv2d *op, const cvy_conv2d_shape *s, const conv_tensors *t, int n,
                        const char *what, bool with_bias) {
    convoy_device *device = test_device();
    float *expected = conv_zeros(t->outputs);
    cvy_conv2d_forward_reference(s, t->x, t->weight, with_bias ? t->bias : NULL, expected);
    cvy_buffer *x = test_buffer(device, t->x, t->inputs * sizeof(float));
    cvy_buffer *weight = test_buffer(device, t->weight, t->weights * sizeof(float));
    cvy_buffer *bias = with_bias ? test_buffer(device, t->bias, t->channels * sizeof(float)) : NULL;
    cvy_buffer *y =
        test_buffer(device, t->gy, t->outputs * sizeof(float)); /* what was there must not matter */
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y, NULL, NULL, workspace));
    float *actual = test_read(y, t->outputs);
    test_close_columns(what, actual, expected, t->out_rows, s->pitch, n, false,
                       tolerance_of(op, CVY_CONV2D_FORWARD));
    for (size_t i = 0; i < t->outputs; i++)
        assert_true(isfinite(actual[i]));
    FREE_BUFFERS(x, weight, bias, y, workspace);
    free(expected);
    free(actual);
}

static void conv_check_backward_data(cvy_conv2d *op, const cvy_conv2d_shape *s, const conv_tensors *t, int n,
                                     const char *what) {
    convoy_device *device = test_device();
    float *expected = conv_zeros(t->inputs);
    cvy_conv2d_backward_data_reference(s, t->gy, t->weight, expected);
    cvy_buffer *gy = test_buffer(device, t->gy, t->outputs * sizeof(float));
    cvy_buffer *weight = test_buffer(device, t->weight, t->weights * sizeof(float));
    cvy_buffer *gx = test_buffer(device, t->x, t->inputs * sizeof(float));
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    assert_ok(cvy_conv2d_backward_data(op, gy, weight, gx, workspace));
    float *actual = test_read(gx, t->inputs);
    test_close_columns(what, actual, expected, t->in_rows, s->pitch, n, true,
                       tolerance_of(op, CVY_CONV2D_BACKWARD_DATA));
    FREE_BUFFERS(gy, weight, gx, workspace);
    free(expected);
    free(actual);
}

static void conv_check_backward_weights(cvy_conv2d *op, const cvy_conv2d_shape *s, const conv_tensors *t,
                                        const char *what, bool with_bias, bool accumulate) {
    convoy_device *device = test_device();
    float *expected = test_random(t->weights, 5), *expected_bias = test_random(t->channels, 6);
    cvy_buffer *x = test_buffer(device, t->x, t->inputs * sizeof(float));
    cvy_buffer *gy = test_buffer(device, t->gy, t->outputs * sizeof(float));
    cvy_buffer *gweight = test_buffer(device, expected, t->weights * sizeof(float));
    cvy_buffer *gbias = with_bias ? test_buffer(device, expected_bias, t->channels * sizeof(float)) : NULL;
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    cvy_conv2d_backward_weights_reference(s, t->x, t->gy, expected, expected_bias, accumulate);
    assert_ok(cvy_conv2d_backward_weights(op, x, gy, gweight, gbias, accumulate, workspace));
    float *actual = test_read(gweight, t->weights);
    test_close(what, actual, expected, t->weights, tolerance_of(op, CVY_CONV2D_BACKWARD_WEIGHTS));
    free(actual);
    if (gbias) {
        actual = test_read(gbias, t->channels);
        test_close(what, actual, expected_bias, t->channels, 5e-6);
        free(actual);
    }
    FREE_BUFFERS(x, gy, gweight, gbias, workspace);
    free(expected);
    free(expected_bias);
}

/* The passes that the variant runs. False where it does not run this shape on this device, which its refusal
 * says. */
bool conv_check_case(const conv_case *c, const char *variant) {
    const cvy_conv2d_shape shape = conv_shape_of(c);
    char what[128];
    cvy_conv2d *op = NULL;
    const convoy_status status = cvy_conv2d_create(test_device(), &shape, CONV_ALL_PASSES, variant, &op);
    if (status) {
        assert_int_equal(status, CONVOY_DEVICE);
        if (!strstr(convoy_error_message(), "does not run on this device"))
            fail_msg("%s, %s: %s", variant, c->name, convoy_error_message());
        return false;
    }
    cvy_needs needs;
    assert_ok(cvy_conv2d_describe(cvy_device_get_traits(test_device()), test_device(), &shape,
                                  CONV_ALL_PASSES, variant, &needs));
    assert_int_equal(needs.workspace, cvy_conv2d_workspace(op));
    conv_tensors t = conv_tensors_of(&shape, c->n);
    bool runs[3];
    for (int pass = 0; pass < 3; pass++)
        runs[pass] = strcmp(cvy_conv2d_variant(op, (cvy_conv2d_pass)pass), variant) == 0;
    assert_true(runs[CVY_CONV2D_FORWARD]);
    /* In the short run each of bias and accumulation is there once and absent once. */
    for (int with = 0; with < 2; with++) {
        snprintf(what, sizeof what, "%s, %s, forward, bias %d", variant, c->name, with);
        if (with || !test_quick())
            conv_check_forward(op, &shape, &t, c->n, what, with);
        for (int bias = 0; bias < 2 && runs[CVY_CONV2D_BACKWARD_WEIGHTS]; bias++) {
            snprintf(what, sizeof what, "%s, %s, backward-weights, bias %d, accumulate %d", variant, c->name,
                     bias, with);
            if (bias != with || !test_quick())
                conv_check_backward_weights(op, &shape, &t, what, bias, with);
        }
    }
    if (runs[CVY_CONV2D_BACKWARD_DATA]) {
        snprintf(what, sizeof what, "%s, %s, backward-data", variant, c->name);
        conv_check_backward_data(op, &shape, &t, c->n, what);
    }
    cvy_conv2d_free(op);
    conv_tensors_free(&t);
    return true;
}

/* The smallest shapes are the short run: what is larger meets no code that they do not, but where one pixel
   has many channels. The very smallest where CONVOY_TEST_QUICK is "tiny", for devices that take seconds to
   compile a kernel. */
bool conv_skipped(const conv_case *c) {
    const cvy_conv2d_shape s = conv_shape_of(c);
    const long pixels = (long)s.out_height * s.out_width;
    const long products =
        pixels * s.out_channels * s.in_channels / s.groups * s.kernel[0] * s.kernel[1] * s.pitch;
    const char *quick = getenv("CONVOY_TEST_QUICK");
    return test_quick() && products > (strcmp(quick, "tiny") == 0 ? 50 : pixels == 1 ? 400 : 150) * 1000;
}

const char *conv_streamed(size_t i) {
    return i % 3 ? "winograd8_cpu" : "winograd6_cpu";
}

void conv_check_variants(bool gpu) {
    size_t checked = 0, count = 0;
    for (size_t i = 0; i < conv_case_count; i++)
        count += !conv_skipped(&conv_cases[i]);
    for (const cvy_variant *const *variant = cvy_conv2d_op.variants; *variant; variant++) {
        size_t of_variant = 0;
        if (((*variant)->made_for == CVY_FOR_GPUS) != gpu)
            continue;
        for (size_t i = 0; i < conv_case_count; i++)
            if (!conv_skipped(&conv_cases[i]) && strcmp((*variant)->name, conv_streamed(i)) != 0)
                of_variant += conv_check_case(&conv_cases[i], (*variant)->name);
        assert_true(of_variant == 0 || of_variant >= (test_quick() ? 1 : 4));
        checked += of_variant;
    }
    assert_true(checked >= count && count >= 5);
}
