/* Matrix product: the checks, the host reference, the table of variants and the entry points. a file per
   variant beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "ops/gemm/variant.h"
#include "ops/vector.h"

/* In order of preference. */
static const cvy_gemm_method *const variants[] = {
    &cvy_gemm_vector_cpu, &cvy_gemm_tile_cpu, &cvy_gemm_mma_nvidia, &cvy_gemm_tile_gpu, &cvy_gemm_clblast};
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

void cvy_gemm_shape_write(const cvy_gemm_shape *s, char text[CVY_SHAPE_TEXT]) {
    snprintf(text, CVY_SHAPE_TEXT, "%c%c,%zu,%zu,%zu", s->transpose_a ? 't' : 'n', s->transpose_b ? 't' : 'n',
             s->m, s->n, s->k);
}

bool cvy_gemm_shape_read(const char *text, cvy_gemm_shape *s) {
    char a, b;
    *s = (cvy_gemm_shape){0};
    if (sscanf(text, "%c%c,%zu,%zu,%zu", &a, &b, &s->m, &s->n, &s->k) != 5)
        return false;
    s->transpose_a = a == 't';
    s->transpose_b = b == 't';
    s->lda = s->transpose_a ? s->m : s->k;
    s->ldb = s->transpose_b ? s->k : s->n;
    s->ldc = s->n;
    return true;
}

cvy_task cvy_gemm_task(const cvy_gemm_shape *s) {
    const double m = (double)s->m, n = (double)s->n, k = (double)s->k, flops = 2 * m * n * k;
    cvy_task task = {.op = "gemm",
                     .pass = "product",
                     .flops = flops,
                     .work = cvy_choice_work(flops, sizeof(float) * (m * k + k * n + m * n)),
                     .uses = 1};
    cvy_gemm_shape_write(s, task.shape);
    return task;
}

size_t cvy_gemm_candidates(convoy_device *device, const cvy_gemm_shape *shape,
                           cvy_candidate_variant *candidates) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    size_t count = 0;
    for (int i = 0; i < VARIANTS && !traits->host; i++)
        if (variants[i]->supports(traits, shape)) {
            const bool first = count == 0 && variants[i]->preferred(traits);
            /* CLBlast takes seconds to build on a CPU, to run at a fraction of the speed of tile_cpu. */
            const cvy_fit fit = first ? CVY_FIT_LIKELY : traits->cpu ? CVY_FIT_FOREIGN : CVY_FIT_POSSIBLE;
            candidates[count++] = (cvy_candidate_variant){variants[i]->name, fit};
        }
    return count;
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

static const cvy_gemm_method *find_method(const char *name) {
    for (int i = 0; name && i < VARIANTS; i++)
        if (!strcmp(variants[i]->name, name))
            return variants[i];
    return NULL;
}

static convoy_status choose_forced(convoy_device *device, const cvy_gemm_shape *shape, const cvy_task *task,
                                   const char *name, const cvy_gemm_method **chosen) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    *chosen = find_method(name);
    if (!*chosen) {
        const char *nearest = cvy_text_nearest(name, cvy_gemm_variants(), VARIANTS);
        return cvy_fail(CONVOY_INVALID, "gemm has no variant \"%s\"; did you mean \"%s\"?", name,
                        nearest ? nearest : variants[0]->name);
    }
    if (traits->host || !(*chosen)->supports(traits, shape))
        return cvy_fail(CONVOY_DEVICE, "gemm variant \"%s\" does not run on this device", name);
    const char *reason = cvy_choice_aside(device, task->op, task->pass, task->shape, name);
    if (reason)
        cvy_warning("gemm's variant %s is forced, though it was set aside here: %s", name, reason);
    return CONVOY_OK;
}

/* Do the heuristics take it, as long as none before it is taken? */
static bool may_serve(convoy_device *device, const cvy_gemm_shape *shape, const cvy_task *task,
                      const cvy_gemm_method *method) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    return method->preferred(traits) && method->supports(traits, shape) &&
           !cvy_choice_aside(device, task->op, task->pass, task->shape, method->name);
}

/* What was measured; what the heuristics prefer of those that are not set aside. NULL: none. */
static const cvy_gemm_method *choose(convoy_device *device, const cvy_gemm_shape *shape, const cvy_task *task,
                                     cvy_origin *origin) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const cvy_gemm_method *best =
        traits->precision == CONVOY_FLOAT32 /* what measurements are made in */
            ? find_method(cvy_choice_find(device, task->op, task->pass, task->shape))
            : NULL;
    *origin = CVY_MEASURED;
    if (best && best->supports(traits, shape))
        return best;
    *origin = CVY_GUESSED;
    for (int i = 0; i < VARIANTS; i++)
        if (may_serve(device, shape, task, variants[i]))
            return variants[i];
    return NULL;
}

const char *cvy_gemm_choice(convoy_device *device, const cvy_gemm_shape *shape) {
    const cvy_task task = cvy_gemm_task(shape);
    cvy_origin origin;
    const cvy_gemm_method *method =
        cvy_device_get_traits(device)->host ? NULL : choose(device, shape, &task, &origin);
    return method ? method->name : "";
}

/* Chooses and prepares. A variant that cannot be made ready, and was not asked for by name, is set aside, and
   the next one serves. */
static convoy_status prepare(cvy_gemm *gemm, const char *name) {
    const cvy_gemm_shape *shape = &gemm->shape;
    const cvy_task task = cvy_gemm_task(shape);
    const bool empty = !shape->m || !shape->n || !shape->k;
    convoy_status status = CONVOY_OK;
    if (!name && cvy_device_get_traits(gemm->device)->host)
        return CONVOY_OK;
    if (name) {
        gemm->origin = CVY_FORCED;
        status = choose_forced(gemm->device, shape, &task, name, &gemm->variant);
        return status || empty ? status : gemm->variant->prepare(gemm);
    }
    for (int tries = 0; tries < VARIANTS; tries++) {
        gemm->variant = choose(gemm->device, shape, &task, &gemm->origin);
        if (!gemm->variant)
            break;
        status = empty ? CONVOY_OK : gemm->variant->prepare(gemm);
        if (status != CONVOY_DEVICE)
            return status;
        cvy_choice_set_aside(gemm->device, &task, "*", gemm->variant->name, convoy_error_message());
    }
    return cvy_fail(CONVOY_DEVICE, "no gemm variant runs on this device; use another one, or `convoy tune "
                                   "--forget` to try those again that were set aside");
}

convoy_status cvy_gemm_create(convoy_device *device, const cvy_gemm_shape *shape, const char *variant,
                              cvy_gemm **op) {
    *op = NULL;
    convoy_status status = check_shape(shape);
    if (status)
        return status;
    cvy_gemm *gemm = calloc(1, sizeof(*gemm));
    if (!gemm)
        return cvy_fail_memory("a gemm op", sizeof(*gemm));
    *gemm = (cvy_gemm){.device = device, .shape = *shape, .room = SIZE_MAX};
    status = prepare(gemm, variant);
    if (!status && gemm->variant)
        status = cvy_kernel_get_simple(device, "gemm_sum", &gemm->sum);
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

cvy_origin cvy_gemm_origin(const cvy_gemm *op) {
    return op->origin;
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

/* In the place of a variant that failed, the first other one that makes do with its workspace and runs now.
   Where none does, the device is at fault and not the variant. */
static convoy_status replace(cvy_gemm *op, const cvy_gemm_operands *operands, convoy_status failure) {
    const cvy_gemm failed = *op;
    const cvy_task task = cvy_gemm_task(&op->shape);
    char reason[512];
    snprintf(reason, sizeof reason, "%s", convoy_error_message());
    for (int i = 0; i < VARIANTS; i++) {
        if (variants[i] == failed.variant || !may_serve(op->device, &op->shape, &task, variants[i]))
            continue;
        *op = (cvy_gemm){.device = failed.device,
                         .shape = failed.shape,
                         .variant = variants[i],
                         .room = failed.workspace,
                         .sum = failed.sum};
        if (op->variant->prepare(op) || op->workspace > op->room || op->variant->run(op, operands))
            continue;
        if (failure == CONVOY_DEVICE)
            cvy_choice_set_aside(op->device, &task, task.shape, failed.variant->name, reason);
        else /* another time there may be memory */
            cvy_warning("gemm's variant %s gives way to %s for %s: %s", failed.variant->name,
                        op->variant->name, task.shape, reason);
        return CONVOY_OK;
    }
    *op = failed;
    return cvy_fail(failure, "%s", reason);
}

static convoy_status run_variant(cvy_gemm *op, const cvy_gemm_operands *operands) {
    const convoy_status status = op->variant->run(op, operands);
    const bool failed = status == CONVOY_DEVICE || status == CONVOY_MEMORY;
    return failed && op->origin != CVY_FORCED ? replace(op, operands, status) : status;
}

static convoy_status finish(const cvy_gemm *op, const cvy_gemm_operands *o) {
    const cvy_gemm_shape *s = &op->shape;
    if (op->activates)
        return CONVOY_OK;
    if (s->activation)
        return cvy_activation_forward(op->device, s->activation, s->m * s->n, o->c, o->c);
    if (s->gradient_of)
        return cvy_activation_backward(op->device, s->gradient_of, s->m * s->n, o->made, o->c, o->c);
    return CONVOY_OK;
}

static convoy_status run(cvy_gemm *op, const cvy_gemm_operands *operands) {
    convoy_status status = CONVOY_OK;
    const size_t given = operands->workspace ? cvy_buffer_bytes(operands->workspace) : 0;
    if (!op->shape.m || !op->shape.n)
        return CONVOY_OK;
    if ((op->shape.activation || op->shape.gradient_of) && operands->c_offset)
        return cvy_fail(CONVOY_INVALID, "gemm applies an activation only to a C that begins its buffer");
    if (op->workspace > given)
        return cvy_fail(CONVOY_INVALID, "gemm needs a workspace of %zu bytes and was given %zu",
                        op->workspace, given);
    if (!op->variant)
        run_on_host(&op->shape, operands);
    else if (op->shape.k)
        status = run_variant(op, operands);
    else if (operands->bias || !operands->accumulate)
        status = cvy_gemm_add_parts(op, operands, NULL, 0);
    return status ? status : finish(op, operands);
}

convoy_status cvy_gemm_run_bias(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                                cvy_buffer *bias, cvy_buffer *c, size_t c_offset, bool accumulate,
                                cvy_buffer *workspace) {
    return run(op, &(cvy_gemm_operands){.a = a,
                                        .b = b,
                                        .c = c,
                                        .bias = bias,
                                        .workspace = op->workspace ? workspace : NULL,
                                        .a_offset = a_offset,
                                        .b_offset = b_offset,
                                        .c_offset = c_offset,
                                        .accumulate = accumulate});
}

convoy_status cvy_gemm_run_gradient(cvy_gemm *op, cvy_buffer *a, cvy_buffer *b, cvy_buffer *made,
                                    cvy_buffer *c, cvy_buffer *workspace) {
    return run(op, &(cvy_gemm_operands){
                       .a = a, .b = b, .c = c, .made = made, .workspace = op->workspace ? workspace : NULL});
}

convoy_status cvy_gemm_run(cvy_gemm *op, cvy_buffer *a, size_t a_offset, cvy_buffer *b, size_t b_offset,
                           cvy_buffer *c, size_t c_offset, bool accumulate, cvy_buffer *workspace) {
    return cvy_gemm_run_bias(op, a, a_offset, b, b_offset, NULL, c, c_offset, accumulate, workspace);
}
