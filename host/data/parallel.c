/* Decoding on several threads, and keeping what was decoded. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "data/dataset.h"

enum { MOST_THREADS = 64 };

typedef struct shared_loop {
    pthread_mutex_t lock;
    size_t next, count;
    convoy_status (*run)(void *context, size_t index);
    void *context;
    size_t failed_at; /* smallest failed index; count: none */
    convoy_status status;
    char *message;
    double last_report;
} shared_loop;

/* An index to work on, or false when there is none left or an earlier one failed. Long loops tell how far
 * they are. */
static bool take(shared_loop *loop, size_t *index) {
    pthread_mutex_lock(&loop->lock);
    bool more = loop->next < loop->count && loop->next < loop->failed_at;
    if (more)
        *index = loop->next++;
    double now = cvy_seconds();
    if (more && now - loop->last_report > 3) {
        loop->last_report = now;
        cvy_info("decoding images: %zu of %zu", *index, loop->count);
    }
    pthread_mutex_unlock(&loop->lock);
    return more;
}

static void *work(void *argument) {
    shared_loop *loop = argument;
    size_t index;
    while (take(loop, &index)) {
        convoy_status status = loop->run(loop->context, index);
        if (status == CONVOY_OK)
            continue;
        pthread_mutex_lock(&loop->lock);
        if (index < loop->failed_at) {
            loop->failed_at = index;
            loop->status = status;
            free(loop->message);
            loop->message = strdup(convoy_error_message());
        }
        pthread_mutex_unlock(&loop->lock);
    }
    return NULL;
}

convoy_status cvy_parallel(size_t count, int threads, convoy_status (*run)(void *context, size_t index),
                           void *context) {
    shared_loop loop = {
        .count = count, .run = run, .context = context, .failed_at = count, .status = CONVOY_OK};
    loop.last_report = cvy_seconds();
    pthread_mutex_init(&loop.lock, NULL);
    pthread_t started[MOST_THREADS];
    int others = 0;
    while (others < threads - 1 && others < MOST_THREADS && (size_t)others + 1 < count &&
           pthread_create(&started[others], NULL, work, &loop) == 0)
        others++;
    work(&loop); /* this thread works too: where no other can be started, it does everything */
    for (int i = 0; i < others; i++)
        pthread_join(started[i], NULL);
    pthread_mutex_destroy(&loop.lock);
    if (loop.status != CONVOY_OK)
        cvy_fail(loop.status, "%s", loop.message ? loop.message : "out of memory");
    free(loop.message);
    return loop.status;
}

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
    return status == CONVOY_OK ? cvy_parallel(dataset->count, threads, keep_one, dataset) : status;
}
