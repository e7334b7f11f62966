/* Softmax: torch.nn.Softmax over the values of a vector. For training, CrossEntropyLoss has its own. */
#include "layers/types.h"
#include "ops/loss.h"

typedef struct config {
    int dim;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, dim, CVY_INT, .fallback = "1", .minimum = 1, .maximum = 1,
              .help = "1: over the values of each image"),
    CVY_PARAM_END,
};

static convoy_status describe(const void *config, const cvy_node *node, cvy_dims input, cvy_arena *arena,
                              cvy_layer_facts *facts) {
    (void)config, (void)node, (void)arena;
    facts->output = input;
    facts->forward_in_place = true;
    facts->backward_needs_y = true;
    return cvy_layer_want_vector("Softmax", input);
}

static convoy_status forward(void *state, const cvy_layer_run *run) {
    (void)state;
    return cvy_softmax_forward(run->device, (size_t)run->input.channels, (size_t)run->pitch, run->x, run->y);
}

static convoy_status backward(void *state, const cvy_layer_run *run) {
    (void)state;
    if (!run->gx)
        return CONVOY_OK;
    return cvy_softmax_backward(run->device, (size_t)run->input.channels, (size_t)run->pitch, run->y, run->gy,
                                run->gx);
}

const cvy_layer_type cvy_layer_softmax = {
    .name = "Softmax",
    .help = "exp(x) over its sum",
    .params = params,
    .config_size = sizeof(config),
    .describe = describe,
    .forward = forward,
    .backward = backward,
};
