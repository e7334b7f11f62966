/* Variants winograd8_cpu, F(6x6, 3x3) and F(4x4, 5x5), and winograd6_cpu, F(4x4, 3x3) and F(2x2, 5x5), for
   OpenCL devices that are CPUs, forward and backward-data (kernels/conv2d_winograd.cl). Here: when they pay,
   the register tile, and the launches. */
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "ops/conv2d_winograd.h"

enum {
    OPTIONS = 512,
    ITEMS_PER_UNIT = 4,  /* work-items per compute unit, so that one slow core does not hold up the rest */
    GROUP_CHANNELS = 48, /* output channels whose products are in scratch at a time */
    /* Bytes of transformed weights that a second-level cache holds; each pass over more of them serves
       several tiles, and more than a few gain nothing. */
    WEIGHTS_CACHE = 512 << 10,
    BATCH = 4
};

typedef struct state {
    void *backward_weights; /* NULL for the other two passes, which use the rest */
    cvy_kernel *weights, *convolve;
    int in_channels, blocks, items;
} state;

/* The accuracy of larger tiles than these does not suffice for training. */
static bool supports(const cvy_device_traits *traits, const cvy_conv2d_shape *s, cvy_conv2d_pass pass) {
    (void)pass;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const bool size = s->kernel[0] == s->kernel[1] && (s->kernel[0] == 3 || s->kernel[0] == 5);
    return traits->cpu && unit_steps && size && s->groups == 1;
}

/* Measured against direct_cpu: the transforms cost per channel, the products per pair of channels. Wherever
   tiles of 6 pay, tiles of 8 do too, and are more in front. */
static bool pays(const cvy_device_traits *traits, const cvy_conv2d_shape *s, cvy_conv2d_pass pass) {
    (void)traits; /* a CPU: `supports` */
    const int least_channels = s->kernel[0] == 3 ? 32 : pass == CVY_CONV2D_BACKWARD_WEIGHTS ? 16 : 12;
    const int least_size = s->kernel[0] == 5 ? 6 : 12;
    const int height = pass == CVY_CONV2D_BACKWARD_DATA ? s->in_height : s->out_height;
    const int width = pass == CVY_CONV2D_BACKWARD_DATA ? s->in_width : s->out_width;
    return s->in_channels >= least_channels && s->out_channels >= least_channels && height >= least_size &&
           width >= least_size;
}

/* The number of work-items, each with its own scratch, that leaves the fewest idle in the last round. */
static int choose_items(int tiles, int compute_units) {
    int best = compute_units;
    long best_rounds = -1;
    for (int items = compute_units; items <= ITEMS_PER_UNIT * compute_units && items <= tiles;
         items += compute_units) {
        const long work = (long)((tiles + items - 1) / items) * items;
        if (best_rounds < 0 || work <= best_rounds) {
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
        if ((out_channels + channels - 1) / channels * channels < (out_channels + best - 1) / best * best)
            best = channels;
    return best;
}

/* Blocks of `channels` that make up about GROUP_CHANNELS, in groups of equal size. */
static int choose_group(int blocks, int channels) {
    const int most = channels < GROUP_CHANNELS ? GROUP_CHANNELS / channels : 1;
    const int groups = (blocks + most - 1) / most;
    return (blocks + groups - 1) / groups;
}

static convoy_status prepare_tiles(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                                   int tile, state *p, size_t *workspace) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const bool forward = pass == CVY_CONV2D_FORWARD;
    const int width = traits->vector_width, kernel = s->kernel[0], vectors = s->pitch % (2 * width) ? 1 : 2;
    const int in = forward ? s->in_channels : s->out_channels,
              out = forward ? s->out_channels : s->in_channels;
    const int out_height = forward ? s->out_height : s->in_height,
              out_width = forward ? s->out_width : s->in_width;
    const int channels = choose_channels(out, width), pixels = tile + 1 - kernel; /* MR, M of the kernel */
    const int tiles = (out_height + pixels - 1) / pixels * ((out_width + pixels - 1) / pixels) *
                      (s->pitch / (vectors * width));
    char options[OPTIONS];
    p->in_channels = in;
    p->blocks = (out + channels - 1) / channels;
    const int group = choose_group(p->blocks, channels);
    const size_t products = (size_t)(tile * tile), tile_width = (size_t)(vectors * width);
    const size_t packed = (size_t)p->blocks * (size_t)channels * (size_t)in * products;
    const int batch = packed * sizeof(float) > WEIGHTS_CACHE ? BATCH : 1;
    p->items = choose_items(tiles / batch, traits->compute_units);
    /* V_SIZE and the products of the kernel, with their steps' odd vectors. */
    const size_t scratch = products * ((size_t)in * tile_width + (in * vectors % 2 ? 0 : (size_t)width)) +
                           (size_t)(group * channels) * (products * tile_width + (size_t)width);
    *workspace = (packed + (size_t)(p->items * batch) * scratch) * sizeof(float);
    snprintf(options, sizeof options,
             "-DPITCH=%d -DVW=%d -DT=%d -DNV=%d -DMR=%d -DGROUP=%d -DBATCH=%d -DK=%d -DIN_C=%d -DOUT_C=%d "
             "-DIN_H=%d "
             "-DIN_W=%d -DOUT_H=%d -DOUT_W=%d -DPAD_H=%d -DPAD_W=%d -DTRANSPOSED=%d -DACTIVATION=%d",
             s->pitch, width, tile, vectors, channels, group, batch, kernel, in, out,
             forward ? s->in_height : s->out_height, forward ? s->in_width : s->out_width, out_height,
             out_width, forward ? s->padding[0] : kernel - 1 - s->padding[0],
             forward ? s->padding[1] : kernel - 1 - s->padding[1], !forward,
             forward ? (int)s->activation : CVY_IDENTITY);
    convoy_status status =
        cvy_kernel_get(device, "conv2d_winograd", "conv2d_winograd_weights", options, &p->weights);
    if (!status)
        status = cvy_kernel_get(device, "conv2d_winograd", "conv2d_winograd", options, &p->convolve);
    return status;
}

static convoy_status prepare(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass, int tile,
                             void **prepared, size_t *workspace) {
    state *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    convoy_status status =
        pass == CVY_CONV2D_BACKWARD_WEIGHTS
            ? cvy_winograd_weights_prepare(device, s, tile, &p->backward_weights, workspace)
            : prepare_tiles(device, s, pass, tile, p, workspace);
    if (status)
        free(p);
    else
        *prepared = p;
    return status;
}

static convoy_status run(void *prepared, const cvy_conv2d_buffers *b) {
    const state *p = prepared;
    if (p->backward_weights)
        return cvy_winograd_weights_run(p->backward_weights, b);
    convoy_status status = CVY_LAUNCH(p->weights, cvy_singles((size_t)p->in_channels, (size_t)p->blocks, 1),
                                      cvy_buf(b->weight), cvy_buf(b->workspace));
    if (status)
        return status;
    return CVY_LAUNCH(p->convolve, cvy_singles((size_t)p->items, 1, 1), cvy_buf(b->in), cvy_buf(b->bias),
                      cvy_buf(b->out), cvy_buf(b->workspace));
}

static void release(void *prepared) {
    state *p = prepared;
    if (p->backward_weights)
        free(p->backward_weights);
    free(p);
}

static convoy_status prepare8(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                              void **prepared, size_t *workspace) {
    return prepare(device, s, pass, 8, prepared, workspace);
}

static convoy_status prepare6(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                              void **prepared, size_t *workspace) {
    return prepare(device, s, pass, 6, prepared, workspace);
}

const cvy_conv2d_row cvy_conv2d_winograd8_cpu = {"winograd8_cpu", supports, prepare8, run,
                                                 release,         pays,     true};
const cvy_conv2d_row cvy_conv2d_winograd6_cpu = {"winograd6_cpu", supports, prepare6, run,
                                                 release,         pays,     true};
