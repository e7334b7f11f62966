/* Names of classes: to and from text, and matching two lists of them. */
#include "weights/classes.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"

enum { SHOWN = 5 };

/* ---- to and from text ---- */

static json_t *name_json(const char *name) {
    json_t *json = json_string(name);
    if (json)
        return json;
    json = json_array(); /* no UTF-8 */
    for (const char *c = name; *c; c++)
        json_array_append_new(json, json_integer((unsigned char)*c));
    return json;
}

char *cvy_classes_print(const cvy_classes *classes) {
    json_t *json = classes->names ? json_array() : json_integer(classes->count);
    for (int c = 0; classes->names && c < classes->count; c++)
        json_array_append_new(json, name_json(classes->names[c]));
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    json_decref(json);
    return text;
}

/* A name, or its bytes; NULL: neither. */
static const char *read_name(cvy_arena *arena, const json_t *json) {
    if (json_is_string(json))
        return cvy_arena_strdup(arena, json_string_value(json));
    size_t length = json_array_size(json);
    char *name = cvy_arena_alloc(arena, length + 1);
    for (size_t i = 0; i < length; i++) {
        const json_t *byte = json_array_get(json, i);
        json_int_t value = json_is_integer(byte) ? json_integer_value(byte) : 0;
        if (value < 1 || value > 255)
            return NULL;
        name[i] = (char)value;
    }
    return length ? name : NULL;
}

static bool read_array(cvy_arena *arena, const json_t *json, cvy_classes *classes) {
    size_t count = json_array_size(json);
    const char **names = cvy_arena_alloc(arena, count * sizeof *names);
    for (size_t i = 0; i < count; i++)
        if (!(names[i] = read_name(arena, json_array_get(json, i))))
            return false;
    *classes = (cvy_classes){(int)count, names};
    return count > 0 && count < INT_MAX;
}

static void read_lines(cvy_arena *arena, const char *text, cvy_classes *classes) {
    char *rest = cvy_arena_strdup(arena, text), *name;
    const char **names = cvy_arena_alloc(arena, (strlen(text) + 1) * sizeof *names);
    bool numbers = true;
    while ((name = strsep(&rest, "\n"))) {
        long long number;
        numbers = numbers && cvy_text_to_long(name, &number) && number == classes->count;
        names[classes->count++] = name;
    }
    classes->names = numbers ? NULL : names;
}

/* ---- matching ---- */

typedef struct entry {
    const char *name;
    int index;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : x->index - y->index;
}

/* By name; malloc'ed, NULL: no memory. */
static entry *sorted(const cvy_classes *classes) {
    entry *list = malloc((size_t)classes->count * sizeof *list);
    for (int i = 0; list && i < classes->count; i++)
        list[i] = (entry){classes->names[i], i};
    if (list)
        qsort(list, (size_t)classes->count, sizeof *list, compare_entries);
    return list;
}

convoy_status cvy_classes_check(const cvy_classes *classes, const char *what) {
    if (!classes->names)
        return CONVOY_OK;
    entry *list = sorted(classes);
    convoy_status status = list ? CONVOY_OK : cvy_fail_memory("class names", sizeof *list);
    for (int i = 1; i < classes->count && !status; i++)
        if (strcmp(list[i - 1].name, list[i].name) == 0)
            status = cvy_fail(CONVOY_INVALID, "%s: classes %d and %d are both called %s", what,
                              list[i - 1].index, list[i].index, list[i].name);
    free(list);
    return status;
}

convoy_status cvy_classes_read(cvy_arena *arena, const cvy_tensor_file *file, const char *path,
                               cvy_classes *classes) {
    const char *text = cvy_tensor_file_metadata(file, "class_names");
    *classes = (cvy_classes){0};
    if (!text || !*text)
        return CONVOY_OK;
    long long count;
    bool good = true;
    if (*text == '[') {
        json_t *json = json_loads(text, 0, NULL);
        good = read_array(arena, json, classes);
        json_decref(json);
    } else if (cvy_text_to_long(text, &count)) {
        good = count > 0 && count < INT_MAX;
        classes->count = good ? (int)count : 0;
    } else {
        read_lines(arena, text, classes);
    }
    if (!good)
        return cvy_fail(CONVOY_INVALID, "%s is damaged: its metadata has no sensible \"class_names\"", path);
    return cvy_classes_check(classes, path);
}

void cvy_classes_list(const cvy_classes *classes, cvy_text *text) {
    for (int c = 0; c < classes->count && c < SHOWN; c++)
        if (classes->names) {
            cvy_text_add(text, "%s", c ? ", " : "");
            cvy_text_add_visible(text, classes->names[c], false);
        } else
            cvy_text_add(text, "%s%d", c ? ", " : "", c);
    if (classes->count > SHOWN)
        cvy_text_add(text, " and %d more", classes->count - SHOWN);
}

/* Goes through both lists at once. `only` receives the names that one has and the other has not. */
static void compare(const entry *wanted, int wanted_count, const entry *given, int given_count, int *place,
                    cvy_classes only[2], const char **room[2]) {
    for (int w = 0, g = 0; w < wanted_count || g < given_count;) {
        int order = w == wanted_count ? 1 : g == given_count ? -1 : strcmp(wanted[w].name, given[g].name);
        if (order < 0)
            room[0][only[0].count++] = wanted[w++].name;
        else if (order > 0)
            room[1][only[1].count++] = given[g++].name;
        else
            place[given[g++].index] = wanted[w++].index;
    }
}

static convoy_status fail_difference(const cvy_classes only[2], const char *owner, const char *what) {
    cvy_text text = {0};
    const char *const names[2] = {owner, what};
    for (int i = 0; i < 2; i++)
        if (only[i].count) {
            cvy_text_add(&text, "%sonly in %s: ", text.length ? "; " : "", names[i]);
            cvy_classes_list(&only[i], &text);
        }
    convoy_status status = cvy_fail(CONVOY_INVALID, "the classes of %s are not those of %s: %s", what, owner,
                                    cvy_text_get(&text));
    cvy_text_free(&text);
    return status;
}

static convoy_status match_names(const cvy_classes *wanted, const char *owner, const cvy_classes *given,
                                 const char *what, int *place) {
    entry *lists[2] = {sorted(wanted), sorted(given)};
    const char **room[2] = {malloc((size_t)wanted->count * sizeof **room),
                            malloc((size_t)given->count * sizeof **room)};
    cvy_classes only[2] = {{.names = room[0]}, {.names = room[1]}};
    convoy_status status = CONVOY_OK;
    if (!lists[0] || !lists[1] || !room[0] || !room[1])
        status = cvy_fail_memory("class names", (size_t)wanted->count * sizeof **lists);
    else
        compare(lists[0], wanted->count, lists[1], given->count, place, only, room);
    if (!status && (only[0].count || only[1].count))
        status = fail_difference(only, owner, what);
    for (int i = 0; i < 2; i++) {
        free(lists[i]);
        free(room[i]);
    }
    return status;
}

/* The classes 0, 1, ... under their numbers as names, in the arena. */
static cvy_classes numbered(cvy_arena *arena, int count) {
    const char **names = cvy_arena_alloc(arena, (size_t)count * sizeof *names);
    for (int c = 0; c < count; c++)
        names[c] = cvy_arena_printf(arena, "%d", c);
    return (cvy_classes){count, names};
}

convoy_status cvy_classes_match(const cvy_classes *wanted, const char *owner, const cvy_classes *given,
                                const char *what, int *place) {
    for (int i = 0; i < given->count; i++)
        place[i] = i;
    if (wanted->names && given->names)
        return match_names(wanted, owner, given, what, place);
    if (wanted->count != given->count)
        return cvy_fail(CONVOY_INVALID, "%s has %d classes, but %s has %d", owner, wanted->count, what,
                        given->count);
    if (!wanted->names && !given->names)
        return CONVOY_OK;
    /* A folder of digits, 0, 1, 10, 2, ..., says which number each class is. */
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("class names", sizeof *place);
    const cvy_classes numbers = numbered(arena, given->count);
    convoy_status status =
        match_names(wanted->names ? wanted : &numbers, owner, given->names ? given : &numbers, what, place);
    cvy_arena_free(arena);
    if (status != CONVOY_INVALID)
        return status;
    for (int i = 0; i < given->count; i++)
        place[i] = i;
    cvy_warning("the classes of %s have numbers only: each is taken for the class of %s in its place",
                given->names ? owner : what, given->names ? what : owner);
    return CONVOY_OK;
}
