/* Cross-entropy of soft targets: torch.nn.CrossEntropyLoss with `weight` and `label_smoothing`. */
#include "common.clh"

#include "classes.clh"

/* As the kernel loss of loss.cl. With s for `smoothing` and C classes, the loss of an image of class t is
   (1 - s) w[t] log(1/p[t]) + s/C (sum over c of w[c] log(1/p[c])); `total` is the sum of the weights w. */
kernel void loss_soft(global const float *output, global const int *labels, global const float *weights, int classes,
                      int vectors, int n, float smoothing, float total, float grad_scale, global float *gradient,
                      global float *statistics, ulong slot, int accumulate, local float *scratch, local int *winners) {
    int column = get_group_id(0);
    intv image = column * VW + lane_numbers(), real = image < n;
    intv label = select((intv)-1, vloadv(column, labels), real), winner;
    floatv largest = largest_of(output, classes, vectors, column, scratch, winners, &winner);
    floatv sum = 0, mix = 0, own = 0, right = 0;
    float shared = smoothing / classes;
    for (int c = get_local_id(0); c < classes; c += get_local_size(0)) {
        floatv z = vloadv(c * vectors + column, output) - largest;
        sum += exp(z);
        mix = fma((floatv)weights[c], z, mix);
        own = select(own, (floatv)weights[c], label == c);
        right = select(right, z, label == c);
    }
    sum = group_sum(sum, scratch);
    mix = group_sum(mix, scratch);
    own = group_sum(own, scratch) * (1 - smoothing);
    right = group_sum(right, scratch);
    intv usable = (label >= 0) & (label < classes);
    for (int c = get_local_id(0); gradient && c < classes; c += get_local_size(0)) {
        floatv share = exp(vloadv(c * vectors + column, output) - largest) / sum * (own + shared * total);
        share -= shared * weights[c] + select((floatv)0, own, label == c);
        vstorev(select((floatv)0, share * grad_scale, usable), c * vectors + column, gradient);
    }
    if (get_local_id(0) == 0 && statistics) {
        floatv losses = own * (log(sum) - right) + shared * (total * log(sum) - mix);
        losses = select((floatv)0, select((floatv)NAN, losses, usable), real);
        keep_statistics(statistics, slot, vectors, column, losses, label == winner, accumulate);
    }
}
