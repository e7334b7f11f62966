/* The recipe of a model file: its keys, the optimizers, and printing both back. */
#include <math.h>
#include <string.h>

#include "model/graph.h"

/* The recipe and the keys that need more than a table row. */
typedef struct fields {
    cvy_recipe recipe;
    cvy_node *optimizer, *mean, *std;
} fields;

const cvy_param cvy_recipe_params[] = {
    {"data", CVY_TEXT, offsetof(fields, recipe.data), "", 0, 0, NULL,
     "a path, fashion-mnist, mnist, cifar10 or synthetic"},
    {"loss", CVY_CHOICE, offsetof(fields, recipe.loss), "CrossEntropyLoss", 0, 0, "CrossEntropyLoss|RBFLoss",
     "what is minimised"},
    {"optimizer", CVY_NODE, offsetof(fields, optimizer), "", 0, 0, NULL,
     "{SGD: {lr: 0.1}}, {Adam: {}} or {AdamW: {}}"},
    {"batch_size", CVY_INT, offsetof(fields, recipe.batch_size), "64", 1, 1 << 20, NULL, "images per step"},
    {"micro_batch", CVY_INT, offsetof(fields, recipe.micro_batch), "0", 0, 1 << 20, NULL,
     "images that are computed at a time, to save memory; their gradients add up to the batch's; batch-norm "
     "sees a micro-batch at a time; 0: the whole batch"},
    {"epochs", CVY_INT, offsetof(fields, recipe.epochs), "10", 0, 1 << 20, NULL,
     "passes over the training set"},
    {"init", CVY_CHOICE, offsetof(fields, recipe.init), "default", 0, 0,
     "default|xavier_uniform|kaiming_uniform|kaiming_normal|lecun", "how weights start; default: PyTorch's"},
    {"shuffle", CVY_BOOL, offsetof(fields, recipe.shuffle), "true", 0, 0, NULL, "a new order each epoch"},
    {"border", CVY_INT, offsetof(fields, recipe.border), "0", 0, 1 << 12, NULL,
     "zero pixels around the image"},
    {"mean", CVY_NODE, offsetof(fields, mean), "", 0, 0, NULL,
     "subtracted from pixels in 0..1; a number or one per channel"},
    {"std", CVY_NODE, offsetof(fields, std), "", 0, 0, NULL, "then divided by; a number or one per channel"},
    {"reports_per_epoch", CVY_INT, offsetof(fields, recipe.reports_per_epoch), "0", 0, 1 << 20, NULL,
     "running loss and accuracy so many times an epoch"},
    {"eval_every", CVY_INT, offsetof(fields, recipe.eval_every), "0", 0, 1 << 30, NULL,
     "steps between evaluations of the test set; 0: per epoch"},
    {"test_fraction", CVY_FLOAT, offsetof(fields, recipe.test_fraction), "0.2", 0, 1, NULL,
     "of a folder without train/ and test/"},
    CVY_PARAM_END,
};

/* ---- optimizers ---- */

typedef struct optimizer_fields {
    double lr, momentum, dampening, weight_decay, eps;
    bool nesterov;
    cvy_node *betas;
} optimizer_fields;

#define LR(fallback)                                                                                         \
    { "lr", CVY_FLOAT, offsetof(optimizer_fields, lr), fallback, 0, 1e6, NULL, "learning rate" }
#define WEIGHT_DECAY(fallback)                                                                               \
    {                                                                                                        \
        "weight_decay", CVY_FLOAT, offsetof(optimizer_fields, weight_decay), fallback, 0, 1e6, NULL,         \
            "L2 penalty"                                                                                     \
    }

static const cvy_param sgd_params[] = {
    LR(NULL),
    {"momentum", CVY_FLOAT, offsetof(optimizer_fields, momentum), "0", 0, 1, NULL,
     "of the gradient's running sum"},
    {"dampening", CVY_FLOAT, offsetof(optimizer_fields, dampening), "0", 0, 1, NULL,
     "of the gradient in that sum"},
    {"nesterov", CVY_BOOL, offsetof(optimizer_fields, nesterov), "false", 0, 0, NULL, "Nesterov's momentum"},
    WEIGHT_DECAY("0"),
    CVY_PARAM_END,
};
#define ADAM_PARAMS(decay)                                                                                   \
    LR("0.001"), {"betas", CVY_NODE, offsetof(optimizer_fields, betas),    "", 0,                            \
                  0,       NULL,     "decay of both moments, [0.9, 0.999]"},                                 \
        {"eps", CVY_FLOAT, offsetof(optimizer_fields, eps), "1e-8", 0, 1, NULL, "added to the denominator"}, \
        WEIGHT_DECAY(decay), CVY_PARAM_END
static const cvy_param adam_params[] = {ADAM_PARAMS("0")};
static const cvy_param adamw_params[] = {ADAM_PARAMS("0.01")};

static const struct {
    const char *name;
    cvy_optimizer_kind kind;
    const cvy_param *params;
} optimizers[] = {
    {"SGD", CVY_SGD, sgd_params}, {"Adam", CVY_ADAM, adam_params}, {"AdamW", CVY_ADAMW, adamw_params}};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

size_t cvy_optimizer_keys(const char **names, size_t limit) {
    size_t count = 0;
    for (int i = 0; i < OPTIMIZERS; i++)
        for (const cvy_param *row = optimizers[i].params; row->name && count < limit; row++)
            names[count++] = row->name;
    return count;
}

bool cvy_is_optimizer_key(const char *key) {
    const char *names[32];
    size_t count = cvy_optimizer_keys(names, 32);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], key) == 0)
            return true;
    return false;
}

static convoy_status find_optimizer(const cvy_node *name, int *index) {
    const char *known[OPTIMIZERS];
    for (int i = 0; i < OPTIMIZERS; i++) {
        known[i] = optimizers[i].name;
        if (strcmp(name->text, optimizers[i].name) == 0) {
            *index = i;
            return CONVOY_OK;
        }
    }
    const char *nearest = cvy_text_nearest(name->text, known, OPTIMIZERS);
    if (nearest)
        return cvy_node_fail(name, "unknown optimizer `%s`; did you mean `%s`?", name->text, nearest);
    return cvy_node_fail(name, "unknown optimizer `%s`; known are: SGD, Adam, AdamW", name->text);
}

static convoy_status read_betas(const cvy_node *node, cvy_optimizer *optimizer) {
    double betas[2] = {0.9, 0.999};
    bool good = !node || (node->kind == CVY_SEQUENCE && node->count == 2);
    for (size_t i = 0; node && good && i < 2; i++)
        good = node->items[i]->kind == CVY_SCALAR && cvy_text_to_double(node->items[i]->text, &betas[i]) &&
               betas[i] >= 0 && betas[i] < 1;
    if (!good)
        return cvy_node_fail(node, "`betas` must be two numbers from 0 to below 1, as [0.9, 0.999]");
    optimizer->beta1 = betas[0];
    optimizer->beta2 = betas[1];
    return CONVOY_OK;
}

/* "SGD", {SGD: {lr: 0.9}}, or NULL: Adam. */
static convoy_status read_optimizer(convoy_model *model, const cvy_node *node, const cvy_node *recipe) {
    const cvy_node *place = node ? node : recipe, *parameters = NULL;
    const cvy_node *name = node && node->kind == CVY_SCALAR && *node->text ? node : NULL;
    if (node && node->kind == CVY_MAPPING && node->count == 1) {
        name = node->keys[0];
        parameters = node->items[0];
    }
    if (node && !name)
        return cvy_node_fail(node, "an optimizer is one name with its parameters, as {SGD: {lr: 0.1}}");
    int index = 1;
    convoy_status status = name ? find_optimizer(name, &index) : CONVOY_OK;
    optimizer_fields f = {0};
    cvy_optimizer *out = &model->recipe.optimizer;
    if (!status)
        status = cvy_params_read(optimizers[index].params, &f, model->arena, optimizers[index].name,
                                 parameters, place);
    if (status)
        return status;
    *out = (cvy_optimizer){.kind = optimizers[index].kind,
                           .lr = f.lr,
                           .weight_decay = f.weight_decay,
                           .momentum = f.momentum,
                           .dampening = f.dampening,
                           .nesterov = f.nesterov,
                           .eps = f.eps};
    model->optimizer_name = optimizers[index].name;
    if (f.nesterov && (f.momentum == 0 || f.dampening != 0))
        return cvy_node_fail(place, "SGD: `nesterov` needs a momentum above 0 and no dampening");
    return out->kind == CVY_SGD ? CONVOY_OK : read_betas(f.betas, out);
}

/* ---- the recipe ---- */

/* One number for all channels, or one per channel. */
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
        if (item->kind != CVY_SCALAR || !cvy_text_to_double(item->text, &out[i]) || (positive && out[i] <= 0))
            return cvy_node_fail(item, "`%s` must be a number%s, found `%s`", what,
                                 positive ? " above 0" : "",
                                 item->kind == CVY_SCALAR ? item->text : "a list");
    }
    return CONVOY_OK;
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
        status = read_channels(f.mean, "mean", model->input.channels, 0, false, model->recipe.mean);
    if (!status)
        status = read_channels(f.std, "std", model->input.channels, 1, true, model->recipe.std);
    if (!status && (2 * f.recipe.border >= model->input.height || 2 * f.recipe.border >= model->input.width))
        status = cvy_node_fail(place, "recipe: a border of %d leaves nothing of an input of %s",
                               f.recipe.border, cvy_dims_text(model->input));
    return status;
}

/* ---- printing ---- */

static void print_optimizer(const convoy_model *model, cvy_text *text) {
    const cvy_optimizer *o = &model->recipe.optimizer;
    const optimizer_fields f = {o->lr, o->momentum, o->dampening, o->weight_decay, o->eps, o->nesterov, NULL};
    cvy_text_add(text, "{%s: {", model->optimizer_name);
    const cvy_param *params = optimizers[o->kind].params;
    for (const cvy_param *row = params; row->name; row++) {
        cvy_text_add(text, "%s%s: ", row == params ? "" : ", ", row->name);
        if (row->type != CVY_NODE) {
            cvy_params_print(row, &f, text);
            continue;
        }
        cvy_text_add(text, "[");
        cvy_text_add_number(text, o->beta1);
        cvy_text_add(text, ", ");
        cvy_text_add_number(text, o->beta2);
        cvy_text_add(text, "]");
    }
    cvy_text_add(text, "}}");
}

static void print_channels(const double *values, int channels, cvy_text *text) {
    cvy_text_add(text, "[");
    for (int i = 0; i < channels && i < 4; i++) {
        cvy_text_add(text, "%s", i ? ", " : "");
        cvy_text_add_number(text, values[i]);
    }
    cvy_text_add(text, "]");
}

void cvy_recipe_print(const convoy_model *model, cvy_text *text) {
    const fields f = {.recipe = model->recipe};
    for (const cvy_param *row = cvy_recipe_params; row->name; row++) {
        bool channels = row->offset == offsetof(fields, mean) || row->offset == offsetof(fields, std);
        if ((row->offset == offsetof(fields, recipe.data) && !f.recipe.data) ||
            (channels && model->input.channels > 4))
            continue;
        cvy_text_add(text, "  %s: ", row->name);
        if (row->offset == offsetof(fields, optimizer))
            print_optimizer(model, text);
        else if (channels)
            print_channels(row->offset == offsetof(fields, mean) ? f.recipe.mean : f.recipe.std,
                           model->input.channels, text);
        else
            cvy_params_print(row, &f, text);
        cvy_text_add(text, "\n");
    }
}
