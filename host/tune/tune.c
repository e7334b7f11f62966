/* Which variants are measured for a task, and what follows from each answer. */
#include "tune/tune.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "ops/gemm/gemm.h"
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

/* A product to choose CLBlast's parameters by. */
static bool is_set(const cvy_task *task) {
    return strcmp(task->op, "clblast") == 0;
}

static void keep(convoy_device *device, const cvy_task *task, const char *shape, cvy_verdict verdict,
                 const char *variant, double seconds) {
    const cvy_choice choice = {.verdict = verdict,
                               .op = task->op,
                               .pass = task->pass,
                               .shape = shape,
                               .variant = variant,
                               .seconds = seconds,
                               .reason = ""};
    cvy_choice_keep(device, &choice, 1);
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

/* The time that was spent on a variant in vain, with that of earlier starts. */
static void leave(const tuning *t, const cvy_task *task, const cvy_tuned_variant *v, double seconds) {
    const cvy_choice *before = cvy_choice_measured(t->device, task, v->name);
    if (before && before->verdict == CVY_LEFT)
        seconds += before->seconds;
    keep(t->device, task, task->shape, CVY_LEFT, v->name, seconds);
}

static convoy_status measure(tuning *t, const cvy_task *task, cvy_tuned_variant *v) {
    cvy_reply reply;
    const cvy_tune_options *o = t->options;
    const cvy_patience patience = {.limit = o->limit + o->seconds,
                                   .build_limit = o->build_limit,
                                   .deadline = o->deadline,
                                   .interrupt = o->interrupt};
    const double start = cvy_seconds();
    const cvy_answer answer =
        cvy_tune_process_ask(&t->child, t->device, task, v->name, o->seconds, &patience, &reply);
    t->measured = true;
    switch (answer) {
    case CVY_ANSWER_BEST:
        v->outcome = CVY_OUTCOME_TIMED;
        v->seconds = reply.seconds;
        return CONVOY_OK;
    case CVY_ANSWER_FAILED:
        snprintf(v->reason, sizeof v->reason, "%s", convoy_error_message());
        v->outcome = reply.status == CONVOY_MEMORY ? CVY_OUTCOME_MEMORY : CVY_OUTCOME_NONE;
        if (reply.status == CONVOY_FAILED || reply.status == CONVOY_DEVICE)
            set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_DIED:
        snprintf(v->reason, sizeof v->reason, "the driver crashed while %s: %s", stages[reply.stage],
                 cvy_child_ending(&t->child));
        set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_LATE:
        snprintf(v->reason, sizeof v->reason, "it hung: %s did not end in time", stages[reply.stage]);
        set_aside(t, task, &reply, v);
        return CONVOY_OK;
    case CVY_ANSWER_STOPPED:
        if (o->likely && !is_interrupted(t))
            leave(t, task, v, cvy_seconds() - start);
        return CONVOY_OK; /* the caller sees why */
    case CVY_ANSWER_NOBODY:
        break;
    }
    return cvy_fail(CONVOY_FAILED, "no process could be started on %s to measure variants in: %s",
                    convoy_device_get_info(t->device)->name, convoy_error_message());
}

/* Measures what is still open. */
static convoy_status try_variant(tuning *t, size_t index, const cvy_task *task, cvy_tuned_variant *v) {
    const cvy_tune_options *o = t->options;
    if (!cvy_tune_is_open(v) || is_over(t))
        return CONVOY_OK;
    cvy_debug("measuring %s for %s %s %s", v->name, task->op, task->pass, task->shape);
    if (o->begun)
        o->begun(o->context, index, task, v->name);
    convoy_status status = measure(t, task, v);
    if (!status && is_interrupted(t))
        status = cvy_fail(CONVOY_INTERRUPTED, "tuning was interrupted; what was measured so far is kept");
    if (!status && v->outcome == CVY_OUTCOME_TIMED && (o->likely || is_set(task)))
        keep(t->device, task, task->shape, CVY_TIMED, v->name, v->seconds);
    return status;
}

/* ---- One task ---- */

void cvy_tune_list(convoy_device *device, const cvy_task *task, const cvy_tune_options *o, cvy_tuned *tuned) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_task_candidates(device, task, candidates);
    size_t likely = 0;
    *tuned = (cvy_tuned){.task = *task, .winner = -1};
    for (size_t i = 0; i < count; i++) {
        const char *name = candidates[i].name;
        if (o->likely && !is_set(task) && (candidates[i].fit != CVY_FIT_LIKELY || likely == o->likely))
            continue;
        cvy_tuned_variant *v = &tuned->variants[tuned->count++];
        const char *reason = cvy_choice_aside(device, task->op, task->pass, task->shape, name);
        const cvy_choice *known = o->likely ? cvy_choice_measured(device, task, name) : NULL;
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
    if (tuned->winner >= 0)
        keep(t->device, task, task->shape, CVY_BEST, tuned->variants[tuned->winner].name,
             tuned->variants[tuned->winner].seconds);
    if (o->ended)
        o->ended(o->context, index, tuned);
    return CONVOY_OK;
}

/* ---- CLBlast's parameters ---- */

/* The sum over all products, for the sets that all of them were measured with; of a set that failed for one,
   that. */
static void add_up(const cvy_task *tasks, size_t count, const cvy_tuned *results, cvy_tuned *sum) {
    for (size_t i = 0; i < count; i++)
        for (size_t set = 0; is_set(&tasks[i]) && set < results[i].count; set++) {
            const cvy_tuned_variant *v = &results[i].variants[set];
            cvy_tuned_variant *total = &sum->variants[set];
            if (v->outcome == CVY_OUTCOME_TIMED)
                total->seconds += tasks[i].uses * v->seconds;
            else if (total->outcome == CVY_OUTCOME_TIMED || cvy_tune_is_open(total))
                *total = *v;
        }
}

/* Sets outside, products inside: a set is built once. A set that fails for one product is out. The first set
   is CLBlast's own, which only a new process has. */
static convoy_status measure_sets(tuning *t, const cvy_task *tasks, size_t count, cvy_tuned *results,
                                  cvy_tuned *sum) {
    convoy_status status = CONVOY_OK;
    for (size_t set = 0; set < sum->count && !status; set++) {
        bool first = set == 0, usable = true;
        for (size_t i = 0; i < count && usable && !status; i++) {
            cvy_tuned_variant *v = &results[i].variants[set];
            if (!is_set(&tasks[i]))
                continue;
            if (first && cvy_tune_is_open(v) && !is_over(t)) {
                cvy_child_end(&t->child);
                first = false;
            }
            status = try_variant(t, i, &tasks[i], v);
            usable = v->outcome == CVY_OUTCOME_TIMED;
        }
    }
    if (!status)
        add_up(tasks, count, results, sum);
    return status;
}

/* Kept for all products of the device, whether measured now or before. */
static void keep_set(tuning *t, const cvy_tuned *sum) {
    const cvy_tuned_variant *v = &sum->variants[sum->winner];
    cvy_task all = sum->task;
    snprintf(all.shape, sizeof all.shape, "*");
    const cvy_choice *known = cvy_choice_measured(t->device, &all, NULL);
    if (t->measured || !known || strcmp(known->variant, v->name) != 0)
        keep(t->device, &all, all.shape, CVY_BEST, v->name, v->seconds);
}

/* All products at once. Sets that there was no time for do not keep a better one than CLBlast's own from
   serving. */
static convoy_status tune_sets(tuning *t, const cvy_task *tasks, size_t count, cvy_tuned *results) {
    const cvy_tune_options *o = t->options;
    cvy_tuned sum = {.winner = -1};
    for (size_t i = 0; i < count; i++)
        if (is_set(&tasks[i])) {
            cvy_tune_list(t->device, &tasks[i], o, &results[i]);
            sum.task = tasks[i];
            sum.count = results[i].count;
        }
    for (size_t set = 0; set < sum.count; set++)
        sum.variants[set] =
            (cvy_tuned_variant){.name = cvy_clblast_sets()[set], .outcome = CVY_OUTCOME_TIMED};
    convoy_status status = measure_sets(t, tasks, count, results, &sum);
    cvy_child_end(&t->child); /* the next one begins with the parameters that won */
    if (status)
        return status;
    if (sum.count && !cvy_tune_is_open(&sum.variants[0]))
        choose_winner(&sum);
    if (sum.winner >= 0)
        keep_set(t, &sum);
    for (size_t i = 0; i < count; i++)
        if (is_set(&tasks[i])) {
            results[i].winner = sum.winner;
            if (o->ended)
                o->ended(o->context, i, &results[i]);
        }
    return CONVOY_OK;
}

/* ---- All tasks ---- */

convoy_status cvy_tune(convoy_device *device, const cvy_task *tasks, size_t count,
                       const cvy_tune_options *options, cvy_tuned *results) {
    tuning t = {.device = device, .options = options};
    convoy_status status = CONVOY_OK;
    bool sets = false;
    memset(results, 0, count * sizeof *results);
    for (size_t i = 0; i < count && !status; i++)
        if (!is_set(&tasks[i]))
            status = tune_task(&t, i, &tasks[i], &results[i]);
        else if (!sets) {
            sets = true;
            status = tune_sets(&t, tasks, count, results);
        }
    cvy_child_end(&t.child);
    return status;
}
