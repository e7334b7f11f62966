/* C[m][N] (+)= A[m][k] B[k][N] for a few columns: all the time goes into reading A once. A work-item takes some rows of
   A, ROWS at a time side by side, along k: vectors of k times the same vectors of B's columns, each sum in lanes. */
#include "common.clh"

#ifndef N
#define N 2    /* columns */
#define ROWS 4 /* of A at a time */
#endif

/* b[k][N] of rows ldb apart -> columns[N][k], where there is more than one column. A work-item takes `share` of k. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_vector_columns(global const float *restrict b,
                                                                               ulong b_offset, ulong ldb,
                                                                               global float *restrict columns, ulong k,
                                                                               ulong share) {
    b += b_offset;
    for (ulong i = get_global_id(0) * share; i < min(k, (get_global_id(0) + 1) * share); i++)
        for (int j = 0; j < N; j++)
            columns[j * k + i] = b[i * ldb + j];
}

/* sums[r][j] of `rows` (ROWS or 1, a constant where it is called) rows of A with the columns of B. */
static inline void products(global const float *a, ulong lda, global const float *b, ulong k, const int rows,
                            float sums[ROWS][N]) {
    floatv lanes[ROWS][N];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int j = 0; j < N; j++)
            lanes[r][j] = 0;
    ulong i = 0;
    for (; i + VW <= k; i += VW) {
        floatv column[N];
#pragma unroll
        for (int j = 0; j < N; j++)
            column[j] = vloadv(0, b + j * k + i);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (r < rows) {
                floatv row = vloadv(0, a + r * lda + i);
#pragma unroll
                for (int j = 0; j < N; j++)
                    lanes[r][j] = fma(row, column[j], lanes[r][j]);
            }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int j = 0; j < N; j++)
            sums[r][j] = sumv(lanes[r][j]);
    for (; i < k; i++)
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < N; j++)
                sums[r][j] = fma(a[r * lda + i], b[j * k + i], sums[r][j]);
}

static inline void store(const int rows, float sums[ROWS][N], ulong first, global float *c, ulong ldc,
                         global const float *bias, int accumulate) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < N; j++) {
            global float *to = c + (first + r) * ldc + j;
            float sum = sums[r][j];
            if (bias)
                sum += bias[first + r];
            *to = accumulate ? *to + sum : sum;
        }
}

/* columns [N][k]; bias [m] or null. A work-item takes `share` rows. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_vector(global const float *restrict a, ulong a_offset, ulong lda, global const float *restrict columns,
            ulong columns_offset, global float *restrict c, ulong c_offset, ulong ldc,
            global const float *restrict bias, ulong m, ulong k, ulong share, int accumulate) {
    const ulong last = min(m, (get_global_id(0) + 1) * share);
    ulong row = get_global_id(0) * share;
    float sums[ROWS][N];
    a += a_offset;
    columns += columns_offset;
    c += c_offset;
    for (; row + ROWS <= last; row += ROWS) {
        products(a + row * lda, lda, columns, k, ROWS, sums);
        store(ROWS, sums, row, c, ldc, bias, accumulate);
    }
    for (; row < last; row++) {
        products(a + row * lda, lda, columns, k, 1, sums);
        store(1, sums, row, c, ldc, bias, accumulate);
    }
}
