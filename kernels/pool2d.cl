/* Pooling over [channel][row][column][image]. A work-group takes one row of one channel (group y is the row, group z
   the channel); its items walk through the row's vectors of images. */
#include "common.clh"
#include "activation.clh"
#include "row.clh"

/* host/ops/pool2d.c passes these in the same order. `vectors` is the pitch in vectors. */
#define SHAPE                                                                                                          \
    int vectors, int in_height, int in_width, int out_height, int out_width, int kernel_height, int kernel_width,      \
        int stride_height, int stride_width, int padding_height, int padding_width, int dilation_height,               \
        int dilation_width

#define SHAPE_HERE                                                                                                     \
    vectors, in_height, in_width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width,     \
        padding_height, padding_width, dilation_height, dilation_width

/* Is the window a square of `size` without dilation and padding, and do all lie in the input as wholes? The loops over
   it are unrolled then. */
#define IS_SQUARE(size)                                                                                                \
    (kernel_height == size && kernel_width == size && dilation_height == 1 && dilation_width == 1 &&                   \
     !padding_height && !padding_width && (out_height - 1) * stride_height + size <= in_height &&                      \
     (out_width - 1) * stride_width + size <= in_width)

/* Vector `at` of the indices, which lies at a multiple of its own size. vload and vstore assume less, and some drivers
   make single bytes of them. */
#define INDICES(at) (((global ucharv *)indices)[at])

/* Strides and dilations are 1 or 2 mostly: those need no division. a is not negative. */
static inline int divide(int a, int b) {
    return b == 1 ? a : b == 2 ? a >> 1 : a / b;
}
/* Rounds up; both positive, or the result is at most 0. */
static inline int divide_up(int a, int b) {
    return a > 0 ? divide(a + b - 1, b) : 0;
}

/* The part first..last-1 of a window's rows (or columns) that lies in the input; `start` is where the window starts. */
#define INSIDE(start, in, dilation, kernel_size, first, last)                                                          \
    int first = divide_up(-(start), dilation), last = min(kernel_size, divide_up((in) - (start), dilation));

/* The maximum of a square window whose first pixel is vector `from`, and its position. The first of equal maxima; the
   last NaN, as in PyTorch. */
static inline floatv max_of_square(int size, global const float *x, ulong from, ulong row_step, ulong column_step,
                                   intv *winner) {
    floatv best = vloadv(from, x);
    *winner = 0;
#pragma unroll
    for (int r = 0; r < size; r++)
#pragma unroll
        for (int c = r ? 0 : 1; c < size; c++) {
            const floatv value = vloadv(from + r * row_step + c * column_step, x);
            const intv wins = (value > best) | (value != value);
            best = select(best, value, wins);
            *winner = select(*winner, (intv)(r * size + c), wins);
        }
    return best;
}

/* Any window. One without any input has no winner: 255. */
static inline floatv max_of_window(global const float *x, int top, int left, int v, intv *winner, SHAPE) {
    INSIDE(top, in_height, dilation_height, kernel_height, first_row, last_row)
    INSIDE(left, in_width, dilation_width, kernel_width, first, last)
    floatv best = -INFINITY;
    *winner = first_row < last_row && first < last ? first_row * kernel_width + first : -1;
    for (int r = first_row; r < last_row; r++) {
        ulong from = IN(top + r * dilation_height, left + first * dilation_width) + v;
        for (int c = first; c < last; c++, from += dilation_width * vectors) {
            const floatv value = vloadv(from, x);
            const intv wins = (value > best) | (value != value);
            best = select(best, value, wins);
            *winner = select(*winner, (intv)(r * kernel_width + c), wins);
        }
    }
    return best;
}

/* Where `relu` makes the output 0 nobody wins either. */
kernel void max_forward(global const float *x, global float *y, global uchar *indices, int relu, SHAPE) {
    const int row = get_group_id(1), top = row * stride_height - padding_height;
    const ulong row_step = (ulong)in_width * vectors;
    const bool square2 = IS_SQUARE(2), square3 = IS_SQUARE(3);
    FOR_EACH_VECTOR_OF_ROW(out_width) {
        const int left = column * stride_width - padding_width;
        floatv best;
        intv winner;
        if (square2)
            best = max_of_square(2, x, IN(top, left) + v, row_step, vectors, &winner);
        else if (square3)
            best = max_of_square(3, x, IN(top, left) + v, row_step, vectors, &winner);
        else
            best = max_of_window(x, top, left, v, &winner, SHAPE_HERE);
        if (relu) {
            winner = select(winner, (intv)-1, best <= 0);
            best = RELU(best);
        }
        vstorev(best, OUT(row, column) + v, y);
        if (indices)
            INDICES(OUT(row, column) + v) = convert_ucharv(winner);
    }
}

/* Windows of an average. Of the first kind padding counts, as far as it goes; the third ends at the real pixels. */
enum { WINDOWS_PADDED, WINDOWS_ADAPTIVE, WINDOWS_REAL };

/* First row (or column) of the window of output i, and one past its last. */
#define WINDOW(i, in, out, stride, padding, kernel_size, first, last)                                                  \
    int first = (i) * (stride) - (padding), last = min(first + (kernel_size), (in) + (padding));                       \
    if (windows == WINDOWS_ADAPTIVE) {                                                                                 \
        first = (int)((long)(i) * (in) / (out));                                                                       \
        last = (int)(((long)((i) + 1) * (in) + (out)-1) / (out));                                                      \
    } else if (windows == WINDOWS_REAL) {                                                                              \
        first = max(first, 0);                                                                                         \
        last = min(last, in);                                                                                          \
    }

static inline floatv sum_of_square(int size, global const float *x, ulong from, ulong row_step, ulong column_step) {
    floatv sum = 0;
#pragma unroll
    for (int r = 0; r < size; r++)
#pragma unroll
        for (int c = 0; c < size; c++)
            sum += vloadv(from + r * row_step + c * column_step, x);
    return sum;
}

/* The mean over a window whose padding counts as zeros; or over the adaptive window. */
kernel void average_forward(global const float *x, global float *y, int windows, SHAPE) {
    const int row = get_group_id(1);
    WINDOW(row, in_height, out_height, stride_height, padding_height, kernel_height, top, bottom)
    const ulong row_step = (ulong)in_width * vectors;
    const bool square2 = windows != WINDOWS_ADAPTIVE && IS_SQUARE(2),
               square3 = windows != WINDOWS_ADAPTIVE && IS_SQUARE(3);
    FOR_EACH_VECTOR_OF_ROW(out_width) {
        floatv mean = 0;
        if (square2) {
            mean = sum_of_square(2, x, IN(top, column * stride_width) + v, row_step, vectors) * (1 / 4.0f);
        } else if (square3) {
            mean = sum_of_square(3, x, IN(top, column * stride_width) + v, row_step, vectors) * (1 / 9.0f);
        } else {
            WINDOW(column, in_width, out_width, stride_width, padding_width, kernel_width, left, right)
            for (int r = max(top, 0); r < min(bottom, in_height); r++)
                for (int c = max(left, 0); c < min(right, in_width); c++)
                    mean += vloadv(IN(r, c) + v, x);
            mean /= (float)((bottom - top) * (right - left));
        }
        vstorev(mean, OUT(row, column) + v, y);
    }
}

/* Stores a gradient, taken through the activation (its number, 0: none) that made x. */
static inline void store_gradient(floatv g, ulong at, global const float *x, int activation, global float *gx) {
    vstorev(activation ? activation_gradient(activation, vloadv(at, x), g) : g, at, gx);
}

/* Backward where windows do not overlap (kernel <= stride, no dilation), for the maximum (with `indices`) and the
   mean (without). The input falls into cells of stride x stride pixels with one window each; a row of cells belongs to
   one group, and its items write their cells whole. Cells past the last window get zeros. x: the input, for an
   activation that made it, or NULL. */
kernel void cells_backward(global const float *gy, global uchar *indices, global const float *x, int activation,
                           global float *gx, SHAPE) {
    const int row = get_group_id(1), top = row * stride_height - padding_height;
    const int cells = (in_width + padding_width + stride_width - 1) / stride_width;
    const float share = indices ? 1.0f : 1.0f / (kernel_height * kernel_width);
    const bool square2 = IS_SQUARE(2) && stride_height == 2 && stride_width == 2;
    FOR_EACH_VECTOR_OF_ROW(cells) {
        const int left = column * stride_width - padding_width;
        const bool window = row < out_height && column < out_width;
        floatv g = 0;
        intv winner = 0;
        if (window) {
            g = vloadv(OUT(row, column) + v, gy) * share;
            if (indices)
                winner = convert_intv(INDICES(OUT(row, column) + v));
        }
        if (window && square2) {
            const ulong to = IN(top, left) + v, below = to + (ulong)in_width * vectors;
            store_gradient(indices ? select((floatv)0, g, winner == 0) : g, to, x, activation, gx);
            store_gradient(indices ? select((floatv)0, g, winner == 1) : g, to + vectors, x, activation, gx);
            store_gradient(indices ? select((floatv)0, g, winner == 2) : g, below, x, activation, gx);
            store_gradient(indices ? select((floatv)0, g, winner == 3) : g, below + vectors, x, activation, gx);
            continue;
        }
        for (int r = max(0, -top); r < min(stride_height, in_height - top); r++)
            for (int c = max(0, -left); c < min(stride_width, in_width - left); c++) {
                const bool inside = window && r < kernel_height && c < kernel_width;
                floatv value = inside ? g : (floatv)0;
                if (indices)
                    value = select((floatv)0, value, winner == r * kernel_width + c);
                store_gradient(value, IN(top + r, left + c) + v, x, activation, gx);
            }
    }
}

/* Any windows: each input pixel asks the windows that cover it whether it won. */
kernel void max_backward(global const float *gy, global uchar *indices, global float *gx, SHAPE) {
    const int row = get_group_id(1), from_top = row + padding_height;
    const int first_row = divide_up(from_top - (kernel_height - 1) * dilation_height, stride_height);
    const int last_row = min(divide(from_top, stride_height), out_height - 1);
    FOR_EACH_VECTOR_OF_ROW(in_width) {
        const int from_left = column + padding_width;
        const int first = divide_up(from_left - (kernel_width - 1) * dilation_width, stride_width);
        const int last = min(divide(from_left, stride_width), out_width - 1);
        floatv sum = 0;
        for (int out_row = first_row; out_row <= last_row; out_row++) {
            const int rows = from_top - out_row * stride_height, r = divide(rows, dilation_height);
            for (int out_column = first; out_column <= last; out_column++) {
                const int columns = from_left - out_column * stride_width, c = divide(columns, dilation_width);
                if (r * dilation_height != rows || c * dilation_width != columns)
                    continue;
                const ulong from = OUT(out_row, out_column) + v;
                const intv mine = convert_intv(INDICES(from)) == r * kernel_width + c;
                sum += select((floatv)0, vloadv(from, gy), mine);
            }
        }
        vstorev(sum, IN(row, column) + v, gx);
    }
}

/* First and last output whose window covers input i. */
#define COVERING(i, in, out, stride, padding, kernel_size, first, last)                                                \
    int first = windows == WINDOWS_ADAPTIVE ? (int)((long)(i) * (out) / (in))                                          \
                                            : divide_up((i) + (padding) - (kernel_size) + 1, stride);                  \
    int last = windows == WINDOWS_ADAPTIVE ? (int)(((long)((i) + 1) * (out) + (in)-1) / (in)) - 1                      \
                                           : min(((i) + (padding)) / (stride), (out)-1);

/* Any windows: each input pixel sums its share of the windows that cover it. */
kernel void average_backward(global const float *gy, global float *gx, int windows, SHAPE) {
    int row = get_group_id(1);
    COVERING(row, in_height, out_height, stride_height, padding_height, kernel_height, first_row, last_row)
    FOR_EACH_VECTOR_OF_ROW(in_width) {
        COVERING(column, in_width, out_width, stride_width, padding_width, kernel_width, first, last)
        floatv sum = 0;
        for (int out_row = first_row; out_row <= last_row; out_row++) {
            WINDOW(out_row, in_height, out_height, stride_height, padding_height, kernel_height, top, bottom)
            for (int out_column = first; out_column <= last; out_column++) {
                WINDOW(out_column, in_width, out_width, stride_width, padding_width, kernel_width, left, right)
                float share = 1.0f / ((bottom - top) * (right - left));
                sum = fma((floatv)share, vloadv(OUT(out_row, out_column) + v, gy), sum);
            }
        }
        vstorev(sum, IN(row, column) + v, gx);
    }
}
