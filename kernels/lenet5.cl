/* LeNet-5's own layers: subsampling and Euclidean radial-basis units. */
#include "common.clh"

/* y = weight[channel] * (sum of a window) + bias[channel]. Group y is the output row, group z the channel; `vectors` is
   the pitch in vectors. */
kernel void subsample_forward(global const float *x, global const float *weight, global const float *bias,
                              global float *y, int vectors, int in_height, int in_width, int size) {
    int row = get_group_id(1), channel = get_group_id(2), out_height = in_height / size, out_width = in_width / size;
    float scale = weight[channel], shift = bias[channel];
    for (int at = get_local_id(0); at < out_width * vectors; at += get_local_size(0)) {
        floatv sum = 0;
        for (int r = 0; r < size; r++)
            for (int c = 0; c < size; c++) {
                ulong pixel = ((ulong)channel * in_height + row * size + r) * in_width + at / vectors * size + c;
                sum += vloadv(pixel * vectors + at % vectors, x);
            }
        ulong out_row = (ulong)channel * out_height + row;
        vstorev(fma(sum, (floatv)scale, (floatv)shift), out_row * out_width * vectors + at, y);
    }
}

/* A group takes one row of windows, or what is left below them: writes gx (NULL: not wanted), and the row's share of
   the parameters' gradients: partials[channel][row of windows] = sum of gy * (sum of the window), sum of gy. */
kernel void subsample_backward(global const float *x, global const float *gy, global const float *weight,
                               global float *gx, global float *partials, int vectors, int in_height, int in_width,
                               int size, local float *scratch) {
    int row = get_group_id(1), channel = get_group_id(2), out_height = in_height / size, out_width = in_width / size;
    int cells = (in_width + size - 1) / size, item = get_local_id(0);
    floatv products = 0, sums = 0;
    for (int at = item; at < cells * vectors; at += get_local_size(0)) {
        int column = at / vectors;
        bool window = row < out_height && column < out_width;
        floatv g = 0, sum = 0;
        if (window)
            g = vloadv(((ulong)channel * out_height + row) * out_width * vectors + at, gy);
        for (int r = row * size; r < min(row * size + size, in_height); r++)
            for (int c = column * size; c < min(column * size + size, in_width); c++) {
                ulong pixel = (((ulong)channel * in_height + r) * in_width + c) * vectors + at % vectors;
                if (window)
                    sum += vloadv(pixel, x);
                if (gx)
                    vstorev(g * weight[channel], pixel, gx);
            }
        products = fma(g, sum, products);
        sums += g;
    }
    scratch[2 * item] = sumv(products);
    scratch[2 * item + 1] = sumv(sums);
    for (int active = get_local_size(0); active > 1; active = (active + 1) / 2) {
        int half_way = (active + 1) / 2;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < active - half_way) {
            scratch[2 * item] += scratch[2 * (item + half_way)];
            scratch[2 * item + 1] += scratch[2 * (item + half_way) + 1];
        }
    }
    if (item == 0 && row < out_height) {
        partials[2 * (channel * out_height + row)] = scratch[0];
        partials[2 * (channel * out_height + row) + 1] = scratch[1];
    }
}

/* One work-item per channel. */
kernel void subsample_finish(global const float *partials, int channels, int rows, global float *gweight,
                             global float *gbias, int accumulate) {
    int channel = get_global_id(0);
    if (channel >= channels)
        return;
    float product = 0, sum = 0;
    for (int row = 0; row < rows; row++) {
        product += partials[2 * (channel * rows + row)];
        sum += partials[2 * (channel * rows + row) + 1];
    }
    gweight[channel] = accumulate ? gweight[channel] + product : product;
    gbias[channel] = accumulate ? gbias[channel] + sum : sum;
}

/* One work-item for each unit (y) and vector of images (x). */
kernel void rbf_forward(global const float *x, global const float *weight, global float *y, int vectors, int features) {
    int column = get_global_id(0), unit = get_global_id(1);
    if (column >= vectors)
        return;
    floatv sum = 0;
    for (int j = 0; j < features; j++) {
        floatv distance = vloadv(j * vectors + column, x) - weight[unit * features + j];
        sum = fma(distance, distance, sum);
    }
    vstorev(sum, unit * vectors + column, y);
}

/* One work-item for each feature (y) and vector of images (x). */
kernel void rbf_backward(global const float *x, global const float *weight, global const float *gy, global float *gx,
                         int vectors, int features, int units) {
    int column = get_global_id(0), feature = get_global_id(1);
    if (column >= vectors)
        return;
    floatv value = vloadv(feature * vectors + column, x), sum = 0;
    for (int unit = 0; unit < units; unit++)
        sum = fma(2 * (value - weight[unit * features + feature]), vloadv(unit * vectors + column, gy), sum);
    vstorev(sum, feature * vectors + column, gx);
}
