/* Maps times their gates: the reference, and kernels/product.cl. */
#include "ops/product.h"

/* ---- Reference ---- */

void cvy_product_reference(const cvy_product_shape *shape, const float *x, const float *gate, float *y) {
    const size_t pitch = (size_t)shape->pitch;
    for (size_t c = 0; c < shape->channels; c++)
        for (size_t p = 0; p < shape->pixels; p++)
            for (size_t i = 0; i < pitch; i++) {
                const size_t at = (c * shape->pixels + p) * pitch + i;
                y[at] = x[at] * gate[c * pitch + i];
            }
}

void cvy_product_sums_reference(const cvy_product_shape *shape, const float *gy, const float *x,
                                float *ggate) {
    const size_t pitch = (size_t)shape->pitch;
    for (size_t c = 0; c < shape->channels; c++)
        for (size_t i = 0; i < pitch; i++) {
            double sum = 0;
            for (size_t p = 0; p < shape->pixels; p++) {
                const size_t at = (c * shape->pixels + p) * pitch + i;
                sum += (double)gy[at] * x[at];
            }
            ggate[c * pitch + i] = (float)sum;
        }
}

/* ---- Prepared op ---- */

convoy_status cvy_product_prepare(convoy_device *device, const cvy_product_shape *shape, cvy_product *op) {
    const size_t pitch = (size_t)shape->pitch;
    *op = (cvy_product){.shape = *shape, .host = cvy_device_get_traits(device)->host};
    if (op->host)
        return CONVOY_OK;
    if (shape->pixels == 1)
        return cvy_elementwise_prepare(device, CVY_MULTIPLY, CVY_IDENTITY, shape->channels * pitch,
                                       &op->plain);
    op->vectors = shape->pitch / cvy_pitch_width(device, pitch);
    convoy_status status = cvy_kernel_get_pitch(device, "product", "scale", pitch, &op->scale);
    if (!status)
        status = cvy_kernel_get_pitch(device, "product", "scale_sums", pitch, &op->sums);
    if (status)
        return status;
    const size_t vectors = (size_t)op->vectors;
    op->scale_blocks = cvy_vector_blocks(device, op->scale, shape->pixels * vectors, shape->channels);
    op->sums_grid = cvy_groups(cvy_group_size(device, op->sums, vectors), 1, shape->channels, 1);
    return CONVOY_OK;
}

convoy_status cvy_product_run(const cvy_product *op, cvy_buffer *x, cvy_buffer *gate, cvy_buffer *y) {
    const cvy_product_shape *shape = &op->shape;
    if (op->host) {
        cvy_product_reference(shape, cvy_buffer_host(x), cvy_buffer_host(gate), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    if (!op->scale)
        return cvy_elementwise_run(&op->plain, x, gate, y);
    return CVY_LAUNCH(op->scale, op->scale_blocks.grid, cvy_buf(x), cvy_buf(gate), cvy_buf(y),
                      cvy_ulong(shape->pixels * (size_t)op->vectors), cvy_uint((uint32_t)op->vectors),
                      cvy_uint(op->scale_blocks.block));
}

convoy_status cvy_product_sums(const cvy_product *op, cvy_buffer *gy, cvy_buffer *x, cvy_buffer *ggate) {
    const cvy_product_shape *shape = &op->shape;
    if (op->host) {
        cvy_product_sums_reference(shape, cvy_buffer_host(gy), cvy_buffer_host(x), cvy_buffer_host(ggate));
        return CONVOY_OK;
    }
    if (!op->sums)
        return cvy_elementwise_run(&op->plain, gy, x, ggate);
    return CVY_LAUNCH(op->sums, op->sums_grid, cvy_buf(gy), cvy_buf(x), cvy_buf(ggate),
                      cvy_ulong(shape->pixels), cvy_uint((uint32_t)op->vectors));
}
