/* search.csv, and what it says: a row of each training that is done. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/search.h"
#include "report/trials.h"

search_outcome *search_table_outcome(const search_table *t, size_t rung, size_t trial, int fold) {
    return &t->outcomes[(rung * t->plan->trials + trial) * (size_t)t->folds + (size_t)fold];
}

double search_table_value(const search_table *t, size_t rung, size_t trial) {
    double sum = 0;
    for (int f = 0; f < t->folds; f++) {
        const search_outcome *o = search_table_outcome(t, rung, trial, f);
        sum += o->known ? o->value : NAN;
    }
    return sum / t->folds;
}

const char *search_table_folder(const search_table *t, size_t trial, int fold) {
    const char *folder = cvy_arena_printf(t->arena, "%s/trial-%03zu", t->out, trial + 1);
    return t->folds > 1 ? cvy_arena_printf(t->arena, "%s/fold-%d", folder, fold + 1) : folder;
}

static void add_field(cvy_text *text, const char *field) {
    cvy_text_add(text, ",");
    cvy_text_add_field(text, field);
}

static void add_number(cvy_text *text, double value) {
    cvy_text_add(text, ",");
    if (isfinite(value))
        cvy_text_add_number(text, value);
}

convoy_status search_table_add(const search_table *t, const search_job *job, const search_outcome *o,
                               const char *device) {
    cvy_text row = {0};
    cvy_text_add(&row, "%zu,%zu,%d,%d", job->trial + 1, job->rung + 1, job->fold + 1, o->epochs);
    add_number(&row, o->value);
    cvy_text_add(&row, ",%d", o->best_epoch);
    add_number(&row, o->loss);
    add_number(&row, o->accuracy);
    cvy_text_add(&row, ",%.3f", o->seconds);
    for (size_t i = 0; i < t->plan->axis_count; i++)
        add_field(&row, search_value(search_settings(t->plan, job->trial)[i]));
    add_field(&row, search_table_folder(t, job->trial, job->fold));
    add_field(&row, device);
    cvy_text_add(&row, "\n");
    convoy_status status = cvy_file_append(t->path, row.data, row.length);
    cvy_text_free(&row);
    return status;
}

/* False: it is torn, or none of this search. */
static bool read_row(const search_table *t, const char *line) {
    double fields[CVY_TRIAL_NUMBERS];
    if (!cvy_trials_read_numbers(line, fields))
        return false;
    const double limits[3] = {(double)t->plan->trials, (double)t->rungs, t->folds};
    for (int i = 0; i < 3; i++)
        if (!(fields[i] >= 1 && fields[i] <= limits[i]))
            return false;
    *search_table_outcome(t, (size_t)fields[1] - 1, (size_t)fields[0] - 1, (int)fields[2] - 1) =
        (search_outcome){true, (int)fields[3], (int)fields[5], fields[4], fields[6], fields[7], fields[8]};
    return true;
}

/* A kill may have torn the last row. */
convoy_status search_table_open(const search_table *t) {
    char *data = NULL;
    size_t size = 0;
    cvy_text table = {0};
    cvy_text_add(&table, "%s", CVY_TRIALS_HEADER);
    for (size_t i = 0; i < t->plan->axis_count; i++)
        add_field(&table, t->plan->axes[i].key);
    cvy_text_add(&table, ",folder,device\n");
    convoy_status status =
        cvy_file_exists(t->path) ? cvy_file_read_regular(t->path, 256 << 20, &data, &size) : CONVOY_OK;
    char *line = data ? strchr(data, '\n') : NULL;
    for (char *end; !status && line && (end = strchr(line + 1, '\n')); line = end)
        if (read_row(t, line + 1))
            cvy_text_add(&table, "%.*s\n", (int)(end - line - 1), line + 1);
    if (!status)
        status = cvy_file_write(t->path, table.data, table.length);
    cvy_text_free(&table);
    free(data);
    return status;
}
