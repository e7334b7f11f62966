/* Dropout: each work-item keeps or drops 16 neighbouring images of one feature, for which it computes four blocks of
   random words side by side. See host/ops/dropout.h for the counter. */
#include "common.clh"

/* The high words of 32 x 32 bit products, as the widening multiplication that CPUs have for vectors. */
static uint4 multiply_high(uint factor, uint4 v) {
    return convert_uint4((convert_ulong4(v) * (ulong)factor) >> 32);
}

/* vectors: the pitch / 16; count: vectors in all. In place is allowed. */
kernel void dropout(global const float *x, global float *y, ulong count, uint vectors, uint block, float p, float scale,
                    uint step, uint purpose, uint seed_low, uint seed_high) {
    ulong end = min((get_group_id(0) + 1) * (ulong)block, count);
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0)) {
        /* Philox4x32-10 as in common.clh: a, b, c, d hold the first to fourth word of four counters. */
        uint4 a = (uint)(at / vectors), b = (uint)(at % vectors) * 4 + (uint4)(0, 1, 2, 3), c = step, d = purpose;
        uint key_low = seed_low, key_high = seed_high;
        for (int round = 0; round < 10; round++) {
            uint4 next_a = multiply_high(0xCD9E8D57u, c) ^ b ^ key_low,
                  next_c = multiply_high(0xD2511F53u, a) ^ d ^ key_high;
            b = 0xCD9E8D57u * c;
            d = 0xD2511F53u * a;
            a = next_a;
            c = next_c;
            key_low += 0x9E3779B9u;
            key_high += 0xBB67AE85u;
        }
        uint16 words = (uint16)(a.x, b.x, c.x, d.x, a.y, b.y, c.y, d.y, a.z, b.z, c.z, d.z, a.w, b.w, c.w, d.w);
        float16 number = convert_float16(words >> 8) * (1.0f / 16777216.0f);
        vstore16(select((float16)0, vload16(at, x) * scale, number >= p), at, y);
    }
}
