/* Weight and bias gradients of a convolution, for CPUs. A tile of OUTS output channels x COLS columns of the kernel
   matrix (COLS = input channels x taps of one kernel row) keeps its sums in registers, one vector of images each, over
   a unit: ROWS x COLUMNS output pixels. Then the vectors are summed and added to the work-item's own partial result;
   a second kernel adds the partial results in fixed order. A unit's gy of one tile fits in the first or second level
   of the cache, and its x of CHUNK input channels in the second while all output channels pass over it.

   The sums are named a<out>_<column> and written out by macros: compilers keep names in registers more willingly than
   elements of arrays. */
#include "common.clh"

#ifndef PITCH
#define PITCH 32
#define OUTS 4 /* at most 12, and OUT_C */
#define COLS 6 /* at most 14; a multiple of TW */
#define TW 3   /* divides KW */
#define GROUPS 1
#define IN_C 8 /* channels of one group */
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
#define ROWS 4
#define COLUMNS 6
#define CHUNK 4 /* a multiple of COLS / TW */
#define SHARES 1
#endif

/* M(out, a) for every output channel of the tile, M(a, column) for every column. */
#define OUTS_1(M, a) M(0, a)
#define OUTS_2(M, a) OUTS_1(M, a) M(1, a)
#define OUTS_3(M, a) OUTS_2(M, a) M(2, a)
#define OUTS_4(M, a) OUTS_3(M, a) M(3, a)
#define OUTS_5(M, a) OUTS_4(M, a) M(4, a)
#define OUTS_6(M, a) OUTS_5(M, a) M(5, a)
#define OUTS_7(M, a) OUTS_6(M, a) M(6, a)
#define OUTS_8(M, a) OUTS_7(M, a) M(7, a)
#define OUTS_9(M, a) OUTS_8(M, a) M(8, a)
#define OUTS_10(M, a) OUTS_9(M, a) M(9, a)
#define OUTS_11(M, a) OUTS_10(M, a) M(10, a)
#define OUTS_12(M, a) OUTS_11(M, a) M(11, a)
#define EACH_OUT(M, a) CAT(OUTS_, OUTS)(M, a)
#define COLS_1(M, a) M(a, 0)
#define COLS_2(M, a) COLS_1(M, a) M(a, 1)
#define COLS_3(M, a) COLS_2(M, a) M(a, 2)
#define COLS_4(M, a) COLS_3(M, a) M(a, 3)
#define COLS_5(M, a) COLS_4(M, a) M(a, 4)
#define COLS_6(M, a) COLS_5(M, a) M(a, 5)
#define COLS_7(M, a) COLS_6(M, a) M(a, 6)
#define COLS_8(M, a) COLS_7(M, a) M(a, 7)
#define COLS_9(M, a) COLS_8(M, a) M(a, 8)
#define COLS_10(M, a) COLS_9(M, a) M(a, 9)
#define COLS_11(M, a) COLS_10(M, a) M(a, 10)
#define COLS_12(M, a) COLS_11(M, a) M(a, 11)
#define COLS_13(M, a) COLS_12(M, a) M(a, 12)
#define COLS_14(M, a) COLS_13(M, a) M(a, 13)
#define EACH_COL(M, a) CAT(COLS_, COLS)(M, a)

#define TAPS (KH * KW)
#define X_PLANE ((ulong)IN_H * IN_W * PITCH)
#define Y_PLANE ((ulong)OUT_H * OUT_W * PITCH)
#define BLOCKS ((OUT_C + OUTS - 1) / OUTS)
#define INS (COLS / TW)
#define COLUMN_BLOCKS ((OUT_W + COLUMNS - 1) / COLUMNS)
#define UNITS (((OUT_H + ROWS - 1) / ROWS) * COLUMN_BLOCKS)

/* Column j is tap j % TW of input channel j / TW. */
#define X_AT(j) ((j) / TW * X_PLANE + (j) % TW * DIL_W * PITCH)
#define CLEAR(c, j) floatv a##c##_##j = (floatv)(0.0f);
#define CLEAR_OUT(c, _) EACH_COL(CLEAR, c)
/* A step loads the shorter side into registers, and passes over the other. */
#define LOAD_GY(c, _) const floatv g##c = vloadv(0, gn + c * Y_PLANE);
#define LOAD_X(_, j) const floatv x##j = vloadv(0, xn + X_AT(j));
#define FMA_GY(c, j) a##c##_##j = fma(g##c, image, a##c##_##j);
#define FMA_X(c, j) a##c##_##j = fma(g, x##j, a##c##_##j);
#define COL(_, j)                                                                                                      \
    {                                                                                                                  \
        const floatv image = vloadv(0, xn + X_AT(j));                                                                  \
        EACH_OUT(FMA_GY, j)                                                                                            \
    }
#define OUT(c, _)                                                                                                      \
    {                                                                                                                  \
        const floatv g = vloadv(0, gn + c * Y_PLANE);                                                                  \
        EACH_COL(FMA_X, c)                                                                                             \
    }
#if OUTS <= COLS
#define STEP EACH_OUT(LOAD_GY, 0) EACH_COL(COL, 0)
#else
#define STEP EACH_COL(LOAD_X, 0) EACH_OUT(OUT, 0)
#endif
/* The same for a column some of whose taps miss the input. */
#define EDGE_COL(_, j)                                                                                                 \
    if (in + (j) % TW * DIL_W >= 0 && in + (j) % TW * DIL_W < IN_W)                                                    \
    COL(_, j)
#define EDGE_STEP EACH_OUT(LOAD_GY, 0) EACH_COL(EDGE_COL, 0)
#define PUT(c, j)                                                                                                      \
    if (c >= skip_out && (j) / TW >= skip_in)                                                                          \
        put(gweight + ((ulong)c * IN_C + (j) / TW) * TAPS + (j) % TW, sumv(a##c##_##j), add);
#define PUT_OUT(c, _) EACH_COL(PUT, c)

static inline void put(global float *to, float sum, int add) {
    *to = add ? *to + sum : sum;
}

typedef struct block {
    int row, row_end, column, column_end; /* of the output */
} block;

/* One tile over one unit. x and gy point at the planes of the tile's first channels, gweight at the tile's first
   element. The first skip_out and skip_in channels of the tile belong to the tile before it and are not written. */
static OUT_OF_LINE void tile(global const float *x, global const float *gy, global float *gweight, block unit, int kh,
                             int kw, int skip_out, int skip_in, int add) {
    /* Output columns first..last-1 have every tap of the tile on the input. */
    const int shift = kw * DIL_W - PAD_W;
    const int room = IN_W - 1 - (TW - 1) * DIL_W - shift;
    const int first = shift < 0 ? (-shift + STRIDE_W - 1) / STRIDE_W : 0;
    const int last = room < 0 ? 0 : min(room / STRIDE_W + 1, unit.column_end);
    EACH_OUT(CLEAR_OUT, 0)
    for (int row = unit.row; row < unit.row_end; row++) {
        const int in_row = row * STRIDE_H - PAD_H + kh * DIL_H;
        if (in_row < 0 || in_row >= IN_H)
            continue;
        for (int column = unit.column; column < unit.column_end;) {
            const int in = column * STRIDE_W + shift;
            global const float *xn = x + ((long)in_row * IN_W + in) * PITCH;
            global const float *gn = gy + ((ulong)row * OUT_W + column) * PITCH;
            if (column >= first && column < last) {
                /* With stride 1 the pixels of a row are contiguous both in x and in gy. */
                const int columns = STRIDE_W == 1 ? last - column : 1;
                for (int n = 0; n < columns * PITCH; n += VW, xn += VW, gn += VW) {
                    STEP
                }
                column += columns;
            } else {
                for (int n = 0; n < PITCH; n += VW, xn += VW, gn += VW) {
                    EDGE_STEP
                }
                column++;
            }
        }
    }
    EACH_OUT(PUT_OUT, 0)
}

static float unit_sum(global const float *gy, block unit) {
    floatv sum = (floatv)(0.0f);
    for (int row = unit.row; row < unit.row_end; row++)
        for (int n = unit.column * PITCH; n < unit.column_end * PITCH; n += VW)
            sum += vloadv(0, gy + (ulong)row * OUT_W * PITCH + n);
    return sumv(sum);
}

/* Work-items: split of the units, group * SHARES + share of the blocks of output channels. Split s writes at
   gweight + s * stride and gbias + bias_offset + s * stride (gbias may be null); what is there is added to where
   `accumulate`. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv2d_weights(global const float *restrict x, global const float *restrict gy, global float *gweight,
               global float *gbias, ulong bias_offset, ulong stride, int accumulate) {
    const int split = get_global_id(0), splits = get_global_size(0);
    const int group = get_global_id(1) / SHARES, share = get_global_id(1) % SHARES;
    const int from = (ulong)UNITS * split / splits, to = (ulong)UNITS * (split + 1) / splits;
    const int first_out = BLOCKS * share / SHARES * OUTS, last_out = min(BLOCKS * (share + 1) / SHARES * OUTS, OUT_C);
    gweight += split * stride + (ulong)group * OUT_C * IN_C * TAPS;
    gbias = gbias ? gbias + bias_offset + split * stride + group * OUT_C : gbias;
    x += (ulong)group * IN_C * X_PLANE;
    gy += (ulong)group * OUT_C * Y_PLANE;
    for (int u = from; u < to; u++) {
        const int row = u / COLUMN_BLOCKS * ROWS, column = u % COLUMN_BLOCKS * COLUMNS, add = accumulate || u > from;
        const block unit = {row, min(row + ROWS, OUT_H), column, min(column + COLUMNS, OUT_W)};
        for (int c = first_out; gbias && c < last_out; c++)
            put(gbias + c, unit_sum(gy + c * Y_PLANE, unit), add);
        for (int chunk = 0; chunk < IN_C; chunk += CHUNK)
            for (int o = first_out; o < last_out; o += OUTS)
                for (int i = chunk; i < min(chunk + CHUNK, IN_C); i += INS) {
                    /* The last tile of an axis overlaps the one before it. */
                    const int out = min(o, OUT_C - OUTS), in = min(i, IN_C - INS);
                    global float *to_weight = gweight + ((ulong)out * IN_C + in) * TAPS;
                    for (int kh = 0; kh < KH; kh++)
                        for (int kw = 0; kw < KW; kw += TW)
                            tile(x + in * X_PLANE, gy + out * Y_PLANE, to_weight + kh * KW + kw, unit, kh, kw, o - out,
                                 i - in, add);
                }
    }
}
