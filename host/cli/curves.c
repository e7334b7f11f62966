/* Curves over epochs, drawn with characters: enough to see whether a run learns, and whether it overfits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "cli/cli.h"

enum { ROWS = 10, COLUMNS_LIMIT = 60, METRICS_LIMIT = 256 << 20 };

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

void cli_curves(cvy_text *text, const char *title, const double *train, const double *test, size_t count) {
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
    cvy_text_add(text, "%s over epochs 1..%zu (* train, o test, # both)\n", title, count);
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

enum { FIELDS = 11, VAL_LOSS = 8 };

/* The fields of a row of metrics.csv; empty ones are NaN. */
static bool read_row(const char *line, double fields[FIELDS]) {
    for (int i = 0; i < FIELDS; i++) {
        char *end;
        fields[i] = strtod(line, &end);
        if (end == line)
            fields[i] = NAN;
        line = end + (*end == ',');
        if (i < FIELDS - 1 && *end != ',')
            return false;
    }
    for (int i = 0; i < 2; i++) /* with a validation set, that is what is shown */
        if (isfinite(fields[VAL_LOSS + i]))
            fields[4 + i] = fields[VAL_LOSS + i];
    return fields[0] >= 1;
}

void cli_curves_of_run(cvy_text *text, const char *metrics) {
    char *data = NULL;
    size_t size, epochs = 0, limit = 1;
    double *values = NULL;
    if (cvy_file_read_regular(metrics, METRICS_LIMIT, &data, &size) != CONVOY_OK)
        return;
    for (const char *c = data; *c; c++)
        limit += *c == '\n';
    /* train loss, test loss, train accuracy, test accuracy; without memory there is no picture */
    values = cvy_machine_allocate(4 * limit, sizeof *values);
    for (char *line = strchr(data, '\n'); values && line && line[1]; line = strchr(line + 1, '\n')) {
        double fields[FIELDS];
        if (!read_row(line + 1, fields) || fields[0] > (double)limit)
            continue;
        size_t epoch = (size_t)fields[0];
        for (; epochs < epoch; epochs++)
            for (int i = 0; i < 4; i++)
                values[(size_t)i * limit + epochs] = NAN;
        for (int i = 0; i < 4; i++) /* the last row of an epoch is its end */
            values[(size_t)(i % 2 * 2 + i / 2) * limit + epoch - 1] = fields[2 + i];
    }
    if (epochs >= 2) {
        cli_curves(text, "loss", values, values + limit, epochs);
        cli_curves(text, "accuracy", values + 2 * limit, values + 3 * limit, epochs);
    }
    free(values);
    free(data);
}
