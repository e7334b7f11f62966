/* Trials on several devices at once: a child for each device of a list, which opens it and then trains what
   it is given, one trial after another. The one that searches opens none and keeps the table. Children speak
   in lines (base/child.h): the device's name first, then an outcome for each job. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/status.h"
#include "cli/ranks.h"
#include "cli/search.h"

typedef struct worker {
    cvy_child child;
    const char *selector;
    char name[256];        /* of its device; "" until it has said so */
    const search_job *job; /* NULL: it opens its device, or waits */
} worker;

struct search_workers {
    cli_call *call;
    const search_work *work;
    const volatile int *interrupt;
    worker *all;
    size_t count;
    convoy_status status; /* of the first that could not go on */
    char reason[600];
    bool failed; /* one did; one that was interrupted, too, where nobody had asked it to stop */
    bool asked;  /* to stop */
};

/* In front of what is said of it: "trial 3, fold 2 on 1:0: ". `job` may be NULL. */
static void name_job(const search_workers *w, const search_job *job, const char *selector,
                     char name[CVY_LINE_SIZE]) {
    char fold[32] = "";
    if (job && w->work->folds > 1)
        snprintf(fold, sizeof fold, ", fold %d", job->fold + 1);
    if (job)
        snprintf(name, CVY_LINE_SIZE, "trial %zu%s on %.200s: ", job->trial + 1, fold, selector);
    else
        snprintf(name, CVY_LINE_SIZE, "%.200s: ", selector);
}

/* ---- in a child ---- */

#define JOB_FORMAT "%zu %zu %d "

static convoy_status serve_job(search_workers *w, convoy_device *device, const char *line,
                               const char *selector, cvy_child *parent) {
    search_job job;
    search_outcome o = {0};
    char name[CVY_LINE_SIZE];
    int end = 0;
    if (sscanf(line, JOB_FORMAT "%n", &job.rung, &job.trial, &job.fold, &end) != 3)
        return cvy_fail(CONVOY_FAILED, "a search gave an order that is none: %s", line);
    if (w->work->out && line[end])
        *w->work->out = cvy_arena_strdup(w->call->arena, line + end);
    name_job(w, &job, selector, name);
    cli_prefix = name;
    convoy_status status = w->work->train(w->work->context, device, &job, &o);
    if (!status)
        cvy_child_say(parent, "%d %d %.17g %.17g %.17g %.17g", o.epochs, o.best_epoch, o.value, o.loss,
                      o.accuracy, o.seconds);
    return status;
}

/* The whole life of a child. */
static _Noreturn void serve(search_workers *w, const char *selector, cvy_child *parent) {
    static const cvy_child_patience forever = {.limit = INFINITY};
    convoy_device *device = NULL;
    cvy_child_answer answer;
    char name[CVY_LINE_SIZE];
    name_job(w, NULL, selector, name);
    cli_prefix = name;
    cli_common_of(w->call)->device = selector;
    convoy_status status = cli_open_device(w->call, &device);
    if (!status)
        cvy_child_say(parent, "%.200s", convoy_device_get_info(device)->name);
    while (!status && cvy_child_hear(parent, &forever, &answer) == CVY_CHILD_ANSWERED)
        status = serve_job(w, device, answer.line, selector, parent);
    if (status)
        cvy_child_say_failure(parent, status);
    convoy_device_close(device);
    _exit(convoy_status_exit_code(status));
}

/* ---- starting and ending them ---- */

/* A line of `who`. */
static convoy_status hear_line(cvy_child *child, const char *who, const cvy_child_patience *patience,
                               cvy_child_answer *answer) {
    switch (cvy_child_hear(child, patience, answer)) {
    case CVY_CHILD_ANSWERED:
        return CONVOY_OK;
    case CVY_CHILD_FAILED:
        return answer->status;
    case CVY_CHILD_STOPPED:
        return cvy_fail(CONVOY_INTERRUPTED, "interrupted");
    default:
        return cvy_fail(CONVOY_FAILED, "%s ended with %s", who, cvy_child_ending(child));
    }
}

/* What the list `auto` stands for. A child asks: what forks has no driver. */
static convoy_status list_automatic(cli_call *call, const char **list) {
    const cvy_child_patience patience = {.limit = INFINITY, .interrupt = cli_catch_signals()};
    cvy_child child;
    cvy_child_answer answer;
    bool inside;
    convoy_status status = cvy_child_fork(&child, &inside);
    if (inside) {
        status = cli_devices_list(call->arena, list);
        if (status)
            cvy_child_say_failure(&child, status);
        else
            cvy_child_say(&child, "%s", *list);
        _exit(0);
    }
    if (status)
        return status;
    status = hear_line(&child, "the process that lists devices", &patience, &answer);
    if (!status)
        *list = cvy_arena_strdup(call->arena, answer.line);
    cvy_child_end(&child);
    return status;
}

static convoy_status start(cli_call *call, const char *list, const size_t *place, const search_work *work,
                           search_workers **workers) {
    search_workers *w = *workers = cvy_arena_alloc(call->arena, sizeof *w);
    *w = (search_workers){.call = call, .work = work, .interrupt = cli_catch_signals()};
    convoy_status status = strcmp(list, "auto") == 0 ? list_automatic(call, &list) : CONVOY_OK;
    const size_t count = place ? 1 : cli_devices_count(list);
    w->all = cvy_arena_alloc(call->arena, count * sizeof *w->all);
    for (; w->count < count && !status; w->count++) {
        worker *one = &w->all[w->count];
        bool inside;
        one->selector = cli_devices_pick(call->arena, list, place ? *place : w->count);
        status = cvy_child_fork(&one->child, &inside);
        for (size_t i = 0; inside && i < w->count; i++)
            close(w->all[i].child.socket); /* the parent's end */
        if (inside)
            serve(w, one->selector, &one->child);
    }
    return status;
}

convoy_status search_workers_start(cli_call *call, const char *list, const search_work *work,
                                   search_workers **workers) {
    return start(call, list, NULL, work, workers);
}

convoy_status search_workers_start_one(cli_call *call, const char *list, size_t place,
                                       const search_work *work, search_workers **workers) {
    return start(call, list, &place, work, workers);
}

void search_workers_end(search_workers *w) {
    for (size_t i = 0; w && i < w->count; i++)
        cvy_child_end(&w->all[i].child);
}

const char *search_workers_names(const search_workers *w) {
    cvy_text text = {0};
    for (size_t i = 0; i < w->count; i++)
        cvy_text_add(&text, "%s%s", i ? ", " : "", w->all[i].name);
    const char *names = cvy_arena_strdup(w->call->arena, cvy_text_get(&text));
    cvy_text_free(&text);
    return names;
}

/* ---- giving jobs, and hearing of them ---- */

static bool is_busy(const worker *one) {
    return one->child.id > 0 && (one->job || !*one->name);
}

/* Of this thread's latest failure. */
static void note_failure(search_workers *w, const worker *one, convoy_status status) {
    if (w->status)
        return;
    char name[CVY_LINE_SIZE];
    name_job(w, one->job, one->selector, name);
    w->status = status;
    w->failed = status != CONVOY_INTERRUPTED || !(w->asked || *w->interrupt);
    snprintf(w->reason, sizeof w->reason, "%.250s%.340s", name, convoy_error_message());
}

static convoy_status read_outcome(search_workers *w, const worker *one, const char *line) {
    search_outcome o = {.known = true};
    char numbers[4][32];
    double *const values[] = {&o.value, &o.loss, &o.accuracy, &o.seconds};
    if (sscanf(line, "%d %d %31s %31s %31s %31s", &o.epochs, &o.best_epoch, numbers[0], numbers[1],
               numbers[2], numbers[3]) != 6)
        return cvy_fail(CONVOY_FAILED, "its process said `%s`, which is no outcome", line);
    for (int i = 0; i < 4; i++)
        *values[i] = strtod(numbers[i], NULL); /* NaN among them, which scanf need not know */
    return w->work->done(w->work->context, one->job, &o, one->name);
}

static void hear(search_workers *w, worker *one) {
    static const cvy_child_patience soon = {.limit = 30}; /* something has come */
    cvy_child_answer answer;
    convoy_status status = hear_line(&one->child, "its process", &soon, &answer);
    if (!status && one->job)
        status = read_outcome(w, one, answer.line);
    else if (!status)
        snprintf(one->name, sizeof one->name, "%.255s", answer.line);
    if (status) {
        note_failure(w, one, status);
        cvy_child_end(&one->child);
    }
    one->job = NULL;
}

/* To all that train, once: they save. */
void search_workers_stop(search_workers *w) {
    for (size_t i = 0; i < w->count && !w->asked; i++)
        if (w->all[i].child.id > 0)
            kill(w->all[i].child.id, SIGTERM);
    w->asked = true;
}

/* Until one of those that are busy says something, or a moment. */
void search_workers_poll(search_workers *w) {
    struct pollfd *waited = calloc(w->count, sizeof *waited);
    if (!waited)
        cvy_abort_memory();
    for (size_t i = 0; i < w->count; i++)
        waited[i] =
            (struct pollfd){.fd = is_busy(&w->all[i]) ? w->all[i].child.socket : -1, .events = POLLIN};
    if (poll(waited, (nfds_t)w->count, 50) > 0)
        for (size_t i = 0; i < w->count; i++)
            if (waited[i].revents)
                hear(w, &w->all[i]);
    free(waited);
}

static void give(search_workers *w, worker *one, const search_job *job) {
    one->job = job;
    cvy_child_say(&one->child, JOB_FORMAT "%s", job->rung, job->trial, job->fold,
                  w->work->out && *w->work->out ? *w->work->out : "");
}

convoy_status search_workers_interrupted(void) {
    return cvy_fail(CONVOY_INTERRUPTED, "interrupted: each trial that was under way has saved its state");
}

void search_workers_give(search_workers *w, const search_job *job) {
    give(w, &w->all[0], job);
}

bool search_workers_busy(const search_workers *w) {
    return is_busy(&w->all[0]);
}

bool search_workers_failed(const search_workers *w) {
    return w->failed;
}

convoy_status search_workers_status(const search_workers *w) {
    return search_workers_failed(w) ? cvy_fail(w->status, "convoy search: %s", w->reason) : CONVOY_OK;
}

convoy_status search_workers_run(search_workers *w, const search_job *jobs, size_t count) {
    for (size_t next = 0, busy;;) {
        const bool stop = w->status || *w->interrupt;
        busy = 0;
        for (size_t i = 0; i < w->count; i++) {
            worker *one = &w->all[i];
            if (!is_busy(one) && one->child.id > 0 && !stop && next < count)
                give(w, one, &jobs[next++]);
            busy += is_busy(one);
        }
        if (stop)
            search_workers_stop(w);
        if (!busy)
            break;
        search_workers_poll(w);
    }
    if (*w->interrupt && (!w->status || w->status == CONVOY_INTERRUPTED))
        return search_workers_interrupted();
    return w->status ? cvy_fail(w->status, "convoy search: %s", w->reason) : CONVOY_OK;
}
