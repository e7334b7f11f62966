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
    cvy_conv2d_direct_cpu, cvy_conv2d_winograd1d_cpu, cvy_conv2d_pieces_cpu, cvy_conv2d_columns_cpu,
    cvy_conv2d_winograd_gpu, cvy_conv2d_mma_nvidia, cvy_conv2d_tile_gpu, cvy_conv2d_im2col_gemm;

/* Floats of the tensors, padding columns included. */
size_t cvy_conv2d_weights(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_inputs(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_outputs(const cvy_conv2d_shape *shape);

/* The correlation that forward or backward-data is where the stride is 1: of what is read, to what is
   written, in backward-data with the kernel turned round; with forward's activation and pooling. */
cvy_conv2d_shape cvy_conv2d_correlation(const cvy_job *job);

/* The options that say which convolution it is, as most kernels have them. */
#define CVY_CONV2D_OPTIONS(s)                                                                                \
    {"GROUPS", (s)->groups}, {"IN_C", (s)->in_channels / (s)->groups},                                       \
        {"OUT_C", (s)->out_channels / (s)->groups}, {"IN_H", (s)->in_height}, {"IN_W", (s)->in_width},       \
        {"OUT_H", (s)->out_height}, {"OUT_W", (s)->out_width}, {"KH", (s)->kernel[0]},                       \
        {"KW", (s)->kernel[1]}, {"STRIDE_H", (s)->stride[0]}, {"STRIDE_W", (s)->stride[1]},                  \
        {"PAD_H", (s)->padding[0]}, {"PAD_W", (s)->padding[1]}, {"DIL_H", (s)->dilation[0]}, {               \
        "DIL_W", (s)->dilation[1]                                                                            \
    }

/* A pitch that is no multiple of 16 is for the variants that were made for few images. */
static inline bool cvy_conv2d_has_many_images(const cvy_conv2d_shape *shape) {
    return shape->pitch % 16 == 0;
}

#endif
