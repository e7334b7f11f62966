/* How one variant of conv2d is checked on one shape. */
#include "support/conv2d.h"

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

static double tolerance_of(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return cvy_conv2d_tolerance(cvy_conv2d_variant(op, pass), (int)pass,
                                cvy_device_get_traits(test_device())->precision);
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
    const cvy_conv2d_shape shape = cvy_conv2d_case_shape(c);
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

/* The smallest shapes are the short run: what is larger meets no code that they do not, but where direct_cpu
   sums many channels of one pixel. Winograd computes whole tiles of whole blocks of channels, whatever a
   shape has of them. The very smallest where CONVOY_TEST_QUICK is "tiny", for devices that take seconds to
   compile a kernel. */
bool conv_skipped(const conv_case *c, const char *variant) {
    if (!test_quick())
        return false;
    const cvy_conv2d_shape s = cvy_conv2d_case_shape(c);
    const long pixels = (long)s.out_height * s.out_width;
    const long products =
        pixels * s.out_channels * s.in_channels / s.groups * s.kernel[0] * s.kernel[1] * s.pitch;
    if (test_shortest() && products > 32000)
        return true;
    if (strncmp(variant, "winograd", 8) == 0)
        return (s.out_height + 3) / 4 * ((s.out_width + 3) / 4) * s.pitch > 32 ||
               (s.in_channels > 32 && strcmp(variant, "winograd_gpu") == 0);
    return products > (pixels == 1 && strcmp(variant, "direct_cpu") == 0 ? 400000 : 150000);
}

const char *conv_streamed(size_t i) {
    return i % 3 ? "winograd8_cpu" : "winograd6_cpu";
}

void conv_check_variants(bool gpu) {
    size_t checked = 0;
    for (const cvy_variant *const *variant = cvy_conv2d_op.variants; *variant; variant++) {
        size_t of_variant = 0;
        if (((*variant)->made_for == CVY_FOR_GPUS) != gpu)
            continue;
        for (size_t i = 0; i < cvy_conv2d_case_count; i++) {
            /* Every third shape as users run it: optimizing takes three quarters of the time. */
            test_build(gpu || i % 3);
            if (!conv_skipped(&cvy_conv2d_cases[i], (*variant)->name) &&
                strcmp((*variant)->name, conv_streamed(i)) != 0)
                of_variant += conv_check_case(&cvy_conv2d_cases[i], (*variant)->name);
        }
        test_build(gpu);
        assert_true(of_variant == 0 || of_variant >= (test_quick() ? 1 : 4));
        checked += of_variant;
    }
    assert_true(checked >= (test_quick() ? 5 : cvy_conv2d_case_count));
}
