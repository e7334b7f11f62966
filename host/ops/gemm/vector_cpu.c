/* The gemm variant "vector_cpu": kernels/gemm/vector_cpu.cl, for products with up to eight columns, as the
   Linear layers of a few images are. Such a product reads A once, at the speed of memory. */
#include <stdio.h>

#include "ops/gemm/variant.h"

enum {
    COLUMNS_MOST = 8,
    ITEMS_PER_UNIT = 4,         /* that even out the load */
    PRODUCTS_PER_ITEM = 1 << 15 /* at least, to be worth a launch */
};

static bool is_cpu(const cvy_device_traits *traits) {
    return traits->cpu;
}

static bool supports(const cvy_device_traits *traits, const cvy_gemm_shape *s) {
    const bool alone = s->n > 1 || s->ldb == 1; /* a single column must be contiguous: it is not copied */
    return traits->cpu && !s->transpose_a && !s->transpose_b && s->n <= COLUMNS_MOST && alone;
}

/* The sums of a step fill half of the vector registers or less. */
static size_t rows_at_a_time(size_t columns) {
    return columns <= 2 ? 4 : columns <= 4 ? 2 : 1;
}

static size_t share_of(size_t count, size_t products, const cvy_device_traits *traits, size_t multiple) {
    size_t items = (size_t)(traits->compute_units > 0 ? traits->compute_units : 1) * ITEMS_PER_UNIT;
    const size_t worth = 1 + products / PRODUCTS_PER_ITEM;
    items = items < worth ? items : worth;
    return ((count + items - 1) / items + multiple - 1) / multiple * multiple;
}

static convoy_status prepare(cvy_gemm *op) {
    const cvy_gemm_shape *s = &op->shape;
    const int width = cvy_vector_width(op->device);
    char options[64];
    snprintf(options, sizeof options, "-DVW=%d -DN=%zu -DROWS=%zu", width, s->n, rows_at_a_time(s->n));
    if (s->n > 1)
        op->workspace = s->n * s->k * sizeof(float);
    convoy_status status = cvy_kernel_get(op->device, "gemm/vector_cpu", "gemm_vector", options, &op->tile);
    if (!status && s->n > 1)
        status = cvy_kernel_get(op->device, "gemm/vector_cpu", "gemm_vector_columns", options, &op->columns);
    return status;
}

static convoy_status run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    const cvy_gemm_shape *s = &op->shape;
    const cvy_device_traits *traits = cvy_device_get_traits(op->device);
    cvy_buffer *columns = s->n > 1 ? operands->workspace : operands->b;
    convoy_status status = CONVOY_OK;
    if (s->n > 1) {
        const size_t share = share_of(s->k, s->k * s->n, traits, 1);
        status = CVY_LAUNCH(op->columns, cvy_singles((s->k + share - 1) / share, 1, 1), cvy_buf(operands->b),
                            cvy_ulong(operands->b_offset), cvy_ulong(s->ldb), cvy_buf(columns),
                            cvy_ulong(s->k), cvy_ulong(share));
    }
    const size_t share = share_of(s->m, s->m * s->k * s->n, traits, rows_at_a_time(s->n));
    if (!status)
        status =
            CVY_LAUNCH(op->tile, cvy_singles((s->m + share - 1) / share, 1, 1), cvy_buf(operands->a),
                       cvy_ulong(operands->a_offset), cvy_ulong(s->lda), cvy_buf(columns),
                       cvy_ulong(s->n > 1 ? 0 : operands->b_offset), cvy_buf(operands->c),
                       cvy_ulong(operands->c_offset), cvy_ulong(s->ldc), cvy_buf(operands->bias),
                       cvy_ulong(s->m), cvy_ulong(s->k), cvy_ulong(share), cvy_int(operands->accumulate));
    return status;
}

const cvy_gemm_method cvy_gemm_vector_cpu = {"vector_cpu", is_cpu, supports, prepare, run};
