/* Checking and timing one variant of one op, by what all ops share (cvy_op): inputs and outputs in buffers, a
   way to run, a reference. */
#include "tune/measure.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"

enum { INPUTS = CVY_OP_INPUTS, OUTPUTS = CVY_OP_OUTPUTS, RUNS_MIN = 3 };
/* Fewer runs than RUNS_MIN will do where they take this many times the seconds asked for. */
static const double long_runs = 5;

/* Of the largest output, by precision: Winograd's larger tiles lose the most digits in float32; the others
   round both factors of a product to 11 or 9 bits. */
static const double tolerances[] = {[CONVOY_FLOAT32] = 1e-4, [CONVOY_TF32] = 0x2p-11, [CONVOY_BF16] = 0x2p-9};
/* What outputs hold before a run: what is not written shows. */
static const float poison = 1e6f;

/* A prepared op with the sizes of what it works on. `task` has the shape that is run, a small one or the real
   one. */
typedef struct job {
    convoy_device *device;
    cvy_task task;
    cvy_prepared op;
    cvy_op_tensors sizes; /* floats */
    cvy_op_buffers memory;
    double tolerance, error; /* of a check */
} job;

/* The variant whose kernels run: where a setting is measured, the one that has it. */
static const char *runner_of(const cvy_task *task, const char *variant) {
    return task->option_of ? task->option_of->name : variant;
}

/* The real shape, or a small one that the variant runs. */
static convoy_status shape_job(job *j, convoy_device *device, const cvy_task *task, const char *variant,
                               bool small) {
    const cvy_op *op = task->op;
    const cvy_variant *runner = cvy_variant_find(op, runner_of(task, variant));
    const char *what = small ? "small enough for a check" : "it runs";
    cvy_job asked;
    *j = (job){.device = device, .task = *task};
    for (int cut = 0; runner && (!small || op->shrink(task->shape, cut, j->task.shape)); cut++) {
        asked = cvy_task_job(device, &j->task);
        if (runner->supports(&asked))
            return CONVOY_OK;
        if (!small)
            break;
    }
    return cvy_fail(CONVOY_INVALID, "%s has no shape for its variant %s that is %s", op->name, variant, what);
}

static convoy_status open_job(job *j, const char *variant) {
    const cvy_op *op = j->task.op;
    const cvy_job asked = cvy_task_job(j->device, &j->task);
    convoy_status status = j->task.option_of ? j->task.option_of->option->use(j->device, variant) : CONVOY_OK;
    if (!status)
        status = cvy_prepared_open(op, &asked, runner_of(&j->task, variant), &j->op);
    op->tensors(j->task.shape, j->task.pass, &j->sizes);
    return status;
}

static void close_job(job *j) {
    cvy_prepared_close(&j->op);
    for (int i = 0; i < INPUTS; i++)
        cvy_buffer_free(j->memory.inputs[i]);
    for (int i = 0; i < OUTPUTS; i++)
        cvy_buffer_free(j->memory.outputs[i]);
    cvy_buffer_free(j->memory.workspace);
    *j = (job){0};
}

static convoy_status run_job(job *j, bool accumulate) {
    j->memory.accumulate = accumulate;
    return j->task.op->run(&j->op, &j->memory);
}

static convoy_status allocate(job *j) {
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < INPUTS && !status; i++)
        if (j->sizes.inputs[i])
            status = cvy_buffer_create(j->device, j->sizes.inputs[i] * sizeof(float), "inputs",
                                       &j->memory.inputs[i]);
    for (int i = 0; i < OUTPUTS && !status; i++)
        if (j->sizes.outputs[i])
            status = cvy_buffer_create(j->device, j->sizes.outputs[i] * sizeof(float), "outputs",
                                       &j->memory.outputs[i]);
    return status ? status
                  : cvy_buffer_create(j->device, j->op.needs.workspace, "workspace", &j->memory.workspace);
}

/* ---- Checking ---- */

float *cvy_random_floats(size_t count, uint32_t stream) {
    float *values = malloc((count ? count : 1) * sizeof *values);
    cvy_rng rng = cvy_rng_stream(0, CVY_RNG_SYNTHETIC, stream);
    for (size_t i = 0; values && i < count; i++)
        values[i] = 2 * cvy_rng_uniform(&rng) - 1;
    return values;
}

convoy_status cvy_compare(const float *actual, const float *expected, size_t count, double tolerance,
                          double *error) {
    double worst = 0, scale = 1;
    size_t where = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)actual[i] - (double)expected[i]);
        scale = fmax(scale, fabs((double)expected[i]));
        if (!(difference <= worst)) {
            worst = isnan(difference) ? INFINITY : difference;
            where = i;
        }
    }
    *error = fmax(*error, worst / scale);
    if (worst <= tolerance * scale)
        return CONVOY_OK;
    return cvy_fail(CONVOY_FAILED, "wrong values: value %zu of %zu is %.6g where %.6g is right", where, count,
                    (double)actual[where], (double)expected[where]);
}

/* What is there before a run, and in the end what is right, for one output. */
static convoy_status begin_output(job *j, int i, bool accumulate, float **expected) {
    const size_t count = j->sizes.outputs[i];
    *expected = cvy_random_floats(count, (uint32_t)(10 + i));
    if (!*expected)
        return cvy_fail_memory("a check", count * sizeof(float));
    for (size_t k = 0; !accumulate && k < count; k++)
        (*expected)[k] = poison;
    return cvy_buffer_write(j->memory.outputs[i], 0, *expected, count * sizeof(float));
}

/* malloc'ed. */
static convoy_status read_floats(cvy_buffer *buffer, size_t count, float **values) {
    *values = malloc(count * sizeof **values);
    return *values ? cvy_buffer_read(buffer, 0, *values, count * sizeof **values)
                   : cvy_fail_memory("a check", count * sizeof **values);
}

static convoy_status compare_output(job *j, int i, const float *expected) {
    float *actual;
    convoy_status status = read_floats(j->memory.outputs[i], j->sizes.outputs[i], &actual);
    if (!status)
        status = cvy_compare(actual, expected, j->sizes.outputs[i], j->tolerance, &j->error);
    free(actual);
    return status;
}

/* Kernels leave what they read as it is. */
static convoy_status compare_input(const job *j, int i, const float *given) {
    float *actual;
    convoy_status status = read_floats(j->memory.inputs[i], j->sizes.inputs[i], &actual);
    if (!status && memcmp(actual, given, j->sizes.inputs[i] * sizeof *actual) != 0)
        status = cvy_fail(CONVOY_FAILED, "wrong values: input %d, which is only read, was changed", i + 1);
    free(actual);
    return status;
}

/* One run against the reference. */
static convoy_status check_run(job *j, float *const *in, bool accumulate) {
    float *expected[OUTPUTS] = {NULL};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < OUTPUTS && !status; i++)
        if (j->sizes.outputs[i])
            status = begin_output(j, i, accumulate, &expected[i]);
    if (!status)
        status = run_job(j, accumulate);
    if (!status)
        j->task.op->reference(&j->op.job, in, expected, accumulate);
    for (int i = 0; i < OUTPUTS && !status; i++)
        if (j->sizes.outputs[i])
            status = compare_output(j, i, expected[i]);
    for (int i = 0; i < OUTPUTS; i++)
        free(expected[i]);
    return status;
}

static convoy_status check(job *j, double tolerance) {
    j->tolerance = tolerance;
    float *in[INPUTS] = {NULL};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < INPUTS && !status; i++) {
        in[i] = cvy_random_floats(j->sizes.inputs[i], (uint32_t)i);
        if (!in[i])
            status = cvy_fail_memory("a check", j->sizes.inputs[i] * sizeof(float));
        else if (j->sizes.inputs[i])
            status = cvy_buffer_write(j->memory.inputs[i], 0, in[i], j->sizes.inputs[i] * sizeof(float));
    }
    for (int accumulate = 0; accumulate <= j->sizes.accumulates && !status; accumulate++)
        status = check_run(j, in, accumulate);
    for (int i = 0; i < INPUTS && !status; i++)
        if (j->sizes.inputs[i])
            status = compare_input(j, i, in[i]);
    for (int i = 0; i < INPUTS; i++)
        free(in[i]);
    return status;
}

/* ---- Timing ---- */

/* Random values, the same block of them over and over: making gigabytes of them would take longer than what
   is to be timed. */
static convoy_status fill(cvy_buffer *buffer, const float *block, size_t block_bytes) {
    const size_t bytes = cvy_buffer_bytes(buffer);
    size_t done = bytes < block_bytes ? bytes : block_bytes;
    convoy_status status = cvy_buffer_write(buffer, 0, block, done);
    while (done < bytes && !status) {
        const size_t more = bytes - done < done ? bytes - done : done;
        status = cvy_buffer_copy(buffer, 0, buffer, done, more);
        done += more;
    }
    return status;
}

static convoy_status fill_inputs(const job *j) {
    enum { BLOCK = 1 << 18 };
    float *block = cvy_random_floats(BLOCK, 20);
    convoy_status status = block ? CONVOY_OK : cvy_fail_memory("random values", BLOCK * sizeof *block);
    for (int i = 0; i < INPUTS && !status; i++)
        if (j->memory.inputs[i])
            status = fill(j->memory.inputs[i], block, BLOCK * sizeof *block);
    free(block);
    return status;
}

static convoy_status run_to_end(job *j, bool accumulate) {
    convoy_status status = run_job(j, accumulate);
    return status ? status : cvy_device_finish(j->device);
}

static convoy_status run_for(job *j, double seconds, double *best) {
    convoy_status status = CONVOY_OK;
    double now = cvy_seconds();
    const double end = now + seconds, late = now + long_runs * seconds;
    *best = INFINITY;
    for (int run = 0; (now < end || (run < RUNS_MIN && now < late) || !run) && !status; run++) {
        const double start = now;
        status = run_to_end(j, false);
        now = cvy_seconds();
        *best = fmin(*best, now - start);
    }
    return status;
}

/* ---- All of it ---- */

static convoy_status prepare(job *j, convoy_device *device, const cvy_task *task, const char *variant,
                             bool small) {
    close_job(j);
    convoy_status status = shape_job(j, device, task, variant, small);
    if (!status)
        status = open_job(j, variant);
    if (!status)
        status = allocate(j);
    return status ? status : fill_inputs(j);
}

/* Small shapes that passed in this process, as words: those of several real ones are often the same. */
enum { PASSED = 64, PASSED_NAME = 192 };
static char passed[PASSED][PASSED_NAME];
static size_t passed_count;
static pthread_mutex_t passed_lock = PTHREAD_MUTEX_INITIALIZER;

static void name_check(const job *j, const char *variant, char name[PASSED_NAME]) {
    const cvy_key key = cvy_task_key(&j->task);
    snprintf(name, PASSED_NAME, "%s %s %s %s", key.op, key.pass, variant, key.shape);
}

/* `add`: it has now. */
static bool has_passed(const job *j, const char *variant, bool add) {
    char name[PASSED_NAME];
    bool found = false;
    name_check(j, variant, name);
    pthread_mutex_lock(&passed_lock);
    for (size_t i = 0; i < passed_count; i++)
        found |= strcmp(passed[i], name) == 0;
    if (add && !found && passed_count < PASSED)
        memcpy(passed[passed_count++], name, sizeof name);
    pthread_mutex_unlock(&passed_lock);
    return found;
}

/* Each way to run that a later stage takes. */
static convoy_status run_first(job *j, bool small) {
    convoy_status status = run_to_end(j, false);
    return status || !small || !j->sizes.accumulates ? status : run_to_end(j, true);
}

convoy_status cvy_measure(convoy_device *device, const cvy_task *task, const char *variant, double seconds,
                          void (*done)(void *context, cvy_stage stage), void *context, double *best) {
    job j = {0};
    convoy_status status = CONVOY_OK;
    cvy_stage first = CVY_STAGE_BUILD;
    if (!shape_job(&j, device, task, variant, true) && has_passed(&j, variant, false)) {
        done(context, CVY_STAGE_CHECK);
        first = CVY_STAGE_BUILD_REAL;
    }
    for (cvy_stage stage = first; stage < CVY_STAGE_DONE && !status; stage++) {
        const bool small = stage <= CVY_STAGE_CHECK;
        if (stage == CVY_STAGE_BUILD || stage == CVY_STAGE_BUILD_REAL)
            status = prepare(&j, device, task, variant, small);
        else if (stage == CVY_STAGE_FIRST || stage == CVY_STAGE_FIRST_REAL)
            status = run_first(&j, small);
        else
            status = small ? check(&j, tolerances[cvy_device_get_traits(device)->precision])
                           : run_for(&j, seconds, best);
        if (!status && stage == CVY_STAGE_CHECK)
            has_passed(&j, variant, true);
        if (!status)
            done(context, stage);
    }
    close_job(&j);
    return status;
}

convoy_status cvy_measure_check(convoy_device *device, const cvy_task *task, const char *variant,
                                double tolerance, double *error) {
    job j = {0};
    convoy_status status = prepare(&j, device, task, variant, false);
    if (!status)
        status = check(&j, tolerance);
    *error = j.error;
    close_job(&j);
    return status;
}
