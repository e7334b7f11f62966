/* The inside of the gemm op: what its variants share. Only this folder includes it. */
#ifndef CVY_OPS_GEMM_VARIANT_H
#define CVY_OPS_GEMM_VARIANT_H

#include "ops/gemm/batched.h"
#include "ops/gemm/gemm.h"

/* How tile_cpu cuts C and k into work-items, the variants for GPUs k into parts. */
typedef struct cvy_gemm_cut {
    size_t rows, columns, depth; /* of one work-item */
    size_t row_items, column_items, parts;
} cvy_gemm_cut;

/* m, n and k are not 0 wherever a variant is asked or run. Where a run fails C is as it was, so that another
   variant can take over. A workspace is there, if not always wanted. */
extern const cvy_variant cvy_gemm_reference_variant, cvy_gemm_vector_cpu, cvy_gemm_tile_cpu,
    cvy_gemm_mma_nvidia, cvy_gemm_clblast, cvy_gemm_tile_gpu;

convoy_status cvy_gemm_run_reference(const cvy_gemm_shape *shape, const cvy_gemm_operands *operands);
/* C (+)= the sum of `parts` matrices [m][n] (+ bias); with no parts, C becomes (or gains) the bias or 0.
   `sum`: the simple kernel "gemm_sum". */
convoy_status cvy_gemm_add_parts(cvy_kernel *sum, const cvy_gemm_shape *shape,
                                 const cvy_gemm_operands *operands, cvy_buffer *from, size_t parts);

#endif
