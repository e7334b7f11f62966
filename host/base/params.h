/* Parameter tables: one machinery for layers, recipes and command-line options. A table's rows say the name,
   type, default and help of each field of a struct; reading a mapping fills the struct, and a misspelling is
   answered with the nearest name. */
#ifndef CVY_BASE_PARAMS_H
#define CVY_BASE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/node.h"
#include "base/text.h"

typedef enum cvy_param_type {
    CVY_INT,     /* int */
    CVY_SIZE,    /* long long */
    CVY_FLOAT,   /* double */
    CVY_BOOL,    /* bool: true/false/yes/no/on/off/1/0 */
    CVY_TEXT,    /* const char * in the arena */
    CVY_CHOICE,  /* int: index into `choices` ("a|b|c") */
    CVY_PAIR,    /* int[2]: one number for both, or [height, width]; as one text "3", "3,5" or "[3, 5]"; or a
                    word of `choices`, as -1 for the first, -2 for the second, and so on, both */
    CVY_NUMBERS, /* double[2]: [first, second] */
    CVY_RANGE,   /* double[2]: [low, high], or one number, behind which stands NaN; what it means, the owner
                    says */
    CVY_FLAG,    /* command line only: bool; an empty value means true, not given means false */
    CVY_NODE     /* cvy_node *: the raw node, parsed by its owner */
} cvy_param_type;

typedef struct cvy_param {
    const char *name;
    cvy_param_type type;
    size_t offset;        /* offsetof the field */
    const char *fallback; /* default as text; NULL: required; "": 0, false, or NULL with CVY_TEXT/CVY_NODE */
    double minimum, maximum; /* numbers outside are refused, but not a default: a 0 there may mean "not
                                given"; both 0: no limits */
    const char *choices;     /* CVY_CHOICE and CVY_PAIR: "a|b|c" */
    const char *help;        /* one line */
} cvy_param;                 /* a table ends with a row whose name is NULL */

/* The row of a field of the same name in the struct type `owner`; behind the type, whatever else the row has,
   as .fallback = "1". */
#define CVY_PARAM(owner, field, kind, ...)                                                                   \
    { .name = #field, .type = kind, .offset = offsetof(owner, field), __VA_ARGS__ }
#define CVY_PARAM_END                                                                                        \
    { .name = NULL }

/* Sets every field to its default. Required ones become 0 / NULL. */
convoy_status cvy_params_defaults(const cvy_param *table, void *out, cvy_arena *arena);

/* Sets the field called `key` from a node. An empty text is NULL where "" is the default, else refused.
   `what` names the owner in messages ("Conv2d", "option", "recipe"). */
convoy_status cvy_params_set(const cvy_param *table, void *out, cvy_arena *arena, const char *what,
                             const cvy_node *key, const cvy_node *value);

/* Defaults, then every key of `mapping` (NULL: none), then complains of required ones that are missing
   (`where` gives the place when mapping is NULL). */
convoy_status cvy_params_read(const cvy_param *table, void *out, cvy_arena *arena, const char *what,
                              const cvy_node *mapping, const cvy_node *where);

/* The field's value as text, as it would be written in a file; for resolved model files and messages. */
void cvy_params_print(const cvy_param *row, const void *in, cvy_text *text);

/* One aligned line per row: name, type or choices, default, help. `prefix`: "--" for options, "" for layers.
 */
void cvy_params_help(const cvy_param *table, const char *prefix, cvy_text *text);

#endif
