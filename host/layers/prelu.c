/* PReLU: torch.nn's, with one slope (num_parameters 1) or one for each channel. */
#include "ops/prelu.h"
#include "layers/types.h"

typedef struct config {
    int num_parameters;
    double init;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, num_parameters, CVY_INT, .fallback = "1", .minimum = 1, .maximum = 1 << 20,
              .help = "slopes: 1 for all, or as many as the input has channels"),
    CVY_PARAM(config, init, CVY_FLOAT, .fallback = "0.25", .minimum = -1e6, .maximum = 1e6,
              .help = "what the slopes are to begin with"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    const size_t count = (size_t)c->num_parameters;
    if (c->num_parameters != 1 && c->num_parameters != at->input.channels)
        return cvy_fail(CONVOY_INVALID,
                        "num_parameters is %d but the input has %d channels; use 1 or as many as those",
                        c->num_parameters, at->input.channels);
    float *values = cvy_arena_alloc(at->arena, count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)c->init;
    facts->output = at->input;
    cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_VALUES, 1, &count)->values = values;
    facts->multiply_adds = facts->connections = cvy_dims_count(at->input);
    facts->backward_needs_x = true;
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static cvy_prelu_shape shape_of(const cvy_layer_setup *setup) {
    return (cvy_prelu_shape){setup->pitch, (size_t)setup->input.channels,
                             (size_t)setup->input.height * (size_t)setup->input.width,
                             ((const config *)setup->config)->num_parameters == 1};
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_prelu_shape shape = shape_of(setup);
    setup->needs.workspace = setup->training ? cvy_prelu_workspace(setup->traits, &shape) : 0;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_prelu_shape shape = shape_of(setup);
    return cvy_prelu_prepare(setup->device, &shape, setup->training, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_prelu_forward(op, run->x, run->tensors[0], run->y);
}

/* The slopes first: gx may be gy. */
static convoy_status backward(void *op, const cvy_layer_run *run) {
    convoy_status status =
        cvy_prelu_slopes(op, run->x, run->gy, run->gradients[0], run->accumulate, run->workspace);
    return status || !run->gx ? status : cvy_prelu_backward(op, run->x, run->tensors[0], run->gy, run->gx);
}

const cvy_layer_type cvy_layer_prelu = {
    .name = "PReLU",
    .help = "x > 0: x, else a learnt slope times x",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_prelu),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
