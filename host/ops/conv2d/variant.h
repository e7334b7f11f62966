/* What a variant of conv2d provides: one row of the table in conv2d.c. */
#ifndef CVY_OPS_CONV2D_VARIANT_H
#define CVY_OPS_CONV2D_VARIANT_H

#include "ops/conv2d/conv2d.h"

/* in: x (forward, backward-weights), gy (backward-data). out: y, gx, gweight. */
typedef struct cvy_conv2d_buffers {
    cvy_buffer *in, *weight, *bias; /* bias: forward only, or NULL */
    cvy_buffer *gy;                 /* backward-weights only */
    cvy_buffer *out, *gbias;        /* gbias: backward-weights only, or NULL */
    cvy_buffer *workspace;
    bool accumulate;
    cvy_buffer *pooled, *indices; /* run_pooled only, where `out` may be NULL: not wanted; indices too */
} cvy_conv2d_buffers;

typedef struct cvy_conv2d_row {
    const char *name;
    bool (*supports)(const cvy_device_traits *traits, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass);
    /* *state is the prepared pass; *workspace the bytes that its run needs. */
    convoy_status (*prepare)(convoy_device *device, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass,
                             void **state, size_t *workspace);
    convoy_status (*run)(void *state, const cvy_conv2d_buffers *buffers);
    void (*release)(void *state);
    /* Is it the best choice for a shape that it supports? NULL: always. */
    bool (*pays)(const cvy_device_traits *traits, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass);
    bool fuses_activation; /* run applies shape.activation; else conv2d.c does, in place, afterwards */
    /* Forward with the pooling of shape.pooling behind it. NULL, or false: this one cannot. */
    bool (*pools)(const void *state);
    convoy_status (*run_pooled)(void *state, const cvy_conv2d_buffers *buffers);
} cvy_conv2d_row;

extern const cvy_conv2d_row cvy_conv2d_winograd8_cpu, cvy_conv2d_winograd6_cpu, cvy_conv2d_direct_cpu,
    cvy_conv2d_winograd1d_cpu, cvy_conv2d_columns_cpu, cvy_conv2d_winograd_gpu, cvy_conv2d_mma_nvidia,
    cvy_conv2d_tile_gpu, cvy_conv2d_im2col_gemm;

/* Floats of the tensors, padding columns included. */
size_t cvy_conv2d_weights(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_inputs(const cvy_conv2d_shape *shape);
size_t cvy_conv2d_outputs(const cvy_conv2d_shape *shape);

#endif
