/* Turns, copies and comparisons of verify.h. */
#include "ops/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* A buffer of the device: what it held, and what it holds. */
typedef struct copied {
    cvy_buffer *buffer;
    char *before, *after; /* malloc'ed; `after` NULL until it is read */
} copied;

/* A part of it on the host; buffer NULL: scratch. */
typedef struct twin {
    cvy_buffer *buffer, *host;
    cvy_cut cut;
} twin;

struct cvy_verifier {
    convoy_device *device, *host;
    unsigned long long every, batches;
    size_t turn;        /* counts down over the results of a batch */
    size_t at, results; /* asked for in this batch so far, and in the one before */
    bool due;
    copied copies[CVY_VERIFIED];
    twin twins[2 * CVY_VERIFIED];
    cvy_expected expected[CVY_EXPECTED];
    size_t copy_count, twin_count, expected_count;
    bool crowded;                /* more is expected than there is room for */
    unsigned long long verified; /* results */
    double worst;                /* of what was right, relative to what is allowed */
    char worst_at[160];
};

convoy_status cvy_verifier_create(convoy_device *device, cvy_verifier **out) {
    const int every = cvy_device_verifies(device);
    *out = NULL;
    if (!every || cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    cvy_verifier *v = calloc(1, sizeof *v);
    if (!v)
        return cvy_fail_memory("a watch on the device", sizeof *v);
    v->device = device;
    v->every = (unsigned long long)every;
    const convoy_status status = convoy_device_open("host", &v->host);
    if (status)
        free(v);
    else
        *out = v;
    return status;
}

void cvy_verifier_free(cvy_verifier *v) {
    if (!v)
        return;
    cvy_verifier_start(v);
    convoy_device_close(v->host);
    if (v->verified)
        cvy_info("verified: %llu results were computed once more on the host, and agree; the largest "
                 "difference is %.2g of what is allowed (%s)",
                 v->verified, v->worst, *v->worst_at ? v->worst_at : "none");
    free(v);
}

convoy_device *cvy_verifier_host(cvy_verifier *v) {
    return v->host;
}

/* ---- Turns ---- */

void cvy_verifier_begin(cvy_verifier *v) {
    if (!v)
        return;
    if (v->at)
        v->results = v->at;
    v->at = 0;
    v->due = v->batches++ % v->every == 0 && v->results;
    if (v->due)
        v->turn = (v->turn ? v->turn : v->results) - 1;
    if (v->due && v->turn >= v->results)
        v->turn = v->results - 1;
}

bool cvy_verifier_takes(cvy_verifier *v) {
    return v && v->at++ == v->turn && v->due;
}

/* ---- Copies ---- */

cvy_cut cvy_cut_whole(const cvy_buffer *buffer) {
    const size_t bytes = buffer ? cvy_buffer_bytes(buffer) : 0;
    return (cvy_cut){0, bytes, bytes, 1};
}

cvy_cut cvy_cut_columns(const cvy_buffer *buffer, size_t pitch, size_t size, size_t first, size_t width) {
    const size_t bytes = buffer ? cvy_buffer_bytes(buffer) : 0;
    return (cvy_cut){first * size, pitch * size, width * size, bytes / (pitch * size)};
}

void cvy_verifier_start(cvy_verifier *v) {
    for (size_t i = 0; i < v->copy_count; i++) {
        free(v->copies[i].before);
        free(v->copies[i].after);
    }
    for (size_t i = 0; i < v->twin_count; i++)
        cvy_buffer_free(v->twins[i].host);
    v->copy_count = v->twin_count = v->expected_count = 0;
    v->crowded = false;
}

static convoy_status read_whole(cvy_buffer *buffer, char **data) {
    const size_t bytes = cvy_buffer_bytes(buffer);
    *data = *data ? *data : malloc(bytes ? bytes : 1);
    return *data ? cvy_buffer_read(buffer, 0, *data, bytes) : cvy_fail_memory("a copy of a result", bytes);
}

static copied *find(const cvy_verifier *v, const cvy_buffer *buffer) {
    for (size_t i = 0; i < v->copy_count; i++)
        if (v->copies[i].buffer == buffer)
            return (copied *)&v->copies[i];
    return NULL;
}

const void *cvy_verifier_before(const cvy_verifier *v, const cvy_buffer *buffer) {
    const copied *copy = find(v, buffer);
    return copy ? copy->before : NULL;
}

static convoy_status fail_crowded(void) {
    return cvy_fail(CONVOY_FAILED, "internal error: a result has more operands than can be verified");
}

convoy_status cvy_verifier_scratch(cvy_verifier *v, size_t bytes, cvy_buffer **host) {
    if (v->twin_count == sizeof v->twins / sizeof *v->twins)
        return fail_crowded();
    const convoy_status status = cvy_buffer_create(v->host, bytes, "a result to compare with", host);
    if (!status)
        v->twins[v->twin_count++] = (twin){.host = *host};
    return status;
}

static void take_out(const char *from, cvy_cut cut, char *to) {
    for (size_t i = 0; i < cut.count; i++)
        memcpy(to + i * cut.length, from + cut.offset + i * cut.stride, cut.length);
}

static bool same_cut(cvy_cut a, cvy_cut b) {
    return a.offset == b.offset && a.stride == b.stride && a.length == b.length && a.count == b.count;
}

convoy_status cvy_verifier_copy(cvy_verifier *v, cvy_buffer *buffer, cvy_cut cut, cvy_buffer **host) {
    *host = NULL;
    if (!buffer)
        return CONVOY_OK;
    for (size_t i = 0; i < v->twin_count; i++)
        if (v->twins[i].buffer == buffer && same_cut(v->twins[i].cut, cut)) {
            *host = v->twins[i].host;
            return CONVOY_OK;
        }
    copied *copy = find(v, buffer);
    convoy_status status = CONVOY_OK;
    if (!copy && v->copy_count == CVY_VERIFIED)
        return fail_crowded();
    if (!copy) {
        copy = &v->copies[v->copy_count++];
        *copy = (copied){.buffer = buffer};
        status = read_whole(buffer, &copy->before);
    }
    if (!status)
        status = cvy_verifier_scratch(v, cut.count * cut.length, host);
    if (status)
        return status;
    v->twins[v->twin_count - 1].buffer = buffer;
    v->twins[v->twin_count - 1].cut = cut;
    take_out(copy->before, cut, cvy_buffer_host(*host));
    return CONVOY_OK;
}

void cvy_verifier_expect(cvy_verifier *v, const cvy_expected *expected) {
    v->crowded = v->crowded || v->expected_count == CVY_EXPECTED;
    if (expected->device && !v->crowded)
        v->expected[v->expected_count++] = *expected;
}

convoy_status cvy_verifier_restore(cvy_verifier *v) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < v->copy_count && !status; i++) {
        const copied *copy = &v->copies[i];
        status = cvy_buffer_write(copy->buffer, 0, copy->before, cvy_buffer_bytes(copy->buffer));
    }
    return status;
}

/* ---- Comparing ---- */

double cvy_verifier_tolerance(const convoy_device *device) {
    static const double tolerances[] = {
        [CONVOY_FLOAT32] = 1e-4, [CONVOY_TF32] = 0x2p-11, [CONVOY_BF16] = 0x2p-9};
    return tolerances[cvy_device_get_traits(device)->precision];
}

/* What the device made, what is right, and what was there before, of one value each. */
typedef struct values {
    const char *actual, *right, *before;
    size_t count; /* floats, or bytes */
} values;

static float float_of(const char *bytes, size_t i) {
    float value;
    memcpy(&value, bytes + i * sizeof value, sizeof value);
    return value;
}

static bool counts(const cvy_expected *e, size_t i) {
    return !e->pitch || i % e->pitch < e->n;
}

static bool compare_bytes(const cvy_expected *e, const values *v, cvy_difference *difference) {
    for (size_t i = 0; i < v->count; i++)
        if (counts(e, i) && v->actual[i] != v->right[i]) {
            snprintf(difference->text, sizeof difference->text,
                     "the %s is wrong: byte %zu of %zu is %u where %u is right", e->name, i, v->count,
                     (unsigned char)v->actual[i], (unsigned char)v->right[i]);
            return false;
        }
    return true;
}

/* The largest of what is right and finite; of the change, where that is what counts. */
static double scale_of(const cvy_expected *e, const values *v, double *largest) {
    double scale = fmax(e->least, 1e-20); /* below that some devices have no numbers */
    *largest = 0;
    for (size_t i = 0; i < v->count; i++) {
        const double right = float_of(v->right, i), was = e->changes ? (double)float_of(v->before, i) : 0;
        if (!counts(e, i) || !isfinite(right) || !isfinite(was))
            continue;
        scale = fmax(scale, fabs(right - was));
        *largest = fmax(*largest, fabs(right));
    }
    return scale;
}

/* *part: the largest difference, of what is allowed. */
static bool compare_floats(const cvy_expected *e, const values *v, double *part, cvy_difference *difference) {
    double largest, worst = 0;
    size_t where = 0;
    const double scale = scale_of(e, v, &largest);
    /* A change that is added to something larger is rounded with it. */
    const double allowed = e->tolerance * scale + (e->changes ? 0x1p-21 * largest : 0);
    for (size_t i = 0; i < v->count; i++) {
        const double actual = float_of(v->actual, i), right = float_of(v->right, i);
        if (!counts(e, i) || (!isfinite(right) && !isfinite(actual)))
            continue;
        const double off = isfinite(right) && isfinite(actual) ? fabs(actual - right) : INFINITY;
        if (off > worst) {
            worst = off;
            where = i;
        }
    }
    *part = worst / allowed;
    if (worst <= allowed)
        return true;
    snprintf(difference->text, sizeof difference->text,
             "the %s is wrong: value %zu of %zu is %.6g where %.6g is right (off by %.3g; %.3g is allowed)",
             e->name, where, v->count, (double)float_of(v->actual, where), (double)float_of(v->right, where),
             worst, allowed);
    return false;
}

static convoy_status compare_one(cvy_verifier *v, const cvy_expected *e, const char *what, bool *right,
                                 cvy_difference *difference) {
    const size_t bytes = e->cut.count * e->cut.length;
    char *actual = malloc(bytes ? bytes : 1), *before = malloc(bytes ? bytes : 1);
    copied *copy = find(v, e->device);
    convoy_status status = actual && before ? CONVOY_OK : cvy_fail_memory("a comparison", bytes);
    double part = 0;
    if (!status) {
        take_out(copy->after, e->cut, actual);
        take_out(copy->before, e->cut, before);
        const values of = {actual, (const char *)cvy_buffer_host(e->host) + e->host_offset, before,
                           e->exact ? bytes : bytes / sizeof(float)};
        *right = e->exact ? compare_bytes(e, &of, difference) : compare_floats(e, &of, &part, difference);
    }
    if (!status && *right && part > v->worst) {
        v->worst = part;
        snprintf(v->worst_at, sizeof v->worst_at, "%.100s, %.50s", what, e->name);
    }
    free(actual);
    free(before);
    return status;
}

static bool is_expected(const cvy_verifier *v, const cvy_buffer *buffer) {
    for (size_t i = 0; i < v->expected_count; i++)
        if (v->expected[i].device == buffer)
            return true;
    return false;
}

/* What launches only read is what it was. */
static bool inputs_are_whole(const cvy_verifier *v, cvy_difference *difference) {
    for (size_t i = 0; i < v->copy_count; i++) {
        const copied *copy = &v->copies[i];
        const size_t bytes = cvy_buffer_bytes(copy->buffer);
        if (is_expected(v, copy->buffer) || memcmp(copy->before, copy->after, bytes) == 0)
            continue;
        size_t at = 0;
        while (copy->before[at] == copy->after[at])
            at++;
        *difference = (cvy_difference){.at = NULL};
        snprintf(difference->text, sizeof difference->text,
                 "its input was changed by it, from byte %zu of %zu on", at, bytes);
        return false;
    }
    return true;
}

convoy_status cvy_verifier_compare(cvy_verifier *v, const char *what, bool *found,
                                   cvy_difference *difference) {
    convoy_status status = v->crowded ? fail_crowded() : CONVOY_OK;
    bool right = true;
    *difference = (cvy_difference){.at = NULL};
    for (size_t i = 0; i < v->copy_count && !status; i++)
        status = read_whole(v->copies[i].buffer, &v->copies[i].after);
    for (size_t i = 0; i < v->expected_count && !status && right; i++) {
        difference->at = &v->expected[i];
        status = compare_one(v, &v->expected[i], what, &right, difference);
    }
    if (!status && right)
        right = inputs_are_whole(v, difference);
    v->verified += !status && right;
    *found = !right;
    return status;
}

convoy_status cvy_verifier_fail(const cvy_verifier *v, const char *what, const cvy_difference *difference) {
    return cvy_fail(
        CONVOY_DEVICE,
        "%s computes wrong values: %s, %s. What it computed before, since the run began, may be wrong too. "
        "`convoy selftest` shows which kernels are; go on with another device, as --device host, or another "
        "driver, from weights that are older than this run",
        convoy_device_get_info(v->device)->name, what, difference->text);
}
