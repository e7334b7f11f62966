/* Winograd convolution in one dimension for CPUs, forward and backward-data: along a row, T inputs and the taps of a
   kernel row give M = T + 1 - KW outputs with T products, where M * KW are due; down the columns it is the plain sum.
   F(4, 5) has 8 products in place of 20, F(4, 3) 6 in place of 12. Two dimensions would have fewer, but the transforms
   of two cost more than that saves where channels are few, and of one they leave most of the time to the products.

   A work-item takes one column of tiles for one vector of images, two output rows at a time: it keeps the transformed
   input rows that these reach in a ring, and each tap of both rows, for MR output channels, in registers.

   Backward-data is the same convolution of gy with flipped weights and the channels' roles exchanged: TRANSPOSED. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define MR 4 /* output channels per register tile */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 8
#define OUT_W 8
#define KH 3
#define KW 3
#define PAD_H 1 /* may be negative */
#define PAD_W 1
#define TRANSPOSED 0
#define ACTIVATION 0 /* of the output */
#define POOL 1       /* see pooled.clh */
#endif

#include "activation.clh"
#include "conv2d/winograd_cpu.clh"
#include "pooled.clh"

#define M (T + 1 - KW)
#define BLOCKS ((OUT_C + MR - 1) / MR)
#define TILES ((OUT_W + M - 1) / M)
#define ROWS (KH + 1) /* of the input, for two of the output */
#define Y_PLANE ((ulong)OUT_H * OUT_W * PITCH)
#define POOLED_PLANE ((ulong)(OUT_H / 2) * (OUT_W / 2) * PITCH)

/* weight [OUT_C][IN_C][KH][KW] (TRANSPOSED: [IN_C][OUT_C][KH][KW], flipped) -> packed [BLOCKS][T][IN_C][KH][MR].
   Work-items: input channel, block. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd1d_weights(global const float *restrict weight, global float *restrict packed) {
    const int in = get_global_id(0), block = get_global_id(1);
    for (int k = 0; k < KH; k++)
        for (int m = 0; m < MR; m += VW) {
            float taps[KW][VW];
            floatv g[KW], u[T];
            for (int lane = 0; lane < VW; lane++) {
                const int out = block * MR + m + lane, inside = m + lane < MR && out < OUT_C;
#if TRANSPOSED
                global const float *from = weight + ((ulong)in * OUT_C + (inside ? out : 0)) * KH * KW;
#else
                global const float *from = weight + ((ulong)(inside ? out : 0) * IN_C + in) * KH * KW;
#endif
                for (int c = 0; c < KW; c++)
                    taps[c][lane] = !inside ? 0.0f : TRANSPOSED ? from[KH * KW - 1 - (k * KW + c)] : from[k * KW + c];
            }
            for (int c = 0; c < KW; c++)
                g[c] = vloadv(0, taps[c]);
            kernel_1d(g, 1, u, 1, KW);
            for (int t = 0; t < T; t++)
                store_part(u[t], 0, packed + ((((ulong)block * T + t) * IN_C + in) * KH + k) * MR + m, min(VW, MR - m));
        }
}

/* Row `row` of all input channels, T columns from `left` on, transformed into its place in the ring, [T][IN_C][ROWS].
 */
static inline void row_in(global const float *x, int row, int left, floatv *place) {
    x += ((long)row * IN_W + left) * PITCH;
    for (int in = 0; in < IN_C; in++, x += (ulong)IN_H * IN_W * PITCH, place += ROWS) {
        floatv d[T];
        if (left >= 0 && left + T <= IN_W) {
#pragma unroll
            for (int c = 0; c < T; c++)
                d[c] = vloadv(0, x + c * PITCH);
        } else {
#pragma unroll
            for (int c = 0; c < T; c++)
                d[c] = left + c >= 0 && left + c < IN_W ? vloadv(0, x + c * PITCH) : (floatv)(0.0f);
        }
        input_1d(d, 1, place, IN_C * ROWS);
    }
}

/* The input row `r` of two output rows times its tap of each. */
static inline void tap(floatv acc[2][MR], floatv image, global const float *u, int r) {
#pragma unroll
    for (int m = 0; m < MR; m++) {
        if (r < KH)
            acc[0][m] = fma((floatv)(u[r * MR + m]), image, acc[0][m]);
        if (r > 0)
            acc[1][m] = fma((floatv)(u[(r - 1) * MR + m]), image, acc[1][m]);
    }
}

/* One element of MR channels of two output rows. `at`: the places in the ring of their input rows, of which
   first..last-1 are inside. */
static inline void multiply(const floatv *v, const int *at, int first, int last, global const float *u,
                            floatv *products) {
    floatv acc[2][MR];
#pragma unroll
    for (int m = 0; m < MR; m++)
        acc[0][m] = acc[1][m] = (floatv)(0.0f);
    if (first == 0 && last == ROWS)
        for (int in = 0; in < IN_C; in++, v += ROWS, u += KH * MR)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                tap(acc, v[at[r]], u, r);
    else
        for (int in = 0; in < IN_C; in++, v += ROWS, u += KH * MR)
            for (int r = first; r < last; r++)
                tap(acc, v[at[r]], u, r);
#pragma unroll
    for (int m = 0; m < MR; m++) {
        products[m * 2 * T] = acc[0][m];
        products[(m * 2 + 1) * T] = acc[1][m];
    }
}

/* One channel's products of two rows -> output pixels, of which so many rows and columns are inside. */
static inline void tile_out(const floatv *products, floatv bias, global float *y, global float *pooled,
                            global uchar *indices, int rows, int columns) {
    floatv out[2][M];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        output_1d(products + r * T, 1, out[r], 1, M);
#pragma unroll
        for (int c = 0; c < M; c++)
            out[r][c] = activate(out[r][c] + bias);
    }
    if (!POOL || y)
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int c = 0; c < M; c++)
                if (r < rows && c < columns)
                    put(out[r][c], 0, y + ((ulong)r * OUT_W + c) * PITCH);
#if POOL
    if (pooled)
#pragma unroll
        for (int c = 0; c < M; c += 2)
            if (c < columns)
                store_pooled(out[0][c], out[0][c + 1], out[1][c], out[1][c + 1], pooled + c / 2 * PITCH,
                             indices ? indices + c / 2 * PITCH : indices, 0);
#endif
}

/* Work-items: tile of a row, vector of images, share of the pairs of rows. bias may be null. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd1d(global const float *restrict x, global const float *restrict packed,
                  global const float *restrict bias, global float *restrict y, global float *restrict pooled,
                  global uchar *restrict indices) {
    const int column = get_global_id(0) * M, image = get_global_id(1) * VW;
    const int pairs = (OUT_H + 1) / 2, share = get_global_id(2), shares = get_global_size(2);
    floatv ring[IN_C * ROWS * T], products[MR * 2 * T];
    const int begin = pairs * share / shares * 2, end = pairs * (share + 1) / shares * 2;
    x += image;
    y = y ? y + column * PITCH + image : y;
    for (int row = begin; row < end; row += 2) {
        const int top = row - PAD_H, first = max(-top, 0), last = min(IN_H - top, ROWS);
        int at[ROWS];
        for (int r = max(first, row == begin ? 0 : ROWS - 2); r < last; r++)
            row_in(x, top + r, column - PAD_W, ring + (row + r) % ROWS);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            at[r] = (row + r) % ROWS;
        for (int block = 0; block < BLOCKS; block++) {
            for (int t = 0; t < T; t++)
                multiply(ring + t * IN_C * ROWS, at, first, last, packed + ((ulong)block * T + t) * IN_C * KH * MR,
                         products + t);
            for (int m = 0; m < min(MR, OUT_C - block * MR); m++) {
                const int channel = block * MR + m;
                const ulong to = channel * POOLED_PLANE + (row / 2 * (OUT_W / 2) + column / 2) * PITCH + image;
                tile_out(products + m * 2 * T, (floatv)(bias ? bias[channel] : 0.0f),
                         y ? y + channel * Y_PLANE + row * OUT_W * PITCH : y, pooled ? pooled + to : pooled,
                         indices ? indices + to : indices, OUT_H % 2 ? OUT_H - row : 2, OUT_W % M ? OUT_W - column : M);
            }
        }
    }
}
