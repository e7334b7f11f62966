/* Variant winograd1d_cpu, F(4, 5) and F(4, 3) along the rows, for OpenCL devices that are CPUs, forward and
   backward-data (kernels/conv2d/winograd1d_cpu.cl). Here: when it pays, the register tile, and the launches.
 */
#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

enum {
    ITEMS_PER_UNIT = 8, /* work-items per compute unit, so that one slow core does not hold up the rest */
    PIXELS = 4,         /* outputs of a tile */
    RING_BYTES = 256 << 10
};

typedef struct state {
    cvy_kernel *weights, *convolve;
    cvy_conv2d_shape shape; /* of the correlation */
    bool transposed;
    int blocks, tiles, vectors, shares; /* work-items */
} state;

static int tile_of(const cvy_conv2d_shape *s) {
    return PIXELS - 1 + s->kernel[1];
}

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const size_t ring = (size_t)cvy_conv2d_correlation(job).in_channels * (size_t)tile_of(s) *
                        (size_t)(s->kernel[0] + 1) * (size_t)job->traits->vector_width * sizeof(float);
    return job->traits->cpu && !job->traits->host && cvy_conv2d_has_many_images(s) &&
           job->pass != CVY_CONV2D_BACKWARD_WEIGHTS && unit_steps && s->groups == 1 &&
           (s->kernel[1] == 3 || s->kernel[1] == 5) && ring <= RING_BYTES;
}

/* Measured against direct_cpu: a gain from one channel with 5x5 taps and two with 3x3 on, whose sums are long
   enough to pay for the output's transform, as long as the tensors, which tiles read column by column, stay
   in the cache. */
static bool pays(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const size_t bytes = (cvy_conv2d_inputs(s) + cvy_conv2d_outputs(s)) * sizeof(float);
    const cvy_conv2d_shape c = cvy_conv2d_correlation(job);
    return c.in_channels * s->kernel[0] >= 5 && c.out_channels >= 4 && bytes <= job->traits->cache / 2;
}

/* Output channels of the register tile, each in two rows, beside two vectors of the input and a weight, in 32
   registers (AVX-512) or 16: as few tiles as there can be, of equal size. */
static int choose_channels(int out_channels, int vector_width) {
    const int most = vector_width == 16 ? 14 : 6;
    return ceil_div(out_channels, ceil_div(out_channels, most));
}

/* What a program has room for: the same for many layers. */
static int most_channels(int in_channels) {
    int most = 16;
    while (most < in_channels)
        most *= 2;
    return most;
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    const cvy_conv2d_shape *s = job->shape;
    const cvy_conv2d_shape c = cvy_conv2d_correlation(job);
    const int width = job->traits->vector_width, channels = choose_channels(c.out_channels, width);
    state *p = prepared;
    *p = (state){.shape = c,
                 .transposed = job->pass != CVY_CONV2D_FORWARD,
                 .blocks = ceil_div(c.out_channels, channels),
                 .tiles = ceil_div(c.out_width, PIXELS),
                 .vectors = s->pitch / width};
    const int wanted = ITEMS_PER_UNIT * job->traits->compute_units;
    p->shares = min_int(ceil_div(c.out_height, 4), ceil_div(wanted, p->tiles * p->vectors));
    needs->fuses = c.pooling.kind != CVY_POOLING_NONE;
    needs->workspace = (size_t)p->blocks * (size_t)channels * (size_t)c.in_channels * (size_t)s->kernel[0] *
                       (size_t)tile_of(s) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    return cvy_kernels_build(
        job->device, "conv2d/winograd1d_cpu",
        CVY_OPTIONS({"PITCH", s->pitch}, {"VW", width}, {"T", tile_of(s)}, {"MR", channels},
                    {"KH", s->kernel[0]}, {"KW", s->kernel[1]}, {"ACTIVATION", s->activation},
                    {"MOST_IN_C", most_channels(c.in_channels)}),
        CVY_KERNELS({"conv2d_winograd1d_weights", &p->weights}, {"conv2d_winograd1d", &p->convolve}));
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    const cvy_conv2d_buffers *b = buffers;
    const cvy_conv2d_shape *s = &p->shape;
    const convoy_status status =
        CVY_LAUNCH(p->weights, cvy_singles((size_t)s->in_channels, (size_t)p->blocks, 1), cvy_buf(b->weight),
                   cvy_buf(b->workspace), cvy_int(s->out_channels), cvy_int(p->transposed));
    if (status)
        return status;
    return CVY_LAUNCH(p->convolve, cvy_singles((size_t)p->tiles, (size_t)p->vectors, (size_t)p->shares),
                      cvy_buf(b->in), cvy_buf(b->workspace), cvy_buf(b->bias), cvy_buf(b->out),
                      cvy_buf(b->pooled), cvy_buf(b->indices), cvy_int(s->in_channels), cvy_int(s->in_height),
                      cvy_int(s->in_width), cvy_int(s->out_channels), cvy_int(s->out_height),
                      cvy_int(s->out_width), cvy_int(s->padding[0]), cvy_int(s->padding[1]),
                      cvy_int(!p->transposed), cvy_int(s->pooling.kind), cvy_int(s->pooling.relu));
}

const cvy_variant cvy_conv2d_winograd1d_cpu = {.name = "winograd1d_cpu",
                                               .made_for = CVY_FOR_CPUS,
                                               .supports = supports,
                                               .pays = pays,
                                               .state_size = sizeof(state),
                                               .prepare = prepare,
                                               .run = run};
