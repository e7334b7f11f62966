/* Digests of weight files, the same for the same content, whatever its order in the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "weights/format.h"

static int compare_tensors(const void *a, const void *b) {
    return strcmp((*(const cvy_named_tensor *const *)a)->name, (*(const cvy_named_tensor *const *)b)->name);
}

static int compare_pairs(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_tensor(cvy_hash *hash, const cvy_named_tensor *tensor) {
    cvy_hash_add_text(hash, tensor->name);
    cvy_hash_add_text(hash, tensor->dtype);
    for (int i = 0; i < tensor->dimensions; i++) {
        uint64_t size = tensor->shape[i];
        cvy_hash_add(hash, &size, sizeof size);
    }
    cvy_hash_add(hash, tensor->data, tensor->bytes);
}

convoy_status cvy_tensors_digest(const cvy_named_tensor *tensors, size_t count, const char *const *metadata,
                                 char hex[33]) {
    size_t pairs = 0;
    while (metadata[2 * pairs])
        pairs++;
    const cvy_named_tensor **list = malloc((count + 1) * sizeof *list);
    const char *(*sorted)[2] = malloc((pairs + 1) * sizeof *sorted);
    cvy_hash *hash = list && sorted ? cvy_hash_create() : NULL;
    for (size_t i = 0; hash && i < count; i++)
        list[i] = &tensors[i];
    if (hash) {
        qsort(list, count, sizeof *list, compare_tensors);
        memcpy(sorted, metadata, pairs * sizeof *sorted);
        qsort(sorted, pairs, sizeof *sorted, compare_pairs);
        for (size_t i = 0; i < count; i++)
            add_tensor(hash, list[i]);
        for (size_t i = 0; i < 2 * pairs; i++)
            cvy_hash_add_text(hash, sorted[i / 2][i % 2]);
        cvy_hash_finish(hash, hex);
    }
    free(list);
    free(sorted);
    return hash ? CONVOY_OK : cvy_fail_memory("a digest", count * sizeof *list);
}

convoy_status cvy_tensor_file_digest(const cvy_tensor_file *file, const char *but, char hex[33]) {
    const char **pairs = cvy_tensor_file_pairs(file);
    size_t kept = 0;
    if (!pairs)
        return cvy_fail_memory("a digest", 0);
    for (size_t i = 0; pairs[i]; i += 2) {
        if (strcmp(pairs[i], but) == 0)
            continue;
        pairs[kept] = pairs[i];
        pairs[kept + 1] = pairs[i + 1];
        kept += 2;
    }
    pairs[kept] = NULL;
    convoy_status status = cvy_tensors_digest(file->tensors, file->count, pairs, hex);
    free(pairs);
    return status;
}
