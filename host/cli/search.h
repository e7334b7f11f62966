/* What `convoy search` tries, and where. */
#ifndef CVY_CLI_SEARCH_H
#define CVY_CLI_SEARCH_H

#include "cli/cli.h"

/* ---- search_plan.c: the settings of each trial, from --grid, --range and --random ---- */

typedef struct search_axis {
    const char *option;  /* as it was given, for messages: "--grid lr=0.1,0.01" */
    const char *key;     /* of the recipe, its optimizer or the model's parameters */
    const char **values; /* of a grid */
    size_t count;
    enum { SEARCH_GRID, SEARCH_LOG, SEARCH_LINEAR, SEARCH_INTEGER } kind;
    double low, high; /* of a range */
} search_axis;

typedef struct search_plan {
    search_axis *axes;
    size_t axis_count;
    const char **settings; /* [trials][axes]: "key=value" */
    size_t trials;
} search_plan;

/* `random`: so many trials that are drawn by the seed; 0: all of the grid. Every value is tried on the model
   of the call. */
convoy_status search_plan_read(cli_call *call, size_t random, uint64_t seed, search_plan *plan);
static inline const char **search_settings(const search_plan *plan, size_t trial) {
    return plan->settings + trial * plan->axis_count;
}
/* The value of a setting. */
const char *search_value(const char *setting);

/* ---- search_table.c: what came of it so far ---- */

/* A training: of a trial, in a rung, judged by a fold; all from 0. */
typedef struct search_job {
    size_t rung, trial;
    int fold;
} search_job;

/* What it came to. */
typedef struct search_outcome {
    bool known;
    int epochs, best_epoch;
    double value, loss, accuracy, seconds; /* value NaN: it failed */
} search_outcome;

typedef struct search_table {
    cvy_arena *arena;
    const search_plan *plan;
    const char *out, *path; /* the search's folder, and search.csv in it */
    size_t rungs;
    int folds;                /* 1: none */
    search_outcome *outcomes; /* [rungs][trials][folds] */
} search_table;

/* Begins the table, or reads the rows that are there. */
convoy_status search_table_open(const search_table *table);
/* A row; `device`: its name. */
convoy_status search_table_add(const search_table *table, const search_job *job,
                               const search_outcome *outcome, const char *device);
search_outcome *search_table_outcome(const search_table *table, size_t rung, size_t trial, int fold);
/* Mean over the folds; NaN where one is missing or failed. */
double search_table_value(const search_table *table, size_t rung, size_t trial);
/* Where a training has its run; in the arena. */
const char *search_table_folder(const search_table *table, size_t trial, int fold);

/* ---- search_workers.c: trials on several devices at once ---- */

/* What the one that searches does, and what it has its children do. */
typedef struct search_work {
    void *context;
    int folds;        /* 1: none */
    const char **out; /* the folder, for children that were started before it was known; else NULL */
    /* In a child, which has this device for itself. */
    convoy_status (*train)(void *context, convoy_device *device, const search_job *job,
                           search_outcome *outcome);
    /* In the parent, as jobs end; `device`: its name. */
    convoy_status (*done)(void *context, const search_job *job, const search_outcome *outcome,
                          const char *device);
} search_work;

/* A child on each device. */
typedef struct search_workers search_workers;
/* `list`: of devices. In the arena; they are ended by search_workers_end. */
convoy_status search_workers_start(cli_call *call, const char *list, const search_work *work,
                                   search_workers **workers);
/* Gives each job to the first device that is free. Where one cannot go on, or after Ctrl-C, all save and
   stop. */
convoy_status search_workers_run(search_workers *workers, const search_job *jobs, size_t count);
/* The same of one entry of the list, in turn; where that is to be had without a list too. */
convoy_status search_workers_start_one(cli_call *call, const char *list, size_t place,
                                       const search_work *work, search_workers **workers);
/* Of one child, step by step: a job for it; a moment in which it may say something; whether it is at work, or
   still opens its device; and why it cannot go on. */
void search_workers_give(search_workers *workers, const search_job *job);
void search_workers_poll(search_workers *workers);
bool search_workers_busy(const search_workers *workers);
bool search_workers_failed(const search_workers *workers);
convoy_status search_workers_status(const search_workers *workers);
void search_workers_stop(search_workers *workers);
/* Fails with what is said of all that were stopped. */
convoy_status search_workers_interrupted(void);
/* "Name, Name"; in the arena. */
const char *search_workers_names(const search_workers *workers);
void search_workers_end(search_workers *workers); /* NULL is allowed */

/* ---- search_best.c: what the best trial answers ---- */

/* Has the best weights of the run folder `best` answer the test images once, prints the figures, and draws
   curves and some images with their answers into the folder. `page`: report.html in the search's folder too;
   without it a failure is a warning. The call's JSON object gets `test`. *device may be NULL, and is the
   caller's to close. */
convoy_status search_answer_best(cli_call *call, const char *folder, const char *best,
                                 const cli_data_request *test, bool page, convoy_device **device);

/* ---- search_ranks.c: trials on ranks that a launcher started ---- */

/* How a rank's child fares. */
typedef struct search_report {
    bool busy, failed;
    bool done; /* with this job, since it was said last */
    search_job job;
    search_outcome outcome;
} search_report;

/* Rank 0 hands these out, and hears of each by work->done; `mine` is where its own child's outcome comes. */
convoy_status search_ranks_run(search_workers *workers, search_report *mine, const search_work *work,
                               const search_job *jobs, size_t count);
/* The others, until it says that the search is over. */
convoy_status search_ranks_serve(search_workers *workers, search_report *mine);
/* It is over, which rank 0 says. */
convoy_status search_ranks_end(search_workers *workers, search_report *mine);

#endif
