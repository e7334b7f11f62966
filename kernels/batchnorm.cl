/* Batch normalisation over [channel][row][column][image].

   Statistics read a channel as `columns` columns of vectors, `steps` vectors long and `stride` floats apart: the pitch
   in vectors and one step per pixel, where lanes of the last columns are padding; or, where the batch fills its pitch,
   one column that is the channel from end to end. A work-group takes `block` steps of one channel (group x is the
   block, group y the channel after `first_channel`); `across` of its items stand side by side in the columns.

   Each block leaves its partial result in `partials[channel][block]`, and one work-item per channel finishes. */
#include "common.clh"
#include "activation.clh"

/* Vectors whose mean is taken before their squares: the statistics of a chunk are exact about its own mean. */
#define CHUNK 8

/* Count, mean and sum of squared deviations from the mean. */
typedef struct moments {
    float count, mean, squares;
} moments;

/* Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979. */
static moments merge(moments a, moments b) {
    moments both;
    both.count = a.count + b.count;
    float delta = b.mean - a.mean, share = both.count > 0 ? b.count / both.count : 0;
    both.mean = a.mean + delta * share;
    both.squares = a.squares + b.squares + delta * delta * (a.count * share);
    return both;
}

/* The sum over the first `lanes` lanes. */
static float sum_lanes(floatv v, int lanes) {
    return sumv(select((floatv)0, v, lane_numbers() < lanes));
}

/* Moments of x - pivot over steps first, first + every, ... before last: each lane for itself, then the lanes
   together. */
static moments column_moments(global const float *x, float pivot, uint stride, uint first, uint last, uint every,
                              int lanes) {
    floatv mean = 0, squares = 0;
    float count = 0;
    uint step = first;
    for (; step + (CHUNK - 1) * every < last; step += CHUNK * every) {
        floatv v[CHUNK], center = 0, chunk_squares = 0;
        for (uint k = 0; k < CHUNK; k++) {
            v[k] = vloadv(0, x + (ulong)(step + k * every) * stride) - pivot;
            center += v[k];
        }
        center *= 1.0f / CHUNK;
        for (uint k = 0; k < CHUNK; k++)
            chunk_squares = fma(v[k] - center, v[k] - center, chunk_squares);
        floatv delta = center - mean;
        float share = CHUNK / (count + CHUNK);
        mean = fma(delta, (floatv)share, mean);
        squares += fma(delta * delta, (floatv)(count * share), chunk_squares);
        count += CHUNK;
    }
    for (; step < last; step += every) {
        floatv v = vloadv(0, x + (ulong)step * stride) - pivot, delta = v - mean;
        count += 1;
        mean = fma(delta, (floatv)(1 / count), mean);
        squares = fma(delta, v - mean, squares);
    }
    moments all;
    all.count = count * lanes;
    all.mean = sum_lanes(mean, lanes) / lanes;
    all.squares = sum_lanes(fma((mean - all.mean) * (mean - all.mean), (floatv)count, squares), lanes);
    return all;
}

/* `lanes` of the last column are images. Writes partials[channel][block] = count, mean, squares of x - pivot, where the
   pivot is the channel's first value: a mean far from 0 costs no digits. */
kernel void statistics(global const float *x, ulong channel_floats, int first_channel, int columns, int lanes,
                       uint stride, uint steps, uint block, uint across, global float *partials,
                       local float *scratch) {
    uint item = get_local_id(0), every = get_local_size(0) / across;
    ulong channel = first_channel + get_group_id(1);
    uint start = get_group_id(0) * block + item / across;
    uint end = min((uint)(get_group_id(0) + 1) * block, steps);
    moments all = {0, 0, 0};
    x += channel * channel_floats;
    for (int column = item % across; column < columns; column += across)
        all = merge(all, column_moments(x + column * VW, x[0], stride, start, end, every,
                                        column == columns - 1 ? lanes : VW));
    local float *mine = scratch + 3 * item;
    mine[0] = all.count, mine[1] = all.mean, mine[2] = all.squares;
    for (uint active = get_local_size(0); active > 1; active = (active + 1) / 2) {
        uint half_way = (active + 1) / 2;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < active - half_way) {
            local const float *other = mine + 3 * half_way;
            moments a = {mine[0], mine[1], mine[2]}, b = {other[0], other[1], other[2]};
            a = merge(a, b);
            mine[0] = a.count, mine[1] = a.mean, mine[2] = a.squares;
        }
    }
    if (item == 0) {
        global float *to = partials + 3 * (channel * get_num_groups(0) + get_group_id(0));
        to[0] = mine[0], to[1] = mine[1], to[2] = mine[2];
    }
}

/* One work-item per channel: merges its `blocks` partials, and updates the running statistics (NULL: none). */
kernel void finish_statistics(global const float *x, ulong channel_floats, global const float *partials, uint blocks,
                              int first_channel, int end_channel, float eps, float momentum,
                              global float *running_mean, global float *running_var, global float *saved_mean,
                              global float *saved_invstd) {
    int channel = first_channel + get_global_id(0);
    if (channel >= end_channel)
        return;
    moments all = {0, 0, 0};
    for (uint block = 0; block < blocks; block++) {
        global const float *from = partials + 3 * ((ulong)channel * blocks + block);
        moments next = {from[0], from[1], from[2]};
        all = merge(all, next);
    }
    float mean = all.mean + x[channel * channel_floats];
    saved_mean[channel] = mean;
    saved_invstd[channel] = 1 / sqrt(all.squares / all.count + eps);
    if (running_mean)
        running_mean[channel] += momentum * (mean - running_mean[channel]);
    if (running_var)
        running_var[channel] += momentum * (all.squares / (all.count - 1) - running_var[channel]);
}

/* y = (x - mean) * invstd * weight + bias, then ReLU where `relu`; `spread` is invstd, or the variance where `is_variance`. Group x takes
   `block` of the channel's `vectors` vectors. */
kernel void normalise(global const float *x, global const float *mean, global const float *spread, int is_variance,
                      float eps, global const float *weight, global const float *bias, global float *y, int relu,
                      uint vectors, int first_channel, uint block) {
    ulong channel = first_channel + get_group_id(1);
    float center = mean[channel], shift = bias ? bias[channel] : 0;
    float scale = is_variance ? 1 / sqrt(spread[channel] + eps) : spread[channel];
    if (weight)
        scale *= weight[channel];
    ulong offset = channel * vectors;
    uint end = min((uint)(get_group_id(0) + 1) * block, vectors);
    for (uint at = get_group_id(0) * block + get_local_id(0); at < end; at += get_local_size(0)) {
        floatv v = fma(vloadv(offset + at, x) - center, (floatv)scale, (floatv)shift);
        vstorev(relu ? RELU(v) : v, offset + at, y);
    }
}

/* The normalisation of evaluation as part of a convolution: its `row` weights of each channel scaled, its bias (NULL:
   none) scaled and shifted. One work-item per weight: (within the row, channel). */
kernel void fold(global const float *conv_weight, global const float *conv_bias, global const float *weight,
                 global const float *bias, global const float *running_mean, global const float *running_var, float eps,
                 ulong row, global float *folded_weight, global float *folded_bias) {
    ulong i = get_global_id(0), channel = get_global_id(1);
    if (i >= row)
        return;
    float scale = 1 / sqrt(running_var[channel] + eps);
    if (weight)
        scale *= weight[channel];
    folded_weight[channel * row + i] = conv_weight[channel * row + i] * scale;
    if (i == 0)
        folded_bias[channel] =
            fma((conv_bias ? conv_bias[channel] : 0) - running_mean[channel], scale, bias ? bias[channel] : 0);
}

/* gy where ReLU let the output through, computed again from x - mean by the same operations as in `normalise`. */
static inline floatv pass(floatv gy, floatv centered, float scale, float shift, int relu) {
    return relu ? select(gy, (floatv)0, fma(centered, (floatv)scale, (floatv)shift) <= 0) : gy;
}

/* partials[channel][block] = sum of gy, sum of gy * (x - mean), over the same columns as `statistics`. */
kernel void gradient_sums(global const float *x, global const float *gy, global const float *saved_mean,
                          global const float *saved_invstd, global const float *weight, global const float *bias,
                          int relu, ulong channel_floats, int first_channel, int columns, int lanes, uint stride, uint steps,
                          uint block, uint across, global float *partials, local float *scratch) {
    uint item = get_local_id(0), every = get_local_size(0) / across;
    ulong channel = first_channel + get_group_id(1);
    uint end = min((uint)(get_group_id(0) + 1) * block, steps);
    float center = saved_mean[channel], shift = bias ? bias[channel] : 0, sum = 0, product = 0;
    float scale = weight ? saved_invstd[channel] * weight[channel] : saved_invstd[channel];
    for (int column = item % across; column < columns; column += across) {
        ulong offset = channel * channel_floats + column * VW;
        floatv sums = 0, products = 0;
        for (uint step = get_group_id(0) * block + item / across; step < end;) {
            floatv chunk_sums = 0, chunk_products = 0;
            for (uint k = 0; k < CHUNK && step < end; k++, step += every) {
                floatv centered = vloadv(0, x + offset + (ulong)step * stride) - center;
                floatv g = pass(vloadv(0, gy + offset + (ulong)step * stride), centered, scale, shift, relu);
                chunk_sums += g;
                chunk_products = fma(g, centered, chunk_products);
            }
            sums += chunk_sums;
            products += chunk_products;
        }
        int filled = column == columns - 1 ? lanes : VW;
        sum += sum_lanes(sums, filled);
        product += sum_lanes(products, filled);
    }
    local float *mine = scratch + 2 * item;
    mine[0] = sum, mine[1] = product;
    for (uint active = get_local_size(0); active > 1; active = (active + 1) / 2) {
        uint half_way = (active + 1) / 2;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < active - half_way) {
            mine[0] += mine[2 * half_way];
            mine[1] += mine[2 * half_way + 1];
        }
    }
    if (item == 0) {
        global float *to = partials + 2 * (channel * get_num_groups(0) + get_group_id(0));
        to[0] = mine[0], to[1] = mine[1];
    }
}

/* One work-item per channel: gweight and gbias (NULL: not wanted), and behind the partials of all `channels` the
   channel's coefficients: the mean of gy, the slope over x - mean, the factor. `count` is the number of values in a
   channel. */
kernel void finish_gradient(global float *partials, uint blocks, int first_channel, int end_channel, int channels,
                            float count, global const float *saved_invstd, global const float *weight,
                            global float *gweight, global float *gbias, int accumulate) {
    int channel = first_channel + get_global_id(0);
    if (channel >= end_channel)
        return;
    global float *coefficients = partials + 2 * (ulong)channels * blocks;
    float sum = 0, product = 0, sum_rest = 0, product_rest = 0; /* Kahan's compensated sums */
    for (uint block = 0; block < blocks; block++) {
        global const float *from = partials + 2 * ((ulong)channel * blocks + block);
        float next = from[0] - sum_rest, total = sum + next;
        sum_rest = (total - sum) - next;
        sum = total;
        next = from[1] - product_rest, total = product + next;
        product_rest = (total - product) - next;
        product = total;
    }
    float invstd = saved_invstd[channel];
    coefficients[3 * channel] = sum / count;
    coefficients[3 * channel + 1] = product / count * invstd * invstd;
    coefficients[3 * channel + 2] = weight ? invstd * weight[channel] : invstd;
    if (gbias)
        gbias[channel] = accumulate ? gbias[channel] + sum : sum;
    if (gweight)
        gweight[channel] = accumulate ? gweight[channel] + product * invstd : product * invstd;
}

/* gx = (gy - mean of gy - (x - mean) * slope) * factor, and 0 from lane `n` of each `columns` vectors on. */
kernel void gradient(global const float *x, global const float *gy, global const float *saved_mean,
                     global const float *bias, int relu, global const float *workspace, ulong coefficients_at, global float *gx, uint vectors,
                     int first_channel, int columns, int n, uint block) {
    ulong channel = first_channel + get_group_id(1);
    global const float *coefficients = workspace + coefficients_at + 3 * channel;
    float center = saved_mean[channel], shift = bias ? bias[channel] : 0;
    float level = coefficients[0], slope = coefficients[1], factor = coefficients[2];
    ulong offset = channel * vectors;
    uint end = min((uint)(get_group_id(0) + 1) * block, vectors);
    for (uint at = get_group_id(0) * block + get_local_id(0); at < end; at += get_local_size(0)) {
        floatv centered = vloadv(offset + at, x) - center;
        floatv g = pass(vloadv(offset + at, gy), centered, factor, shift, relu) - level;
        g = fma(centered, (floatv)-slope, g) * factor;
        if (n < columns * VW)
            g = select((floatv)0, g, (int)(at % (uint)columns) * VW + lane_numbers() < n);
        vstorev(g, offset + at, gx);
    }
}
