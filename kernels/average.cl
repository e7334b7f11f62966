/* A running average of a row of `count` floats; group x takes vectors x * block ... + block. */
#include "common.clh"

/* torch.lerp: average + (values - average) * weight, exact where the weight is 1. */
kernel void average(global const float *values, global float *averages, ulong count, uint block, float weight) {
    ulong end = min((get_group_id(0) + 1) * (ulong)block, (count + VW - 1) / VW);
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0)) {
        floatv from = load_part(averages, at, count), to = load_part(values, at, count);
        floatv mixed = weight < 0.5f ? fma(to - from, (floatv)weight, from) : fma(from - to, (floatv)(1 - weight), to);
        store_part(mixed, at, averages, count);
    }
}
