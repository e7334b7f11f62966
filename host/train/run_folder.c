/* Files of a run. A row of metrics.csv is appended; the one that a kill tore is dropped when the run goes on.
 */
#include "train/run_folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/text.h"
#include "model/model.h"

static const char metrics_name[] = "metrics.csv";
static const char metrics_header[] =
    "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,val_loss,"
    "val_accuracy,lr\n";
/* Of runs of 0.1 and early 0.2, which go on with the later columns empty in the rows that are there. */
static const char older_header[] =
    "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second\n";
static const char later_columns[] = ",,,";
enum { METRICS_LIMIT = 256 << 20 };

/* base/file.h's writer leaves `<name>.<pid>-<n>.tmp` behind when the process is killed in the middle. */
static bool is_leftover(const char *name) {
    static const char *const ours[] = {
        "model.yaml.", "metrics.csv.", "last.safetensors.", "best.safetensors.", "checkpoint.safetensors.",
        "curves.png.", "run.yaml.",    "report.html."};
    size_t length = strlen(name);
    if (length < 4 || strcmp(name + length - 4, ".tmp") != 0)
        return false;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strncmp(name, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

static convoy_status remove_leftovers(const char *path) {
    char **names;
    size_t count;
    convoy_status status = cvy_folder_list(path, &names, &count);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++) {
        if (!is_leftover(names[i]))
            continue;
        char *file = cvy_path_join(path, names[i]);
        if (unlink(file) != 0)
            cvy_warning("%s, left by a killed run, cannot be removed", file);
        free(file);
    }
    cvy_names_free(names, count);
    return CONVOY_OK;
}

convoy_status cvy_run_folder_open(const char *path, cvy_run_folder *folder) {
    *folder = (cvy_run_folder){.lock = -1};
    convoy_status status = cvy_folder_create(path);
    if (!status)
        status = cvy_folder_lock(path, &folder->lock);
    if (!status)
        status = remove_leftovers(path);
    if (!status && !(folder->path = strdup(path)))
        status = cvy_fail_memory("the name of the run folder", strlen(path) + 1);
    if (status)
        cvy_folder_unlock(folder->lock);
    return status;
}

void cvy_run_folder_close(cvy_run_folder *folder) {
    if (folder->path)
        cvy_folder_unlock(folder->lock);
    free(folder->path);
    *folder = (cvy_run_folder){.lock = -1};
}

char *cvy_run_folder_path(const cvy_run_folder *folder, const char *name) {
    return cvy_path_join(folder->path, name);
}

convoy_status cvy_run_folder_save_text(cvy_run_folder *folder, const char *name, const char *text) {
    char *path = cvy_run_folder_path(folder, name);
    convoy_status status = cvy_file_write(path, text, strlen(text));
    free(path);
    return status;
}

/* Where the rows whose second field is at most `step` end; what is no row of ours ends them too. */
static const char *end_of_rows(const char *text, unsigned long long step) {
    const char *line = text;
    for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
        char *rest;
        unsigned long epoch = strtoul(line, &rest, 10);
        if (rest == line || *rest != ',' || epoch == 0)
            break;
        const char *field = rest + 1;
        unsigned long long row_step = strtoull(field, &rest, 10);
        if (rest == field || *rest != ',' || row_step > step)
            break;
    }
    return line;
}

/* The rows up to `step` of a table that is there, under today's header; false: it is no table of ours. */
static bool keep_rows(const char *data, unsigned long long step, cvy_text *table) {
    const bool older = strncmp(data, older_header, strlen(older_header)) == 0;
    const char *rows = data + (older ? strlen(older_header) : strlen(metrics_header));
    if (!older && strncmp(data, metrics_header, strlen(metrics_header)) != 0)
        return false;
    const char *end = end_of_rows(rows, step);
    for (const char *line = rows, *next; line < end; line = next) {
        const size_t length = strcspn(line, "\n");
        next = line + length + 1;
        cvy_text_add(table, "%.*s%s\n", (int)length, line, older ? later_columns : "");
    }
    return true;
}

convoy_status cvy_run_folder_start_metrics(cvy_run_folder *folder, bool resumed, unsigned long long step) {
    convoy_status status = CONVOY_OK;
    char *path = cvy_run_folder_path(folder, metrics_name), *data = NULL;
    cvy_text table = {0};
    size_t size;
    cvy_text_add(&table, "%s", metrics_header);
    if (resumed && cvy_file_exists(path)) {
        status = cvy_file_read_regular(path, METRICS_LIMIT, &data, &size);
        if (!status && !keep_rows(data, step, &table))
            cvy_warning("%s is not a table of this program; it is begun anew", path);
    }
    if (!status)
        status = cvy_file_write(path, table.data, table.length);
    cvy_text_free(&table);
    free(data);
    free(path);
    return status;
}

static void add_field(cvy_text *text, double value) {
    cvy_text_add(text, ",");
    if (isfinite(value))
        cvy_text_add_number(text, value);
    else if (isinf(value))
        cvy_text_add(text, "%s", value > 0 ? "inf" : "-inf");
}

convoy_status cvy_run_folder_add_metrics(cvy_run_folder *folder, const convoy_progress *p) {
    cvy_text row = {0};
    cvy_text_add(&row, "%d,%llu", p->epoch, p->step);
    add_field(&row, p->train_loss);
    add_field(&row, p->train_accuracy);
    add_field(&row, p->test_loss);
    add_field(&row, p->test_accuracy);
    cvy_text_add(&row, ",%.3f,%.1f", p->seconds, p->images_per_second);
    add_field(&row, p->val_loss);
    add_field(&row, p->val_accuracy);
    add_field(&row, p->learning_rate);
    cvy_text_add(&row, "\n");
    char *path = cvy_run_folder_path(folder, metrics_name);
    convoy_status status = cvy_file_append(path, row.data, row.length);
    free(path);
    cvy_text_free(&row);
    return status;
}

convoy_status cvy_run_folder_save_weights(cvy_run_folder *folder, const char *name,
                                          const convoy_model *model) {
    char *path = cvy_run_folder_path(folder, name);
    convoy_status status = convoy_model_save_weights(model, path);
    free(path);
    return status;
}
