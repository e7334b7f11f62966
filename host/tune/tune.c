/* Which variants are measured for a task, and what follows from each answer. */
#include "tune/tune.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "tune/process.h"

/* What the heuristics prefer stays unless another one is faster by more than what is left to chance. */
static const double margin = 0.97;

/* ---- One measurement ---- */

typedef struct tuning {
    convoy_device *device;
    const cvy_tune_options *options;
    cvy_child child;
    bool measured; /* anything */
} tuning;

static bool is_over(const tuning *t) {
    return t->options->deadline > 0 && cvy_seconds() >= t->options->deadline;
}

static bool is_interrupted(const tuning *t) {
    return t->options->interrupt && *t->options->interrupt;
}

static void keep(convoy_device *device, const cvy_key *key, cvy_verdict verdict, const char *variant,
                 double seconds) {
    const cvy_choice choice = {.verdict = verdict,
                               .op = key->op,
                               .pass = key->pass,
                               .shape = key->shape,
                               .variant = variant,
                               .seconds = seconds,
                               .reason = ""};
    cvy_choice_keep(device, &choice, 1);
}

/* At measuring one variant, in a process or in two. */
typedef struct attempt {
    const char *variant;
    cvy_child_event event;
    cvy_reply reply;
    int failures;
    char reason[256]; /* of the latest failure */
} attempt;

static const char *const stages[] = {"building it for a small shape",
                                     "the first run on a small shape",
                                     "running it on a small shape",
                                     "building it",
                                     "the first run",
                                     "running it"};

/* A variant that fails on the small shape is bad for all shapes; one that fails on the real one may be good
   for others. */
static void set_aside(const tuning *t, const cvy_task *task, const attempt *a, bool for_good) {
    const cvy_key key = cvy_task_key(task);
    cvy_choice_set_aside(t->device, &key,
                         &(cvy_aside){.variant = a->variant,
                                      .reason = a->reason,
                                      .all_shapes = a->reply.stage <= CVY_STAGE_CHECK,
                                      .for_good = for_good});
}

/* The time that was spent on a variant in vain, with that of earlier starts. */
static void leave(const tuning *t, const cvy_task *task, const cvy_tuned_variant *v, double seconds) {
    const cvy_key key = cvy_task_key(task);
    const cvy_choice *before = cvy_choice_measured(t->device, &key, v->name);
    if (before && before->verdict == CVY_LEFT)
        seconds += before->seconds;
    keep(t->device, &key, CVY_LEFT, v->name, seconds);
}

/* Did it fail, by its own account or in a way that shows? `reason` says how. */
static bool has_failed(tuning *t, attempt *a) {
    switch (a->event) {
    case CVY_CHILD_FAILED:
        snprintf(a->reason, sizeof a->reason, "%s", convoy_error_message());
        return a->reply.status == CONVOY_FAILED || a->reply.status == CONVOY_DEVICE ||
               a->reply.status == CONVOY_MEMORY;
    case CVY_CHILD_DIED:
        snprintf(a->reason, sizeof a->reason, "the driver crashed while %s: %s", stages[a->reply.stage],
                 cvy_child_ending(&t->child));
        return true;
    case CVY_CHILD_LATE:
        snprintf(a->reason, sizeof a->reason, "it hung: %s did not end in time", stages[a->reply.stage]);
        return true;
    default:
        return false;
    }
}

/* One failure may be chance, as of a machine that is short of something for a moment: what fails is measured
   a second time, in a process of its own, and only what fails there too is remembered. */
static void try_twice(tuning *t, const cvy_task *task, attempt *a) {
    for (a->failures = 0; a->failures < 2; a->failures++) {
        a->event = cvy_tune_process_ask(&t->child, t->device, task, a->variant, t->options, &a->reply);
        if (!has_failed(t, a))
            return;
        cvy_child_end(&t->child);
    }
}

static convoy_status measure(tuning *t, const cvy_task *task, cvy_tuned_variant *v) {
    attempt a = {.variant = v->name};
    const cvy_tune_options *o = t->options;
    const double start = cvy_seconds();
    try_twice(t, task, &a);
    t->measured = true;
    if (a.failures == 2) {
        const bool memory = a.event == CVY_CHILD_FAILED && a.reply.status == CONVOY_MEMORY;
        memcpy(v->reason, a.reason, sizeof v->reason);
        v->outcome = memory ? CVY_OUTCOME_MEMORY : CVY_OUTCOME_FAILED;
        if (!memory)
            set_aside(t, task, &a, true);
        return CONVOY_OK;
    }
    switch (a.event) {
    case CVY_CHILD_ANSWERED:
        v->outcome = CVY_OUTCOME_TIMED;
        v->seconds = a.reply.seconds;
        if (a.failures)
            cvy_warning("%s's variant %s failed once and passed at once afterwards: %s", task->op->name,
                        v->name, a.reason);
        return CONVOY_OK;
    case CVY_CHILD_STOPPED: /* the caller sees why */
        if (a.failures)
            set_aside(t, task, &a, false);
        if (o->likely && !is_interrupted(t))
            leave(t, task, v, cvy_seconds() - start);
        return CONVOY_OK;
    case CVY_CHILD_FAILED:
        memcpy(v->reason, a.reason, sizeof v->reason);
        return CONVOY_OK;
    default:
        break;
    }
    if (a.failures)
        set_aside(t, task, &a, false);
    return cvy_fail(CONVOY_FAILED, "no process could be started on %s to measure variants in: %s",
                    convoy_device_get_info(t->device)->name, convoy_error_message());
}

/* Measures what is still open. */
static convoy_status try_variant(tuning *t, size_t index, const cvy_task *task, cvy_tuned_variant *v) {
    const cvy_tune_options *o = t->options;
    const cvy_key key = cvy_task_key(task);
    if (!cvy_tune_is_open(v) || is_over(t))
        return CONVOY_OK;
    cvy_debug("measuring %s for %s %s %s", v->name, key.op, key.pass, key.shape);
    if (o->begun)
        o->begun(o->context, index, task, v->name);
    convoy_status status = measure(t, task, v);
    if (!status && is_interrupted(t))
        status = cvy_fail(CONVOY_INTERRUPTED, "tuning was interrupted; what was measured so far is kept");
    if (!status && v->outcome == CVY_OUTCOME_TIMED && (o->likely || task->option_of))
        keep(t->device, &key, CVY_TIMED, v->name, v->seconds);
    return status;
}

/* ---- One task ---- */

void cvy_tune_list(convoy_device *device, const cvy_task *task, const cvy_tune_options *o, cvy_tuned *tuned) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_task_candidates(device, task, candidates);
    const cvy_key key = cvy_task_key(task);
    size_t likely = 0;
    *tuned = (cvy_tuned){.task = *task, .winner = -1};
    for (size_t i = 0; i < count; i++) {
        const char *name = candidates[i].name;
        if (o->likely && !task->option_of && (candidates[i].fit != CVY_FIT_LIKELY || likely == o->likely))
            continue;
        cvy_tuned_variant *v = &tuned->variants[tuned->count++];
        const char *reason = cvy_choice_aside_for_good(device, &key, name);
        const cvy_choice *known = o->likely ? cvy_choice_measured(device, &key, name) : NULL;
        v->name = name;
        likely += !reason;
        if (reason) {
            v->outcome = CVY_OUTCOME_ASIDE;
            snprintf(v->reason, sizeof v->reason, "%s", reason);
        } else if (known && known->verdict == CVY_TIMED) {
            v->outcome = CVY_OUTCOME_TIMED;
            v->seconds = known->seconds;
        } else if ((known && known->seconds > o->give_up) ||
                   (candidates[i].fit == CVY_FIT_FOREIGN && !o->all))
            v->outcome = CVY_OUTCOME_SKIPPED;
    }
}

bool cvy_tune_is_open(const cvy_tuned_variant *v) {
    return v->outcome == CVY_OUTCOME_NONE && !*v->reason;
}

static bool is_complete(const cvy_tuned *tuned) {
    for (size_t i = 0; i < tuned->count; i++)
        if (cvy_tune_is_open(&tuned->variants[i]))
            return false;
    return true;
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

static convoy_status tune_task(tuning *t, size_t index, const cvy_task *task, cvy_tuned *tuned) {
    const cvy_tune_options *o = t->options;
    convoy_status status = CONVOY_OK;
    cvy_tune_list(t->device, task, o, tuned);
    for (size_t i = 0; i < tuned->count && !status; i++)
        status = try_variant(t, index, task, &tuned->variants[i]);
    if (status || !is_complete(tuned))
        return status; /* half a comparison is none */
    choose_winner(tuned);
    const cvy_key key = cvy_task_key(task);
    if (tuned->winner >= 0)
        keep(t->device, &key, CVY_BEST, tuned->variants[tuned->winner].name,
             tuned->variants[tuned->winner].seconds);
    if (o->ended)
        o->ended(o->context, index, tuned);
    return CONVOY_OK;
}

/* ---- The option of a variant ---- */

/* What is tuned together: the tasks that have `of` as their option_of, their results, and the sum of these.
 */
typedef struct group {
    const cvy_variant *of;
    const cvy_task *tasks;
    cvy_tuned *results;
    size_t count;
    cvy_tuned sum;
} group;

/* The sum over all tasks, for the values that all of them were measured with; of a value that failed for one,
   that. */
static void add_up(group *g) {
    for (size_t i = 0; i < g->count; i++)
        for (size_t value = 0; g->tasks[i].option_of == g->of && value < g->results[i].count; value++) {
            const cvy_tuned_variant *v = &g->results[i].variants[value];
            cvy_tuned_variant *total = &g->sum.variants[value];
            if (v->outcome == CVY_OUTCOME_TIMED)
                total->seconds += g->tasks[i].uses * v->seconds;
            else if (total->outcome == CVY_OUTCOME_TIMED || cvy_tune_is_open(total))
                *total = *v;
        }
}

/* Values outside, tasks inside: kernels are built once for a value. A value that fails for one task is out.
   The first value is what the variant has of its own, which only a new process does. */
static convoy_status measure_values(tuning *t, group *g) {
    convoy_status status = CONVOY_OK;
    for (size_t value = 0; value < g->sum.count && !status; value++) {
        bool first = value == 0, usable = true;
        for (size_t i = 0; i < g->count && usable && !status; i++) {
            cvy_tuned_variant *v = &g->results[i].variants[value];
            if (g->tasks[i].option_of != g->of)
                continue;
            if (first && cvy_tune_is_open(v) && !is_over(t)) {
                cvy_child_end(&t->child);
                first = false;
            }
            status = try_variant(t, i, &g->tasks[i], v);
            usable = v->outcome == CVY_OUTCOME_TIMED;
        }
    }
    if (!status)
        add_up(g);
    return status;
}

/* Kept for all shapes on the device, whether measured now or before. */
static void keep_value(tuning *t, const cvy_tuned *sum) {
    const cvy_tuned_variant *v = &sum->variants[sum->winner];
    cvy_key all = cvy_task_key(&sum->task);
    snprintf(all.shape, sizeof all.shape, "*");
    const cvy_choice *known = cvy_choice_measured(t->device, &all, NULL);
    if (t->measured || !known || strcmp(known->variant, v->name) != 0)
        keep(t->device, &all, CVY_BEST, v->name, v->seconds);
}

/* Values that there was no time for do not keep a better one than the variant's own from serving. */
static convoy_status tune_option(tuning *t, group *g) {
    const cvy_tune_options *o = t->options;
    g->sum.winner = -1;
    for (size_t i = 0; i < g->count; i++)
        if (g->tasks[i].option_of == g->of) {
            cvy_tune_list(t->device, &g->tasks[i], o, &g->results[i]);
            g->sum.task = g->tasks[i];
            g->sum.count = g->results[i].count;
        }
    for (size_t value = 0; value < g->sum.count; value++)
        g->sum.variants[value] =
            (cvy_tuned_variant){.name = g->of->option->names[value], .outcome = CVY_OUTCOME_TIMED};
    convoy_status status = measure_values(t, g);
    cvy_child_end(&t->child); /* the next one begins with the value that won */
    if (status)
        return status;
    if (g->sum.count && !cvy_tune_is_open(&g->sum.variants[0]))
        choose_winner(&g->sum);
    if (g->sum.winner >= 0)
        keep_value(t, &g->sum);
    for (size_t i = 0; i < g->count; i++)
        if (g->tasks[i].option_of == g->of) {
            g->results[i].winner = g->sum.winner;
            if (o->ended)
                o->ended(o->context, i, &g->results[i]);
        }
    return CONVOY_OK;
}

/* ---- All tasks ---- */

static bool is_first_of_option(const cvy_task *tasks, size_t index) {
    for (size_t i = 0; i < index; i++)
        if (tasks[i].option_of == tasks[index].option_of)
            return false;
    return true;
}

convoy_status cvy_tune(convoy_device *device, const cvy_task *tasks, size_t count,
                       const cvy_tune_options *options, cvy_tuned *results) {
    tuning t = {.device = device, .options = options};
    convoy_status status = CONVOY_OK;
    memset(results, 0, count * sizeof *results);
    for (size_t i = 0; i < count && !status; i++)
        if (!tasks[i].option_of)
            status = tune_task(&t, i, &tasks[i], &results[i]);
        else if (is_first_of_option(tasks, i))
            status = tune_option(
                &t, &(group){.of = tasks[i].option_of, .tasks = tasks, .results = results, .count = count});
    cvy_child_end(&t.child);
    return status;
}
