/* Matrix product, row-major float32: C[m][n] = op(A)[m][k] op(B)[k][n] (+ C). */
#ifndef CVY_OPS_GEMM_GEMM_H
#define CVY_OPS_GEMM_GEMM_H

#include "ops/choice.h"
#include "ops/elementwise.h"

typedef struct cvy_gemm_shape {
    bool transpose_a, transpose_b; /* A is stored [k][m], B is stored [n][k] */
    size_t m, n, k;
    size_t lda, ldb, ldc;       /* floats between rows as stored */
    cvy_activation activation;  /* of C when it is complete; then ldc is n, and C begins its buffer */
    cvy_activation gradient_of; /* or: takes C through an activation backward (cvy_gemm_run_gradient) */
} cvy_gemm_shape;

void cvy_gemm_reference(const cvy_gemm_shape *shape, const float *a, const float *b, float *c,
                        bool accumulate);

typedef struct cvy_gemm cvy_gemm;
/* `variant`: a name from the table, or NULL to choose: what was measured (choice.h), else vector_cpu for a
   few columns and tile_cpu for more on CPUs; on GPUs mma_nvidia in the precisions of tensor cores, else
   tile_gpu, else clblast. A chosen variant that fails in a run is replaced by the next one there and then, in
   the workspace that was asked for at first; a named one is not. */
convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op);
void cvy_gemm_free(cvy_gemm *op);
const char *cvy_gemm_variant(const cvy_gemm *op);
cvy_origin cvy_gemm_origin(const cvy_gemm *op);
const char *const *cvy_gemm_variants(void);

/* As for conv2d: "nt,4096,128,6400" (transpositions, m, n, k); leading dimensions are no part of it and come
   back as those of dense matrices; nor is the activation. */
void cvy_gemm_shape_write(const cvy_gemm_shape *shape, char text[CVY_SHAPE_TEXT]);
bool cvy_gemm_shape_read(const char *text, cvy_gemm_shape *shape);
cvy_task cvy_gemm_task(const cvy_gemm_shape *shape);
size_t cvy_gemm_candidates(convoy_device *device, const cvy_gemm_shape *shape,
                           cvy_candidate_variant *candidates);
/* What cvy_gemm_create would choose now; "" where nothing runs. */
const char *cvy_gemm_choice(convoy_device *device, const cvy_gemm_shape *shape);

size_t cvy_gemm_workspace(const cvy_gemm *op);
cvy_cost cvy_gemm_cost(const cvy_gemm *op);

/* Parameters of the variant "clblast": one choice for the whole device, kept under the op "clblast" and the
   shape "*". It is found by measuring the products of a network, each of which is a task with each set as a
   variant. */
const char *const *cvy_clblast_sets(void); /* names, NULL-terminated; CLBlast's own parameters first */
cvy_task cvy_clblast_task(const cvy_gemm_shape *product);
/* Uses one set from now on, whatever was measured. CONVOY_INVALID for the first one after another: CLBlast
   does not give back what was overridden, so that takes a new process. */
convoy_status cvy_clblast_use(convoy_device *device, const char *set);
/* The set that this process's products on CLBlast run with. */
const char *cvy_clblast_set(void);

/* Offsets are in floats. */
convoy_status cvy_gemm_run(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                           cvy_buffer *c, size_t c_offset, bool accumulate, cvy_buffer *workspace);
/* The same with bias[i] added to row i of C. bias [m] may be NULL. */
convoy_status cvy_gemm_run_bias(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                                cvy_buffer *bias, cvy_buffer *c, size_t c_offset, bool accumulate,
                                cvy_buffer *workspace);
/* For a shape with `gradient_of`: C, a gradient, becomes that in front of the activation, whose output is
   `made`, as large as C. */
convoy_status cvy_gemm_run_gradient(cvy_gemm *op, cvy_buffer *a, cvy_buffer *b, cvy_buffer *made,
                                    cvy_buffer *c, cvy_buffer *workspace);

#endif
