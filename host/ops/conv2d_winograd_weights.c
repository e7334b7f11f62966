/* The backward-weights pass of variants winograd8_cpu and winograd6_cpu (kernels/conv2d_winograd_weights.cl):
   blocks of tiles that stay in the shared cache between their transform and their matrix products. */
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "ops/conv2d_bias.h"
#include "ops/conv2d_winograd.h"
#include "ops/gemm.h"

enum {
    OPTIONS = 512,
    BLOCK_BYTES = 24 << 20, /* of both transformed sides: most of a last-level cache */
    LEAST_COLUMNS = 384     /* of a block's matrices: shorter products spend their time on their sums */
};

typedef struct weights_state {
    cvy_kernel *tiles_x, *tiles_gy, *gradient;
    cvy_conv2d_bias bias;
    cvy_gemm *product;
    size_t products, vector;                          /* elements of a tile, floats of a vector */
    size_t in_channels, out_channels, columns, tiles; /* columns: of a block's matrices; tiles: of a block */
    int tile_rows, all_tile_rows, images, pitch;
    /* Floats into the workspace, behind what gemm uses of it. */
    size_t x_offset, gy_offset, sums_offset, strips_offset;
} weights_state;

/* Whole rows of tiles of all images, or of fewer where that would leave the cache. */
static void choose_block(weights_state *p, int tiles_w) {
    const size_t bytes = (p->in_channels + p->out_channels) * p->products * sizeof(float);
    p->images = p->pitch;
    p->tile_rows = 1;
    while (p->tile_rows < p->all_tile_rows && tiles_w * p->tile_rows * p->images < LEAST_COLUMNS)
        p->tile_rows++;
    while (bytes * (size_t)(tiles_w * p->tile_rows * p->images) > BLOCK_BYTES &&
           p->images % (2 * (int)p->vector) == 0 && tiles_w * p->tile_rows * p->images / 2 >= LEAST_COLUMNS)
        p->images /= 2;
    p->tiles = (size_t)(tiles_w * p->tile_rows);
    p->columns = p->tiles * (size_t)p->images;
}

static convoy_status get_kernels(convoy_device *device, const cvy_conv2d_shape *s, int tile,
                                 weights_state *p) {
    char options[OPTIONS];
    snprintf(options, sizeof options,
             "-DPITCH=%d -DVW=%d -DT=%d -DK=%d -DIN_C=%d -DOUT_C=%d -DIN_H=%d -DIN_W=%d -DOUT_H=%d "
             "-DOUT_W=%d -DPAD_H=%d "
             "-DPAD_W=%d -DTILE_ROWS=%d -DIMAGES=%d",
             s->pitch, (int)p->vector, tile, s->kernel[0], s->in_channels, s->out_channels, s->in_height,
             s->in_width, s->out_height, s->out_width, s->padding[0], s->padding[1], p->tile_rows, p->images);
    const struct {
        cvy_kernel **kernel;
        const char *function;
    } wanted[] = {
        {&p->tiles_x, "conv2d_winograd_tiles_x"},
        {&p->tiles_gy, "conv2d_winograd_tiles_gy"},
        {&p->gradient, "conv2d_winograd_gradient"},
    };
    convoy_status status = cvy_conv2d_bias_prepare(device, s, &p->bias);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status =
            cvy_kernel_get(device, "conv2d_winograd_weights", wanted[i].function, options, wanted[i].kernel);
    return status;
}

convoy_status cvy_winograd_weights_prepare(convoy_device *device, const cvy_conv2d_shape *s, int tile,
                                           void **prepared, size_t *workspace) {
    const int edge = tile + 1 - s->kernel[0], tiles_w = (s->out_width + edge - 1) / edge;
    weights_state *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    p->vector = (size_t)cvy_device_get_traits(device)->vector_width;
    p->products = (size_t)(tile * tile);
    p->in_channels = (size_t)s->in_channels;
    p->out_channels = (size_t)s->out_channels;
    p->all_tile_rows = (s->out_height + edge - 1) / edge;
    p->pitch = s->pitch;
    choose_block(p, tiles_w);
    const cvy_gemm_shape product = {.transpose_b = true,
                                    .m = p->out_channels,
                                    .n = p->in_channels,
                                    .k = p->columns,
                                    .lda = p->columns,
                                    .ldb = p->columns,
                                    .ldc = p->in_channels};
    convoy_status status = cvy_gemm_create(device, &product, NULL, &p->product);
    if (!status)
        status = get_kernels(device, s, tile, p);
    if (status) {
        cvy_winograd_weights_release(p);
        return status;
    }
    p->x_offset = (cvy_gemm_workspace(p->product) + sizeof(float) - 1) / sizeof(float);
    p->x_offset = (p->x_offset + 31) / 32 * 32;
    p->gy_offset = p->x_offset + p->products * p->in_channels * p->columns;
    p->sums_offset = p->gy_offset + p->products * p->out_channels * p->columns;
    p->strips_offset = p->sums_offset + p->products * p->out_channels * p->in_channels;
    *workspace = (p->strips_offset + p->bias.scratch) * sizeof(float);
    *prepared = p;
    return CONVOY_OK;
}

static convoy_status run_block(const weights_state *p, const cvy_conv2d_buffers *b, int tile_row, int image) {
    convoy_status status =
        CVY_LAUNCH(p->tiles_x, cvy_singles(p->in_channels, p->tiles, 1), cvy_buf(b->in),
                   cvy_buf(b->workspace), cvy_ulong(p->x_offset), cvy_int(tile_row), cvy_int(image));
    if (!status)
        status =
            CVY_LAUNCH(p->tiles_gy, cvy_singles(p->out_channels, p->tiles, 1), cvy_buf(b->gy),
                       cvy_buf(b->workspace), cvy_ulong(p->gy_offset), cvy_int(tile_row), cvy_int(image));
    for (size_t xi = 0; xi < p->products && !status; xi++)
        status = cvy_gemm_run(p->product, b->workspace, p->gy_offset + xi * p->out_channels * p->columns,
                              b->workspace, p->x_offset + xi * p->in_channels * p->columns, b->workspace,
                              p->sums_offset + xi * p->out_channels * p->in_channels,
                              tile_row > 0 || image > 0, b->workspace);
    return status;
}

convoy_status cvy_winograd_weights_run(void *prepared, const cvy_conv2d_buffers *b) {
    const weights_state *p = prepared;
    convoy_status status = CONVOY_OK;
    for (int row = 0; row < p->all_tile_rows && !status; row += p->tile_rows)
        for (int image = 0; image < p->pitch && !status; image += p->images)
            status = run_block(p, b, row, image);
    if (!status)
        status = CVY_LAUNCH(
            p->gradient, cvy_items((p->out_channels * p->in_channels + p->vector - 1) / p->vector),
            cvy_buf(b->workspace), cvy_buf(b->out), cvy_ulong(p->sums_offset), cvy_int(b->accumulate));
    return status ? status : cvy_conv2d_bias_run(&p->bias, b, p->strips_offset);
}

void cvy_winograd_weights_release(void *prepared) {
    weights_state *p = prepared;
    cvy_gemm_free(p->product);
    free(p);
}
