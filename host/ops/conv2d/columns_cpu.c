/* Variant columns_cpu: a few images on OpenCL devices that are CPUs, forward only; vectors lie along the row
   (kernels/conv2d/columns_cpu.cl). Here: which vectors and which register tile a shape gets, and the
   launches. */
#include <math.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

enum {
    GROUPS_PER_UNIT = 4, /* work-groups per compute unit that even out the load */
    MOST_VECTORS = 6     /* of a tile, which the kernel knows */
};

/* ---- Planes: x cut by the phases of the stride, with its padding ---- */

typedef struct planes {
    int reach[2];  /* from the first tap to the last */
    int phases[2]; /* that taps fall on */
    int size[2];   /* height, width */
} planes;

static planes planes_of(const cvy_conv2d_shape *s) {
    const int out[2] = {s->out_height, s->out_width};
    planes p;
    for (int a = 0; a < 2; a++) {
        p.reach[a] = (s->kernel[a] - 1) * s->dilation[a];
        p.phases[a] = min_int(s->stride[a], p.reach[a] + 1);
        p.size[a] = out[a] + p.reach[a] / s->stride[a];
    }
    return p;
}

static size_t floats_of_channel(const cvy_conv2d_shape *s, const planes *p) {
    return (size_t)p->phases[0] * (size_t)p->phases[1] * (size_t)p->size[0] * (size_t)p->size[1] *
           (size_t)s->pitch;
}

/* Is x itself its only plane? */
static bool is_plane(const cvy_conv2d_shape *s) {
    return s->stride[0] == 1 && s->stride[1] == 1 && s->padding[0] == 0 && s->padding[1] == 0;
}

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    if (!job->traits->cpu || job->traits->host || job->pass != CVY_CONV2D_FORWARD || s->pitch >= 16)
        return false;
    const planes p = planes_of(s); /* the kernel counts a channel's floats in ints */
    return floats_of_channel(s, &p) <= INT32_MAX && cvy_conv2d_outputs(s) <= INT32_MAX;
}

/* ---- The tile ---- */

typedef struct cut {
    int width;             /* VW */
    bool rows;             /* each output row cut by itself */
    int row_vectors;       /* of one output row, or of all of them */
    int channels, vectors; /* MR, NV */
} cut;

/* What a tap costs a tile, in half cycles: its fma's, of which eight are on their way at once, or its loads.
   Loads of x seldom keep to cache lines and count twice. */
static int step_cost(int channels, int vectors) {
    return max_int(max_int(channels * vectors, 8), channels + 2 * vectors) + 2;
}

static double cost(const cut *c, int out_channels, int row_count, int taps) {
    const int all = c->row_vectors * row_count, left = all % c->vectors;
    const int steps =
        all / c->vectors * step_cost(c->channels, c->vectors) + (left ? step_cost(c->channels, left) : 0);
    /* Lanes that run from row to row are stored one by one. */
    const double stores = c->rows ? 0 : 3.0 * out_channels * all * c->width;
    return (double)ceil_div(out_channels, c->channels) * steps * taps + stores;
}

static void improve(const cvy_conv2d_shape *s, cut c, int registers, double *lowest, cut *best) {
    const int out_channels = s->out_channels / s->groups;
    const int taps = s->in_channels / s->groups * s->kernel[0] * s->kernel[1];
    for (c.vectors = 1; c.vectors <= MOST_VECTORS; c.vectors++)
        for (c.channels = 1; c.channels <= min_int(out_channels, 14); c.channels++) {
            if (c.channels * c.vectors + c.vectors + 1 > registers)
                break;
            const double next = cost(&c, out_channels, c.rows ? s->out_height : 1, taps);
            if (next < *lowest) {
                *lowest = next;
                *best = c;
            }
        }
}

static cut choose_cut(const cvy_conv2d_shape *s, const planes *p, int widest) {
    const int lengths[2] = {((s->out_height - 1) * p->size[1] + s->out_width) * s->pitch,
                            s->out_width * s->pitch};
    const int registers = widest == 16 ? 31 : 16;
    double lowest = INFINITY;
    cut best = {0};
    for (int width = widest; width >= 1; width = width > 4 ? width / 2 : width - 3)
        for (int rows = 0; rows < 2; rows++)
            if (width <= lengths[rows])
                improve(s, (cut){width, rows, ceil_div(lengths[rows], width), 0, 0}, registers, &lowest,
                        &best);
    return best;
}

/* ---- The row of the table ---- */

typedef struct state {
    cvy_kernel *split, *columns; /* split: NULL where x is its own plane */
    cvy_grid split_grid, grid;
    int share;
} state;

static void choose_grids(const cvy_conv2d_shape *s, const planes *p, const cut *c, int units, state *made) {
    const int blocks = ceil_div(s->out_channels / s->groups, c->channels);
    const int unit = c->rows ? c->row_vectors : c->vectors; /* what is not divided */
    const int vectors = c->row_vectors * (c->rows ? s->out_height : 1), pieces = ceil_div(vectors, unit);
    const int shares = min_int(pieces, ceil_div(GROUPS_PER_UNIT * units, blocks * s->groups));
    made->share = ceil_div(pieces, shares) * unit;
    made->grid = cvy_singles((size_t)blocks, (size_t)ceil_div(vectors, made->share), (size_t)s->groups);
    made->split_grid = cvy_singles((size_t)s->in_channels, (size_t)p->phases[0], 1);
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    const cvy_conv2d_shape *s = job->shape;
    const planes p = planes_of(s);
    const cut c = choose_cut(s, &p, cvy_vector_width_of(job->traits));
    state *made = prepared;
    choose_grids(s, &p, &c, max_int(1, job->traits->compute_units), made);
    if (!is_plane(s))
        needs->workspace = (size_t)s->in_channels * floats_of_channel(s, &p) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    /* A list without the split where x is its own plane. */
    return cvy_kernels_build(
        job->device, "conv2d/columns_cpu",
        CVY_OPTIONS({"PITCH", s->pitch}, {"VW", c.width}, {"NV", c.vectors}, {"MR", c.channels},
                    {"ROWS", c.rows}, CVY_CONV2D_OPTIONS(s), {"ACTIVATION", s->activation}),
        CVY_KERNELS({"conv2d_columns", &made->columns}, {is_plane(s) ? NULL : "conv2d_split", &made->split}));
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *s = prepared;
    const cvy_conv2d_buffers *b = buffers;
    convoy_status status = CONVOY_OK;
    if (s->split)
        status = CVY_LAUNCH(s->split, s->split_grid, cvy_buf(b->in), cvy_buf(b->workspace));
    if (status)
        return status;
    return CVY_LAUNCH(s->columns, s->grid, cvy_buf(s->split ? b->workspace : b->in), cvy_buf(b->weight),
                      cvy_buf(b->bias), cvy_buf(b->out), cvy_int(s->share));
}

const cvy_variant cvy_conv2d_columns_cpu = {.name = "columns_cpu",
                                            .made_for = CVY_FOR_CPUS,
                                            .supports = supports,
                                            .state_size = sizeof(state),
                                            .prepare = prepare,
                                            .run = run};
