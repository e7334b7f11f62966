/* Matrix product for CPUs, row-major float32: C[m][n] = op(A) op(B) (+ bias per row) (+ C), then ACTIVATION, or the way
   back through the activation GRADIENT_OF.

   After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): a register tile of MR rows
   x two vectors of columns, and a block of KC x NB of B packed into panels of two vectors that stay in the
   second-level cache. One work-item (a group of its own) computes a rectangle of C over a range of k and packs for
   itself, so a product is one launch without workspace; where k is split too, gemm/sum.cl adds the parts.

   A is read in place, so a large weight matrix is read once for every NB columns and never copied; with COPY_A its rows
   are first copied with a stride that does not map them to the same sets of the first-level cache. Stored [k][m] it is
   read in place where caches hold all of it, and packed with PACK_A. B is packed always, and transposed where it is
   stored [n][k]. How matrices are stored are arguments, because compiling the rest again takes longer. */
#include "common.clh"
#include "activation.clh"

#ifndef PACK_A /* A is stored [k][m] */
#define PACK_A 0
#endif
#ifndef COPY_A
#define COPY_A 0
#endif
#ifndef MR /* rows of the register tile, an even number; what is left of m below MR goes in tiles of MS rows */
#define MR 6
#endif
#ifndef MS
#define MS 3
#endif
#ifndef MB /* rows of A packed or copied at a time; a multiple of MR */
#define MB 48
#endif
#ifndef KC /* k and columns of B packed at a time; multiples of VW and of NR */
#define KC 64
#endif
#ifndef NB
#define NB 32
#endif
#define NR (2 * VW)
/* Distances between packed panels, and between copied rows: one vector more than needed, since multiples of 4 KB would
   map all of them to the same sets of the first-level cache. */
#define A_PANEL (KC * MR + VW)
#define B_PANEL (KC * NR + VW)
#define COPY_STRIDE (KC + VW)

/* Where tiles find element (row, k) of A: a[row * A_ROW + k * A_K]. Constants where A was packed or copied, so that
   the twelve addresses of a tile are one pointer and twelve displacements. */
#if PACK_A
#define A_SPACE local
#define A_ROW 1
#define A_K MR
#elif COPY_A
#define A_SPACE local
#define A_ROW COPY_STRIDE
#define A_K 1
#else
#define A_SPACE global
#define A_ROW a_row
#define A_K a_k
#endif

/* TILE(name, ROWS, VECTORS) defines one register tile: `rows` <= ROWS rows of C, `columns` of them (VECTORS vectors
   of which the last may be partial), += or = the product of `kc` of k. Rows from `rows` on repeat the last one and
   are not stored; a tile of MR rows is always full. A macro, because only constant bounds make the array of sums become
   registers. */
#define TILE(NAME, ROWS, VECTORS)                                                                                      \
    void NAME(A_SPACE const float *a, ulong a_row, ulong a_k, uint rows, local const float *b, uint kc,                \
              global float *c, ulong ldc, uint columns, global const float *bias, bool add) {                          \
        floatv sum[ROWS][VECTORS];                                                                                     \
        A_SPACE const float *from[ROWS];                                                                               \
        _Pragma("unroll") for (uint r = 0; r < ROWS; r++) {                                                            \
            const uint row = ROWS == MR ? r : min(r, rows - 1);                                                        \
            from[r] = a + row * A_ROW;                                                                                 \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) sum[r][v] = bias ? bias[row] : 0.0f;                  \
        }                                                                                                              \
        for (uint k = 0; k < kc; k++, b += NR) {                                                                       \
            floatv right[VECTORS];                                                                                     \
            _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) right[v] = vloadv(v, b);                              \
            _Pragma("unroll") for (uint r = 0; r < ROWS; r++) {                                                        \
                const floatv left = from[r][k * A_K];                                                                  \
                _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) sum[r][v] = fma(left, right[v], sum[r][v]);       \
            }                                                                                                          \
        }                                                                                                              \
        if (columns >= VECTORS * VW) {                                                                                 \
            _Pragma("unroll") for (uint r = 0; r < ROWS; r++) {                                                        \
                if (ROWS == MR || r < rows)                                                                            \
                    _Pragma("unroll") for (uint v = 0; v < VECTORS; v++) {                                             \
                        global float *to = c + r * ldc + v * VW;                                                       \
                        vstorev(add ? sum[r][v] + vloadv(0, to) : sum[r][v], 0, to);                                   \
                    }                                                                                                  \
            }                                                                                                          \
        } else {                                                                                                       \
            float part[ROWS * VECTORS * VW];                                                                           \
            _Pragma("unroll") for (uint r = 0; r < ROWS; r++) _Pragma("unroll") for (uint v = 0; v < VECTORS; v++)     \
                vstorev(sum[r][v], r *VECTORS + v, part);                                                              \
            for (uint r = 0; r < rows; r++)                                                                            \
                for (uint j = 0; j < columns; j++) {                                                                   \
                    const float value = part[r * VECTORS * VW + j];                                                    \
                    c[r * ldc + j] = add ? c[r * ldc + j] + value : value;                                             \
                }                                                                                                      \
        }                                                                                                              \
    }
TILE(full_two, MR, 2)
TILE(full_one, MR, 1)
TILE(small_two, MS, 2)
TILE(small_one, MS, 1)

/* The end of a tile of C, whole vectors: the gradient in front of the activation `gradient_of`, whose output is `made`,
   and an activation. The tile was just stored and is in the cache; in the tiles themselves all activations would be
   there once for each of their vectors. */
static OUT_OF_LINE void finish(global float *c, ulong ldc, uint rows, uint columns, int activation, int gradient_of,
                               global const float *made) {
    for (uint r = 0; r < rows; r++)
        for (uint j = 0; j < columns; j += VW) {
            const ulong at = r * ldc + j;
            floatv value = vloadv(0, c + at);
            if (gradient_of)
                value = activation_gradient(gradient_of, vloadv(0, made + at), value);
            vstorev(activation_output(activation, value), 0, c + at);
        }
}

#if PACK_A
/* a: `kc` rows of A as stored, from the first of `rows` columns on -> [panel][k][MR]. */
void pack_a(local float *packed, global const float *a, ulong a_row, ulong a_k, uint rows, uint kc) {
    for (uint k = 0; k < kc; k++) {
        global const float *row = a + k * a_k;
        local float *to = packed + k * MR;
        uint i = 0;
        for (; i + MR <= rows; i += MR, to += A_PANEL) {
#if MR == 12
            vstore8(vload8(0, row + i), 0, to);
            vstore4(vload4(0, row + i + 8), 0, to + 8);
#else
            for (uint r = 0; r < MR; r += 2)
                vstore2(vload2(0, row + i + r), 0, to + r);
#endif
        }
        for (uint r = 0; i < rows; i++, r++)
            to[r] = row[i];
    }
}
#elif COPY_A
/* a: `rows` rows of A, from the first of `kc` values on -> [row][COPY_STRIDE]. */
void pack_a(local float *packed, global const float *a, ulong a_row, ulong a_k, uint rows, uint kc) {
    for (uint i = 0; i < rows; i++, a += a_row, packed += COPY_STRIDE) {
        uint k = 0;
        for (; k + VW <= kc; k += VW)
            vstorev(vloadv(0, a + k), 0, packed + k);
        for (; k < kc; k++)
            packed[k] = a[k];
    }
}
#endif

/* A block of VW x VW is transposed in registers, by log2(VW) perfect shuffles of its rows. Rows from `rows` on repeat
   the last one. */
void transpose(local float *to, global const float *from, ulong ld, uint rows) {
    floatv x[VW], y[VW];
    _Pragma("unroll") for (uint i = 0; i < VW; i++) x[i] = vloadv(0, from + min(i, rows - 1) * ld);
    _Pragma("unroll") for (uint stage = 1; stage < VW; stage *= 2) {
        _Pragma("unroll") for (uint i = 0; i < VW / 2; i++) {
            y[2 * i].even = x[i].lo;
            y[2 * i].odd = x[i + VW / 2].lo;
            y[2 * i + 1].even = x[i].hi;
            y[2 * i + 1].odd = x[i + VW / 2].hi;
        }
        _Pragma("unroll") for (uint i = 0; i < VW; i++) x[i] = y[i];
    }
    _Pragma("unroll") for (uint i = 0; i < VW; i++) vstorev(x[i], 0, to + i * NR);
}

/* b: rows of B as stored, one for each of `columns`, from the first of `kc` values on -> [panel][k][NR]. What follows
   the last column is never stored in C. */
static inline void pack_transposed_b(local float *packed, global const float *b, ulong ldb, uint columns, uint kc) {
    for (uint j = 0; j < columns; j += VW) {
        local float *to = packed + j / NR * B_PANEL + j % NR;
        global const float *from = b + j * ldb;
        const uint rows = min((uint)VW, columns - j);
        uint k = 0;
        for (; k + VW <= kc; k += VW)
            transpose(to + k * NR, from + k, ldb, rows);
        for (; k < kc; k++)
            for (uint r = 0; r < VW; r++)
                to[k * NR + r] = from[min(r, rows - 1) * ldb + k];
    }
}

/* b: `kc` rows of B, from the first of `columns` on -> [panel][k][NR]. What follows the last column is never stored
   in C. */
static inline void pack_b(local float *packed, global const float *b, ulong ldb, uint columns, uint kc) {
    for (uint k = 0; k < kc; k++) {
        global const float *row = b + k * ldb;
        local float *to = packed + k * NR;
        uint j = 0;
        for (; j + NR <= columns; j += NR, to += B_PANEL) {
            vstorev(vloadv(0, row + j), 0, to);
            vstorev(vloadv(1, row + j), 1, to);
        }
        if (j + VW <= columns) {
            vstorev(vloadv(0, row + j), 0, to);
            j += VW;
            to += VW;
        }
        if (j < columns)
            for (uint r = 0; r < VW; r++)
                to[r] = j + r < columns ? row[j + r] : 0.0f;
    }
}

/* The tiles of `rows` x `columns` of C over `kc` of k: `rows` of them from a panel's start, b packed. */
void block(A_SPACE const float *a, ulong a_row, ulong a_k, local const float *b, uint rows, uint columns, uint kc,
           global float *c, ulong ldc, global const float *bias, bool add, int activation, int gradient_of,
           global const float *made) {
    const ulong panel = PACK_A ? A_PANEL : A_ROW * MR;
    for (uint i = 0, step; i < rows; i += step) {
        const bool full = rows - i >= MR;
        const uint height = full ? MR : min((uint)MS, rows - i);
        A_SPACE const float *left = a + i / MR * panel + i % MR * A_ROW;
        global const float *start = bias ? bias + i : 0;
        step = height;
        for (uint j = 0; j < columns; j += NR) {
            local const float *right = b + j / NR * B_PANEL;
            global float *to = c + i * ldc + j;
            const uint width = columns - j;
            if (full && width > VW)
                full_two(left, a_row, a_k, height, right, kc, to, ldc, width, start, add);
            else if (full)
                full_one(left, a_row, a_k, height, right, kc, to, ldc, width, start, add);
            else if (width > VW)
                small_two(left, a_row, a_k, height, right, kc, to, ldc, width, start, add);
            else
                small_one(left, a_row, a_k, height, right, kc, to, ldc, width, start, add);
            if (activation || gradient_of)
                finish(to, ldc, height, min(width, (uint)NR), activation, gradient_of,
                       gradient_of ? made + i * ldc + j : 0);
        }
    }
}

/* Work-item (x, y, z) computes `item_rows` x `item_columns` of C over `item_k` of k; item_columns is a multiple of NR.
   With several ranges of k, c is the workspace, and part z lies at z * m * ldc. bias may be null; made, with the rows
   of C, is read for gradient_of. Either activation only where n is a multiple of VW. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_tile(global const float *a, ulong a_offset, ulong a_row, ulong a_k, global const float *b, ulong b_offset,
          ulong ldb, global float *c, ulong c_offset, ulong ldc, global const float *bias, ulong m, ulong n, ulong k,
          ulong item_rows, ulong item_columns, ulong item_k, int transpose_b, int accumulate, int activation,
          int gradient_of, global const float *made) {
    const ulong m0 = get_global_id(0) * item_rows, n0 = get_global_id(1) * item_columns;
    const ulong m1 = min(m, m0 + item_rows), n1 = min(n, n0 + item_columns);
    const ulong k_first = get_global_id(2) * item_k, k_last = min(k, k_first + item_k);
    /* Blocks of k of equal length: a short last one would cost as many passes over C as a full one. */
    const ulong k_blocks = (k_last - k_first + KC - 1) / KC;
    const ulong k_step = ((k_last - k_first + k_blocks - 1) / k_blocks + VW - 1) / VW * VW;
    local float packed_b[NB / NR * B_PANEL];
#if PACK_A || COPY_A
    local float packed_a[PACK_A ? MB / MR * A_PANEL : MB * COPY_STRIDE];
#endif
    a += a_offset;
    b += b_offset;
    c += c_offset + get_global_id(2) * m * ldc;
    for (ulong k0 = k_first; k0 < k_last; k0 += k_step) {
        const uint kc = min(k_step, k_last - k0);
        const bool first = k0 == k_first, add = accumulate || !first, last = k0 + k_step >= k_last;
        const int activates = last ? activation : 0, derives = last ? gradient_of : 0;
        for (ulong j = n0; j < n1; j += NB) {
            const uint columns = min((ulong)NB, n1 - j);
            if (transpose_b)
                pack_transposed_b(packed_b, b + j * ldb + k0, ldb, columns, kc);
            else
                pack_b(packed_b, b + k0 * ldb + j, ldb, columns, kc);
#if PACK_A || COPY_A
            for (ulong i = m0; i < m1; i += MB) {
                const uint rows = min((ulong)MB, m1 - i);
                pack_a(packed_a, a + i * a_row + k0 * a_k, a_row, a_k, rows, kc);
                block(packed_a, a_row, a_k, packed_b, rows, columns, kc, c + i * ldc + j, ldc,
                      bias && first ? bias + i : 0, add, activates, derives, derives ? made + i * ldc + j : 0);
            }
#else
            block(a + m0 * a_row + k0 * a_k, a_row, a_k, packed_b, m1 - m0, columns, kc, c + m0 * ldc + j, ldc,
                  bias && first ? bias + m0 : 0, add, activates, derives, derives ? made + m0 * ldc + j : 0);
#endif
        }
    }
}
