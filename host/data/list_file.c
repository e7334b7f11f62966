/* Photographs that a list names: one file, or train.csv, test.csv and val.csv (or .tsv, .txt) in a folder. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "data/list_rows.h"

enum { SHOWN = 20, MOST_CLASSES = 1000000 };

/* ---- Files ---- */

static const char *const endings[] = {".csv", ".tsv", ".txt"};
enum { ENDINGS = sizeof endings / sizeof *endings };

/* The split that a list's name means. */
static cvy_split split_of_file(const char *name) {
    char stem[16];
    const char *dot = strrchr(name, '.');
    const size_t length = dot ? (size_t)(dot - name) : 0;
    if (!length || length >= sizeof stem)
        return CVY_NO_SPLIT;
    memcpy(stem, name, length);
    stem[length] = '\0';
    for (size_t e = 0; e < ENDINGS; e++)
        if (strcmp(dot, endings[e]) == 0)
            return cvy_split_of(stem);
    return CVY_NO_SPLIT;
}

/* The lists of a folder by split, malloc'ed; NULL: none. With `ending`, only those that end so. */
static void find_lists(const char *folder, const char *ending, char *lists[CVY_NO_SPLIT]) {
    char **names;
    size_t count;
    if (cvy_folder_list(folder, &names, &count) != CONVOY_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const cvy_split split = split_of_file(names[i]);
        if (split == CVY_NO_SPLIT || lists[split] || (ending && !strstr(names[i], ending)))
            continue;
        char *path = cvy_path_join(folder, names[i]);
        if (cvy_folder_exists(path))
            free(path);
        else
            lists[split] = path;
    }
    cvy_names_free(names, count);
}

static void free_lists(char *lists[CVY_NO_SPLIT]) {
    for (int s = 0; s < CVY_NO_SPLIT; s++)
        free(lists[s]);
}

bool cvy_list_recognise(const char *folder) {
    char *lists[CVY_NO_SPLIT] = {NULL};
    find_lists(folder, NULL, lists);
    const bool found = lists[CVY_TRAIN] && !cvy_folder_has_training(folder);
    free_lists(lists);
    return found;
}

/* All rows of what was asked for: a folder's lists; a file, with its neighbours where it is called train. */
static convoy_status read_lists(const char *what, cvy_arena *arena, cvy_rows *rows) {
    char *lists[CVY_NO_SPLIT] = {NULL};
    const char *slash = strrchr(what, '/'), *name = slash ? slash + 1 : what;
    convoy_status status = CONVOY_OK;
    if (cvy_folder_exists(what))
        find_lists(what, NULL, lists);
    else if (split_of_file(name) == CVY_TRAIN)
        find_lists(slash ? cvy_arena_strndup(arena, what, (size_t)(slash - what)) : ".", strrchr(name, '.'),
                   lists);
    else
        return cvy_rows_read(what, CVY_NO_SPLIT, arena, rows);
    for (int s = 0; s < CVY_NO_SPLIT && !status; s++)
        if (lists[s])
            status = cvy_rows_read(lists[s], (cvy_split)s, arena, rows);
    free_lists(lists);
    return status;
}

static void count_splits(const cvy_rows *rows, size_t counts[CVY_NO_SPLIT + 1]) {
    memset(counts, 0, (CVY_NO_SPLIT + 1) * sizeof *counts);
    for (size_t i = 0; i < rows->count; i++)
        counts[rows->rows[i].split]++;
}

bool cvy_list_has_validation(const char *what) {
    cvy_arena *arena = cvy_arena_create();
    cvy_rows rows = {0};
    size_t counts[CVY_NO_SPLIT + 1] = {0};
    const bool list = cvy_folder_exists(what) ? cvy_list_recognise(what) : cvy_file_exists(what);
    if (arena && list && read_lists(what, arena, &rows) == CONVOY_OK)
        count_splits(&rows, counts);
    free(rows.rows);
    cvy_arena_free(arena);
    return counts[CVY_TRAIN] && counts[CVY_TEST] && counts[CVY_VAL];
}

/* ---- Which rows ---- */

/* The rows that name the classes, those that are wanted, and whether they are divided here. `wanted`
   CVY_NO_SPLIT: all. */
typedef struct choice {
    cvy_split classes, wanted;
    bool divided;
} choice;

static convoy_status choose(const cvy_dataset_request *request, const cvy_rows *rows, choice *c) {
    size_t counts[CVY_NO_SPLIT + 1];
    count_splits(rows, counts);
    const cvy_split first = request->validation ? CVY_VAL : CVY_TEST,
                    second = request->validation ? CVY_TEST : CVY_VAL,
                    judge = counts[first]    ? first
                            : counts[second] ? second
                                             : CVY_NO_SPLIT;
    *c = (choice){counts[CVY_TRAIN] ? CVY_TRAIN : CVY_NO_SPLIT, CVY_NO_SPLIT, false};
    if (request->all)
        return CONVOY_OK;
    if (judge == CVY_NO_SPLIT) {
        c->wanted = c->classes;
        c->divided = true;
        return CONVOY_OK;
    }
    if (request->training && !counts[CVY_TRAIN])
        return cvy_fail(CONVOY_INVALID, "%s: it lists pictures to test with, but none to train with",
                        request->folder);
    c->wanted = request->training ? CVY_TRAIN : judge;
    cvy_info("%s: %s images are the %zu that are listed for %s", request->folder,
             request->training     ? "training"
             : request->validation ? "validation"
                                   : "test",
             counts[c->wanted],
             c->wanted == CVY_TRAIN ? "training"
             : c->wanted == CVY_VAL ? "validation"
                                    : "testing");
    return CONVOY_OK;
}

static bool is_of(const cvy_row *row, cvy_split split) {
    return split == CVY_NO_SPLIT || row->split == split;
}

/* ---- Classes ---- */

static bool is_number(const char *text) {
    return *text && strlen(text) < 7 && text[strspn(text, "0123456789")] == '\0';
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Numbers from 0 on where all classes are numbers, else names in their order. */
static convoy_status find_classes(const cvy_rows *rows, const choice *c, convoy_dataset *dataset) {
    const char **names = malloc((rows->count + 1) * sizeof *names);
    size_t count = 0, kept = 0;
    bool numbers = true;
    int highest = 0;
    if (!names)
        return cvy_fail_memory("the classes of a list", rows->count * sizeof *names);
    for (size_t i = 0; i < rows->count; i++)
        if (is_of(&rows->rows[i], c->classes)) {
            names[count++] = rows->rows[i].class;
            numbers = numbers && is_number(rows->rows[i].class);
            highest = numbers && atoi(rows->rows[i].class) > highest ? atoi(rows->rows[i].class) : highest;
        }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[kept - 1]) != 0)
            names[kept++] = names[i];
    if (numbers)
        cvy_dataset_number_classes(dataset, highest + 1);
    else
        cvy_dataset_name_classes(dataset, names, (int)kept);
    free(names);
    return kept < 2 || dataset->classes > MOST_CLASSES
               ? cvy_fail(CONVOY_INVALID, "%s: %zu class%s; a classifier needs at least two", dataset->source,
                          kept, kept == 1 ? "" : "es")
               : CONVOY_OK;
}

static int find_label(const convoy_dataset *dataset, const char *class) {
    if (dataset->numbered)
        return is_number(class) && atoi(class) < dataset->classes ? atoi(class) : -1;
    const char **found = bsearch(&class, dataset->class_names, (size_t)dataset->classes,
                                 sizeof *dataset->class_names, by_name);
    return found ? (int)(found - dataset->class_names) : -1;
}

static convoy_status fail_class(const convoy_dataset *dataset, const cvy_row *row) {
    if (dataset->numbered)
        return cvy_fail(CONVOY_INVALID,
                        "%s:%zu:%zu: class %s is out of range: the training images have 0 to %d", row->list,
                        row->line, row->column, row->class, dataset->classes - 1);
    return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: there is no class %s among the training images", row->list,
                    row->line, row->column, row->class);
}

/* ---- Pictures ---- */

/* The file that a row means, malloc'ed: its path as it is, from the list's folder, or from the folder there
   that has the list's own name, as train/ beside train.csv. NULL: there is none. */
static char *find_picture(const cvy_row *row) {
    const char *slash = strrchr(row->list, '/'), *dot = strrchr(row->list, '.');
    cvy_text beside = {0}, below = {0};
    if (*row->picture != '/')
        cvy_text_add(&beside, "%.*s", slash ? (int)(slash + 1 - row->list) : 0, row->list);
    cvy_text_add(&beside, "%s", row->picture);
    if (dot && dot > row->list && (!slash || dot > slash))
        cvy_text_add(&below, "%.*s/%s", (int)(dot - row->list), row->list, row->picture);
    if (!cvy_file_exists(cvy_text_get(&beside))) {
        cvy_text_free(&beside);
        beside = below;
        below = (cvy_text){0};
    }
    cvy_text_free(&below);
    if (beside.data && cvy_file_exists(beside.data))
        return beside.data;
    cvy_text_free(&beside);
    return NULL;
}

/* Pictures that are missing are all named in one run. */
static convoy_status list_pictures(const cvy_rows *rows, const choice *c, bool skip,
                                   const convoy_dataset *dataset, cvy_listing *images) {
    cvy_text missing = {0};
    size_t count = 0;
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < rows->count && !status; i++) {
        const cvy_row *row = &rows->rows[i];
        if (!is_of(row, c->wanted))
            continue;
        const int label = find_label(dataset, row->class);
        char *path = label < 0 ? NULL : find_picture(row);
        if (label < 0)
            status = fail_class(dataset, row);
        else if (path)
            status = cvy_listing_add(images, path, label);
        else if (count++ < SHOWN)
            cvy_text_add(&missing, "\n  %s:%zu: there is no picture %s", row->list, row->line, row->picture);
    }
    if (!status && count && skip)
        cvy_warning("%s: missing pictures, which are left out: %zu%s%s", dataset->source, count,
                    cvy_text_get(&missing), count > SHOWN ? "\n  ..." : "");
    else if (!status && count)
        status = cvy_fail(CONVOY_INVALID, "%s: missing pictures: %zu (--skip-damaged leaves them out)%s%s",
                          dataset->source, count, cvy_text_get(&missing), count > SHOWN ? "\n  ..." : "");
    cvy_text_free(&missing);
    return status;
}

/* ---- Repeats ---- */

static int by_picture(const void *a, const void *b) {
    const cvy_row *x = *(const cvy_row *const *)a, *y = *(const cvy_row *const *)b;
    const int order = strcmp(x->picture, y->picture);
    return order ? order : x < y ? -1 : x > y;
}

static bool same_file(const cvy_row *x, const cvy_row *y) {
    char *one = find_picture(x), *other = find_picture(y);
    const bool same = one && other && strcmp(one, other) == 0;
    free(one);
    free(other);
    return same;
}

/* A picture that is listed twice may be learned from and judged by, or have two classes. */
static convoy_status warn_of_repeats(const cvy_rows *rows, const convoy_dataset *dataset) {
    const cvy_row **sorted = malloc((rows->count + 1) * sizeof *sorted), *first = NULL, *second = NULL;
    size_t count = 0;
    if (!sorted)
        return cvy_fail_memory("the pictures of a list", rows->count * sizeof *sorted);
    for (size_t i = 0; i < rows->count; i++)
        sorted[i] = &rows->rows[i];
    qsort(sorted, rows->count, sizeof *sorted, by_picture);
    for (size_t i = 1; i < rows->count; i++) {
        const cvy_row *x = sorted[i - 1], *y = sorted[i];
        if (strcmp(x->picture, y->picture) != 0 || !same_file(x, y))
            continue;
        count++;
        if (!first || (strcmp(first->class, second->class) == 0 && strcmp(x->class, y->class) != 0)) {
            first = x;
            second = y;
        }
    }
    if (count)
        cvy_warning(
            "%s: pictures that are listed again: %zu, such as %s as %s in %s:%zu and as %s in %s:%zu; the "
            "network may be judged by what it has learned from",
            dataset->source, count, first->picture, first->class, first->list, first->line, second->class,
            second->list, second->line);
    free(sorted);
    return CONVOY_OK;
}

convoy_status cvy_list_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    cvy_arena *arena = cvy_arena_create();
    cvy_rows rows = {0};
    cvy_listing images = {0};
    choice c = {0};
    convoy_status status = arena ? read_lists(request->folder, arena, &rows) : cvy_fail_memory("a list", 1);
    if (!status)
        status = choose(request, &rows, &c);
    if (!status)
        status = find_classes(&rows, &c, dataset);
    if (!status)
        status = list_pictures(&rows, &c, request->options.skip_damaged, dataset, &images);
    if (!status && request->training)
        status = warn_of_repeats(&rows, dataset);
    if (!status && c.divided)
        status = cvy_listing_split(&images, dataset->classes, request);
    if (!status)
        status = cvy_photographs_open(request, &images, dataset);
    cvy_listing_free(&images);
    free(rows.rows);
    cvy_arena_free(arena);
    return status;
}
