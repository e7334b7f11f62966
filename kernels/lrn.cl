/* Local response normalisation: see host/ops/lrn.h. Group y is the channel, of `vectors` vectors, of which group x
   takes `block`. */
#include "common.clh"
#include "channel.clh"

/* host/ops/lrn.c passes these in the same order; `share` is alpha / size. */
#define SHAPE int channels, ulong vectors, int size, float share, float beta, float k, uint block

/* b^exponent; b is positive. */
static inline floatv power(floatv b, float exponent) {
    return exp(exponent * log(b));
}

kernel void lrn_forward(global const float *x, global float *y, global float *base, SHAPE) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const int last = min(channel + (size - 1) / 2, channels - 1);
        floatv squares = 0;
        for (int c = max(channel - size / 2, 0); c <= last; c++)
            squares = fma(vloadv(AT(c), x), vloadv(AT(c), x), squares);
        const floatv b = fma(squares, (floatv)share, (floatv)k);
        vstorev(vloadv(AT(channel), x) * power(b, -beta), AT(channel), y);
        if (base)
            vstorev(b, AT(channel), base);
    }
}

/* The channels that have this one in their windows lie the other way round. */
kernel void lrn_backward(global const float *x, global const float *base, global const float *gy, global float *gx,
                         SHAPE) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const int last = min(channel + size / 2, channels - 1);
        floatv sum = 0;
        for (int c = max(channel - (size - 1) / 2, 0); c <= last; c++)
            sum += vloadv(AT(c), gy) * vloadv(AT(c), x) * power(vloadv(AT(c), base), -beta - 1);
        const floatv own = vloadv(AT(channel), gy) * power(vloadv(AT(channel), base), -beta);
        vstorev(own - 2 * share * beta * vloadv(AT(channel), x) * sum, AT(channel), gx);
    }
}
