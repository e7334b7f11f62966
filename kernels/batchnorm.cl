/* Batch normalisation over [channel][row][column][image].

   Sums read a channel as `columns` columns of vectors, `steps` vectors long and `stride` floats apart: the pitch in
   vectors and one step per pixel, where lanes of the last columns are padding; or, where the batch fills its pitch, one
   column that is the channel from end to end.

   A channel is either one work-item's (normalise_channel, gradient_channel), whose core finds it in its cache when it
   reads it again, or cut into blocks: a work-group takes `block` steps of it (group x is the block, group y the channel
   after `first_channel`), of which `across` items stand side by side in the columns, and leaves its sums in
   `partials[channel][sum][block]`; those are put together by each work-group of the kernel that follows. */
#include "common.clh"
#include "activation.clh"

/* Vectors whose mean is taken before their squares: the statistics of a chunk are exact about its own mean. */
#define CHUNK 8

/* Count, mean and sum of squared deviations from the mean. */
typedef struct moments {
    float count, mean, squares;
} moments;

/* Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979. */
static void merge(moments *a, moments b) {
    float count = a->count + b.count, delta = b.mean - a->mean, share = count > 0 ? b.count / count : 0;
    a->mean += delta * share;
    a->squares += b.squares + delta * delta * (a->count * share);
    a->count = count;
}

/* The sum over the first `lanes` lanes. */
static float sum_lanes(floatv v, int lanes) {
    return sumv(select((floatv)0, v, lane_numbers() < lanes));
}

/* Merges in the moments of x - pivot over steps first, first + every, ... before last: each lane for itself, then the
   lanes together. */
static void add_column(moments *to, global const float *x, float pivot, uint stride, uint first, uint last, uint every,
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
    merge(to, all);
}

/* The pivot is the channel's first value: a mean far from 0 costs no digits. `lanes` of the last column are images. */
kernel void statistics(global const float *x, ulong channel_floats, int first_channel, int columns, int lanes,
                       uint stride, uint steps, uint block, uint across, global float *partials, local float *scratch) {
    uint item = get_local_id(0), every = get_local_size(0) / across;
    ulong channel = first_channel + get_group_id(1);
    uint start = get_group_id(0) * block + item / across;
    uint end = min((uint)(get_group_id(0) + 1) * block, steps);
    moments all = {0, 0, 0};
    x += channel * channel_floats;
    for (int column = item % across; column < columns; column += across)
        add_column(&all, x + column * VW, x[0], stride, start, end, every, column == columns - 1 ? lanes : VW);
    local float *mine = scratch + 3 * item;
    mine[0] = all.count, mine[1] = all.mean, mine[2] = all.squares;
    for (uint active = get_local_size(0); active > 1; active = (active + 1) / 2) {
        uint half_way = (active + 1) / 2;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < active - half_way) {
            local const float *other = mine + 3 * half_way;
            moments a = {mine[0], mine[1], mine[2]}, b = {other[0], other[1], other[2]};
            merge(&a, b);
            mine[0] = a.count, mine[1] = a.mean, mine[2] = a.squares;
        }
    }
    if (item == 0)
        for (int k = 0; k < 3; k++)
            partials[(3 * channel + k) * get_num_groups(0) + get_group_id(0)] = mine[k];
}

/* The sums of both over the group's items, for all of them. */
static float2 group_sums(float2 values, local float *scratch) {
    uint item = get_local_id(0);
    vstore2(values, item, scratch);
    for (uint active = get_local_size(0); active > 1; active = (active + 1) / 2) {
        uint half_way = (active + 1) / 2;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < active - half_way)
            vstore2(vload2(item, scratch) + vload2(item + half_way, scratch), item, scratch);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    values = vload2(0, scratch);
    barrier(CLK_LOCAL_MEM_FENCE);
    return values;
}

#define EACH_VECTOR_OF_PARTIALS                                                                                        \
    uint at = get_local_id(0);                                                                                         \
    at *VW < blocks;                                                                                                   \
    at += get_local_size(0)

/* The moments of a channel from those of its blocks, for all items of the group. */
static void merge_blocks(global const float *partials, uint blocks, local float *scratch, moments *all) {
    global const float *means = partials + blocks, *squares = means + blocks;
    floatv counts = 0, sums = 0, rest = 0;
    for (EACH_VECTOR_OF_PARTIALS) {
        floatv count = load_part(partials, at, blocks);
        counts += count;
        sums = fma(count, load_part(means, at, blocks), sums);
    }
    float2 totals = group_sums((float2)(sumv(counts), sumv(sums)), scratch);
    all->count = totals.x;
    all->mean = totals.y / totals.x;
    for (EACH_VECTOR_OF_PARTIALS) {
        floatv delta = load_part(means, at, blocks) - all->mean;
        rest += fma(delta * delta, load_part(partials, at, blocks), load_part(squares, at, blocks));
    }
    all->squares = group_sums((float2)(sumv(rest), 0), scratch).x;
}

/* Updates the running statistics (NULL: none) and keeps what backward needs. */
static void keep_statistics(moments all, ulong channel, float eps, float momentum, global float *running_mean,
                            global float *running_var, global float *saved_mean, global float *saved_invstd) {
    saved_mean[channel] = all.mean;
    saved_invstd[channel] = 1 / sqrt(all.squares / all.count + eps);
    if (running_mean)
        running_mean[channel] += momentum * (all.mean - running_mean[channel]);
    if (running_var)
        running_var[channel] += momentum * (all.squares / (all.count - 1) - running_var[channel]);
}

/* What follows where a kernel `activates`: ReLU, or the further activation that the program is built for. */
#if ACTIVATION < CVY_FIRST_FURTHER
#define OUTPUT(y) RELU(y)
#define GRADIENT(y, gy) select(gy, (floatv)0, (y) <= 0)
#else
#define OUTPUT(y) further_output(y, 0, 0)
#define GRADIENT(y, gy) further_gradient_of_input(y, gy)
#endif

/* y = (x - center) * scale + shift, then the activation where it `activates`. */
static inline floatv normalised(floatv x, float center, float scale, float shift, int activates) {
    floatv v = fma(x - center, (floatv)scale, (floatv)shift);
    return activates ? OUTPUT(v) : v;
}

/* Of vectors first, first + every, ... before end. */
static void normalise_vectors(global const float *x, float center, float scale, float shift, int activates,
                              global float *y, uint first, uint end, uint every) {
    for (uint at = first; at < end; at += every)
        vstorev(normalised(vloadv(at, x), center, scale, shift, activates), at, y);
}

/* With the channel's own statistics, from the partials that `statistics` left in `partial_blocks` blocks. Group x takes
   `block` of the channel's `vectors` vectors. */
kernel void normalise_batch(global const float *x, ulong channel_floats, global const float *partials,
                            uint partial_blocks, float eps, float momentum, global const float *weight,
                            global const float *bias, global float *y, int activates, global float *running_mean,
                            global float *running_var, global float *saved_mean, global float *saved_invstd,
                            uint vectors, int first_channel, uint block, local float *scratch) {
    ulong channel = first_channel + get_group_id(1);
    moments all;
    merge_blocks(partials + 3 * channel * partial_blocks, partial_blocks, scratch, &all);
    float scale = 1 / sqrt(all.squares / all.count + eps), shift = bias ? bias[channel] : 0;
    if (weight)
        scale *= weight[channel];
    x += channel * channel_floats;
    all.mean += x[0];
    if (get_group_id(0) == 0 && get_local_id(0) == 0)
        keep_statistics(all, channel, eps, momentum, running_mean, running_var, saved_mean, saved_invstd);
    normalise_vectors(x, all.mean, scale, shift, activates, y + channel * channel_floats,
                      get_group_id(0) * block + get_local_id(0), min((uint)(get_group_id(0) + 1) * block, vectors),
                      get_local_size(0));
}

/* Statistics and normalisation of a whole channel. The second reading goes from the last block to the first: the last
   is the surest to be in the cache still. `stream`: y is larger than the caches. */
kernel void normalise_channel(global const float *x, ulong channel_floats, int columns, int lanes, uint stride,
                              uint steps, uint block, float eps, float momentum, global const float *weight,
                              global const float *bias, global float *y, int activates, global float *running_mean,
                              global float *running_var, global float *saved_mean, global float *saved_invstd,
                              int stream) {
    ulong channel = get_group_id(0);
    moments all = {0, 0, 0};
    x += channel * channel_floats;
    y += channel * channel_floats;
    for (uint start = 0; start < steps; start += block)
        for (int column = 0; column < columns; column++)
            add_column(&all, x + column * VW, x[0], stride, start, min(start + block, steps), 1,
                       column == columns - 1 ? lanes : VW);
    float scale = 1 / sqrt(all.squares / all.count + eps), shift = bias ? bias[channel] : 0;
    if (weight)
        scale *= weight[channel];
    all.mean += x[0];
    keep_statistics(all, channel, eps, momentum, running_mean, running_var, saved_mean, saved_invstd);
    uint vectors = channel_floats / VW;
    for (uint left = (vectors + block - 1) / block; left-- > 0;) {
        uint first = left * block, end = min(first + block, vectors);
        if (stream)
            for (uint at = first; at < end; at++)
                stream_storev(normalised(vloadv(at, x), all.mean, scale, shift, activates), at, y);
        else
            normalise_vectors(x, all.mean, scale, shift, activates, y, first, end, 1);
    }
}

/* With given statistics: evaluation. Group x takes `block` of the channel's `vectors` vectors. */
kernel void normalise(global const float *x, global const float *mean, global const float *variance, float eps,
                      global const float *weight, global const float *bias, global float *y, int activates,
                      uint vectors, uint block) {
    ulong channel = get_group_id(1), offset = channel * vectors * VW;
    float scale = 1 / sqrt(variance[channel] + eps), shift = bias ? bias[channel] : 0;
    if (weight)
        scale *= weight[channel];
    normalise_vectors(x + offset, mean[channel], scale, shift, activates, y + offset,
                      get_group_id(0) * block + get_local_id(0), min((uint)(get_group_id(0) + 1) * block, vectors),
                      get_local_size(0));
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

/* What backward knows of a channel. */
typedef struct channel_facts {
    float center, invstd, factor, shift;
} channel_facts;

static void find_facts(ulong channel, global const float *saved_mean, global const float *saved_invstd,
                       global const float *weight, global const float *bias, channel_facts *facts) {
    facts->center = saved_mean[channel];
    facts->invstd = saved_invstd[channel];
    facts->factor = weight ? facts->invstd * weight[channel] : facts->invstd;
    facts->shift = bias ? bias[channel] : 0;
}

/* gy in front of the activation, whose input is computed again from x - mean by the same operations as in
   `normalise`. */
static inline floatv pass(floatv gy, floatv centered, channel_facts facts, int activates) {
    return activates ? GRADIENT(fma(centered, (floatv)facts.factor, (floatv)facts.shift), gy) : gy;
}

/* Sums of gy and of gy * (x - mean) over steps first, first + every, ... before last of one column. */
static float2 column_sums(global const float *x, global const float *gy, channel_facts facts, int activates,
                          uint stride, uint first, uint last, uint every, int lanes) {
    floatv sums = 0, products = 0;
    for (uint step = first; step < last;) {
        floatv chunk_sums = 0, chunk_products = 0;
        for (uint k = 0; k < CHUNK && step < last; k++, step += every) {
            floatv centered = vloadv(0, x + (ulong)step * stride) - facts.center;
            floatv g = pass(vloadv(0, gy + (ulong)step * stride), centered, facts, activates);
            chunk_sums += g;
            chunk_products = fma(g, centered, chunk_products);
        }
        sums += chunk_sums;
        products += chunk_products;
    }
    return (float2)(sum_lanes(sums, lanes), sum_lanes(products, lanes));
}

/* Kahan's compensated sum: these are small differences of large numbers. */
typedef struct careful_sums {
    float2 sum, rest;
} careful_sums;

static void add_carefully(careful_sums *to, float2 values) {
    float2 next = values - to->rest, total = to->sum + next;
    to->rest = (total - to->sum) - next;
    to->sum = total;
}

/* gweight and gbias (NULL: not wanted) from the channel's sums. */
static void keep_gradients(float2 sums, ulong channel, float invstd, global float *gweight, global float *gbias,
                           int accumulate) {
    if (gbias)
        gbias[channel] = accumulate ? gbias[channel] + sums.x : sums.x;
    if (gweight)
        gweight[channel] = accumulate ? gweight[channel] + sums.y * invstd : sums.y * invstd;
}

/* gx = (gy - mean of gy - (x - mean) * slope) * factor, and 0 from lane `n` of each `columns` vectors on, of vectors
   first, first + every, ... before end; `means` are the sums over the number of values. */
static void gradient_vectors(global const float *x, global const float *gy, channel_facts facts, int activates,
                             float2 means, global float *gx, int columns, int n, uint first, uint end, uint every) {
    float slope = means.y * facts.invstd * facts.invstd;
    for (uint at = first; at < end; at += every) {
        floatv centered = vloadv(at, x) - facts.center;
        floatv g = pass(vloadv(at, gy), centered, facts, activates) - means.x;
        g = fma(centered, (floatv)-slope, g) * facts.factor;
        if (n < columns * VW)
            g = select((floatv)0, g, (int)(at % (uint)columns) * VW + lane_numbers() < n);
        vstorev(g, at, gx);
    }
}

/* Over the same columns as `statistics`. */
kernel void gradient_sums(global const float *x, global const float *gy, global const float *saved_mean,
                          global const float *saved_invstd, global const float *weight, global const float *bias,
                          int activates, ulong channel_floats, int first_channel, int columns, int lanes, uint stride,
                          uint steps, uint block, uint across, global float *partials, local float *scratch) {
    uint item = get_local_id(0), every = get_local_size(0) / across;
    ulong channel = first_channel + get_group_id(1);
    uint end = min((uint)(get_group_id(0) + 1) * block, steps);
    channel_facts facts;
    find_facts(channel, saved_mean, saved_invstd, weight, bias, &facts);
    float2 sums = 0;
    for (int column = item % across; column < columns; column += across) {
        ulong offset = channel * channel_floats + column * VW;
        sums += column_sums(x + offset, gy + offset, facts, activates, stride, get_group_id(0) * block + item / across,
                            end, every, column == columns - 1 ? lanes : VW);
    }
    sums = group_sums(sums, scratch);
    if (item == 0) {
        partials[2 * channel * get_num_groups(0) + get_group_id(0)] = sums.x;
        partials[(2 * channel + 1) * get_num_groups(0) + get_group_id(0)] = sums.y;
    }
}

/* From the partials that `gradient_sums` left in `partial_blocks` blocks; `count` is the number of values in a channel.
   Group x takes `block` of the channel's `vectors` vectors. */
kernel void gradient(global const float *x, global const float *gy, global const float *saved_mean,
                     global const float *saved_invstd, global const float *weight, global const float *bias,
                     int activates, global const float *partials, uint partial_blocks, float count, global float *gx,
                     global float *gweight, global float *gbias, int accumulate, uint vectors, int first_channel,
                     int columns, int n, uint block, local float *scratch) {
    ulong channel = first_channel + get_group_id(1), offset = channel * vectors * VW;
    channel_facts facts;
    find_facts(channel, saved_mean, saved_invstd, weight, bias, &facts);
    careful_sums sums = {0, 0};
    partials += 2 * channel * partial_blocks;
    for (uint at = get_local_id(0); at < partial_blocks; at += get_local_size(0))
        add_carefully(&sums, (float2)(partials[at], partials[partial_blocks + at]));
    float2 totals = group_sums(sums.sum, scratch);
    if (get_group_id(0) == 0 && get_local_id(0) == 0)
        keep_gradients(totals, channel, facts.invstd, gweight, gbias, accumulate);
    gradient_vectors(x + offset, gy + offset, facts, activates, totals / count, gx + offset, columns, n,
                     get_group_id(0) * block + get_local_id(0), min((uint)(get_group_id(0) + 1) * block, vectors),
                     get_local_size(0));
}

/* All of backward for a whole channel; the second reading as in `normalise_channel`. */
kernel void gradient_channel(global const float *x, global const float *gy, global const float *saved_mean,
                             global const float *saved_invstd, global const float *weight, global const float *bias,
                             int activates, ulong channel_floats, int columns, int lanes, uint stride, uint steps,
                             uint block, float count, global float *gx, global float *gweight, global float *gbias,
                             int accumulate, int vectors_of_images, int n) {
    ulong channel = get_group_id(0), offset = channel * channel_floats;
    channel_facts facts;
    find_facts(channel, saved_mean, saved_invstd, weight, bias, &facts);
    careful_sums sums = {0, 0};
    x += offset, gy += offset, gx += offset;
    for (uint start = 0; start < steps; start += block)
        for (int column = 0; column < columns; column++)
            add_carefully(&sums, column_sums(x + column * VW, gy + column * VW, facts, activates, stride, start,
                                             min(start + block, steps), 1, column == columns - 1 ? lanes : VW));
    keep_gradients(sums.sum, channel, facts.invstd, gweight, gbias, accumulate);
    uint vectors = channel_floats / VW;
    for (uint left = (vectors + block - 1) / block; left-- > 0;)
        gradient_vectors(x, gy, facts, activates, sums.sum / count, gx, vectors_of_images, n, left * block,
                         min((left + 1) * block, vectors), 1);
}
