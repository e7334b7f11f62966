/* Convolution of a few images on a CPU, forward: with less than a vector of images, vectors lie along the row, over
   neighbouring columns and their images. Each channel of x becomes planes, one for each phase of the stride: rows and
   columns that lie STRIDE apart, its padding written out. In a plane the input under a tap lies at a constant distance
   from the output, so a vector of outputs needs one contiguous load for each tap. A tile of MR channels x NV vectors
   stays in registers while all taps pass by; the weights are read where they are, as MR streams of broadcasts.

   A plane's rows are wider than the output's. Where rows are long (ROWS), a row of the output is cut into vectors, the
   last one moved back to end with the row. Else (no ROWS) vectors run through the plane from row to row, and what lies
   between two rows is not stored. */
#include "common.clh"

#ifndef PITCH
#define PITCH 1
#define MR 4 /* output channels per tile; at most OUT_C */
#define NV 3 /* vectors per tile, 1 to 6 */
#define GROUPS 1
#define IN_C 3 /* of one group */
#define OUT_C 8
#define IN_H 9
#define IN_W 9
#define OUT_H 9
#define OUT_W 9
#define KH 3
#define KW 3
#define STRIDE_H 1
#define STRIDE_W 1
#define PAD_H 1
#define PAD_W 1
#define DIL_H 1
#define DIL_W 1
#define ROWS 0
#define ACTIVATION 0 /* of the output */
#endif

#include "activation.clh"

#define REACH_H ((KH - 1) * DIL_H)
#define REACH_W ((KW - 1) * DIL_W)
/* Phases that a tap falls on, at most, and the size of their planes. */
#define PHASES_H (REACH_H < STRIDE_H ? REACH_H + 1 : STRIDE_H)
#define PHASES_W (REACH_W < STRIDE_W ? REACH_W + 1 : STRIDE_W)
#define PLANE_H (OUT_H + REACH_H / STRIDE_H)
#define PLANE_W (OUT_W + REACH_W / STRIDE_W)
#define ROW (PLANE_W * PITCH)
#define PLANE (PLANE_H * ROW)
#define CHANNEL ((ulong)PHASES_H * PHASES_W * PLANE)

/* Where a kernel row or column lies from the output's position. */
#define TAP_ROW(k) ((k)*DIL_H % STRIDE_H * (PHASES_W * PLANE) + (k)*DIL_H / STRIDE_H * ROW)
#define TAP_COLUMN(k) ((k)*DIL_W % STRIDE_W * PLANE + (k)*DIL_W / STRIDE_W * PITCH)

/* The first position of a phase that lies in the input, and one past the last. */
#define FIRST_INSIDE(phase, stride, pad) ((pad) > (phase) ? ((pad) - (phase) + (stride)-1) / (stride) : 0)
#define LAST_INSIDE(phase, stride, pad, in, most)                                                                      \
    ((in) + (pad) > (phase) ? min(((in) + (pad) - (phase)-1) / (stride) + 1, most) : 0)

static inline void zero(global float *to, int count) {
    for (int i = 0; i < count; i++)
        to[i] = 0;
}

/* One row of a phase: columns phase - PAD_W, phase - PAD_W + STRIDE_W, ... of a row of x. */
static inline void split_row(global const float *x, int phase, global float *to) {
    const int last = LAST_INSIDE(phase, STRIDE_W, PAD_W, IN_W, PLANE_W);
    const int first = min(FIRST_INSIDE(phase, STRIDE_W, PAD_W), last);
    zero(to, first * PITCH);
    global const float *from = x + (first * STRIDE_W + phase - PAD_W) * PITCH;
#if STRIDE_W == 1
    int i = 0;
    const int count = (last - first) * PITCH;
    for (; i + VW <= count; i += VW)
        vstorev(vloadv(0, from + i), 0, to + first * PITCH + i);
    for (; i < count; i++)
        to[first * PITCH + i] = from[i];
#else
    for (int column = first; column < last; column++, from += STRIDE_W * PITCH)
        for (int n = 0; n < PITCH; n++)
            to[column * PITCH + n] = from[n];
#endif
    zero(to + last * PITCH, (PLANE_W - last) * PITCH);
}

/* x -> planes[channel][phase of the row][phase of the column][PLANE_H][PLANE_W][PITCH]. Work-items: channel of all
   groups, phase of the row. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_split(global const float *restrict x,
                                                                        global float *restrict planes) {
    const int channel = get_global_id(0), down = get_global_id(1);
    const int last = LAST_INSIDE(down, STRIDE_H, PAD_H, IN_H, PLANE_H);
    const int first = min(FIRST_INSIDE(down, STRIDE_H, PAD_H), last);
    for (int right = 0; right < PHASES_W; right++) {
        global float *to = planes + channel * CHANNEL + (down * PHASES_W + right) * PLANE;
        zero(to, first * ROW);
        for (int row = first; row < last; row++)
            split_row(x + ((ulong)channel * IN_H + row * STRIDE_H + down - PAD_H) * IN_W * PITCH, right,
                      to + row * ROW);
        zero(to + last * ROW, (PLANE_H - last) * ROW);
    }
}

/* Vectors of one row of the output, or of all of it, and the floats that they cover. */
#if ROWS
#define LENGTH (OUT_W * PITCH)
#else
#define LENGTH ((OUT_H - 1) * ROW + OUT_W * PITCH)
#endif
#define ROW_VECTORS ((LENGTH + VW - 1) / VW)

/* Where vector `i` lies in a plane; the last one of a row ends with it. */
static inline int place(int i) {
    const int row = ROWS ? i / ROW_VECTORS : 0;
    return row * ROW + min(i % ROW_VECTORS * VW, LENGTH - VW);
}

/* Stores vector `i` of one channel of the output. */
static inline void store(floatv value, int i, global float *y) {
#if ROWS
    vstorev(value, 0, y + i / ROW_VECTORS * LENGTH + min(i % ROW_VECTORS * VW, LENGTH - VW));
#else
    /* Lanes in front of the vector's own first one belong to the vector before it. */
    const int at = place(i);
    float lanes[VW];
    vstorev(value, 0, lanes);
    int lane = i * VW - at, row = (at + lane) / ROW;
    while (lane < VW) {
        const int start = row * ROW - at, end = min(start + OUT_W * PITCH, VW);
        global float *to = y + row * (OUT_W * PITCH) - start;
        for (; lane < end; lane++)
            to[lane] = lanes[lane];
        row++;
        lane = row * ROW - at;
    }
#endif
}

/* `vectors` (a constant where it is called) vectors from number `first` on, of MR channels; channels before `skip` are
   stored by another tile. */
static inline void tile(global const float *planes, global const float *weight, global const float *bias,
                        global float *y, int first, const int vectors, int skip) {
    floatv acc[MR][NV];
    global const float *at[NV];
#pragma unroll
    for (int v = 0; v < NV; v++) {
        at[v] = planes + (v < vectors ? place(first + v) : 0);
#pragma unroll
        for (int m = 0; m < MR; m++)
            acc[m][v] = bias ? (floatv)(bias[m]) : (floatv)0;
    }
    for (int in = 0; in < IN_C; in++)
        for (int kh = 0; kh < KH; kh++, weight += KW) {
            const ulong row = in * CHANNEL + TAP_ROW(kh);
#pragma unroll
            for (int kw = 0; kw < KW; kw++) {
                floatv x[NV];
#pragma unroll
                for (int v = 0; v < NV; v++)
                    if (v < vectors)
                        x[v] = vloadv(0, at[v] + row + TAP_COLUMN(kw));
#pragma unroll
                for (int m = 0; m < MR; m++)
#pragma unroll
                    for (int v = 0; v < NV; v++)
                        if (v < vectors)
                            acc[m][v] = fma((floatv)(weight[m * (IN_C * KH * KW) + kw]), x[v], acc[m][v]);
            }
        }
#pragma unroll
    for (int m = 0; m < MR; m++)
#pragma unroll
        for (int v = 0; v < NV; v++)
            if (v < vectors && m >= skip)
                store(activate(acc[m][v]), first + v, y + m * (OUT_H * OUT_W * PITCH));
}

/* planes as conv2d_split leaves them, or x itself where that is the same; weight [GROUPS * OUT_C][IN_C][KH][KW]; bias
   may be null. Work-items: block of MR channels (the last one moved back to end with them), share of the vectors,
   group. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_columns(global const float *restrict planes,
                                                                          global const float *restrict weight,
                                                                          global const float *restrict bias,
                                                                          global float *restrict y, int share) {
    const int block = get_global_id(0) * MR, from = min(block, OUT_C - MR), group = get_global_id(2);
    const ulong channel = group * OUT_C + from;
    const int last = min((int)(get_global_id(1) + 1) * share, ROWS ? OUT_H * ROW_VECTORS : ROW_VECTORS);
    planes += group * IN_C * CHANNEL;
    weight += channel * IN_C * KH * KW;
    bias = bias ? bias + channel : bias;
    y += channel * OUT_H * OUT_W * PITCH;
    int first = get_global_id(1) * share;
    for (; first + NV <= last; first += NV)
        tile(planes, weight, bias, y, first, NV, block - from);
    switch (last - first) {
#if NV > 1
    case 1:
        tile(planes, weight, bias, y, first, 1, block - from);
        break;
#endif
#if NV > 2
    case 2:
        tile(planes, weight, bias, y, first, 2, block - from);
        break;
#endif
#if NV > 3
    case 3:
        tile(planes, weight, bias, y, first, 3, block - from);
        break;
#endif
#if NV > 4
    case 4:
        tile(planes, weight, bias, y, first, 4, block - from);
        break;
#endif
#if NV > 5
    case 5:
        tile(planes, weight, bias, y, first, 5, block - from);
        break;
#endif
    }
}
