/* Matrix product, row-major float32: C[m][n] = op(A)[m][k] op(B)[k][n] (+ C). */
#ifndef CVY_OPS_GEMM_H
#define CVY_OPS_GEMM_H

#include "ops/op.h"

typedef struct cvy_gemm_shape {
    bool transpose_a, transpose_b; /* A is stored [k][m], B is stored [n][k] */
    size_t m, n, k;
    size_t lda, ldb, ldc; /* floats between rows as stored */
} cvy_gemm_shape;

void cvy_gemm_reference(const cvy_gemm_shape *shape, const float *a, const float *b, float *c,
                        bool accumulate);

typedef struct cvy_gemm cvy_gemm;
/* `variant`: "clblast", "tile_cpu", or NULL to choose (tile_cpu on CPUs, clblast on GPUs). */
convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op);
void cvy_gemm_free(cvy_gemm *op);
const char *cvy_gemm_variant(const cvy_gemm *op);
const char *const *cvy_gemm_variants(void);
size_t cvy_gemm_workspace(const cvy_gemm *op);
cvy_cost cvy_gemm_cost(const cvy_gemm *op);

/* Offsets are in floats. */
convoy_status cvy_gemm_run(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                           cvy_buffer *c, size_t c_offset, bool accumulate, cvy_buffer *workspace);
/* The same with bias[i] added to row i of C. bias [m] may be NULL. */
convoy_status cvy_gemm_run_bias(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                                cvy_buffer *bias, cvy_buffer *c, size_t c_offset, bool accumulate,
                                cvy_buffer *workspace);

#endif
