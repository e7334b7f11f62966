/* Variants of ops against the op's reference. */
#include <stdio.h>
#include <string.h>

#include "ops/gemm/gemm.h"
#include "selftest/cases.h"
#include "selftest/selftest.h"
#include "tune/measure.h"

/* ---- Shapes of each op ---- */

static void conv2d_shape(size_t i, void *shape) {
    *(cvy_conv2d_shape *)shape = cvy_conv2d_case_shape(&cvy_conv2d_cases[i]);
}
static size_t conv2d_count(void) {
    return cvy_conv2d_case_count;
}

enum { TRANSPOSES = 4 };
static void gemm_shape(size_t i, void *shape) {
    const size_t *size = cvy_gemm_cases[i / TRANSPOSES], transposes = i % TRANSPOSES;
    cvy_gemm_shape s = {.transpose_a = transposes & 1,
                        .transpose_b = transposes & 2,
                        .m = size[0],
                        .n = size[1],
                        .k = size[2]};
    s.lda = s.transpose_a ? s.m : s.k;
    s.ldb = s.transpose_b ? s.k : s.n;
    s.ldc = s.n;
    *(cvy_gemm_shape *)shape = s;
}
static size_t gemm_count(void) {
    return TRANSPOSES * cvy_gemm_case_count;
}
static double gemm_tolerance(const char *variant, int pass, convoy_precision precision) {
    (void)pass;
    return cvy_gemm_tolerance(variant, precision);
}

typedef struct shapes_of {
    const cvy_op *op;
    size_t (*count)(void);
    void (*shape)(size_t i, void *shape);
    double (*tolerance)(const char *variant, int pass, convoy_precision precision);
} shapes_of;
static const shapes_of rows[] = {
    {&cvy_conv2d_op, conv2d_count, conv2d_shape, cvy_conv2d_tolerance},
    {&cvy_gemm_op, gemm_count, gemm_shape, gemm_tolerance},
};

/* ---- Cases: shapes, and of each the passes ---- */

enum { QUICK_SHAPES = 2 };

static cvy_task task_of(const shapes_of *row, size_t shape, int pass) {
    alignas(max_align_t) unsigned char memory[CVY_SHAPE_BYTES];
    row->shape(shape, memory);
    return cvy_task_of(row->op, memory, pass);
}

static int passes_of(const cvy_op *op) {
    int count = 0;
    while (op->passes[count])
        count++;
    return count;
}

static bool runs(convoy_device *device, const cvy_variant *variant, const cvy_task *task) {
    const cvy_job job = cvy_task_job(device, task);
    return variant->supports(&job);
}

/* The quick run takes the two smallest products that the variant runs, but the very smallest one. */
static bool is_among_quick(convoy_device *device, const shapes_of *row, const cvy_variant *variant,
                           size_t shape, int pass) {
    const cvy_task own = task_of(row, shape, pass);
    int smaller = 0, all = 0;
    for (size_t i = 0; i < row->count(); i++) {
        const cvy_task other = task_of(row, i, pass);
        const bool possible = runs(device, variant, &other);
        all += possible;
        smaller += possible && (other.flops < own.flops || (other.flops == own.flops && i < shape));
    }
    return all > QUICK_SHAPES ? smaller >= 1 && smaller <= QUICK_SHAPES : true;
}

static bool run_variant(const cvy_selftest_job *job, convoy_device *device, size_t i,
                        cvy_selftest_case *out) {
    const shapes_of *row = job->about[0];
    const cvy_variant *variant = job->about[1];
    const int passes = passes_of(row->op), pass = (int)(i % (size_t)passes);
    const size_t shape = i / (size_t)passes;
    const cvy_task task = task_of(row, shape, pass);
    if (!runs(device, variant, &task) ||
        (job->level == CVY_SELFTEST_QUICK && !is_among_quick(device, row, variant, shape, pass)))
        return false;
    const cvy_key key = cvy_task_key(&task);
    snprintf(out->name, sizeof out->name, "%s %s", key.pass, key.shape);
    job->tell(job->context, out->name);
    out->status = cvy_measure_check(
        device, &task, variant->name,
        row->tolerance(variant->name, pass, cvy_device_get_traits(device)->precision), &out->error);
    return true;
}

/* Is it made for this kind of device, or for any? */
static bool is_own(const cvy_variant *variant, const cvy_device_traits *traits) {
    return variant->made_for == CVY_FOR_ALL || (variant->made_for == CVY_FOR_CPUS) == traits->cpu;
}

void cvy_selftest_variants(convoy_device *device, cvy_selftest_level level, cvy_selftest_job *jobs,
                           size_t *count) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    for (size_t r = 0; r < sizeof rows / sizeof *rows && !traits->host; r++) {
        const cvy_op *op = rows[r].op;
        for (size_t v = 0; op->variants[v] && *count < CVY_SELFTEST_PARTS; v++) {
            if (level < CVY_SELFTEST_FULL && !is_own(op->variants[v], traits))
                continue;
            cvy_selftest_job *job = &jobs[(*count)++];
            *job = (cvy_selftest_job){.patience = 1,
                                      .cases = rows[r].count() * (size_t)passes_of(op),
                                      .run = run_variant,
                                      .about = {&rows[r], op->variants[v]},
                                      .level = level};
            snprintf(job->name, sizeof job->name, "%s:%s", op->name, op->variants[v]->name);
        }
    }
}
