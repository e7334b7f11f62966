/* The one way to match the tensors of a file with what is wanted. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "weights/format.h"

enum { SHOWN = 20 };

void cvy_complain(cvy_complaints *complaints, const char *format, ...) {
    if (complaints->count++ >= SHOWN)
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
                          count > SHOWN ? "\n  ..." : "");
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

static bool same_shape(const cvy_named_tensor *a, const cvy_named_tensor *b) {
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
    const char *nearest = complaints->count < SHOWN ? nearest_name(wanted, given, count) : NULL;
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

static void compare(const cvy_named_tensor *wanted, size_t count, candidate *given, size_t given_count,
                    const void **found, cvy_complaints *complaints) {
    cvy_text has = {0}, wants = {0};
    for (size_t i = 0; i < count; i++) {
        candidate *match = find(wanted[i].name, given, given_count);
        if (match)
            match->wanted = true;
    }
    for (size_t i = 0; i < count; i++) {
        const candidate *match = find(wanted[i].name, given, given_count);
        bool fits = match && same_shape(&wanted[i], match->tensor);
        found[i] = fits ? match->tensor->data : NULL;
        if (fits && strcmp(wanted[i].dtype, "F32") == 0)
            check_finite(match->tensor, complaints);
        if (match && !fits)
            cvy_complain(complaints, "mismatched %s: %s instead of %s", wanted[i].name,
                         describe(match->tensor, &has), describe(&wanted[i], &wants));
        else if (!match && strcmp(wanted[i].dtype, "I64") != 0)
            complain_missing(complaints, &wanted[i], given, given_count);
    }
    for (size_t i = 0; i < given_count; i++)
        if (!given[i].wanted)
            cvy_complain(complaints, "unknown %s", given[i].name);
    cvy_text_free(&has);
    cvy_text_free(&wants);
}

convoy_status cvy_tensors_match(const cvy_named_tensor *wanted, size_t count, const cvy_tensor_file *file,
                                const char *prefix, const void **found, cvy_complaints *complaints) {
    size_t given_count = 0, skip = strlen(prefix);
    candidate *given = malloc((file->count + 1) * sizeof *given);
    if (!given)
        return cvy_fail_memory("the list of a file's tensors", file->count * sizeof *given);
    for (size_t i = 0; i < file->count; i++)
        if (strncmp(file->tensors[i].name, prefix, skip) == 0)
            given[given_count++] = (candidate){file->tensors[i].name + skip, &file->tensors[i], false};
    qsort(given, given_count, sizeof *given, compare_names);
    compare(wanted, count, given, given_count, found, complaints);
    free(given);
    return CONVOY_OK;
}
