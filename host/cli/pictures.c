/* What is made of metrics.csv while a run trains: curves.png, and TensorBoard's events. A thread of its own
   does it, so that training waits for no picture. What goes wrong with it is said at the end, and takes
   nothing of the run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/cli.h"
#include "report/curves.h"
#include "report/events.h"

static void note(char **failure, convoy_status status) {
    free(*failure);
    *failure = status ? strdup(convoy_error_message()) : NULL;
}

/* The rows that are new since the last time; `begin`: none are yet. */
static convoy_status add_events(cli_pictures *p, bool begin) {
    cvy_history history;
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("events", 1);
    convoy_status status = cvy_history_read(arena, p->metrics, &history);
    size_t first = 0;
    while (!status && first < history.rows && history.values[history.rows + first] <= (double)p->step)
        first++;
    if (!status && !begin)
        status = cvy_events_add(p->events, &history, first, p->start);
    if (!status && history.rows)
        p->step = (unsigned long long)history.values[2 * history.rows - 1];
    cvy_arena_free(arena);
    return status;
}

static void make(cli_pictures *p) {
    if (p->draws)
        note(&p->failure, cvy_curves_save(p->metrics, p->path));
    if (p->events && !p->events_failure)
        note(&p->events_failure, add_events(p, false));
}

/* Waits for a change, at most until `until` of cvy_seconds(). */
static void wait_until(cli_pictures *p, double until) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    const double end = (double)at.tv_sec + (double)at.tv_nsec * 1e-9 + fmax(until - cvy_seconds(), 0);
    at.tv_sec = (time_t)end;
    at.tv_nsec = (long)((end - floor(end)) * 1e9);
    pthread_cond_timedwait(&p->changed, &p->lock, &at);
}

/* Takes one fiftieth of a core's time at most: epochs that end meanwhile are one more picture. */
static void work(void *context) {
    cli_pictures *p = context;
    double rest = 0;
    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        if (!p->wanted) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        if (cvy_seconds() < rest) {
            wait_until(p, rest);
            continue;
        }
        p->wanted = false;
        const double before =
            cvy_thread_seconds(); /* on a busy machine a picture takes longer, and no more of it */
        pthread_mutex_unlock(&p->lock);
        make(p);
        pthread_mutex_lock(&p->lock);
        rest = cvy_seconds() + 49 * (cvy_thread_seconds() - before);
    }
    pthread_mutex_unlock(&p->lock);
}

void cli_pictures_start(cli_pictures *p, const char *folder, bool draws, bool events,
                        const convoy_progress *at) {
    const double now = (double)time(NULL);
    *p = (cli_pictures){.metrics = cvy_path_join(folder, "metrics.csv"),
                        .path = cvy_path_join(folder, "curves.png"),
                        .draws = draws,
                        .start = now - at->seconds,
                        .started = true};
    if (events) {
        convoy_status status = add_events(p, true);
        note(&p->events_failure, status ? status : cvy_events_create(folder, p->step, now, &p->events));
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    cvy_threads_start(&p->thread, 1, work, p);
}

void cli_pictures_want(cli_pictures *p) {
    if (!p->started)
        return;
    pthread_mutex_lock(&p->lock);
    p->wanted = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void cli_pictures_end(cli_pictures *p) {
    if (!p->started)
        return;
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    cvy_threads_join(&p->thread);
    if (p->wanted)
        make(p);
    if (p->failure)
        cvy_warning("the run has no new curves.png: %s", p->failure);
    if (p->events_failure)
        cvy_warning("the run's events for TensorBoard are not complete: %s", p->events_failure);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->failure);
    free(p->events_failure);
    free(p->events);
    free(p->metrics);
    free(p->path);
    *p = (cli_pictures){0};
}
