/* Linear: torch.nn.Linear. */
#include "ops/linear.h"
#include "layers/types.h"
#include "ops/gemm/gemm.h"

typedef struct config {
    int in_features, out_features;
    bool bias;
} config;

typedef struct state {
    cvy_linear *op;
} state;

static const cvy_param params[] = {
    CVY_PARAM(config, in_features, CVY_INT, .fallback = "0", .maximum = 1 << 28,
              .help = "inputs; inferred, checked where given"),
    CVY_PARAM(config, out_features, CVY_INT, .minimum = 1, .maximum = 1 << 24, .help = "outputs"),
    CVY_PARAM(config, bias, CVY_BOOL, .fallback = "true", .help = "add a value per output"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    convoy_status status = cvy_layer_want_vector("Linear", at->input);
    if (!status)
        status = cvy_layer_check_given("in_features", c->in_features, at->input.channels, "values");
    if (status)
        return status;
    size_t in = (size_t)at->input.channels, out = (size_t)c->out_features;
    facts->output = (cvy_dims){c->out_features, 1, 1};
    cvy_layer_tensor *weight =
        cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_WEIGHT, 2, (const size_t[]){out, in});
    weight->fan_in = in;
    weight->fan_out = out;
    if (c->bias)
        cvy_layer_add_tensor(facts, "bias", CVY_TRAINABLE, CVY_INIT_BIAS, 1, &out)->fan_in = in;
    facts->multiply_adds = in * out;
    facts->connections = in * out + (c->bias ? out : 0);
    facts->backward_needs_x = true;
    facts->takes_activation = facts->takes_input_activation = CVY_COMMON_ACTIVATIONS;
    return CONVOY_OK;
}

static cvy_linear_shape shape_of(const cvy_layer_setup *setup) {
    return (cvy_linear_shape){setup->pitch, (size_t)setup->input.channels, (size_t)setup->output.channels,
                              setup->activation, setup->input_activation};
}

static int tasks(const cvy_layer_setup *setup, cvy_task list[CVY_LAYER_TASKS]) {
    const cvy_linear_shape shape = shape_of(setup);
    int count = 0;
    for (int pass = 0; pass < 3; pass++)
        if (cvy_layer_passes(setup) >> pass & 1)
            list[count++] = cvy_linear_task(&shape, (cvy_linear_pass)pass);
    return count;
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_linear_shape shape = shape_of(setup);
    return cvy_linear_describe(setup->traits, setup->device, &shape, cvy_layer_passes(setup),
                               cvy_forced_name(&setup->forced, &cvy_gemm_op), &setup->needs);
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    const cvy_linear_shape shape = shape_of(setup);
    convoy_status status = cvy_linear_create(setup->device, &shape, cvy_layer_passes(setup),
                                             cvy_forced_name(&setup->forced, &cvy_gemm_op), &layer->op);
    if (!status)
        setup->needs.workspace = cvy_linear_workspace(layer->op);
    return status;
}

static void release(void *s) {
    cvy_linear_free(((state *)s)->op);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    return cvy_linear_forward(((state *)s)->op, run->x, run->tensors[0], run->tensors[1], run->y,
                              run->workspace);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    cvy_linear *op = ((state *)s)->op;
    convoy_status status = cvy_linear_backward_weights(op, run->x, run->gy, run->gradients[0],
                                                       run->gradients[1], run->accumulate, run->workspace);
    if (!status && run->gx)
        status = cvy_linear_backward_data(op, run->gy, run->tensors[0], run->x, run->gx, run->workspace);
    return status;
}

static void divide(const cvy_layer_setup *setup, cvy_layer_part *part, void *divided) {
    config *c = divided;
    *c = *(const config *)setup->config;
    c->out_features = part->count;
    part->input_first = 0;
    part->input_count = setup->input.channels;
}

static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    const cvy_linear *op = ((const state *)s)->op;
    cvy_layer_pass passes[3];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        const cvy_linear_pass pass = (cvy_linear_pass)i;
        if (cvy_layer_passes(setup) >> i & 1)
            passes[count++] = (cvy_layer_pass){cvy_linear_variant(op, pass), cvy_linear_origin(op, pass),
                                               cvy_linear_cost(op, pass)};
    }
    out->op = "linear";
    cvy_layer_report_passes(out, passes, count);
}

const cvy_layer_type cvy_layer_linear = {
    .name = "Linear",
    .help = "fully connected layer",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .release = release,
    .forward = forward,
    .backward = backward,
    .report = report,
    .tasks = tasks,
    .divide = divide,
};
