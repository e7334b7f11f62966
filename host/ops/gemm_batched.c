/* Batched matrix products for GPUs: the choice of the tile, and the launch. */
#include "ops/gemm_batched.h"
#include "base/integer.h"
#include "ops/mma.h"

#include <stdio.h>

/* Tiles of kernels/gemm_batched.cl; a work-item holds 8 x 8 of C. */
typedef struct tile {
    size_t items_m, items_n;
} tile;
static const tile tiles[] = {{16, 16}, {16, 8}, {8, 8}}; /* the ones that load least per product first */
enum {
    TILES = sizeof tiles / sizeof *tiles,
    EDGE = 8,
    LEAST_ITEMS = 64,
    LEAST_LOCAL = 16 << 10,
    ITEMS_AT_ONCE = 256
};

bool cvy_gemm_batched_supports(const cvy_device_traits *traits) {
    return !traits->host && traits->max_work_group >= LEAST_ITEMS && traits->local_memory >= LEAST_LOCAL;
}

/* Two slices of 8 rows of both operands, with their gaps, and what the emulation of tensor cores takes. */
static size_t local_bytes(const tile *t, bool tensor_cores, const cvy_device_traits *traits) {
    enum { ROWS = 2 * EDGE };
    const size_t words = ROWS * EDGE * (t->items_m + t->items_n) * sizeof(float);
    const size_t gaps = ROWS * 8 * sizeof(float);
    return words + (tensor_cores ? cvy_mma_local(traits, ROWS, (int)(t->items_m * t->items_n)) : gaps);
}

/* In units of the time that ITEMS_AT_ONCE work-items take, whichever groups they are in. Groups run in
   rounds, so the last round is paid in full; a smaller tile reads its operands more often: an eighth for each
   halved edge. */
static double cost(const cvy_gemm_batched_shape *s, const tile *t, const cvy_device_traits *traits) {
    const size_t tile_m = EDGE * t->items_m, tile_n = EDGE * t->items_n;
    const size_t groups =
        ceil_div_size(s->k, s->depth) * s->batch * ceil_div_size(s->m, tile_m) * ceil_div_size(s->n, tile_n);
    const size_t at_once = (size_t)traits->compute_units * (ITEMS_AT_ONCE / (t->items_m * t->items_n));
    return (double)ceil_div_size(groups, at_once) * (1 + 8.0 / (double)tile_m + 8.0 / (double)tile_n);
}

static const tile *choose_tile(const cvy_gemm_batched_shape *s, const cvy_device_traits *traits) {
    const tile *best = &tiles[TILES - 1];
    for (const tile *t = tiles; t < tiles + TILES; t++)
        if (t->items_m * t->items_n <= traits->max_work_group &&
            local_bytes(t, s->tensor_cores, traits) <= traits->local_memory &&
            cost(s, t, traits) < cost(s, best, traits))
            best = t;
    return best;
}

convoy_status cvy_gemm_batched_prepare(convoy_device *device, const cvy_gemm_batched_shape *shape,
                                       cvy_gemm_batched *op) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const tile *t = choose_tile(shape, traits);
    char options[256];
    snprintf(options, sizeof options,
             "-DBM=%zu -DBN=%zu -DTRANSPOSE_A=%d -DTRANSPOSE_B=%d -DQUADS=%d -DMMA=%d -DMMA_EMULATED=%d "
             "-DACTIVATION=%d",
             EDGE * t->items_m, EDGE * t->items_n, shape->transpose_a, shape->transpose_b, !shape->unaligned,
             shape->tensor_cores ? cvy_mma_of(traits) : 0, traits->tensor_cores == CVY_TENSOR_EMULATED,
             (int)shape->activation);
    *op = (cvy_gemm_batched){
        .tile_m = EDGE * t->items_m, .tile_n = EDGE * t->items_n, .items = t->items_m * t->items_n};
    return cvy_kernel_get(device, "gemm_batched", "gemm_batched", options, &op->kernel);
}

convoy_status cvy_gemm_batched_run(const cvy_gemm_batched *op, const cvy_gemm_batched_shape *s, size_t parts,
                                   cvy_matrices a, cvy_matrices b, cvy_matrices c, cvy_buffer *bias,
                                   bool accumulate) {
    return CVY_LAUNCH(op->kernel,
                      cvy_items3(ceil_div_size(s->m, op->tile_m) * op->items, ceil_div_size(s->n, op->tile_n),
                                 parts * s->batch),
                      cvy_buf(a.buffer), cvy_ulong(a.offset), cvy_ulong(a.step), cvy_uint((uint32_t)a.pitch),
                      cvy_buf(b.buffer), cvy_ulong(b.offset), cvy_ulong(b.step), cvy_uint((uint32_t)b.pitch),
                      cvy_buf(c.buffer), cvy_ulong(c.offset), cvy_ulong(c.step), cvy_uint((uint32_t)c.pitch),
                      cvy_buf(bias), cvy_uint((uint32_t)s->batch), cvy_uint((uint32_t)s->m),
                      cvy_uint((uint32_t)s->n), cvy_uint((uint32_t)s->k), cvy_uint((uint32_t)s->depth),
                      cvy_int(accumulate));
}
