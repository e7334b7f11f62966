/* Convolution on GPUs as an implicit matrix product: a work-group computes BM output channels x BN columns (see
   conv2d/tile_gpu.clh). Chunks of KC weights and inputs pass through local memory, in two buffers in turn, so that the
   next chunk's loads are under way while this one is multiplied and one barrier per chunk is enough. Each work-item
   holds RM x RN sums in registers; with MMA (see mma.clh) tensor cores multiply, and RM and RN are 8. */
#ifndef MMA
#define MMA 0
#endif
#ifndef BM
#define BM 128
#define RM 8
#define BN 128
#define RN 8
#define KC (MMA == 2 ? 16 : 8)
/* Rows of a chunk that one work-item loads, a multiple of 2 with MMA 2; with fewer loads than items, the last items
   have none. */
#define W_ROWS (KC / 8)
#define X_ROWS (KC / 8)
#endif

#define SLICES 1
#define TILE_GAP 0

#include "conv2d/tile_gpu.clh"
#include "local_tile.clh"

#define WQ (BM / 4) /* float4 in a row of a chunk */
#define XQ (BN / 4)

#if MMA
/* Stores a work-item's sums of one product of 16 x 8: two columns of each of two output channels. */
static inline void store_pairs(global float4 *y, const column *c, int lane, int channel, float4 sums, float low_bias,
                               float high_bias) {
    const float4 results = activate(sums + (float4)(low_bias, low_bias, high_bias, high_bias));
    global float2 *to = (global float2 *)(y + channel * OUT_PLANE + c->out) + lane / 2;
    if (c->real && channel < OUT_C)
        *to = results.xy;
    if (c->real && channel + 8 < OUT_C)
        to[8 * 2 * OUT_PLANE] = results.zw;
}
#endif

/* A work-item's share of the chunk that its walks have come to: rows one after another, then on to the next chunk. */
static inline void fetch_weights(float4 rows[W_ROWS], global const float4 *packed, walk *k, const window *w, int quad) {
#pragma unroll
    for (int r = 0; r < W_ROWS; r++) {
        rows[r] = weight_at(packed, k, quad);
        if (walk_on(k, r < W_ROWS - 1 ? 1 : KC - W_ROWS + 1))
            weight_tap(k, w);
    }
}

static inline void fetch_inputs(float4 rows[X_ROWS], global const float4 *x, walk *k, const window *w,
                                const column *c) {
#pragma unroll
    for (int r = 0; r < X_ROWS; r++) {
        rows[r] = input_at(x, k);
        if (walk_on(k, r < X_ROWS - 1 ? 1 : KC - X_ROWS + 1))
            input_tap(k, w, c);
    }
}

/* The tile's sums with the biases at `packed`, for the output channels from `channel` on and the columns from `first`.
 */
static inline void store_tile(global float4 *y, global const float4 *packed, const window *w, int first, int channel,
                              tile_item at, tile_sums sums) {
#if MMA
    global const float *bias = (global const float *)packed;
#pragma unroll
    for (int n = 0; n < MMA_COLUMNS; n++) {
        const int place = at.column + n * 8 + at.member * 2;
        const column stored = column_of(w, first + place / 4);
#pragma unroll
        for (int m = 0; m < MMA_ROWS; m++) {
            const int row = at.row + m * 16 + at.group;
            store_pairs(y, &stored, place % 4, channel + row, sums[m][n], bias[row], bias[row + 8]);
        }
    }
#else
#pragma unroll
    for (int n = 0; n < NQ; n++) {
        const column stored = column_of(w, first + at.x + n * TX);
#pragma unroll
        for (int m = 0; m < MQ; m++) {
            const int quad = at.y + m * TY;
            store_quad(y, &stored, channel + quad * 4, sums[m][n], packed[quad]);
        }
    }
#endif
}

/* Work-groups: blocks of channels (innermost, so that neighbours read the same inputs) x blocks of columns of the
   largest phase; 1; phases * GROUPS. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_tile(global const float4 *restrict x, global const float4 *restrict packed, global float4 *restrict y) {
    local float4 w_tile[2][A_TILE], x_tile[2][B_TILE];
    TILE_SCRATCH(scratch, w_tile);
    const int item = get_local_id(0), block = get_group_id(0) % BLOCKS, group = get_group_id(2) % GROUPS;
    const int first = get_group_id(0) / BLOCKS * XQ;
    const window w = window_of(get_group_id(2) / GROUPS, first, XQ);
    x += (ulong)group * IN_C * IN_PLANE;
    y += (ulong)group * OUT_C * OUT_PLANE;
    packed += ((ulong)group * BLOCKS + block) * PACKED;

    /* What this item loads... */
    const int w_quad = item % WQ, w_row = item / WQ * W_ROWS, x_quad = item % XQ, x_row = item / XQ * X_ROWS;
    const bool loads_w = w_row < KC, loads_x = x_row < KC;
    const column loaded = column_of(&w, first + x_quad);
    walk w_walk = weight_walk(w_row, &w), x_walk = input_walk(x_row, &w, &loaded);
    float4 w_rows[W_ROWS], x_rows[X_ROWS];
    /* ... and what it computes. */
    const tile_item at = tile_item_of(item);
    tile_sums sums;
    tile_clear(sums);

    const int chunks = (w.taps * IN_C + KC - 1) / KC;
    for (int chunk = 0; chunk <= chunks; chunk++) {
        if (chunk < chunks) {
            if (loads_w)
                fetch_weights(w_rows, packed, &w_walk, &w, w_quad);
            if (loads_x)
                fetch_inputs(x_rows, x, &x_walk, &w, &loaded);
        }
        if (chunk > 0)
            tile_multiply(sums, w_tile[(chunk - 1) % 2], x_tile[(chunk - 1) % 2], at, 0, scratch);
        if (chunk < chunks && loads_w)
            tile_put_rows(w_tile[chunk % 2] + w_row / TILE_WORD * A_LINE + w_quad, A_LINE, w_rows, W_ROWS);
        if (chunk < chunks && loads_x)
            tile_put_rows(x_tile[chunk % 2] + x_row / TILE_WORD * B_LINE + x_quad, B_LINE, x_rows, X_ROWS);
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    store_tile(y, packed, &w, first, block * BM, at, sums);
}
