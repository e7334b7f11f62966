/* Matrix product, row-major float32: C[m][n] = op(A)[m][k] op(B)[k][n] (+ C). */
#ifndef CVY_OPS_GEMM_GEMM_H
#define CVY_OPS_GEMM_GEMM_H

#include "ops/elementwise.h"
#include "ops/variants.h"

typedef struct cvy_gemm_shape {
    bool transpose_a, transpose_b; /* A is stored [k][m], B is stored [n][k] */
    size_t m, n, k;
    size_t lda, ldb, ldc;       /* floats between rows as stored */
    cvy_activation activation;  /* of C when it is complete; then ldc is n, and C begins its buffer */
    cvy_activation gradient_of; /* or: takes C, a gradient, through an activation backward */
} cvy_gemm_shape;

void cvy_gemm_reference(const cvy_gemm_shape *shape, const float *a, const float *b, float *c,
                        bool accumulate);

/* As for conv2d: a shape in words is "nt,4096,128,6400" (transpositions, m, n, k); leading dimensions are no
   part of it and come back as those of dense matrices; nor is the activation. */
extern const cvy_op cvy_gemm_op;

typedef struct cvy_gemm cvy_gemm;
/* `variant`: a name from the table, or NULL to choose: what was measured (choice.h), else vector_cpu for a
   few columns and tile_cpu for more on CPUs; on GPUs mma_nvidia in the precisions of tensor cores, else
   tile_gpu, else clblast. A chosen variant that fails in a run is replaced by the next one there and then, in
   the workspace that was asked for at first; a named one is not. */
convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op);
/* What such an op will need, without building anything; `device` may be NULL, as for conv2d. */
convoy_status cvy_gemm_describe(const cvy_device_traits *traits, convoy_device *device,
                                const cvy_gemm_shape *shape, const char *variant, cvy_needs *needs);
void cvy_gemm_free(cvy_gemm *op);
const char *cvy_gemm_variant(const cvy_gemm *op);
cvy_origin cvy_gemm_origin(const cvy_gemm *op);
size_t cvy_gemm_workspace(const cvy_gemm *op);

typedef struct cvy_gemm_operands {
    cvy_buffer *a, *b, *c;
    cvy_buffer *bias; /* [m], bias[i] is added to row i of C; or NULL */
    cvy_buffer *made; /* where shape.gradient_of says so: the output of that activation, as large as C */
    cvy_buffer *workspace;
    size_t a_offset, b_offset, c_offset; /* floats */
    bool accumulate;
} cvy_gemm_operands;
convoy_status cvy_gemm_run(cvy_gemm *op, const cvy_gemm_operands *operands);

#endif
