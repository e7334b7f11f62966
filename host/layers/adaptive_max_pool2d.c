/* AdaptiveMaxPool2d: torch.nn's. */
#include "layers/types.h"
#include "ops/adaptive_max.h"

typedef struct config {
    int output_size[2];
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, output_size, CVY_PAIR, .minimum = 1, .maximum = 1 << 15,
              .help = "height and width of the output"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    facts->output = (cvy_dims){at->input.channels, c->output_size[0], c->output_size[1]};
    facts->saved[facts->saved_count++].column_bytes =
        mul_size(cvy_dims_count(facts->output), sizeof(int32_t));
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_adaptive_max_shape shape = {setup->pitch,       setup->input.channels, setup->input.height,
                                          setup->input.width, setup->output.height,  setup->output.width};
    return cvy_adaptive_max_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_adaptive_max_forward(op, run->x, run->y, run->saved[0]);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_adaptive_max_backward(op, run->gy, run->saved[0], run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_adaptive_max_pool2d = {
    .name = "AdaptiveMaxPool2d",
    .help = "largest value of each of a grid of output_size windows",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_adaptive_max),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
