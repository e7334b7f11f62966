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
   TRANSPOSED. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define NV 2 /* vectors of images per tile */
#define MR 4 /* output channels per register tile */
#define GROUP 2
#define BATCH 1
#define K 3 /* kernel size: 3 or 5 */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define PAD_H 1 /* may be negative */
#define PAD_W 1
#define TRANSPOSED 0
#define ACTIVATION 0 /* of the output */
#define STREAM 0     /* conv2d_winograd_rows: the output passes by the caches */
#endif

#include "activation.clh"
#include "conv2d/winograd_cpu.clh"

#define M (T + 1 - K) /* output pixels per tile edge */
#define WIDTH (NV * VW)
#define BLOCKS ((OUT_C + MR - 1) / MR)
#define TILES_H ((OUT_H + M - 1) / M)
#define TILES_W ((OUT_W + M - 1) / M)
#define TILES (TILES_H * TILES_W * (PITCH / WIDTH))
/* Floats from one element to the next of the transformed input, [XI][IN_C][WIDTH], and from one channel to
   the next of the products, [GROUP * MR][XI][WIDTH]. An odd number of vectors, or elements would share few
   sets of the cache. */
#define V_STEP ((ulong)IN_C * WIDTH + (IN_C * NV % 2 ? 0 : VW))
#define P_STEP ((ulong)XI * WIDTH + VW)
/* Floats of the scratch of one tile. Before all scratch lie the transformed weights, PACKED floats, whole
 * vectors. */
#define V_SIZE (XI * V_STEP)
#define PACKED (((ulong)BLOCKS * XI * IN_C * MR + VW - 1) / VW * VW)
#define SCRATCH (V_SIZE + GROUP * MR * P_STEP)

/* weight [OUT_C][IN_C][K][K] (TRANSPOSED: [IN_C][OUT_C][K][K], flipped) -> packed [BLOCKS][XI][IN_C][MR].
   The lanes of a vector are neighbours in [IN_C][MR], so that it is whole whatever MR is. Work-items: vectors
   of [IN_C][MR], block. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_weights(global const float *restrict weight,
                                                                                   global float *restrict packed) {
    const int first = get_global_id(0) * VW, block = get_global_id(1), lanes = min(VW, IN_C * MR - first);
    global float *to = packed + (ulong)block * XI * IN_C * MR + first;
    float taps[K * K][VW];
    floatv g[K * K], half_way[T * K], u[XI];
    for (int lane = 0; lane < VW; lane++) {
        const int in = (first + lane) / MR, out = block * MR + (first + lane) % MR;
        const int inside = lane < lanes && out < OUT_C;
#if TRANSPOSED
        global const float *from = weight + (inside ? (ulong)in * OUT_C + out : 0) * K * K;
#else
        global const float *from = weight + (inside ? (ulong)out * IN_C + in : 0) * K * K;
#endif
        for (int k = 0; k < K * K; k++)
            taps[k][lane] = inside ? from[TRANSPOSED ? K * K - 1 - k : k] : 0.0f;
    }
    for (int k = 0; k < K * K; k++)
        g[k] = vloadv(0, taps[k]);
    for (int c = 0; c < K; c++)
        kernel_1d(g + c, K, half_way + c, K, K);
    for (int r = 0; r < T; r++)
        kernel_1d(half_way + r * K, 1, u + r * T, 1, K);
    for (int xi = 0; xi < XI; xi++)
        store_part(u[xi], 0, to + (ulong)xi * IN_C * MR, lanes);
}

/* products[m] = sum over input channels of u[in][m] * v[in], MR channels, `step` floats apart, x NV vectors
   in registers. */
static OUT_OF_LINE void multiply(global const float *u, global const float *v, global float *products, ulong step) {
    floatv acc[MR][NV];
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            acc[m][n] = (floatv)(0.0f);
    for (int in = 0; in < IN_C; in++, u += MR, v += WIDTH) {
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
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            put(acc[m][n], n, products + m * step);
}

/* One channel's products for one vector of images -> M x M output pixels. y points at the tile's first pixel.
 */
static OUT_OF_LINE void transform_output(global const float *products, floatv bias, global float *y, int rows,
                                         int columns) {
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
                put(activate(out[c] + bias), 0, y + ((ulong)r * OUT_W + c) * PITCH);
    }
}

typedef struct place {
    int row, column, image; /* of the output */
} place;

static inline place place_of(int tile) {
    const int at = tile / (PITCH / WIDTH);
    const place p = {at / TILES_W * M, at % TILES_W * M, tile % (PITCH / WIDTH) * WIDTH};
    return p;
}

/* One channel's tile, all its images. */
static inline void tile_in(global const float *x, int channel, place p, global float *v) {
    x += (ulong)channel * IN_H * IN_W * PITCH + p.image;
    for (int n = 0; n < WIDTH; n += VW)
        transform_tile(x + n, p.row - PAD_H, p.column - PAD_W, v + n, V_STEP);
}

static inline void tile_out(global const float *products, global const float *bias, global float *y, int channel,
                            place p) {
    const floatv b = (floatv)(bias ? bias[channel] : 0.0f);
    y += (((ulong)channel * OUT_H + p.row) * OUT_W + p.column) * PITCH + p.image;
    for (int n = 0; n < WIDTH; n += VW)
        transform_output(products + n, b, y + n, OUT_H - p.row, OUT_W - p.column);
}

/* Work-items: any number, of which each takes a range of the tiles. bias may be null. workspace holds the
   packed weights and BATCH times SCRATCH floats for each work-item. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd(global const float *restrict x,
                                                                           global const float *restrict bias,
                                                                           global float *restrict y,
                                                                           global float *restrict workspace) {
    const ulong item = get_global_id(0), items = get_global_size(0);
    global const float *packed = workspace;
    global float *v = workspace + PACKED + item * BATCH * SCRATCH, *products = v + V_SIZE;
    const int end = TILES * (item + 1) / items;
    for (int batch = TILES * item / items; batch < end; batch += BATCH) {
        const int count = min(BATCH, end - batch);
        for (int t = 0; t < count; t++)
            for (int in = 0; in < IN_C; in++)
                tile_in(x, in, place_of(batch + t), v + t * SCRATCH + in * WIDTH);
        for (int first = 0; first < BLOCKS; first += GROUP) {
            const int blocks = min(GROUP, BLOCKS - first);
            for (int xi = 0; xi < XI; xi++)
                for (int block = 0; block < blocks; block++)
                    for (int t = 0; t < count; t++)
                        multiply(packed + ((first + block) * XI + xi) * ((ulong)IN_C * MR),
                                 v + t * SCRATCH + xi * V_STEP,
                                 products + t * SCRATCH + block * MR * P_STEP + xi * WIDTH, P_STEP);
            for (int t = 0; t < count; t++)
                for (int m = 0; m < min(blocks * MR, OUT_C - first * MR); m++)
                    tile_out(products + t * SCRATCH + m * P_STEP, bias, y, first * MR + m, place_of(batch + t));
        }
    }
}

/* ---- Rows of tiles ---- */
/* Scratch: the ring; one row of elements, [T][IN_C][WIDTH], and their products, [BLOCKS * MR][T][WIDTH]; what those
   become, [OUT_C][T][M][WIDTH]. Odd numbers of vectors again. */
#include "conv2d/winograd_cpu_rows.clh"

#define IMAGE_BLOCKS (PITCH / WIDTH)
#define ROW_STEP ((ulong)T * WIDTH + VW)
#define HALF_STEP ((ulong)T * M * WIDTH + VW)
#define ROWS_SCRATCH (T * (RING_STEP + V_STEP) + BLOCKS * MR * ROW_STEP + OUT_C * HALF_STEP)

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
static OUT_OF_LINE void row_out(global const float *products, global float *half_way) {
    for (int m = 0; m < OUT_C; m++, products += ROW_STEP, half_way += HALF_STEP)
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

/* One channel's columns -> output pixels, of which so many rows and columns are inside. */
static OUT_OF_LINE void columns_out(global const float *half_way, floatv bias, global float *y, int rows, int columns) {
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
                    put_output(activate(out[r] + bias), y + ((ulong)r * OUT_W + c) * PITCH + n * VW);
        }
}

/* As conv2d_winograd, but ROWS_SCRATCH floats for each work-item. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_rows(global const float *restrict x,
                                                                                global const float *restrict bias,
                                                                                global float *restrict y,
                                                                                global float *restrict workspace) {
    const ulong item = get_global_id(0), items = get_global_size(0);
    global const float *packed = workspace;
    global float *ring = workspace + PACKED + item * ROWS_SCRATCH, *v = ring + T * RING_STEP;
    global float *products = v + T * V_STEP, *half_way = products + BLOCKS * MR * ROW_STEP;
    const int begin = TILES * item / items, end = TILES * (item + 1) / items;
    for (int tile = begin, start = 0; tile < end; tile++, start = (start + M) % T) {
        const int row = tile / TILES_W / IMAGE_BLOCKS * M, column = tile % TILES_W * M;
        const int image = tile / TILES_W % IMAGE_BLOCKS * WIDTH;
        columns_in(x + image, row - PAD_H, column - PAD_W, tile == begin || column == 0, start, ring);
        for (int r = 0; r < T; r++) {
            row_in(ring + r * RING_STEP, start, v);
            for (int c = 0; c < T; c++)
                for (int block = 0; block < BLOCKS; block++)
                    multiply(packed + (block * XI + r * T + c) * ((ulong)IN_C * MR), v + c * V_STEP,
                             products + block * MR * ROW_STEP + c * WIDTH, ROW_STEP);
            row_out(products, half_way + r * M * WIDTH);
        }
        for (int m = 0; m < OUT_C; m++)
            columns_out(half_way + m * HALF_STEP, (floatv)(bias ? bias[m] : 0.0f),
                        y + (((ulong)m * OUT_H + row) * OUT_W + column) * PITCH + image, OUT_H - row, OUT_W - column);
    }
}
