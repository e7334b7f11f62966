/* LocalResponseNorm: torch.nn.LocalResponseNorm, as in the AlexNet of 2012. */
#include "layers/types.h"
#include "ops/lrn.h"

typedef struct config {
    int size;
    double alpha, beta, k;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, size, CVY_INT, .minimum = 1, .maximum = 1 << 20, .help = "channels of a window"),
    CVY_PARAM(config, alpha, CVY_FLOAT, .fallback = "1e-4", .maximum = 1e6,
              .help = "weight of the mean square"),
    CVY_PARAM(config, beta, CVY_FLOAT, .fallback = "0.75", .maximum = 1e3, .help = "exponent"),
    CVY_PARAM(config, k, CVY_FLOAT, .fallback = "1", .minimum = 1e-6, .maximum = 1e6, .help = "added to it"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->saved[facts->saved_count++].column_bytes =
        cvy_dims_count(at->input) * sizeof(float); /* the bases */
    facts->backward_needs_x = true;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const config *c = setup->config;
    const cvy_lrn_shape shape = {.pitch = setup->pitch,
                                 .channels = (size_t)setup->input.channels,
                                 .pixels = (size_t)setup->input.height * (size_t)setup->input.width,
                                 .size = c->size,
                                 .alpha = (float)c->alpha,
                                 .beta = (float)c->beta,
                                 .k = (float)c->k};
    return cvy_lrn_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_lrn_forward(op, run->x, run->y, run->saved[0]);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_lrn_backward(op, run->x, run->saved[0], run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_local_response_norm = {
    .name = "LocalResponseNorm",
    .help = "each value over a power of its neighbours' mean square, across channels",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_lrn),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
