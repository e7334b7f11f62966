/* Reading metrics.csv. */
#include "report/history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

enum { MOST_BYTES = 256 << 20, MOST_COLUMNS = 64 };

static bool read_field(const char *field, double *value) {
    static const struct {
        const char *text;
        double value;
    } words[] = {{"", NAN}, {"nan", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(field, words[i].text) == 0) {
            *value = words[i].value;
            return true;
        }
    return cvy_text_to_double(field, value);
}

/* A row of `columns` numbers, of which the first two are an epoch and a step. */
static bool read_row(char *line, size_t columns, double *row) {
    char *fields[MOST_COLUMNS];
    if (cvy_text_split_row(line, fields, MOST_COLUMNS) != columns)
        return false;
    for (size_t c = 0; c < columns; c++)
        if (!read_field(fields[c], &row[c]))
            return false;
    return row[0] >= 1 && row[1] >= 1;
}

static convoy_status read_header(cvy_arena *arena, const char *path, char *line, cvy_history *history) {
    char *fields[MOST_COLUMNS] = {line};
    history->columns = cvy_text_split_row(line, fields, MOST_COLUMNS);
    if (history->columns < 3 || strcmp(fields[0], "epoch") != 0 || strcmp(fields[1], "step") != 0)
        return cvy_fail(CONVOY_INVALID,
                        "%s is no table of a run: its first line is to begin with epoch,step, and begins "
                        "with %.40s",
                        path, fields[0]);
    const char **names = cvy_arena_alloc(arena, history->columns * sizeof *names);
    for (size_t c = 0; c < history->columns; c++)
        names[c] = cvy_arena_strdup(arena, fields[c]);
    history->names = names;
    return CONVOY_OK;
}

/* A step's epoch, as a number with a fraction: the last row of a whole epoch says how many steps one has. */
static void find_epochs(cvy_arena *arena, cvy_history *h) {
    double *epoch = cvy_arena_alloc(arena, (h->rows + 1) * sizeof *epoch), steps = 1;
    const double *numbers = h->values, *step = h->values + h->rows;
    for (size_t r = 0; r < h->rows; r++)
        steps = fmax(steps, step[r] / numbers[r]);
    for (size_t r = 0; r < h->rows; r++)
        epoch[r] = fmin(step[r] / steps, numbers[r]);
    h->epoch = epoch;
}

static convoy_status read_rows(cvy_arena *arena, char *line, size_t lines, cvy_history *h) {
    const size_t bytes = (lines * h->columns + 1) * sizeof(double);
    double *rows = cvy_arena_try(arena, bytes), *values = cvy_arena_try(arena, bytes);
    if (!rows || !values)
        return cvy_fail_memory("the table of a run", 2 * bytes);
    for (char *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        if (read_row(line, h->columns, rows + h->rows * h->columns))
            h->rows++;
        else
            h->damaged++;
    }
    for (size_t r = 0; r < h->rows; r++)
        for (size_t c = 0; c < h->columns; c++)
            values[c * h->rows + r] = rows[r * h->columns + c];
    h->values = values;
    return CONVOY_OK;
}

convoy_status cvy_history_read(cvy_arena *arena, const char *path, cvy_history *history) {
    char *data = NULL;
    size_t size, lines = 1;
    *history = (cvy_history){0};
    convoy_status status = cvy_file_read_regular(path, MOST_BYTES, &data, &size);
    if (status)
        return status;
    for (const char *c = data; *c; c++)
        lines += *c == '\n';
    char *header = data, *rest = data + strcspn(data, "\n");
    if (*rest)
        *rest++ = '\0';
    status = read_header(arena, path, header, history);
    if (!status)
        status = read_rows(arena, rest, lines, history);
    if (!status)
        find_epochs(arena, history);
    free(data);
    return status;
}

const double *cvy_history_column(const cvy_history *history, const char *name) {
    for (size_t c = 0; c < history->columns; c++) {
        const double *values = history->values + c * history->rows;
        if (strcmp(history->names[c], name) != 0)
            continue;
        for (size_t r = 0; r < history->rows; r++)
            if (isfinite(values[r]))
                return values;
    }
    return NULL;
}
