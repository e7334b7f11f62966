/* The gemm variant "vector_cpu": kernels/gemm/vector_cpu.cl, for products with up to eight columns, as the
   Linear layers of a few images are. Such a product reads A once, at the speed of memory. */
#include "base/integer.h"
#include "ops/gemm/variant.h"

enum {
    COLUMNS_MOST = 8,
    ITEMS_PER_UNIT = 4,         /* that even out the load */
    PRODUCTS_PER_ITEM = 1 << 15 /* at least, to be worth a launch */
};

static bool supports(const cvy_job *job) {
    const cvy_gemm_shape *s = job->shape;
    const bool alone = s->n > 1 || s->ldb == 1; /* a single column must be contiguous: it is not copied */
    return job->traits->cpu && !s->transpose_a && !s->transpose_b && s->n <= COLUMNS_MOST && alone;
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

typedef struct state {
    cvy_gemm_shape shape;
    size_t rows_share, columns_share; /* of a work-item */
    cvy_kernel *vector, *columns;     /* columns: NULL where there is a single one */
} state;

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *p = prepared;
    const cvy_gemm_shape *s = job->shape;
    p->shape = *s;
    p->columns_share = share_of(s->k, s->k * s->n, job->traits, 1);
    p->rows_share = share_of(s->m, s->m * s->k * s->n, job->traits, rows_at_a_time(s->n));
    if (s->n > 1)
        needs->workspace = s->n * s->k * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    return cvy_kernels_build(
        job->device, "gemm/vector_cpu",
        CVY_OPTIONS({"VW", cvy_vector_width(job->device)}, {"N", (int)s->n},
                    {"ROWS", (int)rows_at_a_time(s->n)}),
        CVY_KERNELS({"gemm_vector", &p->vector}, {s->n > 1 ? "gemm_vector_columns" : NULL, &p->columns}));
}

static convoy_status run(void *prepared, const void *given) {
    const state *p = prepared;
    const cvy_gemm_operands *operands = given;
    const cvy_gemm_shape *s = &p->shape;
    cvy_buffer *columns = p->columns ? operands->workspace : operands->b;
    convoy_status status = CONVOY_OK;
    if (p->columns)
        status = CVY_LAUNCH(p->columns, cvy_singles(ceil_div_size(s->k, p->columns_share), 1, 1),
                            cvy_buf(operands->b), cvy_ulong(operands->b_offset), cvy_ulong(s->ldb),
                            cvy_buf(columns), cvy_ulong(s->k), cvy_ulong(p->columns_share));
    return status ? status
                  : CVY_LAUNCH(p->vector, cvy_singles(ceil_div_size(s->m, p->rows_share), 1, 1),
                               cvy_buf(operands->a), cvy_ulong(operands->a_offset), cvy_ulong(s->lda),
                               cvy_buf(columns), cvy_ulong(p->columns ? 0 : operands->b_offset),
                               cvy_buf(operands->c), cvy_ulong(operands->c_offset), cvy_ulong(s->ldc),
                               cvy_buf(operands->bias), cvy_ulong(s->m), cvy_ulong(s->k),
                               cvy_ulong(p->rows_share), cvy_int(operands->accumulate));
}

const cvy_variant cvy_gemm_vector_cpu = {.name = "vector_cpu",
                                         .made_for = CVY_FOR_CPUS,
                                         .supports = supports,
                                         .state_size = sizeof(state),
                                         .prepare = prepare,
                                         .run = run};
