/* Adaptive maxima: see host/ops/adaptive_max.h. A work-group takes one row of one channel, as in pool2d.cl. */
#include "common.clh"
#include "row.clh"

/* host/ops/adaptive_max.c passes these in the same order. */
#define SHAPE int vectors, int in_height, int in_width, int out_height, int out_width

/* Of `count` windows that share `size` pixels: where window i begins, and one past its end. */
static inline int begin_of(int i, int size, int count) {
    return (int)((long)i * size / count);
}
static inline int end_of(int i, int size, int count) {
    return (int)(((long)(i + 1) * size + count - 1) / count);
}

/* Vector `at` of the indices, which lies at a multiple of its own size. */
#define INDICES(at) (((global intv *)indices)[at])

/* The first of equal maxima; the last NaN, as in PyTorch. `indices`: the winner's place in its plane, or NULL. */
kernel void adaptive_max_forward(global const float *x, global float *y, global int *indices, SHAPE) {
    const int row = get_group_id(1);
    const int top = begin_of(row, in_height, out_height), bottom = end_of(row, in_height, out_height);
    FOR_EACH_VECTOR_OF_ROW(out_width) {
        const int left = begin_of(column, in_width, out_width), right = end_of(column, in_width, out_width);
        floatv best = vloadv(IN(top, left) + v, x);
        intv winner = top * in_width + left;
        for (int r = top; r < bottom; r++)
            for (int c = left; c < right; c++) {
                const floatv value = vloadv(IN(r, c) + v, x);
                const intv wins = (value > best) | (value != value);
                best = select(best, value, wins);
                winner = select(winner, (intv)(r * in_width + c), wins);
            }
        vstorev(best, OUT(row, column) + v, y);
        if (indices)
            INDICES(OUT(row, column) + v) = winner;
    }
}

/* Each input pixel asks the windows that have it whether it won. */
kernel void adaptive_max_backward(global const float *gy, global int *indices, global float *gx, SHAPE) {
    const int row = get_group_id(1);
    const int first_row = begin_of(row, out_height, in_height), end_row = end_of(row, out_height, in_height);
    FOR_EACH_VECTOR_OF_ROW(in_width) {
        const int first = begin_of(column, out_width, in_width), end = end_of(column, out_width, in_width);
        floatv sum = 0;
        for (int r = first_row; r < end_row; r++)
            for (int c = first; c < end; c++) {
                const intv mine = INDICES(OUT(r, c) + v) == row * in_width + column;
                sum += select((floatv)0, vloadv(OUT(r, c) + v, gy), mine);
            }
        vstorev(sum, IN(row, column) + v, gx);
    }
}
