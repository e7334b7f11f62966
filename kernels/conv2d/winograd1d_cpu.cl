/* Winograd convolution in one dimension for CPUs, forward and backward-data: along a row, T inputs and the taps of a
   kernel row give M = T + 1 - KW outputs with T products, where M * KW are due; down the columns it is the plain sum.
   F(4, 5) has 8 products in place of 20, F(4, 3) 6 in place of 12. Two dimensions would have fewer, but the transforms
   of two cost more than that saves where channels are few, and of one they leave most of the time to the products.

   A work-item takes one column of tiles for one vector of images, two output rows at a time: it keeps the transformed
   input rows that these reach in a ring, and each tap of both rows, for MR output channels, in registers.

   Backward-data is the same convolution of gy with flipped weights and the channels' roles exchanged: `transposed`.
   Sizes and the pooling are arguments, so that the layers of a network share a program, and whether to activate, so
   that a layer's two ways do. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define MR 4 /* output channels per register tile */
#define KH 3
#define KW 3
#define ACTIVATION 0 /* of the output */
#define MOST_IN_C 8  /* input channels that there is room for */
#endif

#include "activation.clh"
#include "conv2d/winograd_cpu.clh"
#include "pooled.clh"

#define M (T + 1 - KW)
#define ROWS (KH + 1) /* of the input, for two of the output */

typedef struct sizes {
    int in_c, in_h, in_w, out_c, out_h, out_w, pad_h, pad_w; /* padding may be negative */
} sizes;

/* weight [out_c][in_c][KH][KW] (transposed: [in_c][out_c][KH][KW], flipped) -> packed [block][T][in_c][KH][MR].
   Work-items: input channel, block. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd1d_weights(global const float *restrict weight, global float *restrict packed, int out_c,
                          int transposed) {
    const int in = get_global_id(0), in_c = get_global_size(0), block = get_global_id(1);
    for (int k = 0; k < KH; k++)
        for (int m = 0; m < MR; m += VW) {
            float taps[KW][VW];
            floatv g[KW], u[T];
            for (int lane = 0; lane < VW; lane++) {
                const int out = block * MR + m + lane, inside = m + lane < MR && out < out_c;
                const ulong pair = transposed ? (ulong)in * out_c + out : (ulong)out * in_c + in;
                global const float *from = weight + (inside ? pair : 0) * (KH * KW);
                for (int c = 0; c < KW; c++)
                    taps[c][lane] = !inside ? 0.0f : transposed ? from[KH * KW - 1 - (k * KW + c)] : from[k * KW + c];
            }
            for (int c = 0; c < KW; c++)
                g[c] = vloadv(0, taps[c]);
            kernel_1d(g, 1, u, 1, KW);
            for (int t = 0; t < T; t++)
                store_part(u[t], 0, packed + ((((ulong)block * T + t) * in_c + in) * KH + k) * MR + m, min(VW, MR - m));
        }
}

/* Row `row` of all input channels, T columns from `left` on, transformed into its place in the ring, [T][in_c][ROWS].
 */
static inline void row_in(global const float *x, sizes s, int row, int left, floatv *place) {
    x += ((long)row * s.in_w + left) * PITCH;
    for (int in = 0; in < s.in_c; in++, x += (ulong)s.in_h * s.in_w * PITCH, place += ROWS) {
        floatv d[T];
        if (left >= 0 && left + T <= s.in_w) {
#pragma unroll
            for (int c = 0; c < T; c++)
                d[c] = vloadv(0, x + c * PITCH);
        } else {
#pragma unroll
            for (int c = 0; c < T; c++)
                d[c] = left + c >= 0 && left + c < s.in_w ? vloadv(0, x + c * PITCH) : (floatv)(0.0f);
        }
        input_1d(d, 1, place, s.in_c * ROWS);
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
static inline void multiply(const floatv *v, int in_c, const int *at, int first, int last, global const float *u,
                            floatv *products) {
    floatv acc[2][MR];
#pragma unroll
    for (int m = 0; m < MR; m++)
        acc[0][m] = acc[1][m] = (floatv)(0.0f);
    if (first == 0 && last == ROWS)
        for (int in = 0; in < in_c; in++, v += ROWS, u += KH * MR)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                tap(acc, v[at[r]], u, r);
    else
        for (int in = 0; in < in_c; in++, v += ROWS, u += KH * MR)
            for (int r = first; r < last; r++)
                tap(acc, v[at[r]], u, r);
#pragma unroll
    for (int m = 0; m < MR; m++) {
        products[m * 2 * T] = acc[0][m];
        products[(m * 2 + 1) * T] = acc[1][m];
    }
}

/* One channel's products of two rows -> output pixels. */
static inline void pixels_of(const floatv *products, floatv bias, int activates, floatv out[2][M]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        output_1d(products + r * T, 1, out[r], 1, M);
#pragma unroll
        for (int c = 0; c < M; c++)
            out[r][c] += bias;
    }
#if ACTIVATION
    if (activates)
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int c = 0; c < M; c++)
                out[r][c] = activate(out[r][c]);
#endif
}

/* `columns` pixels of `rows` rows -> y, whose rows have `width` pixels. */
static inline void store(floatv out[2][M], global float *y, int rows, int columns, int width) {
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int c = 0; c < M; c++)
            if (r < rows && c < columns)
                put(out[r][c], 0, y + ((ulong)r * width + c) * PITCH);
}

/* Work-items: tile of a row, vector of images, share of the pairs of rows. bias may be null, and one of
   y and pooled; see pooled.clh for `pool` and `relu`. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd1d(global const float *restrict x, global const float *restrict packed,
                  global const float *restrict bias, global float *restrict y, global float *restrict pooled,
                  global uchar *restrict indices, int in_c, int in_h, int in_w, int out_c, int out_h, int out_w,
                  int pad_h, int pad_w, int activates, int pool, int relu) {
    const sizes s = {in_c, in_h, in_w, out_c, out_h, out_w, pad_h, pad_w};
    const int column = get_global_id(0) * M, image = get_global_id(1) * VW;
    const int pairs = (out_h + 1) / 2, share = get_global_id(2), shares = get_global_size(2);
    const ulong y_plane = (ulong)out_h * out_w * PITCH, pooled_plane = (ulong)(out_h / 2) * (out_w / 2) * PITCH;
    floatv ring[MOST_IN_C * ROWS * T], products[MR * 2 * T];
    const int begin = pairs * share / shares * 2, end = pairs * (share + 1) / shares * 2;
    const int columns = min(M, out_w - column);
    x += image;
    for (int row = begin; row < end; row += 2) {
        const int top = row - pad_h, first = max(-top, 0), last = min(in_h - top, ROWS);
        int at[ROWS];
        for (int r = max(first, row == begin ? 0 : ROWS - 2); r < last; r++)
            row_in(x, s, top + r, column - pad_w, ring + (row + r) % ROWS);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            at[r] = (row + r) % ROWS;
        for (int block = 0; block * MR < out_c; block++) {
            for (int t = 0; t < T; t++)
                multiply(ring + t * in_c * ROWS, in_c, at, first, last,
                         packed + ((ulong)block * T + t) * in_c * KH * MR, products + t);
            for (int m = 0; m < min(MR, out_c - block * MR); m++) {
                const int channel = block * MR + m;
                floatv out[2][M];
                pixels_of(products + m * 2 * T, (floatv)(bias ? bias[channel] : 0.0f), activates, out);
                if (y)
                    store(out, y + channel * y_plane + ((ulong)row * out_w + column) * PITCH + image, out_h - row,
                          columns, out_w);
                const ulong to = channel * pooled_plane + (row / 2 * (out_w / 2) + column / 2) * PITCH + image;
                for (int c = 0; pooled && c < columns; c += 2)
                    store_pooled(out[0][c], out[0][c + 1], out[1][c], out[1][c + 1], pooled + to + c / 2 * PITCH,
                                 indices ? indices + to + c / 2 * PITCH : indices, 0, pool, relu);
            }
        }
    }
}
