/* Reading run folders. */
#include "report/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/node.h"
#include "convoy/version.h"

enum { MOST_BYTES = 1 << 20, MOST_NOTES = 16, MOST_SETTINGS = 256 };

void cvy_run_note(cvy_arena *arena, cvy_run *run, const char *format, ...) {
    cvy_text text = {0};
    va_list arguments;
    if (run->note_count == MOST_NOTES)
        return;
    if (!run->notes)
        run->notes = cvy_arena_alloc(arena, MOST_NOTES * sizeof *run->notes);
    va_start(arguments, format);
    cvy_text_add_list(&text, format, arguments);
    va_end(arguments);
    run->notes[run->note_count++] = cvy_arena_strdup(arena, cvy_text_get(&text));
    cvy_text_free(&text);
}

/* ---- files ---- */

static const char *path_in(cvy_arena *arena, const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name);
    const char *kept = cvy_arena_strdup(arena, path);
    free(path);
    return kept;
}

/* A file of the folder as a tree; NULL: it is not there, or a note says what is wrong with it. */
static cvy_node *read_yaml(cvy_arena *arena, cvy_run *run, const char *name, const char **text) {
    const char *path = path_in(arena, run->folder, name);
    cvy_node *root = NULL;
    char *data = NULL;
    size_t size;
    if (!cvy_file_exists(path))
        return NULL;
    convoy_status status = cvy_file_read_regular(path, MOST_BYTES, &data, &size);
    if (!status && text)
        *text = cvy_arena_strdup(arena, data);
    if (!status)
        status = cvy_node_parse(arena, path, data, size, &root);
    if (!status && root->kind != CVY_MAPPING)
        status = cvy_node_fail(root, "expected a mapping");
    free(data);
    if (!status)
        return root;
    cvy_run_note(arena, run, "%s", convoy_error_message());
    return NULL;
}

static const char *text_of(cvy_arena *arena, const cvy_node *node) {
    cvy_text text = {0};
    if (!node)
        return NULL;
    if (node->kind == CVY_SCALAR)
        return node->text;
    cvy_node_print(node, &text);
    const char *kept = cvy_arena_strdup(arena, cvy_text_get(&text));
    cvy_text_free(&text);
    return kept;
}

/* {optimizer: {SGD: {lr: 0.1}}} is optimizer.SGD.lr. */
static void add_settings(cvy_arena *arena, const cvy_node *node, const char *key, cvy_setting *list,
                         size_t *count) {
    if (node->kind == CVY_MAPPING && node->count) {
        for (size_t i = 0; i < node->count; i++)
            add_settings(arena, node->items[i],
                         *key ? cvy_arena_printf(arena, "%s.%s", key, node->keys[i]->text)
                              : node->keys[i]->text,
                         list, count);
    } else if (*count < MOST_SETTINGS) {
        list[(*count)++] = (cvy_setting){key, text_of(arena, node)};
    }
}

static void read_model(cvy_arena *arena, cvy_run *run) {
    const cvy_node *root = read_yaml(arena, run, "model.yaml", &run->recipe_text);
    if (!root)
        return;
    const cvy_node *recipe = cvy_node_get(root, "recipe");
    run->model_name = text_of(arena, cvy_node_get(root, "name"));
    run->layers = text_of(arena, cvy_node_get(root, "layers"));
    if (!recipe || recipe->kind != CVY_MAPPING)
        return;
    cvy_setting *settings = cvy_arena_alloc(arena, MOST_SETTINGS * sizeof *settings);
    add_settings(arena, recipe, "", settings, &run->setting_count);
    run->settings = settings;
    run->data = text_of(arena, cvy_node_get(recipe, "data"));
}

static void read_beginning(cvy_arena *arena, cvy_run *run) {
    const cvy_node *root = read_yaml(arena, run, "run.yaml", NULL);
    if (!root)
        return;
    run->command = text_of(arena, cvy_node_get(root, "command"));
    run->device = text_of(arena, cvy_node_get(root, "device"));
    run->version = text_of(arena, cvy_node_get(root, "version"));
    run->started = text_of(arena, cvy_node_get(root, "started"));
}

static void read_history(cvy_arena *arena, cvy_run *run) {
    const char *path = path_in(arena, run->folder, "metrics.csv");
    if (!cvy_file_exists(path)) {
        cvy_run_note(arena, run, "There is no metrics.csv: nothing is known of how training went.");
    } else if (cvy_history_read(arena, path, &run->history)) {
        cvy_run_note(arena, run, "%s", convoy_error_message());
    } else {
        run->has_history = run->history.rows > 0;
        if (!run->has_history)
            cvy_run_note(arena, run, "metrics.csv has no rows: no epoch was finished.");
        if (run->history.damaged)
            cvy_run_note(arena, run, "metrics.csv: %zu damaged line%s left out.", run->history.damaged,
                         run->history.damaged == 1 ? " is" : "s are");
    }
}

static const char *last_part(cvy_arena *arena, const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return cvy_arena_strndup(arena, path + begin, end - begin);
}

convoy_status cvy_run_read(cvy_arena *arena, const char *folder, cvy_run *run) {
    static const char *const weights[] = {"best.safetensors", "last.safetensors"};
    *run = (cvy_run){.folder = folder, .name = last_part(arena, folder)};
    if (!cvy_folder_exists(folder))
        return cvy_fail(CONVOY_INVALID, "there is no run folder `%s`", folder);
    if (!cvy_file_exists(path_in(arena, folder, "model.yaml")) &&
        !cvy_file_exists(path_in(arena, folder, "metrics.csv")))
        return cvy_fail(CONVOY_INVALID,
                        "%s is no run folder: it has neither model.yaml nor metrics.csv, which `convoy train "
                        "--out` writes",
                        folder);
    read_model(arena, run);
    read_beginning(arena, run);
    read_history(arena, run);
    for (size_t i = 0; i < 2 && !run->weights; i++) {
        const char *path = path_in(arena, folder, weights[i]);
        run->weights = cvy_file_exists(path) ? path : NULL;
    }
    if (!run->weights)
        cvy_run_note(arena, run,
                     "There are no weights: nothing can be said about single classes and images.");
    return CONVOY_OK;
}

void cvy_run_print_beginning(const char *command, const convoy_device *device, cvy_text *text) {
    const convoy_device_info *info = convoy_device_get_info(device);
    char now[40];
    const time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&seconds, &utc));
    const cvy_setting rows[] = {{"command", command},     {"version", convoy_version()},
                                {"device", info->name},   {"platform", info->platform},
                                {"driver", info->driver}, {"started", now}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cvy_text visible = {0};
        cvy_text_add_visible(&visible, rows[i].value, false);
        cvy_text_add(text, "%s: ", rows[i].key);
        cvy_node_print_text(cvy_text_get(&visible), text);
        cvy_text_add(text, "\n");
        cvy_text_free(&visible);
    }
}

/* ---- figures ---- */

double cvy_run_value(const cvy_run *run, const char *column, size_t row) {
    const double *values = run->has_history ? cvy_history_column(&run->history, column) : NULL;
    return values && row < run->history.rows ? values[row] : NAN;
}

size_t cvy_run_best_row(const cvy_run *run) {
    const double *values = run->has_history ? cvy_history_column(&run->history, "val_accuracy") : NULL;
    size_t best = SIZE_MAX;
    if (!values && run->has_history)
        values = cvy_history_column(&run->history, "test_accuracy");
    for (size_t r = 0; values && r < run->history.rows; r++)
        if (isfinite(values[r]) && (best == SIZE_MAX || values[r] > values[best]))
            best = r;
    return best;
}
