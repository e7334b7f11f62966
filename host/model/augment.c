/* The recipe's list of transforms: reading it and printing it back. */
#include <math.h>
#include <string.h>

#include "model/graph.h"

static convoy_status fail_unknown(const cvy_node *name) {
    const char *known[32];
    size_t count = 0;
    cvy_text list = {0};
    for (const cvy_transform_type *type = cvy_transform_types; type->name && count < 32; type++) {
        cvy_text_add(&list, "%s%s", count ? ", " : "", type->name);
        known[count++] = type->name;
    }
    const char *nearest = cvy_text_nearest(name->text, known, count);
    if (nearest)
        cvy_node_fail(name, "augment: unknown transform `%s`; did you mean `%s`?", name->text, nearest);
    else
        cvy_node_fail(name, "augment: unknown transform `%s`; known are: %s", name->text,
                      cvy_text_get(&list));
    cvy_text_free(&list);
    return CONVOY_INVALID;
}

/* "RandomHorizontalFlip", or {RandomCrop: {padding: 4}}. */
static convoy_status read_one(convoy_model *model, const cvy_node *node, cvy_transform *out) {
    const cvy_node *name = node->kind == CVY_SCALAR && *node->text ? node : NULL, *parameters = NULL;
    if (node->kind == CVY_MAPPING && node->count == 1) {
        name = node->keys[0];
        parameters = node->items[0];
    }
    if (!name)
        return cvy_node_fail(node, "augment: a transform is one name with its parameters, as "
                                   "{RandomCrop: {padding: 4}}");
    const cvy_transform_type *type = cvy_transform_type_find(name->text);
    if (!type)
        return fail_unknown(name);
    convoy_status status = cvy_params_read(type->params, out, model->arena, type->name, parameters, name);
    if (!status && type->draw_mix && model->recipe.loss != CVY_CROSS_ENTROPY)
        status = cvy_node_fail(name, "augment: %s mixes classes, of which only CrossEntropyLoss learns",
                               type->name);
    const cvy_image_spec image = cvy_model_image(model);
    if (!out->size[0]) {
        out->size[0] = image.height;
        out->size[1] = image.width;
    }
    out->type = type;
    return status;
}

convoy_status cvy_augment_read(convoy_model *model, const cvy_node *node) {
    cvy_transforms *transforms = &model->recipe.augment;
    if (!node)
        return CONVOY_OK;
    if (node->kind != CVY_SEQUENCE)
        return cvy_node_fail(node, "`augment` is a list of transforms, as [RandomHorizontalFlip, "
                                   "{RandomCrop: {padding: 4}}]");
    if (model->input.channels > 4)
        return cvy_node_fail(node, "`augment` is for images of 1 to 4 channels, not %d",
                             model->input.channels);
    convoy_status status = CONVOY_OK;
    transforms->list = cvy_arena_alloc(model->arena, (node->count + 1) * sizeof *transforms->list);
    memset(transforms->list, 0, (node->count + 1) * sizeof *transforms->list);
    for (size_t i = 0; i < node->count && !status; i++)
        status = read_one(model, node->items[i], &transforms->list[transforms->count++]);
    if (status || !node->count)
        return status;
    const cvy_image_spec image = cvy_model_image(model);
    /* Photographs, of which whoever asks for a short side thinks, are at least so large. */
    const int least[2] = {image.short_side ? image.short_side : image.height,
                          image.short_side ? image.short_side : image.width};
    cvy_frame frame = {
        .channels = image.channels, .height = least[0], .width = least[1], .longer = 1, .shrink = 1};
    size_t at;
    if (cvy_transforms_check(transforms, image.height, image.width, &frame, &at))
        status = at < node->count ? cvy_node_fail(node->items[at], "%s: %s", transforms->list[at].type->name,
                                                  convoy_error_message())
                                  : cvy_node_fail(node, "augment: %s", convoy_error_message());
    return status;
}

/* Rows that came later stand only where something is asked of them: resuming compares texts with older ones.
 */
static bool is_silent(const cvy_param *row, const cvy_transform *t) {
    return (row->offset == offsetof(cvy_transform, padding_mode) && t->padding_mode == CVY_PAD_CONSTANT) ||
           (row->offset == offsetof(cvy_transform, hue) && t->hue[0] == 0 && isnan(t->hue[1]));
}

void cvy_augment_print(const cvy_transforms *transforms, cvy_text *text) {
    cvy_text_add(text, "[");
    for (size_t i = 0; i < transforms->count; i++) {
        const cvy_transform *t = &transforms->list[i];
        cvy_text_add(text, "%s{%s: {", i ? ", " : "", t->type->name);
        for (const cvy_param *row = t->type->params; row->name; row++) {
            if (is_silent(row, t))
                continue;
            cvy_text_add(text, "%s%s: ", row == t->type->params ? "" : ", ", row->name);
            cvy_params_print(row, t, text);
        }
        cvy_text_add(text, "}}");
    }
    cvy_text_add(text, "]");
}
