/* Variant winograd1d_cpu, F(4, 5) and F(4, 3) along the rows, for OpenCL devices that are CPUs, forward and
   backward-data (kernels/conv2d/winograd1d_cpu.cl). Here: when it pays, the register tile, and the launches.
 */
#include <stdio.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"

enum {
    OPTIONS = 512,
    ITEMS_PER_UNIT = 8, /* work-items per compute unit, so that one slow core does not hold up the rest */
    PIXELS = 4,         /* outputs of a tile */
    RING_BYTES = 256 << 10
};

/* The convolution that a pass is, see the kernel's first comment. */
typedef struct direction {
    int in, out, in_size[2], out_size[2], pad[2];
} direction;

static direction direction_of(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    if (job->pass == CVY_CONV2D_FORWARD)
        return (direction){s->in_channels,
                           s->out_channels,
                           {s->in_height, s->in_width},
                           {s->out_height, s->out_width},
                           {s->padding[0], s->padding[1]}};
    return (direction){s->out_channels,
                       s->in_channels,
                       {s->out_height, s->out_width},
                       {s->in_height, s->in_width},
                       {s->kernel[0] - 1 - s->padding[0], s->kernel[1] - 1 - s->padding[1]}};
}

typedef struct state {
    cvy_kernel *weights, *convolve;
    int in_channels, blocks;
    int tiles, vectors, shares; /* work-items */
} state;

static int tile_of(const cvy_conv2d_shape *s) {
    return PIXELS - 1 + s->kernel[1];
}

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const size_t ring = (size_t)direction_of(job).in * (size_t)tile_of(s) * (size_t)(s->kernel[0] + 1) *
                        (size_t)job->traits->vector_width * sizeof(float);
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
    const direction d = direction_of(job);
    return d.in * s->kernel[0] >= 5 && d.out >= 4 && bytes <= job->traits->cache / 2;
}

/* Output channels of the register tile, each in two rows, beside two vectors of the input and a weight, in 32
   registers (AVX-512) or 16: as few tiles as there can be, of equal size. */
static int choose_channels(int out_channels, int vector_width) {
    const int most = vector_width == 16 ? 14 : 6;
    return ceil_div(out_channels, ceil_div(out_channels, most));
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    static const char *const file = "conv2d/winograd1d_cpu";
    const cvy_conv2d_shape *s = job->shape;
    const direction d = direction_of(job);
    const int width = job->traits->vector_width, channels = choose_channels(d.out, width);
    const bool forward = job->pass == CVY_CONV2D_FORWARD;
    const bool pools = forward && s->pooling.kind != CVY_POOLING_NONE;
    state *p = prepared;
    *p = (state){.in_channels = d.in,
                 .blocks = ceil_div(d.out, channels),
                 .tiles = ceil_div(d.out_size[1], PIXELS),
                 .vectors = s->pitch / width};
    const int wanted = ITEMS_PER_UNIT * job->traits->compute_units;
    p->shares = min_int(ceil_div(d.out_size[0], 4), ceil_div(wanted, p->tiles * p->vectors));
    needs->fuses = pools;
    needs->workspace = (size_t)p->blocks * (size_t)channels * (size_t)d.in * (size_t)s->kernel[0] *
                       (size_t)tile_of(s) * sizeof(float);
    if (job->describes)
        return CONVOY_OK;
    char options[OPTIONS];
    snprintf(
        options, sizeof options,
        "-DPITCH=%d -DVW=%d -DT=%d -DMR=%d -DIN_C=%d -DOUT_C=%d -DIN_H=%d -DIN_W=%d -DOUT_H=%d -DOUT_W=%d "
        "-DKH=%d -DKW=%d -DPAD_H=%d -DPAD_W=%d -DTRANSPOSED=%d -DACTIVATION=%d -DPOOL=%d -DPOOL_RELU=%d",
        s->pitch, width, tile_of(s), channels, d.in, d.out, d.in_size[0], d.in_size[1], d.out_size[0],
        d.out_size[1], s->kernel[0], s->kernel[1], d.pad[0], d.pad[1], !forward,
        forward ? (int)s->activation : CVY_IDENTITY, pools ? (int)s->pooling.kind : CVY_POOLING_NONE,
        pools && s->pooling.relu);
    convoy_status status =
        cvy_kernel_get(job->device, file, "conv2d_winograd1d_weights", options, &p->weights);
    return status ? status : cvy_kernel_get(job->device, file, "conv2d_winograd1d", options, &p->convolve);
}

static convoy_status run(void *prepared, const void *buffers) {
    const state *p = prepared;
    const cvy_conv2d_buffers *b = buffers;
    const convoy_status status =
        CVY_LAUNCH(p->weights, cvy_singles((size_t)p->in_channels, (size_t)p->blocks, 1), cvy_buf(b->weight),
                   cvy_buf(b->workspace));
    if (status)
        return status;
    return CVY_LAUNCH(p->convolve, cvy_singles((size_t)p->tiles, (size_t)p->vectors, (size_t)p->shares),
                      cvy_buf(b->in), cvy_buf(b->workspace), cvy_buf(b->bias), cvy_buf(b->out),
                      cvy_buf(b->pooled), cvy_buf(b->indices));
}

const cvy_variant cvy_conv2d_winograd1d_cpu = {.name = "winograd1d_cpu",
                                               .made_for = CVY_FOR_CPUS,
                                               .supports = supports,
                                               .pays = pays,
                                               .state_size = sizeof(state),
                                               .prepare = prepare,
                                               .run = run};
