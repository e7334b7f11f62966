/* Batched matrix products for GPUs: the choice of the tile, and the launch. */
#include "ops/gemm/batched.h"
#include "base/integer.h"
#include "ops/mma.h"

/* Tiles of kernels/gemm/batched.cl: work-items along m and n, each of which holds edge x edge of C. Those
   first that load least per product; the small edge is for products that leave the device idle. */
typedef struct tile {
    size_t items_m, items_n, edge;
} tile;
static const tile tiles[] = {{16, 16, 8}, {16, 8, 8}, {8, 8, 8}, {16, 16, 4}, {8, 8, 4}};
enum {
    TILES = sizeof tiles / sizeof *tiles,
    MMA_EDGE = 8, /* the only one for tensor cores */
    LEAST_ITEMS = 64,
    LEAST_LOCAL = 16 << 10,
    ITEMS_AT_ONCE = 256
};

bool cvy_gemm_batched_supports(const cvy_device_traits *traits) {
    return !traits->host && traits->max_work_group >= LEAST_ITEMS && traits->local_memory >= LEAST_LOCAL;
}

static size_t items_of(const tile *t) {
    return t->items_m * t->items_n;
}

/* Rows of a slice, in words. */
static size_t rows_of(const tile *t) {
    return t->edge == 4 ? 16 : 8;
}

/* Two slices of both operands, with their gaps, and what the emulation of tensor cores takes. */
static size_t local_bytes(const tile *t, bool tensor_cores, const cvy_device_traits *traits) {
    const size_t rows = 2 * rows_of(t);
    const size_t words = rows * t->edge * (t->items_m + t->items_n) * sizeof(float);
    const size_t gaps = rows * 8 * sizeof(float);
    return words + (tensor_cores ? cvy_mma_local(traits, (int)rows, (int)items_of(t)) : gaps);
}

static bool fits(const tile *t, bool tensor_cores, const cvy_device_traits *traits) {
    return items_of(t) <= traits->max_work_group &&
           local_bytes(t, tensor_cores, traits) <= traits->local_memory &&
           (!tensor_cores || t->edge == MMA_EDGE);
}

/* In units of the time that ITEMS_AT_ONCE work-items of 8 x 8 take for some k, whichever groups they are in.
   Groups run in rounds, so the last round is paid in full; a smaller tile reads its operands more often, from
   global memory and, with a smaller edge, from local memory; and each round waits for memory. */
static double cost(const cvy_gemm_batched_shape *s, const tile *t, const cvy_device_traits *traits) {
    const double WAITING = 0.25;
    const size_t tile_m = t->edge * t->items_m, tile_n = t->edge * t->items_n;
    const size_t groups =
        ceil_div_size(s->k, s->depth) * s->batch * ceil_div_size(s->m, tile_m) * ceil_div_size(s->n, tile_n);
    const size_t at_once = (size_t)traits->compute_units * (ITEMS_AT_ONCE / items_of(t));
    const double work = (double)(t->edge * t->edge) / 64 * (t->edge == 4 ? 1.5 : 1);
    return (double)ceil_div_size(groups, at_once) *
           (work * (1 + 8.0 / (double)tile_m + 8.0 / (double)tile_n) + WAITING);
}

static const tile *choose_tile(const cvy_gemm_batched_shape *s, const cvy_device_traits *traits) {
    const tile *best = NULL;
    for (const tile *t = tiles; t < tiles + TILES; t++)
        if (fits(t, s->tensor_cores, traits) && (!best || cost(s, t, traits) < cost(s, best, traits)))
            best = t;
    return best;
}

convoy_status cvy_gemm_batched_prepare(convoy_device *device, const cvy_gemm_batched_shape *shape,
                                       cvy_gemm_batched *op) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const tile *t = choose_tile(shape, traits);
    const int tile_m = (int)(t->edge * t->items_m), tile_n = (int)(t->edge * t->items_n);
    *op = (cvy_gemm_batched){.tile_m = (size_t)tile_m, .tile_n = (size_t)tile_n, .items = items_of(t)};
    return cvy_kernel_build(device, "gemm/batched", "gemm_batched",
                            CVY_OPTIONS({"BM", tile_m}, {"BN", tile_n}, {"EDGE", (int)t->edge},
                                        {"TRANSPOSE_A", shape->transpose_a},
                                        {"TRANSPOSE_B", shape->transpose_b}, {"QUADS", !shape->unaligned},
                                        {"MMA", shape->tensor_cores ? cvy_mma_of(traits) : 0},
                                        {"MMA_EMULATED", traits->tensor_cores == CVY_TENSOR_EMULATED},
                                        {"ACTIVATION", shape->activation}),
                            &op->kernel);
}

convoy_status cvy_gemm_batched_run(const cvy_gemm_batched *op, const cvy_gemm_batched_shape *s, size_t parts,
                                   cvy_matrices a, cvy_matrices b, cvy_matrices c, cvy_buffer *bias,
                                   bool accumulate) {
    const cvy_grid grid = {
        {ceil_div_size(s->m, op->tile_m) * op->items, ceil_div_size(s->n, op->tile_n), parts * s->batch},
        {op->items, 1, 1}};
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(a.buffer), cvy_ulong(a.offset), cvy_ulong(a.step),
                      cvy_uint((uint32_t)a.pitch), cvy_buf(b.buffer), cvy_ulong(b.offset), cvy_ulong(b.step),
                      cvy_uint((uint32_t)b.pitch), cvy_buf(c.buffer), cvy_ulong(c.offset), cvy_ulong(c.step),
                      cvy_uint((uint32_t)c.pitch), cvy_buf(bias), cvy_uint((uint32_t)s->batch),
                      cvy_uint((uint32_t)s->m), cvy_uint((uint32_t)s->n), cvy_uint((uint32_t)s->k),
                      cvy_uint((uint32_t)s->depth), cvy_int(accumulate));
}
