/* The ring of staging buffers and the threads that fill it. */
#include "data/prefetch.h"

#include <stdlib.h>

#include "base/integer.h"
#include "base/threads.h"
#include "data/dataset.h"

enum {
    HELD = 2,  /* batches that the caller may still be reading */
    SLOTS = 4, /* those, one ready, one being made */
    PIECE = 4, /* images that a thread takes at a time, where more than one decode */
};

/* Batch b lives in slot b % SLOTS. */
typedef struct slot {
    uint8_t *images;
    int32_t *labels;
    size_t done; /* images made, whether or not they failed */
    cvy_failure failure;
} slot;

struct cvy_prefetch {
    const convoy_dataset *dataset;
    size_t image_bytes, batch_size;
    size_t piece; /* images that a thread takes at a time */
    cvy_threads threads;

    pthread_mutex_t lock; /* guards all below, and the counts and failures of the slots */
    pthread_cond_t work;  /* there may be something to make */
    pthread_cond_t made;  /* a batch became complete, or a thread went idle */
    bool quit;
    int busy; /* threads that are making images */
    const uint32_t *order;
    size_t count, next; /* places in the order: all, and the first that no thread has taken */
    size_t batch;       /* that the caller asks for next */
    size_t released;    /* batches below this one may be overwritten */
    slot slots[SLOTS];
};

static size_t images_in(const cvy_prefetch *prefetch, size_t batch) {
    return min_size(prefetch->batch_size, prefetch->count - batch * prefetch->batch_size);
}

/* ---- Threads ---- */

static bool can_take(const cvy_prefetch *prefetch) {
    return prefetch->next < prefetch->count &&
           prefetch->next / prefetch->batch_size < prefetch->released + SLOTS;
}

/* Called and left with the lock held. */
static void make_piece(cvy_prefetch *prefetch) {
    size_t first = prefetch->next, batch = first / prefetch->batch_size;
    size_t end = min_size(first + prefetch->piece, batch * prefetch->batch_size + images_in(prefetch, batch));
    slot *slot = &prefetch->slots[batch % SLOTS];
    prefetch->next = end;
    prefetch->busy++;
    pthread_mutex_unlock(&prefetch->lock);
    /* One by one, so that a failure names its image; the program's function gets all at once. */
    const size_t at_once = prefetch->dataset->fill ? end - first : 1;
    for (size_t place = first; place < end; place += at_once) {
        const size_t at = place % prefetch->batch_size;
        convoy_status status =
            cvy_dataset_fetch(prefetch->dataset, prefetch->order + place, at_once,
                              slot->images + at * prefetch->image_bytes, slot->labels + at);
        if (!status)
            continue;
        pthread_mutex_lock(&prefetch->lock);
        cvy_failure_note(&slot->failure, place, status);
        pthread_mutex_unlock(&prefetch->lock);
    }
    pthread_mutex_lock(&prefetch->lock);
    slot->done += end - first;
    prefetch->busy--;
    pthread_cond_broadcast(&prefetch->made);
}

static void work(void *argument) {
    cvy_prefetch *prefetch = argument;
    pthread_mutex_lock(&prefetch->lock);
    while (!prefetch->quit)
        if (can_take(prefetch))
            make_piece(prefetch);
        else
            pthread_cond_wait(&prefetch->work, &prefetch->lock);
    pthread_mutex_unlock(&prefetch->lock);
}

/* ---- Life ---- */

convoy_status cvy_prefetch_create(const convoy_dataset *dataset, int batch_size, int threads,
                                  cvy_prefetch **result) {
    *result = NULL;
    cvy_prefetch *prefetch = calloc(1, sizeof *prefetch);
    if (!prefetch)
        return cvy_fail_memory("reading images ahead", sizeof *prefetch);
    prefetch->dataset = dataset;
    prefetch->image_bytes = cvy_dataset_image_bytes(dataset);
    prefetch->batch_size = (size_t)batch_size;
    /* A program's function is called by one thread at a time, for whole batches. */
    prefetch->piece = dataset->fill ? prefetch->batch_size : PIECE;
    threads = dataset->fill ? 1 : threads;
    pthread_mutex_init(&prefetch->lock, NULL);
    pthread_cond_init(&prefetch->work, NULL);
    pthread_cond_init(&prefetch->made, NULL);
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < SLOTS && !status; i++) {
        slot *slot = &prefetch->slots[i];
        slot->images = malloc(prefetch->batch_size * prefetch->image_bytes);
        slot->labels = malloc(prefetch->batch_size * sizeof *slot->labels);
        if (!slot->images || !slot->labels)
            status = cvy_fail_memory("reading images ahead", prefetch->batch_size * prefetch->image_bytes);
    }
    if (!status) {
        cvy_threads_start(&prefetch->threads, cvy_threads_wanted(threads), work, prefetch);
        if (!prefetch->threads.count)
            status = cvy_fail(CONVOY_FAILED, "no thread could be started to read images");
    }
    if (!status)
        *result = prefetch;
    else
        cvy_prefetch_free(prefetch);
    return status;
}

void cvy_prefetch_free(cvy_prefetch *prefetch) {
    if (!prefetch)
        return;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->quit = true;
    pthread_cond_broadcast(&prefetch->work);
    pthread_mutex_unlock(&prefetch->lock);
    cvy_threads_join(&prefetch->threads);
    pthread_cond_destroy(&prefetch->made);
    pthread_cond_destroy(&prefetch->work);
    pthread_mutex_destroy(&prefetch->lock);
    for (int i = 0; i < SLOTS; i++) {
        free(prefetch->slots[i].images);
        free(prefetch->slots[i].labels);
        cvy_failure_clear(&prefetch->slots[i].failure);
    }
    free(prefetch);
}

/* ---- Batches ---- */

static void clear_slot(slot *slot) {
    slot->done = 0;
    cvy_failure_clear(&slot->failure);
}

void cvy_prefetch_start(cvy_prefetch *prefetch, const uint32_t *order, size_t count, size_t first) {
    pthread_mutex_lock(&prefetch->lock);
    prefetch->next = prefetch->count; /* nobody takes more; the slots are free once nobody is busy */
    while (prefetch->busy)
        pthread_cond_wait(&prefetch->made, &prefetch->lock);
    for (int i = 0; i < SLOTS; i++)
        clear_slot(&prefetch->slots[i]);
    prefetch->order = order;
    prefetch->count = count;
    prefetch->next = min_size(first * prefetch->batch_size, count);
    prefetch->batch = prefetch->released = first;
    pthread_cond_broadcast(&prefetch->work);
    pthread_mutex_unlock(&prefetch->lock);
}

bool cvy_prefetch_ready(cvy_prefetch *prefetch) {
    pthread_mutex_lock(&prefetch->lock);
    const slot *slot = &prefetch->slots[prefetch->batch % SLOTS];
    bool ready = prefetch->batch * prefetch->batch_size < prefetch->count &&
                 slot->done >= images_in(prefetch, prefetch->batch) && !slot->failure.status;
    pthread_mutex_unlock(&prefetch->lock);
    return ready;
}

convoy_status cvy_prefetch_next(cvy_prefetch *prefetch, const uint8_t **images, const int32_t **labels,
                                int *n) {
    convoy_status status = CONVOY_OK;
    *n = 0;
    pthread_mutex_lock(&prefetch->lock);
    if (prefetch->released + HELD <= prefetch->batch) { /* all but the one that the last call handed out */
        clear_slot(&prefetch->slots[prefetch->released % SLOTS]);
        prefetch->released++;
        pthread_cond_broadcast(&prefetch->work);
    }
    if (prefetch->batch * prefetch->batch_size < prefetch->count) {
        slot *slot = &prefetch->slots[prefetch->batch % SLOTS];
        size_t wanted = images_in(prefetch, prefetch->batch);
        while (slot->done < wanted)
            pthread_cond_wait(&prefetch->made, &prefetch->lock);
        status = cvy_failure_tell(&slot->failure);
        if (!status)
            *n = (int)wanted;
        *images = slot->images;
        *labels = slot->labels;
        prefetch->batch++;
    }
    pthread_mutex_unlock(&prefetch->lock);
    return status;
}
