/* Keeping decoded images in host memory, and leaving out what cannot be decoded. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/dataset.h"

enum { SHOWN = 20 };

typedef struct keeping {
    convoy_dataset *dataset;
    char **complaints; /* [count], of the images that cannot be read; NULL: none */
    convoy_status *status;
} keeping;

/* What is an image's own fault is noted, so that one run names all of them. Without memory to keep it in it
   is only tried. */
static convoy_status keep_one(void *context, size_t index) {
    const keeping *k = context;
    const convoy_dataset *dataset = k->dataset;
    const size_t each = cvy_dataset_image_bytes(dataset);
    uint8_t *own = dataset->images ? NULL : malloc(each);
    if (!dataset->images && !own)
        return cvy_fail_memory("an image", each);
    convoy_status status = dataset->fetch(dataset, index, own ? own : dataset->images + index * each);
    free(own);
    if (status != CONVOY_INVALID && status != CONVOY_IO)
        return status;
    k->status[index] = status;
    k->complaints[index] = strdup(convoy_error_message());
    return k->complaints[index] ? CONVOY_OK : cvy_fail_memory("a message", 0);
}

/* The first of them decides about the status; those that are to be left out are told as a warning. */
static convoy_status complain(const keeping *k, bool skip) {
    cvy_text list = {0};
    convoy_status first = CONVOY_OK;
    size_t count = 0, all = k->dataset->count;
    for (size_t i = 0; i < all; i++) {
        if (!k->status[i])
            continue;
        first = first ? first : k->status[i];
        if (count++ < SHOWN)
            cvy_text_add(&list, "%s%s", list.length ? "\n  " : "", k->complaints[i]);
    }
    const char *more = count > SHOWN ? "\n  ..." : "";
    if (count && skip && count < all)
        cvy_warning("%s: %zu of %zu images cannot be read and are left out:\n  %s%s", k->dataset->name, count,
                    all, cvy_text_get(&list), more);
    else if (count == 1)
        cvy_fail(first, "%s", cvy_text_get(&list));
    else if (count)
        cvy_fail(first, "%s: %zu images cannot be read%s:\n  %s%s", k->dataset->name, count,
                 skip ? "" : " (--skip-damaged leaves them out)", cvy_text_get(&list), more);
    cvy_text_free(&list);
    return skip && count < all ? CONVOY_OK : first;
}

/* Closes the gaps that images with a complaint leave. */
static void leave_out(const keeping *k) {
    convoy_dataset *set = k->dataset;
    const size_t each = cvy_dataset_image_bytes(set);
    size_t kept = 0;
    while (kept < set->count && !k->status[kept])
        kept++;
    const size_t first = kept;
    for (size_t i = first; i < set->count; i++) {
        if (k->status[i]) {
            free(set->paths[i]);
            continue;
        }
        if (set->images)
            memcpy(set->images + kept * each, set->images + i * each, each);
        if (set->extents)
            memcpy(set->extents[kept], set->extents[i], sizeof *set->extents);
        set->paths[kept] = set->paths[i];
        set->labels[kept++] = set->labels[i];
    }
    set->count = kept;
}

convoy_status cvy_dataset_keep(convoy_dataset *dataset, size_t memory, int threads, bool skip) {
    size_t bytes, count = dataset->count, each = cvy_dataset_image_bytes(dataset);
    const bool fits = !__builtin_mul_overflow(count, each, &bytes) && bytes <= memory;
    if (!fits)
        cvy_info("%s: %zu images of %zu bytes exceed %zu MiB of memory: they are decoded anew in each epoch",
                 dataset->name, count, each, memory >> 20);
    if (!fits && !skip)
        return CONVOY_OK;
    keeping k = {dataset, cvy_machine_allocate(count, sizeof *k.complaints),
                 cvy_machine_allocate(count, sizeof *k.status)};
    convoy_status status =
        k.complaints && k.status ? CONVOY_OK : cvy_fail_memory("a data set", count * sizeof *k.complaints);
    if (!status && fits)
        status = cvy_dataset_reserve_images(dataset);
    if (!status)
        status = cvy_parallel(fits ? "decoding images" : "trying images", count, threads, keep_one, &k);
    if (!status)
        status = complain(&k, skip);
    if (!status)
        leave_out(&k);
    for (size_t i = 0; k.complaints && i < count; i++)
        free(k.complaints[i]);
    free(k.complaints);
    free(k.status);
    return status;
}
