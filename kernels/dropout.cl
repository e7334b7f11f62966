/* Dropout: each work-item keeps or drops four neighbouring images of one feature, which share one block of random
   words. See host/ops/dropout.h for the counter. */
#include "common.clh"

/* quads: the pitch / 4; count: quads in all. In place is allowed. */
kernel void dropout(global const float *x, global float *y, ulong count, uint quads, uint block, float p, float scale,
                    uint step, uint purpose, uint seed_low, uint seed_high) {
    ulong end = min((get_group_id(0) + 1) * (ulong)block, count);
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0)) {
        uint4 words = philox((uint4)((uint)(at / quads), (uint)(at % quads), step, purpose), (uint2)(seed_low, seed_high));
        float4 number = convert_float4(words >> 8) * (1.0f / 16777216.0f);
        vstore4(select((float4)0, vload4(at, x) * scale, number >= p), at, y);
    }
}
