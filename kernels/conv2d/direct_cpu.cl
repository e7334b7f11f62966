/* Direct convolution for CPUs, forward and backward-data. One work-item computes one output row for NV vectors of
   images: for each output pixel a tile of MR channels x NV vectors stays in registers while the taps pass by, each a
   few vector loads of x and MR broadcasts of packed weights.

   Wide layers (PATCH) first copy what a few columns need of CHUNK input channels side by side into local memory: the
   planes lie at distances that would share few cache sets, and the copy serves every channel block.

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
#define PATCH 1
#define PATCH_COLUMNS 18 /* input columns that COLUMNS output columns reach */
#define CHUNK 4          /* input channels; IN_C where there is no patch */
#define TRANSPOSED 0
#define ACTIVATION 0 /* of the output */
#define POOL 1       /* see pooled.clh */
#endif

#include "activation.clh"
#include "pooled.clh"

#define BLOCKS ((OUT_C + MR - 1) / MR)
#define TAPS (KH * KW)
#define Y_PLANE ((ulong)OUT_H * OUT_W * PITCH)
/* Floats of one packed block: MR biases, then [IN_C][KH][KW][MR]. */
#define PACKED ((ulong)MR * (1 + (ulong)IN_C * TAPS))

/* weight is [GROUPS * OUT_C][IN_C][KH][KW], or where TRANSPOSED [GROUPS * IN_C][OUT_C][KH][KW], to be flipped.
   bias may be null. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_pack(global const float *restrict weight, global const float *restrict bias, global float *restrict packed) {
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

/* What the inner loops read: x itself, or its patch [CHUNK][KH][PATCH_COLUMNS][NV * VW]. Distances in floats from one
   valid kernel row or column to the next, and from channel to channel. */
#if PATCH
#define SPACE local
#define X_COLUMN (NV * VW)
#define X_ROW (PATCH_COLUMNS * X_COLUMN)
#define X_PLANE (KH * X_ROW)
#else
#define SPACE global
#define X_COLUMN PITCH
#define X_ROW (IN_STEP_H * IN_W * PITCH)
#define X_PLANE ((ulong)IN_H * IN_W * PITCH)
#endif

static inline void tap(floatv acc[MR][NV], SPACE const float *x, global const float *w) {
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

/* The products of one output pixel with `channels` input channels. x points at input column `from` of the first valid
   kernel row, w at the first channel's first tap. */
static inline void pixel(floatv acc[MR][NV], SPACE const float *x, global const float *w, taps rows, int from,
                         int column, int channels) {
    w += rows.first * KW * MR;
    if (UP_W == 1 && column >= FULL_FIRST && column < FULL_LAST) {
        x += (column * STRIDE_W - PAD_W - from) * X_COLUMN;
        for (int in = 0; in < channels; in++, x += X_PLANE, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++)
#pragma unroll
                for (int k = 0; k < KW; k++)
                    tap(acc, x + r * X_ROW + k * DIL_W * X_COLUMN, w + (r * TAP_STEP_H * KW + k) * MR);
    } else {
        const taps columns = taps_of(column, STRIDE_W, UP_W, PAD_W, DIL_W, KW, IN_W);
        x += (columns.in - from) * X_COLUMN;
        w += columns.first * MR;
        for (int in = 0; in < channels; in++, x += X_PLANE, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++)
                for (int k = 0; k < columns.count; k++)
                    tap(acc, x + r * X_ROW + k * IN_STEP_W * X_COLUMN, w + (r * TAP_STEP_H * KW + k * TAP_STEP_W) * MR);
    }
}

/* Output columns column..end-1 of one channel block. The first chunk starts from the biases, later ones from what is
   there; the last one ends with the activation. */
static inline void segment(SPACE const float *x, global const float *block, global float *y, taps rows, int from,
                           int column, int end, int chunk, int channels) {
    const int last = chunk + CHUNK >= IN_C;
    for (; column < end; column++) {
        floatv acc[MR][NV];
        global float *to = y + column * PITCH;
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int v = 0; v < NV; v++)
                acc[m][v] = chunk && m < channels ? vloadv(v, to + m * Y_PLANE) : (floatv)(block[m]);
        pixel(acc, x, block + MR + chunk * TAPS * MR, rows, from, column, min(CHUNK, IN_C - chunk));
#pragma unroll
        for (int m = 0; m < MR; m++)
            if (m < channels)
#pragma unroll
                for (int v = 0; v < NV; v++)
                    vstorev(last ? activate(acc[m][v]) : acc[m][v], v, to + m * Y_PLANE);
    }
}

/* Work-items: output row, block of NV * VW images, group * splits + which share of the channel blocks. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_rows(global const float *restrict x, global const float *restrict packed, global float *restrict y, int splits) {
#if PATCH
    local floatv patch[CHUNK * KH * PATCH_COLUMNS * NV];
#endif
    const int row = get_global_id(0), image = get_global_id(1) * NV * VW;
    const int group = get_global_id(2) / splits, share = get_global_id(2) % splits;
    const taps rows = taps_of(row, STRIDE_H, UP_H, PAD_H, DIL_H, KH, IN_H);
    x += ((ulong)group * IN_C * IN_H + rows.in) * IN_W * PITCH + image;
    y += ((ulong)group * OUT_C * OUT_H + row) * OUT_W * PITCH + image;
    for (int first = 0; first < OUT_W; first += COLUMNS) {
        const int end = min(first + COLUMNS, OUT_W);
        for (int chunk = 0; chunk < IN_C; chunk += CHUNK) {
#if PATCH
            /* Input columns from..to are all that the taps of columns first..end-1 reach. */
            const int from = max(first * STRIDE_W - PAD_W, 0) / UP_W;
            const int to = min(max((end - 1) * STRIDE_W - PAD_W + SPAN, 0) / UP_W, IN_W - 1);
            for (int in = 0; in < min(CHUNK, IN_C - chunk); in++)
                for (int r = 0; r < rows.count; r++) {
                    global const float *xr = x + ((ulong)(chunk + in) * IN_H + r * IN_STEP_H) * IN_W * PITCH;
                    local floatv *copy = patch + (in * KH + r) * PATCH_COLUMNS * NV;
                    for (int column = from; column <= to; column++)
                        for (int v = 0; v < NV; v++)
                            *copy++ = vloadv(v, xr + column * PITCH);
                }
            local const float *start = (local const float *)patch;
#else
            const int from = 0;
            global const float *start = x;
#endif
            for (int b = share; b < BLOCKS; b += splits)
                segment(start, packed + ((ulong)group * BLOCKS + b) * PACKED, y + b * MR * Y_PLANE, rows, from, first,
                        end, chunk, OUT_C - b * MR);
        }
    }
}

#if POOL && !PATCH
#define POOL_COLUMNS 4 /* of the pooled map at a time */
#define POOLED_PLANE ((ulong)(OUT_H / 2) * (OUT_W / 2) * PITCH)

/* Two output rows of one channel block, columns first..end-1, in `pixels`: activated, pooled and stored; themselves too
   where y is not null. Pointers start at the tile's rows and its first channel. */
static inline void finish_pooled(floatv pixels[2][2 * POOL_COLUMNS][MR][NV], global float *y, global float *pooled,
                                 global uchar *indices, int first, int end, int channels) {
    for (int column = 0; column < end - first; column += 2)
        for (int m = 0; m < min(MR, channels); m++)
            for (int v = 0; v < NV; v++) {
                const floatv a = activate(pixels[0][column][m][v]), b = activate(pixels[0][column + 1][m][v]);
                const floatv c = activate(pixels[1][column][m][v]), d = activate(pixels[1][column + 1][m][v]);
                if (y) {
                    global float *to = y + m * Y_PLANE + (first + column) * PITCH;
                    vstorev(a, v, to);
                    vstorev(b, v, to + PITCH);
                    vstorev(c, v, to + OUT_W * PITCH);
                    vstorev(d, v, to + (OUT_W + 1) * PITCH);
                }
                const ulong at = m * POOLED_PLANE + (first + column) / 2 * PITCH;
                store_pooled(a, b, c, d, pooled + at, indices ? indices + at : indices, v);
            }
}

/* As conv2d_rows, for two rows at a time and with the pooling behind them. OUT_H and OUT_W are even. The pixels wait in
   a small array for the activation: many independent ones overlap there as they do not behind the products of one. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_rows_pooled(global const float *restrict x, global const float *restrict packed, global float *restrict y,
                   global float *restrict pooled, global uchar *restrict indices, int splits) {
    const int row = 2 * get_global_id(0), image = get_global_id(1) * NV * VW;
    const int group = get_global_id(2) / splits, share = get_global_id(2) % splits;
    x += (ulong)group * IN_C * IN_H * IN_W * PITCH + image;
    y = y ? y + ((ulong)group * OUT_C * OUT_H + row) * OUT_W * PITCH + image : y;
    const ulong to = ((ulong)group * OUT_C * (OUT_H / 2) + row / 2) * (OUT_W / 2) * PITCH + image;
    floatv pixels[2][2 * POOL_COLUMNS][MR][NV];
    for (int first = 0; first < OUT_W; first += 2 * POOL_COLUMNS) {
        const int end = min(first + 2 * POOL_COLUMNS, OUT_W);
        for (int b = share; b < BLOCKS; b += splits) {
            global const float *block = packed + ((ulong)group * BLOCKS + b) * PACKED;
            for (int r = 0; r < 2; r++) {
                const taps rows = taps_of(row + r, STRIDE_H, UP_H, PAD_H, DIL_H, KH, IN_H);
                global const float *start = x + rows.in * IN_W * PITCH;
                for (int column = first; column < end; column++) {
                    floatv acc[MR][NV];
#pragma unroll
                    for (int m = 0; m < MR; m++)
#pragma unroll
                        for (int v = 0; v < NV; v++)
                            acc[m][v] = (floatv)(block[m]);
                    pixel(acc, start, block + MR, rows, 0, column, IN_C);
#pragma unroll
                    for (int m = 0; m < MR; m++)
#pragma unroll
                        for (int v = 0; v < NV; v++)
                            pixels[r][column - first][m][v] = acc[m][v];
                }
            }
            const ulong at = to + b * MR * POOLED_PLANE;
            finish_pooled(pixels, y ? y + b * MR * Y_PLANE : y, pooled + at, indices ? indices + at : indices, first,
                          end, OUT_C - b * MR);
        }
    }
}
#endif
