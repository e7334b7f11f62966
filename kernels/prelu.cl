/* PReLU: see host/ops/prelu.h. Group y is the channel. */
#include "common.clh"
#include "channel.clh"

/* The slope of a channel; `shared`: there is one for all. */
#define SLOPE(channel) slopes[shared ? 0 : (channel)]

/* y may be x. */
kernel void prelu_forward(global const float *x, global const float *slopes, int shared, global float *y, ulong vectors,
                          uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const floatv value = vloadv(AT(channel), x);
        vstorev(select(value * SLOPE(channel), value, value > 0), AT(channel), y);
    }
}

/* gx may be gy. */
kernel void prelu_backward(global const float *x, global const float *slopes, int shared, global const float *gy,
                           global float *gx, ulong vectors, uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const floatv g = vloadv(AT(channel), gy);
        vstorev(select(g * SLOPE(channel), g, vloadv(AT(channel), x) > 0), AT(channel), gx);
    }
}

/* The slope's gradient, channel by channel and image by image, over `pixels` of `vectors` each; a few dozen at a time
   are summed by themselves, as the error grows with their number. */
kernel void prelu_slopes(global const float *x, global const float *gy, global float *sums, ulong pixels,
                         uint vectors) {
    const ulong map = get_group_id(1) * pixels;
    for (uint v = get_local_id(0); v < vectors; v += get_local_size(0)) {
        floatv sum = 0;
        for (ulong first = 0; first < pixels; first += 64) {
            const ulong end = min(first + 64, pixels);
            floatv part = 0;
            for (ulong p = first; p < end; p++) {
                const floatv value = vloadv((map + p) * vectors + v, x);
                part += select(value * vloadv((map + p) * vectors + v, gy), (floatv)0, value > 0);
            }
            sum += part;
        }
        vstorev(sum, get_group_id(1) * vectors + v, sums);
    }
}
