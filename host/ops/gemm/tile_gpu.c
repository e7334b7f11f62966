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

static bool is_gpu(const cvy_device_traits *traits) {
    return !traits->host && !traits->cpu;
}

/* The kernel counts in 32 bits: rows, columns and k, and floats within one tile. */
static bool supports(const cvy_device_traits *traits, const cvy_gemm_shape *s) {
    const size_t most = INT32_MAX / TILE;
    return cvy_gemm_batched_supports(traits) && s->m <= INT32_MAX && s->n <= INT32_MAX && s->k <= INT32_MAX &&
           s->lda <= most && s->ldb <= most && s->ldc <= UINT32_MAX;
}

static bool mma_supports(const cvy_device_traits *traits, const cvy_gemm_shape *s) {
    return cvy_mma_runs(traits) && supports(traits, s);
}

/* Can the kernel read and write four floats at a time? */
static bool is_aligned(const cvy_gemm_shape *s, size_t offsets) {
    const size_t along_k = s->transpose_a && !s->transpose_b ? 0 : s->k;
    const size_t along_m = s->transpose_a ? s->m : 0;
    return (s->lda | s->ldb | s->ldc | s->n | along_k | along_m | offsets) % 4 == 0;
}

static cvy_gemm_batched_shape product_of(const cvy_gemm *op, bool tensor_cores, size_t offsets) {
    const cvy_gemm_shape *s = &op->shape;
    return (cvy_gemm_batched_shape){.batch = 1,
                                    .m = s->m,
                                    .n = s->n,
                                    .k = s->k,
                                    .depth = op->cut.depth,
                                    .transpose_a = s->transpose_a,
                                    .transpose_b = s->transpose_b,
                                    .unaligned = !is_aligned(s, offsets),
                                    .tensor_cores = tensor_cores,
                                    .activation = op->activates ? s->activation : CVY_IDENTITY};
}

/* The parts are a function of the shape, the device and the room alone, and so is the order of the sums. */
static void cut(cvy_gemm *op) {
    const cvy_gemm_shape *s = &op->shape;
    const size_t wanted = (size_t)cvy_device_get_traits(op->device)->compute_units * GROUPS_PER_UNIT;
    const size_t tiles = ceil_div_size(s->m, TILE) * ceil_div_size(s->n, TILE);
    const size_t most =
        min_size(s->k / LEAST_DEPTH, min_size(PARTS_LIMIT, op->room) / sizeof(float) / s->n / s->m);
    const size_t parts = max_size(1, min_size(wanted / tiles, most));
    op->cut.depth = round_up(ceil_div_size(s->k, parts), 16);
    op->cut.parts = ceil_div_size(s->k, op->cut.depth);
}

static convoy_status prepare_product(cvy_gemm *op, bool tensor_cores) {
    cut(op);
    op->activates = op->shape.activation && op->cut.parts == 1;
    if (op->cut.parts > 1)
        op->workspace = op->cut.parts * op->shape.m * op->shape.n * sizeof(float);
    const cvy_gemm_batched_shape product = product_of(op, tensor_cores, 0);
    return cvy_gemm_batched_prepare(op->device, &product, &op->product);
}

static convoy_status run_product(cvy_gemm *op, const cvy_gemm_operands *o, bool tensor_cores) {
    const cvy_gemm_shape *s = &op->shape;
    const bool split = op->cut.parts > 1;
    const size_t offsets = o->a_offset | o->b_offset | (split ? 0 : o->c_offset);
    const cvy_gemm_batched_shape product = product_of(op, tensor_cores, offsets);
    const cvy_matrices a = {o->a, o->a_offset, 0, s->lda}, b = {o->b, o->b_offset, 0, s->ldb},
                       c = {o->c, o->c_offset, 0, s->ldc}, parts = {o->workspace, 0, s->m * s->n, s->n};
    convoy_status status = CONVOY_OK;
    if (product.unaligned && is_aligned(s, 0)) /* the offsets alone are odd, which `prepare` did not know */
        status = cvy_gemm_batched_prepare(op->device, &product, &op->product);
    if (!status)
        status = cvy_gemm_batched_run(&op->product, &product, op->cut.parts, a, b, split ? parts : c,
                                      split ? NULL : o->bias, !split && o->accumulate);
    if (!status && split)
        status = cvy_gemm_add_parts(op, o, o->workspace, op->cut.parts);
    return status;
}

static convoy_status prepare(cvy_gemm *op) {
    return prepare_product(op, false);
}
static convoy_status run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    return run_product(op, operands, false);
}
static convoy_status mma_prepare(cvy_gemm *op) {
    return prepare_product(op, true);
}
static convoy_status mma_run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    return run_product(op, operands, true);
}

const cvy_gemm_method cvy_gemm_tile_gpu = {"tile_gpu", is_gpu, supports, prepare, run};
const cvy_gemm_method cvy_gemm_mma_nvidia = {"mma_nvidia", is_gpu, mma_supports, mma_prepare, mma_run};
