/* Matrix product: the checks, the host reference, the table of variants and the entry points. gemm_tile.c
   holds the variant for CPUs, gemm_clblast.c the one for GPUs. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ops/gemm_methods.h"
#include "ops/vector.h"

/* In order of preference. */
static const cvy_gemm_method *const variants[] = {&cvy_gemm_tile_cpu, &cvy_gemm_clblast};
enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

const char *const *cvy_gemm_variants(void) {
    static const char *names[VARIANTS + 1];
    for (int i = 0; i < VARIANTS; i++)
        names[i] = variants[i]->name;
    return names;
}

/* ---- Reference ---- */

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
static void run_on_host(const cvy_gemm_shape *s, const cvy_gemm_operands *operands) {
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
}

/* ---- Choosing and preparing ---- */

static convoy_status check_shape(const cvy_gemm_shape *s) {
    size_t a = s->transpose_a ? s->m : s->k, b = s->transpose_b ? s->k : s->n;
    if (s->lda < a || s->ldb < b || s->ldc < s->n)
        return cvy_fail(
            CONVOY_INVALID,
            "gemm of %zux%zux%zu: leading dimensions %zu, %zu, %zu are below the rows' lengths %zu, "
            "%zu, %zu",
            s->m, s->n, s->k, s->lda, s->ldb, s->ldc, a, b, s->n);
    return CONVOY_OK;
}

static convoy_status choose(const cvy_device_traits *traits, const cvy_gemm_shape *shape, const char *name,
                            const cvy_gemm_method **chosen) {
    if (name) {
        for (int i = 0; i < VARIANTS; i++)
            if (!strcmp(variants[i]->name, name)) {
                *chosen = variants[i];
                if (traits->host || !variants[i]->supports(traits, shape))
                    return cvy_fail(CONVOY_DEVICE, "gemm variant \"%s\" does not run on this device", name);
                return CONVOY_OK;
            }
        const char *nearest = cvy_text_nearest(name, cvy_gemm_variants(), VARIANTS);
        return cvy_fail(CONVOY_INVALID, "gemm has no variant \"%s\"; did you mean \"%s\"?", name,
                        nearest ? nearest : variants[0]->name);
    }
    *chosen = NULL;
    if (traits->host)
        return CONVOY_OK;
    for (int i = 0; i < VARIANTS && !*chosen; i++)
        if (variants[i]->preferred(traits) && variants[i]->supports(traits, shape))
            *chosen = variants[i];
    return *chosen ? CONVOY_OK : cvy_fail(CONVOY_DEVICE, "no gemm variant runs on this device");
}

convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op) {
    *op = NULL;
    const cvy_gemm_method *chosen = NULL;
    convoy_status status = check_shape(shape);
    if (!status)
        status = choose(cvy_device_get_traits(device), shape, variant, &chosen);
    if (status)
        return status;
    cvy_gemm *gemm = calloc(1, sizeof(*gemm));
    if (!gemm)
        return cvy_fail_memory("a gemm op", sizeof(*gemm));
    *gemm = (cvy_gemm){.device = device, .shape = *shape, .variant = chosen};
    if (chosen)
        status = cvy_kernel_get_simple(device, "gemm_sum", &gemm->sum);
    if (!status && chosen && shape->m && shape->n && shape->k)
        status = chosen->prepare(gemm);
    if (status) {
        cvy_gemm_free(gemm);
        return status;
    }
    *op = gemm;
    return CONVOY_OK;
}

void cvy_gemm_free(cvy_gemm *op) {
    free(op);
}

const char *cvy_gemm_variant(const cvy_gemm *op) {
    return op->variant ? op->variant->name : "reference";
}

size_t cvy_gemm_workspace(const cvy_gemm *op) {
    return op->workspace;
}

cvy_cost cvy_gemm_cost(const cvy_gemm *op) {
    double m = (double)op->shape.m, n = (double)op->shape.n, k = (double)op->shape.k;
    return (cvy_cost){.flops = 2 * m * n * k, .bytes = sizeof(float) * (m * k + k * n + m * n)};
}

/* ---- Running ---- */

convoy_status cvy_gemm_add_parts(cvy_gemm *op, const cvy_gemm_operands *operands, cvy_buffer *from,
                                 size_t parts) {
    const cvy_gemm_shape *s = &op->shape;
    return CVY_LAUNCH(op->sum, cvy_items3(s->n, s->m, 1), cvy_buf(from), cvy_uint((uint32_t)parts),
                      cvy_buf(operands->c), cvy_ulong(operands->c_offset), cvy_ulong(s->ldc),
                      cvy_buf(operands->bias), cvy_ulong(s->m), cvy_ulong(s->n),
                      cvy_int(operands->accumulate));
}

convoy_status cvy_gemm_run_bias(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                                cvy_buffer *bias, cvy_buffer *c, size_t c_offset, bool accumulate,
                                cvy_buffer *workspace) {
    cvy_gemm_operands operands = {.a = a,
                                  .b = b,
                                  .c = c,
                                  .bias = bias,
                                  .workspace = op->workspace ? workspace : NULL,
                                  .a_offset = a_offset,
                                  .b_offset = b_offset,
                                  .c_offset = c_offset,
                                  .accumulate = accumulate};
    if (!op->shape.m || !op->shape.n)
        return CONVOY_OK;
    if (op->workspace && (!workspace || cvy_buffer_bytes(workspace) < op->workspace))
        return cvy_fail(CONVOY_INVALID, "gemm needs a workspace of %zu bytes and was given %zu",
                        op->workspace, workspace ? cvy_buffer_bytes(workspace) : 0);
    if (!op->variant)
        run_on_host(&op->shape, &operands);
    else if (op->shape.k)
        return op->variant->run(op, &operands);
    else if (bias || !accumulate)
        return cvy_gemm_add_parts(op, &operands, NULL, 0);
    return CONVOY_OK;
}

convoy_status cvy_gemm_run(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                           cvy_buffer *c, size_t c_offset, bool accumulate, cvy_buffer *workspace) {
    return cvy_gemm_run_bias(op, a, a_offset, b, b_offset, NULL, c, c_offset, accumulate, workspace);
}
