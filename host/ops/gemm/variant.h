/* The inside of the gemm op: a prepared product, its operands, and what a variant is. Only this folder
 * includes it. */
#ifndef CVY_OPS_GEMM_VARIANT_H
#define CVY_OPS_GEMM_VARIANT_H

#include "ops/gemm/batched.h"
#include "ops/gemm/gemm.h"

typedef struct cvy_gemm_operands {
    cvy_buffer *a, *b, *c;
    cvy_buffer *bias;      /* [m] or NULL */
    cvy_buffer *made;      /* where shape.gradient_of says so */
    cvy_buffer *workspace; /* NULL where the op asks for none */
    size_t a_offset, b_offset, c_offset;
    bool accumulate;
} cvy_gemm_operands;

typedef struct cvy_gemm_method {
    const char *name;
    /* Is this what a device of this kind should use? The first match in the table wins. */
    bool (*preferred)(const cvy_device_traits *traits);
    bool (*supports)(const cvy_device_traits *traits, const cvy_gemm_shape *shape);
    /* Builds kernels and fills in `workspace`; m, n and k are not 0. */
    convoy_status (*prepare)(cvy_gemm *op);
    /* Where it fails C is as it was, so that another variant can take over. */
    convoy_status (*run)(cvy_gemm *op, const cvy_gemm_operands *operands);
} cvy_gemm_method;

/* How tile_cpu cuts C and k into work-items, the variants for GPUs k into parts. */
typedef struct cvy_gemm_cut {
    size_t rows, columns, depth; /* of one work-item */
    size_t row_items, column_items, parts;
} cvy_gemm_cut;

struct cvy_gemm {
    convoy_device *device;
    cvy_gemm_shape shape;
    const cvy_gemm_method *variant; /* NULL on the host device */
    cvy_origin origin;
    bool activates;           /* the variant applies activation or gradient_of; else gemm.c does, later */
    size_t workspace;         /* bytes */
    size_t room;              /* bytes that `workspace` should not pass, if the variant has the choice */
    cvy_kernel *sum;          /* gemm/sum.cl; NULL on the host device */
    cvy_kernel *tile;         /* tile_cpu, vector_cpu */
    cvy_kernel *columns;      /* vector_cpu */
    cvy_gemm_batched product; /* tile_gpu, mma_nvidia */
    cvy_gemm_cut cut;
};

extern const cvy_gemm_method cvy_gemm_vector_cpu, cvy_gemm_tile_cpu, cvy_gemm_mma_nvidia, cvy_gemm_clblast,
    cvy_gemm_tile_gpu;

/* C (+)= the sum of `parts` matrices [m][n] (+ bias); with no parts, C becomes (or gains) the bias or 0. */
convoy_status cvy_gemm_add_parts(cvy_gemm *op, const cvy_gemm_operands *operands, cvy_buffer *from,
                                 size_t parts);

#endif
