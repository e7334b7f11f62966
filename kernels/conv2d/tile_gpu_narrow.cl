/* Convolution on GPUs with few output channels: a work-item computes all BM channels of a block for NQ columns (see
   conv2d/tile_gpu.clh). Its inputs are nobody else's but for neighbouring taps, which the first-level cache serves, so
   they go straight into registers, RUN of k before they are multiplied; only the weights, the same for all items, pass
   through local memory, KC of k at a time. */
#ifndef BM
#define BM 12
#define NQ 1
#define ITEMS 128
#define KC 168 /* a multiple of 12 */
#endif

#include "conv2d/tile_gpu.clh"

#define MQ (BM / 4)
/* Input channels whose loads are under way together; divides IN_C and KC. */
#define RUN (IN_C % 4 == 0 ? 4 : IN_C % 3 == 0 ? 3 : IN_C % 2 == 0 ? 2 : 1)

/* The next RUN values of each of the item's columns. */
static inline void load_run(float4 values[RUN][NQ], global const float4 *x, walk walks[NQ], const window *w,
                            const column columns[NQ]) {
#pragma unroll
    for (int n = 0; n < NQ; n++) {
#pragma unroll
        for (int r = 0; r < RUN; r++) {
            values[r][n] = input_at(x, &walks[n]);
            walks[n].channel++;
        }
        if (walk_on(&walks[n], 0))
            input_tap(&walks[n], w, &columns[n]);
    }
}

static inline void multiply_run(float4 sums[MQ][NQ][4], local const float4 *w, float4 values[RUN][NQ]) {
#pragma unroll
    for (int r = 0; r < RUN; r++, w += MQ)
#pragma unroll
        for (int m = 0; m < MQ; m++)
#pragma unroll
            for (int n = 0; n < NQ; n++)
                multiply_quad(sums[m][n], w[m], values[r][n]);
}

/* Work-groups as in conv2d_tile. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_narrow(global const float4 *restrict x, global const float4 *restrict packed, global float4 *restrict y) {
    local float4 w_tile[KC * MQ];
    const int item = get_local_id(0), block = get_group_id(0) % BLOCKS, group = get_group_id(2) % GROUPS;
    const int first = get_group_id(0) / BLOCKS * ITEMS * NQ;
    const window w = window_of(get_group_id(2) / GROUPS, first, ITEMS * NQ);
    x += (ulong)group * IN_C * IN_PLANE;
    y += (ulong)group * OUT_C * OUT_PLANE;
    packed += ((ulong)group * BLOCKS + block) * PACKED;
    column columns[NQ];
    walk walks[NQ];
    float4 sums[MQ][NQ][4];
#pragma unroll
    for (int n = 0; n < NQ; n++) {
        columns[n] = column_of(&w, first + n * ITEMS + item);
        walks[n] = input_walk(0, &w, &columns[n]);
#pragma unroll
        for (int m = 0; m < MQ; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sums[m][n][i] = (float4)(0.0f);
    }

    const int depth = w.taps * IN_C;
    float4 next[RUN][NQ];
    load_run(next, x, walks, &w, columns);
    for (int chunk = 0; chunk < depth; chunk += KC) {
        const int end = min(KC, depth - chunk);
        for (int i = item; i < end * MQ; i += ITEMS) {
            const walk k = weight_walk(chunk + i / MQ, &w);
            w_tile[i] = weight_at(packed, &k, i % MQ);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < end; k += RUN) {
            float4 values[RUN][NQ];
#pragma unroll
            for (int r = 0; r < RUN; r++)
#pragma unroll
                for (int n = 0; n < NQ; n++)
                    values[r][n] = next[r][n];
            load_run(next, x, walks, &w, columns);
            multiply_run(sums, w_tile + k * MQ, values);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

#pragma unroll
    for (int n = 0; n < NQ; n++)
#pragma unroll
        for (int m = 0; m < MQ; m++)
            store_quad(y, &columns[n], block * BM + m * 4, sums[m][n], packed[m]);
}
