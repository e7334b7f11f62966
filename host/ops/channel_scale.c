/* Maps times a learnt value for each: the reference, and kernels/product.cl. Backward sums over pixels as the
   gate of a product does, then over the batch. */
#include "ops/channel_scale.h"

/* ---- Reference ---- */

void cvy_channel_scale_reference(const cvy_product_shape *shape, const float *x, const float *scale,
                                 float *y) {
    const size_t floats = shape->pixels * (size_t)shape->pitch;
    for (size_t c = 0; c < shape->channels; c++)
        for (size_t i = c * floats; i < (c + 1) * floats; i++)
            y[i] = x[i] * scale[c];
}

/* ---- Prepared op ---- */

/* Sums of each channel's lanes stand in front of what their own sum needs. */
static size_t lanes_of(const cvy_product_shape *shape) {
    return shape->channels * (size_t)shape->pitch;
}

size_t cvy_channel_scale_workspace(const cvy_device_traits *traits, const cvy_product_shape *shape) {
    cvy_sum_rows sums = {0};
    cvy_sum_rows_plan(traits, shape->channels, (size_t)shape->pitch, &sums);
    return (lanes_of(shape) + sums.scratch) * sizeof(float);
}

convoy_status cvy_channel_scale_prepare(convoy_device *device, const cvy_product_shape *shape, bool training,
                                        cvy_channel_scale *op) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const size_t pitch = (size_t)shape->pitch;
    convoy_status status = CONVOY_OK;
    *op = (cvy_channel_scale){.shape = *shape};
    if (!traits->host) {
        status = cvy_kernel_get_pitch(device, "product", "scale_channels", pitch, &op->kernel);
        if (status)
            return status;
        op->vectors = shape->pixels * pitch / (size_t)cvy_pitch_width(device, pitch);
        op->blocks = cvy_vector_blocks(device, op->kernel, op->vectors, shape->channels);
    }
    if (!training)
        return CONVOY_OK;
    cvy_sum_rows_plan(traits, shape->channels, pitch, &op->sums);
    status = cvy_product_prepare(device, shape, &op->product);
    return status ? status : cvy_sum_rows_prepare(device, &op->sums);
}

convoy_status cvy_channel_scale_run(const cvy_channel_scale *op, cvy_buffer *x, cvy_buffer *scale,
                                    cvy_buffer *y) {
    if (!op->kernel) {
        cvy_channel_scale_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(scale),
                                    cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(x), cvy_buf(scale), cvy_buf(y),
                      cvy_ulong(op->vectors), cvy_uint(op->blocks.block));
}

convoy_status cvy_channel_scale_backward(const cvy_channel_scale *op, cvy_buffer *gy, cvy_buffer *x,
                                         cvy_buffer *gscale, bool accumulate, cvy_buffer *workspace) {
    convoy_status status = cvy_product_sums(&op->product, gy, x, workspace);
    return status
               ? status
               : cvy_sum_rows_run(&op->sums, workspace, gscale, accumulate, workspace, lanes_of(&op->shape));
}
