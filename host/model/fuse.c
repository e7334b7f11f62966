/* Fusion: which steps do the work of others. Decided once, from the facts of the layers alone; what comes of
   it stands in the steps (graph.h), and network/ plans by it. */
#include <string.h>

#include "model/graph.h"

static bool is_layer(const cvy_step *step, const char *type) {
    return step && step->kind == CVY_STEP_LAYER && strcmp(step->type->name, type) == 0;
}

/* The step that computes a value; NULL: the network's input. */
static cvy_step *producer_of(convoy_model *model, int value) {
    for (size_t s = 0; s < model->step_count; s++)
        if (cvy_step_runs(&model->steps[s]) && model->steps[s].output == value)
            return &model->steps[s];
    return NULL;
}

/* Aliases and fused activations read too, and so does whoever takes the output. */
static size_t count_readers(const convoy_model *model, int value) {
    size_t readers = cvy_model_gives(model, value);
    for (size_t s = 0; s < model->step_count; s++)
        for (int i = 0; i < model->steps[s].input_count; i++)
            readers += model->steps[s].inputs[i] == value;
    return readers;
}

/* The step that computes the input of `step`, which nobody else reads; NULL: somebody does. */
static cvy_step *only_producer(convoy_model *model, const cvy_step *step) {
    return count_readers(model, step->inputs[0]) == 1 ? producer_of(model, step->inputs[0]) : NULL;
}

/* The only layer that runs and reads a value, be it through aliases; NULL where there is another reader. */
static cvy_step *only_reader(convoy_model *model, int value) {
    cvy_step *reader = NULL;
    for (size_t s = 0; s < model->step_count; s++)
        for (int i = 0; i < model->steps[s].input_count; i++)
            if (cvy_step_runs(&model->steps[s]) && model->steps[s].inputs[i] == value) {
                if (reader)
                    return NULL;
                reader = &model->steps[s];
            }
    return cvy_model_gives(model, value) || !reader || reader->kind != CVY_STEP_LAYER ? NULL : reader;
}

static bool takes(unsigned activations, cvy_activation activation) {
    return activations >> activation & 1;
}

/* A ReLU in front of a MaxPool2d runs behind it, on a quarter of the values. The result is the same bit for
   bit: ReLU keeps the order of what it does not make 0, so the same input wins, and where it makes all of a
   window 0 no gradient passes either way. */
static void pool_before_relu(convoy_model *model, cvy_step *pool) {
    cvy_step *relu = only_producer(model, pool);
    if (!is_layer(pool, "MaxPool2d") || !is_layer(relu, "ReLU") ||
        cvy_dims_count(pool->output_dims) >= cvy_dims_count(relu->output_dims))
        return;
    int input = relu->inputs[0], between = relu->output, output = pool->output;
    cvy_step moved = *relu;
    pool->inputs[0] = input; /* arrays of the listed steps are shared, but only their dims are shown */
    pool->output = between;
    moved.inputs[0] = between;
    moved.output = output;
    moved.input_dims = cvy_arena_alloc(model->arena, sizeof *moved.input_dims);
    moved.input_dims[0] = moved.output_dims = pool->output_dims;
    model->values[between] = pool->output_dims;
    *relu = *pool;
    *pool = moved;
}

/* An activation whose input nobody else reads, not even its own backward (which may be that layer's, too), is
   applied by the layer that computes it, where that can do so: the values pass through memory once less. */
static void fuse_activation(convoy_model *model, cvy_step *step) {
    const cvy_activation activation = step->facts.activation;
    cvy_step *producer = activation ? only_producer(model, step) : NULL;
    if (!producer || !takes(producer->facts.takes_activation, activation) ||
        (step->facts.backward_needs_x && !producer->facts.takes_gradient))
        return;
    producer->activation = activation;
    producer->output = step->inputs[0] = step->output;
    step->fused = true;
    step->backward_elsewhere = producer->facts.takes_gradient;
}

/* The way back through a fused activation is part of the backward pass of the layer that reads its value,
   where that can do so, as it has the value at hand and writes the gradient: one pass over both less. */
static void pass_on_activation(convoy_model *model, cvy_step *step) {
    if (!step->fused || step->backward_elsewhere)
        return;
    cvy_step *reader = only_reader(model, step->output);
    if (!reader || !takes(reader->facts.takes_input_activation, step->facts.activation))
        return;
    reader->input_activation = step->facts.activation;
    reader->facts.backward_needs_x = true;
    step->backward_elsewhere = true;
}

/* In evaluation a batch-norm behind a convolution that nobody else reads is part of the convolution's
   weights. These are computed anew for each batch, which costs next to nothing and is never out of date. */
static void fold_batchnorm(convoy_model *model, cvy_step *norm) {
    cvy_step *convolution = norm->facts.fold && !norm->auxiliary ? only_producer(model, norm) : NULL;
    if (!convolution || !convolution->facts.takes_fold || convolution->activation)
        return;
    cvy_layer_facts *facts = &convolution->facts;
    const size_t *shape = facts->tensors[0].shape, weights = shape[0] * shape[1] * shape[2] * shape[3];
    convolution->fold = norm;
    norm->folded = true;
    facts->saved[0] = (cvy_layer_saved){.bytes = weights * sizeof(float), .inference = true};
    facts->saved[1] = (cvy_layer_saved){.bytes = shape[0] * sizeof(float), .inference = true};
    facts->saved_count = 2;
}

/* A convolution whose output only a small pooling reads may store the pooled map itself. */
static void attach_pooling(convoy_model *model, cvy_step *convolution) {
    const cvy_step *pool = only_reader(model, convolution->output);
    /* A fused activation counts as a reader. */
    const size_t readers = convolution->activation ? 2 : 1;
    if (convolution->facts.takes_pooling && !convolution->fold && pool &&
        pool->facts.pooling.kind != CVY_POOLING_NONE && count_readers(model, convolution->output) == readers)
        convolution->pool = pool;
}

void cvy_model_fuse(convoy_model *model) {
    static void (*const rules[])(convoy_model *, cvy_step *) = {
        pool_before_relu, fuse_activation, pass_on_activation, fold_batchnorm, attach_pooling,
    };
    cvy_step *listed = cvy_arena_alloc(model->arena, model->step_count * sizeof *listed);
    memcpy(listed, model->steps, model->step_count * sizeof *listed);
    model->listed = listed;
    for (size_t r = 0; r < sizeof rules / sizeof *rules && !model->apart; r++)
        for (size_t s = 0; s < model->step_count; s++)
            rules[r](model, &model->steps[s]);
}
