/* The public face of a model: load, ask, free; and printing it as a file. */
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/machine.h"
#include "model/graph.h"

static convoy_status read_input(convoy_model *model, const cvy_node *node) {
    int *const sizes[3] = {&model->input.channels, &model->input.height, &model->input.width};
    bool good = node->kind == CVY_SEQUENCE && node->count == 3;
    for (size_t i = 0; good && i < 3; i++) {
        long long size;
        good = node->items[i]->kind == CVY_SCALAR && cvy_text_to_long(node->items[i]->text, &size) &&
               size > 0 && size <= 1 << 15;
        if (good)
            *sizes[i] = (int)size;
    }
    return good ? CONVOY_OK
                : cvy_node_fail(node,
                                "`input` must be [channels, height, width], three whole numbers from 1 to %d",
                                1 << 15);
}

/* "models/lenet.yaml" -> "lenet" */
static const char *name_of(cvy_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return cvy_arena_strndup(arena, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

/* A name stands in summaries, on screens, in JSON and in the name of the run's folder. */
static const char *visible(cvy_arena *arena, const char *name) {
    cvy_text text = {0};
    cvy_text_add_visible(&text, name, false);
    const char *kept = cvy_arena_strdup(arena, cvy_text_get(&text));
    cvy_text_free(&text);
    return kept;
}

static convoy_status allocate(convoy_model *model) {
    model->data = cvy_machine_allocate(model->data_count, sizeof *model->data);
    model->batches_tracked = calloc(model->step_count, sizeof *model->batches_tracked);
    if (!model->data || !model->batches_tracked)
        return cvy_fail_memory("the model's parameters", model->data_count * sizeof *model->data);
    return CONVOY_OK;
}

/* `text`: of the file, NULL: it is read. */
static convoy_status read_model(const char *path, const char *text, const convoy_model_options *options,
                                convoy_model **out) {
    *out = NULL;
    cvy_node *root;
    convoy_model *model = calloc(1, sizeof *model);
    if (!model)
        return cvy_fail_memory("a model", sizeof *model);
    convoy_status status = CONVOY_OK;
    cvy_object_open(model);
    model->arena = cvy_arena_create();
    if (!model->arena)
        status = cvy_fail_memory("a model", sizeof *model);
    if (!status)
        status = text ? cvy_node_parse(model->arena, path, text, strlen(text), &root)
                      : cvy_node_load(model->arena, path, &root);
    if (!status)
        status = cvy_model_extend(model->arena, path, &root);
    if (!status)
        status = cvy_model_file_read(model->arena, root, options, &model->file);
    if (!status)
        status = read_input(model, model->file.input);
    if (status)
        goto done;
    model->path = cvy_arena_strdup(model->arena, path);
    model->name = visible(model->arena, model->file.name ? model->file.name : name_of(model->arena, path));
    model->layers = model->file.layers;
    status = cvy_recipe_read(model, model->file.recipe);
done:
    if (status)
        convoy_model_free(model);
    else
        *out = model;
    return status;
}

convoy_status cvy_model_read(const char *path, const convoy_model_options *options, convoy_model **out) {
    return read_model(path, NULL, options, out);
}

convoy_status cvy_model_read_text(const char *path, const char *text, convoy_model **out) {
    const convoy_model_options options = {0};
    return read_model(path, text, &options, out);
}

static void describe_layer(const convoy_model *model, const cvy_step *step, convoy_layer_info *info) {
    *info = (convoy_layer_info){
        .size = sizeof *info,
        .name = step->name,
        .type = step->type_name,
        .output = {step->output_dims.channels, step->output_dims.height, step->output_dims.width},
        .multiply_adds = step->facts.multiply_adds,
        .connections = step->facts.connections};
    for (int i = 0; i < step->facts.tensor_count; i++) {
        const cvy_model_tensor *tensor = &model->tensors[step->first_tensor + (size_t)i];
        if (tensor->about->role != CVY_STATISTIC)
            info->parameters += tensor->count;
    }
    info->parameters -= step->facts.absent;
}

/* What the public calls hand out. */
static void describe(convoy_model *model) {
    model->layer_infos = cvy_arena_alloc(model->arena, (model->step_count + 1) * sizeof *model->layer_infos);
    for (size_t i = 0; i < model->step_count; i++)
        describe_layer(model, &model->listed[i], &model->layer_infos[i]);
    model->tensor_infos =
        cvy_arena_alloc(model->arena, (model->tensor_count + 1) * sizeof *model->tensor_infos);
    for (size_t i = 0; i < model->tensor_count; i++) {
        const cvy_model_tensor *tensor = &model->tensors[i];
        convoy_tensor *info = &model->tensor_infos[i];
        *info = (convoy_tensor){.size = sizeof *info,
                                .name = tensor->name,
                                .dimensions = tensor->about->dimensions,
                                .values = model->data + tensor->offset,
                                .trainable = tensor->about->role == CVY_TRAINABLE && !tensor->frozen};
        memcpy(info->shape, tensor->about->shape, sizeof info->shape);
    }
    const int classes = convoy_model_classes(model);
    model->class_numbers =
        cvy_arena_alloc(model->arena, ((size_t)classes + 1) * sizeof *model->class_numbers);
    for (int c = 0; c < classes; c++)
        model->class_numbers[c] = cvy_arena_printf(model->arena, "%d", c);
}

convoy_status cvy_model_complete(convoy_model *model, int classes) {
    convoy_status status = cvy_model_file_expand(model->arena, &model->file, classes);
    model->layers = model->file.layers;
    if (!status)
        status = cvy_model_build(model);
    if (!status)
        status = cvy_model_assign_groups(model);
    if (!status)
        status = allocate(model);
    if (status)
        return status;
    describe(model);
    return convoy_model_initialise(model, 0);
}

void cvy_model_keep_apart(convoy_model *model) {
    model->apart = true;
}

convoy_status convoy_model_load(const char *path, const convoy_model_options *options, convoy_model **model) {
    convoy_model_options given;
    convoy_status status = CVY_GIVEN_POINTER(model);
    if (status)
        return status;
    *model = NULL;
    status = CVY_GIVEN_POINTER(path);
    if (!status)
        status = cvy_take_struct(__func__, "options", options, &given, sizeof given);
    if (!status && given.setting_count)
        status = cvy_given_pointer(__func__, "options.settings", given.settings);
    for (size_t i = 0; i < given.setting_count && !status; i++)
        status = cvy_given_pointer(__func__, "a setting", given.settings[i]);
    if (status)
        return status;
    status = cvy_model_read(path, &given, model);
    if (!status)
        status = cvy_model_complete(*model, 0);
    if (status) {
        convoy_model_free(*model);
        *model = NULL;
    }
    return status;
}

void convoy_model_free(convoy_model *model) {
    if (!model || !cvy_object_close(__func__, "model", model))
        return;
    cvy_arena_free(model->arena);
    free(model->data);
    free(model->batches_tracked);
    free(model);
}

const char *convoy_model_name(const convoy_model *model) {
    return CVY_GIVEN(model) ? "" : model->name;
}

/* A shape that the caller wants: zeros where it cannot be. */
static bool give_shape(const char *function, const convoy_model *model, int shape[3]) {
    if (cvy_given_pointer(function, "shape", shape))
        return false;
    shape[0] = shape[1] = shape[2] = 0;
    return !cvy_given_object(function, "model", model);
}

void convoy_model_input(const convoy_model *model, int shape[3]) {
    if (!give_shape(__func__, model, shape))
        return;
    shape[0] = model->input.channels;
    shape[1] = model->input.height;
    shape[2] = model->input.width;
}

cvy_image_spec cvy_model_image(const convoy_model *model) {
    const cvy_recipe *recipe = &model->recipe;
    cvy_image_spec image = {.channels = model->input.channels,
                            .height = model->input.height - 2 * recipe->border,
                            .width = model->input.width - 2 * recipe->border,
                            .border = recipe->border,
                            .resize = (cvy_resize_mode)recipe->resize,
                            .short_side = recipe->short_side};
    for (int c = 0; c < 4; c++) {
        image.mean[c] = (float)recipe->mean[c];
        image.std[c] = (float)recipe->std[c];
    }
    return image;
}

void convoy_model_image(const convoy_model *model, int shape[3]) {
    if (!give_shape(__func__, model, shape))
        return;
    const cvy_image_spec image = cvy_model_image(model);
    shape[0] = image.channels;
    shape[1] = image.height;
    shape[2] = image.width;
}

int convoy_model_classes(const convoy_model *model) {
    return CVY_GIVEN(model) ? 0 : (int)cvy_dims_count(model->output_dims);
}

const char *convoy_model_class_name(const convoy_model *model, int index) {
    if (CVY_GIVEN(model) || index < 0 || index >= convoy_model_classes(model))
        return "";
    if (model->classes.names && index < model->classes.count)
        return model->classes.names[index];
    return model->class_numbers[index];
}

size_t convoy_model_layer_count(const convoy_model *model) {
    return CVY_GIVEN(model) ? 0 : model->step_count;
}

const convoy_layer_info *convoy_model_layer(const convoy_model *model, size_t index) {
    return CVY_GIVEN(model) || index >= model->step_count ? NULL : &model->layer_infos[index];
}

size_t convoy_model_tensor_count(const convoy_model *model) {
    return CVY_GIVEN(model) ? 0 : model->tensor_count;
}

const convoy_tensor *convoy_model_tensor(const convoy_model *model, size_t index) {
    return CVY_GIVEN(model) || index >= model->tensor_count ? NULL : &model->tensor_infos[index];
}

bool cvy_model_layer_is_auxiliary(const convoy_model *model, size_t index) {
    return model->listed[index].auxiliary;
}

const cvy_recipe *cvy_model_recipe(const convoy_model *model) {
    return &model->recipe;
}

void cvy_model_set_pieces(convoy_model *model, int pieces) {
    model->recipe.pieces = pieces;
}

bool cvy_model_takes_statistics(const convoy_model *model) {
    bool takes = false;
    for (size_t s = 0; s < model->step_count; s++)
        takes |= model->steps[s].kind == CVY_STEP_LAYER && model->steps[s].facts.pooled_values > 0 &&
                 !model->steps[s].frozen;
    return takes;
}

const char *cvy_model_lonely_norm(const convoy_model *model) {
    for (size_t s = 0; s < model->step_count; s++)
        if (model->steps[s].kind == CVY_STEP_LAYER && model->steps[s].facts.pooled_values == 1 &&
            !model->steps[s].frozen)
            return model->steps[s].name;
    return NULL;
}

/* One layer per line; members of constructs stay in flow style behind their layer. */
char *cvy_model_print(const convoy_model *model) {
    cvy_text text = {0};
    cvy_text_add(&text, "name: ");
    cvy_node_print_text(model->name, &text);
    cvy_text_add(&text, "\ninput: [%d, %d, %d]\nlayers:\n", model->input.channels, model->input.height,
                 model->input.width);
    for (size_t i = 0; i < model->layers->count; i++) {
        const cvy_node *layer = model->layers->items[i];
        cvy_text_add(&text, "  - ");
        cvy_node_print_text(layer->keys[0]->text, &text);
        cvy_text_add(&text, ": ");
        const cvy_node *value = layer->items[0];
        if (value->kind == CVY_SCALAR && !*value->text)
            cvy_text_add(&text, "{}");
        else
            cvy_node_print(value, &text);
        cvy_text_add(&text, "\n");
    }
    cvy_text_add(&text, "recipe:\n");
    cvy_recipe_print(model, &text);
    return text.data;
}
