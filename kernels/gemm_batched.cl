/* Matrix products for GPUs, many of one shape at once: C[batch][m][n] (+)= A[batch] B[batch], row-major. A work-group
   computes a tile of TM x TN of C; both operands pass through local memory in slices of DEPTH, two slices in turn, so
   that the next one is on its way from global memory while this one is multiplied and one barrier per slice suffices.
   A work-item holds 8 x 8 of C in registers, as blocks of 4 x 4 half a tile apart in both directions: neighbours then
   read neighbouring float4 from local memory, without bank conflicts.

   DEPTH_FIRST: A is stored [k][m] and B [k][n]. Otherwise A is [m][k] and B is [n][k], and k is a multiple of 4.
   k may be cut into parts of `depth`, each with products of its own, C[part][batch][m][n]: groups enough for a large
   device where m and n are small, and sums that are short enough to be accurate. The caller adds the parts up.

   All rows start at multiples of 4 floats (lda4, ldb4, ldc4 count float4). What follows a row's end may be anything, and
   the row of C is written up to a multiple of 4. */
#ifndef WM
#define WM 8 /* work-items of a group along m */
#define WN 8 /* and along n */
#define DEPTH_FIRST 1
#endif

#define DEPTH 8
#define QN 2 /* float4 along n in a work-item */
#define ITEMS (WM * WN)
#define TM (8 * WM)
#define TN (4 * QN * WN)
/* float4 of a slice that each work-item carries to local memory. */
#define LOADS_A (DEPTH * TM / 4 / ITEMS)
#define LOADS_B (DEPTH * TN / 4 / ITEMS)
/* A slice in local memory, [DEPTH][tile], over four. One float4 between its rows keeps the scattered writes of the
   transposing case in different banks. */
#define LINE_A (TM / 4 + 1)
#define LINE_B (TN / 4 + 1)

/* float4 number `i` of the slice from depth k0 on of the tile from row `first` on (of m or n); zeros outside. */
static inline float4 fetch(global const float4 *from, uint ld4, uint i, uint tile, uint first, uint count, uint k0,
                           uint k) {
#if DEPTH_FIRST
    const uint depth = k0 + i / (tile / 4), at = first / 4 + i % (tile / 4);
    return depth < k && at < ld4 ? from[(ulong)depth * ld4 + at] : (float4)(0.0f);
#else
    const uint row = first + i / (DEPTH / 4), depth = k0 + i % (DEPTH / 4) * 4;
    return row < count && depth < k ? from[(ulong)row * ld4 + depth / 4] : (float4)(0.0f);
#endif
}

/* The same float4 to its place in a slice. */
static inline void put(local float4 *slice, uint line, uint i, uint tile, float4 value) {
#if DEPTH_FIRST
    slice[i / (tile / 4) * line + i % (tile / 4)] = value;
#else
    local float *to = (local float *)slice + i % (DEPTH / 4) * 4 * line * 4 + i / (DEPTH / 4);
    to[0] = value.x;
    to[4 * line] = value.y;
    to[8 * line] = value.z;
    to[12 * line] = value.w;
#endif
}

static inline void multiply(local const float4 *a, local const float4 *b, uint row, uint column, float4 sum[8][QN]) {
#pragma unroll
    for (uint depth = 0; depth < DEPTH; depth++) {
        const float4 low = a[depth * LINE_A + row], high = a[depth * LINE_A + TM / 8 + row];
        const float left[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        float4 right[QN];
#pragma unroll
        for (uint q = 0; q < QN; q++)
            right[q] = b[depth * LINE_B + q * WN + column];
#pragma unroll
        for (uint r = 0; r < 8; r++)
#pragma unroll
            for (uint q = 0; q < QN; q++)
                sum[r][q] = fma((float4)(left[r]), right[q], sum[r][q]);
    }
}

/* Groups: tiles along m (these first, so that neighbours share a tile of the larger B), tiles along n, parts * batch. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
gemm_batched(global const float4 *restrict a, ulong a_offset4, ulong a_step4, uint lda4,
             global const float4 *restrict b, ulong b_offset4, ulong b_step4, uint ldb4, global float4 *restrict c,
             ulong c_offset4, ulong c_step4, uint ldc4, uint batch, uint m, uint n, uint k, uint depth,
             int accumulate) {
    local float4 slices_a[2][DEPTH * LINE_A], slices_b[2][DEPTH * LINE_B];
    const uint item = get_local_id(0), first_row = get_group_id(0) * TM, first_column = get_group_id(1) * TN;
    const uint row = item / WN, column = item % WN;
    const uint first = get_group_id(2) / batch * depth, end = min(first + depth, k);
    float4 sum[8][QN], next_a[LOADS_A], next_b[LOADS_B];
    a += a_offset4 + get_group_id(2) % batch * a_step4;
    b += b_offset4 + get_group_id(2) % batch * b_step4;
#pragma unroll
    for (uint r = 0; r < 8; r++)
#pragma unroll
        for (uint q = 0; q < QN; q++)
            sum[r][q] = (float4)(0.0f);
    /* Slice s is fetched in turn s and multiplied in turn s + 1. */
    for (uint k0 = first, turn = 0; k0 < end + DEPTH; k0 += DEPTH, turn ^= 1) {
#pragma unroll
        for (uint l = 0; l < LOADS_A; l++)
            next_a[l] = fetch(a, lda4, l * ITEMS + item, TM, first_row, m, k0, end);
#pragma unroll
        for (uint l = 0; l < LOADS_B; l++)
            next_b[l] = fetch(b, ldb4, l * ITEMS + item, TN, first_column, n, k0, end);
        if (k0 > first)
            multiply(slices_a[turn ^ 1], slices_b[turn ^ 1], row, column, sum);
#pragma unroll
        for (uint l = 0; l < LOADS_A; l++)
            put(slices_a[turn], LINE_A, l * ITEMS + item, TM, next_a[l]);
#pragma unroll
        for (uint l = 0; l < LOADS_B; l++)
            put(slices_b[turn], LINE_B, l * ITEMS + item, TN, next_b[l]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    c += c_offset4 + get_group_id(2) * c_step4;
#pragma unroll
    for (uint r = 0; r < 8; r++)
#pragma unroll
        for (uint q = 0; q < QN; q++) {
            const uint at_row = first_row + r / 4 * (TM / 2) + row * 4 + r % 4;
            const uint at = first_column / 4 + q * WN + column;
            if (at_row < m && at < (n + 3) / 4) {
                global float4 *to = c + (ulong)at_row * ldc4 + at;
                *to = accumulate ? *to + sum[r][q] : sum[r][q];
            }
        }
}
