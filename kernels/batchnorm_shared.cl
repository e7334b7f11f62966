/* From the partials that batchnorm.cl's kernels leave in `blocks` blocks of a channel to one pair a channel, which the
   host puts together with those of other pieces of the batch. Pairs lie behind the partials: workspace[pairs + 2 *
   channel]. A work-item takes a channel. */
#include "common.clh"

/* Kahan's compensated sum. */
static void add_carefully(float *sum, float *rest, float value) {
    float next = value - *rest, total = *sum + next;
    *rest = (total - *sum) - next;
    *sum = total;
}

/* Mean and sum of squared deviations from it; `statistics` left them about the channel's first value. */
kernel void moments(global const float *x, ulong channel_floats, uint blocks, uint channels, ulong pairs,
                    global float *workspace) {
    uint channel = get_global_id(0);
    if (channel >= channels)
        return;
    global const float *counts = workspace + (ulong)3 * channel * blocks, *means = counts + blocks;
    global const float *squares = means + blocks;
    float count = 0, sum = 0, sum_rest = 0, all = 0, all_rest = 0;
    for (uint at = 0; at < blocks; at++) {
        count += counts[at];
        add_carefully(&sum, &sum_rest, counts[at] * means[at]);
    }
    float mean = sum / count;
    for (uint at = 0; at < blocks; at++)
        add_carefully(&all, &all_rest, fma((means[at] - mean) * (means[at] - mean), counts[at], squares[at]));
    workspace[pairs + 2 * channel] = mean + x[channel * channel_floats];
    workspace[pairs + 2 * channel + 1] = all;
}

/* Sums of gy and of gy * (x - mean), from `gradient_sums`; gweight and gbias (NULL: not wanted) are this piece's. */
kernel void sums(global const float *saved_invstd, uint blocks, uint channels, int accumulate, ulong pairs,
                 global float *workspace, global float *gweight, global float *gbias) {
    uint channel = get_global_id(0);
    if (channel >= channels)
        return;
    global const float *firsts = workspace + (ulong)2 * channel * blocks, *seconds = firsts + blocks;
    float first = 0, first_rest = 0, second = 0, second_rest = 0;
    for (uint at = 0; at < blocks; at++) {
        add_carefully(&first, &first_rest, firsts[at]);
        add_carefully(&second, &second_rest, seconds[at]);
    }
    if (gbias)
        gbias[channel] = accumulate ? gbias[channel] + first : first;
    if (gweight) {
        float product = second * saved_invstd[channel];
        gweight[channel] = accumulate ? gweight[channel] + product : product;
    }
    workspace[pairs + 2 * channel] = first;
    workspace[pairs + 2 * channel + 1] = second;
}
