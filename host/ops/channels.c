/* Channels in another order, and parts of them: references, and kernels/channels.cl. */
#include "ops/channels.h"

#include <string.h>

static size_t channel_floats(const cvy_channels_shape *shape) {
    return shape->pixels * (size_t)shape->pitch;
}

/* ---- Reference ---- */

static void shuffle(const cvy_channels_shape *shape, size_t groups, const float *x, float *y) {
    const size_t floats = channel_floats(shape), each = shape->channels / groups;
    for (size_t c = 0; c < shape->channels; c++)
        memcpy(y + c * floats, x + (c % groups * each + c / groups) * floats, floats * sizeof *y);
}

void cvy_channel_shuffle_reference(const cvy_channels_shape *shape, const float *x, float *y) {
    shuffle(shape, shape->groups, x, y);
}

void cvy_channel_part_backward_reference(const cvy_channels_shape *shape, const float *gy, float *gx) {
    const size_t floats = channel_floats(shape);
    memset(gx, 0, shape->channels * floats * sizeof *gx);
    memcpy(gx + shape->first * floats, gy, shape->count * floats * sizeof *gx);
}

/* ---- Prepared op ---- */

static convoy_status prepare(convoy_device *device, const char *function, const cvy_channels_shape *shape,
                             cvy_channels *op) {
    const size_t pitch = (size_t)shape->pitch;
    *op = (cvy_channels){.shape = *shape};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    convoy_status status = cvy_kernel_get_pitch(device, "channels", function, pitch, &op->kernel);
    if (status)
        return status;
    op->vectors = channel_floats(shape) / (size_t)cvy_pitch_width(device, pitch);
    op->blocks = cvy_vector_blocks(device, op->kernel, op->vectors, shape->channels);
    return CONVOY_OK;
}

convoy_status cvy_channel_shuffle_prepare(convoy_device *device, const cvy_channels_shape *shape,
                                          cvy_channels *op) {
    return prepare(device, "channel_shuffle", shape, op);
}

convoy_status cvy_channel_shuffle_run(const cvy_channels *op, bool backward, cvy_buffer *x, cvy_buffer *y) {
    const cvy_channels_shape *shape = &op->shape;
    const size_t groups = backward ? shape->channels / shape->groups : shape->groups;
    if (!op->kernel) {
        shuffle(shape, groups, cvy_buffer_host(x), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(x), cvy_buf(y), cvy_ulong(op->vectors),
                      cvy_ulong(groups), cvy_ulong(shape->channels / groups), cvy_uint(op->blocks.block));
}

convoy_status cvy_channel_part_prepare(convoy_device *device, const cvy_channels_shape *shape, bool training,
                                       cvy_channels *op) {
    *op = (cvy_channels){.shape = *shape};
    return training ? prepare(device, "channel_place", shape, op) : CONVOY_OK;
}

convoy_status cvy_channel_part_forward(const cvy_channels *op, cvy_buffer *x, cvy_buffer *y) {
    const size_t bytes = channel_floats(&op->shape) * sizeof(float);
    return cvy_buffer_copy(x, op->shape.first * bytes, y, 0, op->shape.count * bytes);
}

convoy_status cvy_channel_part_backward(const cvy_channels *op, cvy_buffer *gy, cvy_buffer *gx) {
    const cvy_channels_shape *shape = &op->shape;
    if (!op->kernel) {
        cvy_channel_part_backward_reference(shape, cvy_buffer_host(gy), cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(gy), cvy_buf(gx), cvy_ulong(op->vectors),
                      cvy_ulong(shape->first), cvy_ulong(shape->count), cvy_uint(op->blocks.block));
}
