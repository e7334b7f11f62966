/* Variants winograd8_cpu, F(6x6, 3x3) and F(4x4, 5x5), and winograd6_cpu, F(4x4, 3x3) and F(2x2, 5x5), for
   OpenCL devices that are CPUs, forward and backward-data (kernels/conv2d/winograd_cpu.cl). Here: when they
   pay, the register tile, and the launches. */
#include <math.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/winograd_cpu.h"

enum {
    ITEMS_PER_UNIT = 4,  /* work-items per compute unit, so that one slow core does not hold up the rest */
    GROUP_CHANNELS = 48, /* output channels whose products are in scratch at a time */
    /* Bytes of transformed weights that a second-level cache holds; each pass over more of them serves
       several tiles, and more than a few gain nothing. */
    WEIGHTS_CACHE = 512 << 10,
    BATCH = 4,
    ROWS_SCRATCH = 896 << 10 /* bytes that stay in a second-level cache */
};

/* The accuracy of larger tiles than these does not suffice for training. */
static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const bool size = s->kernel[0] == s->kernel[1] && (s->kernel[0] == 3 || s->kernel[0] == 5);
    return job->traits->cpu && cvy_conv2d_has_many_images(s) && unit_steps && size && s->groups == 1;
}

/* What is written: the output, or in backward-data the input. */
static int written_height(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    return job->pass == CVY_CONV2D_BACKWARD_DATA ? s->in_height : s->out_height;
}

static int written_width(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    return job->pass == CVY_CONV2D_BACKWARD_DATA ? s->in_width : s->out_width;
}

/* Products of all tiles that cover what is written, of one pair of channels. */
static long products_of(const cvy_job *job, int tile) {
    const int pixels = tile + 1 - ((const cvy_conv2d_shape *)job->shape)->kernel[0];
    return (long)ceil_div(written_height(job), pixels) * ceil_div(written_width(job), pixels) * tile * tile;
}

/* Measured against direct_cpu: the transforms cost per channel, the products per pair of channels. */
static bool has_channels(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const int least_channels = s->kernel[0] == 3 ? 32 : 12;
    return s->in_channels >= least_channels && s->out_channels >= least_channels;
}

/* Of 5x5 kernels, tiles of 8 pay wherever tiles of 6 do, and are more in front. */
static bool pays8(const cvy_job *job) {
    const bool small_kernel = ((const cvy_conv2d_shape *)job->shape)->kernel[0] == 3;
    const int least_size = small_kernel ? 12 : 6;
    return has_channels(job) && written_height(job) >= least_size && written_width(job) >= least_size &&
           (!small_kernel || products_of(job, 8) < products_of(job, 6));
}

/* Of 3x3 kernels, tiles of 6 pay as long as they save half of the products: maps of 7x7 are a third faster to
   twice as fast as direct_cpu's. */
static bool pays6(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const long direct = (long)written_height(job) * written_width(job) * s->kernel[0] * s->kernel[1];
    return has_channels(job) && s->kernel[0] == 3 && written_height(job) >= 4 && written_width(job) >= 4 &&
           2 * products_of(job, 6) <= direct;
}

/* The number of work-items, each with its own scratch, that leaves the fewest idle in the last round. */
static size_t choose_items(size_t tiles, size_t compute_units) {
    size_t best = compute_units, best_rounds = SIZE_MAX;
    for (size_t items = compute_units; items <= ITEMS_PER_UNIT * compute_units && items <= tiles;
         items += compute_units) {
        const size_t work = round_up(tiles, items);
        if (work <= best_rounds) {
            best_rounds = work;
            best = items;
        }
    }
    return best;
}

/* Output channels of the register tile: what 32 (AVX-512) or 16 vector registers hold beside two vectors of
   images, and of those the number that leaves the least of the last tile unused. */
static int choose_channels(int out_channels, int vector_width) {
    const int most = vector_width == 16 ? 12 : 6, least = vector_width == 16 ? 8 : 4;
    int best = most;
    for (int channels = most; channels >= least; channels--)
        if (ceil_div(out_channels, channels) * channels < ceil_div(out_channels, best) * best)
            best = channels;
    return best;
}

/* Blocks of `channels` that make up about GROUP_CHANNELS, in groups of equal size. */
static int choose_group(int blocks, int channels) {
    const int most = channels < GROUP_CHANNELS ? GROUP_CHANNELS / channels : 1;
    return ceil_div(blocks, ceil_div(blocks, most));
}

/* The convolution that a pass is, see the kernel's first comment, and how it is cut up. */
typedef struct tiling {
    int in, out, in_size[2], out_size[2], pad[2];
    int pixels, channels, vectors; /* M, MR, NV */
    int group, batch;              /* blocks, tiles at a time */
    bool rows;                     /* conv2d_winograd_rows */
    size_t packed, scratch;        /* floats */
} tiling;

/* What the kernels have as `scratch`. */
static size_t scratch_of(const tiling *t, int tile, int width) {
    const size_t in = (size_t)t->in, line = (size_t)width, pixel = line * (size_t)t->vectors;
    const size_t edge = (size_t)tile, blocked = (size_t)t->channels * (size_t)t->group;
    const size_t v_step = in * pixel + (t->in * t->vectors % 2 ? 0 : line);
    if (!t->rows)
        return edge * edge * v_step + blocked * (edge * edge * pixel + line);
    return edge * (in * edge * pixel + line + v_step) + blocked * (edge * pixel + line) +
           (size_t)t->out * (edge * (size_t)t->pixels * pixel + line);
}

static tiling choose_tiling(const cvy_device_traits *traits, const cvy_conv2d_shape *s, bool forward,
                            int tile) {
    const int width = traits->vector_width, kernel = s->kernel[0];
    tiling t = {.in = forward ? s->in_channels : s->out_channels,
                .out = forward ? s->out_channels : s->in_channels,
                .in_size = {forward ? s->in_height : s->out_height, forward ? s->in_width : s->out_width},
                .out_size = {forward ? s->out_height : s->in_height, forward ? s->out_width : s->in_width},
                .pixels = tile + 1 - kernel,
                .vectors = s->pitch % (2 * width) ? 1 : 2};
    for (int a = 0; a < 2; a++)
        t.pad[a] = forward ? s->padding[a] : kernel - 1 - s->padding[a];
    t.channels = choose_channels(t.out, width);
    const int blocks = ceil_div(t.out, t.channels);
    t.group = choose_group(blocks, t.channels);
    t.packed =
        round_up((size_t)blocks * (size_t)t.channels * (size_t)t.in * (size_t)(tile * tile), (size_t)width);
    t.batch = t.packed * sizeof(float) > WEIGHTS_CACHE ? BATCH : 1;
    t.scratch = scratch_of(&t, tile, width);
    if ((cvy_conv2d_inputs(s) + cvy_conv2d_outputs(s)) * sizeof(float) > traits->cache / 2) {
        tiling rows = t;
        rows.rows = true;
        rows.group = blocks;
        rows.batch = 1;
        rows.scratch = scratch_of(&rows, tile, width);
        if ((rows.scratch + rows.packed) * sizeof(float) <= ROWS_SCRATCH)
            return rows;
    }
    return t;
}

typedef struct state {
    bool gradient;
    cvy_winograd_weights backward_weights; /* the other two passes use the rest */
    cvy_kernel *weights, *convolve;
    tiling t;
    bool transposed;
    float least;                          /* of the output: 0 is ReLU */
    size_t packed_vectors, blocks, items; /* of the transformed weights: vectors in a block's element */
} state;

static convoy_status prepare_tiles(const cvy_job *job, int tile, state *p, cvy_needs *needs) {
    static const char *const file = "conv2d/winograd_cpu";
    const cvy_conv2d_shape *s = job->shape;
    const bool forward = job->pass == CVY_CONV2D_FORWARD;
    const int width = job->traits->vector_width;
    const tiling t = p->t = choose_tiling(job->traits, s, forward, tile);
    const size_t tiles = (size_t)ceil_div(t.out_size[0], t.pixels) *
                         (size_t)ceil_div(t.out_size[1], t.pixels) * (size_t)(s->pitch / (t.vectors * width));
    p->packed_vectors = ceil_div_size((size_t)t.in * (size_t)t.channels, (size_t)width);
    p->blocks = (size_t)ceil_div(t.out, t.channels);
    p->items = choose_items(tiles / (size_t)t.batch, (size_t)job->traits->compute_units);
    p->transposed = !forward;
    p->least = forward && s->activation == CVY_RELU ? 0.0f : -INFINITY;
    needs->workspace = (t.packed + p->items * (size_t)t.batch * t.scratch) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    const size_t written = (forward ? cvy_conv2d_outputs(s) : cvy_conv2d_inputs(s)) * sizeof(float);
    const cvy_option options[] = {
        {"PITCH", s->pitch},
        {"VW", width},
        {"T", tile},
        {"NV", t.vectors},
        {"MR", t.channels},
        {"BATCH", t.batch},
        {"K", s->kernel[0]},
        {"ACTIVATION", forward && s->activation != CVY_RELU ? (int)s->activation : CVY_IDENTITY},
        {"STREAM", t.rows && written > job->traits->cache / 2}};
    const size_t count = sizeof options / sizeof *options;
    const char *function = t.rows ? "conv2d_winograd_rows" : "conv2d_winograd";
    convoy_status status =
        cvy_kernel_build(job->device, file, "conv2d_winograd_weights", options, count, &p->weights);
    return status ? status : cvy_kernel_build(job->device, file, function, options, count, &p->convolve);
}

static convoy_status prepare(const cvy_job *job, int tile, state *p, cvy_needs *needs) {
    p->gradient = job->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    return p->gradient ? cvy_winograd_weights_prepare(job, tile, &p->backward_weights, needs)
                       : prepare_tiles(job, tile, p, needs);
}

static convoy_status prepare8(const cvy_job *job, void *prepared, cvy_needs *needs) {
    return prepare(job, 8, prepared, needs);
}

static convoy_status prepare6(const cvy_job *job, void *prepared, cvy_needs *needs) {
    return prepare(job, 6, prepared, needs);
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    const cvy_conv2d_buffers *b = buffers;
    if (p->gradient)
        return cvy_winograd_weights_run(&p->backward_weights, b);
    const tiling *t = &p->t;
    convoy_status status =
        CVY_LAUNCH(p->weights, cvy_singles(p->packed_vectors, p->blocks, 1), cvy_buf(b->weight),
                   cvy_buf(b->workspace), cvy_int(t->in), cvy_int(t->out), cvy_int(p->transposed));
    if (status)
        return status;
    return CVY_LAUNCH(p->convolve, cvy_singles(p->items, 1, 1), cvy_buf(b->in), cvy_buf(b->bias),
                      cvy_buf(b->out), cvy_buf(b->workspace), cvy_int(t->in), cvy_int(t->in_size[0]),
                      cvy_int(t->in_size[1]), cvy_int(t->out), cvy_int(t->out_size[0]),
                      cvy_int(t->out_size[1]), cvy_int(t->pad[0]), cvy_int(t->pad[1]), cvy_int(t->group),
                      cvy_float(p->least));
}

const cvy_variant cvy_conv2d_winograd8_cpu = {.name = "winograd8_cpu",
                                              .made_for = CVY_FOR_CPUS,
                                              .supports = supports,
                                              .pays = pays8,
                                              .state_size = sizeof(state),
                                              .prepare = prepare8,
                                              .run = run};
const cvy_variant cvy_conv2d_winograd6_cpu = {.name = "winograd6_cpu",
                                              .made_for = CVY_FOR_CPUS,
                                              .supports = supports,
                                              .pays = pays6,
                                              .state_size = sizeof(state),
                                              .prepare = prepare6,
                                              .run = run};
