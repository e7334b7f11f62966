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
#define EDGE 8        /* of what a work-item holds of the tile: 8, or 4 without MMA */
#define TRANSPOSE_A 1 /* A is stored [k][m], else [m][k] */
#define TRANSPOSE_B 0 /* B is stored [n][k], else [k][n] */
/* Matrices and rows start at multiples of 4 floats; so does the end of each row of A and B (of those [m][k], of k), or
   anything may follow it. The rows of C are written up to a multiple of 4. */
#define QUADS 1
#define ACTIVATION 0 /* of C */
#endif

#define KC (MMA == 2 || EDGE == 4 ? 16 : 8)
#define RM EDGE
#define RN EDGE
#define SLICES 1
#define TILE_GAP 1 /* so that transposed stores spread over the banks */

#include "common.clh"

#include "activation.clh"
#include "local_tile.clh"

/* float4 of a slice that each work-item carries to local memory; a multiple of TILE_WORD. */
#define LOADS_A (BM * KC / 4 / ITEMS)
#define LOADS_B (BN * KC / 4 / ITEMS)
#define LOADS_MOST (LOADS_A > LOADS_B ? LOADS_A : LOADS_B)

/* ---- Rows in global memory: what lies `room` floats on and further is behind the end, reads as 0 and is not written.
   With QUADS a row ends at a multiple of 4, or anything may be read there. ---- */

static inline float2 load_pair(global const float *from, uint room) {
#if QUADS
    return *(global const float2 *)from;
#else
    return (float2)(from[0], room > 1 ? from[1] : 0.0f);
#endif
}

static inline float4 load_quad(global const float *from, uint room) {
#if QUADS
    return *(global const float4 *)from;
#else
    return (float4)(load_pair(from, room), room > 2 ? load_pair(from + 2, room - 2) : (float2)(0.0f));
#endif
}

static inline void store_pair(global float *to, uint room, float2 value) {
#if QUADS
    *(global float2 *)to = value;
#else
    to[0] = value.x;
    if (room > 1)
        to[1] = value.y;
#endif
}

static inline void store_quad(global float *to, uint room, float4 value) {
#if QUADS
    *(global float4 *)to = value;
#else
    store_pair(to, room, value.lo);
    if (room > 2)
        store_pair(to + 2, room - 2, value.hi);
#endif
}

/* ---- Slices ---- */

/* One operand: a work-item's first floats of it, for the LOADS_A or LOADS_B float4 of each slice, and in how many
   floats its row ends behind each. What is beyond m or n repeats the last row or column: it ends up in sums that are
   not written. */
typedef struct operand {
    global const float *from;
    uint at[LOADS_MOST], room[LOADS_MOST];
} operand;

/* Which float4 of a slice a work-item's number l is: its place along k and along the `edge` rows or columns of the
   tile. An operand is stored `by_depth`, [k][count], or [count][k]. */
static inline uint2 part_of(uint l, const bool by_depth, const uint edge) {
    if (by_depth) {
        const uint i = l / TILE_WORD * ITEMS + get_local_id(0);
        return (uint2)(i / (edge / 4) * TILE_WORD + l % TILE_WORD, i % (edge / 4) * 4);
    }
    const uint i = l * ITEMS + get_local_id(0);
    return (uint2)(i % (KC / 4) * 4, i / (KC / 4));
}

static inline operand operand_of(global const float *from, uint pitch, uint count, uint first, const int loads,
                                 const bool by_depth, const uint edge) {
    const uint room = count - first;
    operand o = {from + (by_depth ? first : (ulong)first * pitch)};
#pragma unroll
    for (uint l = 0; l < loads; l++) {
        const uint2 part = part_of(l, by_depth, edge);
        const uint along = min(part.y, by_depth ? (room - 1) / 4 * 4 : room - 1);
        o.at[l] = by_depth ? part.x * pitch + along : along * pitch + part.x;
        o.room[l] = room - along;
    }
    return o;
}

/* A work-item's part of the slice that begins at o.from, whose matrix has `left` k to go, or none; zeros behind
   these. */
static inline void fetch(float4 *values, const int loads, const operand *o, const bool by_depth, const uint edge,
                         int left) {
#pragma unroll
    for (uint l = 0; l < loads; l++) {
        const int k = part_of(l, by_depth, edge).x;
        values[l] = k < left ? load_quad(o->from + o->at[l], by_depth ? o->room[l] : left - k) : (float4)(0.0f);
    }
}

/* The same to its place in a slice. */
static inline void put(local float4 *tile, int line, const float4 *values, const int loads, const bool by_depth,
                       const uint edge) {
#pragma unroll
    for (uint l = 0; l < loads; l += by_depth ? TILE_WORD : 1) {
        const uint2 part = part_of(l, by_depth, edge);
        if (by_depth)
            tile_put_rows(tile + part.x / TILE_WORD * line + part.y / 4, line, values + l, TILE_WORD);
        else
            tile_put_transposed(tile, line, part.y, part.x / 4, values[l]);
    }
}

/* ---- Results ---- */

/* Where a work-group's results go; bias [m] may be null. */
typedef struct result {
    global float *c;
    global const float *bias;
    uint pitch, m, n, row, column;
} result;

#if MMA
#define PART float2 /* successive columns that a work-item holds of a row: parts of `sums` in turn */
#define PARTS (MMA_ROWS * MMA_COLUMNS * 2)
#define load_part load_pair
#define store_part store_pair
static inline uint2 part_place(const result *r, tile_item at, int i) {
    return (uint2)(r->row + at.row + i / 2 / MMA_COLUMNS * 16 + at.group + i % 2 * 8,
                   r->column + at.column + i / 2 % MMA_COLUMNS * 8 + at.member * 2);
}
static inline float2 activate_part(float2 value) {
    return activate((float4)(value, value)).lo;
}
static inline float2 get_part(tile_sums sums, int i) {
    const float4 both = sums[i / 2 / MMA_COLUMNS][i / 2 % MMA_COLUMNS];
    return i % 2 ? both.hi : both.lo;
}
static inline void set_part(tile_sums sums, int i, float2 value) {
    if (i % 2)
        sums[i / 2 / MMA_COLUMNS][i / 2 % MMA_COLUMNS].hi = value;
    else
        sums[i / 2 / MMA_COLUMNS][i / 2 % MMA_COLUMNS].lo = value;
}
#else
#define PART float4
#define PARTS (RM * NQ)
#define load_part load_quad
#define store_part store_quad
#define activate_part activate
static inline uint2 part_place(const result *r, tile_item at, int i) {
    return (uint2)(r->row + (at.y + i / NQ / 4 * TY) * 4 + i / NQ % 4, r->column + (at.x + i % NQ * TX) * 4);
}
static inline float4 get_part(tile_sums sums, int i) {
    return sums[i / NQ / 4][i % NQ][i / NQ % 4];
}
static inline void set_part(tile_sums sums, int i, float4 value) {
    sums[i / NQ / 4][i % NQ][i / NQ % 4] = value;
}
#endif

/* What the sums begin with: the bias and, to `accumulate`, what is there. */
static inline void load_sums(const result *r, tile_sums sums, tile_item at, int accumulate) {
    tile_clear(sums);
    if (r->bias)
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            set_part(sums, i, (PART)(r->bias[min(part_place(r, at, i).x, r->m - 1)]));
    if (accumulate)
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            const uint2 place = part_place(r, at, i);
            if (place.x < r->m && place.y < r->n)
                set_part(sums, i,
                         get_part(sums, i) + load_part(r->c + (ulong)place.x * r->pitch + place.y, r->n - place.y));
        }
}

static inline void store_sums(const result *r, tile_sums sums, tile_item at) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
        const uint2 place = part_place(r, at, i);
        if (place.x < r->m && place.y < r->n)
            store_part(r->c + (ulong)place.x * r->pitch + place.y, r->n - place.y, activate_part(get_part(sums, i)));
    }
}

/* Groups: tiles along m (these first, so that neighbours share a tile of the larger B), tiles along n, parts * batch.
   Offsets, steps from matrix to matrix and pitches from row to row count floats. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
gemm_batched(global const float *restrict a, ulong a_offset, ulong a_step, uint a_pitch, global const float *restrict b,
             ulong b_offset, ulong b_step, uint b_pitch, global float *restrict c, ulong c_offset, ulong c_step,
             uint c_pitch, global const float *restrict bias, uint batch, uint m, uint n, uint k, uint depth,
             int accumulate) {
    local float4 a_tile[2][A_TILE], b_tile[2][B_TILE];
    TILE_SCRATCH(scratch, a_tile);
    const uint number = get_group_id(2), row = get_group_id(0) * BM, column = get_group_id(1) * BN;
    const uint first = number / batch * depth, end = min(first + depth, k);
    operand left = operand_of(a + a_offset + number % batch * a_step + (ulong)first * (TRANSPOSE_A ? a_pitch : 1),
                              a_pitch, m, row, LOADS_A, TRANSPOSE_A, BM);
    operand right = operand_of(b + b_offset + number % batch * b_step + (ulong)first * (TRANSPOSE_B ? 1 : b_pitch),
                               b_pitch, n, column, LOADS_B, !TRANSPOSE_B, BN);
    const ulong step_a = TRANSPOSE_A ? (ulong)KC * a_pitch : KC, step_b = TRANSPOSE_B ? KC : (ulong)KC * b_pitch;
    const result to = {c + c_offset + number * c_step, bias, c_pitch, m, n, row, column};
    const tile_item at = tile_item_of(get_local_id(0));
    float4 next_a[LOADS_A], next_b[LOADS_B];
    tile_sums sums;
    load_sums(&to, sums, at, accumulate);
    /* A slice is fetched in its turn and multiplied in the next one. */
    for (uint k0 = first, turn = 0; k0 < end + KC; k0 += KC, turn ^= 1, left.from += step_a, right.from += step_b) {
        const int to_go = (int)(end - k0); /* a saturated difference would be a call that Oclgrind does not know */
        fetch(next_a, LOADS_A, &left, TRANSPOSE_A, BM, to_go);
        fetch(next_b, LOADS_B, &right, !TRANSPOSE_B, BN, to_go);
        if (k0 > first)
            tile_multiply(sums, a_tile[turn ^ 1], b_tile[turn ^ 1], at, 0, scratch);
        put(a_tile[turn], A_LINE, next_a, LOADS_A, TRANSPOSE_A, BM);
        put(b_tile[turn], B_LINE, next_b, LOADS_B, !TRANSPOSE_B, BN);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    store_sums(&to, sums, at);
}
