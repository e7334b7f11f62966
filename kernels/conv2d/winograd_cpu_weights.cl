/* The weight gradient of a convolution by Winograd's F(K x K, M x M), for CPUs: a tile of M x M of gy plays the kernel
   over a T x T tile of x, T = 6 or 8, and the K x K outputs are the gradient. Both sides are transformed, XI matrices
   each, of x [IN_C][columns] and of gy [columns][OUT_C], a column being one image of one tile; XI products of the two
   are added to sums [IN_C][OUT_C]; those are transformed back once, at the end.

   Narrow layers do all of it in one kernel, whose work-items share the tiles and have sums of their own, all in the
   second level of the cache: for one tile and UNITS vectors of images it transforms and multiplies one row of the T x T
   elements at a time. In wide layers the sums are too large for that: there each block of UNITS units, a unit being one
   tile for one vector of images, is transformed by one kernel and multiplied by another, whose work-items share the XI
   products.

   Sizes that do not decide how the inner loops look are arguments: layers of one kind share a program. x is in_c x in_h
   x in_w, gy out_c x out_h x out_w. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define T 6
#define K 3     /* kernel size: 3 or 5 */
#define NV 2    /* vectors of output channels per register tile */
#define MR 4    /* input channels per register tile */
#define UNITS 1 /* narrow: vectors of images at a time; wide: 0, the units of a block are an argument */
#endif

#include "conv2d/winograd_cpu.clh"

#define M (T + 1 - K) /* edge of a tile of gy */
#define TILES_ALONG(size) (((size) + M - 1) / M)
#define COLUMNS(units) ((UNITS ? UNITS : (units)) * VW)
#define ROW (NV * VW)
#define IN_ROWS(in_c) (((in_c) + MR - 1) / MR * MR)
#define OUT_ROWS(out_c) (((out_c) + ROW - 1) / ROW * ROW)
/* Floats from one of the XI matrices to the next: x [in rows][columns], gy [panels of ROW][columns][ROW], an odd number
   of vectors since otherwise all matrices would share few sets of the cache; the sums [in rows][out rows]. */
#define X_STEP(in_rows, columns) ((ulong)(in_rows) * (columns) + ((in_rows) * ((columns) / VW) % 2 ? 0 : VW))
#define GY_STEP(out_rows, columns) ((ulong)(out_rows) * (columns) + VW)
#define SUM_STEP(in_rows, out_rows) ((ulong)(in_rows) * (out_rows))
/* Floats of one work-item of the narrow kernel: sums, and those of gy's channels for the bias. */
#define PARTIAL(in_rows, out_rows) (XI * SUM_STEP(in_rows, out_rows) + (out_rows))

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

/* The tile of gy with its corner at (row, column), for one vector of images and VW channels, of which so many exist ->
   their columns of the XI matrices, gy_step apart. gy points at the first channel's plane of `height` x `width`. */
static OUT_OF_LINE void tile_gy(global const float *gy, int channels, int height, int width, int row, int column,
                                global float *to, ulong gy_step) {
    for (int lane = 0; lane < VW; lane++) {
        floatv rows[M * T];
        global const float *from = gy + (((ulong)lane * height + row) * width + column) * PITCH;
        for (int r = 0; r < M; r++) {
            floatv g[M];
#pragma unroll
            for (int c = 0; c < M; c++)
                g[c] = lane < channels && row + r < height && column + c < width
                           ? vloadv(0, from + ((ulong)r * width + c) * PITCH)
                           : (floatv)(0.0f);
            kernel_1d(g, 1, rows + r * T, 1, M);
        }
        for (int c = 0; c < T; c++) {
            floatv element[T];
            kernel_1d(rows + c, T, element, 1, M);
#pragma unroll
            for (int r = 0; r < T; r++)
                put(element[r], 0, to + (r * T + c) * gy_step + lane * ROW);
        }
    }
    for (int xi = 0; xi < XI; xi++) {
        global float *rows = to + xi * gy_step;
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
static OUT_OF_LINE void multiply(global const float *x, global const float *gy, int units, global float *sums,
                                 ulong out_rows) {
    const int columns = COLUMNS(units);
    floatv acc[MR][NV];
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            acc[m][n] = vloadv(n, sums + m * out_rows);
    for (int k = 0; k < columns; k++) {
        floatv right[NV];
#pragma unroll
        for (int n = 0; n < NV; n++)
            right[n] = vloadv(n, gy + k * ROW);
#pragma unroll
        for (int m = 0; m < MR; m++)
#pragma unroll
            for (int n = 0; n < NV; n++)
                acc[m][n] = fma((floatv)(x[m * columns + k]), right[n], acc[m][n]);
    }
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int n = 0; n < NV; n++)
            put(acc[m][n], n, sums + m * out_rows);
}

/* All products of one of the XI pairs of matrices. */
static inline void multiply_all(global const float *x, global const float *gy, int units, global float *sums,
                                int in_rows, int out_rows) {
    const int columns = COLUMNS(units);
    for (int panel = 0; panel < out_rows; panel += ROW)
        for (int row = 0; row < in_rows; row += MR)
            multiply(x + row * columns, gy + (ulong)panel * columns, units, sums + (ulong)row * out_rows + panel,
                     out_rows);
}

static inline void clear(global float *values, ulong count) {
    for (ulong i = 0; i < count; i += VW)
        vstorev((floatv)(0.0f), 0, values + i);
}

/* ---- Narrow layers ---- */
/* Scratch: the ring; gy's columns transformed, [T][panels][M][WIDTH][ROW]; one row of elements of each. */
#define WIDTH COLUMNS(1)
#include "conv2d/winograd_cpu_rows.clh"
#define GY_RING_STEP(out_rows) ((ulong)M * WIDTH * (out_rows) + VW)

/* One column of M pixels, of which `rows` are inside, of VW channels, of which `channels` exist, for one vector of
   images: transposed, so that lanes are channels, and transformed. gy's channels lie `plane` apart, its rows `line`, an
   element's vectors ring_step. The pixels' sums are added to bias. */
static OUT_OF_LINE void gy_column(global const float *gy, ulong plane, ulong line, int rows, int channels,
                                  global float *to, ulong ring_step, global float *bias) {
    floatv pixels[M][VW], sum = vloadv(0, bias);
    for (int r = 0; r < M; r++) {
        floatv a[VW];
        if (r < rows) {
#pragma unroll
            for (int lane = 0; lane < VW; lane++)
                a[lane] = lane < channels ? vloadv(0, gy + lane * plane + r * line) : (floatv)(0.0f);
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
            put(column[r], 0, to + r * ring_step + image * ROW);
    }
}

/* The columns of one tile of gy, in planes of `height` x `width`, of which so many rows and columns are inside. */
static inline void gy_columns(global const float *gy, int out_c, int height, int width, int rows, int columns,
                              global float *to, global float *bias) {
    const ulong line = (ulong)width * PITCH, plane = height * line, ring_step = GY_RING_STEP(OUT_ROWS(out_c));
    for (int out = 0; out < out_c; out += VW, gy += VW * plane)
        for (int c = 0; c < M; c++)
            for (int n = 0; n < UNITS; n++)
                gy_column(gy + c * PITCH + n * VW, plane, line, c < columns ? rows : 0, out_c - out,
                          to + ((ulong)(out / ROW * M + c) * WIDTH + n * VW) * ROW + out % ROW, ring_step, bias + out);
}

/* One row of elements of gy: [T][panels][WIDTH][ROW], elements gy_step apart. */
static OUT_OF_LINE void gy_row(global const float *from, int out_rows, global float *to, ulong gy_step) {
    for (int panel = 0; panel < out_rows; panel += ROW, from += M * WIDTH * ROW, to += WIDTH * ROW)
        for (int k = 0; k < WIDTH * ROW; k += VW) {
            floatv g[M], row[T];
#pragma unroll
            for (int c = 0; c < M; c++)
                g[c] = vloadv(0, from + c * WIDTH * ROW + k);
            kernel_1d(g, 1, row, 1, M);
#pragma unroll
            for (int c = 0; c < T; c++)
                put(row[c], 0, to + c * gy_step + k);
        }
}

/* Work-items: any number, of which each takes a range of the tiles. Partial results are PARTIAL apart, behind them lies
   the scratch. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_narrow(global const float *restrict x, global const float *restrict gy,
                       global float *restrict workspace, int in_c, int in_h, int in_w, int out_c, int out_h, int out_w,
                       int pad_h, int pad_w) {
    const int in_rows = IN_ROWS(in_c), out_rows = OUT_ROWS(out_c), tiles_w = TILES_ALONG(out_w);
    const ulong ring_step = RING_STEP(in_c), x_step = X_STEP(in_rows, WIDTH);
    const ulong gy_ring_step = GY_RING_STEP(out_rows), gy_step = GY_STEP(out_rows, WIDTH);
    const ulong sum_step = SUM_STEP(in_rows, out_rows), partial = PARTIAL(in_rows, out_rows);
    const ulong item = get_global_id(0), items = get_global_size(0);
    const ulong tiles = (ulong)TILES_ALONG(out_h) * tiles_w * (PITCH / WIDTH);
    const input size = {in_c, in_h, in_w};
    global float *sums = workspace + item * partial, *bias = sums + XI * sum_step;
    global float *ring = workspace + items * partial + item * T * (ring_step + x_step + gy_ring_step + gy_step);
    global float *x_row = ring + T * ring_step, *gy_ring = x_row + T * x_step, *gy_tiles = gy_ring + T * gy_ring_step;
    const int begin = tiles * item / items, end = tiles * (item + 1) / items;
    clear(sums, partial);
    for (int tile = begin, start = 0; tile < end; tile++, start = (start + M) % T) {
        const int row = tile / tiles_w / (PITCH / WIDTH) * M, column = tile % tiles_w * M;
        const int image = tile / tiles_w % (PITCH / WIDTH) * WIDTH;
        columns_in(x + image, size, row - pad_h, column - pad_w, tile == begin || column == 0, start, ring);
        gy_columns(gy + ((ulong)row * out_w + column) * PITCH + image, out_c, out_h, out_w, out_h - row, out_w - column,
                   gy_ring, bias);
        for (int r = 0; r < T; r++) {
            row_in(ring + r * ring_step, in_c, start, x_row, x_step);
            gy_row(gy_ring + r * gy_ring_step, out_rows, gy_tiles, gy_step);
            for (int c = 0; c < T; c++)
                multiply_all(x_row + c * x_step, gy_tiles + c * gy_step, UNITS, sums + (r * T + c) * sum_step, in_rows,
                             out_rows);
        }
    }
}

/* ---- Wide layers ---- */

/* The block whose first unit is `first`. Work-items: the block's units; channels of x, then vectors of channels of gy.
   The workspace holds a partial result and both transformed sides. Past the last unit are tiles below the image, which
   read as zeros. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_tiles(global const float *restrict x, global const float *restrict gy, global float *restrict workspace,
                      int first, int in_c, int in_h, int in_w, int out_c, int out_h, int out_w, int pad_h, int pad_w) {
    const int at = get_global_id(0), channel = get_global_id(1), columns = COLUMNS(get_global_size(0));
    const int in_rows = IN_ROWS(in_c), out_rows = OUT_ROWS(out_c), tiles_w = TILES_ALONG(out_w);
    const int place = (first + at) / (PITCH / VW), image = (first + at) % (PITCH / VW) * VW;
    const int row = place < TILES_ALONG(out_h) * tiles_w ? place / tiles_w * M : out_h + in_h + M;
    const int column = place % tiles_w * M;
    const ulong x_step = X_STEP(in_rows, columns), gy_step = GY_STEP(out_rows, columns);
    global float *x_tiles = workspace + PARTIAL(in_rows, out_rows), *gy_tiles = x_tiles + XI * x_step;
    if (channel < in_c)
        transform_tile(x + (ulong)channel * in_h * in_w * PITCH + image, in_h, in_w, row - pad_h, column - pad_w,
                       x_tiles + channel * columns + at * VW, x_step);
    else {
        const int out = (channel - in_c) * VW;
        tile_gy(gy + (ulong)out * out_h * out_w * PITCH + image, out_c - out, out_h, out_w, row, column,
                gy_tiles + (ulong)out / ROW * columns * ROW + out % ROW + at * VW * ROW, gy_step);
    }
}

/* Work-items: XI. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_wide(global float *restrict workspace, int accumulate, int in_c, int out_c, int units) {
    const int xi = get_global_id(0), in_rows = IN_ROWS(in_c), out_rows = OUT_ROWS(out_c), columns = COLUMNS(units);
    const ulong sum_step = SUM_STEP(in_rows, out_rows), x_step = X_STEP(in_rows, columns);
    global float *sums = workspace + xi * sum_step;
    global const float *x_tiles = workspace + PARTIAL(in_rows, out_rows), *gy_tiles = x_tiles + XI * x_step;
    if (!accumulate)
        clear(sums, sum_step);
    multiply_all(x_tiles + xi * x_step, gy_tiles + xi * GY_STEP(out_rows, columns), units, sums, in_rows, out_rows);
}

/* gweight[out_c][in_c][K][K] (+)= the sums of all partial results, transformed back; gbias (or null) theirs.
   Work-items: vector of output channels, input channel. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_winograd_gradient(global const float *restrict workspace, global float *restrict gweight,
                         global float *restrict gbias, int partials, int accumulate, int in_c, int out_c) {
    const int out = get_global_id(0) * VW, in = get_global_id(1), lanes = min(VW, out_c - out);
    const int in_rows = IN_ROWS(in_c), out_rows = OUT_ROWS(out_c);
    const ulong sum_step = SUM_STEP(in_rows, out_rows), partial = PARTIAL(in_rows, out_rows);
    floatv s[XI], half_way[K * T], g[K * K];
    float taps[K * K][VW];
    for (int xi = 0; xi < XI; xi++) {
        s[xi] = (floatv)(0.0f);
        for (int p = 0; p < partials; p++)
            s[xi] += vloadv(0, workspace + p * partial + xi * sum_step + (ulong)in * out_rows + out);
    }
    for (int c = 0; c < T; c++)
        output_1d(s + c, T, half_way + c, T, K);
    for (int r = 0; r < K; r++)
        output_1d(half_way + r * T, 1, g + r * K, 1, K);
    for (int k = 0; k < K * K; k++)
        vstorev(g[k], 0, taps[k]);
    for (int lane = 0; lane < lanes; lane++) {
        global float *to = gweight + ((ulong)(out + lane) * in_c + in) * K * K;
        for (int k = 0; k < K * K; k++)
            to[k] = accumulate ? to[k] + taps[k][lane] : taps[k][lane];
    }
    if (in > 0 || !gbias)
        return;
    floatv sum = (floatv)(0.0f);
    for (int p = 0; p < partials; p++)
        sum += vloadv(0, workspace + p * partial + XI * sum_step + out);
    if (accumulate)
        sum += load_part(gbias + out, 0, lanes);
    store_part(sum, 0, gbias + out, lanes);
}
