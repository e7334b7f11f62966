/* Choice by measurement: candidates are checked and timed in a child process, because a driver may crash or
   hang on one; the answers go to the store of ops/choice.h. */
#ifndef CVY_TUNE_TUNE_H
#define CVY_TUNE_TUNE_H

#include "base/child.h"
#include "ops/variants.h"

/* ---- Tuning ---- */

typedef enum cvy_outcome {
    CVY_OUTCOME_NONE,    /* not measured: there was no time, or no process */
    CVY_OUTCOME_TIMED,   /* `seconds` */
    CVY_OUTCOME_FAILED,  /* set aside now, `reason` */
    CVY_OUTCOME_ASIDE,   /* was set aside before, `reason` */
    CVY_OUTCOME_SKIPPED, /* made for another kind of device, or given up */
    CVY_OUTCOME_MEMORY   /* did not fit, `reason` */
} cvy_outcome;

typedef struct cvy_tuned_variant {
    const char *name;
    cvy_outcome outcome;
    double seconds;
    char reason[256];
} cvy_tuned_variant;

typedef struct cvy_tuned {
    cvy_task task;
    cvy_tuned_variant variants[CVY_VARIANTS_LIMIT];
    size_t count;
    int winner; /* among the variants; -1: none */
} cvy_tuned;

typedef struct cvy_tune_options {
    double seconds;     /* of runs per variant */
    double limit;       /* seconds beyond those after which runs count as hung */
    double build_limit; /* the same for building, and for the first run, in which drivers may compile */
    double deadline;    /* on the clock of cvy_seconds(): nothing is begun after it, and what runs is ended;
                        0: none */
    bool all;           /* variants for other kinds of devices too */
    /* Automatic tuning: compare only so many of the variants that the heuristics might take, go on from what
       earlier starts measured, and leave what all of them together did not see through in `give_up` seconds.
       0: measure everything, anew. */
    size_t likely;
    double give_up;
    const volatile int *interrupt; /* non-zero: stop, CONVOY_INTERRUPTED; NULL: never */
    /* Before each measurement and after each task; NULL: nobody listens. */
    void (*begun)(void *context, size_t index, const cvy_task *task, const char *variant);
    void (*ended)(void *context, size_t index, const cvy_tuned *tuned);
    void *context;
} cvy_tune_options;

/* The variants that cvy_tune would compare, with what is known about each; those that are open it measures.
 */
void cvy_tune_list(convoy_device *device, const cvy_task *task, const cvy_tune_options *options,
                   cvy_tuned *tuned);
bool cvy_tune_is_open(const cvy_tuned_variant *variant);
/* results [count]. What was found before a failure or an interruption is kept. All tasks of a variant's
   option have the same winner: the value with the least sum of times. */
convoy_status cvy_tune(convoy_device *device, const cvy_task *tasks, size_t count,
                       const cvy_tune_options *options, cvy_tuned *results);
/* The short tuning when a network is opened: what is large enough for it to matter and has several plausible
   variants, the largest part of a step first, for a few seconds of a process at most; the next process goes
   on. Never fails. CONVOY_TUNE=0 turns it off, another number is the seconds. Returns whether there was
   anything to measure. */
bool cvy_tune_automatically(convoy_device *device, const cvy_task *tasks, size_t count);

/* ---- The child process ---- */

/* The helper's task "measure-variants" with arguments ID NAME PRECISION: serves requests on that device. */
convoy_status cvy_tune_serve(cvy_child *parent, char *const *arguments);

#endif
