/* Softmax and losses over [classes][image]. */
#include "common.clh"

#include "classes.clh"

/* `vectors` is the pitch in vectors. In place is allowed. */
kernel void softmax_forward(global const float *x, global float *y, ulong classes, ulong vectors,
                            local float *scratch) {
    ulong column = get_group_id(0);
    floatv largest = -INFINITY, sum = 0;
    for (EACH_CLASS_OF_MINE)
        largest = fmax(largest, vloadv(c * vectors + column, x));
    barrier(CLK_LOCAL_MEM_FENCE);
    vstorev(largest, get_local_id(0), scratch);
    MERGE_ITEMS(vstorev(fmax(vloadv(mine, scratch), vloadv(other, scratch)), mine, scratch);)
    largest = vloadv(0, scratch);
    for (EACH_CLASS_OF_MINE) {
        floatv value = exp(vloadv(c * vectors + column, x) - largest);
        vstorev(value, c * vectors + column, y);
        sum += value;
    }
    sum = group_sum(sum, scratch);
    for (EACH_CLASS_OF_MINE)
        vstorev(vloadv(c * vectors + column, y) / sum, c * vectors + column, y);
}

kernel void softmax_backward(global const float *y, global const float *gy, global float *gx, ulong classes,
                             ulong vectors, local float *scratch) {
    ulong column = get_group_id(0);
    floatv sum = 0;
    for (EACH_CLASS_OF_MINE)
        sum = fma(vloadv(c * vectors + column, y), vloadv(c * vectors + column, gy), sum);
    sum = group_sum(sum, scratch);
    for (EACH_CLASS_OF_MINE) {
        ulong at = c * vectors + column;
        vstorev(vloadv(at, y) * (vloadv(at, gy) - sum), at, gx);
    }
}

/* Cross-entropy of z = sign * output: -z[label] + log(sum of exp(z)). With sign = -1 and `rejection`, one more class
   at z = -1 that is never right, this is LeNet-5's criterion. gradient and predictions may be NULL. statistics (or
   NULL): pairs [slot][vectors]; each work-group leaves its images' sum of losses and number of right answers in its own
   pair, or adds them to what is there. */
kernel void loss(global const float *output, global const int *labels, int classes, int vectors, int n, float sign,
                 int rejection, float grad_scale, global float *gradient, global float *statistics, ulong slot,
                 int accumulate, global int *predictions, ulong prediction_offset, local float *scratch,
                 local int *winners) {
    int column = get_group_id(0);
    intv image = column * VW + lane_numbers(), real = image < n;
    intv label = select((intv)-1, vloadv(column, labels), real), winner = (int)get_local_id(0);
    floatv largest = sign * vloadv(get_local_id(0) * vectors + column, output), sum = 0;
    for (int c = get_local_id(0) + get_local_size(0); c < classes; c += get_local_size(0)) {
        floatv z = sign * vloadv(c * vectors + column, output);
        intv wins = precedes(z, (intv)c, largest, winner);
        largest = select(largest, z, wins);
        winner = select(winner, (intv)c, wins);
    }
    largest = group_largest(largest, winner, scratch, winners, &winner);
    if (rejection)
        largest = select(largest, (floatv)-1, largest < -1);
    for (int c = get_local_id(0); c < classes; c += get_local_size(0))
        sum += exp(sign * vloadv(c * vectors + column, output) - largest);
    sum = group_sum(sum, scratch);
    if (rejection)
        sum += exp(-1 - largest);
    intv usable = (label >= 0) & (label < classes);
    for (int c = get_local_id(0); gradient && c < classes; c += get_local_size(0)) {
        floatv share = exp(sign * vloadv(c * vectors + column, output) - largest) / sum;
        share -= select((floatv)0, (floatv)1, label == c);
        vstorev(select((floatv)0, share * (sign * grad_scale), usable), c * vectors + column, gradient);
    }
    if (get_local_id(0) == 0) {
        int chosen[VW], right[VW];
        float outputs[VW];
        vstorev(winner, 0, chosen);
        vstorev(select((intv)-1, label, usable), 0, right);
        for (int lane = 0; lane < VW; lane++) {
            outputs[lane] = right[lane] < 0 ? NAN : sign * output[(right[lane] * vectors + column) * VW + lane];
            if (predictions && column * VW + lane < n)
                predictions[prediction_offset + column * VW + lane] = chosen[lane];
        }
        floatv losses = select((floatv)0, log(sum) - (vloadv(0, outputs) - largest), real);
        if (statistics)
            keep_statistics(statistics, slot, vectors, column, losses, label == winner, accumulate);
    }
}
