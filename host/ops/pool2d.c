/* Maximum, average and adaptive average pooling: checks, references, and kernels/pool2d.cl. */
#include "ops/pool2d.h"

#include <math.h>
#include <string.h>

#include "base/integer.h"
#include "ops/vector.h"

/* ---- Checks ---- */

static const char *const axis_names[] = {"height", "width"};

static convoy_status infer_axis(const cvy_pool2d_shape *shape, int axis, int in, int *out) {
    int kernel = shape->kernel[axis], stride = shape->stride[axis], padding = shape->padding[axis];
    int dilation = shape->kind == CVY_POOL_MAX ? shape->dilation[axis] : 1;
    if (kernel < 1 || stride < 1 || dilation < 1 || padding < 0)
        return cvy_fail(
            CONVOY_INVALID,
            "pooling along the %s with kernel_size %d, stride %d, dilation %d, padding %d: the first three "
            "must be at least 1, the padding at least 0",
            axis_names[axis], kernel, stride, dilation, padding);
    if (padding > kernel / 2)
        return cvy_fail(CONVOY_INVALID,
                        "pooling padding %d along the %s is over half the kernel_size %d: use at most %d",
                        padding, axis_names[axis], kernel, kernel / 2);
    long long span = (long long)dilation * (kernel - 1) + 1;
    if (span > in + 2LL * padding)
        return cvy_fail(
            CONVOY_INVALID,
            "a pooling window of %lld does not fit an input of %s %d with padding %d: use a smaller "
            "kernel_size or dilation",
            span, axis_names[axis], in, padding);
    const long long room = in + 2LL * padding - span;
    *out = (int)(room / stride) + 1;
    if (shape->ceil_mode && room % stride && (long long)*out * stride < in + (long long)padding)
        ++*out;
    return CONVOY_OK;
}

convoy_status cvy_pool2d_infer(cvy_pool2d_shape *shape) {
    if (shape->channels < 1 || shape->in_height < 1 || shape->in_width < 1)
        return cvy_fail(CONVOY_INVALID, "pooling needs an input of at least 1x1x1, not %dx%dx%d",
                        shape->channels, shape->in_height, shape->in_width);
    if (shape->kind == CVY_POOL_ADAPTIVE_AVERAGE) {
        if (shape->out_height < 1 || shape->out_width < 1)
            return cvy_fail(CONVOY_INVALID, "adaptive pooling to an output_size of %dx%d: use at least 1x1",
                            shape->out_height, shape->out_width);
        return CONVOY_OK;
    }
    convoy_status status = infer_axis(shape, 0, shape->in_height, &shape->out_height);
    if (!status)
        status = infer_axis(shape, 1, shape->in_width, &shape->out_width);
    if (!status && shape->kind == CVY_POOL_MAX && shape->kernel[0] * (long long)shape->kernel[1] > 256)
        return cvy_fail(CONVOY_INVALID,
                        "max pooling with a %dx%d kernel: windows of over 256 positions are not supported",
                        shape->kernel[0], shape->kernel[1]);
    if (!status && shape->relu && !cvy_pool2d_takes_relu(shape))
        return cvy_fail(CONVOY_INVALID, "pooling takes a ReLU only with maxima of under 256 positions");
    return status;
}

bool cvy_pool2d_takes_relu(const cvy_pool2d_shape *shape) {
    return shape->kind == CVY_POOL_MAX && shape->kernel[0] * shape->kernel[1] < 256;
}

cvy_pooling cvy_pool2d_pooling(const cvy_pool2d_shape *shape) {
    cvy_pooling pooling = {CVY_POOLING_NONE, shape->relu};
    for (int axis = 0; axis < 2; axis++)
        if (shape->kind == CVY_POOL_ADAPTIVE_AVERAGE || shape->kernel[axis] != 2 ||
            shape->stride[axis] != 2 || shape->padding[axis] ||
            (shape->kind == CVY_POOL_MAX && shape->dilation[axis] != 1))
            return pooling;
    if (shape->in_height % 2 == 0 && shape->in_width % 2 == 0)
        pooling.kind = shape->kind == CVY_POOL_MAX ? CVY_POOLING_MAXIMUM : CVY_POOLING_MEAN;
    return pooling;
}

/* ---- Reference ---- */

void cvy_adaptive_window(int i, int in, int out, int *first, int *last) {
    *first = (int)((long long)i * in / out);
    *last = (int)(((long long)(i + 1) * in + out - 1) / out);
}

/* Rows (axis 0) or columns (axis 1) first..last-1 of output i's window, where padding counts. */
static void window(const cvy_pool2d_shape *shape, int axis, int i, int *first, int *last) {
    int in = axis ? shape->in_width : shape->in_height, out = axis ? shape->out_width : shape->out_height;
    if (shape->kind == CVY_POOL_ADAPTIVE_AVERAGE) {
        cvy_adaptive_window(i, in, out, first, last);
        return;
    }
    *first = i * shape->stride[axis] - shape->padding[axis];
    *last = min_int(*first + shape->kernel[axis], in + shape->padding[axis]);
    if (shape->exclude_padding) {
        *first = max_int(*first, 0);
        *last = min_int(*last, in);
    }
}

static size_t in_at(const cvy_pool2d_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->in_height, shape->in_width, shape->pitch);
}

static size_t out_at(const cvy_pool2d_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->out_height, shape->out_width, shape->pitch);
}

static float average_window(const cvy_pool2d_shape *shape, const float *x, int channel, int row, int column) {
    int top, bottom, left, right;
    window(shape, 0, row, &top, &bottom);
    window(shape, 1, column, &left, &right);
    double sum = 0;
    for (int r = top < 0 ? 0 : top; r < bottom && r < shape->in_height; r++)
        for (int c = left < 0 ? 0 : left; c < right && c < shape->in_width; c++)
            sum += x[in_at(shape, channel, r, c)];
    return (float)(sum / ((double)(bottom - top) * (right - left)));
}

/* x starts at the image. Returns the winner's position in the window, row-major; -1 where nobody won. */
static int max_window(const cvy_pool2d_shape *shape, const float *x, int channel, int row, int column,
                      float *value) {
    int winner = -1;
    *value = -INFINITY;
    for (int r = 0; r < shape->kernel[0]; r++)
        for (int c = 0; c < shape->kernel[1]; c++) {
            int in_row = row * shape->stride[0] - shape->padding[0] + r * shape->dilation[0];
            int in_column = column * shape->stride[1] - shape->padding[1] + c * shape->dilation[1];
            if (in_row < 0 || in_row >= shape->in_height || in_column < 0 || in_column >= shape->in_width)
                continue;
            float candidate = x[in_at(shape, channel, in_row, in_column)];
            if (winner < 0 || candidate > *value || isnan(candidate)) {
                *value = candidate;
                winner = r * shape->kernel[1] + c;
            }
        }
    if (shape->relu && *value <= 0) {
        *value = 0;
        winner = -1;
    }
    return winner;
}

void cvy_pool2d_forward_reference(const cvy_pool2d_shape *shape, const float *x, float *y, uint8_t *indices) {
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = 0; row < shape->out_height; row++)
            for (int column = 0; column < shape->out_width; column++)
                for (int i = 0; i < shape->pitch; i++) {
                    size_t at = out_at(shape, channel, row, column) + (size_t)i;
                    if (shape->kind != CVY_POOL_MAX) {
                        y[at] = average_window(shape, x + i, channel, row, column);
                        continue;
                    }
                    int winner = max_window(shape, x + i, channel, row, column, &y[at]);
                    if (indices)
                        indices[at] = (uint8_t)winner;
                }
}

/* Adds one output's gradient to the inputs of its window. */
static void spread(const cvy_pool2d_shape *shape, float g, const uint8_t *winner, int channel, int row,
                   int column, float *gx) {
    if (winner) {
        int r = row * shape->stride[0] - shape->padding[0] + *winner / shape->kernel[1] * shape->dilation[0];
        int c =
            column * shape->stride[1] - shape->padding[1] + *winner % shape->kernel[1] * shape->dilation[1];
        bool won = *winner < shape->kernel[0] * shape->kernel[1];
        if (won && r >= 0 && r < shape->in_height && c >= 0 && c < shape->in_width)
            gx[in_at(shape, channel, r, c)] += g;
        return;
    }
    int top, bottom, left, right;
    window(shape, 0, row, &top, &bottom);
    window(shape, 1, column, &left, &right);
    float share = (float)(g / ((double)(bottom - top) * (right - left)));
    for (int r = top < 0 ? 0 : top; r < bottom && r < shape->in_height; r++)
        for (int c = left < 0 ? 0 : left; c < right && c < shape->in_width; c++)
            gx[in_at(shape, channel, r, c)] += share;
}

void cvy_pool2d_backward_reference(const cvy_pool2d_shape *shape, const float *gy, const uint8_t *indices,
                                   float *gx) {
    memset(gx, 0, in_at(shape, shape->channels, 0, 0) * sizeof(float));
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = 0; row < shape->out_height; row++)
            for (int column = 0; column < shape->out_width; column++)
                for (int i = 0; i < shape->pitch; i++) {
                    size_t at = out_at(shape, channel, row, column) + (size_t)i;
                    const uint8_t *winner = shape->kind == CVY_POOL_MAX ? &indices[at] : NULL;
                    spread(shape, gy[at], winner, channel, row, column, gx + i);
                }
}

/* ---- Prepared op ---- */

/* The adaptive kind does not use kernel, stride and the rest: they become 1, 1, 0, 1 so that nothing divides
 * by 0. */
static void neutral_window(cvy_pool2d_shape *shape) {
    for (int axis = 0; axis < 2; axis++) {
        if (shape->kind == CVY_POOL_ADAPTIVE_AVERAGE) {
            shape->kernel[axis] = shape->stride[axis] = 1;
            shape->padding[axis] = 0;
        }
        if (shape->kind != CVY_POOL_MAX)
            shape->dilation[axis] = 1;
    }
}

/* Do all windows have the same number of pixels to share a gradient with? */
static bool equal_shares(const cvy_pool2d_shape *s) {
    if (s->exclude_padding && (s->padding[0] || s->padding[1]))
        return false;
    return (s->out_height - 1) * s->stride[0] + s->kernel[0] <= s->in_height + 2 * s->padding[0] &&
           (s->out_width - 1) * s->stride[1] + s->kernel[1] <= s->in_width + 2 * s->padding[1];
}

convoy_status cvy_pool2d_prepare(convoy_device *device, const cvy_pool2d_shape *shape, cvy_pool2d *op) {
    const cvy_pool2d_shape *s = &op->shape;
    const bool max = shape->kind == CVY_POOL_MAX;
    *op = (cvy_pool2d){.shape = *shape};
    convoy_status status = cvy_pool2d_infer(&op->shape);
    if (status)
        return status;
    neutral_window(&op->shape);
    status = cvy_elementwise_prepare(device, CVY_ACTIVATE_BACKWARD, s->input_activation,
                                     in_at(s, s->channels, 0, 0), &op->slope);
    if (status || cvy_device_get_traits(device)->host)
        return status;
    op->vectors = s->pitch / cvy_pitch_width(device, (size_t)s->pitch);
    op->cells = s->kind != CVY_POOL_ADAPTIVE_AVERAGE && s->kernel[0] <= s->stride[0] &&
                s->kernel[1] <= s->stride[1] && s->dilation[0] == 1 && s->dilation[1] == 1 &&
                (max || equal_shares(s));
    const char *backward = op->cells ? "cells_backward" : max ? "max_backward" : "average_backward";
    const int rows =
        op->cells ? (s->in_height + s->padding[0] + s->stride[0] - 1) / s->stride[0] : s->in_height;
    status = cvy_launcher_prepare(device, "pool2d", max ? "max_forward" : "average_forward", s->pitch,
                                  s->out_width, s->out_height, s->channels, &op->forward);
    return status ? status
                  : cvy_launcher_prepare(device, "pool2d", backward, s->pitch,
                                         op->cells ? s->out_width : s->in_width, rows, s->channels,
                                         &op->backward);
}

const char *cvy_pool2d_variant(const cvy_pool2d *op) {
    return !op->forward.kernel ? "reference" : op->cells ? "cells" : "windows";
}

size_t cvy_pool2d_indices_bytes(const cvy_pool2d *op) {
    return op->shape.kind == CVY_POOL_MAX ? out_at(&op->shape, op->shape.channels, 0, 0) : 0;
}

cvy_cost cvy_pool2d_cost(const cvy_pool2d *op) {
    double in = (double)in_at(&op->shape, op->shape.channels, 0, 0);
    double out = (double)out_at(&op->shape, op->shape.channels, 0, 0);
    double window_size = op->shape.kind == CVY_POOL_ADAPTIVE_AVERAGE
                             ? in / out
                             : (double)op->shape.kernel[0] * op->shape.kernel[1];
    return (cvy_cost){out * window_size, 4 * (in + out) + (double)cvy_pool2d_indices_bytes(op)};
}

/* What a window of an average is, as kernels/pool2d.cl has it. */
static int window_kind(const cvy_pool2d_shape *shape) {
    return shape->kind == CVY_POOL_ADAPTIVE_AVERAGE ? 1 : shape->exclude_padding ? 2 : 0;
}

/* In the order of SHAPE in kernels/pool2d.cl. */
#define SHAPE(op)                                                                                            \
    cvy_int((op)->vectors), cvy_int((op)->shape.in_height), cvy_int((op)->shape.in_width),                   \
        cvy_int((op)->shape.out_height), cvy_int((op)->shape.out_width), cvy_int((op)->shape.kernel[0]),     \
        cvy_int((op)->shape.kernel[1]), cvy_int((op)->shape.stride[0]), cvy_int((op)->shape.stride[1]),      \
        cvy_int((op)->shape.padding[0]), cvy_int((op)->shape.padding[1]), cvy_int((op)->shape.dilation[0]),  \
        cvy_int((op)->shape.dilation[1])

convoy_status cvy_pool2d_forward(const cvy_pool2d *op, cvy_buffer *x, cvy_buffer *y, cvy_buffer *indices) {
    const cvy_pool2d_shape *shape = &op->shape;
    const cvy_launcher *launch = &op->forward;
    if (!launch->kernel) {
        cvy_pool2d_forward_reference(shape, cvy_buffer_host(x), cvy_buffer_host(y), cvy_buffer_host(indices));
        return CONVOY_OK;
    }
    if (shape->kind == CVY_POOL_MAX)
        return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(x), cvy_buf(y), cvy_buf(indices),
                          cvy_int(shape->relu), SHAPE(op));
    return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(x), cvy_buf(y), cvy_int(window_kind(shape)),
                      SHAPE(op));
}

static convoy_status launch_backward(const cvy_pool2d *op, cvy_buffer *gy, cvy_buffer *indices, cvy_buffer *x,
                                     cvy_buffer *gx) {
    const cvy_pool2d_shape *shape = &op->shape;
    const cvy_launcher *launch = &op->backward;
    if (op->cells)
        return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(gy), cvy_buf(indices),
                          cvy_buf(shape->input_activation ? x : NULL), cvy_int((int)shape->input_activation),
                          cvy_buf(gx), SHAPE(op));
    if (shape->kind == CVY_POOL_MAX)
        return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(gy), cvy_buf(indices), cvy_buf(gx),
                          SHAPE(op));
    return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(gy), cvy_buf(gx), cvy_int(window_kind(shape)),
                      SHAPE(op));
}

convoy_status cvy_pool2d_backward(const cvy_pool2d *op, cvy_buffer *gy, cvy_buffer *indices, cvy_buffer *x,
                                  cvy_buffer *gx) {
    convoy_status status = CONVOY_OK;
    indices = op->shape.kind == CVY_POOL_MAX ? indices : NULL;
    if (op->backward.kernel)
        status = launch_backward(op, gy, indices, x, gx);
    else
        cvy_pool2d_backward_reference(&op->shape, cvy_buffer_host(gy), cvy_buffer_host(indices),
                                      cvy_buffer_host(gx));
    return status || op->cells || !op->shape.input_activation ? status
                                                              : cvy_elementwise_run(&op->slope, x, gx, gx);
}
