/* The backward-weights pass of variant tile_gpu (kernels/conv2d/tile_gpu_weights.cl): which tile a shape
   gets, how the long sums over pixels and images are split, and the launches. */
#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/tile_gpu.h"

enum {
    UNIT = 16,       /* images of one pixel: the step of the sums */
    LEAST_UNITS = 8, /* per work-group, so that a partial result is worth its memory */
    ADD_ITEMS = 64   /* work-items of a work-group that adds up partial results */
};

/* Output channels x columns (input channel, tap) of a work-group and of a work-item, and the sets of
   work-items that share the images. Items: 64 to 256. */
typedef struct cvy_tile_of_weights {
    int bm, rm, bn, rn, slices;
} tile;

static const tile tiles[] = {
    {128, 8, 128, 8, 1}, {128, 8, 64, 8, 1}, {64, 8, 128, 8, 1}, {96, 12, 128, 8, 1}, {64, 8, 64, 8, 1},
    {48, 12, 128, 8, 1}, {32, 8, 128, 8, 1}, {32, 8, 64, 8, 2},  {32, 4, 32, 4, 1},   {16, 8, 128, 8, 2},
    {16, 8, 64, 8, 4},   {12, 12, 64, 4, 4}, {12, 12, 32, 4, 8}, {8, 8, 64, 4, 4},    {8, 8, 32, 4, 8},
};
enum { TILES = sizeof tiles / sizeof *tiles };

static int slice_of(const tile *t) {
    return t->bm / t->rm * (t->bn / t->rn);
}

static size_t items_of(const tile *t) {
    return (size_t)(slice_of(t) * t->slices);
}

static size_t local_memory_of(const tile *t, int mma) {
    const int words = cvy_mma_rows(mma, UNIT) * (t->bm + t->bn + 8), sums = t->bm * t->bn * (t->slices / 2);
    return sizeof(float) * max_size((size_t)words, (size_t)sums);
}

/* Of one group of channels. */
static size_t out_channels(const cvy_conv2d_shape *s) {
    return (size_t)(s->out_channels / s->groups);
}

static size_t columns_of(const cvy_conv2d_shape *s) {
    return (size_t)(s->in_channels / s->groups) * (size_t)s->kernel[0] * (size_t)s->kernel[1];
}

static size_t tiles_of(const tile *t, const cvy_conv2d_shape *s) {
    return ceil_div_size(out_channels(s), (size_t)t->bm) * ceil_div_size(columns_of(s), (size_t)t->bn);
}

/* All tiles can occupy a device, since the sums are split: what counts is the products that are computed,
   those for nothing included, and what one costs beside its fma: loads from local memory, and for every 16
   images the loads from global memory and the transposition. */
static double cost_of(const tile *t, const cvy_conv2d_shape *s) {
    return (double)tiles_of(t, s) * t->bm * t->bn *
           (1 + 1.0 / t->rm + 1.0 / t->rn + 16.0 / t->bm + 16.0 / t->bn);
}

/* `mma` as cvy_mma_of has it: then only tiles for tensor cores. */
static bool fits(const cvy_device_traits *traits, const tile *t, int mma) {
    size_t local = local_memory_of(t, mma);
    if (mma)
        local += cvy_mma_local(traits, cvy_mma_rows(mma, UNIT), (int)items_of(t));
    return local <= traits->local_memory && (!mma || (t->bm % 64 == 0 && t->slices == 1));
}

/* The cheapest tile with at most `most_items`, of which `supports` makes sure that there is one. */
static const tile *choose_tile(const cvy_device_traits *traits, const cvy_conv2d_shape *s, int mma,
                               size_t most_items) {
    const tile *best = NULL;
    for (size_t i = 0; i < TILES; i++) {
        const tile *t = &tiles[i];
        if (items_of(t) <= most_items && fits(traits, t, mma) && (!best || cost_of(t, s) < cost_of(best, s)))
            best = t;
    }
    return best;
}

/* As many ranges as occupy all compute units twice over, which hides the waiting of one work-group behind the
   work of another. */
static void use_tile(const cvy_job *job, const tile *t, cvy_tile_weights *p) {
    const cvy_conv2d_shape *s = job->shape;
    p->tile = t;
    p->items = items_of(t);
    p->work_groups = tiles_of(t, s);
    const size_t units = (size_t)s->out_height * (size_t)s->out_width * (size_t)s->pitch / UNIT;
    const size_t wanted = (size_t)job->traits->compute_units * ceil_div_size(2 * CVY_TILE_OCCUPIED, p->items);
    const size_t most = min_size(p->most_splits, units / LEAST_UNITS);
    const size_t splits = max_size(1, min_size(wanted / (p->work_groups * p->groups), most));
    p->units = ceil_div_size(units, splits);
    p->splits = ceil_div_size(units, p->units);
    /* Small results come in many parts, large ones in few. */
    p->add_results = p->splits >= ADD_ITEMS ? ADD_ITEMS / 16 : ADD_ITEMS;
}

static convoy_status get_kernels(const cvy_job *job, int mma, cvy_tile_weights *p) {
    const cvy_conv2d_shape *s = job->shape;
    const tile *t = p->tile;
    return cvy_kernels_build(
        job->device, "conv2d/tile_gpu_weights",
        CVY_OPTIONS({"PITCH", s->pitch}, CVY_CONV2D_OPTIONS(s), {"BM", t->bm}, {"RM", t->rm}, {"BN", t->bn},
                    {"RN", t->rn}, {"SLICES", t->slices}, {"ADD_RESULTS", (int)p->add_results}, {"MMA", mma},
                    {"MMA_EMULATED", job->traits->tensor_cores == CVY_TENSOR_EMULATED}),
        CVY_KERNELS({"conv2d_tile_weights", &p->weights}, {"conv2d_tile_add_partials", &p->add}));
}

/* A kernel may allow fewer items than the device does: then with a smaller tile, in the same workspace. */
convoy_status cvy_tile_weights_prepare(const cvy_job *job, int mma, cvy_tile_weights *p, cvy_needs *needs) {
    const cvy_conv2d_shape *s = job->shape;
    p->groups = (size_t)s->groups;
    p->weight_count = cvy_conv2d_weights(s);
    p->bias_count = (size_t)s->out_channels;
    p->most_splits = SIZE_MAX;
    use_tile(job, choose_tile(job->traits, s, mma, job->traits->max_work_group), p);
    p->most_splits = p->splits;
    if (p->splits > 1)
        needs->workspace = p->splits * (p->weight_count + p->bias_count) * sizeof(float);
    convoy_status status = CONVOY_OK;
    while (!job->describes && !(status = get_kernels(job, mma, p)) &&
           p->items > cvy_tile_most_items(p->weights))
        use_tile(job, choose_tile(job->traits, s, mma, cvy_tile_most_items(p->weights)), p);
    return status;
}

convoy_status cvy_tile_weights_run(const cvy_tile_weights *p, const cvy_conv2d_buffers *b) {
    const cvy_grid grid = {{p->work_groups * p->items, p->splits, p->groups}, {p->items, 1, 1}};
    const cvy_arg units = cvy_uint((uint32_t)p->units);
    if (p->splits == 1)
        return CVY_LAUNCH(p->weights, grid, cvy_buf(b->in), cvy_buf(b->gy), cvy_buf(b->out),
                          cvy_buf(b->gbias), cvy_ulong(0), cvy_ulong(0), units, cvy_int(b->accumulate));
    const size_t part = p->weight_count + p->bias_count, results = b->gbias ? part : p->weight_count;
    convoy_status status = CVY_LAUNCH(p->weights, grid, cvy_buf(b->in), cvy_buf(b->gy), cvy_buf(b->workspace),
                                      cvy_buf(b->gbias ? b->workspace : NULL), cvy_ulong(p->weight_count),
                                      cvy_ulong(part), units, cvy_int(0));
    if (status)
        return status;
    const cvy_grid sums = {{ceil_div_size(results, p->add_results) * ADD_ITEMS, 1, 1}, {ADD_ITEMS, 1, 1}};
    return CVY_LAUNCH(p->add, sums, cvy_buf(b->workspace), cvy_buf(b->out), cvy_buf(b->gbias),
                      cvy_ulong(p->weight_count), cvy_ulong(p->bias_count), cvy_int((int)p->splits),
                      cvy_int(b->accumulate));
}
