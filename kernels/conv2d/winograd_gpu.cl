/* Winograd convolution for GPUs over the tiles and transforms of conv2d/winograd_cpu.clh: F(4x4, 3x3) and F(2x2, 5x5)
   with T = 6, F(4x4, 5x5) with T = 8, in three stages over a chunk of tiles. A column is an image of a tile; with the
   images innermost, neighbouring work-items read and write side by side in every stage.

     input    tiles of x -> v [XI][IN_C][columns]
     product  (gemm/batched.cl) u [XI][IN_C][OUT_P] times v -> products [XI][OUT_C][columns]
     output   products -> tiles of y, with bias and activation

   Backward-data is the same convolution of gy with flipped weights and the channels' roles exchanged: TRANSPOSED.

   Backward-weights is F(K x K, M x M): tiles of gy play the kernel over the tiles of x.

     input    as above
     gradient_tiles   tiles of gy -> w [XI][OUT_C][columns]
     product          w times v transposed, added up over the chunks -> sums [parts][XI][OUT_C][IN_P]
     gradient         sums -> gweight

   OUT_P and IN_P are channels rounded up to a multiple of 4. */
#define VW 1 /* a work-item is one image: a tile and its half-way results take 72 registers, or 128 */
#include "common.clh"

#include "activation.clh"

#ifndef PITCH
#define PITCH 32
#define T 8
#define K 5 /* kernel size: 3 or 5; with T = 8: 5 */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define PAD_H 2 /* may be negative */
#define PAD_W 2
#define TRANSPOSED 0
#endif

#include "conv2d/winograd_cpu.clh"

#define M (T + 1 - K) /* pixels of y per tile edge */
#define TILES_W ((OUT_W + M - 1) / M)
#define OUT_P ((OUT_C + 3) / 4 * 4)
#define IN_P ((IN_C + 3) / 4 * 4)

/* Where a column is: its tile's first pixel of y, and its image. */
typedef struct place {
    int row, column, image;
} place;

static inline place place_of(uint at, uint first_tile) {
    const uint tile = first_tile + at / PITCH;
    const place p = {tile / TILES_W * M, tile % TILES_W * M, at % PITCH};
    return p;
}

/* weight [OUT_C][IN_C][K][K] (TRANSPOSED: [IN_C][OUT_C][K][K], flipped) -> u [XI][IN_C][OUT_P].
   Work-items: OUT_P, IN_C. */
kernel void conv2d_winograd_gpu_weights(global const float *restrict weight, global float *restrict u) {
    const int out = get_global_id(0), in = get_global_id(1);
    if (out >= OUT_P)
        return;
    float g[K * K], half_way[T * K], transformed[XI];
#pragma unroll
    for (int k = 0; k < K * K; k++) {
#if TRANSPOSED
        g[k] = out < OUT_C ? weight[((ulong)in * OUT_C + out) * K * K + K * K - 1 - k] : 0.0f;
#else
        g[k] = out < OUT_C ? weight[((ulong)out * IN_C + in) * K * K + k] : 0.0f;
#endif
    }
#pragma unroll
    for (int c = 0; c < K; c++)
        kernel_1d(g + c, K, half_way + c, K, K);
#pragma unroll
    for (int r = 0; r < T; r++)
        kernel_1d(half_way + r * K, 1, transformed + r * T, 1, K);
#pragma unroll
    for (int xi = 0; xi < XI; xi++)
        u[((ulong)xi * IN_C + in) * OUT_P + out] = transformed[xi];
}

/* Work-items: columns, IN_C. */
kernel void conv2d_winograd_gpu_input(global const float *restrict x, global float *restrict workspace, ulong v_offset,
                                      uint first_tile, uint columns) {
    const uint at = get_global_id(0), in = get_global_id(1);
    if (at >= columns)
        return;
    const place p = place_of(at, first_tile);
    transform_tile(x + (ulong)in * IN_H * IN_W * PITCH + p.image, IN_H, IN_W, p.row - PAD_H, p.column - PAD_W,
                   workspace + v_offset + (ulong)in * columns + at, (ulong)IN_C * columns);
}

/* Work-items: columns, OUT_C. bias may be null. */
kernel void conv2d_winograd_gpu_output(global const float *restrict workspace, global const float *restrict bias,
                                       global float *restrict y, ulong products_offset, uint first_tile, uint columns) {
    const uint at = get_global_id(0), out = get_global_id(1);
    if (at >= columns)
        return;
    const place p = place_of(at, first_tile);
    const floatv b = (floatv)(bias ? bias[out] : 0.0f);
    floatv half_way[M * T];
    workspace += products_offset + (ulong)out * columns + at;
#pragma unroll
    for (int c = 0; c < T; c++) {
        floatv products[T];
#pragma unroll
        for (int r = 0; r < T; r++)
            products[r] = vloadv(0, workspace + (ulong)(r * T + c) * OUT_C * columns);
        output_1d(products, 1, half_way + c, T, M);
    }
    y += (((ulong)out * OUT_H + p.row) * OUT_W + p.column) * PITCH + p.image;
#pragma unroll
    for (int r = 0; r < M; r++) {
        floatv pixels[M];
        output_1d(half_way + r * T, 1, pixels, 1, M);
#pragma unroll
        for (int c = 0; c < M; c++)
            if (p.row + r < OUT_H && p.column + c < OUT_W)
                vstorev(activate(pixels[c] + b), 0, y + ((ulong)r * OUT_W + c) * PITCH);
    }
}

/* Work-items: columns, OUT_C. */
kernel void conv2d_winograd_gpu_gradient_tiles(global const float *restrict gy, global float *restrict workspace,
                                               ulong w_offset, uint first_tile, uint columns) {
    const uint at = get_global_id(0), out = get_global_id(1);
    if (at >= columns)
        return;
    const place p = place_of(at, first_tile);
    floatv half_way[M * T];
    gy += (((ulong)out * OUT_H + p.row) * OUT_W + p.column) * PITCH + p.image;
#pragma unroll
    for (int r = 0; r < M; r++) {
        floatv g[M];
#pragma unroll
        for (int c = 0; c < M; c++)
            g[c] = p.row + r < OUT_H && p.column + c < OUT_W ? vloadv(0, gy + ((ulong)r * OUT_W + c) * PITCH)
                                                             : (floatv)(0.0f);
        kernel_1d(g, 1, half_way + r * T, 1, M);
    }
    workspace += w_offset + (ulong)out * columns + at;
#pragma unroll
    for (int c = 0; c < T; c++) {
        floatv w[T];
        kernel_1d(half_way + c, T, w, 1, M);
#pragma unroll
        for (int r = 0; r < T; r++)
            vstorev(w[r], 0, workspace + (ulong)(r * T + c) * OUT_C * columns);
    }
}

/* Work-items: IN_C, OUT_C. */
kernel void conv2d_winograd_gpu_gradient(global const float *restrict workspace, global float *restrict gweight,
                                         ulong sums_offset, int parts, int accumulate) {
    const int in = get_global_id(0), out = get_global_id(1);
    if (in >= IN_C)
        return;
    float sums[XI], half_way[K * T], g[K * K];
#pragma unroll
    for (int xi = 0; xi < XI; xi++)
        sums[xi] = 0;
    workspace += sums_offset + (ulong)out * IN_P + in;
    for (int part = 0; part < parts; part++, workspace += (ulong)XI * OUT_C * IN_P)
#pragma unroll
        for (int xi = 0; xi < XI; xi++)
            sums[xi] += workspace[(ulong)xi * OUT_C * IN_P];
#pragma unroll
    for (int c = 0; c < T; c++)
        output_1d(sums + c, T, half_way + c, T, K);
#pragma unroll
    for (int r = 0; r < K; r++)
        output_1d(half_way + r * T, 1, g + r * K, 1, K);
    gweight += ((ulong)out * IN_C + in) * K * K;
#pragma unroll
    for (int k = 0; k < K * K; k++)
        gweight[k] = accumulate ? gweight[k] + g[k] : g[k];
}
