/* Curves of runs: loss, accuracy, learning rate. */
#ifndef CVY_REPORT_CURVES_H
#define CVY_REPORT_CURVES_H

#include "report/chart.h"
#include "report/history.h"

typedef enum cvy_curve { CVY_LOSS, CVY_ACCURACY, CVY_LEARNING_RATE, CVY_CURVES } cvy_curve;

/* A run's table and what the legend calls it. */
typedef struct cvy_run_curves {
    const char *name;
    const cvy_history *history;
} cvy_run_curves;

/* Has any of the runs something to show? A learning rate that never changes is nothing. */
bool cvy_curve_exists(cvy_curve curve, const cvy_run_curves *runs, size_t count);
/* One run: training, validation and test by colour. Several: one colour each, training dashed. */
void cvy_curve_draw(cvy_canvas *canvas, cvy_box box, cvy_curve curve, const cvy_run_curves *runs,
                    size_t count, double font, const cvy_theme *theme);

/* Draws a run's curves side by side into the PNG file `path`, atomically. */
convoy_status cvy_curves_save(const char *metrics, const char *path);

#endif
