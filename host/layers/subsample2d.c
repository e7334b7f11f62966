/* Subsample2d: LeNet-5's S2 and S4, the sum of each window times a trainable coefficient plus a trainable
   bias per map (LeCun et al., 1998). The squashing function is a layer of its own. */
#include "layers/types.h"
#include "ops/lenet5.h"

typedef struct config {
    int kernel_size;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, kernel_size, CVY_INT, .fallback = "2", .minimum = 1, .maximum = 1 << 15,
              .help = "side of the window, and its step"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    int k = ((const config *)at->config)->kernel_size;
    if (at->input.height < k || at->input.width < k)
        return cvy_fail(CONVOY_INVALID, "kernel_size %d is larger than the input's %dx%d", k,
                        at->input.height, at->input.width);
    facts->output = (cvy_dims){at->input.channels, at->input.height / k, at->input.width / k};
    size_t channels = (size_t)at->input.channels, window = (size_t)k * (size_t)k;
    cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_WEIGHT, 1, &channels);
    cvy_layer_add_tensor(facts, "bias", CVY_TRAINABLE, CVY_INIT_BIAS, 1, &channels);
    for (int i = 0; i < 2; i++)
        facts->tensors[i].fan_in = facts->tensors[i].fan_out = window;
    facts->multiply_adds = mul_size(cvy_dims_count(facts->output), window);
    facts->connections = mul_size(cvy_dims_count(facts->output), window + 1);
    facts->backward_needs_x = true;
    return CONVOY_OK;
}

static cvy_subsample_shape shape_of(const cvy_layer_setup *setup) {
    return (cvy_subsample_shape){setup->pitch, setup->input.channels, setup->input.height, setup->input.width,
                                 ((const config *)setup->config)->kernel_size};
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_subsample_shape shape = shape_of(setup);
    setup->needs.workspace = setup->training ? cvy_subsample_workspace(setup->traits, &shape) : 0;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_subsample_shape shape = shape_of(setup);
    return cvy_subsample_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_subsample_forward(op, run->x, run->tensors[0], run->tensors[1], run->y);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return cvy_subsample_backward(op, run->x, run->gy, run->tensors[0], run->gx, run->gradients[0],
                                  run->gradients[1], run->accumulate, run->workspace);
}

const cvy_layer_type cvy_layer_subsample2d = {
    .name = "Subsample2d",
    .help = "LeNet-5's trainable subsampling",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_subsample),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
