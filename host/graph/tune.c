/* Which variants are measured for a task, what follows from each answer, and the two ways to tune: on
   request, and for a moment when a network is opened. */
#include "graph/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "graph/tune_process.h"

/* What the heuristics prefer stays unless another one is faster by more than what is left to chance. */
static const double margin = 0.97;
/* Automatic tuning: seconds for a network, seconds of runs per variant, and the work of a pass from which on
   it can pay: a few milliseconds on a CPU of two cores, a tenth of that on a GPU. */
static const double automatic_seconds = 4, automatic_runs = 0.02;
static const double cpu_flops = 1e9, gpu_flops = 4e9;

static const char *tune_command;

void cvy_tune_set_command(const char *path) {
    tune_command = path;
}

/* ---- One task ---- */

typedef struct tuning {
    convoy_device *device;
    const cvy_tune_options *options;
    cvy_tune_process process;
} tuning;

static bool is_over(const tuning *t) {
    return t->options->deadline > 0 && cvy_seconds() >= t->options->deadline;
}

static bool is_interrupted(const tuning *t) {
    return t->options->interrupt && *t->options->interrupt;
}

static void list_variants(const tuning *t, const cvy_task *task, cvy_tuned *tuned) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_task_candidates(t->device, task, candidates);
    *tuned = (cvy_tuned){.task = *task, .winner = -1};
    for (size_t i = 0; i < count; i++) {
        if (t->options->likely && candidates[i].fit != CVY_FIT_LIKELY)
            continue;
        cvy_tuned_variant *v = &tuned->variants[tuned->count++];
        const char *reason =
            cvy_choice_aside(t->device, task->op, task->pass, task->shape, candidates[i].name);
        v->name = candidates[i].name;
        if (reason) {
            v->outcome = CVY_OUTCOME_ASIDE;
            snprintf(v->reason, sizeof v->reason, "%s", reason);
        } else if (candidates[i].fit == CVY_FIT_FOREIGN && !t->options->all)
            v->outcome = CVY_OUTCOME_SKIPPED;
    }
}

static const char *const stages[] = {"building it for a small shape",
                                     "the first run on a small shape",
                                     "running it on a small shape",
                                     "building it",
                                     "the first run",
                                     "running it"};

/* A variant that fails on the small shape is bad for all shapes; one that fails on the real one may be good
   for others. */
static void set_aside(const tuning *t, const cvy_task *task, const cvy_reply *reply, cvy_tuned_variant *v) {
    v->outcome = CVY_OUTCOME_FAILED;
    cvy_choice_set_aside(t->device, task, reply->stage <= CVY_STAGE_CHECK ? "*" : task->shape, v->name,
                         v->reason);
}

static convoy_status measure(tuning *t, const cvy_task *task, cvy_tuned_variant *v) {
    cvy_reply reply;
    const cvy_tune_options *o = t->options;
    const cvy_patience patience = {.limit = o->limit + o->seconds,
                                   .build_limit = o->build_limit,
                                   .deadline = o->deadline,
                                   .interrupt = o->interrupt};
    const cvy_answer answer = cvy_tune_process_ask(&t->process, tune_command, t->device, task, v->name,
                                                   o->seconds, &patience, &reply);
    switch (answer) {
    case CVY_ANSWER_BEST:
        v->outcome = CVY_OUTCOME_TIMED;
        v->seconds = reply.seconds;
        return CONVOY_OK;
    case CVY_ANSWER_FAILED:
        snprintf(v->reason, sizeof v->reason, "%s", reply.message);
        v->outcome = reply.status == CONVOY_MEMORY ? CVY_OUTCOME_MEMORY : CVY_OUTCOME_NONE;
        if (reply.status == CONVOY_FAILED || reply.status == CONVOY_DEVICE)
            set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_DIED:
        snprintf(v->reason, sizeof v->reason, "the driver crashed while %s", stages[reply.stage]);
        set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_LATE:
        snprintf(v->reason, sizeof v->reason, "it hung: %s did not end in time", stages[reply.stage]);
        set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_STOPPED:
        return CONVOY_OK; /* the caller sees why */
    case CVY_ANSWER_NOBODY:
        break;
    }
    return cvy_fail(CONVOY_FAILED, "no process could be started on %s to measure variants in",
                    convoy_device_get_info(t->device)->name);
}

static void choose_winner(cvy_tuned *tuned) {
    const cvy_tuned_variant *v = tuned->variants;
    int first = -1;
    for (int i = 0; i < (int)tuned->count; i++) {
        if (v[i].outcome != CVY_OUTCOME_TIMED)
            continue;
        if (first < 0)
            first = i; /* the preferred one of those that run */
        if (tuned->winner < 0 || v[i].seconds < v[tuned->winner].seconds)
            tuned->winner = i;
    }
    if (first >= 0 && v[tuned->winner].seconds > margin * v[first].seconds)
        tuned->winner = first;
}

static void keep(convoy_device *device, const cvy_task *task, cvy_verdict verdict, const char *variant,
                 double seconds) {
    const cvy_choice choice = {.verdict = verdict,
                               .op = task->op,
                               .pass = task->pass,
                               .shape = task->shape,
                               .variant = variant,
                               .seconds = seconds,
                               .reason = ""};
    cvy_choice_keep(device, &choice, 1);
}

static convoy_status tune_task(tuning *t, size_t index, const cvy_task *task, cvy_tuned *tuned) {
    const cvy_tune_options *o = t->options;
    convoy_status status = CONVOY_OK;
    list_variants(t, task, tuned);
    for (size_t i = 0; i < tuned->count && !status; i++) {
        cvy_tuned_variant *v = &tuned->variants[i];
        if (v->outcome != CVY_OUTCOME_NONE || is_over(t))
            continue;
        cvy_debug("measuring %s for %s %s %s", v->name, task->op, task->pass, task->shape);
        if (o->begun)
            o->begun(o->context, index, task, v->name);
        status = measure(t, task, v);
        if (!status && is_interrupted(t))
            status = cvy_fail(CONVOY_INTERRUPTED, "tuning was interrupted; what was measured so far is kept");
    }
    if (status || is_over(t))
        return status; /* half a comparison is none */
    choose_winner(tuned);
    if (tuned->winner >= 0)
        keep(t->device, task, CVY_BEST, tuned->variants[tuned->winner].name,
             tuned->variants[tuned->winner].seconds);
    if (o->ended)
        o->ended(o->context, index, tuned);
    if (strcmp(task->op, "clblast") == 0) /* the next process begins with the parameters that won */
        cvy_tune_process_end(&t->process);
    return CONVOY_OK;
}

convoy_status cvy_tune(convoy_device *device, const cvy_task *tasks, size_t count,
                       const cvy_tune_options *options, cvy_tuned *results) {
    tuning t = {.device = device, .options = options, .process = {.socket = -1}};
    convoy_status status = CONVOY_OK;
    if (!tune_command)
        return cvy_fail(CONVOY_INVALID,
                        "tuning needs the `convoy` command, in whose process variants are run");
    memset(results, 0, count * sizeof *results);
    for (size_t i = 0; i < count && !status && !is_over(&t); i++)
        status = tune_task(&t, i, &tasks[i], &results[i]);
    cvy_tune_process_end(&t.process);
    return status;
}

/* ---- Automatic tuning ---- */

static bool is_wanted(convoy_device *device) {
    const char *wish = getenv("CONVOY_TUNE");
    if (!tune_command || cvy_device_get_traits(device)->host || (wish && strcmp(wish, "0") == 0))
        return false;
    /* An interpreter: a thousand times slower than what it stands for. */
    return !strstr(convoy_device_get_info(device)->platform, "Oclgrind");
}

static bool is_worth_it(convoy_device *device, const cvy_task *task) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const bool cpu = cvy_device_get_traits(device)->cpu;
    if (task->flops < (cpu ? cpu_flops : gpu_flops) || cvy_choice_is_settled(device, task))
        return false;
    const size_t count = cvy_task_candidates(device, task, candidates);
    size_t likely = 0;
    for (size_t i = 0; i < count; i++)
        likely += candidates[i].fit == CVY_FIT_LIKELY &&
                  !cvy_choice_aside(device, task->op, task->pass, task->shape, candidates[i].name);
    return likely > 1;
}

static int by_work(const void *a, const void *b) {
    const double x = ((const cvy_task *)a)->flops, y = ((const cvy_task *)b)->flops;
    return (x < y) - (x > y);
}

void cvy_tune_automatically(convoy_device *device, const cvy_task *tasks, size_t count) {
    size_t wanted = 0, known = 0;
    cvy_task *list = is_wanted(device) ? calloc(count + 1, sizeof *list) : NULL;
    for (size_t i = 0; list && i < count; i++)
        if (is_worth_it(device, &tasks[i]))
            list[wanted++] = tasks[i];
    cvy_tuned *results = wanted ? calloc(wanted, sizeof *results) : NULL;
    if (results) {
        const cvy_tune_options options = {
            .seconds = automatic_runs,
            /* The budget ends first: no variant is set aside for its slowness. */
            .limit = INFINITY,
            .build_limit = INFINITY,
            .deadline = cvy_seconds() + automatic_seconds,
            .likely = true};
        qsort(list, wanted, sizeof *list, by_work);
        cvy_info(
            "tuning: measuring kernel variants for %zu new shapes, %.1f s at most (CONVOY_TUNE=0: never; "
            "`convoy tune`: all of them)",
            wanted, automatic_seconds);
        if (cvy_tune(device, list, wanted, &options, results) != CONVOY_OK)
            cvy_debug("tuning: %s", convoy_error_message());
        for (size_t i = 0; i < wanted; i++) {
            if (results[i].count && results[i].winner >= 0)
                known++;
            else /* for good, so that a later start computes the same bits */
                keep(device, &list[i], CVY_LEFT, "", 0);
        }
        cvy_debug("tuning: %zu of %zu shapes measured", known, wanted);
    }
    free(results);
    free(list);
}
