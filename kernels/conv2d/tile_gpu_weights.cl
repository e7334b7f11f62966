/* Gradients of a convolution's weights and biases on GPUs: gweight[out][column] = sum over k of gy[out][k] times what
   column (input channel, tap) reads of x at k, where k = (output pixel, image).

   A work-group computes BM output channels x BN columns over a range of k, KC = 16 images of one pixel at a time. Both
   factors lie along k in memory; they are transposed on their way into local memory, while the loads of the next 16
   are under way. A column whose tap lies outside the input reads zeros, all images alike. Where the tile is small,
   SLICES sets of work-items share the 16 images and add up their sums at the end. The ranges of k are added up by
   conv2d_tile_add_partials, in fixed order. With MMA (see mma.clh) tensor cores multiply; RM and RN are 8 and SLICES 1.

   Indices of float4 within one group of channels are 32-bit: 64 GiB. */
#include "common.clh"

#ifndef PITCH
#define PITCH 128
#define GROUPS 1
#define IN_C 96 /* channels of one group */
#define OUT_C 256
#define IN_H 26
#define IN_W 26
#define OUT_H 26
#define OUT_W 26
#define KH 5
#define KW 5
#define STRIDE_H 1
#define STRIDE_W 1
#define PAD_H 2
#define PAD_W 2
#define DIL_H 1
#define DIL_W 1
#define BM 128
#define RM 8 /* sums of one work-item: RM x RN */
#define BN 128
#define RN 8
#define SLICES 1
#define ADD_RESULTS 4 /* of a work-group of 64 that adds up partial results; divides 64 */
#endif

#ifndef MMA
#define MMA 0
#endif

#define KC 16
#define KQ (KC / 4)
#define TILE_GAP 1 /* so that transposed stores spread over the banks */
#define TILE_UNROLLED
#include "local_tile.clh"

/* Loads of one work-item. */
#define G_LOADS ((BM * KQ + ITEMS - 1) / ITEMS)
#define X_LOADS ((BN * KQ + ITEMS - 1) / ITEMS)
/* Is there an i-th one for this item? */
#define LOADS_G(i) (BM * KQ % ITEMS == 0 || item + (i)*ITEMS < BM * KQ)
#define LOADS_X(i) (BN * KQ % ITEMS == 0 || item + (i)*ITEMS < BN * KQ)
#define TILES (A_TILE + B_TILE)
#define SUMS (MQ * NQ * 4 * SLICE) /* of one slice */
#define LOCAL (TILES > SUMS * (SLICES / 2) ? TILES : SUMS * (SLICES / 2))

#define P4 (PITCH / 4)
#define TAPS (KH * KW)
#define COLUMNS (IN_C * TAPS)
#define BLOCKS ((OUT_C + BM - 1) / BM)
#define IN_PLANE ((uint)IN_H * IN_W * P4) /* in float4 */
#define OUT_PLANE ((uint)OUT_H * OUT_W * P4)
#define UNITS ((uint)OUT_H * OUT_W * (PITCH / KC))

/* ---- Loads ---- */

/* What a work-item loads of x: KQ-th parts of a column, from where its tap finds output pixel 0. */
typedef struct source {
    int row, column;
    uint at;
    int real; /* else it lies behind the last column; no bool, as in conv2d/tile_gpu.clh */
} source;

static inline source source_of(int column, int quad) {
    const int channel = column / TAPS, tap = column % TAPS;
    source s;
    s.row = tap / KW * DIL_H - PAD_H;
    s.column = tap % KW * DIL_W - PAD_W;
    s.at = channel * IN_PLANE + (uint)(s.row * IN_W + s.column) * P4 + quad;
    s.real = column < COLUMNS;
    return s;
}

/* Sixteen images of one output pixel: the step of the walk over k. */
typedef struct unit {
    int row, column, images; /* images: which sixteen */
} unit;

static inline unit unit_of(uint at) {
    const uint pixel = at / (PITCH / KC);
    unit u = {pixel / OUT_W, pixel % OUT_W, at % (PITCH / KC)};
    return u;
}

static inline void next_unit(unit *u) {
    if (++u->images < PITCH / KC)
        return;
    u->images = 0;
    if (++u->column < OUT_W)
        return;
    u->column = 0;
    u->row++;
}

static inline float4 source_at(global const float4 *x, const source *s, const unit *u) {
    const int row = u->row * STRIDE_H, column = u->column * STRIDE_W;
    const bool inside =
        s->real && s->row + row >= 0 && s->row + row < IN_H && s->column + column >= 0 && s->column + column < IN_W;
    return inside ? x[s->at + (uint)(row * IN_W + column) * P4 + u->images * KQ] : (float4)(0.0f);
}

#if !MMA
/* Slice 0 gets the sums of all: half of those that are left add the other half's. */
static inline void add_slices(tile_sums sums, local float4 *scratch, int slice, int item) {
    for (int left = SLICES / 2; left > 0; left /= 2) {
#pragma unroll
        for (int m = 0; m < MQ; m++)
#pragma unroll
            for (int n = 0; n < NQ; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (slice >= left && slice < 2 * left)
                        scratch[(slice - left) * SUMS + ((m * NQ + n) * 4 + i) * SLICE + item] = sums[m][n][i];
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int m = 0; m < MQ; m++)
#pragma unroll
            for (int n = 0; n < NQ; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (slice < left)
                        sums[m][n][i] += scratch[slice * SUMS + ((m * NQ + n) * 4 + i) * SLICE + item];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
#endif

static inline void put(global float *to, float value, int accumulate) {
    *to = accumulate ? *to + value : value;
}

/* What an item has loaded, into the tiles. */
static inline void put_values(local float4 *g_tile, local float4 *x_tile, const float4 g_values[G_LOADS],
                              const float4 x_values[X_LOADS], int item, int quad) {
#pragma unroll
    for (int i = 0; i < G_LOADS; i++)
        if (LOADS_G(i))
            tile_put_transposed(g_tile, A_LINE, (item + i * ITEMS) / KQ, quad, g_values[i]);
#pragma unroll
    for (int i = 0; i < X_LOADS; i++)
        if (LOADS_X(i))
            tile_put_transposed(x_tile, B_LINE, (item + i * ITEMS) / KQ, quad, x_values[i]);
}

/* The items' parts of the biases, put together for the rows of the block from `block` on. */
static inline void put_biases(global float *gbias, const float biases[G_LOADS], int block, int item,
                              local float4 *memory, int accumulate) {
    local float *parts = (local float *)memory;
#pragma unroll
    for (int i = 0; i < G_LOADS; i++)
        if (LOADS_G(i))
            parts[item + i * ITEMS] = biases[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int row = item; row < BM && block + row < OUT_C; row += ITEMS)
        put(gbias + block + row, sum4(memory[row]), accumulate);
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The tile's sums, whose corner is at `block` and `columns`. */
static inline void put_sums(global float *gweight, tile_sums sums, tile_item at, int block, int columns, int slice,
                            int accumulate) {
#if MMA
#pragma unroll
    for (int m = 0; m < MMA_ROWS; m++)
#pragma unroll
        for (int n = 0; n < MMA_COLUMNS; n++) {
            const float lanes[4] = {sums[m][n].x, sums[m][n].y, sums[m][n].z, sums[m][n].w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int out = block + at.row + m * 16 + at.group + i / 2 * 8;
                const int column = columns + at.column + n * 8 + at.member * 2 + i % 2;
                if (out < OUT_C && column < COLUMNS)
                    put(gweight + (ulong)out * COLUMNS + column, lanes[i], accumulate);
            }
        }
#else
#pragma unroll
    for (int m = 0; m < MQ; m++)
#pragma unroll
        for (int n = 0; n < NQ; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int out = block + (at.y + m * TY) * 4 + i, column = columns + (at.x + n * TX) * 4;
                const float lanes[4] = {sums[m][n][i].x, sums[m][n][i].y, sums[m][n][i].z, sums[m][n][i].w};
#pragma unroll
                for (int lane = 0; lane < 4; lane++)
                    if (slice == 0 && out < OUT_C && column + lane < COLUMNS)
                        put(gweight + (ulong)out * COLUMNS + column + lane, lanes[lane], accumulate);
            }
#endif
}

/* Work-groups: blocks of channels x blocks of columns; ranges of `units` of k; GROUPS. Range r writes gweight + r *
   stride and, in the work-groups of the first columns, gbias + bias_offset + r * stride; gbias may be null. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_tile_weights(global const float4 *restrict x, global const float4 *restrict gy, global float *restrict gweight,
                    global float *restrict gbias, ulong bias_offset, ulong stride, uint units, int accumulate) {
    local float4 memory[LOCAL];
    local float4 *g_tile = memory, *x_tile = memory + A_TILE;
    TILE_SCRATCH(scratch, memory);
    const int item = get_local_id(0), quad = item % KQ, group = get_group_id(2);
    const int block = get_group_id(0) % BLOCKS * BM, columns = get_group_id(0) / BLOCKS * BN;
    const uint first = get_group_id(1) * units, end = min(first + units, UNITS);
    const bool sums_bias = gbias && columns == 0;
    x += (ulong)group * IN_C * IN_PLANE;
    gy += (ulong)group * OUT_C * OUT_PLANE;

    /* What this item loads: rows and columns item / KQ, and ITEMS / KQ further on... */
    source sources[X_LOADS];
    float4 x_values[X_LOADS], g_values[G_LOADS];
    float biases[G_LOADS];
#pragma unroll
    for (int i = 0; i < X_LOADS; i++)
        sources[i] = source_of(LOADS_X(i) ? columns + (item + i * ITEMS) / KQ : COLUMNS, quad);
#pragma unroll
    for (int i = 0; i < G_LOADS; i++)
        biases[i] = 0.0f;
    /* ... and what it computes. */
    const int slice = item / SLICE;
    const tile_item at = tile_item_of(item);
    tile_sums sums;
    tile_clear(sums);

    unit u = unit_of(first);
    for (uint next = first; next <= end; next++) { /* loads unit `next`, multiplies the one before */
        if (next < end) {
#pragma unroll
            for (int i = 0; i < G_LOADS; i++) {
                const int row = block + (item + i * ITEMS) / KQ;
                g_values[i] = LOADS_G(i) && row < OUT_C ? gy[row * OUT_PLANE + next * KQ + quad] : (float4)(0.0f);
                biases[i] += sum4(g_values[i]);
            }
#pragma unroll
            for (int i = 0; i < X_LOADS; i++)
                x_values[i] = source_at(x, &sources[i], &u);
            next_unit(&u);
        }
        if (next > first)
            tile_multiply(sums, g_tile, x_tile, at, slice, scratch);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (next < end)
            put_values(g_tile, x_tile, g_values, x_values, item, quad);
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    if (sums_bias)
        put_biases(gbias + bias_offset + get_group_id(1) * stride + group * OUT_C, biases, block, item, memory,
                   accumulate);
    gweight += get_group_id(1) * stride + (ulong)group * OUT_C * COLUMNS;
#if !MMA
    add_slices(sums, memory, slice, item % SLICE);
#endif
    put_sums(gweight, sums, at, block, columns, slice, accumulate);
}

/* Adds up `splits` partial results, each weights then biases: ADD_RESULTS per work-group, STRIPS items to each. */
#define STRIPS (64 / ADD_RESULTS)
kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
conv2d_tile_add_partials(global const float *restrict partials, global float *restrict gweight,
                         global float *restrict gbias, ulong weights, ulong biases, int splits, int accumulate) {
    local float sums[64];
    const int item = get_local_id(0), strip = item / ADD_RESULTS;
    const ulong at = (ulong)get_group_id(0) * ADD_RESULTS + item % ADD_RESULTS, count = weights + (gbias ? biases : 0);
    float sum = 0.0f;
    if (at < count)
        for (int split = strip; split < splits; split += STRIPS)
            sum += partials[split * (weights + biases) + at];
    sums[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (strip == 0 && at < count) {
        for (int s = 1; s < STRIPS; s++)
            sum += sums[item + s * ADD_RESULTS];
        put(at < weights ? gweight + at : gbias + (at - weights), sum, accumulate);
    }
}
