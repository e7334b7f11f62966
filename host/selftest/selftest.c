/* Who asks and who computes. Requests: "parts\t<level>", answered by a line "part\t<name>\t<patience>" for
   each and "end"; "run\t<level>\t<part>\t<from case>", answered by "case\t<i>\t<name>" before each case that
   runs here, then "right\t<error>\t<figure>" or "wrong\t<error>\t<reason>", and at last "end". */
#include "selftest/selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "base/threads.h"
#include "device/device.h"

enum { CRASHES = 3 }; /* after so many a part is over */

/* ---- The child ---- */

static void list_jobs(convoy_device *device, cvy_selftest_level level, cvy_selftest_job *jobs,
                      size_t *count) {
    *count = 0;
    /* The host device is the reference itself. */
    if (!cvy_device_get_traits(device)->host) {
        cvy_selftest_variants(device, level, jobs, count);
        cvy_selftest_simple_ops(level, jobs, count);
    }
    cvy_selftest_networks(device, level, jobs, count);
}

typedef struct telling {
    cvy_child *parent;
    size_t i;
} telling;

static void tell_case(void *context, const char *name) {
    const telling *t = context;
    cvy_child_say(t->parent, "case\t%zu\t%s", t->i, name);
}

/* Without the tabs and line ends that separate. */
static void say_wrong(cvy_child *parent, double error) {
    char reason[320];
    snprintf(reason, sizeof reason, "%s", convoy_error_message());
    for (char *c = reason; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    cvy_child_say(parent, "wrong\t%.9g\t%s", error, reason);
}

static void run_job(cvy_child *parent, convoy_device *device, cvy_selftest_job *job, size_t from) {
    telling t = {.parent = parent};
    job->tell = tell_case;
    job->context = &t;
    for (t.i = from; t.i < job->cases; t.i++) {
        cvy_selftest_case result = {.status = CONVOY_OK};
        if (!job->run(job, device, t.i, &result))
            continue;
        if (result.status)
            say_wrong(parent, result.error);
        else
            cvy_child_say(parent, "right\t%.9g\t%.9g", result.error, result.figure);
    }
    job->context = NULL;
}

static void serve(cvy_child *parent, convoy_device *device, char *line) {
    static cvy_selftest_job jobs[CVY_SELFTEST_PARTS];
    size_t count;
    const char *word = strsep(&line, "\t"), *level = strsep(&line, "\t"), *name = strsep(&line, "\t"),
               *from = strsep(&line, "\t");
    list_jobs(device, level ? (cvy_selftest_level)strtol(level, NULL, 10) : CVY_SELFTEST_QUICK, jobs, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, "parts") == 0)
            cvy_child_say(parent, "part\t%s\t%d", jobs[i].name, jobs[i].patience);
        else if (name && from && strcmp(jobs[i].name, name) == 0)
            run_job(parent, device, &jobs[i], strtoul(from, NULL, 10));
    cvy_child_say(parent, "end");
}

convoy_status cvy_selftest_serve(cvy_child *parent, char *const *arguments) {
    const cvy_child_patience forever = {.limit = INFINITY};
    cvy_child_answer request;
    convoy_device *device = NULL;
    convoy_status status = arguments[0] && arguments[1]
                               ? cvy_device_open_named(arguments[0], arguments[1], &device)
                               : cvy_fail(CONVOY_INVALID, "the self-test wants a device's id and name");
    if (!status)
        cvy_child_say(parent, "ready");
    while (!status && cvy_child_hear(parent, &forever, &request) == CVY_CHILD_ANSWERED)
        serve(parent, device, request.line);
    convoy_device_close(device);
    return status;
}

/* ---- The one that asks ---- */

typedef struct asking {
    const convoy_device_info *device;
    const cvy_selftest_options *options;
    cvy_selftest_result *result;
    int patience[CVY_SELFTEST_PARTS]; /* times the limit */
    pthread_mutex_t lock;
    size_t next, last; /* parts to run now */
    convoy_status status;
    char message[512];
} asking;

static bool is_stopped(const asking *a) {
    return a->options->interrupt && *a->options->interrupt;
}

/* `times` the limit of a case. */
static cvy_child_event hear(const asking *a, cvy_child *child, int times, cvy_child_answer *answer) {
    const cvy_child_patience patience = {.limit = times * a->options->limit,
                                         .interrupt = a->options->interrupt};
    return cvy_child_hear(child, &patience, answer);
}

static convoy_status begin(const asking *a, cvy_child *child) {
    static const char *const environment[] = {"CONVOY_TUNE=0", NULL};
    const char *const arguments[] = {a->device->id, a->device->name, NULL};
    const cvy_child_options options = {.environment = environment};
    cvy_child_answer answer;
    convoy_status status = cvy_child_start(child, "selftest", arguments, &options);
    if (status)
        return status;
    const cvy_child_event event = hear(a, child, 1, &answer);
    if (event == CVY_CHILD_FAILED)
        status = cvy_fail_in(answer.status, "opening the device");
    else if (event == CVY_CHILD_STOPPED)
        status = cvy_fail(CONVOY_INTERRUPTED, "interrupted");
    else if (event == CVY_CHILD_LATE)
        status =
            cvy_fail(CONVOY_DEVICE, "opening %s took more than %.3g s", a->device->name, a->options->limit);
    else if (event == CVY_CHILD_DIED)
        status =
            cvy_fail(CONVOY_DEVICE, "opening %s ended with %s", a->device->name, cvy_child_ending(child));
    if (status)
        cvy_child_end(child);
    return status;
}

static void fail_case(cvy_selftest_part *part, const char *name, const char *reason) {
    if (part->failed < CVY_SELFTEST_FAILURES) {
        cvy_selftest_failure *f = &part->failures[part->failed];
        snprintf(f->name, sizeof f->name, "%s", name);
        snprintf(f->reason, sizeof f->reason, "%s", reason);
    }
    part->failed++;
}

/* What a case came to. */
static void take_verdict(cvy_selftest_part *part, const char *name, char *line) {
    const char *word = strsep(&line, "\t"), *error = strsep(&line, "\t"), *rest = line;
    double value = error ? strtod(error, NULL) : 0;
    part->error = fmax(part->error, value);
    if (strcmp(word, "right") == 0) {
        part->passed++;
        part->figure = rest ? strtod(rest, NULL) : 0;
    } else
        fail_case(part, name, rest ? rest : "");
}

typedef struct place {
    size_t next; /* the case to go on with */
    char name[128];
    bool inside; /* of a case whose verdict has not come */
} place;

/* Until the part is over or the child is. */
static cvy_child_event read_part(const asking *a, cvy_child *child, cvy_selftest_part *part, place *at) {
    cvy_child_answer answer;
    const int patience = a->patience[part - a->result->parts];
    for (;;) {
        const cvy_child_event event = hear(a, child, patience, &answer);
        if (event != CVY_CHILD_ANSWERED || strcmp(answer.line, "end") == 0)
            return event;
        if (strncmp(answer.line, "case\t", 5) == 0) {
            char *end;
            at->next = strtoul(answer.line + 5, &end, 10) + 1;
            snprintf(at->name, sizeof at->name, "%s", *end ? end + 1 : "");
            at->inside = true;
            part->cases++;
        } else if (at->inside) {
            take_verdict(part, at->name, answer.line);
            at->inside = false;
        }
    }
}

/* The case that the child did not survive has failed; the next child goes on behind it. */
static void note_death(const asking *a, const cvy_child *child, cvy_child_event event,
                       cvy_selftest_part *part, place *at) {
    char reason[160];
    if (event == CVY_CHILD_LATE)
        snprintf(reason, sizeof reason, "took more than %.3g s",
                 a->options->limit * a->patience[part - a->result->parts]);
    else
        snprintf(reason, sizeof reason, "ended the process: %s", cvy_child_ending(child));
    if (!at->inside)
        part->cases++;
    fail_case(part, at->inside ? at->name : "between cases", reason);
    at->inside = false;
}

/* The calling thread's child goes on living where nothing happened to it. */
static convoy_status run_part(asking *a, cvy_child *child, size_t index) {
    cvy_selftest_part *part = &a->result->parts[index];
    const double start = cvy_seconds();
    place at = {0};
    convoy_status status = CONVOY_OK;
    bool over = false;
    for (int crashes = 0; !over && !status && crashes <= CRASHES;) {
        if (child->id <= 0)
            status = begin(a, child);
        if (status)
            break;
        cvy_child_say(child, "run\t%d\t%s\t%zu", (int)a->options->level, part->name, at.next);
        const cvy_child_event event = read_part(a, child, part, &at);
        if (event == CVY_CHILD_STOPPED)
            status = cvy_fail(CONVOY_INTERRUPTED, "interrupted");
        else if (event == CVY_CHILD_ANSWERED)
            over = true;
        else {
            note_death(a, child, event, part, &at);
            crashes++;
        }
    }
    part->seconds = cvy_seconds() - start;
    return status;
}

static void work(void *context) {
    asking *a = context;
    cvy_child child = {0};
    for (;;) {
        pthread_mutex_lock(&a->lock);
        const size_t index = a->next;
        const bool more = index < a->last && !a->status && !is_stopped(a);
        a->next += more;
        pthread_mutex_unlock(&a->lock);
        if (!more)
            break;
        const convoy_status status = run_part(a, &child, index);
        pthread_mutex_lock(&a->lock);
        if (status && !a->status) {
            a->status = status;
            snprintf(a->message, sizeof a->message, "%s", convoy_error_message());
        }
        if (!status && a->options->done)
            a->options->done(a->options->context, &a->result->parts[index]);
        pthread_mutex_unlock(&a->lock);
    }
    cvy_child_end(&child);
}

/* Parts from..to, by so many children at once. */
static void run_parts(asking *a, size_t from, size_t to, int jobs) {
    cvy_threads threads = {0};
    a->next = from;
    a->last = to;
    cvy_threads_start(&threads, jobs - 1, work, a);
    work(a);
    cvy_threads_join(&threads);
}

static bool is_bench(const cvy_selftest_part *part) {
    return strncmp(part->name, "bench:", 6) == 0;
}

static convoy_status list_parts(asking *a) {
    cvy_child child;
    cvy_child_answer answer;
    convoy_status status = begin(a, &child);
    if (status)
        return status;
    cvy_text known = {0};
    cvy_child_say(&child, "parts\t%d", (int)a->options->level);
    while (hear(a, &child, 1, &answer) == CVY_CHILD_ANSWERED && strncmp(answer.line, "part\t", 5) == 0) {
        char *rest = answer.line + 5, *name = strsep(&rest, "\t");
        const char *only = a->options->only;
        cvy_text_add(&known, "%s%s", known.length ? ", " : "", name);
        if (a->result->count == CVY_SELFTEST_PARTS || (only && strncmp(name, only, strlen(only)) != 0))
            continue;
        a->patience[a->result->count] = rest ? (int)strtol(rest, NULL, 10) : 1;
        snprintf(a->result->parts[a->result->count++].name, sizeof a->result->parts->name, "%s", name);
    }
    cvy_child_end(&child);
    if (!a->result->count)
        status = cvy_fail(CONVOY_INVALID, "the self-test of this device has no part \"%s\"; it has: %s",
                          a->options->only ? a->options->only : "", cvy_text_get(&known));
    cvy_text_free(&known);
    return status;
}

convoy_status cvy_selftest_run(const convoy_device_info *device, const cvy_selftest_options *options,
                               cvy_selftest_result *result) {
    asking a = {.device = device, .options = options, .result = result, .lock = PTHREAD_MUTEX_INITIALIZER};
    const double start = cvy_seconds();
    size_t benches = 0, kept = 0;
    *result = (cvy_selftest_result){0};
    convoy_status status = list_parts(&a);
    if (status)
        return status;
    while (benches < result->count && !is_bench(&result->parts[benches]))
        benches++;
    run_parts(&a, 0, benches, options->jobs);
    if (!a.status)
        run_parts(&a, benches, result->count, 1); /* undisturbed */
    result->seconds = cvy_seconds() - start;
    if (a.status || is_stopped(&a))
        return cvy_fail(a.status ? a.status : CONVOY_INTERRUPTED, "%s", a.status ? a.message : "interrupted");
    for (size_t i = 0; i < result->count; i++) {
        if (!result->parts[i].cases)
            continue; /* nothing of it runs on this device */
        result->parts[kept] = result->parts[i];
        result->cases += result->parts[kept].cases;
        result->passed += result->parts[kept].passed;
        result->error = fmax(result->error, result->parts[kept].error);
        kept++;
    }
    result->count = kept;
    return result->cases ? CONVOY_OK
                         : cvy_fail(CONVOY_INVALID, "no case of part \"%s\" runs on this device",
                                    options->only ? options->only : "");
}
