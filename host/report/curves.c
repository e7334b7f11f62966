/* Which columns of metrics.csv make which curves. */
#include "report/curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRAINING, VALIDATION, TEST, SPLITS };

static const struct {
    const char *title, *y_name;
    cvy_scale scale;
    const char *columns[SPLITS]; /* training, validation, test */
} kinds[CVY_CURVES] = {
    {"Loss", "mean loss of an image", CVY_LINEAR, {"train_loss", "val_loss", "test_loss"}},
    {"Accuracy", "right answers, %", CVY_PERCENT, {"train_accuracy", "val_accuracy", "test_accuracy"}},
    {"Learning rate", "step size", CVY_LINEAR, {"lr", NULL, NULL}},
};

static const char *const splits[SPLITS] = {"training", "validation", "test"};

static const double *column_of(cvy_curve curve, size_t split, const cvy_run_curves *run) {
    const char *name = kinds[curve].columns[split];
    return name ? cvy_history_column(run->history, name) : NULL;
}

bool cvy_curve_exists(cvy_curve curve, const cvy_run_curves *runs, size_t count) {
    for (size_t r = 0; r < count; r++)
        for (size_t s = 0; s < SPLITS; s++) {
            const double *values = column_of(curve, s, &runs[r]);
            if (values && curve != CVY_LEARNING_RATE)
                return true;
            for (size_t i = 1; values && i < runs[r].history->rows; i++)
                if (values[i] != values[0])
                    return true;
        }
    return false;
}

/* Of rates that fall to a thousandth a linear axis shows nothing. */
static cvy_scale scale_of(cvy_curve curve, const cvy_series *series, size_t count) {
    double low = INFINITY, high = 0;
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            if (series[s].y[i] > 0)
                low = fmin(low, series[s].y[i]);
            high = fmax(high, series[s].y[i]);
        }
    return curve == CVY_LEARNING_RATE && high > 50 * low ? CVY_LOG : kinds[curve].scale;
}

/* What one run shows: returns how many series. Beside other runs it has its training, dashed, and what it is
   judged by. */
static size_t add_run(cvy_curve curve, const cvy_run_curves *run, bool alone, size_t index, double font,
                      const cvy_theme *theme, cvy_series *series) {
    size_t found = 0;
    for (size_t s = 0; s < SPLITS; s++) {
        const double *values = column_of(curve, s, run);
        if (!values || (!alone && s == TEST && column_of(curve, VALIDATION, run)))
            continue;
        series[found++] = (cvy_series){.name = alone && curve != CVY_LEARNING_RATE ? splits[s] : NULL,
                                       .x = run->history->epoch,
                                       .y = values,
                                       .count = run->history->rows,
                                       .color = cvy_palette(theme, !alone ? index
                                                                   : s    ? 3 - s
                                                                          : 0),
                                       .dash = alone || s ? 0 : font / 2};
    }
    if (found && !alone) {
        series[found - 1].name = run->name;
        series[found - 1].dash = 0;
    }
    return found;
}

void cvy_curve_draw(cvy_canvas *canvas, cvy_box box, cvy_curve curve, const cvy_run_curves *runs,
                    size_t count, double font, const cvy_theme *theme) {
    cvy_series *series = calloc(count * SPLITS + 1, sizeof *series);
    size_t found = 0;
    for (size_t r = 0; series && r < count; r++)
        found += add_run(curve, &runs[r], count == 1, r, font, theme, series + found);
    const cvy_chart chart = {.title = kinds[curve].title,
                             .x_name = "epoch",
                             .y_name = kinds[curve].y_name,
                             .series = series,
                             .count = found,
                             .y_scale = scale_of(curve, series, found),
                             .whole_x = true,
                             .font = font,
                             .theme = theme};
    cvy_chart_draw(canvas, box, &chart);
    free(series);
}

convoy_status cvy_curves_save(const char *metrics, const char *path) {
    enum { WIDTH = 1280, HEIGHT = 480, MARGIN = 24 };
    cvy_canvas *canvas = NULL;
    cvy_history history;
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("the curves", 1);
    convoy_status status = cvy_history_read(arena, metrics, &history);
    if (!status)
        status = cvy_canvas_create(CVY_PNG, WIDTH, HEIGHT, 1, &canvas);
    if (!status) {
        const cvy_run_curves run = {NULL, &history};
        const int panels = 2 + cvy_curve_exists(CVY_LEARNING_RATE, &run, 1);
        const double width = (WIDTH - MARGIN * (panels + 1.0)) / panels;
        cvy_canvas_fill(canvas, (cvy_box){0, 0, WIDTH, HEIGHT}, cvy_light.paper);
        for (int i = 0; i < panels; i++)
            cvy_curve_draw(canvas,
                           (cvy_box){MARGIN + i * (width + MARGIN), MARGIN, width, HEIGHT - 2 * MARGIN},
                           (cvy_curve)i, &run, 1, 15, &cvy_light);
        status = cvy_canvas_save(canvas, path);
    }
    cvy_arena_free(arena);
    return status;
}
