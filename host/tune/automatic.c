/* The short tuning when a network is opened. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "tune/tune.h"

/* Seconds of a process, enough for two large shapes on a cold driver; seconds of runs per variant. */
static const double most_seconds = 6, run_seconds = 0.02;
/* The work of a pass from which on it can pay: a few milliseconds on a CPU of two cores, a tenth of that on a
   GPU. */
static const double cpu_work = 1e9, gpu_work = 4e9;

/* 0: never. */
static double wanted_seconds(convoy_device *device) {
    const char *wish = getenv("CONVOY_TUNE");
    double seconds = most_seconds;
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    if (traits->host || traits->quirks & CVY_QUIRK_INTERPRETS || !cvy_child_possible())
        return 0;
    return !wish || cvy_text_to_double(wish, &seconds) ? seconds : most_seconds;
}

/* Is there anything to measure for it? */
static bool is_new(convoy_device *device, const cvy_task *task, const cvy_tune_options *options) {
    cvy_tuned tuned;
    size_t usable = 0, open = 0;
    const cvy_key key = cvy_task_key(task);
    if (!task->option_of && cvy_choice_measured(device, &key, NULL))
        return false;
    cvy_tune_list(device, task, options, &tuned);
    for (size_t i = 0; i < tuned.count; i++) {
        open += cvy_tune_is_open(&tuned.variants[i]);
        usable += cvy_tune_is_open(&tuned.variants[i]) || tuned.variants[i].outcome == CVY_OUTCOME_TIMED;
    }
    return open && usable > 1;
}

static int by_share(const void *a, const void *b) {
    const cvy_task *s = a, *t = b;
    const double x = s->work * s->uses, y = t->work * t->uses;
    return (x < y) - (x > y);
}

/* The work of a task, or of all those together that choose the same option. */
static double work_of(const cvy_task *tasks, size_t count, const cvy_task *task) {
    double work = 0;
    for (size_t i = 0; i < count; i++)
        if (task->option_of && tasks[i].option_of == task->option_of)
            work += tasks[i].work * tasks[i].uses;
    return task->option_of ? work / task->uses : task->work;
}

/* The tasks that are large enough to matter, the largest part of a step first. */
static size_t list_tasks(convoy_device *device, const cvy_task *tasks, size_t count, cvy_task *list) {
    const double least = cvy_device_get_traits(device)->cpu ? cpu_work : gpu_work;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        list[used] = tasks[i];
        list[used].work = work_of(tasks, count, &tasks[i]);
        used += list[used].work >= least;
    }
    qsort(list, used, sizeof *list, by_share);
    return used;
}

/* Tasks that there is nothing to measure for drop out, but for those of options: the sum over this
   network's shapes may have another winner than that of the network before. */
static size_t keep_open(convoy_device *device, const cvy_tune_options *options, cvy_task *list,
                        size_t *count) {
    size_t used = 0, wanted = 0;
    for (size_t i = 0; i < *count; i++) {
        const bool new = is_new(device, &list[i], options);
        wanted += new;
        if (new || list[i].option_of)
            list[used++] = list[i];
    }
    *count = used;
    return wanted;
}

bool cvy_tune_automatically(convoy_device *device, const cvy_task *tasks, size_t count) {
    static atomic_long spent; /* milliseconds, by networks that this process opened before */
    const double seconds = wanted_seconds(device), start = cvy_seconds(),
                 left = fmax(seconds - 1e-3 * (double)spent, 0);
    const cvy_tune_options options = {.seconds = run_seconds,
                                      /* The budget ends first: no variant is set aside for its slowness. */
                                      .limit = INFINITY,
                                      .build_limit = INFINITY,
                                      .deadline = start + left,
                                      .likely = 2,
                                      .give_up = 1.5 * seconds};
    cvy_task *list = seconds > 0 ? calloc(count + 1, sizeof *list) : NULL;
    cvy_tuned *results = list ? calloc(count + 1, sizeof *results) : NULL;
    size_t wanted = 0;
    if (results) {
        size_t used = list_tasks(device, tasks, count, list), settled = 0;
        wanted = keep_open(device, &options, list, &used);
        if (wanted && left > 0)
            cvy_info("tuning: measuring kernel variants for %zu new shapes, %.1f s at most (CONVOY_TUNE=0: "
                     "never; `convoy tune`: all of them)",
                     wanted, left);
        if (cvy_tune(device, list, used, &options, results))
            cvy_debug("tuning: %s", convoy_error_message());
        for (size_t i = 0; i < used; i++)
            settled += !is_new(device, &list[i], &options);
        cvy_debug("tuning: %zu of %zu shapes are settled; the next start goes on", settled, used);
        if (wanted)
            spent += lround(1e3 * (cvy_seconds() - start));
    }
    free(results);
    free(list);
    return wanted;
}
