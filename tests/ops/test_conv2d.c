/* Every variant of conv2d, every pass, on the device against the host reference; the host device; the checks.
 */
#include "ops/conv2d.h"

#include "device/opencl.h"
#include "support/test.h"

typedef struct conv_case {
    const char *name;
    int n; /* images; the pitch is the next multiple of 16 */
    int in, out, groups, height, width;
    int kernel[2], stride[2], padding[2], dilation[2];
    cvy_activation activation;
} conv_case;

static const conv_case cases[] = {
    {"one channel, one image", 1, 1, 6, 1, 9, 7, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5 images, 13 channels", 5, 3, 13, 1, 6, 11, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_RELU},
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
    {"60 images, stride 2", 60, 4, 8, 1, 8, 9, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_SIGMOID},
    {"dilation 2", 16, 2, 16, 1, 10, 9, {3, 3}, {1, 1}, {2, 2}, {2, 2}, CVY_IDENTITY},
    {"dilation 2, stride 2", 33, 2, 3, 1, 10, 9, {3, 2}, {2, 2}, {2, 1}, {2, 2}, CVY_SCALED_TANH},
    {"dilation 3, stride 2", 16, 2, 3, 1, 12, 13, {3, 3}, {2, 2}, {2, 3}, {3, 3}, CVY_IDENTITY},
    {"groups", 33, 6, 10, 2, 5, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"3x3, tiles cut off at two edges", 60, 5, 14, 1, 13, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
    {"5x5, tiles cut off at two edges", 33, 5, 25, 1, 13, 15, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_SIGMOID},
    {"5x5, padding by axis", 33, 35, 25, 1, 13, 11, {5, 5}, {1, 1}, {0, 4}, {1, 1}, CVY_IDENTITY},
    {"depthwise", 5, 7, 7, 7, 6, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY},
    {"1x1 kernel", 60, 9, 14, 1, 4, 5, {1, 1}, {1, 1}, {0, 0}, {1, 1}, CVY_TANH},
    {"1x1 kernel, stride 2", 16, 8, 8, 1, 7, 7, {1, 1}, {2, 2}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"kernel and stride differ by axis", 16, 3, 12, 1, 13, 12, {1, 4}, {1, 3}, {0, 2}, {1, 1}, CVY_IDENTITY},
    {"output of one pixel", 33, 5, 9, 1, 5, 5, {5, 5}, {1, 1}, {0, 0}, {1, 1}, CVY_IDENTITY},
    {"wide kernel, stride 4", 16, 1, 8, 1, 23, 25, {11, 11}, {4, 4}, {1, 1}, {1, 1}, CVY_IDENTITY},
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
enum { CASES = sizeof cases / sizeof *cases, ALL_PASSES = 7 };

static cvy_conv2d_shape shape_of(const conv_case *c) {
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

/* A shape's tensors with random contents; gy is 0 in the padding columns, as every gradient is. */
typedef struct tensors {
    size_t in_rows, out_rows, inputs, outputs, weights, channels;
    float *x, *weight, *bias, *gy;
} tensors;

static tensors tensors_of(const cvy_conv2d_shape *s, int n) {
    tensors t = {.in_rows = (size_t)(s->in_channels * s->in_height * s->in_width),
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

static void tensors_free(tensors *t) {
    free(t->x);
    free(t->weight);
    free(t->bias);
    free(t->gy);
}

static float *zeros(size_t count) {
    float *values = calloc(count ? count : 1, sizeof *values);
    assert_non_null(values);
    return values;
}

static void free_buffers(cvy_buffer **buffers, size_t count) {
    for (size_t i = 0; i < count; i++)
        cvy_buffer_free(buffers[i]);
}
#define FREE_BUFFERS(...)                                                                                    \
    free_buffers((cvy_buffer *[]){__VA_ARGS__}, sizeof((cvy_buffer *[]){__VA_ARGS__}) / sizeof(cvy_buffer *))

/* ---- Variants against the reference ---- */

/* Relative to the largest expected value (at least 1). Winograd's transforms multiply by up to 16 and take
   the differences again; RECIPES.md allows it 1e-4. */
static double tolerance_of(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    /* Both factors of each product are off by at most 2^-11 (TF32) or 2^-9 (BF16); rounding errors are
       independent, so that those of a sum grow as the sum itself does. */
    if (!strcmp(cvy_conv2d_variant(op, pass), "mma_nvidia"))
        return cvy_device_get_traits(test_device())->precision == CONVOY_TF32 ? 0x2p-11 : 0x2p-9;
    if (!strncmp(cvy_conv2d_variant(op, pass), "winograd", 8))
        return 2e-5;
    return pass == CVY_CONV2D_BACKWARD_WEIGHTS ? 5e-6 : 2e-6;
}

static void check_forward(cvy_conv2d *op, const cvy_conv2d_shape *s, const tensors *t, int n,
                          const char *what, bool with_bias) {
    convoy_device *device = test_device();
    float *expected = zeros(t->outputs);
    cvy_conv2d_forward_reference(s, t->x, t->weight, with_bias ? t->bias : NULL, expected);
    cvy_buffer *x = test_buffer(device, t->x, t->inputs * sizeof(float));
    cvy_buffer *weight = test_buffer(device, t->weight, t->weights * sizeof(float));
    cvy_buffer *bias = with_bias ? test_buffer(device, t->bias, t->channels * sizeof(float)) : NULL;
    cvy_buffer *y =
        test_buffer(device, t->gy, t->outputs * sizeof(float)); /* what was there must not matter */
    cvy_buffer *workspace = test_buffer(device, NULL, cvy_conv2d_workspace(op));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y, workspace));
    float *actual = test_read(y, t->outputs);
    test_close_columns(what, actual, expected, t->out_rows, s->pitch, n, false,
                       tolerance_of(op, CVY_CONV2D_FORWARD));
    for (size_t i = 0; i < t->outputs; i++)
        assert_true(isfinite(actual[i]));
    FREE_BUFFERS(x, weight, bias, y, workspace);
    free(expected);
    free(actual);
}

static void check_backward_data(cvy_conv2d *op, const cvy_conv2d_shape *s, const tensors *t, int n,
                                const char *what) {
    convoy_device *device = test_device();
    float *expected = zeros(t->inputs);
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

static void check_backward_weights(cvy_conv2d *op, const cvy_conv2d_shape *s, const tensors *t,
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

/* False where the variant does not run this shape on this device, which its refusal says. */
static bool check_case(const conv_case *c, const char *variant) {
    const cvy_conv2d_shape shape = shape_of(c);
    char what[128];
    cvy_conv2d *op = NULL;
    const convoy_status status = cvy_conv2d_create(test_device(), &shape, ALL_PASSES, variant, &op);
    if (status) {
        assert_int_equal(status, CONVOY_DEVICE);
        if (!strstr(convoy_error_message(), "does not run on this device"))
            fail_msg("%s, %s: %s", variant, c->name, convoy_error_message());
        return false;
    }
    tensors t = tensors_of(&shape, c->n);
    for (int pass = 0; pass < 3; pass++)
        assert_string_equal(cvy_conv2d_variant(op, (cvy_conv2d_pass)pass), variant);
    for (int with = 0; with < 2; with++) {
        snprintf(what, sizeof what, "%s, %s, forward, bias %d", variant, c->name, with);
        check_forward(op, &shape, &t, c->n, what, with);
        snprintf(what, sizeof what, "%s, %s, backward-weights, accumulate %d", variant, c->name, with);
        check_backward_weights(op, &shape, &t, what, true, with);
        snprintf(what, sizeof what, "%s, %s, backward-weights without bias, accumulate %d", variant, c->name,
                 with);
        check_backward_weights(op, &shape, &t, what, false, with);
    }
    snprintf(what, sizeof what, "%s, %s, backward-data", variant, c->name);
    check_backward_data(op, &shape, &t, c->n, what);
    cvy_conv2d_free(op);
    tensors_free(&t);
    return true;
}

/* The smallest shapes are the short run. */
static bool skipped(const conv_case *c) {
    const cvy_conv2d_shape s = shape_of(c);
    const long products = (long)s.out_channels * s.out_height * s.out_width * s.in_channels / s.groups *
                          s.kernel[0] * s.kernel[1] * s.pitch;
    return test_quick() && products > 400 * 1000;
}

/* Each variant that runs here at all is checked on every shape that it supports. */
static void test_variants(void **state) {
    (void)state;
    size_t checked = 0, count = 0;
    for (size_t i = 0; i < CASES; i++)
        count += !skipped(&cases[i]);
    for (const char *const *variant = cvy_conv2d_variants(); *variant; variant++) {
        size_t of_variant = 0;
        for (size_t i = 0; i < CASES; i++)
            of_variant += !skipped(&cases[i]) && check_case(&cases[i], *variant);
        assert_true(of_variant == 0 || of_variant >= (test_quick() ? 1 : 5));
        checked += of_variant;
    }
    assert_true(checked >= count && count >= 5);
}

/* What tile_gpu chooses depends on the device too. Together these reach all its tiles, with channels and
   columns that are no multiples of them and more work than one work-group's. */
static void tile_gpu_adapts(void **state) {
    (void)state;
    static const struct {
        size_t max_work_group, local_memory;
        conv_case shape;
    } cases[] = {
        {256, 32 << 10, {"125 channels", 60, 14, 125, 1, 4, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"one pixel", 33, 7, 128, 1, 3, 3, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_IDENTITY}},
        {256,
         32 << 10,
         {"64 channels, one pixel", 40, 3, 64, 1, 3, 3, {3, 3}, {1, 1}, {0, 0}, {1, 1}, CVY_TANH}},
        {256,
         32 << 10,
         {"96 channels, few pixels", 48, 16, 95, 1, 2, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {128, 32 << 10, {"96 channels", 33, 17, 96, 1, 7, 6, {3, 2}, {2, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}},
        {256, 32 << 10, {"two groups of 60", 40, 24, 120, 2, 4, 9, {1, 3}, {1, 2}, {0, 2}, {1, 2}, CVY_RELU}},
        {256, 32 << 10, {"45 channels", 16, 66, 45, 1, 5, 5, {2, 2}, {1, 1}, {0, 1}, {1, 1}, CVY_SIGMOID}},
        {64, 16 << 10, {"small work-groups", 100, 64, 28, 1, 4, 3, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"16 channels", 128, 14, 15, 1, 5, 4, {3, 3}, {2, 2}, {1, 1}, {1, 1}, CVY_IDENTITY}},
        {256, 8 << 10, {"little local memory", 16, 3, 31, 1, 6, 6, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}},
        {256, 32 << 10, {"11 channels", 250, 4, 11, 1, 5, 5, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}},
    };
    convoy_device *device = test_device();
    const cvy_device_traits real = device->traits;
    device->traits.compute_units = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        device->traits.max_work_group = cases[i].max_work_group;
        device->traits.local_memory = cases[i].local_memory;
        assert_true(skipped(&cases[i].shape) || check_case(&cases[i].shape, "tile_gpu"));
    }
    device->traits = real;
}

/* The tensor cores' fragments, on a device that emulates them: TF32 and BF16, tiles of all sizes. */
static void test_mma(void **state) {
    (void)state;
    static const struct {
        conv_case shape;
        size_t max_work_group;
    } tests[] = {
        {{"130 channels", 16, 3, 130, 1, 3, 3, {2, 2}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU}, 256},
        {{"70 channels, stride 2", 16, 20, 70, 1, 5, 3, {3, 2}, {2, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}, 128},
        {{"two groups of 20", 20, 10, 40, 2, 2, 5, {1, 3}, {1, 2}, {0, 2}, {1, 2}, CVY_IDENTITY}, 64},
        {{"3 channels", 5, 3, 6, 1, 4, 3, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_IDENTITY}, 64}};
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const cvy_device_traits kept = *traits;
    traits->tensor_cores = CVY_TENSOR_EMULATED;
    traits->compute_units = 1;
    for (int precision = CONVOY_TF32; precision <= CONVOY_BF16; precision++)
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
            traits->max_work_group = tests[i].max_work_group;
            assert_ok(convoy_device_set_precision(test_device(), (convoy_precision)precision));
            assert_true(skipped(&tests[i].shape) || check_case(&tests[i].shape, "mma_nvidia"));
        }
    *traits = kept;
}

static void test_precision(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    assert_ok(convoy_device_set_precision(host, CONVOY_FLOAT32));
    assert_fails(convoy_device_set_precision(host, CONVOY_BF16), CONVOY_DEVICE, "bf16");
    assert_fails(convoy_device_set_precision(host, CONVOY_TF32), CONVOY_DEVICE, "compute capability");
    assert_fails(convoy_device_set_precision(host, (convoy_precision)7), CONVOY_INVALID, "precision");
    convoy_device_close(host);
}

/* Variants that work in chunks need several where the device allows only small buffers. */
static void test_chunks(void **state) {
    (void)state;
    static const conv_case chunked[] = {
        {"3x3 in chunks", 33, 5, 14, 1, 13, 15, {3, 3}, {1, 1}, {1, 1}, {1, 1}, CVY_RELU},
        {"5x5 in chunks", 16, 7, 10, 1, 11, 10, {5, 5}, {1, 1}, {2, 2}, {1, 1}, CVY_IDENTITY}};
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(test_device());
    const size_t kept = traits->max_allocation;
    size_t checked = 0;
    for (const char *const *variant = cvy_conv2d_variants(); *variant; variant++)
        for (size_t i = 0; i < sizeof chunked / sizeof *chunked; i++) {
            traits->max_allocation = 4 << 20;
            checked += !skipped(&chunked[i]) && check_case(&chunked[i], *variant);
            traits->max_allocation = kept;
        }
    assert_true(checked || test_quick());
}

/* Forward of one to eight images, whose pitch is their number rounded up to a power of two, with vectors of
   each width. */
static void test_few_images(void **state) {
    (void)state;
    convoy_device *device = test_device();
    cvy_device_traits *traits = (cvy_device_traits *)cvy_device_get_traits(device);
    const int real = traits->vector_width, widths[] = {16, 8, 4};
    if (!traits->cpu)
        skip();
    for (size_t i = 0; i < CASES; i++) {
        conv_case c = cases[i];
        for (int k = 0; k < 4; k++) {
            cvy_conv2d_shape shape = shape_of(&c);
            shape.pitch = 1 << k;
            if (skipped(&c) || (test_quick() && k != (int)i % 4))
                continue;
            tensors t = tensors_of(&shape, shape.pitch);
            cvy_conv2d *op = NULL;
            char what[128];
            traits->vector_width = widths[(i + (size_t)k) % 3];
            assert_ok(cvy_conv2d_create(device, &shape, 1 << CVY_CONV2D_FORWARD, NULL, &op));
            assert_string_equal(cvy_conv2d_variant(op, CVY_CONV2D_FORWARD), "columns_cpu");
            for (int with = 0; with < 2; with++) {
                snprintf(what, sizeof what, "columns_cpu, %s, pitch %d, vectors of %d, bias %d", c.name,
                         shape.pitch, traits->vector_width, with);
                check_forward(op, &shape, &t, shape.pitch, what, with);
            }
            traits->vector_width = real;
            cvy_conv2d_free(op);
            tensors_free(&t);
        }
    }
}

/* The same call twice gives the same bits. */
static void test_deterministic(void **state) {
    (void)state;
    convoy_device *device = test_device();
    const cvy_conv2d_shape shape = shape_of(&cases[4]);
    tensors t = tensors_of(&shape, cases[4].n);
    cvy_conv2d *op = NULL;
    assert_ok(cvy_conv2d_create(device, &shape, ALL_PASSES, NULL, &op));
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
    tensors_free(&t);
}

/* ---- The host device ---- */

static void test_host_device(void **state) {
    (void)state;
    convoy_device *host = NULL;
    assert_ok(convoy_device_open("host", &host));
    const cvy_conv2d_shape shape = shape_of(&cases[8]);
    tensors t = tensors_of(&shape, cases[8].n);
    cvy_conv2d *op = NULL;
    assert_ok(cvy_conv2d_create(host, &shape, 1 << CVY_CONV2D_FORWARD, NULL, &op));
    assert_string_equal(cvy_conv2d_variant(op, CVY_CONV2D_FORWARD), "reference");
    assert_null(cvy_conv2d_variant(op, CVY_CONV2D_BACKWARD_DATA));
    cvy_buffer *x = test_buffer(host, t.x, t.inputs * sizeof(float));
    cvy_buffer *weight = test_buffer(host, t.weight, t.weights * sizeof(float));
    cvy_buffer *bias = test_buffer(host, t.bias, t.channels * sizeof(float));
    cvy_buffer *y = test_buffer(host, NULL, t.outputs * sizeof(float));
    assert_ok(cvy_conv2d_forward(op, x, weight, bias, y, NULL));
    float *expected = zeros(t.outputs);
    cvy_conv2d_forward_reference(&shape, t.x, t.weight, t.bias, expected);
    assert_memory_equal(cvy_buffer_host(y), expected, t.outputs * sizeof(float));
    assert_fails(cvy_conv2d_backward_data(op, y, weight, x, NULL), CONVOY_INVALID, "not prepared");
    FREE_BUFFERS(x, weight, bias, y);
    cvy_conv2d_free(op);
    tensors_free(&t);
    free(expected);
    convoy_device_close(host);
}

/* ---- Checks ---- */

static void test_checks(void **state) {
    (void)state;
    const cvy_conv2d_shape good = shape_of(&cases[0]);
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
    assert_fails(cvy_conv2d_create(test_device(), &good, ALL_PASSES, "fft", &op), CONVOY_INVALID, "fft");
    assert_null(op);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),      cmocka_unit_test(test_few_images),
        cmocka_unit_test(tile_gpu_adapts),    cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_mma),           cmocka_unit_test(test_precision),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_host_device),
        cmocka_unit_test(test_checks)};
    const int failed = cmocka_run_group_tests_name("conv2d", tests, NULL, NULL);
    test_device_close();
    return failed;
}
