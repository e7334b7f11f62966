/* The gemm variants "tile_gpu" and, where the device was asked for TF32 or BF16, "mma_nvidia" on tensor
   cores: one product of kernels/gemm/batched.cl, its k cut into parts where C has too few tiles to fill the
   device. */
#include "base/integer.h"
#include "ops/gemm/variant.h"
#include "ops/mma.h"

enum {
    TILE = 128,            /* edge of the largest tile */
    GROUPS_PER_UNIT = 2,   /* one waits while the other works */
    LEAST_DEPTH = 64,      /* of a part, so that it is worth its memory */
    PARTS_LIMIT = 64 << 20 /* bytes of all parts */
};

/* The kernel counts in 32 bits: rows, columns and k, and floats within one tile. */
static bool supports(const cvy_job *job) {
    const cvy_gemm_shape *s = job->shape;
    const size_t most = INT32_MAX / TILE;
    return cvy_gemm_batched_supports(job->traits) && s->m <= INT32_MAX && s->n <= INT32_MAX &&
           s->k <= INT32_MAX && s->lda <= most && s->ldb <= most && s->ldc <= UINT32_MAX;
}

static bool mma_supports(const cvy_job *job) {
    return cvy_mma_runs(job->traits) && supports(job);
}

/* Can the kernel read and write four floats at a time? */
static bool is_aligned(const cvy_gemm_shape *s, size_t offsets) {
    const size_t along_k = s->transpose_a && !s->transpose_b ? 0 : s->k;
    const size_t along_m = s->transpose_a ? s->m : 0;
    return (s->lda | s->ldb | s->ldc | s->n | along_k | along_m | offsets) % 4 == 0;
}

typedef struct state {
    convoy_device *device;
    cvy_gemm_shape shape;
    size_t depth, parts; /* that k is cut into; floats of a part */
    bool tensor_cores, activates;
    cvy_gemm_batched product;
    cvy_kernel *sum;
} state;

static cvy_gemm_batched_shape product_of(const state *p, size_t offsets) {
    const cvy_gemm_shape *s = &p->shape;
    return (cvy_gemm_batched_shape){.batch = 1,
                                    .m = s->m,
                                    .n = s->n,
                                    .k = s->k,
                                    .depth = p->depth,
                                    .transpose_a = s->transpose_a,
                                    .transpose_b = s->transpose_b,
                                    .unaligned = !is_aligned(s, offsets),
                                    .tensor_cores = p->tensor_cores,
                                    .activation = p->activates ? s->activation : CVY_IDENTITY};
}

/* The parts are a function of the shape, the device and the room alone, and so is the order of the sums. */
static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *p = prepared;
    const cvy_gemm_shape *s = job->shape;
    const size_t wanted = (size_t)job->traits->compute_units * GROUPS_PER_UNIT;
    const size_t tiles = ceil_div_size(s->m, TILE) * ceil_div_size(s->n, TILE);
    const size_t most =
        min_size(s->k / LEAST_DEPTH, min_size(PARTS_LIMIT, job->room) / sizeof(float) / s->n / s->m);
    const size_t parts = max_size(1, min_size(wanted / tiles, most));
    p->device = job->device;
    p->shape = *s;
    p->depth = round_up(ceil_div_size(s->k, parts), 16);
    p->parts = ceil_div_size(s->k, p->depth);
    p->activates = needs->fuses = s->activation && p->parts == 1;
    if (p->parts > 1)
        needs->workspace = p->parts * s->m * s->n * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    const cvy_gemm_batched_shape product = product_of(p, 0);
    convoy_status status = cvy_gemm_batched_prepare(job->device, &product, &p->product);
    return status ? status : cvy_kernel_get_simple(job->device, "gemm/sum", "gemm_sum", &p->sum);
}

static convoy_status mma_prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    ((state *)prepared)->tensor_cores = true;
    return prepare(job, prepared, needs);
}

static convoy_status run(void *prepared, const void *operands) {
    state *p = prepared;
    const cvy_gemm_operands *o = operands;
    const cvy_gemm_shape *s = &p->shape;
    const bool split = p->parts > 1;
    const size_t offsets = o->a_offset | o->b_offset | (split ? 0 : o->c_offset);
    const cvy_gemm_batched_shape product = product_of(p, offsets);
    const cvy_matrices a = {o->a, o->a_offset, 0, s->lda}, b = {o->b, o->b_offset, 0, s->ldb},
                       c = {o->c, o->c_offset, 0, s->ldc}, parts = {o->workspace, 0, s->m * s->n, s->n};
    convoy_status status = CONVOY_OK;
    if (product.unaligned && is_aligned(s, 0)) /* the offsets alone are odd, which `prepare` did not know */
        status = cvy_gemm_batched_prepare(p->device, &product, &p->product);
    if (!status)
        status = cvy_gemm_batched_run(&p->product, &product, p->parts, a, b, split ? parts : c,
                                      split ? NULL : o->bias, !split && o->accumulate);
    if (!status && split)
        status = cvy_gemm_add_parts(p->sum, s, o, o->workspace, p->parts);
    return status;
}

const cvy_variant cvy_gemm_tile_gpu = {.name = "tile_gpu",
                                       .made_for = CVY_FOR_GPUS,
                                       .supports = supports,
                                       .state_size = sizeof(state),
                                       .prepare = prepare,
                                       .run = run};
const cvy_variant cvy_gemm_mma_nvidia = {.name = "mma_nvidia",
                                         .made_for = CVY_FOR_GPUS,
                                         .supports = mma_supports,
                                         .state_size = sizeof(state),
                                         .prepare = mma_prepare,
                                         .run = run};
