/* Cross-entropy of images that are mixed with their partners: torch.nn.CrossEntropyLoss of probabilities. */
#include "common.clh"

#include "classes.clh"

/* The class of each image before those of a vector; of the first one, the last image's. */
static intv partners_of(global const int *labels, int column, int n) {
    int lanes[VW];
    for (int lane = 0; lane < VW; lane++) {
        int image = column * VW + lane;
        lanes[lane] = image < n ? labels[image ? image - 1 : n - 1] : -1;
    }
    return vloadv(0, lanes);
}

/* What class c counts in the loss: its part of the target, after smoothing, times its weight. */
static floatv part_of(int c, intv label, intv partner, float own, float smoothing, int classes, float weight) {
    floatv part = select((floatv)0, (floatv)own, label == c) + select((floatv)0, (floatv)(1 - own), partner == c);
    return fma(part, (floatv)(1 - smoothing), (floatv)(smoothing / classes)) * weight;
}

/* As the kernel loss_soft of loss_soft.cl. own: an image's share of its target. An answer is right that is the class of
   the larger share. */
kernel void loss_mixed(global const float *output, global const int *labels, global const float *weights, int classes,
                       int vectors, int n, float smoothing, float own, float grad_scale, global float *gradient,
                       global float *statistics, ulong slot, int accumulate, local float *scratch, local int *winners) {
    int column = get_group_id(0);
    intv real = column * VW + lane_numbers() < n, winner;
    intv label = select((intv)-1, vloadv(column, labels), real), partner = partners_of(labels, column, n);
    floatv largest = largest_of(output, classes, vectors, column, scratch, winners, &winner);
    floatv sum = 0, cross = 0, total = 0;
    for (int c = get_local_id(0); c < classes; c += get_local_size(0)) {
        floatv z = vloadv(c * vectors + column, output) - largest;
        floatv part = part_of(c, label, partner, own, smoothing, classes, weights[c]);
        sum += exp(z);
        cross = fma(part, z, cross);
        total += part;
    }
    sum = group_sum(sum, scratch);
    cross = group_sum(cross, scratch);
    total = group_sum(total, scratch);
    intv usable = (label >= 0) & (label < classes) & (partner >= 0) & (partner < classes);
    for (int c = get_local_id(0); gradient && c < classes; c += get_local_size(0)) {
        floatv share = exp(vloadv(c * vectors + column, output) - largest) / sum * total;
        share -= part_of(c, label, partner, own, smoothing, classes, weights[c]);
        vstorev(select((floatv)0, share * grad_scale, usable), c * vectors + column, gradient);
    }
    if (get_local_id(0) == 0 && statistics) {
        floatv losses = select((floatv)NAN, total * log(sum) - cross, usable);
        intv right = (own >= 0.5f ? label : partner) == winner;
        keep_statistics(statistics, slot, vectors, column, select((floatv)0, losses, real), right && real, accumulate);
    }
}
