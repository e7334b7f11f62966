/* Winograd convolution for CPUs (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016):
   F(4x4, 3x3) and F(2x2, 5x5), both over input tiles of 6x6 with the points 0, 1, -1, 2, -2 and infinity, so that they
   share the input transform. 36 products replace 144 (3x3) or 100 (5x5).

   A work-item takes one tile for NV vectors of images at a time: transforms the tile of each input channel into
   scratch, multiplies the 36 elements by the transformed weights in register tiles of MR output channels x NV vectors,
   and transforms back. All of it is vector code over the contiguous batch axis.

   Backward-data is the same convolution of gy with flipped weights and the channels' roles exchanged: TRANSPOSED. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define NV 2 /* vectors of images per tile */
#define MR 4 /* output channels per register tile */
#define K 3  /* kernel size: 3 or 5 */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define PAD_H 1 /* may be negative */
#define PAD_W 1
#define TRANSPOSED 0
#endif

#include "conv2d_winograd.clh"

#define M (T + 1 - K)  /* output pixels per tile edge: 4 or 2 */
#define WIDTH (NV * VW)
#define BLOCKS ((OUT_C + MR - 1) / MR)
#define TILES_H ((OUT_H + M - 1) / M)
#define TILES_W ((OUT_W + M - 1) / M)
/* Floats of one work-item's scratch: the transformed input [XI][IN_C][WIDTH] and products [MR][XI][WIDTH].
   Before all scratch lie the PACKED floats of the transformed weights. */
#define V_SIZE ((ulong)XI * IN_C * WIDTH)
#define PACKED ((ulong)BLOCKS * XI * IN_C * MR)
#define SCRATCH (V_SIZE + (ulong)MR * XI * WIDTH)

/* weight [OUT_C][IN_C][K][K] (TRANSPOSED: [IN_C][OUT_C][K][K], flipped) -> packed [BLOCKS][XI][IN_C][MR].
   Work-items: input channel, block. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_weights(__global const float *restrict weight, __global float *restrict packed) {
    const int in = get_global_id(0), block = get_global_id(1);
    __global float *to = packed + ((ulong)block * XI * IN_C + in) * MR;
    for (int m = 0; m < MR; m++) {
        const int out = block * MR + m;
        float g[K * K], half_way[T * K], u[XI];
        for (int k = 0; k < K * K; k++) {
#if TRANSPOSED
            g[k] = out < OUT_C ? weight[((ulong)in * OUT_C + out) * K * K + K * K - 1 - k] : 0.0f;
#else
            g[k] = out < OUT_C ? weight[((ulong)out * IN_C + in) * K * K + k] : 0.0f;
#endif
        }
        for (int c = 0; c < K; c++)
            scalar_kernel_1d(g + c, K, half_way + c, K, K);
        for (int r = 0; r < T; r++)
            scalar_kernel_1d(half_way + r * K, 1, u + r * T, 1, K);
        for (int xi = 0; xi < XI; xi++)
            to[(ulong)xi * IN_C * MR + m] = u[xi];
    }
}

/* products[m][xi] = sum over input channels of u[in][m] * v[in], MR channels x NV vectors in registers. */
static inline void multiply(__global const float *u, __global const float *v,
                            __global float *products) {
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
            vstorev(acc[m][n], n, products + (ulong)m * XI * WIDTH);
}

/* One channel's products for one vector of images -> M x M output pixels. y points at the tile's first pixel. */
static inline void transform_output(__global const float *products, floatv bias, __global float *y,
                                    int rows, int columns) {
    floatv p[XI], half_way[M * T], out[M * M];
#pragma unroll
    for (int xi = 0; xi < XI; xi++)
        p[xi] = vloadv(0, products + xi * WIDTH);
#pragma unroll
    for (int c = 0; c < T; c++)
        output_1d(p + c, T, half_way + c, T, M);
#pragma unroll
    for (int r = 0; r < M; r++)
        output_1d(half_way + r * T, 1, out + r * M, 1, M);
#pragma unroll
    for (int r = 0; r < M; r++)
#pragma unroll
        for (int c = 0; c < M; c++)
            if (r < rows && c < columns)
                vstorev(out[r * M + c] + bias, 0, y + ((ulong)r * OUT_W + c) * PITCH);
}

/* Work-items: any number; item g takes the tiles g, g + items, ... bias may be null. workspace holds the packed
   weights and SCRATCH floats for each work-item. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd(__global const float *restrict x, __global const float *restrict bias, __global float *restrict y,
                __global float *restrict workspace) {
    __global const float *packed = workspace;
    __global float *v = workspace + PACKED + get_global_id(0) * SCRATCH, *products = v + V_SIZE;
    for (int tile = get_global_id(0); tile < TILES_H * TILES_W * (PITCH / WIDTH); tile += get_global_size(0)) {
        const int image = tile % (PITCH / WIDTH) * WIDTH, place = tile / (PITCH / WIDTH);
        const int row = place / TILES_W * M, column = place % TILES_W * M;
        for (int in = 0; in < IN_C; in++)
            for (int n = 0; n < WIDTH; n += VW)
                transform_tile(x + (ulong)in * IN_H * IN_W * PITCH + image + n, row - PAD_H, column - PAD_W,
                               v + (ulong)in * WIDTH + n, (ulong)IN_C * WIDTH);
        for (int block = 0; block < BLOCKS; block++) {
            __global const float *u = packed + (ulong)block * XI * IN_C * MR;
            for (int xi = 0; xi < XI; xi++)
                multiply(u + (ulong)xi * IN_C * MR, v + (ulong)xi * IN_C * WIDTH, products + xi * WIDTH);
            for (int m = 0; m < min(MR, OUT_C - block * MR); m++) {
                const int out = block * MR + m;
                const floatv b = (floatv)(bias ? bias[out] : 0.0f);
                __global float *to = y + (((ulong)out * OUT_H + row) * OUT_W + column) * PITCH + image;
                for (int n = 0; n < WIDTH; n += VW)
                    transform_output(products + (ulong)m * XI * WIDTH + n, b, to + n, OUT_H - row, OUT_W - column);
            }
        }
    }
}
