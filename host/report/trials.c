/* Reading search.csv. */
#include "report/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "report/run.h"

enum { MOST_BYTES = 256 << 20, MOST_COLUMNS = 128, NUMBERS = CVY_TRIAL_NUMBERS };

/* A line of the table. */
typedef struct line_of {
    size_t trial, rung;
    int epochs;
    double value;
    const char *const *settings;
    const char *folder, *device;
} line_of;

bool cvy_trials_are_in(const char *folder) {
    char *path = cvy_path_join(folder, "search.csv");
    const bool there = cvy_file_exists(path);
    free(path);
    return there;
}

const char *cvy_trials_read_numbers(const char *row, double numbers[CVY_TRIAL_NUMBERS]) {
    for (int i = 0; i < NUMBERS; i++) {
        char *end;
        numbers[i] = strtod(row, &end);
        if (end == row || !isfinite(numbers[i]))
            numbers[i] = NAN;
        if (*end != ',')
            return NULL;
        row = end + 1;
    }
    return row;
}

/* CVY_TRIALS_HEADER, the keys, folder, device */
static convoy_status read_header(cvy_arena *arena, const char *path, char *text, cvy_trials *t) {
    char *fields[MOST_COLUMNS] = {text};
    const size_t count = cvy_text_split_row(text, fields, MOST_COLUMNS);
    size_t folder = NUMBERS;
    while (folder < count && strcmp(fields[folder], "folder") != 0)
        folder++;
    if (folder >= count || strcmp(fields[0], "trial") != 0 || strcmp(fields[4], "value") != 0)
        return cvy_fail(CONVOY_INVALID,
                        "%s is no table of a search: its first line is to begin with trial,rung,fold, and "
                        "begins with %.40s",
                        path, fields[0]);
    const char **keys = cvy_arena_alloc(arena, (folder + 1) * sizeof *keys);
    for (size_t i = NUMBERS; i < folder; i++)
        keys[t->axes++] = cvy_arena_strdup(arena, fields[i]);
    t->keys = keys;
    return CONVOY_OK;
}

/* Folders were written as the search was told; it may have been moved since. */
static const char *folder_now(cvy_arena *arena, const char *search, const char *written) {
    const char *last = NULL;
    for (const char *at = written; (at = strstr(at, "trial-")); at++)
        last = at;
    return cvy_arena_printf(arena, "%s/%s", search, last ? last : "");
}

static bool read_line(cvy_arena *arena, char *text, const cvy_trials *t, line_of *line) {
    char *fields[MOST_COLUMNS];
    double numbers[NUMBERS];
    const char *rest = cvy_trials_read_numbers(text, numbers);
    const size_t count = rest ? cvy_text_split_row(text + (rest - text), fields, MOST_COLUMNS) : 0,
                 folder = t->axes;
    if (count <= folder)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (!(numbers[i] >= (i < 3) && numbers[i] < 1e9))
            return false;
    const char **settings = cvy_arena_alloc(arena, (t->axes + 1) * sizeof *settings);
    for (size_t i = 0; i < t->axes; i++)
        settings[i] = cvy_arena_strdup(arena, fields[i]);
    *line = (line_of){(size_t)numbers[0],
                      (size_t)numbers[1],
                      (int)numbers[3],
                      numbers[4],
                      settings,
                      folder_now(arena, t->folder, fields[folder]),
                      folder + 1 < count ? cvy_arena_strdup(arena, fields[folder + 1]) : NULL};
    return true;
}

/* By trial and rung; folds stay in their order. */
static int by_trial(const void *a, const void *b) {
    const line_of *x = a, *y = b;
    if (x->trial != y->trial)
        return x->trial < y->trial ? -1 : 1;
    return x->rung != y->rung ? (x->rung < y->rung ? -1 : 1) : strcmp(x->folder, y->folder);
}

/* Means over folds: a rung for each, and what a trial came to in its last. */
static void join(cvy_arena *arena, const line_of *lines, size_t count, cvy_trials *t) {
    cvy_trial *trials = cvy_arena_alloc(arena, (count + 1) * sizeof *trials);
    cvy_rung *rungs = cvy_arena_alloc(arena, (count + 1) * sizeof *rungs);
    for (size_t first = 0, end; first < count; first = end) {
        const line_of *l = &lines[first];
        double sum = 0;
        for (end = first; end < count && lines[end].trial == l->trial && lines[end].rung == l->rung; end++)
            sum += lines[end].value;
        const double mean = sum / (double)(end - first);
        if (!t->count || trials[t->count - 1].number != l->trial)
            t->count++;
        trials[t->count - 1] =
            (cvy_trial){l->trial, l->rung, l->epochs, mean, l->settings, l->folder, l->device};
        rungs[t->rung_count++] = (cvy_rung){l->trial, l->epochs, mean};
    }
    t->trials = trials;
    t->rungs = rungs;
}

static bool precedes(const cvy_trials *t, const cvy_trial *a, const cvy_trial *b) {
    if (isnan(a->value) != isnan(b->value))
        return isnan(b->value);
    if (a->rung != b->rung)
        return a->rung > b->rung;
    if (isnan(a->value) || a->value == b->value)
        return a->number < b->number;
    return t->least ? a->value < b->value : a->value > b->value;
}

/* The best first; then rungs know their trials by place. */
static void put_in_order(cvy_arena *arena, cvy_trials *t) {
    cvy_trial *sorted = cvy_arena_alloc(arena, (t->count + 1) * sizeof *sorted);
    cvy_rung *rungs = cvy_arena_alloc(arena, (t->rung_count + 1) * sizeof *rungs);
    for (size_t i = 0; i < t->count; i++) {
        size_t at = i;
        for (; at > 0 && precedes(t, &t->trials[i], &sorted[at - 1]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = t->trials[i];
    }
    for (size_t r = 0; r < t->rung_count; r++) {
        rungs[r] = t->rungs[r];
        for (size_t i = 0; i < t->count; i++)
            if (sorted[i].number == t->rungs[r].trial)
                rungs[r].trial = i;
    }
    t->trials = sorted;
    t->rungs = rungs;
}

/* What the trials were judged by: a run of them says so. */
static void find_monitor(cvy_arena *arena, cvy_trials *t) {
    cvy_run run;
    t->monitor = "accuracy";
    if (t->count && cvy_run_read(arena, t->trials[0].folder, &run) == CONVOY_OK)
        for (size_t i = 0; i < run.setting_count; i++)
            if (strcmp(run.settings[i].key, "monitor") == 0)
                t->monitor = run.settings[i].value;
    t->least = strcmp(t->monitor, "loss") == 0;
}

convoy_status cvy_trials_read(cvy_arena *arena, const char *folder, cvy_trials *t) {
    char *path = cvy_path_join(folder, "search.csv"), *data = NULL;
    size_t size, count = 0, room = 0;
    line_of *lines = NULL;
    *t = (cvy_trials){.folder = folder};
    convoy_status status = cvy_file_read_regular(path, MOST_BYTES, &data, &size);
    for (const char *c = data; !status && *c; c++)
        room += *c == '\n';
    if (!status) {
        char *next = data, *row = strsep(&next, "\n");
        lines = cvy_arena_alloc(arena, (room + 1) * sizeof *lines);
        status = read_header(arena, path, row, t);
        while (!status && (row = strsep(&next, "\n")) && (next || *row)) /* a kill may have torn the last */
            if (next && read_line(arena, row, t, &lines[count]))
                count++;
            else
                t->damaged++;
    }
    if (!status) {
        qsort(lines, count, sizeof *lines, by_trial);
        join(arena, lines, count, t);
        find_monitor(arena, t);
        put_in_order(arena, t);
    }
    free(data);
    free(path);
    return status;
}
