/* The backward-weights pass of variants winograd8_cpu and winograd6_cpu
   (kernels/conv2d/winograd_cpu_weights.cl). Here: narrow or wide, the register tile, the blocks, and the
   launches. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/winograd_cpu.h"
#include "ops/sum_rows.h"

enum {
    OPTIONS = 512,
    ITEMS_PER_UNIT = 2,       /* narrow: work-items, each with sums of its own, per compute unit */
    NARROW_BYTES = 600 << 10, /* of those sums */
    NARROW_CACHE = 896 << 10, /* of those and the scratch, where two vectors of images are taken at a time */
    BLOCK_BYTES = 12 << 20    /* wide: of both transformed sides of a block, which stay in the shared cache */
};

typedef struct weights_state {
    cvy_kernel *narrow, *tiles, *wide, *gradient;
    cvy_sum_rows bias; /* wide only */
    int in_channels, out_vectors, xi;
    int items;            /* narrow: work-items, else 0 */
    int units, all_units; /* UNITS; wide: in all */
    size_t bias_offset;   /* wide: the bias's scratch in the workspace, in floats */
} weights_state;

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

static convoy_status get_kernels(convoy_device *device, const char *options, weights_state *p) {
    const struct {
        cvy_kernel **kernel;
        const char *function;
    } wanted[] = {
        {&p->narrow, "conv2d_winograd_narrow"},
        {&p->tiles, "conv2d_winograd_tiles"},
        {&p->wide, "conv2d_winograd_wide"},
        {&p->gradient, "conv2d_winograd_gradient"},
    };
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status = cvy_kernel_get(device, "conv2d/winograd_cpu_weights", wanted[i].function, options,
                                wanted[i].kernel);
    return status;
}

/* The kernel's macros PARTIAL and SCRATCH, or for wide layers both transformed sides. */
typedef struct sizes {
    size_t partial, scratch;
} sizes;

static sizes sizes_of(const weights_state *p, bool narrow, int tile, int edge, int in_rows, int out_rows,
                      int width) {
    const size_t line = (size_t)width, columns = (size_t)p->units * line, in = (size_t)in_rows;
    const size_t out = (size_t)out_rows, t = (size_t)tile;
    const size_t x_step = in * columns + (in_rows * p->units % 2 ? 0 : line), gy_step = out * columns + line;
    const size_t rings = (size_t)p->in_channels * t * columns + line + (size_t)edge * columns * out + line;
    return (sizes){.partial = t * t * in * out + out,
                   .scratch = narrow ? t * (x_step + gy_step + rings) : t * t * (x_step + gy_step)};
}

convoy_status cvy_winograd_weights_prepare(convoy_device *device, const cvy_conv2d_shape *s, int tile,
                                           void **prepared, size_t *workspace) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const int edge = tile + 1 - s->kernel[0], width = traits->vector_width;
    const register_tile t = choose_tile(s->in_channels, s->out_channels, width);
    const int in_rows = ceil_div(s->in_channels, t.channels) * t.channels;
    const int out_rows = ceil_div(s->out_channels, t.vectors * width) * t.vectors * width;
    weights_state *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    p->xi = tile * tile;
    p->in_channels = s->in_channels;
    p->out_vectors = ceil_div(s->out_channels, width);
    p->all_units = ceil_div(s->out_height, edge) * ceil_div(s->out_width, edge) * (s->pitch / width);
    const size_t unit_bytes = (size_t)(p->xi * (in_rows + out_rows) * width) * sizeof(float);
    const size_t sum_bytes = (size_t)p->xi * (size_t)in_rows * (size_t)out_rows * sizeof(float);
    const bool narrow = sum_bytes <= NARROW_BYTES;
    sizes z;
    if (narrow) {
        p->units = s->pitch % (2 * width) ? 1 : 2;
        z = sizes_of(p, true, tile, edge, in_rows, out_rows, width);
        if (p->units == 2 && (z.partial + z.scratch) * sizeof(float) > NARROW_CACHE)
            p->units = 1;
        p->items = min_int(ITEMS_PER_UNIT * traits->compute_units, p->all_units / p->units);
    } else {
        const size_t block = 2 * sum_bytes > BLOCK_BYTES ? 2 * sum_bytes : BLOCK_BYTES;
        const int most = unit_bytes < block ? (int)(block / unit_bytes) : 1;
        p->units = ceil_div(p->all_units, ceil_div(p->all_units, most));
    }
    z = sizes_of(p, narrow, tile, edge, in_rows, out_rows, width);
    char options[OPTIONS];
    snprintf(options, sizeof options,
             "-DPITCH=%d -DVW=%d -DT=%d -DK=%d -DNV=%d -DMR=%d -DIN_C=%d -DOUT_C=%d -DIN_H=%d -DIN_W=%d "
             "-DOUT_H=%d -DOUT_W=%d -DPAD_H=%d -DPAD_W=%d -DUNITS=%d",
             s->pitch, width, tile, s->kernel[0], t.vectors, t.channels, s->in_channels, s->out_channels,
             s->in_height, s->in_width, s->out_height, s->out_width, s->padding[0], s->padding[1], p->units);
    convoy_status status = get_kernels(device, options, p);
    if (!status && !p->items)
        status = cvy_sum_rows_prepare(device, (size_t)s->out_channels,
                                      cvy_conv2d_outputs(s) / (size_t)s->out_channels, &p->bias);
    if (status) {
        free(p);
        return status;
    }
    const size_t items = p->items ? (size_t)p->items : 1;
    p->bias_offset = items * (z.partial + z.scratch);
    *workspace = (p->bias_offset + p->bias.scratch) * sizeof(float);
    *prepared = p;
    return CONVOY_OK;
}

static convoy_status run_block(const weights_state *p, const cvy_conv2d_buffers *b, int first) {
    convoy_status status =
        CVY_LAUNCH(p->tiles, cvy_singles((size_t)p->units, (size_t)(p->in_channels + p->out_vectors), 1),
                   cvy_buf(b->in), cvy_buf(b->gy), cvy_buf(b->workspace), cvy_int(first));
    if (!status)
        status =
            CVY_LAUNCH(p->wide, cvy_singles((size_t)p->xi, 1, 1), cvy_buf(b->workspace), cvy_int(first > 0));
    return status;
}

convoy_status cvy_winograd_weights_run(void *prepared, const cvy_conv2d_buffers *b) {
    const weights_state *p = prepared;
    convoy_status status = CONVOY_OK;
    if (p->items)
        status = CVY_LAUNCH(p->narrow, cvy_singles((size_t)p->items, 1, 1), cvy_buf(b->in), cvy_buf(b->gy),
                            cvy_buf(b->workspace));
    for (int first = 0; !p->items && first < p->all_units && !status; first += p->units)
        status = run_block(p, b, first);
    if (!status)
        status = CVY_LAUNCH(p->gradient, cvy_singles((size_t)p->out_vectors, (size_t)p->in_channels, 1),
                            cvy_buf(b->workspace), cvy_buf(b->out), cvy_buf(p->items ? b->gbias : NULL),
                            cvy_int(p->items ? p->items : 1), cvy_int(b->accumulate));
    return status || p->items
               ? status
               : cvy_sum_rows_run(&p->bias, b->gy, b->gbias, b->accumulate, b->workspace, p->bias_offset);
}
