/* Variant winograd_gpu: F(4x4, 3x3) and F(2x2, 5x5) in three stages (kernels/conv2d_winograd_gpu.cl):
   transform a chunk of tiles, one batched matrix product, transform back. Here: when it pays, the chunks, the
   launches. */
#include <stdio.h>
#include <stdlib.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d_variant.h"
#include "ops/gemm_batched.h"
#include "ops/sum_rows.h"

enum {
    OPTIONS = 512,
    TILE = 6,
    PRODUCTS = TILE * TILE,
    CHUNK_BYTES = 128 << 20, /* of transformed tiles: products enough to fill a large device */
    PARTS_BYTES = 64 << 20,  /* of the weight gradient's partial sums */
    LONGEST_SUM = 512,       /* columns of a part, where PARTS_BYTES allow it: longer sums lose accuracy */
    ALIGNMENT = 64           /* floats; of the matrices in the workspace */
};

typedef struct state {
    cvy_conv2d_pass pass;
    size_t in, out; /* channels of what is convolved and of the result: gy and gx in backward-data */
    size_t in_pitch, out_pitch; /* the same, rounded up to rows of a matrix */
    size_t tiles, chunk;        /* of all images at once; chunk: in all chunks but the last */
    size_t pitch;
    size_t parts, depth; /* of the product: of backward-weights several, of `depth` columns */
    cvy_kernel *weights, *input, *output;  /* forward, backward-data; `input` in backward-weights too */
    cvy_kernel *gradient_tiles, *gradient; /* backward-weights */
    cvy_gemm_batched product;
    cvy_sum_rows bias;
    /* Floats into the workspace: transformed weights or the parts of their gradient, tiles of the input, and
       products (or tiles of gy); behind them the scratch of the bias gradient. */
    size_t v_offset, products_offset, bias_offset;
} state;

/* The accuracy of larger tiles than these does not suffice for training. */
static bool supports(const cvy_device_traits *traits, const cvy_conv2d_shape *s, cvy_conv2d_pass pass) {
    (void)pass;
    const bool unit_steps =
        s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    const bool size = s->kernel[0] == s->kernel[1] && (s->kernel[0] == 3 || s->kernel[0] == 5);
    return cvy_gemm_batched_supports(traits) && unit_steps && size && s->groups == 1;
}

static size_t count_tiles(int height, int width, int kernel) {
    const int edge = TILE + 1 - kernel;
    return (size_t)((height + edge - 1) / edge) * (size_t)((width + edge - 1) / edge);
}

/* Per tile of one image, with C input and K output channels:

     multiply-adds saved:  C K (kernel^2 pixels - 36)
     bytes moved more:     4 * 36 * 2 * (C + K), the transformed input and the products, written once and read
   once

   `pixels` is what a tile has of the output on average: up to 16 (3x3) or 4 (5x5). A byte costs as much time
   as BALANCE multiply-adds: large GPUs do 20 to 40 flops per byte of memory traffic (H100 20, RTX 3060 36, RX
   580 24), integrated ones 10 to 20, of which a product reaches about 70%. So a 3x3 kernel on whole tiles
   pays from about 43 channels on both sides, a 5x5 kernel from 72. Backward-weights moves and multiplies the
   same. */
static bool pays(const cvy_device_traits *traits, const cvy_conv2d_shape *s, cvy_conv2d_pass pass) {
    const double BALANCE = 8;
    const bool data = pass == CVY_CONV2D_BACKWARD_DATA;
    const int height = data ? s->in_height : s->out_height, width = data ? s->in_width : s->out_width;
    const double tiles = (double)count_tiles(height, width, s->kernel[0]);
    const double channels_in = s->in_channels, channels_out = s->out_channels;
    const double pixels = (double)height * width / tiles;
    const double saved = channels_in * channels_out * (s->kernel[0] * s->kernel[1] * pixels - PRODUCTS);
    return !traits->cpu && saved >= BALANCE * 4 * PRODUCTS * 2 * (channels_in + channels_out);
}

/* ---- Preparing ---- */

static convoy_status get_kernels(convoy_device *device, const cvy_conv2d_shape *s, state *p) {
    const bool data = p->pass == CVY_CONV2D_BACKWARD_DATA;
    const int kernel = s->kernel[0];
    char options[OPTIONS];
    snprintf(options, sizeof options,
             "-DPITCH=%d -DK=%d -DIN_C=%zu -DOUT_C=%zu -DIN_H=%d -DIN_W=%d -DOUT_H=%d -DOUT_W=%d -DPAD_H=%d "
             "-DPAD_W=%d -DTRANSPOSED=%d -DACTIVATION=%d",
             s->pitch, kernel, p->in, p->out, data ? s->out_height : s->in_height,
             data ? s->out_width : s->in_width, data ? s->in_height : s->out_height,
             data ? s->in_width : s->out_width, data ? kernel - 1 - s->padding[0] : s->padding[0],
             data ? kernel - 1 - s->padding[1] : s->padding[1], data,
             p->pass == CVY_CONV2D_FORWARD ? (int)s->activation : CVY_IDENTITY);
    const struct {
        cvy_kernel **kernel;
        const char *function;
    } wanted[] = {{&p->weights, "conv2d_winograd_gpu_weights"},
                  {&p->input, "conv2d_winograd_gpu_input"},
                  {&p->output, "conv2d_winograd_gpu_output"},
                  {&p->gradient_tiles, "conv2d_winograd_gpu_gradient_tiles"},
                  {&p->gradient, "conv2d_winograd_gpu_gradient"}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status = cvy_kernel_get(device, "conv2d_winograd_gpu", wanted[i].function, options, wanted[i].kernel);
    return status;
}

/* The product of a chunk of `tiles`. */
static cvy_gemm_batched_shape product_of(const state *p, size_t tiles) {
    const bool gradient = p->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    const size_t columns = tiles * p->pitch;
    return (cvy_gemm_batched_shape){.batch = PRODUCTS,
                                    .m = p->out,
                                    .n = gradient ? p->in : columns,
                                    .k = gradient ? columns : p->in,
                                    .depth = p->depth,
                                    .transpose_a = !gradient,
                                    .transpose_b = gradient};
}

/* Chunks of about equal size that fit CHUNK_BYTES and a quarter of the largest allocation; at least one tile.
 */
static size_t choose_chunk(const state *p, const cvy_device_traits *traits) {
    const size_t allowed =
        traits->max_allocation / 4 < CHUNK_BYTES ? traits->max_allocation / 4 : CHUNK_BYTES;
    const size_t tile = PRODUCTS * (p->in + p->out) * p->pitch * sizeof(float);
    const size_t most = allowed / tile ? allowed / tile : 1;
    const size_t chunks = (p->tiles + most - 1) / most;
    return (p->tiles + chunks - 1) / chunks;
}

static void choose_parts(state *p) {
    p->parts = 1;
    p->depth = round_up(p->in, 8);
    if (p->pass != CVY_CONV2D_BACKWARD_WEIGHTS)
        return;
    const size_t columns = p->chunk * p->pitch;
    const size_t most = PARTS_BYTES / (PRODUCTS * p->out * p->in_pitch * sizeof(float));
    p->parts = (columns + LONGEST_SUM - 1) / LONGEST_SUM;
    if (p->parts > most)
        p->parts = most ? most : 1;
    p->depth = round_up((columns + p->parts - 1) / p->parts, 8);
}

static convoy_status prepare(convoy_device *device, const cvy_conv2d_shape *s, cvy_conv2d_pass pass,
                             void **prepared, size_t *workspace) {
    const bool data = pass == CVY_CONV2D_BACKWARD_DATA, gradient = pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    state *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    p->pass = pass;
    p->in = (size_t)(data ? s->out_channels : s->in_channels);
    p->out = (size_t)(data ? s->in_channels : s->out_channels);
    p->in_pitch = round_up(p->in, 4);
    p->out_pitch = round_up(p->out, 4);
    p->pitch = (size_t)s->pitch;
    p->tiles = data ? count_tiles(s->in_height, s->in_width, s->kernel[0])
                    : count_tiles(s->out_height, s->out_width, s->kernel[0]);
    p->chunk = choose_chunk(p, cvy_device_get_traits(device));
    choose_parts(p);
    const size_t columns = p->chunk * p->pitch;
    const cvy_gemm_batched_shape product = product_of(p, p->chunk);
    p->v_offset =
        round_up(PRODUCTS * (gradient ? p->parts * p->out * p->in_pitch : p->in * p->out_pitch), ALIGNMENT);
    p->products_offset = p->v_offset + round_up(PRODUCTS * p->in * columns, ALIGNMENT);
    p->bias_offset = p->products_offset + round_up(PRODUCTS * p->out * columns, ALIGNMENT);
    convoy_status status = get_kernels(device, s, p);
    if (!status)
        status = cvy_gemm_batched_prepare(device, &product, &p->product);
    if (!status && gradient)
        status = cvy_sum_rows_prepare(device, (size_t)s->out_channels,
                                      cvy_conv2d_outputs(s) / (size_t)s->out_channels, &p->bias);
    if (status) {
        free(p);
        return status;
    }
    *workspace = (p->bias_offset + p->bias.scratch) * sizeof(float);
    *prepared = p;
    return CONVOY_OK;
}

/* ---- Running ---- */

static convoy_status transform(const state *p, cvy_kernel *kernel, size_t channels, cvy_buffer *from,
                               cvy_buffer *workspace, size_t offset, size_t first, size_t tiles) {
    return CVY_LAUNCH(kernel, cvy_items3(tiles * p->pitch, channels, 1), cvy_buf(from), cvy_buf(workspace),
                      cvy_ulong(offset), cvy_uint((uint32_t)first), cvy_uint((uint32_t)(tiles * p->pitch)));
}

static convoy_status convolve_chunk(const state *p, const cvy_conv2d_buffers *b, size_t first, size_t tiles) {
    const size_t columns = tiles * p->pitch;
    const cvy_gemm_batched_shape product = product_of(p, tiles);
    convoy_status status = transform(p, p->input, p->in, b->in, b->workspace, p->v_offset, first, tiles);
    if (!status)
        status = cvy_gemm_batched_run(
            &p->product, &product, 1, (cvy_matrices){b->workspace, 0, p->in * p->out_pitch, p->out_pitch},
            (cvy_matrices){b->workspace, p->v_offset, p->in * columns, columns},
            (cvy_matrices){b->workspace, p->products_offset, p->out * columns, columns}, NULL, false);
    if (!status)
        status = CVY_LAUNCH(p->output, cvy_items3(columns, p->out, 1), cvy_buf(b->workspace),
                            cvy_buf(b->bias), cvy_buf(b->out), cvy_ulong(p->products_offset),
                            cvy_uint((uint32_t)first), cvy_uint((uint32_t)columns));
    return status;
}

static convoy_status gradient_chunk(const state *p, const cvy_conv2d_buffers *b, size_t first, size_t tiles) {
    const size_t columns = tiles * p->pitch;
    const cvy_gemm_batched_shape product = product_of(p, tiles);
    convoy_status status = transform(p, p->input, p->in, b->in, b->workspace, p->v_offset, first, tiles);
    if (!status)
        status =
            transform(p, p->gradient_tiles, p->out, b->gy, b->workspace, p->products_offset, first, tiles);
    if (!status)
        status = cvy_gemm_batched_run(
            &p->product, &product, p->parts,
            (cvy_matrices){b->workspace, p->products_offset, p->out * columns, columns},
            (cvy_matrices){b->workspace, p->v_offset, p->in * columns, columns},
            (cvy_matrices){b->workspace, 0, p->out * p->in_pitch, p->in_pitch}, NULL, first > 0);
    return status;
}

static convoy_status run(void *prepared, const cvy_conv2d_buffers *b) {
    const state *p = prepared;
    const bool gradient = p->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    convoy_status status = CONVOY_OK;
    if (!gradient)
        status = CVY_LAUNCH(p->weights, cvy_items3(p->out_pitch, p->in, 1), cvy_buf(b->weight),
                            cvy_buf(b->workspace));
    for (size_t first = 0; first < p->tiles && !status; first += p->chunk) {
        const size_t left = p->tiles - first, tiles = left < p->chunk ? left : p->chunk;
        status = gradient ? gradient_chunk(p, b, first, tiles) : convolve_chunk(p, b, first, tiles);
    }
    if (status || !gradient)
        return status;
    status = CVY_LAUNCH(p->gradient, cvy_items3(p->in, p->out, 1), cvy_buf(b->workspace), cvy_buf(b->out),
                        cvy_ulong(0), cvy_int((int)p->parts), cvy_int(b->accumulate));
    return status ? status
                  : cvy_sum_rows_run(&p->bias, b->gy, b->gbias, b->accumulate, b->workspace, p->bias_offset);
}

const cvy_conv2d_row cvy_conv2d_winograd_gpu = {.name = "winograd_gpu",
                                                .supports = supports,
                                                .prepare = prepare,
                                                .run = run,
                                                .release = free,
                                                .pays = pays,
                                                .fuses_activation = true};
