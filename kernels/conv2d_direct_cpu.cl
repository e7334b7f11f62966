/* Direct convolution for CPUs, forward and backward-data. One work-item computes one output row for NV vectors of
   images: for each output pixel a tile of MR channels x NV vectors stays in registers while the taps pass by, each a
   few vector loads of x and MR broadcasts of packed weights.

   Both passes are a correlation over an input whose rows lie UP apart: position q = out*STRIDE - PAD + k*DIL of the
   stretched input is row q / UP where UP divides q, and nothing elsewhere. Forward has UP = 1. Backward-data has
   STRIDE = 1 and UP = the layer's stride, on flipped weights with the channels' roles exchanged. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define NV 2 /* vectors of images per tile */
#define MR 8 /* output channels per tile */
#define GROUPS 1
#define IN_C 8 /* channels of one group */
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define KH 3
#define KW 3
#define STRIDE_H 1
#define STRIDE_W 1
#define UP_H 1
#define UP_W 1
#define PAD_H 1 /* may be negative */
#define PAD_W 1
#define DIL_H 1
#define DIL_W 1
/* From one valid tap to the next: UP / gcd(UP, DIL) in k, DIL / gcd(UP, DIL) in the input. */
#define TAP_STEP_H 1
#define TAP_STEP_W 1
#define IN_STEP_H 1
#define IN_STEP_W 1
#define COLUMNS 16 /* output columns whose inputs stay in the cache while the channel blocks pass */
#define TRANSPOSED 0
#endif

#define BLOCKS ((OUT_C + MR - 1) / MR)
#define TAPS (KH * KW)
/* Floats of one packed block: MR biases, then [IN_C][KH][KW][MR]. */
#define PACKED ((ulong)MR * (1 + (ulong)IN_C * TAPS))

/* weight is [GROUPS * OUT_C][IN_C][KH][KW], or where TRANSPOSED [GROUPS * IN_C][OUT_C][KH][KW], to be flipped.
   bias may be null. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_pack(global const float *restrict weight,
                                                                       global const float *restrict bias,
                                                                       global float *restrict packed) {
    const int in = get_global_id(0), block = get_global_id(1), group = get_global_id(2);
    global float *to = packed + ((ulong)group * BLOCKS + block) * PACKED;
    if (in == 0)
        for (int m = 0; m < MR; m++)
            to[m] = bias && block * MR + m < OUT_C ? bias[group * OUT_C + block * MR + m] : 0.0f;
    to += MR + (ulong)in * TAPS * MR;
    for (int m = 0; m < MR; m++) {
        const int out = block * MR + m;
#if TRANSPOSED
        global const float *from = weight + (((ulong)group * IN_C + in) * OUT_C + out) * TAPS;
#else
        global const float *from = weight + (((ulong)group * OUT_C + out) * IN_C + in) * TAPS;
#endif
        for (int k = 0; k < TAPS; k++)
            to[k * MR + m] = out < OUT_C ? from[TRANSPOSED ? TAPS - 1 - k : k] : 0.0f;
    }
}

/* The taps of one axis that fall on input: k = first, first + TAP_STEP, ...; inputs in, in + IN_STEP, ... */
typedef struct taps {
    int first, count, in;
} taps;

static inline taps taps_of(int out, int stride, int up, int pad, int dilation, int kernel_size, int in_size) {
    taps t = {0, 0, 0};
    for (int k = kernel_size - 1; k >= 0; k--) {
        const int q = out * stride - pad + k * dilation;
        if (q >= 0 && q % up == 0 && q / up < in_size) {
            t.first = k;
            t.in = q / up;
            t.count++;
        }
    }
    return t;
}

static inline void tap(floatv acc[MR][NV], global const float *x, global const float *w) {
    floatv image[NV];
#pragma unroll
    for (int v = 0; v < NV; v++)
        image[v] = vloadv(v, x);
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int v = 0; v < NV; v++)
            acc[m][v] = fma((floatv)(w[m]), image[v], acc[m][v]);
}

/* Columns first..last-1 have all their taps inside the input. */
#define SPAN ((KW - 1) * DIL_W)
#define FULL_FIRST (PAD_W > 0 ? (PAD_W + STRIDE_W - 1) / STRIDE_W : 0)
#define FULL_LAST (IN_W - 1 + PAD_W >= SPAN ? (IN_W - 1 + PAD_W - SPAN) / STRIDE_W + 1 : 0)

/* One output pixel: x at row rows.in of the group's first channel. */
static inline void pixel(global const float *restrict x, global const float *restrict block,
                         global float *restrict y, taps rows, int column, int channels) {
    floatv acc[MR][NV];
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int v = 0; v < NV; v++)
            acc[m][v] = (floatv)(block[m]);
    global const float *w = block + MR + rows.first * KW * MR;
    if (UP_W == 1 && column >= FULL_FIRST && column < FULL_LAST) {
        x += (column * STRIDE_W - PAD_W) * PITCH;
        for (int in = 0; in < IN_C; in++, x += (ulong)IN_H * IN_W * PITCH, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++) {
                global const float *xr = x + (ulong)r * IN_STEP_H * IN_W * PITCH;
                global const float *wr = w + r * TAP_STEP_H * KW * MR;
#pragma unroll
                for (int k = 0; k < KW; k++)
                    tap(acc, xr + k * DIL_W * PITCH, wr + k * MR);
            }
    } else {
        const taps columns = taps_of(column, STRIDE_W, UP_W, PAD_W, DIL_W, KW, IN_W);
        x += columns.in * PITCH;
        w += columns.first * MR;
        for (int in = 0; in < IN_C; in++, x += (ulong)IN_H * IN_W * PITCH, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++) {
                global const float *xr = x + (ulong)r * IN_STEP_H * IN_W * PITCH;
                global const float *wr = w + r * TAP_STEP_H * KW * MR;
                for (int k = 0; k < columns.count; k++)
                    tap(acc, xr + k * IN_STEP_W * PITCH, wr + k * TAP_STEP_W * MR);
            }
    }
#pragma unroll
    for (int m = 0; m < MR; m++)
        if (m < channels)
#pragma unroll
            for (int v = 0; v < NV; v++)
                vstorev(acc[m][v], v, y + (ulong)m * OUT_H * OUT_W * PITCH);
}

/* Work-items: output row, block of NV * VW images, group * splits + which share of the channel blocks. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_rows(global const float *restrict x,
                                                                       global const float *restrict packed,
                                                                       global float *restrict y, int splits) {
    const int row = get_global_id(0), image = get_global_id(1) * NV * VW;
    const int group = get_global_id(2) / splits, share = get_global_id(2) % splits;
    const taps rows = taps_of(row, STRIDE_H, UP_H, PAD_H, DIL_H, KH, IN_H);
    x += ((ulong)group * IN_C * IN_H + rows.in) * IN_W * PITCH + image;
    y += ((ulong)group * OUT_C * OUT_H + row) * OUT_W * PITCH + image;
    for (int first = 0; first < OUT_W; first += COLUMNS)
        for (int b = share; b < BLOCKS; b += splits) {
            global const float *block = packed + ((ulong)group * BLOCKS + b) * PACKED;
            global float *to = y + (ulong)b * MR * OUT_H * OUT_W * PITCH;
            for (int column = first; column < min(first + COLUMNS, OUT_W); column++)
                pixel(x, block, to + column * PITCH, rows, column, OUT_C - b * MR);
        }
}
