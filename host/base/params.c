/* Parameter tables: defaults and nodes to struct fields (params_print.c goes the other way). Everything goes
   through text: a default is parsed as a value from a file is, only without the range check, so that 0 or -1
   may stand for "not given". */
#include "base/params.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"

enum { MANY_NAMES = 128 }; /* rows of one table, choices of one row */

static void *field(const cvy_param *row, void *out) {
    return (char *)out + row->offset;
}

/* ---- choices: "a|b|c" ---- */

/* The index of `word` in the choices, -1 where it is none. */
static int find_choice(const char *choices, const char *word) {
    size_t length = strlen(word);
    int index = 0;
    for (const char *c = choices;; index++) {
        size_t this_length = strcspn(c, "|");
        if (this_length == length && strncmp(c, word, length) == 0)
            return index;
        if (!c[this_length])
            return -1;
        c += this_length + 1;
    }
}

/* ---- text to values ---- */

/* What is wrong with a text, for the caller to put its place and its owner in front; "" for nothing. */
typedef struct complaint {
    char text[512];
} complaint;

static bool has_limits(const cvy_param *row) {
    return row->minimum != 0 || row->maximum != 0;
}

static bool in_range(const cvy_param *row, double value) {
    return !has_limits(row) || (value >= row->minimum && value <= row->maximum);
}

static bool fits_int(long long value) {
    return value >= INT_MIN && value <= INT_MAX;
}

/* "must be a whole number between 1 and 7": what the row asks for. Limits that nobody meets (those of the
   type) go unsaid, unless `text` did meet int's. */
static void describe_wanted(const cvy_param *row, const char *text, complaint *c) {
    bool is_int = row->type == CVY_INT || row->type == CVY_PAIR;
    const char *kind = row->type == CVY_FLOAT     ? "a number"
                       : row->type == CVY_NUMBERS ? "two numbers as [first, second],"
                       : row->type == CVY_RANGE   ? "a number, or two as [low, high],"
                       : row->type == CVY_PAIR    ? "a whole number, or two as [height, width],"
                                                  : "a whole number";
    long long given;
    bool all = is_int && cvy_text_to_long(text, &given) && !fits_int(given);
    double widest = all ? INFINITY : is_int ? INT_MAX : 9e18;
    double minimum = has_limits(row) ? row->minimum : -INFINITY,
           maximum = has_limits(row) ? row->maximum : INFINITY;
    if (all) {
        minimum = fmax(minimum, INT_MIN);
        maximum = fmin(maximum, INT_MAX);
    }
    bool low = minimum > -widest, high = maximum < widest;
    cvy_text limits = {0};
    if (low && high) {
        cvy_text_add(&limits, " between ");
        cvy_text_add_number(&limits, minimum);
        cvy_text_add(&limits, " and ");
        cvy_text_add_number(&limits, maximum);
    } else if (low || high) {
        cvy_text_add(&limits, low ? " of at least " : " of at most ");
        cvy_text_add_number(&limits, low ? minimum : maximum);
    }
    const char *words = row->type == CVY_PAIR && row->choices ? row->choices : "";
    snprintf(c->text, sizeof c->text, "must be %s%s%s%s", kind, cvy_text_get(&limits), *words ? ", or " : "",
             words);
    cvy_text_free(&limits);
}

static bool parse_integer(const cvy_param *row, const char *text, bool check, long long *value) {
    long long parsed;
    if (!cvy_text_to_long(text, &parsed) || (check && !in_range(row, (double)parsed)))
        return false;
    if (row->type != CVY_SIZE && !fits_int(parsed))
        return false;
    *value = parsed;
    return true;
}

static bool parse_bool(const char *text, bool *value) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* "3", "3,5" or "[3, 5]": pairs also arrive as one text, from defaults and from the command line. */
static bool parse_pair(const cvy_param *row, const char *text, bool check, int pair[2]) {
    char parts[2][24];
    int end = 0;
    if (sscanf(text, " [ %23[0-9+-] , %23[0-9+-] ] %n", parts[0], parts[1], &end) != 2 || !end || text[end]) {
        end = 0;
        if (sscanf(text, " %23[0-9+-] , %23[0-9+-] %n", parts[0], parts[1], &end) != 2 || !end || text[end]) {
            long long both;
            if (!parse_integer(row, text, check, &both))
                return false;
            pair[0] = pair[1] = (int)both;
            return true;
        }
    }
    long long first, second;
    if (!parse_integer(row, parts[0], check, &first) || !parse_integer(row, parts[1], check, &second))
        return false;
    pair[0] = (int)first;
    pair[1] = (int)second;
    return true;
}

/* "[0.9, 0.999]" */
static bool parse_numbers(const cvy_param *row, const char *text, bool check, double numbers[2]) {
    char parts[2][32];
    int end = 0;
    if (sscanf(text, " [ %31[0-9.eE+-] , %31[0-9.eE+-] ] %n", parts[0], parts[1], &end) != 2 || !end ||
        text[end])
        return false;
    for (int i = 0; i < 2; i++)
        if (!cvy_text_to_double(parts[i], &numbers[i]) || (check && !in_range(row, numbers[i])))
            return false;
    return true;
}

/* "15" or "[-15, 30]" */
static bool parse_range(const cvy_param *row, const char *text, bool check, double range[2]) {
    if (!cvy_text_to_double(text, &range[0]))
        return parse_numbers(row, text, check, range) && range[0] <= range[1];
    range[1] = NAN;
    return !check || in_range(row, range[0]);
}

static void complain_of_choice(const cvy_param *row, const char *text, complaint *c) {
    const char *names[MANY_NAMES] = {NULL};
    size_t count = 0;
    cvy_text list = {0};
    char *copy = strdup(row->choices), *rest = copy;
    if (!copy)
        cvy_abort_memory();
    for (char *name; (name = strsep(&rest, "|"));) {
        cvy_text_add(&list, "%s%s", count ? ", " : "", name);
        if (count < MANY_NAMES)
            names[count++] = name;
    }
    const char *nearest = cvy_text_nearest(text, names, count);
    snprintf(c->text, sizeof c->text, "must be one of %s%s%s%s", cvy_text_get(&list),
             nearest ? " (did you mean `" : "", nearest ? nearest : "", nearest ? "`?)" : "");
    cvy_text_free(&list);
    free(copy);
}

static bool set_number(const cvy_param *row, void *out, const char *text, bool check) {
    long long integer;
    double number;
    int pair[2];
    switch (row->type) {
    case CVY_INT:
    case CVY_SIZE:
        if (!parse_integer(row, text, check, &integer))
            return false;
        if (row->type == CVY_INT)
            *(int *)field(row, out) = (int)integer;
        else
            *(long long *)field(row, out) = integer;
        return true;
    case CVY_FLOAT:
        if (!cvy_text_to_double(text, &number) || (check && !in_range(row, number)))
            return false;
        *(double *)field(row, out) = number;
        return true;
    case CVY_NUMBERS:
        return parse_numbers(row, text, check, field(row, out));
    case CVY_RANGE:
        return parse_range(row, text, check, field(row, out));
    default:
        pair[0] = pair[1] = row->choices ? -1 - find_choice(row->choices, text) : 0;
        if (pair[0] >= 0 && !parse_pair(row, text, check, pair))
            return false;
        memcpy(field(row, out), pair, sizeof pair);
        return true;
    }
}

/* Sets a field from text; `check`: the range too. False with a complaint where the text does not fit the row.
 */
static bool set_from_text(const cvy_param *row, void *out, cvy_arena *arena, const char *text, bool check,
                          complaint *c) {
    switch (row->type) {
    case CVY_BOOL:
    case CVY_FLAG:
        if (row->type == CVY_FLAG && !*text) /* present without a value */
            text = "true";
        if (!parse_bool(text, field(row, out))) {
            snprintf(c->text, sizeof c->text, "must be true or false");
            return false;
        }
        return true;
    case CVY_TEXT:
        if (!*text && (!row->fallback || *row->fallback)) {
            snprintf(c->text, sizeof c->text, "must not be empty");
            return false;
        }
        *(const char **)field(row, out) = *text ? cvy_arena_strdup(arena, text) : NULL;
        return true;
    case CVY_CHOICE: {
        int index = find_choice(row->choices, text);
        if (index < 0) {
            complain_of_choice(row, text, c);
            return false;
        }
        *(int *)field(row, out) = index;
        return true;
    }
    case CVY_NODE:
        *(cvy_node **)field(row, out) = cvy_node_scalar(arena, "default", text);
        return true;
    default:
        if (!set_number(row, out, text, check)) {
            describe_wanted(row, text, c);
            return false;
        }
        return true;
    }
}

static size_t field_size(const cvy_param *row) {
    switch (row->type) {
    case CVY_INT:
    case CVY_CHOICE:
        return sizeof(int);
    case CVY_SIZE:
        return sizeof(long long);
    case CVY_FLOAT:
        return sizeof(double);
    case CVY_BOOL:
    case CVY_FLAG:
        return sizeof(bool);
    case CVY_PAIR:
        return sizeof(int[2]);
    case CVY_NUMBERS:
    case CVY_RANGE:
        return sizeof(double[2]);
    case CVY_TEXT:
    case CVY_NODE:
        break;
    }
    return sizeof(void *);
}

convoy_status cvy_params_defaults(const cvy_param *table, void *out, cvy_arena *arena) {
    for (const cvy_param *row = table; row->name; row++) {
        complaint c;
        memset(field(row, out), 0, field_size(row));
        if (!row->fallback || !*row->fallback)
            continue;
        if (!set_from_text(row, out, arena, row->fallback, false, &c)) {
            return cvy_fail(CONVOY_FAILED, "internal error: the default `%s` of `%s` %s", row->fallback,
                            row->name, c.text);
        }
    }
    return CONVOY_OK;
}

/* ---- nodes to values ---- */

static convoy_status fail_unknown(const cvy_param *table, const char *what, const cvy_node *key) {
    const char *names[MANY_NAMES] = {NULL};
    size_t count = 0;
    cvy_text list = {0};
    for (const cvy_param *row = table; row->name && count < MANY_NAMES; row++) {
        cvy_text_add(&list, "%s%s", count ? ", " : "", row->name);
        names[count++] = row->name;
    }
    const char *nearest = cvy_text_nearest(key->text, names, count);
    if (nearest)
        cvy_node_fail(key, "%s: unknown `%s`; did you mean `%s`?", what, key->text, nearest);
    else if (count)
        cvy_node_fail(key, "%s: unknown `%s`; known are: %s", what, key->text, cvy_text_get(&list));
    else
        cvy_node_fail(key, "%s: unknown `%s`; it takes no parameters", what, key->text);
    cvy_text_free(&list);
    return CONVOY_INVALID;
}

/* A pair written as a sequence: each element is a number of its own. */
static bool set_pair_from_items(const cvy_param *row, void *out, const cvy_node *value) {
    int *pair = field(row, out);
    if (value->count != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        long long number;
        const cvy_node *item = value->items[i];
        if (item->kind != CVY_SCALAR || !parse_integer(row, item->text, true, &number))
            return false;
        pair[i] = (int)number;
    }
    return true;
}

/* "found `[1, 2, 3]`", cut where it is long. */
static convoy_status fail_value(const char *what, const cvy_param *row, const cvy_node *value,
                                const char *wanted) {
    cvy_text found = {0};
    if (value->kind == CVY_SCALAR)
        cvy_text_add(&found, "%s", value->text);
    else
        cvy_node_print(value, &found);
    if (found.length == 0) {
        cvy_node_fail(value, "%s: `%s` %s, found nothing", what, row->name, wanted);
    } else {
        cvy_node_fail(value, "%s: `%s` %s, found `%.80s%s`", what, row->name, wanted, found.data,
                      found.length > 80 ? "..." : "");
    }
    cvy_text_free(&found);
    return CONVOY_INVALID;
}

static convoy_status set_from_node(const cvy_param *row, void *out, cvy_arena *arena, const char *what,
                                   const cvy_node *value) {
    complaint c = {""};
    if (row->type == CVY_NODE) {
        bool empty = value->kind == CVY_SCALAR && !*value->text;
        bool optional = row->fallback && !*row->fallback;
        *(const cvy_node **)field(row, out) = empty && optional ? NULL : value;
        return CONVOY_OK;
    }
    if (value->kind == CVY_SCALAR) {
        return set_from_text(row, out, arena, value->text, true, &c) ? CONVOY_OK
                                                                     : fail_value(what, row, value, c.text);
    }
    if (row->type == CVY_PAIR && value->kind == CVY_SEQUENCE) {
        if (set_pair_from_items(row, out, value))
            return CONVOY_OK;
        describe_wanted(row, "", &c);
        return fail_value(what, row, value, c.text);
    }
    if (row->type == CVY_NUMBERS || row->type == CVY_RANGE) {
        cvy_text text = {0};
        cvy_node_print(value, &text);
        bool good = set_from_text(row, out, arena, cvy_text_get(&text), true, &c);
        cvy_text_free(&text);
        return good ? CONVOY_OK : fail_value(what, row, value, c.text);
    }
    return fail_value(what, row, value, "takes a single value");
}

convoy_status cvy_params_set(const cvy_param *table, void *out, cvy_arena *arena, const char *what,
                             const cvy_node *key, const cvy_node *value) {
    for (const cvy_param *row = table; row->name; row++)
        if (strcmp(row->name, key->text) == 0)
            return set_from_node(row, out, arena, what, value);
    return fail_unknown(table, what, key);
}

static convoy_status check_required(const cvy_param *table, const char *what, const cvy_node *mapping,
                                    const cvy_node *where) {
    cvy_text missing = {0};
    int count = 0;
    for (const cvy_param *row = table; row->name; row++) {
        bool given = mapping && cvy_node_get(mapping, row->name);
        if (!row->fallback && row->type != CVY_FLAG && !given)
            cvy_text_add(&missing, "%s`%s`", count++ ? ", " : "", row->name);
    }
    convoy_status status = CONVOY_OK;
    const cvy_node *place = mapping ? mapping : where;
    if (count && place) {
        status =
            cvy_node_fail(place, "%s: %s %s missing", what, cvy_text_get(&missing), count > 1 ? "are" : "is");
    } else if (count) {
        status = cvy_fail(CONVOY_INVALID, "%s: %s %s missing", what, cvy_text_get(&missing),
                          count > 1 ? "are" : "is");
    }
    cvy_text_free(&missing);
    return status;
}

convoy_status cvy_params_read(const cvy_param *table, void *out, cvy_arena *arena, const char *what,
                              const cvy_node *mapping, const cvy_node *where) {
    if (mapping && mapping->kind == CVY_SCALAR && !*mapping->text) {
        where = mapping; /* `Flatten:` with nothing behind it is `Flatten: {}` */
        mapping = NULL;
    }
    if (mapping && mapping->kind != CVY_MAPPING) {
        return cvy_node_fail(mapping, "%s: expected {name: value, ...}, found %s", what,
                             mapping->kind == CVY_SEQUENCE ? "a list" : "a single value");
    }
    convoy_status status = cvy_params_defaults(table, out, arena);
    for (size_t i = 0; mapping && i < mapping->count && !status; i++)
        status = cvy_params_set(table, out, arena, what, mapping->keys[i], mapping->items[i]);
    return status ? status : check_required(table, what, mapping, where);
}
