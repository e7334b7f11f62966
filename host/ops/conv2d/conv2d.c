/* 2-D convolution: the checks, the op's row of tables, the entry points. A file per variant beside it. */
#include "ops/conv2d/conv2d.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/integer.h"
#include "ops/conv2d/variant.h"
#include "ops/shape_text.h"

enum { PASSES = 3 };

_Static_assert(sizeof(cvy_conv2d_shape) <= CVY_SHAPE_BYTES, "CVY_SHAPE_BYTES");

/* ---- Checks ---- */

static convoy_status check_positive(const char *what, long value) {
    if (value > 0)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "conv2d: %s is %ld; it must be at least 1", what, value);
}

static convoy_status infer_axis(const char *axis, int in, int kernel, int stride, int padding, int dilation,
                                int *out) {
    const long span = (long)dilation * (kernel - 1) + 1, padded = (long)in + 2L * padding;
    if (padded > INT32_MAX || span > padded)
        return cvy_fail(
            CONVOY_INVALID,
            "conv2d: a kernel of %d with dilation %d spans %ld, but the input's %s is %d, with padding %ld; "
            "use a smaller kernel, more padding, or a larger input",
            kernel, dilation, span, axis, in, padded);
    *out = (int)((padded - span) / stride + 1);
    return CONVOY_OK;
}

static bool is_small(int pitch) {
    return pitch == 1 || pitch == 2 || pitch == 4 || pitch == 8;
}

convoy_status cvy_conv2d_infer(cvy_conv2d_shape *shape) {
    static const char *const axes[2] = {"height", "width"};
    convoy_status status;
    if ((status = check_positive("in_channels", shape->in_channels)) ||
        (status = check_positive("out_channels", shape->out_channels)) ||
        (status = check_positive("the input's height", shape->in_height)) ||
        (status = check_positive("the input's width", shape->in_width)) ||
        (status = check_positive("groups", shape->groups)))
        return status;
    if (shape->pitch <= 0 || (shape->pitch % 16 && !is_small(shape->pitch)))
        return cvy_fail(CONVOY_INVALID,
                        "conv2d: the batch pitch is %d; it must be 1, 2, 4, 8 or a positive multiple of 16",
                        shape->pitch);
    for (int a = 0; a < 2; a++) {
        if ((status = check_positive("kernel_size", shape->kernel[a])) ||
            (status = check_positive("stride", shape->stride[a])) ||
            (status = check_positive("dilation", shape->dilation[a])))
            return status;
        if (shape->padding[a] < 0)
            return cvy_fail(CONVOY_INVALID, "conv2d: padding is %d; it must be 0 or more", shape->padding[a]);
    }
    if (shape->in_channels % shape->groups || shape->out_channels % shape->groups)
        return cvy_fail(CONVOY_INVALID,
                        "conv2d: groups is %d; it must divide both in_channels (%d) and out_channels (%d)",
                        shape->groups, shape->in_channels, shape->out_channels);
    if ((status = infer_axis(axes[0], shape->in_height, shape->kernel[0], shape->stride[0], shape->padding[0],
                             shape->dilation[0], &shape->out_height)))
        return status;
    return infer_axis(axes[1], shape->in_width, shape->kernel[1], shape->stride[1], shape->padding[1],
                      shape->dilation[1], &shape->out_width);
}

size_t cvy_conv2d_weights(const cvy_conv2d_shape *shape) {
    return (size_t)shape->out_channels * (size_t)(shape->in_channels / shape->groups) *
           (size_t)shape->kernel[0] * (size_t)shape->kernel[1];
}

size_t cvy_conv2d_inputs(const cvy_conv2d_shape *shape) {
    return (size_t)shape->in_channels * (size_t)shape->in_height * (size_t)shape->in_width *
           (size_t)shape->pitch;
}

size_t cvy_conv2d_outputs(const cvy_conv2d_shape *shape) {
    return (size_t)shape->out_channels * (size_t)shape->out_height * (size_t)shape->out_width *
           (size_t)shape->pitch;
}

cvy_conv2d_shape cvy_conv2d_correlation(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    cvy_conv2d_shape c = *s;
    if (job->pass == CVY_CONV2D_FORWARD)
        return c;
    c.activation = CVY_IDENTITY;
    c.pooling.kind = CVY_POOLING_NONE;
    if (job->pass == CVY_CONV2D_BACKWARD_WEIGHTS)
        return c;
    c.in_channels = s->out_channels, c.in_height = s->out_height, c.in_width = s->out_width;
    c.out_channels = s->in_channels, c.out_height = s->in_height, c.out_width = s->in_width;
    for (int a = 0; a < 2; a++)
        c.padding[a] = (s->kernel[a] - 1) * s->dilation[a] - s->padding[a];
    return c;
}

/* ---- The op among others ---- */

static cvy_cost cost(const void *shape, int pass) {
    const cvy_conv2d_shape *s = shape;
    const double weights = (double)cvy_conv2d_weights(s);
    const double tensors = (double)cvy_conv2d_inputs(s) + (double)cvy_conv2d_outputs(s);
    (void)pass; /* all three move the same tensors and multiply each weight once per output pixel */
    return (cvy_cost){2 * weights * s->out_height * s->out_width * s->pitch,
                      sizeof(float) * (tensors + weights)};
}

static void write_shape(const void *shape, char text[CVY_SHAPE_TEXT]) {
    const cvy_conv2d_shape *s = shape;
    snprintf(text, CVY_SHAPE_TEXT, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d", s->pitch, s->in_channels,
             s->in_height, s->in_width, s->out_channels, s->kernel[0], s->kernel[1], s->stride[0],
             s->stride[1], s->padding[0], s->padding[1], s->dilation[0], s->dilation[1], s->groups);
}

static bool read_shape(const char *text, void *shape) {
    enum { NUMBERS = 14 };
    cvy_conv2d_shape *s = shape;
    int *const to[NUMBERS] = {&s->pitch,        &s->in_channels, &s->in_height,  &s->in_width,
                              &s->out_channels, &s->kernel[0],   &s->kernel[1],  &s->stride[0],
                              &s->stride[1],    &s->padding[0],  &s->padding[1], &s->dilation[0],
                              &s->dilation[1],  &s->groups};
    long long numbers[NUMBERS];
    *s = (cvy_conv2d_shape){0};
    if (!cvy_shape_read_numbers(text, INT_MAX, numbers, NUMBERS))
        return false;
    for (int i = 0; i < NUMBERS; i++)
        *to[i] = (int)numbers[i];
    return !cvy_conv2d_infer(s);
}

/* At most `pixels` outputs, by cutting the input. */
static int small_axis(int in, int out, int kernel, int stride, int padding, int dilation, int pixels) {
    if (out <= pixels)
        return in;
    const int wanted = (pixels - 1) * stride + dilation * (kernel - 1) + 1 - 2 * padding;
    return wanted < 1 ? 1 : min_int(wanted, in);
}

/* Vectors and blocks over images are chosen by the pitch's divisors: they stay, up to 64. */
static int small_pitch(int pitch) {
    return pitch % 64 == 0 ? 64 : pitch % 32 == 0 ? 32 : pitch % 16 == 0 ? 16 : pitch;
}

/* Channels per group that are no multiple of anything; of 32, for variants that want that; the real ones. The
   same kernel, stride, padding and dilation. */
static bool shrink(const void *shape, int cut, void *small) {
    enum { CUTS = 3, PIXELS = 13 };
    const double most_flops = 4e7; /* a few dozen milliseconds of the reference */
    const int channels[CUTS][2] = {{19, 29}, {32, 32}, {INT_MAX, INT_MAX}};
    const cvy_conv2d_shape *real = shape;
    cvy_conv2d_shape *s = small;
    if (cut >= CUTS)
        return false;
    *s = *real;
    s->groups = min_int(real->groups, 3);
    s->in_channels = s->groups * min_int(real->in_channels / real->groups, channels[cut][0]);
    s->out_channels = s->groups * min_int(real->out_channels / real->groups, channels[cut][1]);
    s->pitch = small_pitch(real->pitch);
    s->in_height = small_axis(s->in_height, s->out_height, s->kernel[0], s->stride[0], s->padding[0],
                              s->dilation[0], PIXELS);
    s->in_width = small_axis(s->in_width, s->out_width, s->kernel[1], s->stride[1], s->padding[1],
                             s->dilation[1], PIXELS - 2);
    convoy_status status = cvy_conv2d_infer(s);
    while (!status && cost(s, 0).flops > most_flops)
        if (s->pitch > 16 && s->pitch % 32 == 0)
            s->pitch /= 2;
        else if (s->in_channels > 7 * s->groups && cut == 0)
            s->in_channels = 7 * s->groups;
        else
            break;
    return !status;
}

static void tensors(const void *shape, int pass, cvy_op_tensors *t) {
    const cvy_conv2d_shape *s = shape;
    const size_t x = cvy_conv2d_inputs(s), y = cvy_conv2d_outputs(s), weights = cvy_conv2d_weights(s),
                 channels = (size_t)s->out_channels;
    const cvy_op_tensors of_passes[PASSES] = {
        [CVY_CONV2D_FORWARD] = {.inputs = {x, weights, channels}, .outputs = {y}},
        [CVY_CONV2D_BACKWARD_DATA] = {.inputs = {y, weights}, .outputs = {x}},
        [CVY_CONV2D_BACKWARD_WEIGHTS] = {
            .inputs = {x, y}, .outputs = {weights, channels}, .accumulates = true}};
    *t = of_passes[pass];
}

static void reference(const cvy_job *job, float *const *in, float *const *out, bool accumulate) {
    switch (job->pass) {
    case CVY_CONV2D_FORWARD:
        cvy_conv2d_forward_reference(job->shape, in[0], in[1], in[2], out[0]);
        break;
    case CVY_CONV2D_BACKWARD_DATA:
        cvy_conv2d_backward_data_reference(job->shape, in[0], in[1], out[0]);
        break;
    default:
        cvy_conv2d_backward_weights_reference(job->shape, in[0], in[1], out[0], out[1], accumulate);
    }
}

static convoy_status run_buffers(cvy_prepared *prepared, const cvy_op_buffers *b) {
    const bool gradient = prepared->job.pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    return cvy_prepared_run(prepared, &(cvy_conv2d_buffers){.in = b->inputs[0],
                                                            .weight = gradient ? NULL : b->inputs[1],
                                                            .gy = gradient ? b->inputs[1] : NULL,
                                                            .bias = b->inputs[2],
                                                            .out = b->outputs[0],
                                                            .gbias = b->outputs[1],
                                                            .accumulate = b->accumulate,
                                                            .workspace = b->workspace});
}

static const char *const passes[PASSES + 1] = {"forward", "backward_data", "backward_weights", NULL};

static const cvy_variant *const variants[] = {
    &cvy_conv2d_reference,  &cvy_conv2d_winograd8_cpu, &cvy_conv2d_winograd6_cpu, &cvy_conv2d_winograd1d_cpu,
    &cvy_conv2d_direct_cpu, &cvy_conv2d_pieces_cpu,    &cvy_conv2d_columns_cpu,   &cvy_conv2d_winograd_gpu,
    &cvy_conv2d_mma_nvidia, &cvy_conv2d_tile_gpu,      &cvy_conv2d_im2col_gemm,   NULL};

const cvy_op cvy_conv2d_op = {.name = "conv2d",
                              .passes = passes,
                              .variants = variants,
                              .shape_size = sizeof(cvy_conv2d_shape),
                              .write = write_shape,
                              .read = read_shape,
                              .cost = cost,
                              .shrink = shrink,
                              .tensors = tensors,
                              .reference = reference,
                              .run = run_buffers};

/* ---- Entry points ---- */

struct cvy_conv2d {
    cvy_conv2d_shape shape;
    cvy_prepared passes[PASSES]; /* zeros where the pass was not asked for */
    cvy_needs needs;
};

/* Chooses a variant for each pass that is wanted, and unless `describes`, makes it ready. */
static convoy_status prepare(const cvy_device_traits *traits, convoy_device *device, cvy_conv2d_shape *shape,
                             unsigned wanted, const char *variant, bool describes, cvy_prepared *prepared,
                             cvy_needs *needs) {
    cvy_job jobs[PASSES];
    size_t count = 0;
    convoy_status status = cvy_conv2d_infer(shape);
    *needs = (cvy_needs){0};
    if (shape->out_height % 2 || shape->out_width % 2)
        shape->pooling.kind = CVY_POOLING_NONE;
    for (int pass = 0; pass < PASSES; pass++)
        if (wanted >> pass & 1)
            jobs[count++] = cvy_job_on(traits, device, shape, pass);
    if (!status && count)
        status = cvy_forced_check(&cvy_conv2d_op, variant, jobs, count);
    for (size_t i = 0; i < count && !status; i++) {
        cvy_prepared *p = &prepared[jobs[i].pass];
        jobs[i].describes = describes;
        status = cvy_prepared_open(&cvy_conv2d_op, &jobs[i], variant, p);
        needs->workspace = max_size(needs->workspace, p->needs.workspace);
        needs->fuses |= p->needs.fuses;
    }
    return status;
}

convoy_status cvy_conv2d_describe(const cvy_device_traits *traits, convoy_device *device,
                                  const cvy_conv2d_shape *shape, unsigned wanted, const char *variant,
                                  cvy_needs *needs) {
    cvy_conv2d_shape checked = *shape;
    cvy_prepared prepared[PASSES] = {0};
    return prepare(traits, device, &checked, wanted, variant, true, prepared, needs);
}

convoy_status cvy_conv2d_create(convoy_device *device, const cvy_conv2d_shape *shape, unsigned wanted,
                                const char *variant, cvy_conv2d **out) {
    cvy_conv2d *op = calloc(1, sizeof *op);
    *out = NULL;
    if (!op)
        return cvy_fail_memory("a convolution", sizeof *op);
    op->shape = *shape;
    convoy_status status = prepare(cvy_device_get_traits(device), device, &op->shape, wanted, variant, false,
                                   op->passes, &op->needs);
    if (status)
        cvy_conv2d_free(op);
    else
        *out = op;
    return status;
}

void cvy_conv2d_free(cvy_conv2d *op) {
    for (int pass = 0; op && pass < PASSES; pass++)
        cvy_prepared_close(&op->passes[pass]);
    free(op);
}

const char *cvy_conv2d_variant(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return op->passes[pass].variant ? op->passes[pass].variant->name : NULL;
}

cvy_origin cvy_conv2d_origin(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return op->passes[pass].origin;
}

size_t cvy_conv2d_workspace(const cvy_conv2d *op) {
    return op->needs.workspace;
}

cvy_cost cvy_conv2d_cost(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return cost(&op->shape, (int)pass);
}

static convoy_status run(cvy_conv2d *op, cvy_conv2d_pass pass, const cvy_conv2d_buffers *buffers) {
    if (!op->passes[pass].variant)
        return cvy_fail(CONVOY_INVALID, "conv2d: %s was not prepared; name it in `passes`", passes[pass]);
    return cvy_prepared_run(&op->passes[pass], buffers);
}

bool cvy_conv2d_pools(const cvy_conv2d *op) {
    return op->passes[CVY_CONV2D_FORWARD].needs.fuses;
}

convoy_status cvy_conv2d_forward(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *pooled, cvy_buffer *indices,
                                 cvy_buffer *workspace) {
    if (pooled && !cvy_conv2d_pools(op))
        return cvy_fail(CONVOY_INVALID, "conv2d: this one was not prepared with a pooling behind it");
    return run(op, CVY_CONV2D_FORWARD,
               &(cvy_conv2d_buffers){.in = x,
                                     .weight = weight,
                                     .bias = bias,
                                     .out = y,
                                     .pooled = pooled,
                                     .indices = indices,
                                     .workspace = workspace});
}

convoy_status cvy_conv2d_backward_data(cvy_conv2d *op, cvy_buffer *gy, cvy_buffer *weight, cvy_buffer *gx,
                                       cvy_buffer *workspace) {
    return run(op, CVY_CONV2D_BACKWARD_DATA,
               &(cvy_conv2d_buffers){.in = gy, .weight = weight, .out = gx, .workspace = workspace});
}

convoy_status cvy_conv2d_backward_weights(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gweight,
                                          cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace) {
    return run(op, CVY_CONV2D_BACKWARD_WEIGHTS,
               &(cvy_conv2d_buffers){.in = x,
                                     .gy = gy,
                                     .out = gweight,
                                     .gbias = gbias,
                                     .accumulate = accumulate,
                                     .workspace = workspace});
}
