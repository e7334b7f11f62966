/* Batched matrix products for GPUs: the choice of the tile, and the launch. */
#include "ops/gemm_batched.h"
#include "base/integer.h"

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

/* Two slices of 8 rows of both operands, each with its gap of a float4. */
static size_t local_bytes(const tile *t) {
    return (size_t)2 * EDGE * (EDGE * (t->items_m + t->items_n) + 8) * sizeof(float);
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
        if (t->items_m * t->items_n <= traits->max_work_group && local_bytes(t) <= traits->local_memory &&
            cost(s, t, traits) < cost(s, best, traits))
            best = t;
    return best;
}

convoy_status cvy_gemm_batched_prepare(convoy_device *device, const cvy_gemm_batched_shape *shape,
                                       cvy_gemm_batched *op) {
    const tile *t = choose_tile(shape, cvy_device_get_traits(device));
    char options[128];
    snprintf(options, sizeof options, "-DWM=%zu -DWN=%zu -DDEPTH_FIRST=%d", t->items_m, t->items_n,
             shape->depth_first);
    *op = (cvy_gemm_batched){
        .tile_m = EDGE * t->items_m, .tile_n = EDGE * t->items_n, .items = t->items_m * t->items_n};
    return cvy_kernel_get(device, "gemm_batched", "gemm_batched", options, &op->kernel);
}

convoy_status cvy_gemm_batched_run(const cvy_gemm_batched *op, const cvy_gemm_batched_shape *s, size_t parts,
                                   cvy_matrices a, cvy_matrices b, cvy_matrices c, bool accumulate) {
    return CVY_LAUNCH(op->kernel,
                      cvy_items3(ceil_div_size(s->m, op->tile_m) * op->items, ceil_div_size(s->n, op->tile_n),
                                 parts * s->batch),
                      cvy_buf(a.buffer), cvy_ulong(a.offset / 4), cvy_ulong(a.step / 4),
                      cvy_uint((uint32_t)(a.pitch / 4)), cvy_buf(b.buffer), cvy_ulong(b.offset / 4),
                      cvy_ulong(b.step / 4), cvy_uint((uint32_t)(b.pitch / 4)), cvy_buf(c.buffer),
                      cvy_ulong(c.offset / 4), cvy_ulong(c.step / 4), cvy_uint((uint32_t)(c.pitch / 4)),
                      cvy_uint((uint32_t)s->batch), cvy_uint((uint32_t)s->m), cvy_uint((uint32_t)s->n),
                      cvy_uint((uint32_t)s->k), cvy_uint((uint32_t)s->depth), cvy_int(accumulate));
}
