/* Keeping decoded images in host memory. */
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

/* What is an image's own fault is noted, so that one run names all of them. */
static convoy_status keep_one(void *context, size_t index) {
    const keeping *k = context;
    const convoy_dataset *dataset = k->dataset;
    convoy_status status =
        dataset->fetch(dataset, index, dataset->images + index * cvy_dataset_image_bytes(dataset));
    if (status != CONVOY_INVALID && status != CONVOY_IO)
        return status;
    k->status[index] = status;
    k->complaints[index] = strdup(convoy_error_message());
    return k->complaints[index] ? CONVOY_OK : cvy_fail_memory("a message", 0);
}

/* The first of them decides about the status. */
static convoy_status complain(const keeping *k) {
    cvy_text list = {0};
    convoy_status first = CONVOY_OK;
    size_t count = 0;
    for (size_t i = 0; i < k->dataset->count; i++) {
        if (!k->status[i])
            continue;
        first = first ? first : k->status[i];
        if (count++ < SHOWN)
            cvy_text_add(&list, "%s%s", list.length ? "\n  " : "", k->complaints[i]);
    }
    if (count == 1)
        cvy_fail(first, "%s", cvy_text_get(&list));
    else if (count)
        cvy_fail(first, "%s: %zu images cannot be read:\n  %s%s", k->dataset->name, count,
                 cvy_text_get(&list), count > SHOWN ? "\n  ..." : "");
    cvy_text_free(&list);
    return first;
}

convoy_status cvy_dataset_keep(convoy_dataset *dataset, size_t memory, int threads) {
    size_t bytes, count = dataset->count, each = cvy_dataset_image_bytes(dataset);
    if (__builtin_mul_overflow(count, each, &bytes) || bytes > memory) {
        cvy_info("%s: %zu images of %zu bytes exceed %zu MiB of memory: they are decoded anew in each epoch",
                 dataset->name, count, each, memory >> 20);
        return CONVOY_OK;
    }
    keeping k = {dataset, cvy_machine_allocate(count, sizeof *k.complaints),
                 cvy_machine_allocate(count, sizeof *k.status)};
    convoy_status status = k.complaints && k.status
                               ? cvy_dataset_reserve_images(dataset)
                               : cvy_fail_memory("a data set", count * sizeof *k.complaints);
    if (!status)
        status = cvy_parallel("decoding images", count, threads, keep_one, &k);
    if (!status)
        status = complain(&k);
    for (size_t i = 0; k.complaints && i < count; i++)
        free(k.complaints[i]);
    free(k.complaints);
    free(k.status);
    return status;
}
