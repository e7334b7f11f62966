/* Bilinear resize. Pixel centers lie at i + 0.5, so output o reads the input at (o + 0.5) * in / out - 0.5, at least 0;
   in integers that is numerator / (2 * out) with numerator = (2 o + 1) * in - out. */
#include "common.clh"

/* The first of the two pixels that output o reads, and how much the second counts. */
static int source(int o, int in, int out, float *second) {
    int numerator = max((2 * o + 1) * in - out, 0), first = numerator / (2 * out);
    *second = (float)(numerator - first * 2 * out) / (2 * out);
    return first;
}

/* Group y is the output row, group z the channel; `vectors` is the pitch in vectors. */
kernel void resize_forward(global const float *x, global float *y, int vectors, int in_height, int in_width,
                           int out_height, int out_width) {
    int row = get_group_id(1), channel = get_group_id(2);
    float down, right;
    int top = source(row, in_height, out_height, &down), bottom = min(top + 1, in_height - 1);
    global const float *upper = x + ((ulong)channel * in_height + top) * in_width * vectors * VW;
    global const float *lower = x + ((ulong)channel * in_height + bottom) * in_width * vectors * VW;
    ulong out_row = ((ulong)channel * out_height + row) * out_width * vectors;
    for (int at = get_local_id(0); at < out_width * vectors; at += get_local_size(0)) {
        int first = source(at / vectors, in_width, out_width, &right), second = min(first + 1, in_width - 1);
        int a = first * vectors + at % vectors, b = second * vectors + at % vectors;
        floatv over = mix(vloadv(a, upper), vloadv(b, upper), (floatv)right);
        floatv under = mix(vloadv(a, lower), vloadv(b, lower), (floatv)right);
        vstorev(mix(over, under, (floatv)down), out_row + at, y);
    }
}

/* How much output o takes of input i. */
static float share(int o, int i, int in, int out) {
    float second;
    int first = source(o, in, out, &second);
    return (first == i ? 1 - second : 0) + (min(first + 1, in - 1) == i ? second : 0);
}

/* The first output whose first pixel is at least i: o >= ((2 i + 1) * out - in) / (2 in), rounded up. */
static int first_reader(int i, int in, int out) {
    int numerator = (2 * i + 1) * out - in;
    return i > 0 && numerator > 0 ? min((numerator + 2 * in - 1) / (2 * in), out) : 0;
}

/* Each input pixel sums what the outputs that read it pass back: those whose first pixel is i - 1 or i. */
kernel void resize_backward(global const float *gy, global float *gx, int vectors, int in_height, int in_width,
                            int out_height, int out_width) {
    int row = get_group_id(1), channel = get_group_id(2);
    int top = first_reader(row - 1, in_height, out_height);
    int bottom = row == in_height - 1 ? out_height : first_reader(row + 1, in_height, out_height);
    ulong in_row = ((ulong)channel * in_height + row) * in_width * vectors;
    for (int at = get_local_id(0); at < in_width * vectors; at += get_local_size(0)) {
        int column = at / vectors;
        int left = first_reader(column - 1, in_width, out_width);
        int right = column == in_width - 1 ? out_width : first_reader(column + 1, in_width, out_width);
        floatv sum = 0;
        for (int r = top; r < bottom; r++) {
            float of_row = share(r, row, in_height, out_height);
            for (int c = left; c < right; c++) {
                ulong from = (((ulong)channel * out_height + r) * out_width + c) * vectors + at % vectors;
                sum = fma((floatv)(of_row * share(c, column, in_width, out_width)), vloadv(from, gy), sum);
            }
        }
        vstorev(sum, in_row + at, gx);
    }
}
