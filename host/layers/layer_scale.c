/* LayerScale: a learnt factor for each channel at the end of a residual branch (Touvron et al., 2021), as in
   torchvision's ConvNeXt, whose blocks have it as a parameter of their own: with `name: ""` it is
   block.layer_scale. */
#include "layers/types.h"
#include "ops/channel_scale.h"

typedef struct config {
    double init;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, init, CVY_FLOAT, .fallback = "1e-6", .minimum = -1e6, .maximum = 1e6,
              .help = "what the factors are to begin with"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const size_t channels = (size_t)at->input.channels, shape[3] = {channels, 1, 1};
    float *values = cvy_arena_alloc(at->arena, channels * sizeof *values);
    for (size_t c = 0; c < channels; c++)
        values[c] = (float)((const config *)at->config)->init;
    facts->output = at->input;
    cvy_layer_add_tensor(facts, "layer_scale", CVY_TRAINABLE, CVY_INIT_VALUES, 3, shape)->values = values;
    facts->multiply_adds = facts->connections = cvy_dims_count(at->input);
    facts->backward_needs_x = true;
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static cvy_product_shape shape_of(const cvy_layer_setup *setup) {
    return (cvy_product_shape){setup->pitch, (size_t)setup->input.channels,
                               (size_t)setup->input.height * (size_t)setup->input.width};
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_product_shape shape = shape_of(setup);
    setup->needs.workspace = setup->training ? cvy_channel_scale_workspace(setup->traits, &shape) : 0;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_product_shape shape = shape_of(setup);
    return cvy_channel_scale_prepare(setup->device, &shape, setup->training, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_channel_scale_run(op, run->x, run->tensors[0], run->y);
}

/* The factors first: gx may be gy. */
static convoy_status backward(void *op, const cvy_layer_run *run) {
    convoy_status status =
        cvy_channel_scale_backward(op, run->gy, run->x, run->gradients[0], run->accumulate, run->workspace);
    return status || !run->gx ? status : cvy_channel_scale_run(op, run->gy, run->tensors[0], run->gx);
}

const cvy_layer_type cvy_layer_layer_scale = {
    .name = "LayerScale",
    .help = "a learnt factor for each channel",
    .may_be_blocks = true,
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_channel_scale),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
