/* Normalisation within each image: see host/ops/groupnorm.h. A set has `channels` with `rows` vectors of each image's
   lanes, `across` apart; sets lie side by side (group x takes `block` of their vectors) and behind each other
   (group y). */
#include "common.clh"

/* host/ops/groupnorm.c passes these in the same order. */
#define LAYOUT ulong channels, ulong rows, ulong across

/* Values that are summed by themselves: the error grows with their number. */
#define CHUNK 64

/* The sum of VALUE, which may use `at` and `c`, over a set that begins at vector `first`. */
#define SUM_OF_SET(sum, VALUE)                                                                                         \
    for (ulong c = 0, at = first; c < channels; c++)                                                                   \
        for (ulong r = 0; r < rows;) {                                                                                 \
            floatv part = 0;                                                                                           \
            for (const ulong end = min(r + CHUNK, rows); r < end; r++, at += across)                                   \
                part += VALUE;                                                                                         \
            sum += part;                                                                                               \
        }

#define FOR_EACH_SET                                                                                                   \
    const ulong end_of_block = min((get_group_id(0) + 1) * (ulong)block, across), length = channels * rows;            \
    for (ulong set = get_group_id(0) * (ulong)block + get_local_id(0); set < end_of_block; set += get_local_size(0))

kernel void groupnorm_forward(global const float *x, global const float *weight, global const float *bias, float eps,
                              global float *y, global float *mean_to, global float *invstd_to, LAYOUT, uint block) {
    FOR_EACH_SET {
        const ulong first = get_group_id(1) * length * across + set, channel = get_group_id(1) * channels;
        const floatv pivot = vloadv(first, x);
        floatv mean = 0, squares = 0;
        SUM_OF_SET(mean, vloadv(at, x) - pivot)
        mean = pivot + mean / (float)length;
        SUM_OF_SET(squares, (vloadv(at, x) - mean) * (vloadv(at, x) - mean))
        const floatv invstd = 1 / sqrt(squares / (float)length + eps);
        for (ulong c = 0, at = first; c < channels; c++) {
            const floatv w = invstd * (weight ? weight[channel + c] : 1.0f);
            const float b = bias ? bias[channel + c] : 0.0f;
            for (ulong r = 0; r < rows; r++, at += across)
                vstorev(fma(vloadv(at, x) - mean, w, (floatv)b), at, y);
        }
        vstorev(mean, get_group_id(1) * across + set, mean_to);
        vstorev(invstd, get_group_id(1) * across + set, invstd_to);
    }
}

/* gx may be gy. */
kernel void groupnorm_backward(global const float *x, global const float *gy, global const float *weight,
                               global const float *mean_of, global const float *invstd_of, global float *gx, LAYOUT,
                               uint block) {
    FOR_EACH_SET {
        const ulong first = get_group_id(1) * length * across + set, channel = get_group_id(1) * channels;
        const floatv mean = vloadv(get_group_id(1) * across + set, mean_of);
        const floatv invstd = vloadv(get_group_id(1) * across + set, invstd_of);
        floatv sum = 0, products = 0;
        SUM_OF_SET(sum, vloadv(at, gy) * (weight ? weight[channel + c] : 1.0f))
        SUM_OF_SET(products, vloadv(at, gy) * (weight ? weight[channel + c] : 1.0f) * (vloadv(at, x) - mean))
        sum /= (float)length;
        products *= invstd * invstd / (float)length;
        for (ulong c = 0, at = first; c < channels; c++) {
            const float w = weight ? weight[channel + c] : 1.0f;
            for (ulong r = 0; r < rows; r++, at += across)
                vstorev(invstd * (vloadv(at, gy) * w - sum - (vloadv(at, x) - mean) * products), at, gx);
        }
    }
}

/* products[channel][lane] = the sums of gy times the normalised x over a channel's pixels. Group y is the channel;
   `per_group`: channels that share a mean, 0 where each pixel has its own. */
kernel void groupnorm_products(global const float *x, global const float *gy, global const float *mean_of,
                               global const float *invstd_of, global float *products, ulong pixels, ulong per_group,
                               uint vectors) {
    const ulong channel = get_group_id(1);
    for (uint v = get_local_id(0); v < vectors; v += get_local_size(0)) {
        floatv sum = 0;
        for (ulong p = 0; p < pixels;) {
            floatv part = 0;
            for (const ulong end = min(p + CHUNK, pixels); p < end; p++) {
                const ulong at = (channel * pixels + p) * vectors + v;
                const ulong set = (per_group ? channel / per_group : p) * vectors + v;
                part += vloadv(at, gy) * (vloadv(at, x) - vloadv(set, mean_of)) * vloadv(set, invstd_of);
            }
            sum += part;
        }
        vstorev(sum, channel * vectors + v, products);
    }
}
