/* Variant tile_gpu: implicit matrix products in local memory and registers, for OpenCL devices with
   work-groups. Here: forward and backward-data (kernels/conv2d/tile_gpu.cl, and tile_gpu_narrow.cl for
   few channels), which tile a shape gets, and the launches.

   Variant mma_nvidia: the same kernels with the inner products on tensor cores (kernels/mma.clh), where the
   device was asked for TF32 or BF16. */
#include "ops/conv2d/tile_gpu.h"
#include "base/integer.h"
#include "base/status.h"

enum { MMA_LEAST_LOCAL = 12 << 10, MMA_LEAST_CHANNELS = 16 };

/* Floats that one group of channels may have: the kernels count float4 in 32 bits. */
#define MOST_FLOATS ((size_t)UINT32_MAX * 4)

static bool supports(const cvy_job *job) {
    const cvy_device_traits *traits = job->traits;
    const cvy_conv2d_shape *shape = job->shape;
    return !traits->host && cvy_conv2d_has_many_images(shape) &&
           traits->max_work_group >= CVY_TILE_LEAST_ITEMS && traits->local_memory >= CVY_TILE_LEAST_LOCAL &&
           cvy_conv2d_inputs(shape) <= MOST_FLOATS && cvy_conv2d_outputs(shape) <= MOST_FLOATS;
}

/* Not so surely that what comes behind is not worth measuring. */
static bool pays(const cvy_job *job) {
    return !job->traits->cpu;
}

/* ---- The correlation that a pass is, see the first comment of kernels/conv2d/tile_gpu.clh ---- */

typedef struct axis {
    int in, out, stride, up, pad, tap_step, in_step;
} axis;

typedef struct correlation {
    axis h, w;
    int in_channels, out_channels; /* of one group */
    size_t columns;                /* of the largest phase, in floats */
    int phases;
} correlation;

static axis axis_of(const cvy_conv2d_shape *s, bool forward, int a) {
    const int in = a ? s->in_width : s->in_height, out = a ? s->out_width : s->out_height;
    if (forward)
        return (axis){in, out, s->stride[a], 1, s->padding[a], 1, s->dilation[a]};
    const int common = gcd(s->stride[a], s->dilation[a]);
    return (axis){.in = out,
                  .out = in,
                  .stride = 1,
                  .up = s->stride[a],
                  .pad = (s->kernel[a] - 1) * s->dilation[a] - s->padding[a],
                  .tap_step = s->stride[a] / common,
                  .in_step = s->dilation[a] / common};
}

static correlation correlation_of(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool forward = job->pass == CVY_CONV2D_FORWARD;
    const int in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    correlation c = {.h = axis_of(s, forward, 0),
                     .w = axis_of(s, forward, 1),
                     .in_channels = forward ? in : out,
                     .out_channels = forward ? out : in};
    c.columns = ceil_div_size((size_t)c.h.out, (size_t)c.h.up) *
                ceil_div_size((size_t)c.w.out, (size_t)c.w.up) * (size_t)s->pitch;
    c.phases = min_int(c.h.up, c.h.out) * min_int(c.w.up, c.w.out);
    return c;
}

/* ---- Tiles ---- */

/* Channels x columns of a work-group and of a work-item; with `bm` == `rm` the narrow kernel. Items: 64 to
 * 256. */
typedef struct tile {
    int bm, rm, bn, rn;
} tile;

static const tile tiles[] = {
    {128, 8, 128, 8}, {64, 8, 128, 8},  {128, 8, 64, 4},  {96, 12, 128, 8}, {96, 12, 64, 4},
    {64, 8, 64, 4},   {64, 8, 64, 8},   {48, 12, 128, 8}, {32, 8, 128, 8},  {32, 4, 32, 4},
    {16, 16, 512, 4}, {16, 16, 256, 4}, {12, 12, 512, 4}, {12, 12, 256, 4}, {8, 8, 1024, 8},
    {8, 8, 512, 8},   {8, 8, 256, 4},   {4, 4, 1024, 8},  {4, 4, 512, 8},   {4, 4, 256, 4},
};
enum { TILES = sizeof tiles / sizeof *tiles };

static bool is_narrow(const tile *t) {
    return t->bm == t->rm;
}

static int items_of(const tile *t) {
    return t->bm / t->rm * (t->bn / t->rn);
}

/* Steps of k that pass through local memory at once; `mma` as cvy_mma_of has it. */
static int chunk_of(int mma) {
    return mma == 2 ? 16 : 8;
}

static bool fits(const cvy_device_traits *traits, const tile *t, int mma, size_t most_items) {
    if ((size_t)items_of(t) > most_items)
        return false;
    if (is_narrow(t))
        return !mma && traits->local_memory >= CVY_TILE_LEAST_LOCAL;
    const int rows = 2 * cvy_mma_rows(mma, chunk_of(mma));
    size_t local = sizeof(float) * (size_t)(rows * (t->bm + t->bn));
    if (mma)
        local += cvy_mma_local(traits, rows, items_of(t));
    return local <= traits->local_memory &&
           (!mma || (t->bm % 32 == 0 && t->bm != 96 && t->rm == 8 && t->rn == 8));
}

/* What a product costs beside its fma: loads from local memory (the narrow kernel's inputs come from the
   cache, which is slower) and, once per chunk, from global memory. */
static double cost_of_product(const tile *t) {
    const double loads = 1.0 / t->rm + 1.0 / t->rn;
    return is_narrow(t) ? 1 + loads + 4.0 / t->bm : 1 + loads + 8.0 / t->bm + 8.0 / t->bn;
}

/* Estimated time of a pass: rounds of work-groups over the compute units, each busy only with enough items.
 */
static double cost_of(const tile *t, const correlation *c, int groups, int compute_units) {
    const size_t work_groups = ceil_div_size((size_t)c->out_channels, (size_t)t->bm) *
                               ceil_div_size(c->columns, (size_t)t->bn) * (size_t)c->phases * (size_t)groups;
    const double per_unit = (double)ceil_div_size(work_groups, (size_t)compute_units);
    const double busy = per_unit * items_of(t) / CVY_TILE_OCCUPIED;
    return per_unit * t->bm * t->bn * cost_of_product(t) / (busy < 1 ? busy : 1);
}

static size_t packed_channels(const tile *t, const correlation *c) {
    return round_up((size_t)c->out_channels, (size_t)t->bm);
}

/* The cheapest tile with at most `most_items` and packed weights of at most `most_packed` channels, of which
   `supports` makes sure that there is one. */
static const tile *choose_tile(const cvy_job *job, const correlation *c, int mma, size_t most_items,
                               size_t most_packed) {
    const int groups = ((const cvy_conv2d_shape *)job->shape)->groups;
    const tile *best = NULL;
    double least = 0;
    for (size_t i = 0; i < TILES; i++) {
        const tile *t = &tiles[i];
        if (!fits(job->traits, t, mma, most_items) || packed_channels(t, c) > most_packed)
            continue;
        const double cost = cost_of(t, c, groups, job->traits->compute_units);
        if (!best || cost < least) {
            best = t;
            least = cost;
        }
    }
    return best;
}

/* Rows of a chunk that each of `items` loads, a power of two, where a row is `floats` long. */
static int rows_per_item(int chunk, int floats, int items) {
    int rows = 1;
    while (chunk / rows * (floats / 4) > items)
        rows *= 2;
    return rows;
}

/* ---- Kernels and launches ---- */

typedef struct columns_pass {
    const tile *tile;
    cvy_kernel *pack, *convolve;
    size_t items, work_groups, depth; /* depth: work-groups along z */
    size_t packed_channels, in_channels, groups;
} columns_pass;

static convoy_status get_kernels(const cvy_job *job, const correlation *c, int mma, columns_pass *p) {
    const cvy_conv2d_shape *s = job->shape;
    const bool forward = job->pass == CVY_CONV2D_FORWARD;
    const axis *h = &c->h, *w = &c->w;
    const tile *t = p->tile;
    const int chunk = chunk_of(mma), items = items_of(t);
#define SHAPE                                                                                                \
    {"PITCH", s->pitch}, {"GROUPS", s->groups}, {"IN_C", c->in_channels}, {"OUT_C", c->out_channels},        \
        {"IN_H", h->in}, {"IN_W", w->in}, {"OUT_H", h->out}, {"OUT_W", w->out}, {"KH", s->kernel[0]},        \
        {"KW", s->kernel[1]}, {"STRIDE_H", h->stride}, {"STRIDE_W", w->stride}, {"UP_H", h->up},             \
        {"UP_W", w->up}, {"PHASES_W", min_int(w->up, w->out)}, {"PAD_H", h->pad}, {"PAD_W", w->pad},         \
        {"DIL_H", s->dilation[0]}, {"DIL_W", s->dilation[1]}, {"TAP_STEP_H", h->tap_step},                   \
        {"TAP_STEP_W", w->tap_step}, {"IN_STEP_H", h->in_step}, {"IN_STEP_W", w->in_step},                   \
        {"TRANSPOSED", !forward}, {                                                                          \
        "ACTIVATION", forward ? s->activation : CVY_IDENTITY                                                 \
    }
    if (is_narrow(t))
        return cvy_kernels_build(
            job->device, "conv2d/tile_gpu_narrow",
            CVY_OPTIONS({"BM", t->bm}, {"NQ", t->rn / 4}, {"ITEMS", items},
                        {"KC", CVY_TILE_LEAST_LOCAL / (t->bm * (int)sizeof(float)) / 12 * 12}, SHAPE),
            CVY_KERNELS({"conv2d_tile_pack", &p->pack}, {"conv2d_narrow", &p->convolve}));
    return cvy_kernels_build(job->device, "conv2d/tile_gpu",
                             CVY_OPTIONS({"BM", t->bm}, {"RM", t->rm}, {"BN", t->bn}, {"RN", t->rn},
                                         {"KC", chunk}, {"W_ROWS", rows_per_item(chunk, t->bm, items)},
                                         {"X_ROWS", rows_per_item(chunk, t->bn, items)}, {"MMA", mma},
                                         {"MMA_EMULATED", job->traits->tensor_cores == CVY_TENSOR_EMULATED},
                                         SHAPE),
                             CVY_KERNELS({"conv2d_tile_pack", &p->pack}, {"conv2d_tile", &p->convolve}));
#undef SHAPE
}

static void use_tile(const tile *t, const correlation *c, columns_pass *p) {
    p->tile = t;
    p->items = (size_t)items_of(t);
    p->packed_channels = packed_channels(t, c);
    p->work_groups = p->packed_channels / (size_t)t->bm * ceil_div_size(c->columns, (size_t)t->bn);
}

/* A kernel may allow fewer items than the device does: then with a smaller tile, in the same workspace. */
static convoy_status prepare_columns(const cvy_job *job, int mma, columns_pass *p, cvy_needs *needs) {
    const cvy_conv2d_shape *s = job->shape;
    const correlation c = correlation_of(job);
    use_tile(choose_tile(job, &c, mma, job->traits->max_work_group, SIZE_MAX), &c, p);
    p->depth = (size_t)c.phases * (size_t)s->groups;
    p->in_channels = (size_t)c.in_channels;
    p->groups = (size_t)s->groups;
    needs->workspace = p->groups * p->packed_channels * sizeof(float) *
                       (1 + p->in_channels * (size_t)s->kernel[0] * (size_t)s->kernel[1]);
    const size_t room = p->packed_channels;
    convoy_status status = CONVOY_OK;
    while (!job->describes && !(status = get_kernels(job, &c, mma, p)) &&
           p->items > cvy_tile_most_items(p->convolve))
        use_tile(choose_tile(job, &c, mma, cvy_tile_most_items(p->convolve), room), &c, p);
    return status;
}

static convoy_status run_columns(const columns_pass *p, const cvy_conv2d_buffers *b) {
    convoy_status status = CVY_LAUNCH(p->pack, cvy_items3(p->packed_channels, p->in_channels, p->groups),
                                      cvy_buf(b->weight), cvy_buf(b->bias), cvy_buf(b->workspace));
    if (status)
        return status;
    const cvy_grid grid = {{p->work_groups * p->items, 1, p->depth}, {p->items, 1, 1}};
    return CVY_LAUNCH(p->convolve, grid, cvy_buf(b->in), cvy_buf(b->workspace), cvy_buf(b->out));
}

/* ---- The rows of the table ---- */

typedef struct state {
    bool gradient;
    columns_pass columns;
    cvy_tile_weights weights;
} state;

static convoy_status prepare_pass(const cvy_job *job, int mma, state *p, cvy_needs *needs) {
    p->gradient = job->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    return p->gradient ? cvy_tile_weights_prepare(job, mma, &p->weights, needs)
                       : prepare_columns(job, mma, &p->columns, needs);
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    return prepare_pass(job, 0, prepared, needs);
}

static convoy_status mma_prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    return prepare_pass(job, cvy_mma_of(job->traits), prepared, needs);
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    return p->gradient ? cvy_tile_weights_run(&p->weights, buffers) : run_columns(&p->columns, buffers);
}

/* Tiles of 32 x 128 and 64 x 64, 8 words deep, in two buffers. */
static bool mma_supports(const cvy_job *job) {
    return cvy_mma_runs(job->traits) && job->traits->local_memory >= MMA_LEAST_LOCAL && supports(job);
}

/* Tiles of tensor cores have 32 output channels (columns, in backward-weights) or more; the narrow kernel
   wastes less on a few. */
static bool mma_pays(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const int channels = job->pass == CVY_CONV2D_BACKWARD_DATA ? s->in_channels : s->out_channels;
    return channels / s->groups >= MMA_LEAST_CHANNELS;
}

const cvy_variant cvy_conv2d_tile_gpu = {.name = "tile_gpu",
                                         .made_for = CVY_FOR_GPUS,
                                         .supports = supports,
                                         .pays = pays,
                                         .state_size = sizeof(state),
                                         .prepare = prepare,
                                         .run = run};
const cvy_variant cvy_conv2d_mma_nvidia = {.name = "mma_nvidia",
                                           .made_for = CVY_FOR_GPUS,
                                           .supports = mma_supports,
                                           .pays = mma_pays,
                                           .state_size = sizeof(state),
                                           .prepare = mma_prepare,
                                           .run = run};
