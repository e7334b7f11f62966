/* Winograd convolution for CPUs: tiles of T x T inputs, T = 6 or 8, of which each gives M x M outputs, M = T
   + 1 - K. F(4x4, 3x3) and F(2x2, 5x5) have 36 products in place of 144 and 100, F(6x6, 3x3) and F(4x4, 5x5)
   64 in place of 324 and 400.

   A work-item takes one tile for NV vectors of images at a time: transforms the tile of each input channel
   into scratch, multiplies each of the XI elements by the transformed weights in register tiles of MR output
   channels x NV vectors, and transforms back. All of it is vector code over the contiguous batch axis. GROUP
   blocks of MR channels pass over one element of all input channels, which stays in the first level of the
   cache, before the next. Where the transformed weights are large, BATCH tiles share each pass over them.

   Where the images are too large for the caches (conv2d_winograd_rows), each of them is read once: tiles
   follow one another along a row of them, and the transformed columns that the next tile shares are kept. The
   second half of the input's transform, the products and the first half of the output's take one row of the T
   x T elements at a time, which for few channels stays in the first level of the cache.

   Backward-data is the same convolution of gy with flipped weights and the channels' roles exchanged:
   `transposed`.

   Sizes that do not decide how the inner loops look are arguments: layers of one kind, and both passes, share a
   program. in_c x in_h x in_w is what is convolved, out_c x out_h x out_w what results; paddings may be negative. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define NV 2 /* vectors of images per tile */
#define MR 4 /* output channels per register tile */
#define BATCH 1
#define K 3          /* kernel size: 3 or 5 */
#define ACTIVATION 0 /* of the output, other than ReLU, which is an argument: see finish */
#define STREAM 0     /* conv2d_winograd_rows: the output passes by the caches */
#endif

#include "activation.clh"
#include "conv2d/winograd_cpu.clh"

#define M (T + 1 - K) /* output pixels per tile edge */
#define WIDTH (NV * VW)
#define BLOCKS(out_c) (((out_c) + MR - 1) / MR)
#define TILES_ALONG(size) (((size) + M - 1) / M)
#define IMAGE_BLOCKS (PITCH / WIDTH)
/* Floats from one element to the next of the transformed input, [XI][in_c][WIDTH], and from one channel to
   the next of the products, [group * MR][XI][WIDTH]. An odd number of vectors, or elements would share few
   sets of the cache. */
#define V_STEP(in_c) ((ulong)(in_c)*WIDTH + ((in_c)*NV % 2 ? 0 : VW))
#define P_STEP ((ulong)XI * WIDTH + VW)
/* Before all scratch lie the transformed weights, so many floats, whole vectors. */
#define PACKED(in_c, out_c) (((ulong)BLOCKS(out_c) * XI * (in_c)*MR + VW - 1) / VW * VW)

/* weight [out_c][in_c][K][K] (transposed: [in_c][out_c][K][K], flipped) -> packed [BLOCKS][XI][in_c][MR].
   The lanes of a vector are neighbours in [in_c][MR], so that it is whole whatever MR is. Work-items: vectors
   of [in_c][MR], block. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_weights(global const float *restrict weight,
                                                                                   global float *restrict packed,
                                                                                   int in_c, int out_c,
                                                                                   int transposed) {
    const int first = get_global_id(0) * VW, block = get_global_id(1), lanes = min(VW, in_c * MR - first);
    global float *to = packed + (ulong)block * XI * in_c * MR + first;
    float taps[K * K][VW];
    floatv g[K * K], half_way[T * K], u[XI];
    for (int lane = 0; lane < VW; lane++) {
        const int in = (first + lane) / MR, out = block * MR + (first + lane) % MR;
        const int inside = lane < lanes && out < out_c;
        const ulong at = transposed ? (ulong)in * out_c + out : (ulong)out * in_c + in;
        global const float *from = weight + (inside ? at : 0) * K * K;
        for (int k = 0; k < K * K; k++)
            taps[k][lane] = inside ? from[transposed ? K * K - 1 - k : k] : 0.0f;
    }
    for (int k = 0; k < K * K; k++)
        g[k] = vloadv(0, taps[k]);
    for (int c = 0; c < K; c++)
        kernel_1d(g + c, K, half_way + c, K, K);
    for (int r = 0; r < T; r++)
        kernel_1d(half_way + r * K, 1, u + r * T, 1, K);
    for (int xi = 0; xi < XI; xi++)
        store_part(u[xi], 0, to + (ulong)xi * in_c * MR, lanes);
}

/* Input channels whose products are summed one after the other; such sums are then added. The output's transform weighs
   sums that cancel by up to a thousand, and what was rounded in them with it: of 512 channels summed in one go the
   error is nearly three times as large. */
#define SUMMED 32

/* products[m] = sum over input channels of u[in][m] * v[in], MR channels, `step` floats apart, x NV vectors
   in registers. */
static OUT_OF_LINE void multiply(global const float *u, global const float *v, int in_c, global float *products,
                                 ulong step) {
    for (int first = 0; first < in_c; first += SUMMED) {
        const int end = min(first + SUMMED, in_c);
        floatv acc[MR][NV];
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int n = 0; n < NV; n++)
                acc[m][n] = (floatv)(0.0f);
        for (int in = first; in < end; in++, u += MR, v += WIDTH) {
            floatv image[NV];
#pragma unroll
            for (int n = 0; n < NV; n++)
                image[n] = vloadv(n, v);
#pragma unroll
            for (int m = 0; m < MR; m++)
#pragma unroll
                for (int n = 0; n < NV; n++)
                    acc[m][n] = fma((floatv)(u[m]), image[n], acc[m][n]);
        }
        if (first)
#pragma unroll
            for (int m = 0; m < MR; m++)
#pragma unroll
                for (int n = 0; n < NV; n++)
                    acc[m][n] += ((global floatv *)(products + m * step))[n];
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int n = 0; n < NV; n++)
                put(acc[m][n], n, products + m * step);
    }
}

/* The end of an output: ReLU, whose `least` is 0, or with -infinity nothing; and another ACTIVATION. */
static inline floatv finish(floatv sum, float least) {
    return activate(select(sum, (floatv)least, sum <= least));
}

/* One channel's products for one vector of images -> M x M output pixels, of which so many rows and columns are inside.
   y points at the tile's first pixel, in rows of `width`. */
static OUT_OF_LINE void transform_output(global const float *products, floatv bias, float least, global float *y,
                                         int width, int rows, int columns) {
    floatv half_way[M * T];
    for (int c = 0; c < T; c++) {
        floatv p[T];
#pragma unroll
        for (int r = 0; r < T; r++)
            p[r] = vloadv(0, products + (r * T + c) * WIDTH);
        output_1d(p, 1, half_way + c, T, M);
    }
    for (int r = 0; r < min(M, rows); r++) {
        floatv out[M];
        output_1d(half_way + r * T, 1, out, 1, M);
#pragma unroll
        for (int c = 0; c < M; c++)
            if (c < columns)
                put(finish(out[c] + bias, least), 0, y + ((ulong)r * width + c) * PITCH);
    }
}

typedef struct place {
    int row, column, image; /* of the output */
} place;

static inline place place_of(int tile, int out_w) {
    const int at = tile / IMAGE_BLOCKS, tiles_w = TILES_ALONG(out_w);
    const place p = {at / tiles_w * M, at % tiles_w * M, tile % IMAGE_BLOCKS * WIDTH};
    return p;
}

/* Work-items: any number, of which each takes a range of the tiles. bias may be null. workspace holds the packed
   weights and for each work-item the scratch of BATCH tiles: the transformed input and the products of `group` blocks.
 */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd(global const float *restrict x, global const float *restrict bias, global float *restrict y,
                global float *restrict workspace, int in_c, int in_h, int in_w, int out_c, int out_h, int out_w,
                int pad_h, int pad_w, int group, float least) {
    const ulong item = get_global_id(0), items = get_global_size(0);
    const ulong v_step = V_STEP(in_c), scratch = XI * v_step + group * MR * P_STEP;
    const int all_blocks = BLOCKS(out_c), tiles = TILES_ALONG(out_h) * TILES_ALONG(out_w) * IMAGE_BLOCKS;
    global const float *packed = workspace;
    global float *v = workspace + PACKED(in_c, out_c) + item * BATCH * scratch, *products = v + XI * v_step;
    const int end = tiles * (item + 1) / items;
    for (int batch = tiles * item / items; batch < end; batch += BATCH) {
        const int count = min(BATCH, end - batch);
        for (int t = 0; t < count; t++) {
            const place p = place_of(batch + t, out_w);
            for (int in = 0; in < in_c; in++)
                for (int n = 0; n < WIDTH; n += VW)
                    transform_tile(x + (ulong)in * in_h * in_w * PITCH + p.image + n, in_h, in_w, p.row - pad_h,
                                   p.column - pad_w, v + t * scratch + in * WIDTH + n, v_step);
        }
        for (int first = 0; first < all_blocks; first += group) {
            const int blocks = min(group, all_blocks - first);
            for (int xi = 0; xi < XI; xi++)
                for (int block = 0; block < blocks; block++)
                    for (int t = 0; t < count; t++)
                        multiply(packed + ((first + block) * XI + xi) * ((ulong)in_c * MR),
                                 v + t * scratch + xi * v_step, in_c,
                                 products + t * scratch + block * MR * P_STEP + xi * WIDTH, P_STEP);
            for (int t = 0; t < count; t++) {
                const place p = place_of(batch + t, out_w);
                for (int m = 0; m < min(blocks * MR, out_c - first * MR); m++) {
                    const int out = first * MR + m;
                    for (int n = 0; n < WIDTH; n += VW)
                        transform_output(products + t * scratch + m * P_STEP + n, (floatv)(bias ? bias[out] : 0.0f),
                                         least,
                                         y + (((ulong)out * out_h + p.row) * out_w + p.column) * PITCH + p.image + n,
                                         out_w, out_h - p.row, out_w - p.column);
                }
            }
        }
    }
}

/* ---- Rows of tiles ---- */
/* Scratch: the ring; one row of elements, [T][in_c][WIDTH], and their products, [group * MR][T][WIDTH]; what those
   become, [out_c][T][M][WIDTH]. Odd numbers of vectors again. */
#include "conv2d/winograd_cpu_rows.clh"

#define ROW_STEP ((ulong)T * WIDTH + VW)
#define HALF_STEP ((ulong)T * M * WIDTH + VW)

#ifndef __has_builtin
#define __has_builtin(name) 0
#endif
static inline void put_output(floatv value, global float *to) {
#if STREAM && __has_builtin(__builtin_nontemporal_store)
    __builtin_nontemporal_store(value, (global floatv *)to);
#else
    put(value, 0, to);
#endif
}

/* A row of products of all channels -> M columns. */
static OUT_OF_LINE void row_out(global const float *products, int out_c, global float *half_way) {
    for (int m = 0; m < out_c; m++, products += ROW_STEP, half_way += HALF_STEP)
#pragma unroll
        for (int n = 0; n < NV; n++) {
            floatv p[T], out[M];
#pragma unroll
            for (int c = 0; c < T; c++)
                p[c] = vloadv(n, products + c * WIDTH);
            output_1d(p, 1, out, 1, M);
#pragma unroll
            for (int c = 0; c < M; c++)
                put(out[c], n, half_way + c * WIDTH);
        }
}

/* One channel's columns -> output pixels, of which so many rows and columns are inside; as transform_output. */
static OUT_OF_LINE void columns_out(global const float *half_way, floatv bias, float least, global float *y, int width,
                                    int rows, int columns) {
    for (int c = 0; c < min(M, columns); c++)
#pragma unroll
        for (int n = 0; n < NV; n++) {
            floatv h[T], out[M];
#pragma unroll
            for (int r = 0; r < T; r++)
                h[r] = vloadv(n, half_way + (r * M + c) * WIDTH);
            output_1d(h, 1, out, 1, M);
#pragma unroll
            for (int r = 0; r < M; r++)
                if (r < rows)
                    put_output(finish(out[r] + bias, least), y + ((ulong)r * width + c) * PITCH + n * VW);
        }
}

/* As conv2d_winograd, but the scratch is of the rows, and all blocks are one group. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_rows(global const float *restrict x, global const float *restrict bias, global float *restrict y,
                     global float *restrict workspace, int in_c, int in_h, int in_w, int out_c, int out_h, int out_w,
                     int pad_h, int pad_w, int group, float least) {
    const ulong item = get_global_id(0), items = get_global_size(0);
    const ulong v_step = V_STEP(in_c), ring_step = RING_STEP(in_c);
    const ulong scratch = T * (ring_step + v_step) + group * MR * ROW_STEP + out_c * HALF_STEP;
    const int tiles_w = TILES_ALONG(out_w), tiles = TILES_ALONG(out_h) * tiles_w * IMAGE_BLOCKS;
    const input size = {in_c, in_h, in_w};
    global const float *packed = workspace;
    global float *ring = workspace + PACKED(in_c, out_c) + item * scratch, *v = ring + T * ring_step;
    global float *products = v + T * v_step, *half_way = products + group * MR * ROW_STEP;
    const int begin = tiles * item / items, end = tiles * (item + 1) / items;
    for (int tile = begin, start = 0; tile < end; tile++, start = (start + M) % T) {
        const int row = tile / tiles_w / IMAGE_BLOCKS * M, column = tile % tiles_w * M;
        const int image = tile / tiles_w % IMAGE_BLOCKS * WIDTH;
        columns_in(x + image, size, row - pad_h, column - pad_w, tile == begin || column == 0, start, ring);
        for (int r = 0; r < T; r++) {
            row_in(ring + r * ring_step, in_c, start, v, v_step);
            for (int c = 0; c < T; c++)
                for (int block = 0; block < group; block++)
                    multiply(packed + (block * XI + r * T + c) * ((ulong)in_c * MR), v + c * v_step, in_c,
                             products + block * MR * ROW_STEP + c * WIDTH, ROW_STEP);
            row_out(products, out_c, half_way + r * M * WIDTH);
        }
        for (int m = 0; m < out_c; m++)
            columns_out(half_way + m * HALF_STEP, (floatv)(bias ? bias[m] : 0.0f), least,
                        y + (((ulong)m * out_h + row) * out_w + column) * PITCH + image, out_w, out_h - row,
                        out_w - column);
    }
}
