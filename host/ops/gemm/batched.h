/* Many matrix products of one shape at once, for GPUs (kernels/gemm/batched.cl): a part of other ops, and of
   the gemm op the variants for GPUs. Everything is counted in floats. */
#ifndef CVY_OPS_GEMM_BATCHED_H
#define CVY_OPS_GEMM_BATCHED_H

#include "ops/elementwise.h"

typedef struct cvy_gemm_batched_shape {
    size_t batch, m, n, k;
    /* Of k in a part, a multiple of 16: ceil(k / depth) products are made for each pair of matrices, C
       [part][batch][m][n], for the caller to add up. */
    size_t depth;
    bool transpose_a, transpose_b; /* stored are A [k][m], else [m][k]; B [n][k], else [k][n] */
    /* Offsets, steps and pitches are any; else multiples of 4, as is k where A or B is stored along it, and
       C's rows are written up to n rounded up to a multiple of 4. */
    bool unaligned;
    bool tensor_cores;         /* in the precision that the device was asked for */
    cvy_activation activation; /* of C */
} cvy_gemm_batched_shape;

typedef struct cvy_gemm_batched {
    cvy_kernel *kernel;
    size_t tile_m, tile_n, items; /* of a work-group */
} cvy_gemm_batched;

/* `batch` matrices in a buffer: where the first one starts, from one to the next, from row to row. */
typedef struct cvy_matrices {
    cvy_buffer *buffer;
    size_t offset, step, pitch;
} cvy_matrices;

bool cvy_gemm_batched_supports(const cvy_device_traits *traits);
/* Chooses the tile for this shape; others with the same flags and activation may be run with it. Owns
   nothing. */
convoy_status cvy_gemm_batched_prepare(convoy_device *device, const cvy_gemm_batched_shape *shape,
                                       cvy_gemm_batched *op);
/* C = activation(C where `accumulate` + A B + bias), for `parts` parts: those behind the end of k have no A
   B. bias [m] may be NULL. */
convoy_status cvy_gemm_batched_run(const cvy_gemm_batched *op, const cvy_gemm_batched_shape *shape,
                                   size_t parts, cvy_matrices a, cvy_matrices b, cvy_matrices c,
                                   cvy_buffer *bias, bool accumulate);

#endif
