/* Matrix products for GPUs, many of one shape at once: C[batch][m][n] (+)= A[batch] B[batch], row-major. A work-group
   computes a tile of BM x BN of C; both operands pass through local memory in slices of KC, two slices in turn, so that
   the next one is on its way from global memory while this one is multiplied and one barrier per slice suffices. With
   MMA (see mma.clh) tensor cores multiply.

   k may be cut into parts of `depth`, each with products of its own, C[part][batch][m][n]: groups enough for a large
   device where m and n are small, and sums that are short enough to be accurate. The caller adds the parts up. */
#ifndef MMA
#define MMA 0
#endif
#ifndef BM
#define BM 64
#define BN 64
#define TRANSPOSE_A 1 /* A is stored [k][m], else [m][k] */
#define TRANSPOSE_B 0 /* B is stored [n][k], else [k][n] */
/* Matrices and rows start at multiples of 4 floats; so does the end of each row of A and B (of those [m][k], of k), or
   anything may follow it. The rows of C are written up to a multiple of 4. */
#define QUADS 1
#define ACTIVATION 0 /* of C */
#endif

#define KC (MMA == 2 ? 16 : 8)
#define RM 8
#define RN 8
#define SLICES 1
#define TILE_GAP 1 /* so that transposed stores spread over the banks */

#include "common.clh"

#include "activation.clh"
#include "local_tile.clh"

/* float4 of a slice that each work-item carries to local memory; a multiple of TILE_WORD. */
#define LOADS_A (BM * KC / 4 / ITEMS)
#define LOADS_B (BN * KC / 4 / ITEMS)

/* ---- Rows in global memory, of `count` floats: what is behind their end reads as 0 and is not written ---- */

static inline float2 load_pair(global const float *row, uint at, uint count) {
#if QUADS
    return at < count ? *(global const float2 *)(row + at) : (float2)(0.0f);
#else
    return (float2)(at < count ? row[at] : 0.0f, at + 1 < count ? row[at + 1] : 0.0f);
#endif
}

static inline float4 load_quad(global const float *row, uint at, uint count) {
#if QUADS
    return at < count ? *(global const float4 *)(row + at) : (float4)(0.0f);
#else
    return (float4)(load_pair(row, at, count), load_pair(row, at + 2, count));
#endif
}

static inline void store_pair(global float *row, uint at, uint count, float2 value) {
#if QUADS
    if (at < count)
        *(global float2 *)(row + at) = value;
#else
    if (at < count)
        row[at] = value.x;
    if (at + 1 < count)
        row[at + 1] = value.y;
#endif
}

static inline void store_quad(global float *row, uint at, uint count, float4 value) {
#if QUADS
    if (at < count)
        *(global float4 *)(row + at) = value;
#else
    store_pair(row, at, count, value.lo);
    store_pair(row, at + 2, count, value.hi);
#endif
}

/* ---- Slices ---- */

/* One operand: where it is, its m or n, and the first of these in the tile. */
typedef struct operand {
    global const float *from;
    uint pitch, count, first;
} operand;

/* A work-item's part of the slice from depth k0 on, zeros behind `end`. An operand is stored `by_depth`, [k][count], or
   [count][k]; it fills `edge` rows or columns of the tile. */
static inline void fetch(float4 *values, const int loads, operand o, const bool by_depth, const uint edge, uint k0,
                         uint end) {
    const uint item = get_local_id(0);
    if (by_depth)
#pragma unroll
        for (uint l = 0; l < loads; l++) {
            const uint i = l / TILE_WORD * ITEMS + item, k = k0 + i / (edge / 4) * TILE_WORD + l % TILE_WORD;
            const uint at = o.first + i % (edge / 4) * 4;
            values[l] = k < end ? load_quad(o.from + (ulong)k * o.pitch, at, o.count) : (float4)(0.0f);
        }
    else
#pragma unroll
        for (uint l = 0; l < loads; l++) {
            const uint i = l * ITEMS + item, k = k0 + i % (KC / 4) * 4, at = o.first + i / (KC / 4);
            values[l] = at < o.count ? load_quad(o.from + (ulong)at * o.pitch, k, end) : (float4)(0.0f);
        }
}

/* The same to its place in a slice. */
static inline void put(local float4 *tile, int line, const float4 *values, const int loads, const bool by_depth,
                       const uint edge) {
    const uint item = get_local_id(0);
    if (by_depth)
#pragma unroll
        for (uint l = 0; l < loads; l += TILE_WORD) {
            const uint i = l / TILE_WORD * ITEMS + item;
            tile_put_rows(tile + i / (edge / 4) * line + i % (edge / 4), line, values + l, TILE_WORD);
        }
    else
#pragma unroll
        for (uint l = 0; l < loads; l++) {
            const uint i = l * ITEMS + item;
            tile_put_transposed(tile, line, i / (KC / 4), i % (KC / 4), values[l]);
        }
}

/* ---- Results ---- */

/* Where a work-group's results go; bias [m] may be null. */
typedef struct result {
    global float *c;
    global const float *bias;
    uint pitch, m, n, row, column;
    int accumulate;
} result;

static inline float bias_of(const result *r, uint row) {
    return r->bias && row < r->m ? r->bias[row] : 0.0f;
}

#if MMA
static inline void store_sums(const result *r, tile_sums sums, tile_item at) {
#pragma unroll
    for (int m = 0; m < MMA_ROWS; m++) {
        const uint row = r->row + at.row + m * 16 + at.group;
        const float upper_bias = bias_of(r, row), lower_bias = bias_of(r, row + 8);
        global float *upper = r->c + (ulong)row * r->pitch, *lower = upper + (ulong)8 * r->pitch;
#pragma unroll
        for (int n = 0; n < MMA_COLUMNS; n++) {
            const uint column = r->column + at.column + n * 8 + at.member * 2;
            float4 value = sums[m][n] + (float4)(upper_bias, upper_bias, lower_bias, lower_bias);
            if (r->accumulate && row < r->m)
                value.lo += load_pair(upper, column, r->n);
            if (r->accumulate && row + 8 < r->m)
                value.hi += load_pair(lower, column, r->n);
            value = activate(value);
            if (row < r->m)
                store_pair(upper, column, r->n, value.lo);
            if (row + 8 < r->m)
                store_pair(lower, column, r->n, value.hi);
        }
    }
}
#else
static inline void store_sums(const result *r, tile_sums sums, tile_item at) {
#pragma unroll
    for (int i = 0; i < RM; i++) {
        const uint row = r->row + (at.y + i / 4 * TY) * 4 + i % 4;
        const float bias = bias_of(r, row);
        global float *to = r->c + (ulong)row * r->pitch;
#pragma unroll
        for (int n = 0; n < NQ; n++) {
            const uint column = r->column + (at.x + n * TX) * 4;
            float4 value = sums[i / 4][n][i % 4] + bias;
            if (r->accumulate && row < r->m)
                value += load_quad(to, column, r->n);
            if (row < r->m)
                store_quad(to, column, r->n, activate(value));
        }
    }
}
#endif

/* Groups: tiles along m (these first, so that neighbours share a tile of the larger B), tiles along n, parts * batch.
   Offsets, steps from matrix to matrix and pitches from row to row count floats. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
gemm_batched(global const float *restrict a, ulong a_offset, ulong a_step, uint a_pitch, global const float *restrict b,
             ulong b_offset, ulong b_step, uint b_pitch, global float *restrict c, ulong c_offset, ulong c_step,
             uint c_pitch, global const float *restrict bias, uint batch, uint m, uint n, uint k, uint depth,
             int accumulate) {
    local float4 a_tile[2][A_TILE], b_tile[2][B_TILE];
    TILE_SCRATCH(scratch, a_tile);
    const uint number = get_group_id(2), row = get_group_id(0) * BM, column = get_group_id(1) * BN;
    const uint first = number / batch * depth, end = min(first + depth, k);
    const operand left = {a + a_offset + number % batch * a_step, a_pitch, m, row};
    const operand right = {b + b_offset + number % batch * b_step, b_pitch, n, column};
    const result to = {c + c_offset + number * c_step, bias, c_pitch, m, n, row, column, accumulate};
    const tile_item at = tile_item_of(get_local_id(0));
    float4 next_a[LOADS_A], next_b[LOADS_B];
    tile_sums sums;
    tile_clear(sums);
    /* Slice s is fetched in turn s and multiplied in turn s + 1. */
    for (uint k0 = first, turn = 0; k0 < end + KC; k0 += KC, turn ^= 1) {
        fetch(next_a, LOADS_A, left, TRANSPOSE_A, BM, k0, end);
        fetch(next_b, LOADS_B, right, !TRANSPOSE_B, BN, k0, end);
        if (k0 > first)
            tile_multiply(sums, a_tile[turn ^ 1], b_tile[turn ^ 1], at, 0, scratch);
        put(a_tile[turn], A_LINE, next_a, LOADS_A, TRANSPOSE_A, BM);
        put(b_tile[turn], B_LINE, next_b, LOADS_B, !TRANSPOSE_B, BN);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    store_sums(&to, sums, at);
}
