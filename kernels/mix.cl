/* Images of a batch mixed with their partners, in place: host/ops/mix.h. */
#include "common.clh"

/* The values of the images before those of a vector; of the first one, `last`. */
static floatv partners_of(global const float *y, int vector, float last) {
    if (vector > 0)
        return vloadv(0, y + vector * VW - 1);
    float lanes[VW];
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = lane ? y[lane - 1] : last;
    return vloadv(0, lanes);
}

/* Group x, y, z: a pixel of a box that begins at (left, top), and its channel; the items share its vectors, from the
   last ones on, so that partners are what they were. */
kernel void mix_batch(global float *y, int n, int vectors, int height, int width, int left, int top, float own,
                      float partners) {
    const int items = get_local_size(0);
    y += (((ulong)get_group_id(2) * height + top + get_group_id(1)) * width + left + get_group_id(0)) * vectors * VW;
    const float last = y[n - 1];
    for (int end = (n + VW - 1) / VW; end > 0; end -= items) {
        const int vector = end - 1 - (int)get_local_id(0);
        floatv before = 0, value = 0;
        if (vector >= 0) {
            before = vloadv(vector, y);
            value = fma(before, (floatv)own, partners_of(y, vector, last) * partners);
        }
        barrier(CLK_GLOBAL_MEM_FENCE);
        if (vector >= 0)
            vstorev(select(before, value, vector * VW + lane_numbers() < n), vector, y);
        barrier(CLK_GLOBAL_MEM_FENCE);
    }
}
