/* 2-D convolution: the checks, the host reference, the table of variants, the entry points. */
#include "ops/conv2d/conv2d.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

#define PASSES 3

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

static double flops_of(const cvy_conv2d_shape *shape) {
    return 2 * (double)cvy_conv2d_weights(shape) * shape->out_height * shape->out_width * shape->pitch;
}

/* ---- Shapes as words ---- */

const char *const cvy_conv2d_passes[PASSES] = {"forward", "backward_data", "backward_weights"};

void cvy_conv2d_shape_write(const cvy_conv2d_shape *s, char text[CVY_SHAPE_TEXT]) {
    snprintf(text, CVY_SHAPE_TEXT, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d", s->pitch, s->in_channels,
             s->in_height, s->in_width, s->out_channels, s->kernel[0], s->kernel[1], s->stride[0],
             s->stride[1], s->padding[0], s->padding[1], s->dilation[0], s->dilation[1], s->groups);
}

bool cvy_conv2d_shape_read(const char *text, cvy_conv2d_shape *s) {
    *s = (cvy_conv2d_shape){0};
    return sscanf(text, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d", &s->pitch, &s->in_channels,
                  &s->in_height, &s->in_width, &s->out_channels, &s->kernel[0], &s->kernel[1], &s->stride[0],
                  &s->stride[1], &s->padding[0], &s->padding[1], &s->dilation[0], &s->dilation[1],
                  &s->groups) == 14 &&
           cvy_conv2d_infer(s) == CONVOY_OK;
}

cvy_task cvy_conv2d_task(const cvy_conv2d_shape *shape, cvy_conv2d_pass pass) {
    const double bytes = sizeof(float) * (double)(cvy_conv2d_inputs(shape) + cvy_conv2d_outputs(shape) +
                                                  cvy_conv2d_weights(shape));
    cvy_task task = {.op = "conv2d",
                     .pass = cvy_conv2d_passes[pass],
                     .flops = flops_of(shape),
                     .work = cvy_choice_work(flops_of(shape), bytes),
                     .uses = 1};
    cvy_conv2d_shape_write(shape, task.shape);
    return task;
}

/* ---- Reference ---- */
/* Sixteen images at a time, so that the sums of the inner loop stay in registers; forward also fewer. */

enum { LANES = 16 };

/* Input position under tap k of output `out`, or -1 where it is padding. */
static long position(int out, int k, int stride, int padding, int dilation, int size) {
    const long at = (long)out * stride - padding + (long)k * dilation;
    return at >= 0 && at < size ? at : -1;
}

static const float *pixel(const float *plane, size_t channel, int height, int width, int pitch, size_t row,
                          size_t column) {
    return plane + ((channel * (size_t)height + row) * (size_t)width + column) * (size_t)pitch;
}

static void add_scaled(double sum[LANES], double factor, const float *values, int lanes) {
    if (lanes == LANES)
        for (int n = 0; n < LANES; n++)
            sum[n] += factor * (double)values[n];
    else
        for (int n = 0; n < lanes; n++)
            sum[n] += factor * (double)values[n];
}

static double add_products(double sum, const float *a, const float *b) {
    double lane[LANES];
    for (int n = 0; n < LANES; n++)
        lane[n] = (double)a[n] * (double)b[n];
    for (int n = 0; n < LANES; n++)
        sum += lane[n];
    return sum;
}

static void store(const double sum[LANES], float *to, int lanes) {
    for (int n = 0; n < lanes; n++)
        to[n] = (float)sum[n];
}

/* The sum over one output pixel's taps, for LANES images (all, where they are fewer). */
static void forward_pixel(const cvy_conv2d_shape *s, const float *x, const float *weight, int co, int oh,
                          int ow, double sum[LANES]) {
    const int in_channels = s->in_channels / s->groups, group = co / (s->out_channels / s->groups);
    const float *w = weight + (size_t)co * (size_t)(in_channels * s->kernel[0] * s->kernel[1]);
    for (int ci = 0; ci < in_channels; ci++)
        for (int kh = 0; kh < s->kernel[0]; kh++) {
            const long ih = position(oh, kh, s->stride[0], s->padding[0], s->dilation[0], s->in_height);
            for (int kw = 0; kw < s->kernel[1]; kw++, w++) {
                const long iw = position(ow, kw, s->stride[1], s->padding[1], s->dilation[1], s->in_width);
                if (ih >= 0 && iw >= 0)
                    add_scaled(sum, *w,
                               pixel(x, (size_t)(group * in_channels + ci), s->in_height, s->in_width,
                                     s->pitch, (size_t)ih, (size_t)iw),
                               s->pitch < LANES ? s->pitch : LANES);
            }
        }
}

void cvy_conv2d_forward_reference(const cvy_conv2d_shape *s, const float *x, const float *weight,
                                  const float *bias, float *y) {
    const int lanes = s->pitch < LANES ? s->pitch : LANES;
    for (int co = 0; co < s->out_channels; co++)
        for (int oh = 0; oh < s->out_height; oh++)
            for (int ow = 0; ow < s->out_width; ow++, y += s->pitch)
                for (int image = 0; image < s->pitch; image += LANES) {
                    double sum[LANES];
                    for (int n = 0; n < LANES; n++)
                        sum[n] = bias ? (double)bias[co] : 0;
                    forward_pixel(s, x + image, weight, co, oh, ow, sum);
                    store(sum, y + image, lanes);
                    cvy_activation_forward_reference(s->activation, (size_t)lanes, y + image, y + image);
                }
}

/* Output whose tap k lies on input `in`, or -1. */
static long output_of(int in, int k, int stride, int padding, int dilation, int size) {
    const long at = (long)in + padding - (long)k * dilation;
    return at >= 0 && at % stride == 0 && at / stride < size ? at / stride : -1;
}

static void backward_data_pixel(const cvy_conv2d_shape *s, const float *gy, const float *weight, int ci,
                                int ih, int iw, double sum[LANES]) {
    const int in_channels = s->in_channels / s->groups, out_channels = s->out_channels / s->groups;
    const int group = ci / in_channels, taps = s->kernel[0] * s->kernel[1];
    for (int co = group * out_channels; co < (group + 1) * out_channels; co++) {
        const float *w =
            weight + ((size_t)co * (size_t)in_channels + (size_t)(ci % in_channels)) * (size_t)taps;
        for (int kh = 0; kh < s->kernel[0]; kh++) {
            const long oh = output_of(ih, kh, s->stride[0], s->padding[0], s->dilation[0], s->out_height);
            for (int kw = 0; kw < s->kernel[1]; kw++, w++) {
                const long ow = output_of(iw, kw, s->stride[1], s->padding[1], s->dilation[1], s->out_width);
                if (oh >= 0 && ow >= 0)
                    add_scaled(
                        sum, *w,
                        pixel(gy, (size_t)co, s->out_height, s->out_width, s->pitch, (size_t)oh, (size_t)ow),
                        LANES);
            }
        }
    }
}

void cvy_conv2d_backward_data_reference(const cvy_conv2d_shape *s, const float *gy, const float *weight,
                                        float *gx) {
    for (int ci = 0; ci < s->in_channels; ci++)
        for (int ih = 0; ih < s->in_height; ih++)
            for (int iw = 0; iw < s->in_width; iw++, gx += s->pitch)
                for (int image = 0; image < s->pitch; image += LANES) {
                    double sum[LANES] = {0};
                    backward_data_pixel(s, gy + image, weight, ci, ih, iw, sum);
                    store(sum, gx + image, LANES);
                }
}

static double weight_gradient(const cvy_conv2d_shape *s, const float *x, const float *gy, int co, int ci,
                              int kh, int kw) {
    double sum = 0;
    for (int oh = 0; oh < s->out_height; oh++) {
        const long ih = position(oh, kh, s->stride[0], s->padding[0], s->dilation[0], s->in_height);
        for (int ow = 0; ow < s->out_width && ih >= 0; ow++) {
            const long iw = position(ow, kw, s->stride[1], s->padding[1], s->dilation[1], s->in_width);
            if (iw < 0)
                continue;
            const float *g =
                pixel(gy, (size_t)co, s->out_height, s->out_width, s->pitch, (size_t)oh, (size_t)ow);
            const float *v =
                pixel(x, (size_t)ci, s->in_height, s->in_width, s->pitch, (size_t)ih, (size_t)iw);
            for (int image = 0; image < s->pitch; image += LANES)
                sum = add_products(sum, g + image, v + image);
        }
    }
    return sum;
}

void cvy_conv2d_backward_weights_reference(const cvy_conv2d_shape *s, const float *x, const float *gy,
                                           float *gweight, float *gbias, bool accumulate) {
    const int in_channels = s->in_channels / s->groups, out_channels = s->out_channels / s->groups;
    for (int co = 0; co < s->out_channels; co++)
        for (int ci = 0; ci < in_channels; ci++)
            for (int kh = 0; kh < s->kernel[0]; kh++)
                for (int kw = 0; kw < s->kernel[1]; kw++, gweight++) {
                    const double sum =
                        weight_gradient(s, x, gy, co, co / out_channels * in_channels + ci, kh, kw);
                    *gweight = (float)(accumulate ? (double)*gweight + sum : sum);
                }
    const size_t plane = (size_t)s->out_height * (size_t)s->out_width * (size_t)s->pitch;
    for (int co = 0; gbias && co < s->out_channels; co++) {
        double sum = accumulate ? (double)gbias[co] : 0;
        for (size_t i = 0; i < plane; i++)
            sum += (double)gy[(size_t)co * plane + i];
        gbias[co] = (float)sum;
    }
}

static bool reference_supports(const cvy_device_traits *traits, const cvy_conv2d_shape *shape,
                               cvy_conv2d_pass pass) {
    return traits->host && (shape->pitch % LANES == 0 || pass == CVY_CONV2D_FORWARD);
}

typedef struct reference_state {
    cvy_conv2d_shape shape;
    cvy_conv2d_pass pass;
} reference_state;

static convoy_status reference_prepare(convoy_device *device, const cvy_conv2d_shape *shape,
                                       cvy_conv2d_pass pass, void **state, size_t *workspace) {
    (void)device;
    reference_state *prepared = malloc(sizeof *prepared);
    if (!prepared)
        return cvy_fail_memory("a convolution", sizeof *prepared);
    *prepared = (reference_state){*shape, pass};
    *state = prepared;
    *workspace = 0;
    return CONVOY_OK;
}

static convoy_status reference_run(void *state, const cvy_conv2d_buffers *b) {
    const reference_state *prepared = state;
    const float *in = cvy_buffer_host(b->in);
    float *out = cvy_buffer_host(b->out);
    switch (prepared->pass) {
    case CVY_CONV2D_FORWARD:
        cvy_conv2d_forward_reference(&prepared->shape, in, cvy_buffer_host(b->weight),
                                     b->bias ? cvy_buffer_host(b->bias) : NULL, out);
        break;
    case CVY_CONV2D_BACKWARD_DATA:
        cvy_conv2d_backward_data_reference(&prepared->shape, in, cvy_buffer_host(b->weight), out);
        break;
    case CVY_CONV2D_BACKWARD_WEIGHTS:
        cvy_conv2d_backward_weights_reference(&prepared->shape, in, cvy_buffer_host(b->gy), out,
                                              b->gbias ? cvy_buffer_host(b->gbias) : NULL, b->accumulate);
        break;
    }
    return CONVOY_OK;
}

static const cvy_conv2d_row reference = {.name = "reference",
                                         .supports = reference_supports,
                                         .prepare = reference_prepare,
                                         .run = reference_run,
                                         .release = free,
                                         .fuses_activation = true};

/* ---- Variants, the preferred one first ---- */

static const cvy_conv2d_row *const variants[] = {&reference,
                                                 &cvy_conv2d_winograd8_cpu,
                                                 &cvy_conv2d_winograd6_cpu,
                                                 &cvy_conv2d_winograd1d_cpu,
                                                 &cvy_conv2d_direct_cpu,
                                                 &cvy_conv2d_columns_cpu,
                                                 &cvy_conv2d_winograd_gpu,
                                                 &cvy_conv2d_mma_nvidia,
                                                 &cvy_conv2d_tile_gpu,
                                                 &cvy_conv2d_im2col_gemm};
enum { VARIANTS = sizeof variants / sizeof *variants };

const char *const *cvy_conv2d_variants(void) {
    static const char *names[VARIANTS + 1];
    for (size_t i = 0; i < VARIANTS; i++)
        names[i] = variants[i]->name;
    return names;
}

/* A pitch that is no multiple of 16 is for those that were made for few images. */
static bool runs(const cvy_conv2d_row *row, const cvy_device_traits *traits, const cvy_conv2d_shape *shape,
                 cvy_conv2d_pass pass) {
    return (shape->pitch % 16 == 0 || row == &reference || row == &cvy_conv2d_columns_cpu) &&
           row->supports(traits, shape, pass);
}

/* Variants are named for what they are made for. */
static bool is_for_gpus(const cvy_conv2d_row *row) {
    return strstr(row->name, "_gpu") || strstr(row->name, "_nvidia");
}

size_t cvy_conv2d_candidates(convoy_device *device, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass,
                             cvy_candidate_variant *candidates) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t count = 0;
    bool settled = false; /* no heuristic comes to the variants behind one that always pays */
    for (size_t i = 0; i < VARIANTS; i++) {
        const cvy_conv2d_row *row = variants[i];
        if (!runs(row, traits, shape, pass))
            continue;
        const bool likely = !settled && (!row->pays || row->pays(traits, shape, pass));
        const cvy_fit fit = likely                            ? CVY_FIT_LIKELY
                            : traits->cpu && is_for_gpus(row) ? CVY_FIT_FOREIGN
                                                              : CVY_FIT_POSSIBLE;
        candidates[count++] = (cvy_candidate_variant){row->name, fit};
        settled = settled || !row->pays;
    }
    return count;
}

static const cvy_conv2d_row *find_row(const char *name) {
    for (size_t i = 0; name && i < VARIANTS; i++)
        if (!strcmp(variants[i]->name, name))
            return variants[i];
    return NULL;
}

static const cvy_conv2d_row *choose_forced(convoy_device *device, const cvy_task *task, const char *forced) {
    const char *reason = cvy_choice_aside(device, task->op, task->pass, task->shape, forced);
    if (reason)
        cvy_warning("conv2d's variant %s is forced, though it was set aside here for %s: %s", forced,
                    task->pass, reason);
    return find_row(forced);
}

/* The forced variant where it runs; what was measured; what the heuristics prefer of those that are not set
   aside. */
static const cvy_conv2d_row *choose(convoy_device *device, const cvy_conv2d_shape *shape,
                                    cvy_conv2d_pass pass, const char *forced, cvy_origin *origin) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const cvy_task task = cvy_conv2d_task(shape, pass);
    const cvy_conv2d_row *row = find_row(forced);
    *origin = CVY_FORCED;
    if (row && runs(row, traits, shape, pass))
        return choose_forced(device, &task, forced);
    *origin = CVY_MEASURED;
    row = find_row(cvy_choice_find(device, task.op, task.pass, task.shape));
    if (row && runs(row, traits, shape, pass))
        return row;
    *origin = CVY_GUESSED;
    for (size_t i = 0; i < VARIANTS; i++)
        if (runs(variants[i], traits, shape, pass) &&
            (!variants[i]->pays || variants[i]->pays(traits, shape, pass)) &&
            !cvy_choice_aside(device, task.op, task.pass, task.shape, variants[i]->name))
            return variants[i];
    return NULL;
}

static convoy_status check_forced(const cvy_device_traits *traits, const cvy_conv2d_shape *shape,
                                  unsigned passes, const char *forced) {
    bool known = false;
    for (size_t i = 0; i < VARIANTS; i++) {
        if (strcmp(variants[i]->name, forced))
            continue;
        known = true;
        for (int pass = 0; pass < PASSES; pass++)
            if (passes >> pass & 1 && runs(variants[i], traits, shape, (cvy_conv2d_pass)pass))
                return CONVOY_OK;
    }
    return known
               ? cvy_fail(CONVOY_DEVICE,
                          "conv2d: variant \"%s\" does not run on this device; leave the choice open", forced)
               : cvy_fail(CONVOY_INVALID, "conv2d: there is no variant \"%s\"", forced);
}

/* ---- Entry points ---- */

struct cvy_conv2d {
    convoy_device *device;
    cvy_conv2d_shape shape;
    const cvy_conv2d_row *rows[PASSES]; /* NULL where the pass was not asked for */
    cvy_origin origins[PASSES];
    void *states[PASSES];
    size_t workspace;
};

/* Chooses and prepares one pass. A variant that cannot be made ready, and was not asked for by name, is set
   aside, and the next one serves. */
static convoy_status prepare_pass(cvy_conv2d *op, cvy_conv2d_pass pass, const char *variant) {
    const cvy_task task = cvy_conv2d_task(&op->shape, pass);
    for (size_t tries = 0; tries < VARIANTS; tries++) {
        const cvy_conv2d_row *row = choose(op->device, &op->shape, pass, variant, &op->origins[pass]);
        size_t workspace = 0;
        if (!row)
            break;
        convoy_status status = row->prepare(op->device, &op->shape, pass, &op->states[pass], &workspace);
        if (status == CONVOY_DEVICE && op->origins[pass] != CVY_FORCED) {
            cvy_choice_set_aside(op->device, &task, "*", row->name, convoy_error_message());
            continue;
        }
        if (status)
            return status;
        op->rows[pass] = row;
        if (workspace > op->workspace)
            op->workspace = workspace;
        return CONVOY_OK;
    }
    return cvy_fail(CONVOY_DEVICE,
                    "conv2d: no variant runs %s of this shape on this device; use another "
                    "device, as --device host, or `convoy tune --forget` to try those again "
                    "that were set aside",
                    task.pass);
}

convoy_status cvy_conv2d_create(convoy_device *device, const cvy_conv2d_shape *shape, unsigned passes,
                                const char *variant, cvy_conv2d **op) {
    cvy_conv2d_shape checked = *shape;
    *op = NULL;
    convoy_status status = cvy_conv2d_infer(&checked);
    if (!status && variant && passes)
        status = check_forced(cvy_device_get_traits(device), &checked, passes, variant);
    if (status)
        return status;
    if (checked.out_height % 2 || checked.out_width % 2)
        checked.pooling.kind = CVY_POOLING_NONE;
    cvy_conv2d *prepared = calloc(1, sizeof *prepared);
    if (!prepared)
        return cvy_fail_memory("a convolution", sizeof *prepared);
    prepared->device = device;
    prepared->shape = checked;
    for (int pass = 0; pass < PASSES && !status; pass++)
        if (passes >> pass & 1)
            status = prepare_pass(prepared, (cvy_conv2d_pass)pass, variant);
    if (status) {
        cvy_conv2d_free(prepared);
        return status;
    }
    *op = prepared;
    return CONVOY_OK;
}

void cvy_conv2d_free(cvy_conv2d *op) {
    if (!op)
        return;
    for (int pass = 0; pass < PASSES; pass++)
        if (op->rows[pass])
            op->rows[pass]->release(op->states[pass]);
    free(op);
}

const char *cvy_conv2d_variant(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return op->rows[pass] ? op->rows[pass]->name : NULL;
}

cvy_origin cvy_conv2d_origin(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    return op->origins[pass];
}

size_t cvy_conv2d_workspace(const cvy_conv2d *op) {
    return op->workspace;
}

cvy_cost cvy_conv2d_cost(const cvy_conv2d *op, cvy_conv2d_pass pass) {
    const double weights = (double)cvy_conv2d_weights(&op->shape);
    const double tensors = (double)cvy_conv2d_inputs(&op->shape) + (double)cvy_conv2d_outputs(&op->shape);
    (void)pass; /* all three move the same tensors and multiply each weight once per output pixel */
    return (cvy_cost){flops_of(&op->shape), 4 * (tensors + weights)};
}

static convoy_status run(cvy_conv2d *op, cvy_conv2d_pass pass, const cvy_conv2d_buffers *buffers) {
    if (!op->rows[pass])
        return cvy_fail(CONVOY_INVALID, "conv2d: %s was not prepared; name it in `passes`",
                        cvy_conv2d_passes[pass]);
    return op->rows[pass]->run(op->states[pass], buffers);
}

convoy_status cvy_conv2d_forward(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *workspace) {
    convoy_status status =
        run(op, CVY_CONV2D_FORWARD,
            &(cvy_conv2d_buffers){.in = x, .weight = weight, .bias = bias, .out = y, .workspace = workspace});
    if (status || op->rows[CVY_CONV2D_FORWARD]->fuses_activation)
        return status;
    return cvy_activation_forward(op->device, op->shape.activation, cvy_conv2d_outputs(&op->shape), y, y);
}

bool cvy_conv2d_pools(const cvy_conv2d *op) {
    const cvy_conv2d_row *row = op->rows[CVY_CONV2D_FORWARD];
    return op->shape.pooling.kind != CVY_POOLING_NONE && row && row->pools &&
           row->pools(op->states[CVY_CONV2D_FORWARD]);
}

convoy_status cvy_conv2d_forward_pooled(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                        cvy_buffer *y, cvy_buffer *pooled, cvy_buffer *indices,
                                        cvy_buffer *workspace) {
    if (!cvy_conv2d_pools(op))
        return cvy_fail(CONVOY_INVALID, "conv2d: this one was not prepared with a pooling behind it");
    return op->rows[CVY_CONV2D_FORWARD]->run_pooled(op->states[CVY_CONV2D_FORWARD],
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
