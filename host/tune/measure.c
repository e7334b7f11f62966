/* Checking and timing one variant of one op. An op is reduced to what all of them share: inputs and outputs
   in buffers, a way to run, a reference. */
#include "tune/measure.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/integer.h"
#include "base/rng.h"
#include "base/status.h"
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/gemm.h"

enum { INPUTS = 3, OUTPUTS = 2, RUNS_MIN = 3 };
/* Fewer runs than RUNS_MIN will do where they take this many times the seconds asked for. */
static const double long_runs = 5;

/* Of the largest output, by precision: Winograd's larger tiles lose the most digits in float32; the others
   round both factors of a product to 11 or 9 bits. */
static const double tolerances[] = {[CONVOY_FLOAT32] = 1e-4, [CONVOY_TF32] = 0x2p-11, [CONVOY_BF16] = 0x2p-9};
/* Products of the small shape: a few dozen milliseconds of the reference. */
static const double small_flops = 4e7;
/* What outputs hold before a run: what is not written shows. */
static const float poison = 1e6f;

/* A prepared op with the sizes of what it works on. */
typedef struct job {
    convoy_device *device;
    int pass;
    cvy_conv2d_shape conv;
    cvy_conv2d *conv_op; /* one of the two ops is NULL */
    cvy_gemm_shape product;
    cvy_gemm *gemm_op;
    size_t inputs[INPUTS], outputs[OUTPUTS]; /* floats */
    size_t workspace;                        /* bytes */
    bool accumulates;                        /* it can add to what is there */
} job;

typedef struct memory {
    cvy_buffer *inputs[INPUTS], *outputs[OUTPUTS], *workspace;
} memory;

/* ---- conv2d ---- */

static int pass_of(const char *name) {
    for (int pass = 0; pass < 3; pass++)
        if (strcmp(name, cvy_conv2d_passes[pass]) == 0)
            return pass;
    return -1;
}

/* At most `pixels` outputs, by cutting the input. */
static int small_axis(int in, int out, int kernel, int stride, int padding, int dilation, int pixels) {
    if (out <= pixels)
        return in;
    const int wanted = (pixels - 1) * stride + dilation * (kernel - 1) + 1 - 2 * padding;
    return wanted < 1 ? 1 : min_int(wanted, in);
}

/* Vectors and blocks over images are chosen by the pitch's divisors: they stay, up to 64. */
static int small_pitch(int pitch) {
    return pitch % 64 == 0 ? 64 : pitch % 32 == 0 ? 32 : pitch % 16 == 0 ? 16 : pitch;
}

enum { CUTS = 3 };

/* Channels per group that are no multiple of anything; of 32, for variants that want that; the real ones. */
static bool cut_conv(const cvy_conv2d_shape *real, int cut, cvy_conv2d_shape *s) {
    const int channels[CUTS][2] = {{19, 29}, {32, 32}, {INT_MAX, INT_MAX}}, pixels = 13;
    *s = *real;
    s->groups = min_int(real->groups, 3);
    s->in_channels = s->groups * min_int(real->in_channels / real->groups, channels[cut][0]);
    s->out_channels = s->groups * min_int(real->out_channels / real->groups, channels[cut][1]);
    s->pitch = small_pitch(real->pitch);
    s->in_height = small_axis(s->in_height, s->out_height, s->kernel[0], s->stride[0], s->padding[0],
                              s->dilation[0], pixels);
    s->in_width = small_axis(s->in_width, s->out_width, s->kernel[1], s->stride[1], s->padding[1],
                             s->dilation[1], pixels - 2);
    convoy_status status = cvy_conv2d_infer(s);
    while (!status && cvy_conv2d_task(s, CVY_CONV2D_FORWARD).flops > small_flops) {
        if (s->pitch > 16 && s->pitch % 32 == 0)
            s->pitch /= 2;
        else if (s->in_channels > 7 * s->groups && cut == 0)
            s->in_channels = 7 * s->groups;
        else
            break;
    }
    return !status;
}

static bool supports(const job *j, const char *variant) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_conv2d_candidates(j->device, &j->conv, (cvy_conv2d_pass)j->pass, candidates);
    for (size_t i = 0; i < count; i++)
        if (strcmp(candidates[i].name, variant) == 0)
            return true;
    return false;
}

static convoy_status shape_conv(job *j, const char *shape, const char *variant, bool small) {
    cvy_conv2d_shape real;
    if (!cvy_conv2d_shape_read(shape, &real))
        return cvy_fail(CONVOY_INVALID, "conv2d has no shape `%s`", shape);
    j->conv = real;
    for (int cut = 0; small && cut < CUTS; cut++)
        if (cut_conv(&real, cut, &j->conv) && supports(j, variant))
            break;
    if (!supports(j, variant))
        return cvy_fail(CONVOY_INVALID, "no shape that is small enough for a check");
    return CONVOY_OK;
}

static convoy_status open_conv(job *j, const char *variant) {
    convoy_status status = cvy_conv2d_create(j->device, &j->conv, 1u << j->pass, variant, &j->conv_op);
    if (status)
        return status;
    const cvy_conv2d_shape *s = &j->conv;
    const size_t pitch = (size_t)s->pitch, out_channels = (size_t)s->out_channels;
    const size_t x = (size_t)(s->in_channels * s->in_height * s->in_width) * pitch;
    const size_t y = out_channels * (size_t)(s->out_height * s->out_width) * pitch;
    const size_t weights = out_channels * (size_t)(s->in_channels / s->groups * s->kernel[0] * s->kernel[1]);
    const size_t sizes[3][INPUTS + OUTPUTS] = {
        {x, weights, out_channels, y, 0}, {y, weights, 0, x, 0}, {x, y, 0, weights, out_channels}};
    memcpy(j->inputs, sizes[j->pass], sizeof j->inputs);
    memcpy(j->outputs, sizes[j->pass] + INPUTS, sizeof j->outputs);
    j->workspace = cvy_conv2d_workspace(j->conv_op);
    j->accumulates = j->pass == CVY_CONV2D_BACKWARD_WEIGHTS;
    return CONVOY_OK;
}

static convoy_status run_conv(const job *j, const memory *m, bool accumulate) {
    switch (j->pass) {
    case CVY_CONV2D_FORWARD:
        return cvy_conv2d_forward(j->conv_op, m->inputs[0], m->inputs[1], m->inputs[2], m->outputs[0],
                                  m->workspace);
    case CVY_CONV2D_BACKWARD_DATA:
        return cvy_conv2d_backward_data(j->conv_op, m->inputs[0], m->inputs[1], m->outputs[0], m->workspace);
    default:
        return cvy_conv2d_backward_weights(j->conv_op, m->inputs[0], m->inputs[1], m->outputs[0],
                                           m->outputs[1], accumulate, m->workspace);
    }
}

static void conv_reference(const job *j, float *const *in, float *const *out, bool accumulate) {
    switch (j->pass) {
    case CVY_CONV2D_FORWARD:
        cvy_conv2d_forward_reference(&j->conv, in[0], in[1], in[2], out[0]);
        break;
    case CVY_CONV2D_BACKWARD_DATA:
        cvy_conv2d_backward_data_reference(&j->conv, in[0], in[1], out[0]);
        break;
    default:
        cvy_conv2d_backward_weights_reference(&j->conv, in[0], in[1], out[0], out[1], accumulate);
    }
}

/* ---- gemm ---- */

/* Sizes that are multiples of 16, as the batch's pitch is, stay so. */
static size_t small_size(size_t size, size_t even, size_t odd) {
    const size_t most = size % 16 == 0 ? even : odd;
    return size < most ? size : most;
}

static convoy_status shape_gemm(job *j, const char *shape, bool small) {
    cvy_gemm_shape *s = &j->product;
    char text[CVY_SHAPE_TEXT];
    if (!cvy_gemm_shape_read(shape, s))
        return cvy_fail(CONVOY_INVALID, "gemm has no shape `%s`", shape);
    if (small) {
        s->m = small_size(s->m, 203, 203);
        s->n = small_size(s->n, 144, 149);
        s->k = small_size(s->k, 272, 277);
        cvy_gemm_shape_write(s, text);
        cvy_gemm_shape_read(text, s); /* leading dimensions */
    }
    return CONVOY_OK;
}

static convoy_status open_gemm(job *j, const char *variant) {
    const cvy_gemm_shape *s = &j->product;
    convoy_status status = cvy_gemm_create(j->device, s, variant, &j->gemm_op);
    if (status)
        return status;
    j->inputs[0] = s->m * s->k;
    j->inputs[1] = s->k * s->n;
    j->inputs[2] = s->m;
    j->outputs[0] = s->m * s->n;
    j->workspace = cvy_gemm_workspace(j->gemm_op);
    j->accumulates = true;
    return CONVOY_OK;
}

static void gemm_reference(const job *j, float *const *in, float *const *out, bool accumulate) {
    const cvy_gemm_shape *s = &j->product;
    for (size_t i = 0; i < s->m * s->n; i++)
        out[0][i] = (accumulate ? out[0][i] : 0) + in[2][i / s->n];
    cvy_gemm_reference(s, in[0], in[1], out[0], true);
}

/* ---- Any op ---- */

bool cvy_task_read(const char *op, const char *pass, const char *shape, cvy_task *task) {
    cvy_conv2d_shape conv;
    cvy_gemm_shape product;
    const int conv_pass = pass_of(pass);
    if (strcmp(op, "conv2d") == 0 && conv_pass >= 0 && cvy_conv2d_shape_read(shape, &conv))
        *task = cvy_conv2d_task(&conv, (cvy_conv2d_pass)conv_pass);
    else if (strcmp(op, "gemm") == 0 && cvy_gemm_shape_read(shape, &product))
        *task = cvy_gemm_task(&product);
    else if (strcmp(op, "clblast") == 0 && cvy_gemm_shape_read(shape, &product))
        *task = cvy_clblast_task(&product);
    else
        return false;
    return true;
}

static size_t clblast_candidates(convoy_device *device, cvy_candidate_variant *candidates) {
    const char *const *sets = cvy_clblast_sets();
    const bool cpu = cvy_device_get_traits(device)->cpu;
    size_t count = 0;
    for (; sets[count]; count++)
        candidates[count] = (cvy_candidate_variant){sets[count], cpu ? CVY_FIT_FOREIGN : CVY_FIT_POSSIBLE};
    return count;
}

size_t cvy_task_candidates(convoy_device *device, const cvy_task *task, cvy_candidate_variant *candidates) {
    cvy_conv2d_shape conv;
    cvy_gemm_shape product;
    if (strcmp(task->op, "conv2d") == 0 && cvy_conv2d_shape_read(task->shape, &conv))
        return cvy_conv2d_candidates(device, &conv, (cvy_conv2d_pass)pass_of(task->pass), candidates);
    if (strcmp(task->op, "gemm") == 0 && cvy_gemm_shape_read(task->shape, &product))
        return cvy_gemm_candidates(device, &product, candidates);
    return strcmp(task->op, "clblast") == 0 ? clblast_candidates(device, candidates) : 0;
}

bool cvy_task_has_candidate(convoy_device *device, const cvy_task *task, const char *variant) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_task_candidates(device, task, candidates);
    for (size_t i = 0; i < count; i++)
        if (strcmp(candidates[i].name, variant) == 0)
            return true;
    return false;
}

static convoy_status shape_job(job *j, convoy_device *device, const cvy_task *task, const char *variant,
                               bool small) {
    *j = (job){.device = device, .pass = pass_of(task->pass)};
    return j->pass < 0 ? shape_gemm(j, task->shape, small) : shape_conv(j, task->shape, variant, small);
}

static convoy_status open_job(job *j, const cvy_task *task, const char *variant) {
    if (strcmp(task->op, "clblast") == 0) {
        convoy_status status = cvy_clblast_use(j->device, variant);
        return status ? status : open_gemm(j, "clblast");
    }
    return j->pass < 0 ? open_gemm(j, variant) : open_conv(j, variant);
}

static void close_job(job *j) {
    cvy_conv2d_free(j->conv_op);
    cvy_gemm_free(j->gemm_op);
    *j = (job){0};
}

static convoy_status run_job(const job *j, const memory *m, bool accumulate) {
    if (j->conv_op)
        return run_conv(j, m, accumulate);
    return cvy_gemm_run_bias(j->gemm_op, m->inputs[0], 0, m->inputs[1], 0, m->inputs[2], m->outputs[0], 0,
                             accumulate, m->workspace);
}

static void free_memory(memory *m) {
    for (int i = 0; i < INPUTS; i++)
        cvy_buffer_free(m->inputs[i]);
    for (int i = 0; i < OUTPUTS; i++)
        cvy_buffer_free(m->outputs[i]);
    cvy_buffer_free(m->workspace);
    *m = (memory){0};
}

static convoy_status allocate(const job *j, memory *m) {
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < INPUTS && !status; i++)
        if (j->inputs[i])
            status = cvy_buffer_create(j->device, j->inputs[i] * sizeof(float), "inputs", &m->inputs[i]);
    for (int i = 0; i < OUTPUTS && !status; i++)
        if (j->outputs[i])
            status = cvy_buffer_create(j->device, j->outputs[i] * sizeof(float), "outputs", &m->outputs[i]);
    return status ? status : cvy_buffer_create(j->device, j->workspace, "workspace", &m->workspace);
}

/* ---- Checking ---- */

static float *random_floats(size_t count, uint32_t stream) {
    float *values = malloc((count ? count : 1) * sizeof *values);
    cvy_rng rng = cvy_rng_stream(0, CVY_RNG_SYNTHETIC, stream);
    for (size_t i = 0; values && i < count; i++)
        values[i] = 2 * cvy_rng_uniform(&rng) - 1;
    return values;
}

/* NaN never passes. */
static convoy_status compare(const float *actual, const float *expected, size_t count, double tolerance) {
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
    if (worst <= tolerance * scale)
        return CONVOY_OK;
    return cvy_fail(CONVOY_FAILED, "wrong values: value %zu of %zu is %.6g where %.6g is right", where, count,
                    (double)actual[where], (double)expected[where]);
}

/* One run against the reference. */
static convoy_status check_run(const job *j, const memory *m, float *const *in, bool accumulate) {
    float *expected[OUTPUTS] = {NULL}, *actual = NULL;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < OUTPUTS && !status; i++) {
        if (!j->outputs[i])
            continue;
        expected[i] = random_floats(j->outputs[i], (uint32_t)(10 + i));
        if (!expected[i])
            status = cvy_fail_memory("a check", j->outputs[i] * sizeof(float));
        for (size_t k = 0; !status && !accumulate && k < j->outputs[i]; k++)
            expected[i][k] = poison;
        if (!status)
            status = cvy_buffer_write(m->outputs[i], 0, expected[i], j->outputs[i] * sizeof(float));
    }
    if (!status)
        status = run_job(j, m, accumulate);
    if (!status && j->conv_op)
        conv_reference(j, in, expected, accumulate);
    else if (!status)
        gemm_reference(j, in, expected, accumulate);
    for (int i = 0; i < OUTPUTS && !status; i++) {
        actual = malloc((j->outputs[i] ? j->outputs[i] : 1) * sizeof *actual);
        if (!actual)
            status = cvy_fail_memory("a check", j->outputs[i] * sizeof(float));
        if (!status && j->outputs[i])
            status = cvy_buffer_read(m->outputs[i], 0, actual, j->outputs[i] * sizeof(float));
        if (!status)
            status = compare(actual, expected[i], j->outputs[i],
                             tolerances[cvy_device_get_traits(j->device)->precision]);
        free(actual);
    }
    for (int i = 0; i < OUTPUTS; i++)
        free(expected[i]);
    return status;
}

static convoy_status check(const job *j, const memory *m) {
    float *in[INPUTS] = {NULL};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < INPUTS && !status; i++) {
        in[i] = random_floats(j->inputs[i], (uint32_t)i);
        if (!in[i])
            status = cvy_fail_memory("a check", j->inputs[i] * sizeof(float));
        else if (j->inputs[i])
            status = cvy_buffer_write(m->inputs[i], 0, in[i], j->inputs[i] * sizeof(float));
    }
    for (int accumulate = 0; accumulate <= j->accumulates && !status; accumulate++)
        status = check_run(j, m, in, accumulate);
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

static convoy_status fill_inputs(const job *j, const memory *m) {
    enum { BLOCK = 1 << 18 };
    float *block = random_floats(BLOCK, 20);
    convoy_status status = block ? CONVOY_OK : cvy_fail_memory("random values", BLOCK * sizeof *block);
    for (int i = 0; i < INPUTS && !status; i++)
        if (j->inputs[i])
            status = fill(m->inputs[i], block, BLOCK * sizeof *block);
    free(block);
    return status;
}

static convoy_status run_to_end(const job *j, const memory *m, bool accumulate) {
    convoy_status status = run_job(j, m, accumulate);
    return status ? status : cvy_device_finish(j->device);
}

static convoy_status run_for(const job *j, const memory *m, double seconds, double *best) {
    convoy_status status = CONVOY_OK;
    double now = cvy_seconds();
    const double end = now + seconds, late = now + long_runs * seconds;
    *best = INFINITY;
    for (int run = 0; (now < end || (run < RUNS_MIN && now < late) || !run) && !status; run++) {
        const double start = now;
        status = run_to_end(j, m, false);
        now = cvy_seconds();
        *best = fmin(*best, now - start);
    }
    return status;
}

/* ---- All of it ---- */

static convoy_status prepare(job *j, memory *m, convoy_device *device, const cvy_task *task,
                             const char *variant, bool small) {
    free_memory(m);
    close_job(j);
    convoy_status status = shape_job(j, device, task, variant, small);
    if (!status)
        status = open_job(j, task, variant);
    if (!status)
        status = allocate(j, m);
    return status ? status : fill_inputs(j, m);
}

/* Small shapes that passed in this process, as words: those of several real ones are often the same. */
enum { PASSED = 64 };
static char passed[PASSED][192];
static size_t passed_count;

static void name_check(const job *j, const cvy_task *task, const char *variant, char name[192]) {
    char shape[CVY_SHAPE_TEXT];
    if (j->pass < 0)
        cvy_gemm_shape_write(&j->product, shape);
    else
        cvy_conv2d_shape_write(&j->conv, shape);
    snprintf(name, sizeof passed[0], "%s %s %s %s", task->op, task->pass, variant, shape);
}

static bool has_passed(convoy_device *device, const cvy_task *task, const char *variant) {
    job j;
    char name[sizeof passed[0]];
    if (shape_job(&j, device, task, variant, true))
        return false;
    name_check(&j, task, variant, name);
    for (size_t i = 0; i < passed_count; i++)
        if (strcmp(passed[i], name) == 0)
            return true;
    return false;
}

/* Each way to run that a later stage takes. */
static convoy_status run_first(const job *j, const memory *m, bool small) {
    convoy_status status = run_to_end(j, m, false);
    return status || !small || !j->accumulates ? status : run_to_end(j, m, true);
}

convoy_status cvy_measure(convoy_device *device, const cvy_task *task, const char *variant, double seconds,
                          void (*done)(void *context, cvy_stage stage), void *context, double *best) {
    job j = {0};
    memory m = {0};
    convoy_status status = CONVOY_OK;
    cvy_stage first = CVY_STAGE_BUILD;
    if (has_passed(device, task, variant)) {
        done(context, CVY_STAGE_CHECK);
        first = CVY_STAGE_BUILD_REAL;
    }
    for (cvy_stage stage = first; stage < CVY_STAGE_DONE && !status; stage++) {
        const bool small = stage <= CVY_STAGE_CHECK;
        if (stage == CVY_STAGE_BUILD || stage == CVY_STAGE_BUILD_REAL)
            status = prepare(&j, &m, device, task, variant, small);
        else if (stage == CVY_STAGE_FIRST || stage == CVY_STAGE_FIRST_REAL)
            status = run_first(&j, &m, small);
        else
            status = small ? check(&j, &m) : run_for(&j, &m, seconds, best);
        if (!status && stage == CVY_STAGE_CHECK && passed_count < PASSED)
            name_check(&j, task, variant, passed[passed_count++]);
        if (!status)
            done(context, stage);
    }
    free_memory(&m);
    close_job(&j);
    return status;
}
