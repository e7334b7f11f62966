/* A search's folder: its table, and a picture of it. */
#ifndef CVY_REPORT_TRIALS_H
#define CVY_REPORT_TRIALS_H

#include "base/arena.h"
#include "report/chart.h"

/* What a trial came to, by the last rung that it reached. */
typedef struct cvy_trial {
    size_t number, rung; /* from 1 */
    int epochs;
    double value;                /* of the monitor, mean of the folds; NaN: it failed */
    const char *const *settings; /* [axes] */
    const char *folder, *device; /* of its first fold; device NULL: the table does not say */
} cvy_trial;

/* A point of a trial's way: what it came to in one rung. */
typedef struct cvy_rung {
    size_t trial; /* an index */
    int epochs;
    double value;
} cvy_rung;

typedef struct cvy_trials {
    const char *folder, *monitor;
    bool least;              /* the least of it is best */
    const char *const *keys; /* [axes] */
    size_t axes;
    const cvy_trial *trials; /* [count], the best first: who came further, then by value; failed ones last */
    size_t count;
    const cvy_rung *rungs; /* [rung_count], trial after trial, from the first on */
    size_t rung_count;
    size_t damaged; /* lines that are no rows, left out */
} cvy_trials;

/* What the table begins with, and the numbers in front of one of its rows: NaN for those that are empty.
   Returns what follows them; NULL: it is no row. */
#define CVY_TRIALS_HEADER "trial,rung,fold,epochs,value,best_epoch,train_loss,train_accuracy,seconds"
enum { CVY_TRIAL_NUMBERS = 9 };
const char *cvy_trials_read_numbers(const char *row, double numbers[CVY_TRIAL_NUMBERS]);

/* Is this a search's folder? */
bool cvy_trials_are_in(const char *folder);
/* In the arena. CONVOY_IO: there is no table; CONVOY_INVALID: it is none of a search. */
convoy_status cvy_trials_read(cvy_arena *arena, const char *folder, cvy_trials *trials);

/* Pictures: the monitor over each key that was tried, over epochs where there are rungs, and as a map where
   two keys make a grid. */
size_t cvy_trials_panels(const cvy_trials *trials);
/* What is in it, in words; in the arena. */
const char *cvy_trials_title(cvy_arena *arena, const cvy_trials *trials, size_t panel);
void cvy_trials_draw(cvy_canvas *canvas, cvy_box box, const cvy_trials *trials, size_t panel, double font,
                     const cvy_theme *theme);
/* All of them, as search.png in the folder, atomically. */
convoy_status cvy_trials_save(const char *folder);

#endif
