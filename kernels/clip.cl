/* The norm of a row of `count` floats, in two stages, and scaling by what it comes to. */
#include "common.clh"

/* Group x squares vectors x * block ... + block, one item after the other. */
kernel void square_blocks(global const float *values, ulong count, uint block, global float *partials,
                          local float *scratch) {
    ulong end = min((get_group_id(0) + 1) * (ulong)block, (count + VW - 1) / VW);
    floatv sum = 0;
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); at < end; at += get_local_size(0)) {
        floatv v = load_part(values, at, count);
        sum = fma(v, v, sum);
    }
    scratch[get_local_id(0)] = sumv(sum);
    for (uint half_way = get_local_size(0) / 2; half_way > 0; half_way /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (get_local_id(0) < half_way)
            scratch[get_local_id(0)] += scratch[get_local_id(0) + half_way];
    }
    if (get_local_id(0) == 0)
        partials[get_group_id(0)] = scratch[0];
}

/* torch.nn.utils.clip_grad_norm_: values times min(1, limit / (norm + 1e-6)). Each group adds up all `blocks` partials
   in the same order. */
kernel void scale_to_norm(global float *values, ulong count, uint block, global const float *partials, uint blocks,
                          float limit) {
    float sum = 0, rest = 0;
    for (uint i = 0; i < blocks; i++) { /* Kahan's compensated sum */
        float next = partials[i] - rest, total = sum + next;
        rest = (total - sum) - next;
        sum = total;
    }
    float factor = limit / (sqrt(sum) + 1e-6f);
    ulong end = min((get_group_id(0) + 1) * (ulong)block, (count + VW - 1) / VW);
    for (ulong at = get_group_id(0) * (ulong)block + get_local_id(0); factor < 1 && at < end; at += get_local_size(0))
        store_part(load_part(values, at, count) * factor, at, values, count);
}
