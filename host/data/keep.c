/* Keeping decoded images in host memory. */
#include "base/log.h"
#include "base/threads.h"
#include "data/dataset.h"

static convoy_status keep_one(void *context, size_t index) {
    convoy_dataset *dataset = context;
    return dataset->fetch(dataset, index, dataset->images + index * cvy_dataset_image_bytes(dataset));
}

convoy_status cvy_dataset_keep(convoy_dataset *dataset, size_t memory, int threads) {
    size_t bytes, each = cvy_dataset_image_bytes(dataset);
    if (__builtin_mul_overflow(dataset->count, each, &bytes) || bytes > memory) {
        cvy_info("%s: %zu images of %zu bytes exceed %zu MiB of memory: they are decoded anew in each epoch",
                 dataset->name, dataset->count, each, memory >> 20);
        return CONVOY_OK;
    }
    convoy_status status = cvy_dataset_reserve_images(dataset);
    return status ? status : cvy_parallel("decoding images", dataset->count, threads, keep_one, dataset);
}
