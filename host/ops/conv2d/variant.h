/* The inside of the conv2d op: what its variants share. */
#ifndef CVY_OPS_CONV2D_VARIANT_H
#define CVY_OPS_CONV2D_VARIANT_H

#include "ops/conv2d/conv2d.h"

/* What a variant's run is given. in: x (forward, backward-weights), gy (backward-data). out: y, gx, gweight.
 */
typedef struct cvy_conv2d_buffers {
    cvy_buffer *in, *weight, *bias; /* bias: forward only, or NULL */
    cvy_buffer *gy;                 /* backward-weights only */
    cvy_buffer *out, *gbias;        /* gbias: backward-weights only, or NULL */
    cvy_buffer *workspace;
    bool accumulate;
    cvy_buffer *pooled;  /* forward with the pooling behind it; then `out` may be NULL: not wanted. Or NULL */
    cvy_buffer *indices; /* of the pooling, or NULL */
} cvy_conv2d_buffers;

extern const cvy_variant cvy_conv2d_reference, cvy_conv2d_winograd8_cpu, cvy_conv2d_winograd6_cpu,
    cvy_conv2d_direct_cpu, cvy_conv2d_winograd1d_cpu, cvy_conv2d_columns_cpu, cvy_conv2d_winograd_gpu,
    cvy_conv2d_mma_nvidia, cvy_conv2d_tile_gpu, cvy_conv2d_im2col_gemm;

/* Floats of the tensors, padding columns included. */
size_t cvy_conv2d_weights(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_inputs(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_outputs(const cvy_conv2d_shape *shape);

/* A pitch that is no multiple of 16 is for the variants that were made for few images. */
static inline bool cvy_conv2d_has_many_images(const cvy_conv2d_shape *shape) {
    return shape->pitch % 16 == 0;
}

#endif
