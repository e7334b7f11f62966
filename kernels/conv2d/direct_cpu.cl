/* Direct convolution for CPUs, forward and backward-data. One work-item computes one output row for NV vectors of
   images: for each output pixel a tile of MR channels x NV vectors stays in registers while the taps pass by, each a
   few vector loads of x and MR broadcasts of packed weights.

   Wide layers (PATCH) first copy what a few columns need of some input channels side by side into local memory: the
   planes lie at distances that would share few cache sets, and the copy serves every channel block.

   Both passes are a correlation over an input whose rows lie UP apart: position q = out*STRIDE - PAD + k*DIL of the
   stretched input is row q / UP where UP divides q, and nothing elsewhere. Forward has UP = 1. Backward-data has
   STRIDE = 1 and UP = the layer's stride, on flipped weights with the channels' roles exchanged.

   Sizes that do not decide how the inner loops look are arguments: layers of one kind share a program. in_c and out_c
   are the channels of one group; paddings may be negative. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define NV 2 /* vectors of images per tile */
#define MR 8 /* output channels per tile */
#define KH 3
#define KW 3
#define STRIDE_H 1
#define STRIDE_W 1
#define UP_H 1
#define UP_W 1
#define DIL_H 1
#define DIL_W 1
/* From one valid tap to the next: UP / gcd(UP, DIL) in k, DIL / gcd(UP, DIL) in the input. */
#define TAP_STEP_H 1
#define TAP_STEP_W 1
#define IN_STEP_H 1
#define IN_STEP_W 1
#define PATCH 4096   /* its vectors at most; 0: none */
#define ACTIVATION 0 /* of the output */
#define POOL 1       /* see pooled.clh */
#define POOL_RELU 0
#endif

#include "activation.clh"
#include "pooled.clh"

#define BLOCKS(out_c) (((out_c) + MR - 1) / MR)
#define TAPS (KH * KW)
/* Floats of one packed block: MR biases, then [in_c][KH][KW][MR]. */
#define PACKED(in_c) ((ulong)MR * (1 + (ulong)(in_c)*TAPS))

/* weight is [groups * out_c][in_c][KH][KW], or where `transposed` [groups * in_c][out_c][KH][KW], to be flipped.
   bias may be null. Work-items: input channel, block, group. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_pack(global const float *restrict weight,
                                                                       global const float *restrict bias,
                                                                       global float *restrict packed, int out_c,
                                                                       int transposed) {
    const int in = get_global_id(0), block = get_global_id(1), group = get_global_id(2), in_c = get_global_size(0);
    global float *to = packed + ((ulong)group * BLOCKS(out_c) + block) * PACKED(in_c);
    if (in == 0)
        for (int m = 0; m < MR; m++)
            to[m] = bias && block * MR + m < out_c ? bias[group * out_c + block * MR + m] : 0.0f;
    to += MR + (ulong)in * TAPS * MR;
    for (int m = 0; m < MR; m++) {
        const int out = block * MR + m;
        const ulong at =
            transposed ? ((ulong)group * in_c + in) * out_c + out : ((ulong)group * out_c + out) * in_c + in;
        for (int k = 0; k < TAPS; k++)
            to[k * MR + m] = out < out_c ? weight[at * TAPS + (transposed ? TAPS - 1 - k : k)] : 0.0f;
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

/* What the inner loops read: x itself, or its patch [channels][KH][patch columns][NV * VW]. */
#if PATCH
#define SPACE local
#define X_COLUMN (NV * VW)
#else
#define SPACE global
#define X_COLUMN PITCH
#endif

/* What the loops over an output row read and write. */
typedef struct layer {
    int in_w, pad_w;
    ulong x_row, x_plane; /* floats from one valid kernel row, and from one channel, to the next: of x or its patch */
    ulong y_plane;        /* from one output channel to the next */
    int full_first, full_last; /* columns full_first..full_last-1 have all their taps inside the input */
} layer;

#define SPAN ((KW - 1) * DIL_W)
static inline layer layer_of(int in_h, int in_w, int out_h, int out_w, int pad_w, int patch_columns) {
    const layer l = {in_w,
                     pad_w,
                     PATCH ? (ulong)patch_columns * X_COLUMN : (ulong)IN_STEP_H * in_w * PITCH,
                     PATCH ? (ulong)KH * patch_columns * X_COLUMN : (ulong)in_h * in_w * PITCH,
                     (ulong)out_h * out_w * PITCH,
                     pad_w > 0 ? (pad_w + STRIDE_W - 1) / STRIDE_W : 0,
                     in_w - 1 + pad_w >= SPAN ? (in_w - 1 + pad_w - SPAN) / STRIDE_W + 1 : 0};
    return l;
}

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

/* The products of one output pixel with `channels` input channels. x points at input column `from` of the first valid
   kernel row, w at the first channel's first tap. */
static inline void pixel(floatv acc[MR][NV], SPACE const float *x, global const float *w, layer l, taps rows, int from,
                         int column, int channels) {
    w += rows.first * KW * MR;
    if (UP_W == 1 && column >= l.full_first && column < l.full_last) {
        x += (column * STRIDE_W - l.pad_w - from) * X_COLUMN;
        for (int in = 0; in < channels; in++, x += l.x_plane, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++)
#pragma unroll
                for (int k = 0; k < KW; k++)
                    tap(acc, x + r * l.x_row + k * DIL_W * X_COLUMN, w + (r * TAP_STEP_H * KW + k) * MR);
    } else {
        const taps columns = taps_of(column, STRIDE_W, UP_W, l.pad_w, DIL_W, KW, l.in_w);
        x += (columns.in - from) * X_COLUMN;
        w += columns.first * MR;
        for (int in = 0; in < channels; in++, x += l.x_plane, w += TAPS * MR)
            for (int r = 0; r < rows.count; r++)
                for (int k = 0; k < columns.count; k++)
                    tap(acc, x + r * l.x_row + k * IN_STEP_W * X_COLUMN,
                        w + (r * TAP_STEP_H * KW + k * TAP_STEP_W) * MR);
    }
}

/* Output columns column..end-1 of `channels` output channels over `ins` input channels, the first of which is `chunk`.
   The first chunk starts from the biases, later ones from what is there; the last one ends with the activation. */
static inline void segment(SPACE const float *x, global const float *block, global float *y, layer l, taps rows,
                           int from, int column, int end, int chunk, int ins, int last, int channels) {
    for (; column < end; column++) {
        floatv acc[MR][NV];
        global float *to = y + column * PITCH;
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int v = 0; v < NV; v++)
                acc[m][v] = chunk && m < channels ? vloadv(v, to + m * l.y_plane) : (floatv)(block[m]);
        pixel(acc, x, block + MR + chunk * TAPS * MR, l, rows, from, column, ins);
#pragma unroll
        for (int m = 0; m < MR; m++)
            if (m < channels)
#pragma unroll
                for (int v = 0; v < NV; v++)
                    vstorev(last ? activate(acc[m][v]) : acc[m][v], v, to + m * l.y_plane);
    }
}

/* Work-items: output row, block of NV * VW images, group * splits + which share of the channel blocks. The inputs of
   `columns` output columns stay in the cache while the channel blocks pass. PATCH: `chunk` input channels of
   `patch_columns`, which is what those reach, at a time. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_rows(global const float *restrict x, global const float *restrict packed, global float *restrict y, int splits,
            int in_c, int in_h, int in_w, int out_c, int out_h, int out_w, int pad_h, int pad_w, int columns, int chunk,
            int patch_columns) {
#if PATCH
    local floatv patch[PATCH];
#endif
    const layer l = layer_of(in_h, in_w, out_h, out_w, pad_w, patch_columns);
    const int row = get_global_id(0), image = get_global_id(1) * NV * VW;
    const int group = get_global_id(2) / splits, share = get_global_id(2) % splits, blocks = BLOCKS(out_c);
    const taps rows = taps_of(row, STRIDE_H, UP_H, pad_h, DIL_H, KH, in_h);
    x += ((ulong)group * in_c * in_h + rows.in) * in_w * PITCH + image;
    y += ((ulong)group * out_c * out_h + row) * out_w * PITCH + image;
    packed += (ulong)group * blocks * PACKED(in_c);
    for (int first = 0; first < out_w; first += columns) {
        const int end = min(first + columns, out_w);
#if PATCH
        /* Input columns from..to are all that the taps of columns first..end-1 reach. */
        const int from = max(first * STRIDE_W - pad_w, 0) / UP_W;
        const int to = min(max((end - 1) * STRIDE_W - pad_w + SPAN, 0) / UP_W, in_w - 1);
        for (int start = 0; start < in_c; start += chunk) {
            const int ins = min(chunk, in_c - start);
            for (int in = 0; in < ins; in++)
                for (int r = 0; r < rows.count; r++) {
                    global const float *xr = x + ((ulong)(start + in) * in_h + r * IN_STEP_H) * in_w * PITCH;
                    local floatv *copy = patch + (in * KH + r) * patch_columns * NV;
                    for (int column = from; column <= to; column++)
                        for (int v = 0; v < NV; v++)
                            *copy++ = vloadv(v, xr + column * PITCH);
                }
            for (int b = share; b < blocks; b += splits)
                segment((local const float *)patch, packed + b * PACKED(in_c), y + b * MR * l.y_plane, l, rows, from,
                        first, end, start, ins, start + chunk >= in_c, out_c - b * MR);
        }
#else
        for (int b = share; b < blocks; b += splits)
            segment(x, packed + b * PACKED(in_c), y + b * MR * l.y_plane, l, rows, 0, first, end, 0, in_c, 1,
                    out_c - b * MR);
#endif
    }
}

#if POOL && !PATCH
#define POOL_COLUMNS 4 /* of the pooled map at a time */

/* Two output rows of one channel block, columns first..end-1, in `pixels`: activated, pooled and stored; themselves too
   where y is not null. Pointers start at the tile's rows and its first channel; y has rows of `width` and planes of
   y_plane floats. */
static inline void finish_pooled(floatv pixels[2][2 * POOL_COLUMNS][MR][NV], global float *y, int width, ulong y_plane,
                                 global float *pooled, global uchar *indices, int first, int end, int channels) {
    for (int column = 0; column < end - first; column += 2)
        for (int m = 0; m < min(MR, channels); m++)
            for (int v = 0; v < NV; v++) {
                const floatv a = activate(pixels[0][column][m][v]), b = activate(pixels[0][column + 1][m][v]);
                const floatv c = activate(pixels[1][column][m][v]), d = activate(pixels[1][column + 1][m][v]);
                if (y) {
                    global float *to = y + m * y_plane + (first + column) * PITCH;
                    vstorev(a, v, to);
                    vstorev(b, v, to + PITCH);
                    vstorev(c, v, to + width * PITCH);
                    vstorev(d, v, to + (width + 1) * PITCH);
                }
                const ulong at = m * (y_plane / 4) + (first + column) / 2 * PITCH;
                store_pooled(a, b, c, d, pooled + at, indices ? indices + at : indices, v, POOL, POOL_RELU);
            }
}

/* As conv2d_rows, for two rows at a time and with the pooling behind them. out_h and out_w are even. The pixels wait in
   a small array for the activation: many independent ones overlap there as they do not behind the products of one. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_rows_pooled(global const float *restrict x, global const float *restrict packed, global float *restrict y,
                   global float *restrict pooled, global uchar *restrict indices, int splits, int in_c, int in_h,
                   int in_w, int out_c, int out_h, int out_w, int pad_h, int pad_w) {
    const layer l = layer_of(in_h, in_w, out_h, out_w, pad_w, 0);
    const int row = 2 * get_global_id(0), image = get_global_id(1) * NV * VW;
    const int group = get_global_id(2) / splits, share = get_global_id(2) % splits, blocks = BLOCKS(out_c);
    x += (ulong)group * in_c * in_h * in_w * PITCH + image;
    y = y ? y + ((ulong)group * out_c * out_h + row) * out_w * PITCH + image : y;
    const ulong to = ((ulong)group * out_c * (out_h / 2) + row / 2) * (out_w / 2) * PITCH + image;
    floatv pixels[2][2 * POOL_COLUMNS][MR][NV];
    for (int first = 0; first < out_w; first += 2 * POOL_COLUMNS) {
        const int end = min(first + 2 * POOL_COLUMNS, out_w);
        for (int b = share; b < blocks; b += splits) {
            global const float *block = packed + ((ulong)group * blocks + b) * PACKED(in_c);
            for (int r = 0; r < 2; r++) {
                const taps rows = taps_of(row + r, STRIDE_H, UP_H, pad_h, DIL_H, KH, in_h);
                global const float *start = x + rows.in * in_w * PITCH;
                for (int column = first; column < end; column++) {
                    floatv acc[MR][NV];
#pragma unroll
                    for (int m = 0; m < MR; m++)
#pragma unroll
                        for (int v = 0; v < NV; v++)
                            acc[m][v] = (floatv)(block[m]);
                    pixel(acc, start, block + MR, l, rows, 0, column, in_c);
#pragma unroll
                    for (int m = 0; m < MR; m++)
#pragma unroll
                        for (int v = 0; v < NV; v++)
                            pixels[r][column - first][m][v] = acc[m][v];
                }
            }
            const ulong at = to + b * MR * (l.y_plane / 4);
            finish_pooled(pixels, y ? y + b * MR * l.y_plane : y, out_w, l.y_plane, pooled + at,
                          indices ? indices + at : indices, first, end, out_c - b * MR);
        }
    }
}
#endif
