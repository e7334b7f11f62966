/* The recipe of a model file: its keys, the optimizers, and printing both back. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "model/graph.h"

/* The recipe and the keys that need more than a table row. */
typedef struct fields {
    cvy_recipe recipe;
    cvy_node *optimizer, *augment, *resize, *mean, *std, *scheduler, *early_stopping;
} fields;

#define ROW(key, kind, ...)                                                                                  \
    { .name = #key, .type = kind, .offset = offsetof(fields, recipe.key), __VA_ARGS__ }
/* A whole number; 0 may mean "not given". */
#define COUNT(key, default, least, most, text)                                                               \
    ROW(key, CVY_INT, .fallback = default, .minimum = least, .maximum = most, .help = text)
/* Read and printed here. */
#define NODE(key, text) CVY_PARAM(fields, key, CVY_NODE, .fallback = "", .help = text)

const cvy_param cvy_recipe_params[] = {
    ROW(data, CVY_TEXT, .fallback = "",
        .help =
            "a folder, a list of pictures, a known set as fashion-mnist, or synthetic: tools/docs/data.md"),
    ROW(loss, CVY_CHOICE, .fallback = "CrossEntropyLoss", .choices = CVY_LOSS_NAMES,
        .help = "what is minimised"),
    NODE(optimizer, "one name with its parameters, as {SGD: {lr: 0.1}}"),
    COUNT(batch_size, "64", 1, 1 << 20, "images per step"),
    COUNT(micro_batch, "0", 0, 1 << 20,
          "images that are computed at a time, to save memory; their gradients add up to the batch's; "
          "batch-norm sees a micro-batch at a time; 0: the whole batch"),
    COUNT(
        pieces, "0", 0, 4096,
        "parts of a batch that ranks compute, each with gradients and batch-norms of its own: their number, "
        "not that of ranks, decides the bits of a run; 0: 1 alone, else the ranks up to a power of two"),
    ROW(sync_batch_norm, CVY_BOOL, .fallback = "false",
        .help = "batch-norm sees the whole batch, whatever its pieces and ranks, as torch.nn.SyncBatchNorm"),
    COUNT(epochs, "10", 0, 1 << 20, "passes over the training set"),
    ROW(init, CVY_CHOICE, .fallback = "default",
        .choices = "default|xavier_uniform|kaiming_uniform|kaiming_normal|lecun",
        .help = "how weights start; default: PyTorch's"),
    ROW(shuffle, CVY_BOOL, .fallback = "true", .help = "a new order each epoch"),
    NODE(resize, "of images of other sizes: short_side (the default), {short_side: PIXELS}, squash or "
                 "letterbox"),
    ROW(fast_decode, CVY_BOOL, .fallback = "false",
        .help = "JPEG images at a half, quarter or eighth of their size where that is enough: faster, not "
                "the same pixels"),
    ROW(exif_orientation, CVY_BOOL, .fallback = "true", .help = "turn photographs as their EXIF data says"),
    ROW(skip_damaged, CVY_BOOL, .fallback = "false",
        .help = "leave out photographs that cannot be read, and say so"),
    NODE(augment, "of training images: a list of torchvision's transforms, as [{RandomCrop: {padding: 4}}]"),
    COUNT(border, "0", 0, 1 << 12, "zero pixels around the image"),
    NODE(mean, "subtracted from pixels in 0..1; a number or one per channel"),
    NODE(std, "then divided by; a number or one per channel"),
    COUNT(reports_per_epoch, "0", 0, 1 << 20, "running loss and accuracy so many times an epoch"),
    COUNT(eval_every, "0", 0, 1 << 30, "steps between evaluations of the test set; 0: per epoch"),
    ROW(test_fraction, CVY_FLOAT, .fallback = "0.2", .maximum = 1,
        .help = "of a folder without train/ and test/"),
    ROW(test_split, CVY_CHOICE, .fallback = "stratified", .choices = "stratified|per_class",
        .help =
            "how it is rounded: of all images and shared out, as scikit-learn does it, or by each class for "
            "itself, as 0.1 did"),
    ROW(val_fraction, CVY_FLOAT, .fallback = "0", .maximum = 0.999,
        .help = "of the training images, to choose the best weights by; 0: none"),
    NODE(scheduler, "of the learning rate: {StepLR: {step_size: 30}}, ...: tools/docs/recipes.md"),
    ROW(label_smoothing, CVY_FLOAT, .fallback = "0", .maximum = 1,
        .help = "part of the target that all classes share"),
    ROW(class_weights, CVY_NODE, .fallback = "",
        .help = "of each class's losses: balanced, one for each, or {name: weight}"),
    ROW(sampler, CVY_CHOICE, .fallback = "default", .choices = "default|balanced",
        .help = "balanced: all classes equally often, images drawn anew each time"),
    ROW(clip_grad_norm, CVY_FLOAT, .fallback = "0", .maximum = 1e12,
        .help = "largest norm of all gradients; 0: any"),
    ROW(ema, CVY_FLOAT, .fallback = "0", .maximum = 0.999999999,
        .help = "decay of averaged weights, which are evaluated and saved; 0: none"),
    ROW(groups, CVY_NODE, .fallback = "", .help = "[{match: PATTERN, lr: 0.01, weight_decay: 0}, ...]"),
    ROW(freeze, CVY_NODE, .fallback = "", .help = "patterns of parameters that stay as they are"),
    ROW(monitor, CVY_CHOICE, .fallback = "accuracy", .choices = CVY_MONITORS,
        .help = "what the best weights are best in"),
    NODE(early_stopping, "{patience: 5, min_delta: 0}: end after epochs without an improvement"),
    CVY_PARAM_END,
};

/* ---- one name with its parameters ---- */

bool cvy_named(const cvy_node *node, const cvy_node **name, const cvy_node **parameters) {
    *parameters = NULL;
    *name = node->kind == CVY_SCALAR && *node->text ? node : NULL;
    if (node->kind == CVY_MAPPING && node->count == 1) {
        *name = node->keys[0];
        *parameters = node->items[0];
    }
    return *name;
}

convoy_status cvy_named_unknown(const cvy_node *name, const char *what, const char *const *known,
                                size_t count) {
    cvy_text list = {0};
    for (size_t i = 0; i < count; i++)
        cvy_text_add(&list, "%s%s", i ? ", " : "", known[i]);
    const char *nearest = cvy_text_nearest(name->text, known, count);
    if (nearest)
        cvy_node_fail(name, "unknown %s `%s`; did you mean `%s`?", what, name->text, nearest);
    else
        cvy_node_fail(name, "unknown %s `%s`; known are: %s", what, name->text, cvy_text_get(&list));
    cvy_text_free(&list);
    return CONVOY_INVALID;
}

/* ---- optimizers ---- */

size_t cvy_optimizer_keys(const char **names, size_t limit) {
    size_t count = 0;
    for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name; type++)
        for (const cvy_param *row = type->params; row->name && count < limit; row++)
            names[count++] = row->name;
    return count;
}

bool cvy_is_optimizer_key(const char *key) {
    for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name; type++)
        for (const cvy_param *row = type->params; row->name; row++)
            if (strcmp(row->name, key) == 0)
                return true;
    return false;
}

static convoy_status fail_unknown_optimizer(const cvy_node *name) {
    const char *known[16];
    size_t count = 0;
    for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name && count < 16; type++)
        known[count++] = type->name;
    return cvy_named_unknown(name, "optimizer", known, count);
}

/* "SGD", {SGD: {lr: 0.9}}, or NULL: the default. */
static convoy_status read_optimizer(convoy_model *model, const cvy_node *node, const cvy_node *recipe) {
    const cvy_node *place = node ? node : recipe, *name = NULL, *parameters = NULL;
    if (node && !cvy_named(node, &name, &parameters))
        return cvy_node_fail(node, "an optimizer is one name with its parameters, as {SGD: {lr: 0.1}}");
    cvy_optimizer *out = &model->recipe.optimizer;
    *out = (cvy_optimizer){.type = cvy_optimizer_type_find(name ? name->text : CVY_OPTIMIZER_DEFAULT)};
    if (!out->type)
        return fail_unknown_optimizer(name);
    convoy_status status =
        cvy_params_read(out->type->params, out, model->arena, out->type->name, parameters, place);
    if (!status && out->type->check && out->type->check(out))
        status = cvy_node_fail(place, "%s", convoy_error_message());
    return status;
}

/* ---- the recipe ---- */

static const cvy_param early_stopping_params[] = {
    CVY_PARAM(cvy_early_stopping, patience, CVY_INT, .fallback = NULL, .minimum = 1, .maximum = 1 << 20,
              .help = "epochs without an improvement after which training ends"),
    CVY_PARAM(cvy_early_stopping, min_delta, CVY_FLOAT, .fallback = "0", .maximum = 1e6,
              .help = "a smaller improvement is none"),
    CVY_PARAM_END,
};

/* One number for all channels, or one per channel. */
/* The device computes (pixel - mean) / std in float. */
static bool fits(double value, bool positive) {
    return fabs(value) <= FLT_MAX && (!positive || value >= FLT_MIN);
}

static convoy_status read_channels(const cvy_node *node, const char *what, int channels, double fallback,
                                   bool positive, double out[4]) {
    for (int i = 0; i < 4; i++)
        out[i] = fallback;
    if (!node)
        return CONVOY_OK;
    bool list = node->kind == CVY_SEQUENCE;
    if (node->kind == CVY_MAPPING || (list && node->count != (size_t)channels) || channels > 4)
        return cvy_node_fail(node, "`%s` must be a number, or one for each of the %d channels", what,
                             channels);
    for (int i = 0; i < channels; i++) {
        const cvy_node *item = list ? node->items[i] : node;
        bool number = item->kind == CVY_SCALAR && cvy_text_to_double(item->text, &out[i]);
        if (!number || !fits(out[i], positive))
            return cvy_node_fail(item, "`%s` must be a number%s, found `%s`", what,
                                 positive && !(number && out[i] > 0) ? " above 0"
                                 : number                            ? " that a float can hold"
                                                                     : "",
                                 item->kind == CVY_SCALAR ? item->text : "a list");
    }
    return CONVOY_OK;
}

static const cvy_param resize_params[] = {
    {.name = "short_side",
     .type = CVY_INT,
     .offset = offsetof(cvy_recipe, short_side),
     .minimum = 1,
     .maximum = 1 << 14},
    CVY_PARAM_END,
};

/* "squash", or {short_side: 256}. */
static convoy_status read_resize(convoy_model *model, const cvy_node *node) {
    static const cvy_param modes[] = {{.name = "resize",
                                       .type = CVY_CHOICE,
                                       .offset = offsetof(cvy_recipe, resize),
                                       .choices = "short_side|squash|letterbox"},
                                      CVY_PARAM_END};
    cvy_recipe *recipe = &model->recipe;
    const cvy_image_spec image = cvy_model_image(model);
    if (!node)
        return CONVOY_OK;
    if (node->kind != CVY_MAPPING) {
        const cvy_node *key = cvy_node_scalar(model->arena, node->file, "resize");
        return cvy_params_set(modes, recipe, model->arena, "recipe", key, node);
    }
    convoy_status status = cvy_params_read(resize_params, recipe, model->arena, "resize", node, node);
    if (!status && (recipe->short_side < image.height || recipe->short_side < image.width))
        status =
            cvy_node_fail(node->items[0], "resize: a short side of %d is less than the image, %dx%d, has",
                          recipe->short_side, image.height, image.width);
    return status;
}

convoy_status cvy_recipe_read(convoy_model *model, const cvy_node *node) {
    fields f = {0};
    const cvy_node *place = node ? node : model->layers;
    convoy_status status = cvy_params_read(cvy_recipe_params, &f, model->arena, "recipe", node, place);
    if (status)
        return status;
    model->recipe = f.recipe;
    status = read_optimizer(model, f.optimizer, place);
    if (!status)
        status =
            cvy_schedule_read(model->arena, f.scheduler, &model->recipe.optimizer, &model->recipe.schedule);
    if (!status && f.recipe.loss != CVY_CROSS_ENTROPY &&
        (f.recipe.label_smoothing > 0 || f.recipe.class_weights))
        status = cvy_node_fail(place, "recipe: label_smoothing and class_weights are CrossEntropyLoss's");
    if (!status && f.early_stopping)
        status = cvy_params_read(early_stopping_params, &model->recipe.early_stopping, model->arena,
                                 "early_stopping", f.early_stopping, place);
    if (!status)
        status = read_channels(f.mean, "mean", model->input.channels, 0, false, model->recipe.mean);
    if (!status)
        status = read_channels(f.std, "std", model->input.channels, 1, true, model->recipe.std);
    if (!status && (2 * f.recipe.border >= model->input.height || 2 * f.recipe.border >= model->input.width))
        status = cvy_node_fail(place, "recipe: a border of %d leaves nothing of an input of %s",
                               f.recipe.border, cvy_dims_text(model->input));
    if (!status)
        status = read_resize(model, f.resize);
    return status ? status : cvy_augment_read(model, f.augment);
}

/* ---- printing ---- */

static void print_mapping(const cvy_param *params, const void *in, cvy_text *text) {
    cvy_text_add(text, "{");
    for (const cvy_param *row = params; row->name; row++) {
        cvy_text_add(text, "%s%s: ", row == params ? "" : ", ", row->name);
        cvy_params_print(row, in, text);
    }
    cvy_text_add(text, "}");
}

static void print_optimizer(const cvy_optimizer *optimizer, cvy_text *text) {
    cvy_text_add(text, "{%s: ", optimizer->type->name);
    print_mapping(optimizer->type->params, optimizer, text);
    cvy_text_add(text, "}");
}

static void print_channels(const double *values, int channels, cvy_text *text) {
    cvy_text_add(text, "[");
    for (int i = 0; i < channels && i < 4; i++) {
        cvy_text_add(text, "%s", i ? ", " : "");
        cvy_text_add_number(text, values[i]);
    }
    cvy_text_add(text, "]");
}

static void print_resize(const cvy_recipe *recipe, cvy_text *text) {
    if (recipe->short_side)
        cvy_text_add(text, "{short_side: %d}", recipe->short_side);
    else
        cvy_text_add(text, "%s", recipe->resize == CVY_SQUASH ? "squash" : "letterbox");
}

/* Is there nothing to print of this row? */
static bool is_absent(const cvy_param *row, const fields *f, int channels) {
    if (row->offset == offsetof(fields, mean) || row->offset == offsetof(fields, std))
        return channels > 4;
    if (row->offset == offsetof(fields, scheduler))
        return !f->recipe.schedule.type;
    if (row->offset == offsetof(fields, resize))
        return !f->recipe.resize && !f->recipe.short_side;
    if (row->offset == offsetof(fields, augment))
        return !f->recipe.augment.count;
    if (row->offset == offsetof(fields, early_stopping))
        return !f->recipe.early_stopping.patience;
    if (row->offset == offsetof(fields, optimizer))
        return false;
    const void *value = (const char *)f + row->offset;
    return row->type == CVY_TEXT ? !*(const char *const *)value
                                 : row->type == CVY_NODE && !*(cvy_node *const *)value;
}

void cvy_recipe_print(const convoy_model *model, cvy_text *text) {
    const fields f = {.recipe = model->recipe};
    for (const cvy_param *row = cvy_recipe_params; row->name; row++) {
        const bool channels = row->offset == offsetof(fields, mean) || row->offset == offsetof(fields, std);
        if (is_absent(row, &f, model->input.channels))
            continue;
        cvy_text_add(text, "  %s: ", row->name);
        if (row->offset == offsetof(fields, optimizer))
            print_optimizer(&model->recipe.optimizer, text);
        else if (row->offset == offsetof(fields, resize))
            print_resize(&f.recipe, text);
        else if (row->offset == offsetof(fields, augment))
            cvy_augment_print(&f.recipe.augment, text);
        else if (row->offset == offsetof(fields, scheduler))
            cvy_schedule_print(&model->recipe.schedule, text);
        else if (row->offset == offsetof(fields, early_stopping))
            print_mapping(early_stopping_params, &model->recipe.early_stopping, text);
        else if (channels)
            print_channels(row->offset == offsetof(fields, mean) ? f.recipe.mean : f.recipe.std,
                           model->input.channels, text);
        else
            cvy_params_print(row, &f, text);
        cvy_text_add(text, "\n");
    }
}
