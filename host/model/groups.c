/* Which parameters learn, and how: the recipe's `groups` and `freeze`, by patterns of names. */
#include <string.h>

#include "model/graph.h"

typedef struct group {
    const char *match;
    double lr, weight_decay;
} group;

static const cvy_param group_params[] = {
    CVY_PARAM(group, match, CVY_TEXT, .fallback = NULL, .help = "a parameter, a layer or a pattern with *"),
    CVY_PARAM(group, lr, CVY_FLOAT, .fallback = "0", .maximum = 1e6, .help = "the optimizer's by default"),
    CVY_PARAM(group, weight_decay, CVY_FLOAT, .fallback = "0", .maximum = 1e6,
              .help = "the optimizer's by default"),
    CVY_PARAM_END,
};

/* ---- patterns ---- */

/* `*` stands for any characters, `?` for one. Without recursion: only the last `*` is ever tried again. */
static bool fits(const char *pattern, const char *name, size_t length) {
    const char *star = NULL, *end = name + length, *again = NULL;
    while (name < end)
        if (*pattern == '*') {
            star = pattern++;
            again = name;
        } else if (*pattern && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++again;
        } else {
            return false;
        }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

/* The parameter's name, or that of a layer or block that it belongs to. */
static bool matches(const char *pattern, const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
        if (fits(pattern, name, (size_t)(dot - name)))
            return true;
    return fits(pattern, name, strlen(name));
}

/* The names that a pattern may mean: a parameter's, and those of what it belongs to. */
static size_t list_names(const convoy_model *model, const char **names, size_t limit) {
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const char *name = model->tensors[t].name, *before = t ? model->tensors[t - 1].name : "";
        for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
            const size_t length = (size_t)(dot - name);
            const bool again = strncmp(before, name, length) == 0 && before[length] == '.';
            if (!again && count < limit)
                names[count++] = cvy_arena_strndup(model->arena, name, length);
        }
        if (count < limit)
            names[count++] = name;
    }
    return count;
}

static convoy_status fail_unmatched(const convoy_model *model, const cvy_node *pattern, const char *key) {
    const char *known[1024] = {NULL};
    const size_t count = list_names(model, known, sizeof known / sizeof *known);
    const char *nearest = cvy_text_nearest(pattern->text, known, count);
    if (nearest)
        return cvy_node_fail(pattern, "%s: no parameter is called `%s`; did you mean `%s`?", key,
                             pattern->text, nearest);
    return cvy_node_fail(pattern,
                         "%s: no parameter is called `%s`; `convoy summary` lists the layers, such as "
                         "`%s`",
                         key, pattern->text, count ? known[0] : "none");
}

/* ---- freeze ---- */

static convoy_status freeze_one(convoy_model *model, const cvy_node *pattern) {
    bool found = false;
    if (pattern->kind != CVY_SCALAR || !*pattern->text)
        return cvy_node_fail(pattern, "freeze: a pattern is the name of a parameter or layer, with * for any "
                                      "characters");
    for (size_t t = 0; t < model->tensor_count; t++)
        if (matches(pattern->text, model->tensors[t].name)) {
            found = true;
            model->tensors[t].frozen = true;
        }
    return found ? CONVOY_OK : fail_unmatched(model, pattern, "freeze");
}

static convoy_status freeze(convoy_model *model) {
    const cvy_node *list = model->recipe.freeze;
    convoy_status status = CONVOY_OK;
    if (list->kind == CVY_SCALAR)
        return freeze_one(model, list);
    if (list->kind != CVY_SEQUENCE)
        return cvy_node_fail(list, "freeze: a list of patterns is expected, as [features, \"*.bias\"]");
    for (size_t i = 0; i < list->count && !status; i++)
        status = freeze_one(model, list->items[i]);
    return status;
}

/* ---- groups ---- */

/* The group's own settings; what it leaves out is the optimizer's. */
static convoy_status read_group(convoy_model *model, const cvy_node *node, size_t index) {
    group g;
    size_t found = 0;
    convoy_status status = cvy_params_read(group_params, &g, model->arena, "groups", node, node);
    if (status)
        return status;
    cvy_optimizer *optimizer = &model->groups[index];
    *optimizer = model->recipe.optimizer;
    if (cvy_node_get(node, "lr"))
        optimizer->lr = g.lr;
    if (cvy_node_get(node, "weight_decay"))
        optimizer->weight_decay = g.weight_decay;
    for (size_t t = 0; t < model->tensor_count; t++) {
        cvy_model_tensor *tensor = &model->tensors[t];
        if (tensor->about->role != CVY_TRAINABLE || !matches(g.match, tensor->name))
            continue;
        found++;
        if (!tensor->group && !tensor->frozen)
            tensor->group = (int)index;
    }
    return found ? CONVOY_OK : fail_unmatched(model, cvy_node_get(node, "match"), "groups");
}

static convoy_status read_groups(convoy_model *model) {
    const cvy_node *list = model->recipe.groups;
    const size_t count = list && list->kind == CVY_SEQUENCE ? list->count : 0;
    convoy_status status = CONVOY_OK;
    model->groups = cvy_arena_alloc(model->arena, (count + 1) * sizeof *model->groups);
    model->group_count = count + 1;
    model->groups[0] = model->recipe.optimizer;
    if (list && (!count || count >= CVY_GROUPS))
        return cvy_node_fail(list,
                             "groups: a list of 1 to %d is expected, as [{match: \"*.bias\", "
                             "weight_decay: 0}]",
                             CVY_GROUPS - 1);
    for (size_t i = 0; i < count && !status; i++)
        status = read_group(model, list->items[i], i + 1);
    return status;
}

/* ---- what follows for the steps ---- */

static bool is_frozen(const convoy_model *model, const cvy_step *step) {
    bool frozen = step->facts.tensor_count > 0;
    for (int i = 0; i < step->facts.tensor_count; i++) {
        const cvy_model_tensor *tensor = &model->tensors[step->first_tensor + (size_t)i];
        if (tensor->about->role == CVY_TRAINABLE && !tensor->frozen)
            return false;
        frozen = frozen && tensor->about->role != CVY_FIXED;
    }
    /* A batch-norm without parameters is frozen by the names of its statistics. */
    return frozen && model->tensors[step->first_tensor].frozen;
}

/* In what a gradient comes to: what is in front of all that learns needs none. */
static void find_gradients(convoy_model *model) {
    bool *wanted = cvy_arena_alloc(model->arena, (size_t)model->value_count * sizeof *wanted);
    for (size_t s = 0; s < model->step_count; s++) {
        cvy_step *step = &model->steps[s];
        bool learns = false, reaches = false;
        for (int i = 0; i < step->facts.tensor_count; i++) {
            const cvy_model_tensor *tensor = &model->tensors[step->first_tensor + (size_t)i];
            learns = learns || (tensor->about->role == CVY_TRAINABLE && !tensor->frozen);
        }
        for (int i = 0; i < step->input_count; i++)
            reaches = reaches || wanted[step->inputs[i]];
        step->learns = learns;
        step->reached = learns || reaches;
        wanted[step->output] = wanted[step->output] || step->reached;
    }
}

convoy_status cvy_model_assign_groups(convoy_model *model) {
    convoy_status status = model->recipe.freeze ? freeze(model) : CONVOY_OK;
    if (!status)
        status = read_groups(model);
    if (status)
        return status;
    for (size_t s = 0; s < model->step_count; s++)
        model->steps[s].frozen = model->recipe.freeze && is_frozen(model, &model->steps[s]);
    find_gradients(model);
    bool any = !model->recipe.freeze;
    for (size_t s = 0; s < model->step_count; s++)
        any = any || model->steps[s].learns;
    return any ? CONVOY_OK
               : cvy_node_fail(model->recipe.freeze,
                               "freeze: every parameter is frozen: nothing is left to learn");
}

size_t cvy_model_groups(const convoy_model *model, const cvy_optimizer **optimizers) {
    *optimizers = model->groups;
    return model->group_count;
}
