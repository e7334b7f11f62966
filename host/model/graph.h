/* The inside of a model: the steps that run, the values between them, and the tensors that they own. Only
   host/model and host/network read it; train/ and cli/ see model.h and network.h. */
#ifndef CVY_MODEL_GRAPH_H
#define CVY_MODEL_GRAPH_H

#include "base/arena.h"
#include "layers/layer.h"
#include "model/model.h"

typedef enum cvy_step_kind {
    CVY_STEP_LAYER,
    CVY_STEP_ADD,    /* end of a Residual: body + shortcut */
    CVY_STEP_CONCAT, /* end of a Concat: the branches' channels one after the other */
    CVY_STEP_PRODUCT /* end of a Product: maps times the gates of the second branch */
} cvy_step_kind;

/* Steps stand in the order in which they run. A value is what a step computes; value 0 is the network's
   input. The output of an alias (Flatten) is its input's value with other dims. */
typedef struct cvy_step {
    cvy_step_kind kind;
    const char *name;  /* path in the state dict: "0", "4.body.1", "features.3" */
    const char *older; /* what files of older versions call it: "layer1.body.conv1" for "layer1.conv1" */
    const char *type_name;
    const cvy_node *where;
    const cvy_layer_type *type; /* CVY_STEP_LAYER only, as the next two */
    void *config;
    cvy_layer_facts facts;
    int *inputs; /* values */
    cvy_dims *input_dims;
    int input_count;
    int output; /* value */
    cvy_dims output_dims;
    size_t first_tensor; /* of facts.tensor_count in the model's tensors */
    /* What fuse.c decides: the work of other steps that this one does, and that others do of its own. */
    cvy_activation activation;       /* of a fused step, applied to the output */
    cvy_activation input_activation; /* of a fused step, through which backward takes gx */
    const struct cvy_step *fold;     /* a batch-norm whose work a convolution does in evaluation, or NULL */
    const struct cvy_step *pool;     /* a pooling whose work a convolution does if its variant can, or NULL */
    bool fused;  /* an activation that another step applies: its input and its output are one value */
    bool folded; /* a batch-norm that is part of a convolution in evaluation: it runs in training only */
    bool backward_elsewhere; /* of a fused one: its backward is part of another layer's */
    /* What groups.c decides. */
    bool frozen;    /* the recipe's `freeze` has all of its parameters: a batch-norm keeps its statistics */
    bool learns;    /* a parameter of it does */
    bool reached;   /* that, or something in front of it learns: gradients come here */
    bool auxiliary; /* part of a head that is there for training only */
} cvy_step;

/* Does forward of the step do anything? */
static inline bool cvy_step_runs(const cvy_step *step) {
    return !step->facts.alias && !step->fused;
}

typedef struct cvy_model_tensor {
    const char *name;  /* "4.body.1.weight" */
    const char *older; /* what files of older versions call it; NULL: the same */
    const cvy_layer_tensor *about;
    size_t step;
    size_t count, offset; /* floats, in the model's values */
    int group;            /* of the recipe's `groups`, from 1; 0: of none */
    bool frozen;
} cvy_model_tensor;

/* What an Auxiliary ends with: its loss, by the same labels, is added to the network's own, so many times. */
typedef struct cvy_auxiliary {
    int value;
    double weight;
} cvy_auxiliary;

/* The top level of a model file. */
typedef struct cvy_model_file {
    const char *name, *extends; /* the second is empty when the file is read: cvy_model_extend */
    cvy_node *input, *parameters, *blocks, *layers, *recipe;
    bool classes_set; /* by a setting */
} cvy_model_file;

struct convoy_model {
    cvy_arena *arena;
    const char *path, *name;
    cvy_dims input;
    cvy_model_file file;
    bool apart;       /* nothing is fused, and no auxiliary head is trained */
    cvy_node *layers; /* expanded: no blocks, no $names */
    cvy_recipe recipe;

    cvy_step *steps;        /* in running order */
    const cvy_step *listed; /* the same as the file has them, for summaries */
    size_t step_count;
    cvy_dims *values; /* size of each value */
    int value_count;
    size_t value_elements; /* of all of them */
    int output;            /* value */
    cvy_dims output_dims;
    cvy_auxiliary *auxiliaries;
    size_t auxiliary_count;

    cvy_model_tensor *tensors;
    size_t tensor_count;
    convoy_layer_info *layer_infos; /* [step_count], what the public calls hand out */
    convoy_tensor *tensor_infos;    /* [tensor_count] */
    float *data;                    /* all tensors, one after the other */
    size_t data_count;
    const char **class_numbers; /* [outputs]: what they are called while nobody knows better */
    cvy_classes classes;        /* of the outputs, in the arena */
    int64_t *batches_tracked;   /* [step_count]: num_batches_tracked of batch-norm layers */
    cvy_optimizer *groups;      /* [group_count]; the first is the recipe's own, for what is in no other */
    size_t group_count;
};

static inline size_t cvy_step_index(const convoy_model *model, const cvy_step *step) {
    return (size_t)(step - model->steps);
}

/* Does somebody outside take the value: the network's output, or that of an auxiliary head? */
static inline bool cvy_model_gives(const convoy_model *model, int value) {
    bool gives = value == model->output;
    for (size_t i = 0; i < model->auxiliary_count; i++)
        gives = gives || value == model->auxiliaries[i].value;
    return gives;
}

/* Is the step part of such a network of the model? */
static inline bool cvy_step_planned(const convoy_model *model, const cvy_step *step, bool training) {
    return !step->auxiliary || (training && !model->apart);
}

/* Room for element `count` of an array that lives in an arena and doubles when the count reaches a power of
   two: returns the array. */
void *cvy_grow(cvy_arena *arena, void *array, size_t count, size_t element);

/* ---- extends.c: files that extend others ---- */

/* Puts what the file at `path` extends, and all that that extends, under its own keys. */
convoy_status cvy_model_extend(cvy_arena *arena, const char *path, cvy_node **root);

/* ---- expand.c: settings, blocks and $names ---- */

/* Reads the top level, applies settings and options, and replaces $names in `input` and `recipe`, which
   afterwards need nothing else of the file. */
convoy_status cvy_model_file_read(cvy_arena *arena, const cvy_node *root, const convoy_model_options *options,
                                  cvy_model_file *file);
/* Replaces blocks and $names in `layers`, $classes by `classes` (0: the file's, or a setting's): a list of
   one-key mappings {Type: {...}}; constructs are {Residual: {body, shortcut}}, {Concat: {branches}},
   {Product: {branches}}, {Sequential: {layers}} and {Auxiliary: {weight, layers}}. */
convoy_status cvy_model_file_expand(cvy_arena *arena, cvy_model_file *file, int classes);

/* A copy of a mapping (NULL: empty) in which `key` has `value`. */
cvy_node *cvy_mapping_with(cvy_arena *arena, const cvy_node *mapping, const cvy_node *key, cvy_node *value);

/* ---- recipe.c ---- */

/* `Name` or {Name: {parameters}} (then NULL); false: neither. */
bool cvy_named(const cvy_node *node, const cvy_node **name, const cvy_node **parameters);
/* `what` is "optimizer" or the like. */
convoy_status cvy_named_unknown(const cvy_node *name, const char *what, const char *const *known,
                                size_t count);

/* Is `key` a parameter of some optimizer ("lr", "betas")? */
bool cvy_is_optimizer_key(const char *key);
/* Adds the names of all optimizers' parameters. */
size_t cvy_optimizer_keys(const char **names, size_t limit);
/* Fills model->recipe; `node` may be NULL. */
convoy_status cvy_recipe_read(convoy_model *model, const cvy_node *node);
/* augment.c: the list of transforms; `node` may be NULL. The recipe's border is read. */
convoy_status cvy_augment_read(convoy_model *model, const cvy_node *node);
void cvy_augment_print(const cvy_transforms *transforms, cvy_text *text);
void cvy_recipe_print(const convoy_model *model, cvy_text *text);

/* ---- build.c: layers -> steps, values, tensors ---- */
convoy_status cvy_model_build(convoy_model *model);

/* ---- groups.c: which parameters learn, and how ---- */
convoy_status cvy_model_assign_groups(convoy_model *model);

/* ---- fuse.c: which steps do the work of others; none where the layers are kept apart ---- */
void cvy_model_fuse(convoy_model *model);

#endif
