/* Channels in another order, and parts of them. Group y is the channel that is written, of `vectors` vectors, of which
   group x takes `block`. */
#include "common.clh"
#include "channel.clh"

/* Channel i * each + k of x becomes channel k * groups + i of y. */
kernel void channel_shuffle(global const float *x, global float *y, ulong vectors, ulong groups, ulong each,
                            uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const ulong from = channel % groups * each + channel / groups;
        vstorev(vloadv(AT(from), x), AT(channel), y);
    }
}

/* gy as channels first..first + count - 1 of gx, of which the others are 0. */
kernel void channel_place(global const float *gy, global float *gx, ulong vectors, ulong first, ulong count,
                          uint block) {
    FOR_EACH_VECTOR_OF_CHANNEL {
        const bool inside = channel >= first && channel < first + count;
        const floatv value = inside ? vloadv(AT(channel - first), gy) : (floatv)0;
        vstorev(value, AT(channel), gx);
    }
}
