/* POSIX threads. */
#include "base/threads.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"

int cvy_threads_wanted(int asked) {
    const int cores = cvy_machine_cores();
    return asked > 0 ? asked : cores < 4 ? cores : 4;
}

/* ---- Threads ---- */

/* Each thread frees its own. */
typedef struct start {
    void (*work)(void *context);
    void *context;
} start;

static void *run_thread(void *argument) {
    const start begun = *(start *)argument;
    free(argument);
    begun.work(begun.context);
    return NULL;
}

void cvy_threads_start(cvy_threads *threads, int count, void (*work)(void *context), void *context) {
    threads->count = 0;
    while (threads->count < count && threads->count < CVY_MOST_THREADS) {
        start *argument = malloc(sizeof *argument);
        if (!argument)
            return;
        *argument = (start){work, context};
        if (pthread_create(&threads->threads[threads->count], NULL, run_thread, argument) != 0) {
            free(argument);
            return;
        }
        threads->count++;
    }
}

void cvy_threads_join(cvy_threads *threads) {
    while (threads->count)
        pthread_join(threads->threads[--threads->count], NULL);
}

/* ---- Failures ---- */

void cvy_failure_note(cvy_failure *failure, size_t place, convoy_status status) {
    if (failure->status && failure->place < place)
        return;
    failure->status = status;
    failure->place = place;
    free(failure->message);
    failure->message = strdup(convoy_error_message());
}

convoy_status cvy_failure_tell(const cvy_failure *failure) {
    return failure->status
               ? cvy_fail(failure->status, "%s", failure->message ? failure->message : "out of memory")
               : CONVOY_OK;
}

void cvy_failure_clear(cvy_failure *failure) {
    free(failure->message);
    *failure = (cvy_failure){0};
}

/* ---- Loops ---- */

typedef struct shared_loop {
    const char *what;
    size_t count;
    convoy_status (*run)(void *context, size_t index);
    void *context;
    pthread_mutex_t lock; /* guards all below */
    size_t next;
    cvy_failure failure;
    double last_report;
} shared_loop;

/* Seconds between two reports; the first one comes after one second. */
static const double patience = 3;

/* An index to work on, or false when there is none left or an earlier one failed. */
static bool take(shared_loop *loop, size_t *index) {
    const double now = cvy_seconds();
    pthread_mutex_lock(&loop->lock);
    const bool more = loop->next < loop->count && !loop->failure.status;
    if (more)
        *index = loop->next++;
    if (more && now - loop->last_report > patience) {
        loop->last_report = now;
        cvy_info("%s: %zu of %zu", loop->what, *index, loop->count);
    }
    pthread_mutex_unlock(&loop->lock);
    return more;
}

static void work(void *argument) {
    shared_loop *loop = argument;
    size_t index;
    while (take(loop, &index)) {
        const convoy_status status = loop->run(loop->context, index);
        if (!status)
            continue;
        pthread_mutex_lock(&loop->lock);
        cvy_failure_note(&loop->failure, index, status);
        pthread_mutex_unlock(&loop->lock);
    }
}

convoy_status cvy_parallel(const char *what, size_t count, int threads,
                           convoy_status (*run)(void *context, size_t index), void *context) {
    shared_loop loop = {.what = what,
                        .count = count,
                        .run = run,
                        .context = context,
                        .last_report = cvy_seconds() - patience + 1};
    const size_t others = count < (size_t)threads ? count : (size_t)threads;
    cvy_threads started;
    pthread_mutex_init(&loop.lock, NULL);
    cvy_threads_start(&started, (int)others - 1, work, &loop);
    work(&loop); /* this thread works too: where no other can be started, it does everything */
    cvy_threads_join(&started);
    pthread_mutex_destroy(&loop.lock);
    const convoy_status status = cvy_failure_tell(&loop.failure);
    cvy_failure_clear(&loop.failure);
    return status;
}
