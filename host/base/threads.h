/* Threads that share one piece of work, and failures on their way from a thread to the one that tells them.
 */
#ifndef CVY_BASE_THREADS_H
#define CVY_BASE_THREADS_H

#include <pthread.h>

#include "base/status.h"

enum { CVY_MOST_THREADS = 64 };

/* So many as are asked for; 0 or less: the cores of the machine, at most 4. */
int cvy_threads_wanted(int asked);

/* Threads that run the same function. {0} is none. */
typedef struct cvy_threads {
    pthread_t threads[CVY_MOST_THREADS];
    int count;
} cvy_threads;

/* Starts up to `count` threads that run `work`, which must return by itself. Fewer, or none, where the system
   gives no more: `count` of `threads` says how many. */
void cvy_threads_start(cvy_threads *threads, int count, void (*work)(void *context), void *context);
/* Waits until all of them have returned. */
void cvy_threads_join(cvy_threads *threads);

/* The first failure by place, whichever thread came upon it first. {0} is none. Not locked: the user does. */
typedef struct cvy_failure {
    convoy_status status;
    size_t place;
    char *message;
} cvy_failure;

/* This thread's latest failure, unless one of an earlier place is known. */
void cvy_failure_note(cvy_failure *failure, size_t place, convoy_status status);
/* Makes it this thread's failure, and returns its status; CONVOY_OK: there is none. */
convoy_status cvy_failure_tell(const cvy_failure *failure);
void cvy_failure_clear(cvy_failure *failure);

/* Calls `run` for the indices 0..count-1 on this thread and up to threads - 1 others. The failure with the
   smallest index is returned; indices after one that failed may be left out. Long work tells how far it is as
   "<what>: 10 of 100". */
convoy_status cvy_parallel(const char *what, size_t count, int threads,
                           convoy_status (*run)(void *context, size_t index), void *context);

#endif
