/* Maps times a value for each of them and each image: see host/ops/product.h. Group y is the map. */
#include "common.clh"
#include "channel.clh"

/* y = x * gate. `count`: vectors of a map, `vectors` those of a pixel; group x takes `block` of them. y may be x. */
kernel void scale(global const float *x, global const float *gate, global float *y, ulong count, uint vectors,
                  uint block) {
    const ulong map = get_group_id(1) * count, end = min((get_group_id(0) + 1) * (ulong)block, count);
    ulong at = get_group_id(0) * (ulong)block + get_local_id(0);
    const uint skip = get_local_size(0) % vectors;
    for (uint v = at % vectors; at < end; at += get_local_size(0), v += skip, v -= v >= vectors ? vectors : 0)
        vstorev(vloadv(map + at, x) * vloadv(get_group_id(1) * vectors + v, gate), map + at, y);
}

/* ggate = the sums of gy * x over the pixels, of which a few dozen at a time are summed by themselves: the error grows
   with their number. */
kernel void scale_sums(global const float *gy, global const float *x, global float *ggate, ulong pixels, uint vectors) {
    const ulong map = get_group_id(1) * pixels;
    for (uint v = get_local_id(0); v < vectors; v += get_local_size(0)) {
        floatv sum = 0;
        for (ulong first = 0; first < pixels; first += 64) {
            const ulong end = min(first + 64, pixels);
            floatv part = 0;
            for (ulong p = first; p < end; p++)
                part = fma(vloadv((map + p) * vectors + v, gy), vloadv((map + p) * vectors + v, x), part);
            sum += part;
        }
        vstorev(sum, get_group_id(1) * vectors + v, ggate);
    }
}

/* y = x times a value for each map, whatever the image. y may be x. */
kernel void scale_channels(global const float *x, global const float *factors, global float *y, ulong vectors,
                           uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL
    vstorev(vloadv(AT(channel), x) * factors[channel], AT(channel), y);
}
