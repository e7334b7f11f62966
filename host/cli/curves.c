/* Curves over epochs, drawn with characters: enough to see whether a run learns, and whether it overfits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "cli/cli.h"
#include "report/history.h"

enum { ROWS = 10, COLUMNS_LIMIT = 60 };

/* Least and largest finite value of both. */
static bool range(const double *train, const double *test, size_t count, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < 2 * count; i++) {
        double value = i < count ? train[i] : test[i - count];
        if (isfinite(value)) {
            *low = fmin(*low, value);
            *high = fmax(*high, value);
        }
    }
    return *low <= *high;
}

static void plot(char grid[ROWS][COLUMNS_LIMIT + 1], int columns, const double *values, size_t count,
                 double low, double high, char mark) {
    for (int c = 0; c < columns; c++) {
        size_t index = columns > 1 ? (size_t)((double)c * (double)(count - 1) / (columns - 1) + 0.5) : 0;
        if (!isfinite(values[index]))
            continue;
        /* Halves: the largest and the least number are further apart than any number says. */
        double span = high / 2 - low / 2, height = span > 0 ? (values[index] / 2 - low / 2) / span : 0.5;
        char *cell = &grid[ROWS - 1 - (int)(height * (ROWS - 1) + 0.5)][c];
        *cell = *cell == ' ' ? mark : '#';
    }
}

static void add_value(cvy_text *text, double value) {
    cvy_text_add(text, fabs(value) < 1000 ? "%8.4f |" : "%8.3g |", value);
}

static void add_picture(cvy_text *text, const char *title, const char *other, const double *train,
                        const double *test, size_t count) {
    char grid[ROWS][COLUMNS_LIMIT + 1];
    double low, high;
    /* Few epochs are spread out, many are thinned. */
    int columns = count < COLUMNS_LIMIT / 4 ? (int)count * 4
                  : count < COLUMNS_LIMIT   ? (int)count
                                            : COLUMNS_LIMIT;
    if (!range(train, test, count, &low, &high))
        return;
    memset(grid, ' ', sizeof grid);
    plot(grid, columns, train, count, low, high, '*');
    plot(grid, columns, test, count, low, high, 'o');
    cvy_text_add(text, "%s over epochs 1..%zu (* train, o %s, # both)\n", title, count, other);
    for (int r = 0; r < ROWS; r++) {
        if (r == 0 || r == ROWS - 1)
            add_value(text, r == 0 ? high : low);
        else
            cvy_text_add(text, "%8s |", "");
        int length = columns;
        while (length > 0 && grid[r][length - 1] == ' ')
            length--;
        cvy_text_add(text, "%.*s\n", length, grid[r]);
    }
    cvy_text_add(text, "%8s +", "");
    for (int c = 0; c < columns; c++)
        cvy_text_add(text, "-");
    cvy_text_add(text, "\n");
}

/* Where `column` [rows] is known at the end of each epoch, from 1: the last row of an epoch. */
static void by_epoch(const cvy_history *history, const char *column, size_t epochs, double *values) {
    const double *of = cvy_history_column(history, column);
    for (size_t e = 0; e < epochs; e++)
        values[e] = NAN;
    for (size_t r = 0; of && r < history->rows; r++)
        if (history->values[r] <= (double)epochs)
            values[(size_t)history->values[r] - 1] = of[r];
}

/* Training beside validation where there is one, else test. */
static void add_curves(cvy_text *text, const cvy_history *history, const char *title) {
    char train[32], other[32];
    size_t epochs = 0; /* each with a row at least */
    snprintf(train, sizeof train, "train_%s", title);
    snprintf(other, sizeof other, "val_%s", title);
    const bool validation = cvy_history_column(history, other) != NULL;
    if (!validation)
        snprintf(other, sizeof other, "test_%s", title);
    for (size_t r = 0; r < history->rows; r++)
        if (history->values[r] > (double)epochs && history->values[r] <= (double)history->rows)
            epochs = (size_t)history->values[r];
    double *values = epochs >= 2 ? cvy_machine_allocate(2 * epochs, sizeof *values) : NULL;
    if (values) { /* without memory there is no picture */
        by_epoch(history, train, epochs, values);
        by_epoch(history, other, epochs, values + epochs);
        add_picture(text, title, validation ? "validation" : "test", values, values + epochs, epochs);
    }
    free(values);
}

void cli_curves_of_run(cvy_text *text, const char *metrics) {
    cvy_history history;
    cvy_arena *arena = cvy_arena_create();
    if (arena && cvy_history_read(arena, metrics, &history) == CONVOY_OK) {
        add_curves(text, &history, "loss");
        add_curves(text, &history, "accuracy");
    }
    cvy_arena_free(arena);
}
