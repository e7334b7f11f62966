/* Pooling over [channel][row][column][image]. A work-group takes one row of one channel (group y is the row, group z
   the channel); its items walk through the row's vectors of images. */
#include "common.clh"
#include "activation.clh"

/* host/ops/pool2d.c passes these in the same order. `vectors` is the pitch in vectors. */
#define SHAPE                                                                                                \
    int vectors, int in_height, int in_width, int out_height, int out_width, int kernel_height,              \
        int kernel_width, int stride_height, int stride_width, int padding_height, int padding_width,        \
        int dilation_height, int dilation_width

/* Vector number of pixel (row, column) of this group's channel. */
#define IN(row, column) ((((ulong)get_group_id(2) * in_height + (row)) * in_width + (column)) * vectors)
#define OUT(row, column) ((((ulong)get_group_id(2) * out_height + (row)) * out_width + (column)) * vectors)

/* Division that rounds up; both positive, or the result is at most 0. */
static int divide_up(int a, int b) {
    return a > 0 ? (a + b - 1) / b : 0;
}

/* The part first..last-1 of a window's rows (or columns) that lies in the input; `start` is where the window starts. */
#define INSIDE(start, in, dilation, kernel_size, first, last)                                                \
    int first = divide_up(-(start), dilation), last = min(kernel_size, divide_up((in) - (start), dilation));

/* The first of equal maxima; the last NaN, as in PyTorch. A window without any input has no winner, and where `relu`
   makes the output 0 nobody wins either: 255. */
kernel void max_forward(global const float *x, global float *y, global uchar *indices, int relu, SHAPE) {
    int row = get_group_id(1), top = row * stride_height - padding_height;
    INSIDE(top, in_height, dilation_height, kernel_height, first_row, last_row)
    for (int at = get_local_id(0); at < out_width * vectors; at += get_local_size(0)) {
        int column = at / vectors, left = column * stride_width - padding_width;
        INSIDE(left, in_width, dilation_width, kernel_width, first, last)
        floatv best = -INFINITY;
        intv winner = first_row < last_row && first < last ? first_row * kernel_width + first : -1;
        for (int r = first_row; r < last_row; r++) {
            ulong from = IN(top + r * dilation_height, left + first * dilation_width) + at % vectors;
            for (int c = first; c < last; c++, from += dilation_width * vectors) {
                floatv value = vloadv(from, x);
                intv wins = (value > best) | isnan(value);
                best = select(best, value, wins);
                winner = select(winner, (intv)(r * kernel_width + c), wins);
            }
        }
        if (relu) {
            winner = select(winner, (intv)-1, best <= 0);
            best = RELU(best);
        }
        vstorev(best, OUT(row, 0) + at, y);
        if (indices)
            vstorev(convert_ucharv(winner), OUT(row, 0) + at, indices);
    }
}

/* First row (or column) of the window of output i, and one past its last. */
#define WINDOW(i, in, out, stride, padding, kernel_size, first, last)                                        \
    int first = adaptive ? (int)((long)(i) * (in) / (out)) : (i) * (stride) - (padding);                     \
    int last = adaptive ? (int)(((long)((i) + 1) * (in) + (out)-1) / (out)) : first + (kernel_size);

/* The mean over a window whose padding counts as zeros; or over the adaptive window. */
kernel void average_forward(global const float *x, global float *y, int adaptive, SHAPE) {
    int row = get_group_id(1);
    WINDOW(row, in_height, out_height, stride_height, padding_height, kernel_height, top, bottom)
    for (int at = get_local_id(0); at < out_width * vectors; at += get_local_size(0)) {
        int column = at / vectors;
        WINDOW(column, in_width, out_width, stride_width, padding_width, kernel_width, left, right)
        floatv sum = 0;
        for (int r = max(top, 0); r < min(bottom, in_height); r++)
            for (int c = max(left, 0); c < min(right, in_width); c++)
                sum += vloadv(IN(r, c) + at % vectors, x);
        vstorev(sum / (float)((bottom - top) * (right - left)), OUT(row, 0) + at, y);
    }
}

/* Backward where windows do not overlap (kernel <= stride, no dilation), for the maximum (with `indices`) and the
   mean (without). The input falls into cells of stride x stride pixels with one window each; a row of cells belongs to
   one group, and its items write their cells whole. Cells past the last window get zeros. */
kernel void cells_backward(global const float *gy, global const uchar *indices, global float *gx, SHAPE) {
    int row = get_group_id(1), top = row * stride_height - padding_height;
    int cells = (in_width + padding_width + stride_width - 1) / stride_width;
    float share = 1.0f / (kernel_height * kernel_width);
    for (int at = get_local_id(0); at < cells * vectors; at += get_local_size(0)) {
        int column = at / vectors, left = column * stride_width - padding_width;
        bool window = row < out_height && column < out_width;
        floatv g = 0;
        intv winner = 0;
        if (window) {
            g = vloadv(OUT(row, 0) + at, gy);
            if (indices)
                winner = convert_intv(vloadv(OUT(row, 0) + at, indices));
            else
                g *= share;
        }
        for (int r = max(0, -top); r < min(stride_height, in_height - top); r++)
            for (int c = max(0, -left); c < min(stride_width, in_width - left); c++) {
                bool inside = window && r < kernel_height && c < kernel_width;
                floatv value = inside ? g : (floatv)0;
                if (indices)
                    value = select((floatv)0, value, winner == r * kernel_width + c);
                vstorev(value, IN(top + r, left + c) + at % vectors, gx);
            }
    }
}

/* Any windows: each input pixel asks the windows that cover it whether it won. */
kernel void max_backward(global const float *gy, global const uchar *indices, global float *gx, SHAPE) {
    int row = get_group_id(1), from_top = row + padding_height;
    int first_row = divide_up(from_top - (kernel_height - 1) * dilation_height, stride_height);
    int last_row = min(from_top / stride_height, out_height - 1);
    for (int at = get_local_id(0); at < in_width * vectors; at += get_local_size(0)) {
        int from_left = at / vectors + padding_width;
        int first = divide_up(from_left - (kernel_width - 1) * dilation_width, stride_width);
        int last = min(from_left / stride_width, out_width - 1);
        floatv sum = 0;
        for (int out_row = first_row; out_row <= last_row; out_row++) {
            int r = from_top - out_row * stride_height;
            if (r % dilation_height)
                continue;
            for (int out_column = first; out_column <= last; out_column++) {
                int c = from_left - out_column * stride_width;
                if (c % dilation_width)
                    continue;
                ulong from = OUT(out_row, out_column) + at % vectors;
                intv winner = convert_intv(vloadv(from, indices));
                intv mine = winner == r / dilation_height * kernel_width + c / dilation_width;
                sum += select((floatv)0, vloadv(from, gy), mine);
            }
        }
        vstorev(sum, IN(row, 0) + at, gx);
    }
}

/* First and last output whose window covers input i. */
#define COVERING(i, in, out, stride, padding, kernel_size, first, last)                                      \
    int first = adaptive ? (int)((long)(i) * (out) / (in))                                                   \
                         : divide_up((i) + (padding) - (kernel_size) + 1, stride);                           \
    int last = adaptive ? (int)(((long)((i) + 1) * (out) + (in)-1) / (in)) - 1                               \
                        : min(((i) + (padding)) / (stride), (out)-1);

/* Any windows: each input pixel sums its share of the windows that cover it. */
kernel void average_backward(global const float *gy, global float *gx, int adaptive, SHAPE) {
    int row = get_group_id(1);
    COVERING(row, in_height, out_height, stride_height, padding_height, kernel_height, first_row, last_row)
    for (int at = get_local_id(0); at < in_width * vectors; at += get_local_size(0)) {
        int column = at / vectors;
        COVERING(column, in_width, out_width, stride_width, padding_width, kernel_width, first, last)
        floatv sum = 0;
        for (int out_row = first_row; out_row <= last_row; out_row++) {
            WINDOW(out_row, in_height, out_height, stride_height, padding_height, kernel_height, top, bottom)
            for (int out_column = first; out_column <= last; out_column++) {
                WINDOW(out_column, in_width, out_width, stride_width, padding_width, kernel_width, left, right)
                float share = 1.0f / ((bottom - top) * (right - left));
                sum = fma((floatv)share, vloadv(OUT(out_row, out_column) + at % vectors, gy), sum);
            }
        }
        vstorev(sum, IN(row, 0) + at, gx);
    }
}
