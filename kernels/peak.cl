/* What the device can do at most: multiply-adds without memory, and a stream through memory. See host/ops/peak.c. */
#include "common.clh"

/* Twelve chains of `rounds` multiply-adds, which do not wait for one another; each item writes one float. */
kernel void peak_flops(global float *out, float factor, float shift, uint rounds) {
    floatv a = (float)get_global_id(0), b = a + 1, c = a + 2, d = a + 3, e = a + 4, f = a + 5;
    floatv g = a + 6, h = a + 7, i = a + 8, j = a + 9, k = a + 10, l = a + 11;
    const floatv m = factor, s = shift;
    for (uint round = 0; round < rounds; round++) {
        a = fma(a, m, s);
        b = fma(b, m, s);
        c = fma(c, m, s);
        d = fma(d, m, s);
        e = fma(e, m, s);
        f = fma(f, m, s);
        g = fma(g, m, s);
        h = fma(h, m, s);
        i = fma(i, m, s);
        j = fma(j, m, s);
        k = fma(k, m, s);
        l = fma(l, m, s);
    }
    out[get_global_id(0)] = sumv(a + b + c + d + e + f + g + h + i + j + k + l);
}

/* y = a x + y, `rounds` times: two reads and a write. Group g walks through vectors g * block ... + block. */
kernel void peak_stream(global const float *x, global float *y, float a, ulong vectors, uint block, uint rounds) {
    ulong first = get_group_id(0) * (ulong)block, end = min(first + block, vectors);
    for (uint round = 0; round < rounds; round++)
        for (ulong at = first + get_local_id(0); at < end; at += get_local_size(0))
            vstorev(fma((floatv)a, vloadv(at, x), vloadv(at, y)), at, y);
}
