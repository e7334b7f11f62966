/* Softmax: torch.nn.Softmax over the values of a vector. For training, CrossEntropyLoss has its own. */
#include "layers/types.h"
#include "ops/loss.h"

typedef struct config {
    int dim;
} config;

typedef struct state {
    cvy_softmax op;
} state;

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

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    return cvy_softmax_prepare(setup->device, (size_t)setup->input.channels, (size_t)setup->pitch,
                               &((state *)s)->op);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    return cvy_softmax_forward(&((state *)s)->op, run->x, run->y);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    return run->gx ? cvy_softmax_backward(&((state *)s)->op, run->y, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_softmax = {
    .name = "Softmax",
    .help = "exp(x) over its sum",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
