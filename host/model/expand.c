/* From a model file to plain layers: settings of the command line, top-level parameters, blocks and $names.
 */
#include <stdlib.h>
#include <string.h>

#include "model/graph.h"

/* What a file may stand for: work and memory are bounded by these, not by its own size alone. */
enum {
    DEPTH_LIMIT = 16,
    LAYER_LIMIT = 10000,
    NODE_LIMIT = 1 << 20,
    PARAMETER_LIMIT = 256,
    BLOCK_LIMIT = 1000,
    NAME_LIMIT = 128, /* shown */
};

/* Names that $name may stand for: those of the block, then those of the file. */
typedef struct scope {
    const cvy_node *names; /* mapping, or NULL */
    const struct scope *outer;
} scope;

typedef struct expander {
    cvy_arena *arena;
    const cvy_node *blocks; /* mapping, or NULL */
    int layers, nodes;
} expander;

void *cvy_grow(cvy_arena *arena, void *array, size_t count, size_t element) {
    if ((count & (count - 1)) != 0)
        return array;
    void *larger = cvy_arena_alloc(arena, (count ? 2 * count : 1) * element);
    if (count)
        memcpy(larger, array, count * element);
    return larger;
}

/* ---- nodes ---- */

static cvy_node *copy_place(cvy_arena *arena, cvy_node_kind kind, const cvy_node *place) {
    cvy_node *node = cvy_arena_alloc(arena, sizeof *node);
    *node = (cvy_node){
        .kind = kind, .file = place->file, .line = place->line, .column = place->column, .text = ""};
    return node;
}

static cvy_node *make_word(cvy_arena *arena, const cvy_node *place, const char *text) {
    cvy_node *node = copy_place(arena, CVY_SCALAR, place);
    node->text = text;
    return node;
}

/* Nodes are built once and then only read, so one that is shared between trees may be const on the way. */
static void append(cvy_arena *arena, cvy_node *list, const cvy_node *key, const cvy_node *item) {
    if (key) {
        list->keys = cvy_grow(arena, list->keys, list->count, sizeof *list->keys);
        list->keys[list->count] = (cvy_node *)key;
    }
    list->items = cvy_grow(arena, list->items, list->count, sizeof *list->items);
    list->items[list->count++] = (cvy_node *)item;
}

cvy_node *cvy_mapping_with(cvy_arena *arena, const cvy_node *mapping, const cvy_node *key, cvy_node *value) {
    cvy_node *copy = copy_place(arena, CVY_MAPPING, mapping ? mapping : key);
    bool found = false;
    for (size_t i = 0; mapping && i < mapping->count; i++) {
        bool same = strcmp(mapping->keys[i]->text, key->text) == 0;
        append(arena, copy, mapping->keys[i], same ? value : mapping->items[i]);
        found = found || same;
    }
    if (!found)
        append(arena, copy, key, value);
    return copy;
}

static bool is_empty(const cvy_node *node) {
    return node->kind == CVY_SCALAR && !*node->text;
}

/* An absent or empty value stands for an empty mapping. */
static convoy_status want_mapping(const cvy_node *node, const char *what, size_t limit,
                                  const cvy_node **mapping) {
    *mapping = NULL;
    if (!node || is_empty(node))
        return CONVOY_OK;
    if (node->kind != CVY_MAPPING)
        return cvy_node_fail(node, "%s: expected {name: value, ...}", what);
    if (node->count > limit)
        return cvy_node_fail(node, "%s: %zu are more than the %zu that are allowed", what, node->count,
                             limit);
    *mapping = node;
    return CONVOY_OK;
}

/* ---- $names ---- */

static const cvy_node *look_up(const scope *names, const char *name) {
    for (; names; names = names->outer) {
        const cvy_node *found = names->names ? cvy_node_get(names->names, name) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

static convoy_status fail_unknown_name(const scope *names, const cvy_node *node) {
    const char *known[NAME_LIMIT];
    size_t count = 0;
    for (; names; names = names->outer)
        for (size_t i = 0; names->names && i < names->names->count && count < NAME_LIMIT; i++)
            known[count++] = names->names->keys[i]->text;
    const char *nearest = cvy_text_nearest(node->text + 1, known, count);
    if (nearest)
        return cvy_node_fail(node, "unknown parameter `%s`; did you mean `$%s`?", node->text, nearest);
    return cvy_node_fail(
        node, "unknown parameter `%s`; name it under `parameters:` of the block or of the file", node->text);
}

/* A copy of `node` in which whole scalars `$name` are replaced; the copies say where they are used. */
static convoy_status substitute(expander *e, const scope *names, const cvy_node *node, const cvy_node *place,
                                cvy_node **out) {
    if (node->kind == CVY_SCALAR && node->text[0] == '$' && node->text[1]) {
        const cvy_node *value = look_up(names, node->text + 1);
        if (!value)
            return fail_unknown_name(names, node);
        if (is_empty(value))
            return cvy_node_fail(node, "`%s` has no value; give it a default or set it", node->text);
        return substitute(e, NULL, value, node, out); /* values are never substituted twice */
    }
    if (++e->nodes > NODE_LIMIT)
        return cvy_node_fail(place ? place : node,
                             "with its blocks and parameters written out, the model has more than %d values",
                             NODE_LIMIT);
    cvy_node *copy = copy_place(e->arena, node->kind, place ? place : node);
    copy->text = node->text;
    for (size_t i = 0; i < node->count; i++) {
        cvy_node *item;
        convoy_status status = substitute(e, names, node->items[i], place, &item);
        if (status)
            return status;
        append(e->arena, copy, node->kind == CVY_MAPPING ? node->keys[i] : NULL, item);
    }
    *out = copy;
    return CONVOY_OK;
}

/* ---- layers ---- */

static const char *const constructs[] = {"Residual",   "Concat",    "Product",
                                         "Sequential", "Auxiliary", "repeat"};
enum { CONSTRUCTS = sizeof constructs / sizeof *constructs };

static bool is_construct(const char *name) {
    size_t i = 0;
    while (i < CONSTRUCTS && strcmp(constructs[i], name) != 0)
        i++;
    return i < CONSTRUCTS;
}

static convoy_status expand_list(expander *e, const scope *names, const cvy_node *list, int depth,
                                 cvy_node **out);

static convoy_status fail_unknown_layer(const expander *e, const cvy_node *key) {
    const char *known[NAME_LIMIT];
    size_t count = 0;
    for (; count < CONSTRUCTS; count++)
        known[count] = constructs[count];
    for (const cvy_layer_type *const *type = cvy_layer_types; *type; type++)
        known[count++] = (*type)->name;
    for (size_t i = 0; e->blocks && i < e->blocks->count && count < NAME_LIMIT; i++)
        known[count++] = e->blocks->keys[i]->text;
    const char *nearest = cvy_text_nearest(key->text, known, count);
    if (nearest)
        return cvy_node_fail(key, "unknown layer `%s`; did you mean `%s`?", key->text, nearest);
    cvy_text list = {0};
    for (size_t i = 0; i < count; i++)
        cvy_text_add(&list, "%s%s", i ? ", " : "", known[i]);
    convoy_status status =
        cvy_node_fail(key, "unknown layer `%s`; known are: %s", key->text, cvy_text_get(&list));
    cvy_text_free(&list);
    return status;
}

/* Adds `list`, expanded, to the construct as `key`. An absent or empty list has no layers. */
static convoy_status expand_member(expander *e, const scope *names, const cvy_node *list, const char *key,
                                   int depth, cvy_node *construct) {
    cvy_node *layers = copy_place(e->arena, CVY_SEQUENCE, construct);
    if (list && !is_empty(list)) {
        convoy_status status = expand_list(e, names, list, depth + 1, &layers);
        if (status)
            return status;
    }
    append(e->arena, construct, key ? make_word(e->arena, construct, key) : NULL, layers);
    return CONVOY_OK;
}

/* Refuses keys of a construct that it does not have; a NULL-terminated list of those it has. */
static convoy_status check_keys(const cvy_node *mapping, const char *what, const char *const *known) {
    size_t count = 0;
    while (known[count])
        count++;
    for (size_t i = 0; i < mapping->count; i++) {
        const char *key = mapping->keys[i]->text;
        size_t k = 0;
        while (k < count && strcmp(known[k], key) != 0)
            k++;
        const char *nearest = k < count ? NULL : cvy_text_nearest(key, known, count);
        if (k == count)
            return cvy_node_fail(mapping->keys[i], "%s: unknown `%s`%s%s%s", what, key,
                                 nearest ? "; did you mean `" : "", nearest ? nearest : "",
                                 nearest ? "`?" : "");
    }
    return CONVOY_OK;
}

/* Residual: {body: [...], shortcut: [...]}, Concat and Product: [[...], ...] or {branches: ...}, Sequential:
   [...] or {layers: ...}, Auxiliary: {layers: [...], weight: w}; all with an optional name. Puts the expanded
   form into `construct`. */
static convoy_status expand_construct(expander *e, const scope *names, const char *type,
                                      const cvy_node *value, int depth, cvy_node *construct) {
    const bool residual = strcmp(type, "Residual") == 0, product = strcmp(type, "Product") == 0;
    const bool concat = product || strcmp(type, "Concat") == 0, auxiliary = strcmp(type, "Auxiliary") == 0;
    const char *member = residual ? "body" : concat ? "branches" : "layers";
    const char *const keys[] = {"name", member, residual ? "shortcut" : auxiliary ? "weight" : NULL, NULL};
    static const char *const values[] = {"name", "weight"};
    const cvy_node *list = value;
    convoy_status status = CONVOY_OK;
    if (value->kind == CVY_MAPPING) {
        status = check_keys(value, type, keys);
        list = cvy_node_get(value, member);
        for (int i = 0; i < 2; i++) {
            const cvy_node *given = cvy_node_get(value, values[i]);
            cvy_node *copy = NULL;
            if (!given || status)
                continue;
            status = substitute(e, names, given, NULL, &copy);
            append(e->arena, construct, make_word(e->arena, given, values[i]), copy);
        }
    }
    if (status)
        return status;
    if (!list || ((residual || auxiliary) && value->kind != CVY_MAPPING) ||
        (list->kind != CVY_SEQUENCE && !is_empty(list)) || list->count == 0 || (product && list->count != 2))
        return cvy_node_fail(
            value, "%s needs %s", type,
            residual    ? "{body: [layers], shortcut: [layers]}; an empty shortcut is the identity"
            : product   ? "two branches, each a list of layers: maps, and what they are multiplied with"
            : concat    ? "a list of branches, each a list of layers"
            : auxiliary ? "{weight: 0.3, layers: [layers]}: what its loss counts for, and its layers"
                        : "a list of layers");
    if (!concat) {
        status = expand_member(e, names, list, member, depth, construct);
        if (!status && residual)
            status = expand_member(e, names, cvy_node_get(value, "shortcut"), "shortcut", depth, construct);
        return status;
    }
    cvy_node *branches = copy_place(e->arena, CVY_SEQUENCE, list);
    for (size_t i = 0; i < list->count && !status; i++)
        status = expand_member(e, names, list->items[i], NULL, depth, branches);
    append(e->arena, construct, make_word(e->arena, construct, member), branches);
    return status;
}

static convoy_status fail_unknown_parameter(const cvy_node *parameters, const cvy_node *block,
                                            const cvy_node *name) {
    const char *known[NAME_LIMIT];
    size_t count = 0;
    for (size_t k = 0; parameters && k < parameters->count && count < NAME_LIMIT; k++)
        known[count++] = parameters->keys[k]->text;
    const char *nearest = cvy_text_nearest(name->text, known, count);
    return cvy_node_fail(name, "block %s: unknown parameter `%s`%s%s%s", block->text, name->text,
                         nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "");
}

/* The values of a block's parameters: its defaults, which may use the file's names, overridden by what the
   use gives (already substituted). */
static convoy_status bind(expander *e, const scope *file, const cvy_node *key, const cvy_node *block,
                          const cvy_node *given, const cvy_node **bound) {
    const cvy_node *parameters;
    cvy_node *defaults = NULL;
    convoy_status status =
        want_mapping(cvy_node_get(block, "parameters"), "parameters", PARAMETER_LIMIT, &parameters);
    if (!status && parameters)
        status = substitute(e, file, parameters, NULL, &defaults);
    for (size_t i = 0; given && i < given->count && !status; i++) {
        const cvy_node *name = given->keys[i];
        if (strcmp(name->text, "name") != 0 && (!defaults || !cvy_node_get(defaults, name->text)))
            status = fail_unknown_parameter(defaults, key, name);
    }
    for (size_t i = 0; defaults && i < defaults->count && !status; i++) {
        const char *parameter = defaults->keys[i]->text;
        cvy_node *value = given && strcmp(parameter, "name") != 0 ? cvy_node_get(given, parameter) : NULL;
        defaults->items[i] = value ? value : defaults->items[i];
        if (is_empty(defaults->items[i]))
            status = cvy_node_fail(key, "block %s: parameter `%s` has no default and is not given", key->text,
                                   parameter);
    }
    *bound = defaults;
    return status;
}

static convoy_status expand_block(expander *e, const scope *names, const cvy_node *key, const cvy_node *value,
                                  int depth, cvy_node *construct) {
    static const char *const keys[] = {"parameters", "layers", NULL};
    const cvy_node *block = cvy_node_get(e->blocks, key->text), *given = NULL, *bound = NULL;
    const cvy_node *layers = cvy_node_get(block, "layers");
    cvy_node *filled = NULL;
    if (depth >= DEPTH_LIMIT)
        return cvy_node_fail(key, "blocks are nested more than %d deep; does `%s` contain itself?",
                             DEPTH_LIMIT, key->text);
    if (!layers || layers->kind != CVY_SEQUENCE || layers->count == 0)
        return cvy_node_fail(block, "a block needs {parameters: {...}, layers: [...]}");
    convoy_status status = check_keys(block, key->text, keys);
    if (!status)
        status = want_mapping(value, key->text, PARAMETER_LIMIT + 1, &given);
    if (!status && given)
        status = substitute(e, names, given, NULL, &filled);
    while (names->outer) /* a block sees its own names and the file's, not those of the block that uses it */
        names = names->outer;
    if (!status)
        status = bind(e, names, key, block, filled, &bound);
    if (status)
        return status;
    const cvy_node *name = filled ? cvy_node_get(filled, "name") : NULL;
    if (name)
        append(e->arena, construct, make_word(e->arena, name, "name"), name);
    scope inside = {bound, names};
    return expand_member(e, &inside, layers, "layers", depth, construct);
}

static convoy_status expand_layer(expander *e, const scope *names, const cvy_node *node, int depth,
                                  cvy_node **out) {
    const cvy_node *key = node, *value = NULL;
    if (node->kind == CVY_MAPPING && node->count == 1) {
        key = node->keys[0];
        value = node->items[0];
    } else if (node->kind == CVY_MAPPING) {
        return cvy_node_fail(
            node,
            "a layer is one name with its parameters, found %zu keys; indent the parameters or write "
            "`- Name: {key: value}`",
            node->count);
    } else if (node->kind != CVY_SCALAR || !*node->text) {
        return cvy_node_fail(node, "expected a layer, as `- ReLU` or `- Linear: {out_features: 10}`");
    }
    if (++e->layers > LAYER_LIMIT)
        return cvy_node_fail(key, "the model has more than %d layers", LAYER_LIMIT);
    if (!value)
        value = make_word(e->arena, key, "");
    cvy_node *layer = copy_place(e->arena, CVY_MAPPING, key),
             *body = copy_place(e->arena, CVY_MAPPING, value);
    const cvy_node *type = key;
    convoy_status status;
    if (is_construct(key->text)) {
        status = expand_construct(e, names, key->text, value, depth, body);
    } else if (e->blocks && cvy_node_get(e->blocks, key->text)) {
        type = make_word(e->arena, key, "Sequential");
        status = expand_block(e, names, key, value, depth, body);
    } else if (cvy_layer_type_find(key->text)) {
        status = substitute(e, names, value, NULL, &body);
    } else {
        status = fail_unknown_layer(e, key);
    }
    if (status)
        return status;
    append(e->arena, layer, type, body);
    *out = layer;
    return CONVOY_OK;
}

/* ---- repeat ---- */

typedef struct repetition {
    const cvy_node *layers, *name, *values;
    size_t times;
} repetition;

/* How often: `times`, or as many as each of the lists has. */
static convoy_status count_repetitions(const cvy_node *value, const cvy_node *times, repetition *r) {
    long long number = 0;
    if (times && (times->kind != CVY_SCALAR || !cvy_text_to_long(times->text, &number) || number < 1 ||
                  number > LAYER_LIMIT))
        return cvy_node_fail(times, "`times` must be a whole number from 1 to %d", LAYER_LIMIT);
    r->times = (size_t)number;
    for (size_t i = 0; r->values && i < r->values->count; i++) {
        const cvy_node *list = r->values->items[i];
        if (list->kind != CVY_SEQUENCE || list->count == 0)
            return cvy_node_fail(list, "repeat: `%s` needs a list, a value for each repetition",
                                 r->values->keys[i]->text);
        if (r->times && list->count != r->times)
            return cvy_node_fail(list, "repeat: `%s` has %zu values for %zu repetitions",
                                 r->values->keys[i]->text, list->count, r->times);
        r->times = list->count;
    }
    return r->times ? CONVOY_OK
                    : cvy_node_fail(value, "repeat needs `times: N` or `values: {name: [a value for each "
                                           "repetition]}`");
}

static convoy_status read_repetition(expander *e, const scope *names, const cvy_node *value, repetition *r) {
    static const char *const keys[] = {"times", "name", "values", "layers", NULL};
    cvy_node *times = NULL, *name = NULL, *values = NULL;
    *r = (repetition){0};
    if (value->kind != CVY_MAPPING)
        return cvy_node_fail(value, "repeat needs {times: N, layers: [...]}, or values: {name: [...]} in "
                                    "place of times");
    r->layers = cvy_node_get(value, "layers");
    const cvy_node *given[3] = {cvy_node_get(value, "times"), cvy_node_get(value, "name"),
                                cvy_node_get(value, "values")};
    cvy_node **const filled[3] = {&times, &name, &values};
    convoy_status status = check_keys(value, "repeat", keys);
    if (!status && (!r->layers || r->layers->kind != CVY_SEQUENCE || r->layers->count == 0))
        status = cvy_node_fail(value, "repeat needs `layers`, a list of layers");
    for (int i = 0; i < 3 && !status; i++)
        if (given[i])
            status = substitute(e, names, given[i], NULL, filled[i]);
    if (!status)
        status = want_mapping(values, "values", PARAMETER_LIMIT, &r->values);
    if (!status && name && (name->kind != CVY_SCALAR || !*name->text))
        status =
            cvy_node_fail(name, "repeat: `name` must be a word, to which each repetition adds its number");
    r->name = name;
    return status ? status : count_repetitions(value, times, r);
}

/* Appends the layers of each repetition to `out`; under a name, each as a Sequential name1, name2, ... */
static convoy_status expand_repeat(expander *e, const scope *names, const cvy_node *key,
                                   const cvy_node *value, int depth, cvy_node *out) {
    repetition r;
    convoy_status status = read_repetition(e, names, value, &r);
    for (size_t i = 0; i < r.times && !status; i++) {
        cvy_node *bound = r.values ? copy_place(e->arena, CVY_MAPPING, r.values) : NULL, *layers = NULL;
        for (size_t k = 0; r.values && k < r.values->count; k++)
            append(e->arena, bound, r.values->keys[k], r.values->items[k]->items[i]);
        const scope inside = {bound, names};
        status = expand_list(e, &inside, r.layers, depth + 1, &layers);
        if (status)
            return status;
        if (!r.name) {
            for (size_t l = 0; l < layers->count; l++)
                append(e->arena, out, NULL, layers->items[l]);
            continue;
        }
        cvy_node *layer = copy_place(e->arena, CVY_MAPPING, key),
                 *body = copy_place(e->arena, CVY_MAPPING, value);
        append(e->arena, body, make_word(e->arena, r.name, "name"),
               make_word(e->arena, r.name, cvy_arena_printf(e->arena, "%s%zu", r.name->text, i + 1)));
        append(e->arena, body, make_word(e->arena, value, "layers"), layers);
        append(e->arena, layer, make_word(e->arena, key, "Sequential"), body);
        append(e->arena, out, NULL, layer);
    }
    return status;
}

static convoy_status expand_list(expander *e, const scope *names, const cvy_node *list, int depth,
                                 cvy_node **out) {
    if (list->kind != CVY_SEQUENCE)
        return cvy_node_fail(list, "expected a list of layers");
    *out = copy_place(e->arena, CVY_SEQUENCE, list);
    for (size_t i = 0; i < list->count; i++) {
        const cvy_node *item = list->items[i];
        cvy_node *layer = NULL;
        convoy_status status;
        if (item->kind == CVY_MAPPING && item->count == 1 && strcmp(item->keys[0]->text, "repeat") == 0) {
            status = expand_repeat(e, names, item->keys[0], item->items[0], depth, *out);
        } else {
            status = expand_layer(e, names, item, depth, &layer);
            if (!status)
                append(e->arena, *out, NULL, layer);
        }
        if (status)
            return status;
    }
    return CONVOY_OK;
}

static convoy_status check_blocks(const cvy_node *blocks) {
    for (size_t i = 0; blocks && i < blocks->count; i++) {
        const char *name = blocks->keys[i]->text;
        if (cvy_layer_type_find(name) || is_construct(name))
            return cvy_node_fail(blocks->keys[i], "a block must not have the name of a layer, %s", name);
    }
    return CONVOY_OK;
}

/* ---- settings ---- */

static convoy_status fail_unknown_setting(const cvy_model_file *file, const char *key) {
    const char *known[NAME_LIMIT];
    size_t count = 0;
    for (const cvy_param *row = cvy_recipe_params; row->name; row++)
        known[count++] = row->name;
    count += cvy_optimizer_keys(known + count, NAME_LIMIT - count);
    for (size_t i = 0; file->parameters && i < file->parameters->count && count < NAME_LIMIT; i++)
        known[count++] = file->parameters->keys[i]->text;
    const char *nearest = cvy_text_nearest(key, known, count);
    if (nearest)
        return cvy_fail(CONVOY_INVALID,
                        "setting `%s`: neither a key of the recipe nor a parameter of the model; did you "
                        "mean `%s`?",
                        key, nearest);
    return cvy_fail(CONVOY_INVALID,
                    "setting `%s`: neither a key of the recipe nor a parameter of the model; `convoy train "
                    "--help` lists the keys",
                    key);
}

/* Sets one key of the recipe's optimizer, {Name: {...}}; a recipe without one gets the default. */
static void set_optimizer_key(cvy_arena *arena, cvy_model_file *file, const cvy_node *key, cvy_node *value) {
    const cvy_node *optimizer = file->recipe ? cvy_node_get(file->recipe, "optimizer") : NULL,
                   *parameters = NULL;
    const cvy_node *name = cvy_node_scalar(arena, key->file, CVY_OPTIMIZER_DEFAULT);
    if (optimizer && optimizer->kind == CVY_SCALAR && *optimizer->text)
        name = optimizer;
    if (optimizer && optimizer->kind == CVY_MAPPING && optimizer->count == 1) {
        name = optimizer->keys[0];
        parameters = optimizer->items[0]->kind == CVY_MAPPING ? optimizer->items[0] : NULL;
    }
    cvy_node *filled = cvy_mapping_with(arena, parameters, key, value);
    file->recipe = cvy_mapping_with(arena, file->recipe, cvy_node_scalar(arena, key->file, "optimizer"),
                                    cvy_mapping_with(arena, NULL, name, filled));
}

/* NULL: no key of the recipe. */
static const cvy_param *find_recipe_key(const char *key) {
    for (const cvy_param *row = cvy_recipe_params; row->name; row++)
        if (strcmp(row->name, key) == 0)
            return row;
    return NULL;
}

/* `optimizer_keys`: only those, or only the others: optimizer=Adam must come before lr=0.1, in whatever order
   they were given. */
static convoy_status apply_setting(cvy_arena *arena, cvy_model_file *file, const char *setting,
                                   bool optimizer_keys) {
    const char *equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return cvy_fail(CONVOY_INVALID, "setting `%s`: expected key=value", setting);
    const char *name = cvy_arena_strndup(arena, setting, (size_t)(equals - setting)), *text = equals + 1;
    const char *origin = cvy_arena_printf(arena, "setting %s", name);
    const cvy_param *recipe_key = find_recipe_key(name);
    bool prefixed = strncmp(name, "optimizer.", 10) == 0;
    bool parameter = file->parameters && cvy_node_get(file->parameters, name);
    file->classes_set = file->classes_set || (parameter && strcmp(name, "classes") == 0);
    bool optimizer = prefixed || (!recipe_key && !parameter && cvy_is_optimizer_key(name));
    if (optimizer != optimizer_keys)
        return CONVOY_OK;
    cvy_node *key = cvy_node_scalar(arena, origin, prefixed ? name + 10 : name), *value;
    bool is_text = recipe_key && recipe_key->type == CVY_TEXT; /* a path may have any characters */
    if (!is_text && strpbrk(text, "[{")) {
        convoy_status status = cvy_node_parse(arena, origin, text, strlen(text), &value);
        if (status)
            return status;
    } else {
        value = cvy_node_scalar(arena, origin, text);
    }
    if (recipe_key && !*text && (strcmp(name, "data") == 0 || strcmp(name, "optimizer") == 0))
        return cvy_fail(CONVOY_INVALID, "setting %s: nothing is behind the `=`: give it %s, or leave it out",
                        name, recipe_key->help);
    if (optimizer)
        set_optimizer_key(arena, file, key, value);
    else if (recipe_key)
        file->recipe = cvy_mapping_with(arena, file->recipe, key, value);
    else if (parameter)
        file->parameters = cvy_mapping_with(arena, file->parameters, key, value);
    else
        return fail_unknown_setting(file, name);
    return CONVOY_OK;
}

/* A setting of the same name stands above what the data say. */
static void set_classes(cvy_arena *arena, cvy_model_file *file, int classes) {
    if (!classes || file->classes_set || !file->parameters || !cvy_node_get(file->parameters, "classes"))
        return;
    cvy_node *value = cvy_node_scalar(arena, "option classes", cvy_arena_printf(arena, "%d", classes));
    file->parameters =
        cvy_mapping_with(arena, file->parameters, cvy_node_scalar(arena, "option", "classes"), value);
}

static convoy_status apply_options(cvy_arena *arena, cvy_model_file *file,
                                   const convoy_model_options *options) {
    convoy_status status = CONVOY_OK;
    if (!options)
        return CONVOY_OK;
    if (options->classes < 0)
        return cvy_fail(CONVOY_INVALID, "a model cannot have %d classes", options->classes);
    set_classes(arena, file, options->classes);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < options->setting_count && !status; i++)
            status = apply_setting(arena, file, options->settings[i], pass == 1);
    return status;
}

/* ---- the file ---- */

static const cvy_param file_params[] = {
    {"name", CVY_TEXT, offsetof(cvy_model_file, name), "", 0, 0, NULL,
     "what the model is called; the file's name"},
    {"extends", CVY_TEXT, offsetof(cvy_model_file, extends), "", 0, 0, NULL,
     "another model file, whose keys stand where this one has none"},
    {"input", CVY_NODE, offsetof(cvy_model_file, input), NULL, 0, 0, NULL,
     "[channels, height, width] of an image"},
    {"parameters", CVY_NODE, offsetof(cvy_model_file, parameters), "", 0, 0, NULL,
     "{name: default} for $name"},
    {"blocks", CVY_NODE, offsetof(cvy_model_file, blocks), "", 0, 0, NULL,
     "{name: {parameters: {...}, layers: [...]}}"},
    {"layers", CVY_NODE, offsetof(cvy_model_file, layers), NULL, 0, 0, NULL, "the layers"},
    {"recipe", CVY_NODE, offsetof(cvy_model_file, recipe), "", 0, 0, NULL, "how to train it"},
    CVY_PARAM_END,
};

convoy_status cvy_model_file_read(cvy_arena *arena, const cvy_node *root, const convoy_model_options *options,
                                  cvy_model_file *file) {
    if (root->kind != CVY_MAPPING)
        return cvy_node_fail(root, "a model file is a mapping with `input:`, `layers:` and `recipe:`");
    const cvy_node *parameters, *blocks, *recipe;
    convoy_status status = cvy_params_read(file_params, file, arena, "model", root, NULL);
    if (!status)
        status = want_mapping(file->parameters, "parameters", PARAMETER_LIMIT, &parameters);
    if (!status)
        status = want_mapping(file->blocks, "blocks", BLOCK_LIMIT, &blocks);
    if (!status)
        status = want_mapping(file->recipe, "recipe", PARAMETER_LIMIT, &recipe);
    if (!status)
        status = check_blocks(blocks);
    if (!status)
        status = apply_options(arena, file, options);
    if (status)
        return status;
    if (file->layers->kind != CVY_SEQUENCE || file->layers->count == 0)
        return cvy_node_fail(file->layers, "`layers` needs a list of layers");
    expander e = {.arena = arena};
    const scope names = {file->parameters, NULL};
    status = substitute(&e, &names, file->input, NULL, &file->input);
    return status || !file->recipe ? status : substitute(&e, &names, file->recipe, NULL, &file->recipe);
}

convoy_status cvy_model_file_expand(cvy_arena *arena, cvy_model_file *file, int classes) {
    expander e = {.arena = arena};
    convoy_status status = want_mapping(file->blocks, "blocks", BLOCK_LIMIT, &e.blocks);
    set_classes(arena, file, classes);
    const scope names = {file->parameters, NULL};
    return status ? status : expand_list(&e, &names, file->layers, 0, &file->layers);
}
