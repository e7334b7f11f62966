/* Expanded layers -> steps in running order, the values between them with inferred shapes, and named tensors.
 */
#include <stdlib.h>
#include <string.h>

#include "model/graph.h"

enum { NAME_LENGTH = 100 };

/* What stands before a layer's name. Weights of older versions called a named layer of a construct as one
   without a name: block.body.conv1 for block.conv1. */
typedef struct place {
    const char *prefix; /* of layers without a name, which are numbered */
    const char *named;  /* of layers with one */
    const char *older;  /* of all, in older files */
} place;

/* A layer's path, and what older files call it. */
typedef struct path {
    const char *name, *older;
    const char *inside; /* what named members of a construct begin with: its path, or, where its name is "",
                           that of what it stands in */
} path;

/* A value as the next layer sees it. */
typedef struct operand {
    int value;
    cvy_dims dims;
} operand;

static int new_value(convoy_model *model, cvy_dims dims) {
    model->values = cvy_grow(model->arena, model->values, (size_t)model->value_count, sizeof dims);
    model->values[model->value_count] = dims;
    model->value_elements = add_size(model->value_elements, cvy_dims_count(dims));
    return model->value_count++;
}

static cvy_step *new_step(convoy_model *model, cvy_step_kind kind, const path *path, const cvy_node *where,
                          const operand *inputs, int count) {
    model->steps = cvy_grow(model->arena, model->steps, model->step_count, sizeof *model->steps);
    cvy_step *step = &model->steps[model->step_count];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    step->name = path->name;
    step->older = path->older;
    step->type_name = where->text;
    step->where = where;
    step->inputs = cvy_arena_alloc(model->arena, (size_t)count * sizeof *step->inputs);
    step->input_dims = cvy_arena_alloc(model->arena, (size_t)count * sizeof *step->input_dims);
    step->input_count = count;
    for (int i = 0; i < count; i++) {
        step->inputs[i] = inputs[i].value;
        step->input_dims[i] = inputs[i].dims;
    }
    step->first_tensor = model->tensor_count;
    model->step_count++;
    return step;
}

static void add_tensors(convoy_model *model, const cvy_step *step, size_t index) {
    for (int i = 0; i < step->facts.tensor_count; i++) {
        const cvy_layer_tensor *about = &step->facts.tensors[i];
        cvy_layer_tensor *kept = cvy_arena_alloc(model->arena, sizeof *kept);
        *kept = *about;
        model->tensors = cvy_grow(model->arena, model->tensors, model->tensor_count, sizeof *model->tensors);
        cvy_model_tensor *tensor = &model->tensors[model->tensor_count];
        *tensor = (cvy_model_tensor){
            .name = cvy_arena_printf(model->arena, "%s.%s", step->name, about->name),
            .older = strcmp(step->older, step->name) == 0
                         ? NULL
                         : cvy_arena_printf(model->arena, "%s.%s", step->older, about->name),
            .about = kept,
            .step = index,
            .count = mul_size(mul_size(about->shape[0], about->shape[1]),
                              mul_size(about->shape[2], about->shape[3])),
            .offset = model->data_count};
        model->data_count = add_size(model->data_count, tensor->count);
        model->tensor_count++;
    }
}

/* Completes a message of `describe` with the layer's place, unless it already points into the file. */
static convoy_status fail_layer(const cvy_node *where, const char *name, cvy_dims input) {
    const char *message = convoy_error_message();
    if (strncmp(message, where->file, strlen(where->file)) == 0 && message[strlen(where->file)] == ':')
        return CONVOY_INVALID;
    char *copy = strdup(message);
    if (!copy)
        return cvy_fail_memory("an error message", strlen(message));
    convoy_status status =
        cvy_node_fail(where, "layer %s (%s), input %s: %s", name, where->text, cvy_dims_text(input), copy);
    free(copy);
    return status;
}

/* The parameters of a layer without the reserved `name`. */
static const cvy_node *without_name(cvy_arena *arena, const cvy_node *mapping) {
    if (mapping->kind != CVY_MAPPING || !cvy_node_get(mapping, "name"))
        return mapping;
    cvy_node *copy = cvy_arena_alloc(arena, sizeof *copy);
    *copy = *mapping;
    copy->count = 0;
    copy->keys = cvy_arena_alloc(arena, mapping->count * sizeof *copy->keys);
    copy->items = cvy_arena_alloc(arena, mapping->count * sizeof *copy->items);
    for (size_t i = 0; i < mapping->count; i++) {
        if (strcmp(mapping->keys[i]->text, "name") == 0)
            continue;
        copy->keys[copy->count] = mapping->keys[i];
        copy->items[copy->count++] = mapping->items[i];
    }
    return copy;
}

static convoy_status build_layer(convoy_model *model, const cvy_node *key, const cvy_node *value,
                                 const path *path, operand *at) {
    const cvy_layer_type *type = cvy_layer_type_find(key->text);
    void *config = cvy_arena_alloc(model->arena, type->config_size ? type->config_size : 1);
    convoy_status status = cvy_params_read(type->params, config, model->arena, key->text,
                                           without_name(model->arena, value), key);
    if (status)
        return status;
    size_t index = model->step_count;
    cvy_step *step = new_step(model, CVY_STEP_LAYER, path, key, at, 1);
    step->type = type;
    step->config = config;
    status = type->describe(&(cvy_layer_site){type, config, at->dims, model->arena}, &step->facts);
    if (status)
        return status == CONVOY_INVALID ? fail_layer(key, path->name, at->dims) : status;
    at->dims = step->output_dims = step->facts.output;
    if (!step->facts.alias)
        at->value = new_value(model, at->dims);
    step->output = at->value;
    add_tensors(model, step, index);
    return CONVOY_OK;
}

static convoy_status build_list(convoy_model *model, const cvy_node *list, const place *place, operand *at);

/* Where the layers of a construct's member, as "body" or a branch's number, stand. */
static place place_in(convoy_model *model, const path *path, const char *member) {
    return (place){cvy_arena_printf(model->arena, "%s%s.", path->inside, member), path->inside,
                   cvy_arena_printf(model->arena, "%s.%s.", path->older, member)};
}

static convoy_status build_residual(convoy_model *model, const cvy_node *key, const cvy_node *value,
                                    const path *path, operand *at) {
    operand ends[2] = {*at, *at};
    const char *const members[2] = {"body", "shortcut"};
    for (int i = 0; i < 2; i++) {
        const place inside = place_in(model, path, members[i]);
        convoy_status status = build_list(model, cvy_node_get(value, members[i]), &inside, &ends[i]);
        if (status)
            return status;
    }
    if (memcmp(&ends[0].dims, &ends[1].dims, sizeof ends[0].dims) != 0)
        return cvy_node_fail(
            key,
            "layer %s (Residual), input %s: the body ends with %s and the shortcut with %s; both must be "
            "equal to be added",
            path->name, cvy_dims_text(at->dims), cvy_dims_text(ends[0].dims), cvy_dims_text(ends[1].dims));
    cvy_step *step = new_step(model, CVY_STEP_ADD, path, key, ends, 2);
    at->dims = step->output_dims = ends[0].dims;
    at->value = step->output = new_value(model, at->dims);
    return CONVOY_OK;
}

static convoy_status build_concat(convoy_model *model, const cvy_node *key, const cvy_node *value,
                                  const path *path, operand *at) {
    const cvy_node *branches = cvy_node_get(value, "branches");
    operand *ends = cvy_arena_alloc(model->arena, branches->count * sizeof *ends);
    cvy_dims sum = {0, 0, 0};
    for (size_t i = 0; i < branches->count; i++) {
        ends[i] = *at;
        const place inside = place_in(model, path, cvy_arena_printf(model->arena, "%zu", i));
        convoy_status status = build_list(model, branches->items[i], &inside, &ends[i]);
        if (status)
            return status;
        if (i > 0 && (ends[i].dims.height != sum.height || ends[i].dims.width != sum.width))
            return cvy_node_fail(
                key,
                "layer %s (Concat), input %s: branch 0 ends with %s and branch %zu with %s; height and "
                "width must be equal",
                path->name, cvy_dims_text(at->dims), cvy_dims_text(ends[0].dims), i,
                cvy_dims_text(ends[i].dims));
        if (ends[i].dims.channels > (1 << 28) - sum.channels)
            return cvy_node_fail(key, "layer %s (Concat): too many channels", path->name);
        sum = (cvy_dims){sum.channels + ends[i].dims.channels, ends[i].dims.height, ends[i].dims.width};
    }
    cvy_step *step = new_step(model, CVY_STEP_CONCAT, path, key, ends, (int)branches->count);
    at->dims = step->output_dims = sum;
    at->value = step->output = new_value(model, sum);
    return CONVOY_OK;
}

/* Maps times maps of the same size, or times one value for each map. */
static convoy_status build_product(convoy_model *model, const cvy_node *key, const cvy_node *value,
                                   const path *path, operand *at) {
    const cvy_node *branches = cvy_node_get(value, "branches");
    operand ends[2] = {*at, *at};
    for (size_t i = 0; i < 2; i++) {
        const place inside = place_in(model, path, i ? "1" : "0");
        convoy_status status = build_list(model, branches->items[i], &inside, &ends[i]);
        if (status)
            return status;
    }
    const cvy_dims maps = ends[0].dims, gates = ends[1].dims;
    const bool single = gates.height == 1 && gates.width == 1;
    if (maps.channels != gates.channels ||
        (!single && (maps.height != gates.height || maps.width != gates.width)))
        return cvy_node_fail(key,
                             "layer %s (Product), input %s: branch 0 ends with %s and branch 1 with %s; "
                             "branch 1 must be equal, or "
                             "have as many channels and one pixel",
                             path->name, cvy_dims_text(at->dims), cvy_dims_text(maps), cvy_dims_text(gates));
    cvy_step *step = new_step(model, CVY_STEP_PRODUCT, path, key, ends, 2);
    step->facts.backward_needs_x = true;
    at->dims = step->output_dims = maps;
    at->value = step->output = new_value(model, maps);
    return CONVOY_OK;
}

/* What comes behind it goes on with what came to it. */
static convoy_status build_auxiliary(convoy_model *model, const cvy_node *key, const cvy_node *value,
                                     const path *path, const operand *at) {
    const cvy_node *weight = cvy_node_get(value, "weight");
    const size_t first = model->step_count;
    cvy_auxiliary head = {0};
    operand end = *at;
    if (!weight || weight->kind != CVY_SCALAR || !cvy_text_to_double(weight->text, &head.weight) ||
        !(head.weight > 0 && head.weight <= 1000))
        return cvy_node_fail(
            weight ? weight : key,
            "layer %s (Auxiliary): `weight`, what its loss counts for, must be a number above 0 and "
            "at most 1000",
            path->name);
    const place inside = {path->inside, path->inside, cvy_arena_printf(model->arena, "%s.", path->older)};
    convoy_status status = build_list(model, cvy_node_get(value, "layers"), &inside, &end);
    if (status)
        return status;
    if (end.value == at->value)
        return cvy_node_fail(key, "layer %s (Auxiliary): it computes nothing", path->name);
    for (size_t s = first; s < model->step_count; s++)
        model->steps[s].auxiliary = true;
    head.value = end.value;
    model->auxiliaries =
        cvy_grow(model->arena, model->auxiliaries, model->auxiliary_count, sizeof *model->auxiliaries);
    model->auxiliaries[model->auxiliary_count++] = head;
    return CONVOY_OK;
}

/* Before the next layer reckons with it. */
static convoy_status check_size(const convoy_model *model, const cvy_node *key, const char *name,
                                cvy_dims output) {
    if (model->value_elements > cvy_most_values)
        return cvy_node_fail(key,
                             "layer %s (%s): its output %s is too large: with it an image has more than %zu "
                             "values in this model",
                             name, key->text, cvy_dims_text(output), cvy_most_values);
    if (model->data_count > cvy_most_values)
        return cvy_node_fail(key, "layer %s (%s): with it the model has more than %zu parameters", name,
                             key->text, cvy_most_values);
    return CONVOY_OK;
}

/* The layer's own word for its path, or its index. A construct whose name is "" adds nothing to the names of
   its layers: in a block that is called block, its conv1 is block.conv1. Some layers'
   tensors may be the block's own in the same way: block.layer_scale. */
static convoy_status path_of(convoy_model *model, const cvy_node *item, const place *place, size_t index,
                             path *path) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const cvy_node *value = item->items[0];
    const cvy_node *name = value->kind == CVY_MAPPING ? cvy_node_get(value, "name") : NULL;
    const char *type = item->keys[0]->text;
    const cvy_layer_type *layer = cvy_layer_type_find(type);
    const size_t outside = strlen(place->named);
    const bool own = layer && layer->may_be_blocks && outside;
    bool nameless = name && name->kind == CVY_SCALAR && !*name->text && (own || !layer);
    if (name && !nameless &&
        (name->kind != CVY_SCALAR || !*name->text || name->text[strspn(name->text, allowed)] ||
         strlen(name->text) > NAME_LENGTH))
        return cvy_node_fail(name, "a layer's name is made of at most %d letters, digits, `_`, `-` and `.`",
                             NAME_LENGTH);
    const char *word = !name || nameless ? cvy_arena_printf(model->arena, "%zu", index) : name->text;
    path->name =
        cvy_arena_printf(model->arena, "%s%s", name && !nameless ? place->named : place->prefix, word);
    path->older = cvy_arena_printf(model->arena, "%s%s", place->older, word);
    if (nameless && own)
        path->name = path->older = cvy_arena_strndup(model->arena, place->named, outside - 1);
    path->inside = nameless ? place->named : cvy_arena_printf(model->arena, "%s.", path->name);
    return CONVOY_OK;
}

static convoy_status build_list(convoy_model *model, const cvy_node *list, const place *at_place,
                                operand *at) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < list->count && !status; i++) {
        const cvy_node *key = list->items[i]->keys[0], *value = list->items[i]->items[0];
        path path = {0};
        status = path_of(model, list->items[i], at_place, i, &path);
        if (status)
            return status;
        if (strcmp(key->text, "Residual") == 0) {
            status = build_residual(model, key, value, &path, at);
        } else if (strcmp(key->text, "Concat") == 0) {
            status = build_concat(model, key, value, &path, at);
        } else if (strcmp(key->text, "Product") == 0) {
            status = build_product(model, key, value, &path, at);
        } else if (strcmp(key->text, "Auxiliary") == 0) {
            status = build_auxiliary(model, key, value, &path, at);
        } else if (strcmp(key->text, "Sequential") == 0) {
            const place inside = {path.inside, path.inside,
                                  cvy_arena_printf(model->arena, "%s.", path.older)};
            status = build_list(model, cvy_node_get(value, "layers"), &inside, at);
        } else {
            status = build_layer(model, key, value, &path, at);
        }
        if (!status)
            status = check_size(model, key, path.name, at->dims);
    }
    return status;
}

static int compare_steps(const void *a, const void *b) {
    return strcmp((*(cvy_step *const *)a)->name, (*(cvy_step *const *)b)->name);
}

/* Two layers of one path would have tensors of one name. */
static convoy_status refuse_duplicates(const convoy_model *model) {
    convoy_status status = CONVOY_OK;
    const cvy_step **sorted = malloc((model->step_count + 1) * sizeof *sorted);
    if (!sorted)
        return cvy_fail_memory("the layers' names", model->step_count * sizeof *sorted);
    for (size_t i = 0; i < model->step_count; i++)
        sorted[i] = &model->steps[i];
    qsort(sorted, model->step_count, sizeof *sorted, compare_steps);
    for (size_t i = 1; i < model->step_count && !status; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            status = cvy_node_fail(sorted[i]->where, "two layers are called `%s`", sorted[i]->name);
    free(sorted);
    return status;
}

/* Their losses are by the same labels. */
static convoy_status check_auxiliaries(const convoy_model *model, cvy_dims output) {
    for (size_t i = 0; i < model->auxiliary_count; i++) {
        const cvy_dims dims = model->values[model->auxiliaries[i].value];
        if (cvy_dims_count(dims) != cvy_dims_count(output))
            return cvy_node_fail(
                model->layers,
                "an Auxiliary ends with %s and the network with %s; both must have an output for "
                "each class",
                cvy_dims_text(dims), cvy_dims_text(output));
    }
    return CONVOY_OK;
}

convoy_status cvy_model_build(convoy_model *model) {
    operand at = {0, model->input};
    new_value(model, model->input);
    convoy_status status = build_list(model, model->layers, &(place){"", "", ""}, &at);
    if (!status)
        status = refuse_duplicates(model);
    if (!status && at.value == 0)
        status =
            cvy_node_fail(model->layers, "the model computes nothing: all its layers pass their input on");
    if (!status && cvy_dims_count(at.dims) > 1 << 28)
        status = cvy_node_fail(model->layers, "%s outputs are too many", cvy_dims_text(at.dims));
    if (!status)
        status = check_auxiliaries(model, at.dims);
    model->output = at.value;
    model->output_dims = at.dims;
    if (status)
        return status;
    cvy_model_fuse(model);
    return CONVOY_OK;
}
