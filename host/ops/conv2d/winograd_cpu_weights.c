/* The backward-weights pass of variants winograd8_cpu and winograd6_cpu
   (kernels/conv2d/winograd_cpu_weights.cl). Here: narrow or wide, the register tile, the blocks, and the
   launches. */
#include <limits.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/winograd_cpu.h"

enum {
    ITEMS_PER_UNIT = 2,       /* narrow: work-items, each with sums of its own, per compute unit */
    NARROW_BYTES = 600 << 10, /* of those sums */
    NARROW_CACHE = 896 << 10, /* of those and the scratch, where two vectors of images are taken at a time */
    BLOCK_BYTES = 12 << 20    /* wide: of both transformed sides of a block, which stay in the shared cache */
};

typedef struct register_tile {
    int channels, vectors; /* MR, NV */
} register_tile;

/* A step costs its fma's or its loads, whichever is more; the last tiles of both axes may be partly waste. */
static register_tile choose_tile(int in_channels, int out_channels, int vector_width) {
    const int most = vector_width == 16 ? 24 : 12;
    register_tile best = {1, 1};
    int best_cost = INT_MAX;
    for (int vectors = 1; vectors <= 3; vectors++)
        for (int channels = 1; channels * vectors <= most; channels++) {
            const int sums = channels * vectors, loads = channels + vectors;
            const int cost = ceil_div(in_channels, channels) *
                             ceil_div(out_channels, vectors * vector_width) *
                             ((sums > loads ? sums : loads) + 1);
            if (cost < best_cost) {
                best_cost = cost;
                best = (register_tile){channels, vectors};
            }
        }
    return best;
}

/* A plan on its way: the rows of both transformed sides. */
typedef struct layout {
    size_t tile, in_rows, out_rows, width;
} layout;

/* The kernel's macro PARTIAL and the scratch, or for wide layers both transformed sides; in floats. */
static size_t floats_of(const cvy_winograd_weights *p, const layout *l, bool narrow) {
    const size_t columns = p->units * l->width, t = l->tile;
    const size_t x_step = l->in_rows * columns + (l->in_rows * p->units % 2 ? 0 : l->width);
    const size_t gy_step = l->out_rows * columns + l->width;
    const size_t rings =
        (size_t)p->in[0] * t * columns + l->width + (size_t)p->edge * columns * l->out_rows + l->width;
    const size_t partial = t * t * l->in_rows * l->out_rows + l->out_rows;
    return partial + (narrow ? t * (x_step + gy_step + rings) : t * t * (x_step + gy_step));
}

static void plan(const cvy_job *job, int tile, cvy_winograd_weights *p) {
    const cvy_conv2d_shape *s = job->shape;
    const int width = job->traits->vector_width;
    const register_tile t = choose_tile(s->in_channels, s->out_channels, width);
    const layout l = {.tile = (size_t)tile,
                      .in_rows = round_up((size_t)s->in_channels, (size_t)t.channels),
                      .out_rows = round_up((size_t)s->out_channels, (size_t)t.vectors * (size_t)width),
                      .width = (size_t)width};
    p->edge = tile + 1 - s->kernel[0];
    p->channels = t.channels;
    p->vectors = t.vectors;
    p->xi = (size_t)tile * (size_t)tile;
    p->in[0] = s->in_channels;
    p->in[1] = s->in_height;
    p->in[2] = s->in_width;
    p->out[0] = s->out_channels;
    p->out[1] = s->out_height;
    p->out[2] = s->out_width;
    p->padding[0] = s->padding[0];
    p->padding[1] = s->padding[1];
    p->out_vectors = (size_t)ceil_div(s->out_channels, width);
    p->all_units = (size_t)ceil_div(s->out_height, p->edge) * (size_t)ceil_div(s->out_width, p->edge) *
                   (size_t)(s->pitch / width);
    const size_t unit_bytes = p->xi * (l.in_rows + l.out_rows) * l.width * sizeof(float);
    const size_t sum_bytes = p->xi * l.in_rows * l.out_rows * sizeof(float);
    if (sum_bytes <= NARROW_BYTES) {
        p->units = s->pitch % (2 * width) ? 1 : 2;
        if (p->units == 2 && floats_of(p, &l, true) * sizeof(float) > NARROW_CACHE)
            p->units = 1;
        p->items = min_size(ITEMS_PER_UNIT * (size_t)job->traits->compute_units, p->all_units / p->units);
        p->bias_offset = p->items * floats_of(p, &l, true);
    } else {
        const size_t most = max_size(1, max_size(2 * sum_bytes, BLOCK_BYTES) / unit_bytes);
        p->units = ceil_div_size(p->all_units, ceil_div_size(p->all_units, most));
        p->bias_offset = floats_of(p, &l, false);
        cvy_sum_rows_plan(job->traits, (size_t)s->out_channels,
                          cvy_conv2d_outputs(s) / (size_t)s->out_channels, &p->bias);
    }
}

convoy_status cvy_winograd_weights_prepare(const cvy_job *job, int tile, cvy_winograd_weights *p,
                                           cvy_needs *needs) {
    const cvy_conv2d_shape *s = job->shape;
    const struct {
        cvy_kernel **kernel;
        const char *function;
    } wanted[] = {
        {&p->narrow, "conv2d_winograd_narrow"},
        {&p->tiles, "conv2d_winograd_tiles"},
        {&p->wide, "conv2d_winograd_wide"},
        {&p->gradient, "conv2d_winograd_gradient"},
    };
    plan(job, tile, p);
    needs->workspace = (p->bias_offset + p->bias.scratch) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    const cvy_option options[] = {{"PITCH", s->pitch},
                                  {"VW", job->traits->vector_width},
                                  {"T", tile},
                                  {"K", s->kernel[0]},
                                  {"NV", p->vectors},
                                  {"MR", p->channels},
                                  {"UNITS", p->items ? (int)p->units : 0}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status = cvy_kernel_build(job->device, "conv2d/winograd_cpu_weights", wanted[i].function, options,
                                  sizeof options / sizeof *options, wanted[i].kernel);
    if (!status && !p->items)
        status = cvy_sum_rows_prepare(job->device, &p->bias);
    return status;
}

static convoy_status run_narrow(const cvy_winograd_weights *p, const cvy_conv2d_buffers *b) {
    return CVY_LAUNCH(p->narrow, cvy_singles(p->items, 1, 1), cvy_buf(b->in), cvy_buf(b->gy),
                      cvy_buf(b->workspace), cvy_int(p->in[0]), cvy_int(p->in[1]), cvy_int(p->in[2]),
                      cvy_int(p->out[0]), cvy_int(p->out[1]), cvy_int(p->out[2]), cvy_int(p->padding[0]),
                      cvy_int(p->padding[1]));
}

static convoy_status run_block(const cvy_winograd_weights *p, const cvy_conv2d_buffers *b, size_t first) {
    convoy_status status =
        CVY_LAUNCH(p->tiles, cvy_singles(p->units, (size_t)p->in[0] + p->out_vectors, 1), cvy_buf(b->in),
                   cvy_buf(b->gy), cvy_buf(b->workspace), cvy_int((int)first), cvy_int(p->in[0]),
                   cvy_int(p->in[1]), cvy_int(p->in[2]), cvy_int(p->out[0]), cvy_int(p->out[1]),
                   cvy_int(p->out[2]), cvy_int(p->padding[0]), cvy_int(p->padding[1]));
    if (!status)
        status = CVY_LAUNCH(p->wide, cvy_singles(p->xi, 1, 1), cvy_buf(b->workspace), cvy_int(first > 0),
                            cvy_int(p->in[0]), cvy_int(p->out[0]), cvy_int((int)p->units));
    return status;
}

convoy_status cvy_winograd_weights_run(const cvy_winograd_weights *p, const cvy_conv2d_buffers *b) {
    convoy_status status = p->items ? run_narrow(p, b) : CONVOY_OK;
    for (size_t first = 0; !p->items && first < p->all_units && !status; first += p->units)
        status = run_block(p, b, first);
    if (!status)
        status = CVY_LAUNCH(p->gradient, cvy_singles(p->out_vectors, (size_t)p->in[0], 1),
                            cvy_buf(b->workspace), cvy_buf(b->out), cvy_buf(p->items ? b->gbias : NULL),
                            cvy_int(p->items ? (int)p->items : 1), cvy_int(b->accumulate), cvy_int(p->in[0]),
                            cvy_int(p->out[0]));
    return status || p->items
               ? status
               : cvy_sum_rows_run(&p->bias, b->gy, b->gbias, b->accumulate, b->workspace, p->bias_offset);
}
