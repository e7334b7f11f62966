/* Clipping by the norm: reference, and kernels/clip.cl. The norm never comes to the host. */
#include "ops/clip.h"

#include <math.h>

enum { MOST_BLOCKS = 1024 }; /* whose sums each work-group adds up */

void cvy_clip_reference(double limit, size_t count, float *values) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    const double factor = limit / (sqrt(sum) + 1e-6);
    for (size_t i = 0; factor < 1 && i < count; i++)
        values[i] = (float)(values[i] * factor);
}

convoy_status cvy_clip_prepare(convoy_device *device, double limit, size_t count, cvy_clip *op) {
    *op = (cvy_clip){.count = count, .limit = (float)limit};
    if (limit == 0 || cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    const size_t width = (size_t)cvy_vector_width(device), vectors = (count + width - 1) / width;
    convoy_status status = cvy_kernel_get_simple(device, "clip", "square_blocks", &op->square);
    if (!status)
        status = cvy_kernel_get_simple(device, "clip", "scale_to_norm", &op->scale);
    if (status)
        return status;
    op->square_blocks = cvy_vector_blocks(device, op->square, vectors, 1);
    op->scale_blocks = cvy_vector_blocks(device, op->scale, vectors, 1);
    while (vectors / op->square_blocks.block >= MOST_BLOCKS)
        op->square_blocks.block *= 2;
    op->blocks = (vectors + op->square_blocks.block - 1) / op->square_blocks.block;
    op->square_blocks.grid = cvy_groups(op->square_blocks.grid.local[0], op->blocks, 1, 1);
    return cvy_buffer_create(device, op->blocks * sizeof(float), "the gradients' norm", &op->partials);
}

void cvy_clip_free(cvy_clip *op) {
    cvy_buffer_free(op->partials);
    *op = (cvy_clip){0};
}

convoy_status cvy_clip_run(const cvy_clip *op, cvy_buffer *values) {
    if (op->limit == 0)
        return CONVOY_OK;
    if (!op->square) {
        cvy_clip_reference((double)op->limit, op->count, cvy_buffer_host(values));
        return CONVOY_OK;
    }
    convoy_status status =
        CVY_LAUNCH(op->square, op->square_blocks.grid, cvy_buf(values), cvy_ulong(op->count),
                   cvy_uint(op->square_blocks.block), cvy_buf(op->partials),
                   cvy_local(op->square_blocks.grid.local[0] * sizeof(float)));
    return status ? status
                  : CVY_LAUNCH(op->scale, op->scale_blocks.grid, cvy_buf(values), cvy_ulong(op->count),
                               cvy_uint(op->scale_blocks.block), cvy_buf(op->partials),
                               cvy_uint((uint32_t)op->blocks), cvy_float(op->limit));
}
