/* A run folder as a report reads it: what it was to do, how it went, and, where the data are at hand, what
   its weights answer. What is missing or damaged is a note on the page, not a failure. */
#ifndef CVY_REPORT_RUN_H
#define CVY_REPORT_RUN_H

#include "convoy/train.h"
#include "model/model.h"
#include "report/history.h"
#include "report/scores.h"
#include "train/metrics.h"

/* A key of a recipe and its value, as text; nested keys are joined by dots. */
typedef struct cvy_setting {
    const char *key, *value;
} cvy_setting;

/* The weights' answers to a set. */
typedef struct cvy_answers {
    size_t images;
    int classes;
    const char *const *names;     /* [classes] */
    const double *probabilities;  /* [images][classes] */
    const int32_t *truth, *given; /* [images]: classes */
    const unsigned long long *confusion;
    const convoy_class_result *results; /* [classes] */
    const cvy_scores *scores;           /* [classes] */
    cvy_averages averages;
    double accuracy;
    const char *device;
} cvy_answers;

typedef struct cvy_run {
    const char *folder, *name; /* the folder's own name, or the path where names are not unique */
    const char *recipe_text;   /* model.yaml, or NULL */
    const char *model_name, *data;
    const char *command, *device, *version, *started; /* of run.yaml; NULL: not known */
    const cvy_setting *settings;                      /* of the recipe */
    size_t setting_count;
    const char *layers; /* of the network, as text */
    bool has_history;
    cvy_history history;
    const char *weights; /* the file that answers, or NULL */
    const char **notes;  /* what is missing, in words */
    size_t note_count;
    const cvy_answers *answers; /* NULL: nothing was evaluated */
    const convoy_model *model;  /* with those weights; NULL without */
    const convoy_dataset *set;  /* that was answered */
} cvy_run;

/* Reads all but the answers; texts live in the arena. CONVOY_INVALID: the folder is none of a run: neither
   model.yaml nor metrics.csv is there. */
convoy_status cvy_run_read(cvy_arena *arena, const char *folder, cvy_run *run);
void cvy_run_note(cvy_arena *arena, cvy_run *run, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The row of the best accuracy: that of validation where there is one, else of test; SIZE_MAX without. */
size_t cvy_run_best_row(const cvy_run *run);
/* A figure of a row: NaN where it is not known. */
double cvy_run_value(const cvy_run *run, const char *column, size_t row);

/* Answers to all of a set, which becomes `set` of the run, and outlives it as the model does. */
convoy_status cvy_run_answer(cvy_arena *arena, convoy_model *model, convoy_device *device,
                             convoy_dataset *set, cvy_run *run);

/* The images that were answered wrongly, the most confident first: at most `most` indices. How many. */
size_t cvy_answers_wrong(const cvy_answers *answers, size_t most, size_t *indices);

/* Some of the images, evenly spread over the set: at most `most` indices. How many. */
size_t cvy_answers_spread(const cvy_answers *answers, size_t most, size_t *indices);
/* A grid of such images, each with its answer and its class, as the PNG file `path`, atomically. The run was
   answered. */
convoy_status cvy_answers_save(const cvy_run *run, const char *path);

/* What is written into a run folder when it begins, as text of run.yaml. */
void cvy_run_print_beginning(const char *command, const convoy_device *device, cvy_text *text);

#endif
