/* Channels in another order, and parts of them. Group y is the channel that is written, of `vectors` vectors, of which
   group x takes `block`. */
#include "common.clh"

#define FOR_EACH_VECTOR_OF_CHANNEL                                                                                     \
    const ulong channel = get_group_id(1), end = min((get_group_id(0) + 1) * (ulong)block, vectors);                   \
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0))

/* Channel i * each + k of x becomes channel k * groups + i of y. */
kernel void channel_shuffle(global const float *x, global float *y, ulong vectors, ulong groups, ulong each,
                            uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const ulong from = channel % groups * each + channel / groups;
        vstorev(vloadv(from * vectors + at, x), channel * vectors + at, y);
    }
}

/* gy as channels first..first + count - 1 of gx, of which the others are 0. */
kernel void channel_place(global const float *gy, global float *gx, ulong vectors, ulong first, ulong count,
                          uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const bool inside = channel >= first && channel < first + count;
        const floatv value = inside ? vloadv((channel - first) * vectors + at, gy) : (floatv)0;
        vstorev(value, channel * vectors + at, gx);
    }
}
