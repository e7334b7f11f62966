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

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->forward_in_place = true;
    facts->backward_needs_y = true;
    return cvy_layer_want_vector("Softmax", at->input);
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    return cvy_softmax_prepare(setup->device, (size_t)setup->input.channels, (size_t)setup->pitch, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_softmax_forward(op, run->x, run->y);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_softmax_backward(op, run->y, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_softmax = {
    .name = "Softmax",
    .help = "exp(x) over its sum",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_softmax),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
