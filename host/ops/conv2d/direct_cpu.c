/* Variant direct_cpu: register tiles over the contiguous batch axis, for OpenCL devices that are CPUs
   (kernels/conv2d/direct_cpu.cl and kernels/conv2d/direct_cpu_weights.cl). Here: which tile and which cache
   blocks a shape gets, and the launches. */
#include <limits.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

enum {
    /* Work-groups per compute unit that even out the load. */
    GROUPS_PER_UNIT = 4,
    /* Bytes, sized for a second-level cache of 512 KiB or more. The input that a block of output columns
       reads; the same, copied into a patch; what one output pixel must read for that to pay. */
    ROWS_CACHE = 192 * 1024,
    PATCH_BYTES = 256 * 1024,
    PATCH_FROM = 96 * 1024,
    /* Backward-weights: the gy that one tile passes over, and the x that stays while all tiles do. */
    GY_CACHE = 64 * 1024,
    X_CACHE = 320 * 1024,
    /* From which on a kernel of one pixel is left to im2col_gemm: channels that are summed, bytes of a plane.
     */
    LEAST_SUMS = 64,
    LEAST_PLANE = 8 * 1024
};

/* Vector registers: 32 come with vectors of 16 floats (AVX-512), 16 with narrower ones. */
static int registers(int vector_width) {
    return vector_width == 16 ? 32 : 16;
}

static bool supports(const cvy_job *job) {
    return job->traits->cpu && !job->traits->host && cvy_conv2d_has_many_images(job->shape);
}

/* A kernel of one pixel is a product of matrices, and blocks of those, packed, are faster than tiles that
   step from plane to plane: planes of a few KiB or more share sets of the first-level cache. Packing pays
   from some sums on, and not for the gradient of the weights, whose sums are long in any case. */
static bool pays(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool forward = job->pass == CVY_CONV2D_FORWARD, strides = s->stride[0] > 1 || s->stride[1] > 1;
    const bool pointwise =
        s->kernel[0] == 1 && s->kernel[1] == 1 && !s->padding[0] && !s->padding[1] && s->groups == 1;
    const int sums = forward ? s->in_channels : s->out_channels;
    const double plane = (double)s->out_height * s->out_width * s->pitch * sizeof(float);
    return !pointwise || job->pass == CVY_CONV2D_BACKWARD_WEIGHTS || (strides && !forward) ||
           sums < LEAST_SUMS || plane < LEAST_PLANE;
}

static int usable_width(const cvy_device_traits *traits) {
    return traits->vector_width >= 16 ? 16 : traits->vector_width >= 8 ? 8 : 4;
}

/* ---- Forward and backward-data ---- */

typedef struct rows_tile {
    int vectors, channels; /* NV, MR */
} rows_tile;

/* The two axes of the correlation that a pass is, see the kernel's first comment. */
typedef struct axis {
    int in, out, stride, up, pad;
} axis;

typedef struct rows_blocks {
    int columns, chunk;       /* output columns, input channels */
    int patch, patch_columns; /* vectors in the patch, 0: there is none */
} rows_blocks;

typedef struct rows_pass {
    cvy_kernel *pack, *rows, *pooled; /* pooled: NULL where there is no pooling, or it stays one of its own */
    int in_channels, out_channels;    /* of one group, as the kernel sees them */
    int groups, blocks, splits, image_blocks;
    axis h, w;
    bool transposed;
    rows_blocks cut;
} rows_pass;

/* A step over one tap costs its fma's or its loads (vectors of x, broadcasts of weights), whichever is more,
   and a little for the loop; the last block of channels may be partly waste. */
static rows_tile choose_rows_tile(int pitch, int vector_width, int out_channels) {
    const int vectors = pitch / vector_width;
    rows_tile tile = {vectors % 2 == 0 ? 2 : vectors % 3 == 0 ? 3 : 1, 1};
    const int most = min_int((registers(vector_width) - 1 - tile.vectors) / tile.vectors, 14);
    int best = INT32_MAX;
    for (int channels = 1; channels <= most; channels++) {
        const int cost = ceil_div(out_channels, channels) *
                         (max_int(channels * tile.vectors, channels + tile.vectors) + 2);
        if (cost < best) {
            best = cost;
            tile.channels = channels;
        }
    }
    return tile;
}

static axis pass_axis(const cvy_conv2d_shape *s, cvy_conv2d_pass pass, int a) {
    const int in = a ? s->in_width : s->in_height, out = a ? s->out_width : s->out_height;
    if (pass == CVY_CONV2D_FORWARD)
        return (axis){in, out, s->stride[a], 1, s->padding[a]};
    return (axis){out, in, 1, s->stride[a], (s->kernel[a] - 1) * s->dilation[a] - s->padding[a]};
}

/* `bytes` of one input pixel of a tile. What the taps of one output pixel read should stay in the cache for
   the next pixel; where that is much, and enough channel blocks share the cost, it is copied into a patch,
   some channels at a time. */
static rows_blocks choose_rows_blocks(const cvy_conv2d_shape *s, const rows_pass *p, int width, int vectors,
                                      size_t local_memory) {
    const axis *w = &p->w;
    const int bytes = vectors * width * (int)sizeof(float);
    const size_t column = (size_t)p->in_channels * (size_t)s->kernel[0] * (size_t)bytes;
    const int span = (s->kernel[1] - 1) * s->dilation[1];
    if (p->blocks < 3 || local_memory < 2 * PATCH_BYTES || column * (size_t)s->kernel[1] <= PATCH_FROM) {
        const int columns = max_int(4, min_int(w->out, (int)(ROWS_CACHE / (column * (size_t)w->stride))));
        return (rows_blocks){.columns = columns, .chunk = p->in_channels};
    }
    rows_blocks blocks = {.columns = ceil_div(w->out, ceil_div(w->out, 16))};
    blocks.patch_columns = min_int(((blocks.columns - 1) * w->stride + span) / w->up + 2, w->in);
    const size_t channel = (size_t)s->kernel[0] * (size_t)blocks.patch_columns * (size_t)bytes;
    const int most = max_int(1, (int)(PATCH_BYTES / channel));
    blocks.chunk = ceil_div(p->in_channels, ceil_div(p->in_channels, most));
    blocks.patch = (int)(max_size(PATCH_BYTES, channel) / ((size_t)width * sizeof(float)));
    return blocks;
}

static convoy_status build_rows(const cvy_job *job, const rows_tile *tile, rows_pass *p, bool pools) {
    static const char *const file = "conv2d/direct_cpu";
    const cvy_conv2d_shape *s = job->shape;
    const axis *h = &p->h, *w = &p->w;
    const int gcd_h = gcd(h->up, s->dilation[0]), gcd_w = gcd(w->up, s->dilation[1]);
    const cvy_option options[] = {{"PITCH", s->pitch},
                                  {"VW", usable_width(job->traits)},
                                  {"NV", tile->vectors},
                                  {"MR", tile->channels},
                                  {"KH", s->kernel[0]},
                                  {"KW", s->kernel[1]},
                                  {"STRIDE_H", h->stride},
                                  {"STRIDE_W", w->stride},
                                  {"UP_H", h->up},
                                  {"UP_W", w->up},
                                  {"DIL_H", s->dilation[0]},
                                  {"DIL_W", s->dilation[1]},
                                  {"TAP_STEP_H", h->up / gcd_h},
                                  {"TAP_STEP_W", w->up / gcd_w},
                                  {"IN_STEP_H", s->dilation[0] / gcd_h},
                                  {"IN_STEP_W", s->dilation[1] / gcd_w},
                                  {"PATCH", p->cut.patch},
                                  {"ACTIVATION", p->transposed ? CVY_IDENTITY : (int)s->activation},
                                  {"POOL", pools ? (int)s->pooling.kind : CVY_POOLING_NONE},
                                  {"POOL_RELU", pools && s->pooling.relu}};
    const size_t count = sizeof options / sizeof *options;
    convoy_status status = cvy_kernel_build(job->device, file, "conv2d_pack", options, count, &p->pack);
    if (!status)
        status = cvy_kernel_build(job->device, file, "conv2d_rows", options, count, &p->rows);
    if (!status && pools)
        status = cvy_kernel_build(job->device, file, "conv2d_rows_pooled", options, count, &p->pooled);
    return status;
}

static convoy_status prepare_rows(const cvy_job *job, rows_pass *p, cvy_needs *needs) {
    const cvy_device_traits *traits = job->traits;
    const cvy_conv2d_shape *s = job->shape;
    const cvy_conv2d_pass pass = (cvy_conv2d_pass)job->pass;
    const bool forward = pass == CVY_CONV2D_FORWARD;
    const int width = usable_width(traits), in_group = s->in_channels / s->groups,
              out_group = s->out_channels / s->groups;
    *p = (rows_pass){.in_channels = forward ? in_group : out_group,
                     .out_channels = forward ? out_group : in_group,
                     .groups = s->groups,
                     .h = pass_axis(s, pass, 0),
                     .w = pass_axis(s, pass, 1),
                     .transposed = !forward};
    const rows_tile tile = choose_rows_tile(s->pitch, width, p->out_channels);
    p->blocks = ceil_div(p->out_channels, tile.channels);
    p->image_blocks = s->pitch / (tile.vectors * width);
    const int items = p->h.out * p->image_blocks * p->groups;
    p->splits = min_int(p->blocks, ceil_div(GROUPS_PER_UNIT * traits->compute_units, items));
    p->cut = choose_rows_blocks(s, p, width, tile.vectors, traits->local_memory);
    const bool pools = forward && s->pooling.kind != CVY_POOLING_NONE && !p->cut.patch;
    needs->fuses = pools;
    needs->workspace = (size_t)p->groups * (size_t)p->blocks * (size_t)tile.channels *
                       (1 + (size_t)p->in_channels * (size_t)s->kernel[0] * (size_t)s->kernel[1]) *
                       sizeof(float);
    return job->describes ? CONVOY_OK : build_rows(job, &tile, p, pools);
}

static convoy_status run_rows(const rows_pass *p, const cvy_conv2d_buffers *b) {
    const axis *h = &p->h, *w = &p->w;
    const cvy_grid grid = cvy_singles((size_t)(h->out / (b->pooled ? 2 : 1)), (size_t)p->image_blocks,
                                      (size_t)p->groups * (size_t)p->splits);
    const convoy_status status =
        CVY_LAUNCH(p->pack, cvy_singles((size_t)p->in_channels, (size_t)p->blocks, (size_t)p->groups),
                   cvy_buf(b->weight), cvy_buf(b->bias), cvy_buf(b->workspace), cvy_int(p->out_channels),
                   cvy_int(p->transposed));
    if (status)
        return status;
    if (!b->pooled)
        return CVY_LAUNCH(p->rows, grid, cvy_buf(b->in), cvy_buf(b->workspace), cvy_buf(b->out),
                          cvy_int(p->splits), cvy_int(p->in_channels), cvy_int(h->in), cvy_int(w->in),
                          cvy_int(p->out_channels), cvy_int(h->out), cvy_int(w->out), cvy_int(h->pad),
                          cvy_int(w->pad), cvy_int(p->cut.columns), cvy_int(p->cut.chunk),
                          cvy_int(p->cut.patch_columns));
    return CVY_LAUNCH(p->pooled, grid, cvy_buf(b->in), cvy_buf(b->workspace), cvy_buf(b->out),
                      cvy_buf(b->pooled), cvy_buf(b->indices), cvy_int(p->splits), cvy_int(p->in_channels),
                      cvy_int(h->in), cvy_int(w->in), cvy_int(p->out_channels), cvy_int(h->out),
                      cvy_int(w->out), cvy_int(h->pad), cvy_int(w->pad));
}

/* ---- Backward-weights ---- */

typedef struct weights_tile {
    int out, in, taps;        /* OUTS, COLS / TW, TW */
    int rows, columns, chunk; /* of a unit */
} weights_tile;

typedef struct weights_pass {
    cvy_kernel *weights, *add;
    int splits, shares; /* shares: of the output channels of one group */
    size_t groups, weight_count, bias_count;
} weights_pass;

/* The largest divisor of a kernel row's taps that is at most `most`. */
static int taps_per_tile(int kernel_width, int most) {
    int taps = min_int(kernel_width, most);
    while (kernel_width % taps)
        taps--;
    return taps;
}

/* What a step costs: its fma's or its loads, whichever is more, something for every load since many come from
   the second-level cache, and more from the seventh plane on: planes often lie a multiple of 4 KiB apart,
   where their lines compete for the same few places of the first-level cache. */
static long step_cost(int outs, int ins, int taps) {
    const long sums = (long)outs * ins * taps, loads = outs + ins * taps, planes = outs + ins;
    return 4 * (sums > loads ? sums : loads) + 2 * loads + 8 + (planes > 6 ? 6 * (planes - 6) : 0);
}

static weights_tile choose_weights_tile(const cvy_conv2d_shape *s, int vector_width) {
    const int in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    const int most = registers(vector_width) - 1;
    weights_tile tile = {.out = 1, .in = 1, .taps = taps_per_tile(s->kernel[1], vector_width == 16 ? 13 : 7)};
    long best = LONG_MAX;
    for (int o = 1; o <= min_int(out, 12); o++)
        for (int i = 1; i <= in && i * tile.taps <= 14; i++) {
            const int columns = i * tile.taps;
            if (o * columns + min_int(o, columns) > most)
                continue;
            const long cost = (long)ceil_div(out, o) * ceil_div(in, i) * step_cost(o, i, tile.taps);
            if (cost < best) {
                best = cost;
                tile.out = o;
                tile.in = i;
            }
        }
    return tile;
}

/* Whole rows while a tile's gy fits in GY_CACHE, else a part of one row; smaller where there would be too few
   units to occupy all cores. */
static void choose_unit(const cvy_conv2d_shape *s, int wanted, weights_tile *tile) {
    const int pixel = s->pitch * (int)sizeof(float);
    const int pixels = max_int(1, GY_CACHE / (tile->out * pixel));
    const int column_blocks = ceil_div(s->out_width, min_int(pixels, s->out_width));
    tile->columns = ceil_div(s->out_width, column_blocks);
    tile->rows = max_int(1, min_int(pixels / tile->columns, s->out_height));
    const int groups = ceil_div(s->out_channels / s->groups, tile->out) * s->groups * column_blocks;
    const int row_blocks = max_int(ceil_div(s->out_height, tile->rows), ceil_div(wanted, groups));
    tile->rows = ceil_div(s->out_height, min_int(row_blocks, s->out_height));
    const size_t in_rows = (size_t)(tile->rows - 1) * (size_t)s->stride[0] + (size_t)s->kernel[0];
    const size_t in_columns = (size_t)(tile->columns - 1) * (size_t)s->stride[1] + (size_t)s->kernel[1];
    const size_t channels = X_CACHE / (in_rows * in_columns * (size_t)pixel * (size_t)tile->in);
    const int in = ceil_div(s->in_channels / s->groups, tile->in);
    tile->chunk = (channels < 1 ? 1 : channels > (size_t)in ? in : (int)channels) * tile->in;
}

/* Work-groups share the output channels where these are many, since then no partial results are needed, and
   the units where not. */
static void choose_split(const cvy_conv2d_shape *s, const weights_tile *tile, int wanted, weights_pass *p) {
    const int blocks = ceil_div(s->out_channels / s->groups, tile->out);
    const int units = ceil_div(s->out_height, tile->rows) * ceil_div(s->out_width, tile->columns);
    p->shares = min_int(max_int(1, blocks / 4), ceil_div(wanted, s->groups));
    p->splits = min_int(units, ceil_div(wanted, p->shares * s->groups));
    if (p->splits * p->shares * s->groups < wanted)
        p->shares = min_int(blocks, ceil_div(wanted, p->splits * s->groups));
}

static convoy_status prepare_weights(const cvy_job *job, weights_pass *p, cvy_needs *needs) {
    static const char *const file = "conv2d/direct_cpu_weights";
    const cvy_conv2d_shape *s = job->shape;
    const int width = usable_width(job->traits), wanted = GROUPS_PER_UNIT * job->traits->compute_units;
    weights_tile tile = choose_weights_tile(s, width);
    choose_unit(s, wanted, &tile);
    choose_split(s, &tile, wanted, p);
    p->groups = (size_t)s->groups;
    p->weight_count = cvy_conv2d_weights(s);
    p->bias_count = (size_t)s->out_channels;
    if (p->splits > 1)
        needs->workspace = (size_t)p->splits * (p->weight_count + p->bias_count) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    const cvy_option options[] = {{"PITCH", s->pitch},
                                  {"VW", width},
                                  {"OUTS", tile.out},
                                  {"COLS", tile.in * tile.taps},
                                  {"TW", tile.taps},
                                  {"GROUPS", s->groups},
                                  {"IN_C", s->in_channels / s->groups},
                                  {"OUT_C", s->out_channels / s->groups},
                                  {"IN_H", s->in_height},
                                  {"IN_W", s->in_width},
                                  {"OUT_H", s->out_height},
                                  {"OUT_W", s->out_width},
                                  {"KH", s->kernel[0]},
                                  {"KW", s->kernel[1]},
                                  {"STRIDE_H", s->stride[0]},
                                  {"STRIDE_W", s->stride[1]},
                                  {"PAD_H", s->padding[0]},
                                  {"PAD_W", s->padding[1]},
                                  {"DIL_H", s->dilation[0]},
                                  {"DIL_W", s->dilation[1]},
                                  {"ROWS", tile.rows},
                                  {"COLUMNS", tile.columns},
                                  {"CHUNK", tile.chunk},
                                  {"SHARES", p->shares}};
    const size_t count = sizeof options / sizeof *options;
    convoy_status status = cvy_kernel_build(job->device, file, "conv2d_weights", options, count, &p->weights);
    return status ? status
                  : cvy_kernel_get_simple(job->device, "conv2d/add_partials", "conv2d_add_partials", &p->add);
}

static convoy_status run_weights(const weights_pass *p, const cvy_conv2d_buffers *b) {
    const cvy_grid grid = cvy_singles((size_t)p->splits, (size_t)p->shares * p->groups, 1);
    if (p->splits == 1)
        return CVY_LAUNCH(p->weights, grid, cvy_buf(b->in), cvy_buf(b->gy), cvy_buf(b->out),
                          cvy_buf(b->gbias), cvy_ulong(0), cvy_ulong(0), cvy_int(b->accumulate));
    convoy_status status = CVY_LAUNCH(p->weights, grid, cvy_buf(b->in), cvy_buf(b->gy), cvy_buf(b->workspace),
                                      cvy_buf(b->gbias ? b->workspace : NULL), cvy_ulong(p->weight_count),
                                      cvy_ulong(p->weight_count + p->bias_count), cvy_int(0));
    if (status)
        return status;
    return CVY_LAUNCH(p->add, cvy_items(p->weight_count + (b->gbias ? p->bias_count : 0)),
                      cvy_buf(b->workspace), cvy_buf(b->out), cvy_buf(b->gbias), cvy_ulong(p->weight_count),
                      cvy_ulong(p->bias_count), cvy_int(p->splits), cvy_int(b->accumulate));
}

/* ---- The row of the table ---- */

typedef struct state {
    bool gradient; /* of the weights; else rows */
    rows_pass rows;
    weights_pass weights;
} state;

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    state *s = prepared;
    s->gradient = job->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    return s->gradient ? prepare_weights(job, &s->weights, needs) : prepare_rows(job, &s->rows, needs);
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *s = prepared;
    return s->gradient ? run_weights(&s->weights, buffers) : run_rows(&s->rows, buffers);
}

const cvy_variant cvy_conv2d_direct_cpu = {.name = "direct_cpu",
                                           .made_for = CVY_FOR_CPUS,
                                           .supports = supports,
                                           .pays = pays,
                                           .state_size = sizeof(state),
                                           .prepare = prepare,
                                           .run = run};
