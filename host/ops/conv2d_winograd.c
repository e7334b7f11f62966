/* Variant winograd_cpu: F(4x4, 3x3) and F(2x2, 5x5) for OpenCL devices that are CPUs, forward and
   backward-data (kernels/conv2d_winograd.cl). Here: when it pays, the register tile, and the launches. */
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "ops/conv2d_winograd.h"

enum {
    OPTIONS = 512,
    TILE = 6,
    PRODUCTS = TILE * TILE,
    ITEMS_PER_UNIT = 4 /* work-items per compute unit, so that one slow core does not hold up the rest */
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

/* Measured against direct_cpu: the transforms cost per channel, the products per pair of channels, and tiles
   that stick out of a small image are computed all the same. */
static bool pays(const cvy_device_traits *traits, const cvy_conv2d_shape *s, cvy_conv2d_pass pass) {
    (void)traits; /* a CPU: `supports` */
    const int least_channels = pass == CVY_CONV2D_BACKWARD_WEIGHTS ? 64 : 24, least_size = 2 * TILE;
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

static convoy_status prepare_tiles(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                                   state *p, size_t *workspace) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const bool forward = pass == CVY_CONV2D_FORWARD;
    const int width = traits->vector_width, kernel = s->kernel[0], vectors = s->pitch % (2 * width) ? 1 : 2;
    const int in = forward ? s->in_channels : s->out_channels,
              out = forward ? s->out_channels : s->in_channels;
    const int out_height = forward ? s->out_height : s->in_height,
              out_width = forward ? s->out_width : s->in_width;
    const int channels = choose_channels(out, width), pixels = TILE + 1 - kernel; /* MR, M of the kernel */
    const int tiles = (out_height + pixels - 1) / pixels * ((out_width + pixels - 1) / pixels) *
                      (s->pitch / (vectors * width));
    char options[OPTIONS];
    p->in_channels = in;
    p->blocks = (out + channels - 1) / channels;
    p->items = choose_items(tiles, traits->compute_units);
    const size_t packed = (size_t)p->blocks * (size_t)channels * (size_t)in * PRODUCTS;
    const size_t scratch = (size_t)(in + channels) * PRODUCTS * (size_t)(vectors * width);
    *workspace = (packed + (size_t)p->items * scratch) * sizeof(float);
    snprintf(options, sizeof options,
             "-DPITCH=%d -DVW=%d -DNV=%d -DMR=%d -DK=%d -DIN_C=%d -DOUT_C=%d -DIN_H=%d -DIN_W=%d -DOUT_H=%d "
             "-DOUT_W=%d "
             "-DPAD_H=%d -DPAD_W=%d -DTRANSPOSED=%d",
             s->pitch, width, vectors, channels, kernel, in, out, forward ? s->in_height : s->out_height,
             forward ? s->in_width : s->out_width, out_height, out_width,
             forward ? s->padding[0] : kernel - 1 - s->padding[0],
             forward ? s->padding[1] : kernel - 1 - s->padding[1], !forward);
    convoy_status status =
        cvy_kernel_get(device, "conv2d_winograd", "conv2d_winograd_weights", options, &p->weights);
    if (!status)
        status = cvy_kernel_get(device, "conv2d_winograd", "conv2d_winograd", options, &p->convolve);
    return status;
}

static convoy_status prepare(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                             void **prepared, size_t *workspace) {
    state *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    convoy_status status = pass == CVY_CONV2D_BACKWARD_WEIGHTS
                               ? cvy_winograd_weights_prepare(device, s, &p->backward_weights, workspace)
                               : prepare_tiles(device, s, pass, p, workspace);
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
        cvy_winograd_weights_release(p->backward_weights);
    free(p);
}

const cvy_conv2d_row cvy_conv2d_winograd_cpu = {"winograd_cpu", supports, prepare, run, release, pays, false};
