/* The one way to match the tensors of a file with what is wanted. */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "weights/format.h"

void cvy_complain(cvy_complaints *complaints, const char *format, ...) {
    if (complaints->count++ >= CVY_COMPLAINTS_SHOWN)
        return;
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add(&complaints->text, "\n  ");
    cvy_text_add_list(&complaints->text, format, arguments);
    va_end(arguments);
}

convoy_status cvy_complaints_end(cvy_complaints *complaints, const char *path, const char *what) {
    size_t count = complaints->count;
    convoy_status status = CONVOY_OK;
    if (count)
        status = cvy_fail(CONVOY_INVALID, "%s does not fit %s; %zu %s wrong:%s%s", path, what, count,
                          count == 1 ? "tensor is" : "tensors are", cvy_text_get(&complaints->text),
                          count > CVY_COMPLAINTS_SHOWN ? "\n  ..." : "");
    cvy_text_free(&complaints->text);
    return status;
}

/* A tensor of the file that the prefix selects. */
typedef struct candidate {
    const char *name; /* without the prefix */
    const cvy_named_tensor *tensor;
    bool wanted;
} candidate;

static int compare_names(const void *a, const void *b) {
    return strcmp(((const candidate *)a)->name, ((const candidate *)b)->name);
}

static bool is_counter(const cvy_named_tensor *tensor) {
    return strcmp(tensor->dtype, "I64") == 0 && tensor->bytes == sizeof(int64_t) && tensor->dimensions < 2;
}

static bool same_shape(const cvy_named_tensor *a, const cvy_named_tensor *b) {
    if (is_counter(a) && is_counter(b))
        return true;
    return strcmp(a->dtype, b->dtype) == 0 && a->dimensions == b->dimensions &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

/* "F32 [2, 3]" */
static const char *describe(const cvy_named_tensor *tensor, cvy_text *text) {
    text->length = 0;
    cvy_text_add(text, "%s [", tensor->dtype);
    for (int i = 0; i < tensor->dimensions; i++)
        cvy_text_add(text, "%s%zu", i ? ", " : "", tensor->shape[i]);
    cvy_text_add(text, "]");
    return cvy_text_get(text);
}

/* What the file may call it: the nearest of the names that nobody wants, of the same shape. */
static const char *nearest_name(const cvy_named_tensor *wanted, const candidate *given, size_t count) {
    const char *names[256];
    size_t known = 0;
    for (size_t i = 0; i < count && known < sizeof names / sizeof *names; i++)
        if (!given[i].wanted && same_shape(wanted, given[i].tensor))
            names[known++] = given[i].name;
    return cvy_text_nearest(wanted->name, names, known);
}

static candidate *find(const char *name, candidate *given, size_t count) {
    const candidate key = {.name = name};
    return bsearch(&key, given, count, sizeof *given, compare_names);
}

static void complain_missing(cvy_complaints *complaints, const cvy_named_tensor *wanted,
                             const candidate *given, size_t count) {
    const char *nearest =
        complaints->count < CVY_COMPLAINTS_SHOWN ? nearest_name(wanted, given, count) : NULL;
    cvy_complain(complaints, "missing %s%s%s%s", wanted->name, nearest ? "; is it the file's " : "",
                 nearest ? nearest : "", nearest ? "?" : "");
}

/* NaN and infinity give no answers, or wrong ones that look right. */
static void check_finite(const cvy_named_tensor *tensor, cvy_complaints *complaints) {
    const float *values = tensor->data;
    for (size_t i = 0; i < tensor->bytes / sizeof *values; i++)
        if (!isfinite(values[i])) {
            cvy_complain(complaints, "not finite: value %zu of %s is %g", i, tensor->name, (double)values[i]);
            return;
        }
}

/* What is compared with what. */
typedef struct matching {
    const cvy_named_tensor *wanted;
    size_t count;
    candidate *given; /* by name */
    size_t given_count;
    cvy_complaints *differences, *faults;
} matching;

static candidate *find_wanted(const matching *m, size_t i) {
    candidate *match = find(m->wanted[i].name, m->given, m->given_count);
    return match || !m->wanted[i].older ? match : find(m->wanted[i].older, m->given, m->given_count);
}

static void compare(const matching *m, const void **found) {
    cvy_text has = {0}, wants = {0};
    for (size_t i = 0; i < m->count; i++) {
        candidate *match = find_wanted(m, i);
        if (match)
            match->wanted = true;
    }
    for (size_t i = 0; i < m->count; i++) {
        const cvy_named_tensor *wanted = &m->wanted[i];
        const candidate *match = find_wanted(m, i);
        bool fits = match && same_shape(wanted, match->tensor);
        found[i] = fits ? match->tensor->data : NULL;
        if (fits && strcmp(wanted->dtype, "F32") == 0)
            check_finite(match->tensor, m->faults);
        if (match && !fits)
            cvy_complain(m->differences, "mismatched %s: %s instead of %s", wanted->name,
                         describe(match->tensor, &has), describe(wanted, &wants));
        else if (!match && strcmp(wanted->dtype, "I64") != 0)
            complain_missing(m->differences, wanted, m->given, m->given_count);
    }
    for (size_t i = 0; i < m->given_count; i++)
        if (!m->given[i].wanted)
            cvy_complain(m->differences, "unknown %s", m->given[i].name);
    cvy_text_free(&has);
    cvy_text_free(&wants);
}

convoy_status cvy_tensors_match(const cvy_named_tensor *wanted, size_t count, const cvy_tensor_file *file,
                                const char *prefix, const void **found, cvy_complaints *differences,
                                cvy_complaints *faults) {
    matching m = {wanted, count, NULL, 0, differences, faults};
    size_t skip = strlen(prefix);
    m.given = malloc((file->count + 1) * sizeof *m.given);
    if (!m.given)
        return cvy_fail_memory("the list of a file's tensors", file->count * sizeof *m.given);
    for (size_t i = 0; i < file->count; i++)
        if (strncmp(file->tensors[i].name, prefix, skip) == 0)
            m.given[m.given_count++] = (candidate){file->tensors[i].name + skip, &file->tensors[i], false};
    qsort(m.given, m.given_count, sizeof *m.given, compare_names);
    compare(&m, found);
    free(m.given);
    return CONVOY_OK;
}
