/* The host reference of gemm, and the variant "reference", which runs it on the host device. */
#include <string.h>

#include "ops/gemm/variant.h"

/* The reference works on REF_ROWS x REF_COLUMNS of C at a time, with sums in double, and brings REF_DEPTH
   rows of B to [k][REF_COLUMNS] first, whichever way B is stored. */
enum { REF_ROWS = 8, REF_COLUMNS = 128, REF_DEPTH = 64 };

/* sum += left * row. Compilers make vector code of a loop of constant length only, so it pays to run on into
   the zeros after the last column unless there are few columns. */
static void add_row(double sum[REF_COLUMNS], double left, const float row[REF_COLUMNS], size_t columns) {
    if (columns > REF_COLUMNS / 4)
        for (size_t j = 0; j < REF_COLUMNS; j++)
            sum[j] += left * (double)row[j];
    else
        for (size_t j = 0; j < columns; j++)
            sum[j] += left * (double)row[j];
}

static void copy_block(const cvy_gemm_shape *s, const float *b, size_t p0, size_t depth, size_t j0,
                       size_t columns, float block[REF_DEPTH][REF_COLUMNS]) {
    if (s->transpose_b)
        for (size_t j = 0; j < columns; j++)
            for (size_t p = 0; p < depth; p++)
                block[p][j] = b[(j0 + j) * s->ldb + p0 + p];
    else
        for (size_t p = 0; p < depth; p++)
            memcpy(block[p], b + (p0 + p) * s->ldb + j0, columns * sizeof(float));
}

static void reference_block(const cvy_gemm_shape *s, const float *a, const float *b, float *c,
                            bool accumulate, size_t i0, size_t rows, size_t j0, size_t columns) {
    double sum[REF_ROWS][REF_COLUMNS] = {{0}};
    float block[REF_DEPTH][REF_COLUMNS] = {{0}};
    for (size_t p0 = 0; p0 < s->k; p0 += REF_DEPTH) {
        size_t depth = s->k - p0 < REF_DEPTH ? s->k - p0 : REF_DEPTH;
        copy_block(s, b, p0, depth, j0, columns, block);
        for (size_t i = 0; i < rows; i++)
            for (size_t p = 0; p < depth; p++) {
                double left = s->transpose_a ? a[(p0 + p) * s->lda + i0 + i] : a[(i0 + i) * s->lda + p0 + p];
                add_row(sum[i], left, block[p], columns);
            }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            float *to = c + (i0 + i) * s->ldc + j0 + j;
            *to = (float)(accumulate ? *to + sum[i][j] : sum[i][j]);
        }
}

void cvy_gemm_reference(const cvy_gemm_shape *shape, const float *a, const float *b, float *c,
                        bool accumulate) {
    for (size_t j = 0; j < shape->n; j += REF_COLUMNS)
        for (size_t i = 0; i < shape->m; i += REF_ROWS)
            reference_block(shape, a, b, c, accumulate, i, shape->m - i < REF_ROWS ? shape->m - i : REF_ROWS,
                            j, shape->n - j < REF_COLUMNS ? shape->n - j : REF_COLUMNS);
}

/* The reference with a bias: it goes into C first. */
convoy_status cvy_gemm_run_reference(const cvy_gemm_shape *s, const cvy_gemm_operands *operands) {
    const float *a = (const float *)cvy_buffer_host(operands->a) + operands->a_offset;
    const float *b = (const float *)cvy_buffer_host(operands->b) + operands->b_offset;
    float *c = (float *)cvy_buffer_host(operands->c) + operands->c_offset;
    bool accumulate = operands->accumulate;
    if (operands->bias) {
        const float *bias = cvy_buffer_host(operands->bias);
        for (size_t i = 0; i < s->m; i++)
            for (size_t j = 0; j < s->n; j++)
                c[i * s->ldc + j] = accumulate ? c[i * s->ldc + j] + bias[i] : bias[i];
        accumulate = true;
    }
    cvy_gemm_reference(s, a, b, c, accumulate);
    return CONVOY_OK;
}

static bool supports(const cvy_job *job) {
    return job->traits->host;
}

static convoy_status prepare(const cvy_job *job, void *state, cvy_needs *needs) {
    (void)needs;
    *(cvy_gemm_shape *)state = *(const cvy_gemm_shape *)job->shape;
    return CONVOY_OK;
}

static convoy_status run(void *state, const void *operands) {
    return cvy_gemm_run_reference(state, operands);
}

const cvy_variant cvy_gemm_reference_variant = {.name = "reference",
                                                .supports = supports,
                                                .state_size = sizeof(cvy_gemm_shape),
                                                .prepare = prepare,
                                                .run = run};
