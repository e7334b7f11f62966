/* Bilinear resize: references, and kernels/resize.cl. */
#include "ops/resize.h"

#include <string.h>

#include "ops/vector.h"

/* ---- Checks ---- */

/* Positions are computed as (2 o + 1) * in in 32-bit integers. */
static convoy_status check(const cvy_resize_shape *shape) {
    const int limit = 16384;
    if (shape->channels >= 1 && shape->in_height >= 1 && shape->in_width >= 1 && shape->out_height >= 1 &&
        shape->out_width >= 1 && shape->in_height <= limit && shape->in_width <= limit &&
        shape->out_height <= limit && shape->out_width <= limit)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "resize of %d channels from %dx%d to %dx%d: sizes must be 1 to %d",
                    shape->channels, shape->in_height, shape->in_width, shape->out_height, shape->out_width,
                    limit);
}

/* ---- Reference ---- */

/* Output o reads the input at (o + 0.5) * in / out - 0.5: pixels [0] and [1] count weight[0] and [1]; at the
   last pixel there is no next one. */
static void source(int o, int in, int out, int pixel[2], double weight[2]) {
    double at = (o + 0.5) * in / out - 0.5;
    at = at < 0 ? 0 : at;
    pixel[0] = (int)at < in - 1 ? (int)at : in - 1;
    weight[1] = at - pixel[0];
    weight[0] = 1 - weight[1];
    pixel[1] = pixel[0] + 1 < in ? pixel[0] + 1 : pixel[0];
}

static size_t in_at(const cvy_resize_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->in_height, shape->in_width, shape->pitch);
}

static size_t out_at(const cvy_resize_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->out_height, shape->out_width, shape->pitch);
}

void cvy_resize_forward_reference(const cvy_resize_shape *shape, const float *x, float *y) {
    int rows[2], columns[2];
    double down[2], right[2];
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = 0; row < shape->out_height; row++)
            for (int column = 0; column < shape->out_width; column++) {
                source(row, shape->in_height, shape->out_height, rows, down);
                source(column, shape->in_width, shape->out_width, columns, right);
                for (int i = 0; i < shape->pitch; i++) {
                    double sum = 0;
                    for (int r = 0; r < 2; r++)
                        for (int c = 0; c < 2; c++)
                            sum += down[r] * right[c] *
                                   x[in_at(shape, channel, rows[r], columns[c]) + (size_t)i];
                    y[out_at(shape, channel, row, column) + (size_t)i] = (float)sum;
                }
            }
}

void cvy_resize_backward_reference(const cvy_resize_shape *shape, const float *gy, float *gx) {
    int rows[2], columns[2];
    double down[2], right[2];
    memset(gx, 0, in_at(shape, shape->channels, 0, 0) * sizeof(float));
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = 0; row < shape->out_height; row++)
            for (int column = 0; column < shape->out_width; column++) {
                source(row, shape->in_height, shape->out_height, rows, down);
                source(column, shape->in_width, shape->out_width, columns, right);
                for (int i = 0; i < shape->pitch; i++)
                    for (int r = 0; r < 2; r++)
                        for (int c = 0; c < 2; c++)
                            gx[in_at(shape, channel, rows[r], columns[c]) + (size_t)i] +=
                                (float)(down[r] * right[c] *
                                        gy[out_at(shape, channel, row, column) + (size_t)i]);
            }
}

/* ---- Prepared op ---- */

convoy_status cvy_resize_prepare(convoy_device *device, const cvy_resize_shape *shape, cvy_resize *op) {
    static const char *const file = "resize";
    convoy_status status = check(shape);
    *op = (cvy_resize){.shape = *shape};
    if (status || cvy_device_get_traits(device)->host)
        return status;
    op->vectors = shape->pitch / cvy_pitch_width(device, (size_t)shape->pitch);
    status = cvy_launcher_prepare(device, file, "resize_forward", shape->pitch, shape->out_width,
                                  shape->out_height, shape->channels, &op->forward);
    return status ? status
                  : cvy_launcher_prepare(device, file, "resize_backward", shape->pitch, shape->in_width,
                                         shape->in_height, shape->channels, &op->backward);
}

static convoy_status run(const cvy_resize *op, const cvy_launcher *launch, cvy_buffer *from, cvy_buffer *to) {
    const cvy_resize_shape *shape = &op->shape;
    return CVY_LAUNCH(launch->kernel, launch->grid, cvy_buf(from), cvy_buf(to), cvy_int(op->vectors),
                      cvy_int(shape->in_height), cvy_int(shape->in_width), cvy_int(shape->out_height),
                      cvy_int(shape->out_width));
}

convoy_status cvy_resize_forward(const cvy_resize *op, cvy_buffer *x, cvy_buffer *y) {
    if (op->forward.kernel)
        return run(op, &op->forward, x, y);
    cvy_resize_forward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(y));
    return CONVOY_OK;
}

convoy_status cvy_resize_backward(const cvy_resize *op, cvy_buffer *gy, cvy_buffer *gx) {
    if (op->backward.kernel)
        return run(op, &op->backward, gy, gx);
    cvy_resize_backward_reference(&op->shape, cvy_buffer_host(gy), cvy_buffer_host(gx));
    return CONVOY_OK;
}
