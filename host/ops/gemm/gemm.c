/* Matrix product: the op's row of tables, the checks and the entry points. A file per variant beside it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "ops/gemm/variant.h"
#include "ops/shape_text.h"

_Static_assert(sizeof(cvy_gemm_shape) <= CVY_SHAPE_BYTES, "CVY_SHAPE_BYTES");

/* ---- The op among others ---- */

static void write_shape(const void *shape, char text[CVY_SHAPE_TEXT]) {
    const cvy_gemm_shape *s = shape;
    snprintf(text, CVY_SHAPE_TEXT, "%c%c,%zu,%zu,%zu", s->transpose_a ? 't' : 'n', s->transpose_b ? 't' : 'n',
             s->m, s->n, s->k);
}

static void make_dense(cvy_gemm_shape *s) {
    s->lda = s->transpose_a ? s->m : s->k;
    s->ldb = s->transpose_b ? s->k : s->n;
    s->ldc = s->n;
}

static bool read_shape(const char *text, void *shape) {
    cvy_gemm_shape *s = shape;
    long long sizes[3];
    if (strspn(text, "nt") != 2 || text[2] != ',' || !cvy_shape_read_numbers(text + 3, LLONG_MAX, sizes, 3))
        return false;
    *s = (cvy_gemm_shape){.transpose_a = text[0] == 't',
                          .transpose_b = text[1] == 't',
                          .m = (size_t)sizes[0],
                          .n = (size_t)sizes[1],
                          .k = (size_t)sizes[2]};
    make_dense(s);
    return true;
}

static cvy_cost cost(const void *shape, int pass) {
    const cvy_gemm_shape *s = shape;
    const double m = (double)s->m, n = (double)s->n, k = (double)s->k;
    (void)pass;
    return (cvy_cost){.flops = 2 * m * n * k, .bytes = sizeof(float) * (m * k + k * n + m * n)};
}

/* Sizes that are multiples of 16, as the batch's pitch is, stay so. */
static size_t small_size(size_t size, size_t even, size_t odd) {
    return min_size(size, size % 16 == 0 ? even : odd);
}

static bool shrink(const void *shape, int cut, void *small) {
    cvy_gemm_shape *s = small;
    *s = *(const cvy_gemm_shape *)shape;
    s->m = small_size(s->m, 203, 203);
    s->n = small_size(s->n, 144, 149);
    s->k = small_size(s->k, 272, 277);
    make_dense(s);
    return cut == 0;
}

static void tensors(const void *shape, int pass, cvy_op_tensors *t) {
    const cvy_gemm_shape *s = shape;
    (void)pass;
    *t = (cvy_op_tensors){
        .inputs = {s->m * s->k, s->k * s->n, s->m}, .outputs = {s->m * s->n}, .accumulates = true};
}

static void reference(const cvy_job *job, float *const *in, float *const *out, bool accumulate) {
    const cvy_gemm_shape *s = job->shape;
    for (size_t i = 0; i < s->m * s->n; i++)
        out[0][i] = (accumulate ? out[0][i] : 0) + in[2][i / s->n];
    cvy_gemm_reference(s, in[0], in[1], out[0], true);
}

static convoy_status run_buffers(cvy_prepared *prepared, const cvy_op_buffers *b) {
    return cvy_prepared_run(prepared, &(cvy_gemm_operands){.a = b->inputs[0],
                                                           .b = b->inputs[1],
                                                           .bias = b->inputs[2],
                                                           .c = b->outputs[0],
                                                           .workspace = b->workspace,
                                                           .accumulate = b->accumulate});
}

static const char *const passes[] = {"product", NULL};

static const cvy_variant *const variants[] = {&cvy_gemm_reference_variant,
                                              &cvy_gemm_vector_cpu,
                                              &cvy_gemm_tile_cpu,
                                              &cvy_gemm_mma_nvidia,
                                              &cvy_gemm_tile_gpu,
                                              &cvy_gemm_clblast,
                                              NULL};

const cvy_op cvy_gemm_op = {.name = "gemm",
                            .alias = "linear",
                            .passes = passes,
                            .variants = variants,
                            .shape_size = sizeof(cvy_gemm_shape),
                            .replaces = true,
                            .write = write_shape,
                            .read = read_shape,
                            .cost = cost,
                            .shrink = shrink,
                            .tensors = tensors,
                            .reference = reference,
                            .run = run_buffers};

/* ---- Preparing ---- */

struct cvy_gemm {
    cvy_gemm_shape shape;
    cvy_prepared prepared; /* never opened where the product is empty */
    cvy_kernel *sum;       /* for a k of 0 */
    cvy_elementwise ends;  /* the activation, where the variant leaves it */
};

static bool is_empty(const cvy_gemm_shape *s) {
    return !s->m || !s->n || !s->k;
}

static convoy_status check_shape(const cvy_gemm_shape *s) {
    size_t a = s->transpose_a ? s->m : s->k, b = s->transpose_b ? s->k : s->n;
    if (s->lda < a || s->ldb < b || s->ldc < s->n)
        return cvy_fail(
            CONVOY_INVALID,
            "gemm of %zux%zux%zu: leading dimensions %zu, %zu, %zu are below the rows' lengths %zu, "
            "%zu, %zu",
            s->m, s->n, s->k, s->lda, s->ldb, s->ldc, a, b, s->n);
    if ((s->activation || s->gradient_of) && s->ldc != s->n)
        return cvy_fail(CONVOY_INVALID, "gemm applies an activation only to a dense C: rows of %zu, not %zu",
                        s->n, s->ldc);
    return CONVOY_OK;
}

/* What an empty product chooses is not opened. */
static convoy_status prepare(const cvy_job *job, const char *variant, cvy_prepared *prepared) {
    convoy_status status = check_shape(job->shape);
    if (!status)
        status = cvy_forced_check(&cvy_gemm_op, variant, job, 1);
    if (status)
        return status;
    return is_empty(job->shape) ? cvy_prepared_choose(&cvy_gemm_op, job, variant, prepared)
                                : cvy_prepared_open(&cvy_gemm_op, job, variant, prepared);
}

convoy_status cvy_gemm_describe(const cvy_device_traits *traits, convoy_device *device,
                                const cvy_gemm_shape *shape, const char *variant, cvy_needs *needs) {
    cvy_prepared prepared = {0};
    cvy_job job = cvy_job_on(traits, device, shape, 0);
    job.describes = true;
    const convoy_status status = prepare(&job, variant, &prepared);
    *needs = prepared.needs;
    return status;
}

/* Even where the variant does it: another may have to take its place. */
static convoy_status prepare_end(convoy_device *device, const cvy_gemm_shape *s, cvy_elementwise *ends) {
    const size_t count = s->m * s->n;
    return s->gradient_of
               ? cvy_elementwise_prepare(device, CVY_ACTIVATE_BACKWARD, s->gradient_of, count, ends)
               : cvy_elementwise_prepare(device, CVY_ACTIVATE, s->activation, count, ends);
}

convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op) {
    cvy_gemm *gemm = calloc(1, sizeof *gemm);
    *op = NULL;
    if (!gemm)
        return cvy_fail_memory("a gemm op", sizeof *gemm);
    gemm->shape = *shape;
    const cvy_job job = cvy_job_of(device, &gemm->shape, 0);
    convoy_status status = prepare(&job, variant, &gemm->prepared);
    if (!status && is_empty(shape) && !job.traits->host)
        status = cvy_kernel_get_simple(device, "gemm/sum", "gemm_sum", &gemm->sum);
    if (!status)
        status = prepare_end(device, shape, &gemm->ends);
    if (status)
        cvy_gemm_free(gemm);
    else
        *op = gemm;
    return status;
}

void cvy_gemm_free(cvy_gemm *op) {
    if (op)
        cvy_prepared_close(&op->prepared);
    free(op);
}

const char *cvy_gemm_variant(const cvy_gemm *op) {
    return op->prepared.variant->name;
}

size_t cvy_gemm_workspace(const cvy_gemm *op) {
    return op->prepared.needs.workspace;
}

cvy_origin cvy_gemm_origin(const cvy_gemm *op) {
    return op->prepared.origin;
}

/* ---- Running ---- */

convoy_status cvy_gemm_add_parts(cvy_kernel *sum, const cvy_gemm_shape *s, const cvy_gemm_operands *operands,
                                 cvy_buffer *from, size_t parts) {
    return CVY_LAUNCH(sum, cvy_items3(s->n, s->m, 1), cvy_buf(from), cvy_uint((uint32_t)parts),
                      cvy_buf(operands->c), cvy_ulong(operands->c_offset), cvy_ulong(s->ldc),
                      cvy_buf(operands->bias), cvy_ulong(s->m), cvy_ulong(s->n),
                      cvy_int(operands->accumulate));
}

static convoy_status run_empty(const cvy_gemm *op, const cvy_gemm_operands *operands) {
    if (!op->sum)
        return cvy_gemm_run_reference(&op->shape, operands);
    return operands->bias || !operands->accumulate
               ? cvy_gemm_add_parts(op->sum, &op->shape, operands, NULL, 0)
               : CONVOY_OK;
}

static convoy_status finish(const cvy_gemm *op, const cvy_gemm_operands *o) {
    if (op->prepared.needs.fuses)
        return CONVOY_OK;
    return op->shape.gradient_of ? cvy_elementwise_run(&op->ends, o->made, o->c, o->c)
                                 : cvy_elementwise_run(&op->ends, o->c, NULL, o->c);
}

convoy_status cvy_gemm_run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    const size_t wanted = cvy_gemm_workspace(op);
    const size_t given = operands->workspace ? cvy_buffer_bytes(operands->workspace) : 0;
    if (!op->shape.m || !op->shape.n)
        return CONVOY_OK;
    if ((op->shape.activation || op->shape.gradient_of) && operands->c_offset)
        return cvy_fail(CONVOY_INVALID, "gemm applies an activation only to a C that begins its buffer");
    if (wanted > given)
        return cvy_fail(CONVOY_INVALID, "gemm needs a workspace of %zu bytes and was given %zu", wanted,
                        given);
    const convoy_status status =
        op->shape.k ? cvy_prepared_run(&op->prepared, operands) : run_empty(op, operands);
    return status ? status : finish(op, operands);
}
