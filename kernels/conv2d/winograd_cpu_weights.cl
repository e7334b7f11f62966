/* The weight gradient of a convolution by Winograd's F(K x K, M x M), for CPUs: a tile of M x M of gy plays the kernel
   over a T x T tile of x, T = 6 or 8, and the K x K outputs are the gradient. Both sides are transformed, XI matrices
   each, of x [IN_C][columns] and of gy [columns][OUT_C], a column being one image of one tile; XI products of the two
   are added to sums [IN_C][OUT_C]; those are transformed back once, at the end.

   Narrow layers do all of it in one kernel, whose work-items share the tiles and have sums of their own, all in the
   second level of the cache: for one tile and UNITS vectors of images it transforms and multiplies one row of the T x T
   elements at a time. In wide layers the sums are too large for that: there each block of UNITS units, a unit being one
   tile for one vector of images, is transformed by one kernel and multiplied by another, whose work-items share the XI
   products. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define K 3  /* kernel size: 3 or 5 */
#define NV 2 /* vectors of output channels per register tile */
#define MR 4 /* input channels per register tile */
#define IN_C 8
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define PAD_H 1
#define PAD_W 1
#define UNITS 1 /* narrow: vectors of images; wide: units of a block */
#endif

#include "conv2d/winograd_cpu.clh"

#define M (T + 1 - K) /* edge of a tile of gy */
#define TILES_W ((OUT_W + M - 1) / M)
#define TILES (((OUT_H + M - 1) / M) * TILES_W)
#define ALL_UNITS (TILES * (PITCH / VW))
#define COLUMNS (UNITS * VW)
#define ROW (NV * VW)
#define PANELS ((OUT_C + ROW - 1) / ROW)
#define BLOCKS ((IN_C + MR - 1) / MR)
#define IN_ROWS (BLOCKS * MR)
#define OUT_ROWS (PANELS * ROW)
/* Floats from one of the XI matrices to the next: x [IN_ROWS][COLUMNS], gy [PANELS][COLUMNS][ROW], an odd number of
   vectors since otherwise all matrices would share few sets of the cache; the sums [IN_ROWS][OUT_ROWS]. */
#define X_STEP ((ulong)IN_ROWS * COLUMNS + (IN_ROWS * UNITS % 2 ? 0 : VW))
#define GY_STEP ((ulong)PANELS * COLUMNS * ROW + VW)
#define SUM_STEP ((ulong)IN_ROWS * OUT_ROWS)
#define SUMS (XI * SUM_STEP)
/* Floats of one work-item of the narrow kernel: sums, and those of gy's channels for the bias. */
#define PARTIAL (SUMS + OUT_ROWS)

typedef struct unit {
    int row, column, image; /* of gy */
} unit;

/* Past the last unit: tiles below the image, which read as zeros. */
static inline unit unit_at(int at) {
    const int place = at / (PITCH / VW);
    const unit u = {place < TILES ? place / TILES_W * M : OUT_H + IN_H + M, place % TILES_W * M,
                    at % (PITCH / VW) * VW};
    return u;
}

/* One channel of x -> its row of the XI matrices. */
static inline void tile_x(global const float *x, int channel, unit u, global float *to) {
    transform_tile(x + (ulong)channel * IN_H * IN_W * PITCH + u.image, u.row - PAD_H, u.column - PAD_W,
                   to + channel * COLUMNS, X_STEP);
}

/* VW rows of VW floats. Each round interleaves the halves of the rows, which turns the bits of a float's place, its
   row's in front of its column's, by one. */
static inline void transpose(floatv a[VW]) {
    floatv b[VW];
#pragma unroll
    for (int round = 1; round < VW; round *= 2) {
#pragma unroll
        for (int i = 0; i < VW / 2; i++) {
            b[2 * i].even = a[i].lo;
            b[2 * i].odd = a[i + VW / 2].lo;
            b[2 * i + 1].even = a[i].hi;
            b[2 * i + 1].odd = a[i + VW / 2].hi;
        }
#pragma unroll
        for (int i = 0; i < VW; i++)
            a[i] = b[i];
    }
}

/* VW channels of gy, the first one `channel` -> their columns of the XI matrices. */
static OUT_OF_LINE void tile_gy(global const float *gy, int channel, unit u, global float *to) {
    to += (ulong)channel / ROW * COLUMNS * ROW + channel % ROW;
    for (int lane = 0; lane < VW; lane++) {
        floatv rows[M * T];
        global const float *from =
            gy + (((ulong)(channel + lane) * OUT_H + u.row) * OUT_W + u.column) * PITCH + u.image;
        for (int r = 0; r < M; r++) {
            floatv g[M];
#pragma unroll
            for (int c = 0; c < M; c++)
                g[c] = channel + lane < OUT_C && u.row + r < OUT_H && u.column + c < OUT_W
                           ? vloadv(0, from + ((ulong)r * OUT_W + c) * PITCH)
                           : (floatv)(0.0f);
            kernel_1d(g, 1, rows + r * T, 1, M);
        }
        for (int c = 0; c < T; c++) {
            floatv column[T];
            kernel_1d(rows + c, T, column, 1, M);
#pragma unroll
            for (int r = 0; r < T; r++)
                put(column[r], 0, to + (r * T + c) * GY_STEP + lane * ROW);
        }
    }
    for (int xi = 0; xi < XI; xi++) {
        global float *rows = to + xi * GY_STEP;
        floatv a[VW];
#pragma unroll
        for (int i = 0; i < VW; i++)
            a[i] = vloadv(0, rows + i * ROW);
        transpose(a);
#pragma unroll
        for (int i = 0; i < VW; i++)
            put(a[i], 0, rows + i * ROW);
    }
}

/* sums[m][n] += x[m] * gy[n] over a block's columns, MR input channels x NV vectors of output channels in registers. */
static OUT_OF_LINE void multiply(global const float *x, global const float *gy, global float *sums) {
    floatv acc[MR][NV];
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            acc[m][n] = vloadv(n, sums + m * OUT_ROWS);
    for (int k = 0; k < COLUMNS; k++) {
        floatv right[NV];
#pragma unroll
        for (int n = 0; n < NV; n++)
            right[n] = vloadv(n, gy + k * ROW);
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int n = 0; n < NV; n++)
                acc[m][n] = fma((floatv)(x[m * COLUMNS + k]), right[n], acc[m][n]);
    }
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            put(acc[m][n], n, sums + m * OUT_ROWS);
}

/* All products of one of the XI pairs of matrices. */
static inline void multiply_all(global const float *x, global const float *gy, global float *sums) {
    for (int panel = 0; panel < PANELS; panel++)
        for (int block = 0; block < BLOCKS; block++)
            multiply(x + block * MR * COLUMNS, gy + (ulong)panel * COLUMNS * ROW,
                     sums + (ulong)block * MR * OUT_ROWS + panel * ROW);
}

static inline void clear(global float *values, ulong count) {
    for (ulong i = 0; i < count; i += VW)
        vstorev((floatv)(0.0f), 0, values + i);
}

/* ---- Narrow layers ---- */
/* Scratch: the ring; gy's columns transformed, [T][PANELS][M][WIDTH][ROW]; one row of elements of each. */
#define WIDTH COLUMNS
#define V_STEP X_STEP
#include "conv2d/winograd_cpu_rows.clh"
#define GY_RING_STEP ((ulong)M * COLUMNS * OUT_ROWS + VW)
#define SCRATCH (T * (RING_STEP + X_STEP + GY_RING_STEP + GY_STEP))

/* One column of M pixels, of which `rows` are inside, of VW channels, of which `channels` exist, for one vector of
   images: transposed, so that lanes are channels, and transformed. An image's vectors lie GY_RING_STEP apart. The
   pixels' sums are added to bias. */
static OUT_OF_LINE void gy_column(global const float *gy, int rows, int channels, global float *to,
                                  global float *bias) {
    floatv pixels[M][VW], sum = vloadv(0, bias);
    for (int r = 0; r < M; r++) {
        floatv a[VW];
        if (r < rows) {
#pragma unroll
            for (int lane = 0; lane < VW; lane++)
                a[lane] = lane < channels ? vloadv(0, gy + ((ulong)lane * OUT_H + r) * OUT_W * PITCH) : (floatv)(0.0f);
            transpose(a);
        } else {
#pragma unroll
            for (int lane = 0; lane < VW; lane++)
                a[lane] = (floatv)(0.0f);
        }
#pragma unroll
        for (int image = 0; image < VW; image++)
            pixels[r][image] = a[image];
#pragma unroll
        for (int count = VW / 2; count > 0; count /= 2)
#pragma unroll
            for (int image = 0; image < count; image++)
                a[image] += a[image + count];
        sum += a[0];
    }
    put(sum, 0, bias);
    for (int image = 0; image < VW; image++) {
        floatv column[T];
        kernel_1d(&pixels[0][image], VW, column, 1, M);
#pragma unroll
        for (int r = 0; r < T; r++)
            put(column[r], 0, to + r * GY_RING_STEP + image * ROW);
    }
}

static inline void gy_columns(global const float *gy, int rows, int columns, global float *to, global float *bias) {
    for (int out = 0; out < OUT_C; out += VW, gy += (ulong)VW * OUT_H * OUT_W * PITCH)
        for (int c = 0; c < M; c++)
            for (int n = 0; n < UNITS; n++)
                gy_column(gy + c * PITCH + n * VW, c < columns ? rows : 0, OUT_C - out,
                          to + ((ulong)(out / ROW * M + c) * COLUMNS + n * VW) * ROW + out % ROW, bias + out);
}

/* One row of elements of gy: [T][PANELS][COLUMNS][ROW]. */
static OUT_OF_LINE void gy_row(global const float *from, global float *to) {
    for (int panel = 0; panel < PANELS; panel++, from += M * COLUMNS * ROW, to += COLUMNS * ROW)
        for (int k = 0; k < COLUMNS * ROW; k += VW) {
            floatv g[M], row[T];
#pragma unroll
            for (int c = 0; c < M; c++)
                g[c] = vloadv(0, from + c * COLUMNS * ROW + k);
            kernel_1d(g, 1, row, 1, M);
#pragma unroll
            for (int c = 0; c < T; c++)
                put(row[c], 0, to + c * GY_STEP + k);
        }
}

/* Work-items: any number, of which each takes a range of the tiles. Partial results are PARTIAL apart, behind them lies
   the scratch. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_narrow(global const float *restrict x,
                                                                                  global const float *restrict gy,
                                                                                  global float *restrict workspace) {
    const ulong item = get_global_id(0), items = get_global_size(0), tiles = (ulong)TILES * (PITCH / COLUMNS);
    global float *sums = workspace + item * PARTIAL, *bias = sums + SUMS;
    global float *ring = workspace + items * PARTIAL + item * SCRATCH, *x_row = ring + T * RING_STEP;
    global float *gy_ring = x_row + T * X_STEP, *gy_tiles = gy_ring + T * GY_RING_STEP;
    const int begin = tiles * item / items, end = tiles * (item + 1) / items;
    clear(sums, PARTIAL);
    for (int tile = begin, start = 0; tile < end; tile++, start = (start + M) % T) {
        const int row = tile / TILES_W / (PITCH / COLUMNS) * M, column = tile % TILES_W * M;
        const int image = tile / TILES_W % (PITCH / COLUMNS) * COLUMNS;
        columns_in(x + image, row - PAD_H, column - PAD_W, tile == begin || column == 0, start, ring);
        gy_columns(gy + ((ulong)row * OUT_W + column) * PITCH + image, OUT_H - row, OUT_W - column, gy_ring, bias);
        for (int r = 0; r < T; r++) {
            row_in(ring + r * RING_STEP, start, x_row);
            gy_row(gy_ring + r * GY_RING_STEP, gy_tiles);
            for (int c = 0; c < T; c++)
                multiply_all(x_row + c * X_STEP, gy_tiles + c * GY_STEP, sums + (r * T + c) * SUM_STEP);
        }
    }
}

/* ---- Wide layers ---- */

/* The block whose first unit is `first`. Work-items: the block's units; channels of x, then
   vectors of channels of gy. The workspace holds a partial result and both transformed sides. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_tiles(global const float *restrict x,
                                                                                 global const float *restrict gy,
                                                                                 global float *restrict workspace,
                                                                                 int first) {
    const int at = get_global_id(0), channel = get_global_id(1);
    const unit u = unit_at(first + at);
    global float *x_tiles = workspace + PARTIAL, *gy_tiles = x_tiles + XI * X_STEP;
    if (channel < IN_C)
        tile_x(x, channel, u, x_tiles + at * VW);
    else
        tile_gy(gy, (channel - IN_C) * VW, u, gy_tiles + at * VW * ROW);
}

/* Work-items: XI. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_winograd_wide(global float *restrict workspace,
                                                                                int accumulate) {
    const int xi = get_global_id(0);
    global float *sums = workspace + xi * SUM_STEP;
    global const float *x_tiles = workspace + PARTIAL, *gy_tiles = x_tiles + XI * X_STEP;
    if (!accumulate)
        clear(sums, SUM_STEP);
    multiply_all(x_tiles + xi * X_STEP, gy_tiles + xi * GY_STEP, sums);
}

/* gweight[OUT_C][IN_C][K][K] (+)= the sums of all partial results, transformed back; gbias (or null) theirs.
   Work-items: vector of output channels, input channel. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_gradient(global const float *restrict workspace, global float *restrict gweight,
                         global float *restrict gbias, int partials, int accumulate) {
    const int out = get_global_id(0) * VW, in = get_global_id(1), lanes = min(VW, OUT_C - out);
    floatv s[XI], half_way[K * T], g[K * K];
    float taps[K * K][VW];
    for (int xi = 0; xi < XI; xi++) {
        s[xi] = (floatv)(0.0f);
        for (int p = 0; p < partials; p++)
            s[xi] += vloadv(0, workspace + p * PARTIAL + xi * SUM_STEP + (ulong)in * OUT_ROWS + out);
    }
    for (int c = 0; c < T; c++)
        output_1d(s + c, T, half_way + c, T, K);
    for (int r = 0; r < K; r++)
        output_1d(half_way + r * T, 1, g + r * K, 1, K);
    for (int k = 0; k < K * K; k++)
        vstorev(g[k], 0, taps[k]);
    for (int lane = 0; lane < lanes; lane++) {
        global float *to = gweight + ((ulong)(out + lane) * IN_C + in) * K * K;
        for (int k = 0; k < K * K; k++)
            to[k] = accumulate ? to[k] + taps[k][lane] : taps[k][lane];
    }
    if (in > 0 || !gbias)
        return;
    floatv sum = (floatv)(0.0f);
    for (int p = 0; p < partials; p++)
        sum += vloadv(0, workspace + p * PARTIAL + SUMS + out);
    if (accumulate)
        sum += load_part(gbias + out, 0, lanes);
    store_part(sum, 0, gbias + out, lanes);
}
