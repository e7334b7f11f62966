/* Parameter tables: struct fields to text, and the help of a table (params.c reads). */
#include <math.h>
#include <string.h>

#include "base/params.h"

/* Points at the choice of that index and gives its length. */
static const char *choice_at(const char *choices, int index, int *length) {
    const char *c = choices;
    for (; index > 0 && strchr(c, '|'); index--)
        c = strchr(c, '|') + 1;
    *length = (int)strcspn(c, "|");
    return c;
}

static void print_pair(const cvy_param *row, const int pair[2], cvy_text *text) {
    int length;
    const char *word = row->choices && pair[0] < 0 ? choice_at(row->choices, -1 - pair[0], &length) : NULL;
    if (word)
        cvy_text_add(text, "%.*s", length, word);
    else if (pair[0] == pair[1])
        cvy_text_add(text, "%d", pair[0]);
    else
        cvy_text_add(text, "[%d, %d]", pair[0], pair[1]);
}

static void print_numbers(const double numbers[2], cvy_text *text) {
    if (isnan(numbers[1])) { /* a range of one */
        cvy_text_add_number(text, numbers[0]);
        return;
    }
    cvy_text_add(text, "[");
    cvy_text_add_number(text, numbers[0]);
    cvy_text_add(text, ", ");
    cvy_text_add_number(text, numbers[1]);
    cvy_text_add(text, "]");
}

void cvy_params_print(const cvy_param *row, const void *in, cvy_text *text) {
    const void *value = (const char *)in + row->offset;
    const char *word;
    const cvy_node *node;
    int length;
    switch (row->type) {
    case CVY_INT:
        cvy_text_add(text, "%d", *(const int *)value);
        break;
    case CVY_SIZE:
        cvy_text_add(text, "%lld", *(const long long *)value);
        break;
    case CVY_FLOAT:
        cvy_text_add_number(text, *(const double *)value);
        break;
    case CVY_BOOL:
    case CVY_FLAG:
        cvy_text_add(text, *(const bool *)value ? "true" : "false");
        break;
    case CVY_TEXT:
        word = *(const char *const *)value;
        cvy_node_print_text(word ? word : "", text);
        break;
    case CVY_CHOICE:
        word = choice_at(row->choices, *(const int *)value, &length);
        cvy_text_add(text, "%.*s", length, word);
        break;
    case CVY_PAIR:
        print_pair(row, value, text);
        break;
    case CVY_NUMBERS:
    case CVY_RANGE:
        print_numbers(value, text);
        break;
    case CVY_NODE:
        node = *(cvy_node *const *)value;
        if (node)
            cvy_node_print(node, text);
        else
            cvy_node_print_text("", text);
        break;
    }
}

/* ---- help ---- */

static const char *type_name(const cvy_param *row) {
    switch (row->type) {
    case CVY_INT:
    case CVY_SIZE:
        return "integer";
    case CVY_FLOAT:
        return "number";
    case CVY_BOOL:
        return "true|false";
    case CVY_TEXT:
        return "text";
    case CVY_CHOICE:
        return row->choices;
    case CVY_PAIR:
        return "integer or [h, w]";
    case CVY_NUMBERS:
        return "[number, number]";
    case CVY_RANGE:
        return "number or [low, high]";
    case CVY_FLAG:
    case CVY_NODE:
        break;
    }
    return "";
}

/* "required", "default 3", or "" where there is nothing to say. */
static void describe_default(const cvy_param *row, cvy_text *text) {
    if (row->type == CVY_FLAG)
        return;
    if (!row->fallback)
        cvy_text_add(text, "required");
    else if (*row->fallback)
        cvy_text_add(text, "default %s", row->fallback);
}

static int wider(int width, size_t length, int limit) {
    return (int)length > width && (int)length <= limit ? (int)length : width;
}

void cvy_params_help(const cvy_param *table, const char *prefix, cvy_text *text) {
    int name_width = 0, type_width = 0, default_width = 0;
    for (const cvy_param *row = table; row->name; row++) {
        cvy_text fallback = {0};
        describe_default(row, &fallback);
        name_width = wider(name_width, strlen(prefix) + strlen(row->name), 32);
        type_width = wider(type_width, strlen(type_name(row)), 32);
        default_width = wider(default_width, fallback.length, 24);
        cvy_text_free(&fallback);
    }
    for (const cvy_param *row = table; row->name; row++) {
        cvy_text fallback = {0};
        describe_default(row, &fallback);
        cvy_text_add(text, "  %s%-*s  %-*s  %-*s  %s\n", prefix, name_width - (int)strlen(prefix), row->name,
                     type_width, type_name(row), default_width, cvy_text_get(&fallback),
                     row->help ? row->help : "");
        cvy_text_free(&fallback);
    }
}
