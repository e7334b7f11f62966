/* Choice by measurement: candidates are checked and timed in a process of their own, the `convoy` command
   itself, because a driver may crash or hang on one; the answers go to the store of ops/choice.h. */
#ifndef CVY_GRAPH_TUNE_H
#define CVY_GRAPH_TUNE_H

#include "ops/choice.h"

/* ---- Tuning ---- */

typedef enum cvy_outcome {
    CVY_OUTCOME_NONE,    /* not measured: there was no time, or no process */
    CVY_OUTCOME_TIMED,   /* `seconds` */
    CVY_OUTCOME_FAILED,  /* set aside now, `reason` */
    CVY_OUTCOME_ASIDE,   /* was set aside before, `reason` */
    CVY_OUTCOME_SKIPPED, /* made for another kind of device */
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
    bool likely;        /* only those that the heuristics might take */
    const volatile int *interrupt; /* non-zero: stop, CONVOY_INTERRUPTED; NULL: never */
    /* Before each measurement and after each task; NULL: nobody listens. */
    void (*begun)(void *context, size_t index, const cvy_task *task, const char *variant);
    void (*ended)(void *context, size_t index, const cvy_tuned *tuned);
    void *context;
} cvy_tune_options;

/* The `convoy` command that serves as the other process, as `<path> measure-variants ID NAME`; without one
   nothing is measured. The string must live on. */
void cvy_tune_set_command(const char *path);

/* results [count]. What was found before a failure or an interruption is kept. */
convoy_status cvy_tune(convoy_device *device, const cvy_task *tasks, size_t count,
                       const cvy_tune_options *options, cvy_tuned *results);
/* The short tuning when a network is opened: what is large enough for it to matter, has several plausible
   variants and was never looked at, for a few seconds at most. Never fails. CONVOY_TUNE=0 turns it off. */
void cvy_tune_automatically(convoy_device *device, const cvy_task *tasks, size_t count);

/* ---- The other process ---- */

/* Serves requests on the socket that is descriptor 0 until it is closed. */
convoy_status cvy_tune_serve(convoy_device *device);

#endif
