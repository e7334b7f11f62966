/* The weight gradient of a convolution by Winograd's F(K x K, M x M), for CPUs: a tile of M x M of gy plays the kernel
   over a T x T tile of x, T = 6 or 8, and the K x K outputs are the gradient. Three steps: both sides of a block of
   tiles are transformed into XI matrices each, [XI][channels][tiles of the block][IMAGES]; XI matrix products (ops/gemm.h) add
   gy times x transposed to sums [XI][OUT_C][IN_C]; those are transformed back once, at the end. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define K 3 /* kernel size: 3 or 5 */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define PAD_H 1
#define PAD_W 1
#define TILE_ROWS 1 /* rows of tiles in a block */
#define IMAGES 32   /* images in a block */
#endif

#include "conv2d_winograd.clh"

#define M (T + 1 - K) /* edge of a tile of gy */
#define TILES_W ((OUT_W + M - 1) / M)
#define COLUMNS ((ulong)TILE_ROWS * TILES_W * IMAGES) /* of one matrix */

/* Work-items: channel, tile of the block. Tiles past the last row become zeros. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_tiles_x(__global const float *restrict x, __global float *restrict matrices, ulong matrices_offset,
                        int tile_row, int image) {
    const int channel = get_global_id(0), tile = get_global_id(1);
    const int top = (tile_row + tile / TILES_W) * M - PAD_H, left = tile % TILES_W * M - PAD_W;
    x += (ulong)channel * IN_H * IN_W * PITCH + image;
    matrices += matrices_offset + channel * COLUMNS + (ulong)tile * IMAGES;
    for (int n = 0; n < IMAGES; n += VW)
        transform_tile(x + n, top, left, matrices + n, IN_C * COLUMNS);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_tiles_gy(__global const float *restrict gy, __global float *restrict matrices, ulong matrices_offset,
                         int tile_row, int image) {
    const int channel = get_global_id(0), tile = get_global_id(1);
    const int top = (tile_row + tile / TILES_W) * M, left = tile % TILES_W * M;
    gy += (ulong)channel * OUT_H * OUT_W * PITCH + image;
    matrices += matrices_offset + channel * COLUMNS + (ulong)tile * IMAGES;
    for (int n = 0; n < IMAGES; n += VW) {
        floatv g[M * M], half_way[T * M], u[XI];
#pragma unroll
        for (int r = 0; r < M; r++)
#pragma unroll
            for (int c = 0; c < M; c++)
                g[r * M + c] = top + r < OUT_H && left + c < OUT_W
                                   ? vloadv(0, gy + ((ulong)(top + r) * OUT_W + left + c) * PITCH + n)
                                   : (floatv)(0.0f);
#pragma unroll
        for (int c = 0; c < M; c++)
            kernel_1d(g + c, M, half_way + c, M, M);
#pragma unroll
        for (int r = 0; r < T; r++)
            kernel_1d(half_way + r * M, 1, u + r * T, 1, M);
#pragma unroll
        for (int xi = 0; xi < XI; xi++)
            vstorev(u[xi], 0, matrices + xi * OUT_C * COLUMNS + n);
    }
}

/* gweight[OUT_C][IN_C][K][K] (+)= the sums, transformed back. Work-items: vectors of pairs of channels. */
__kernel void conv2d_winograd_gradient(__global const float *restrict sums, __global float *restrict gweight,
                                       ulong sums_offset, int accumulate) {
    const ulong at = get_global_id(0), pairs = (ulong)OUT_C * IN_C;
    if (at * VW >= pairs)
        return;
    floatv s[XI], half_way[K * T], g[K * K];
    float lanes[K * K][VW];
    for (int xi = 0; xi < XI; xi++)
        s[xi] = load_part(sums + sums_offset + xi * pairs, at, pairs);
    for (int c = 0; c < T; c++)
        output_1d(s + c, T, half_way + c, T, K);
    for (int r = 0; r < K; r++)
        output_1d(half_way + r * T, 1, g + r * K, 1, K);
    for (int k = 0; k < K * K; k++)
        vstorev(g[k], 0, lanes[k]);
    gweight += at * VW * K * K;
    for (int lane = 0; lane < min((ulong)VW, pairs - at * VW); lane++, gweight += K * K)
        for (int k = 0; k < K * K; k++)
            gweight[k] = accumulate ? gweight[k] + lanes[k][lane] : lanes[k][lane];
}
