/* The activations of kernels/activations.clh, a layer type each. All run in place where their backward needs
   the output only, or where there is none. */
#include "layers/types.h"
#include "ops/elementwise.h"

typedef struct state {
    cvy_elementwise forward, backward;
} state;

/* Of all types together; each has some of them. */
typedef struct config {
    bool inplace;    /* as in torch.nn: here the network decides */
    int approximate; /* 1: by tanh */
    double a, b;
} config;

#define INPLACE                                                                                              \
    CVY_PARAM(config, inplace, CVY_BOOL, .fallback = "false",                                                \
              .help = "accepted and without effect: memory is planned")
static const cvy_param plain_params[] = {INPLACE, CVY_PARAM_END};
static const cvy_param gelu_params[] = {
    CVY_PARAM(config, approximate, CVY_CHOICE, .fallback = "none", .choices = "none|tanh",
              .help = "tanh: the distribution by a formula with tanh"),
    CVY_PARAM_END,
};
static const cvy_param leaky_relu_params[] = {
    {"negative_slope", CVY_FLOAT, offsetof(config, a), "0.01", -1e6, 1e6, NULL, "slope below 0"},
    INPLACE,
    CVY_PARAM_END,
};
static const cvy_param elu_params[] = {
    {"alpha", CVY_FLOAT, offsetof(config, a), "1", -1e6, 1e6, NULL, "-1 times the limit of small inputs"},
    INPLACE,
    CVY_PARAM_END,
};
static const cvy_param softplus_params[] = {
    {"beta", CVY_FLOAT, offsetof(config, a), "1", 1e-6, 1e6, NULL, "how sharp the bend is"},
    {"threshold", CVY_FLOAT, offsetof(config, b), "20", -1e6, 1e6, NULL, "beta x above which it is x itself"},
    CVY_PARAM_END,
};

static cvy_activation kind_of(const cvy_layer_type *type, const config *c) {
    return type->kind == CVY_GELU && c->approximate ? CVY_GELU_TANH : (cvy_activation)type->kind;
}

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->activation = kind_of(at->type, at->config);
    facts->forward_in_place = facts->backward_in_place = true;
    facts->backward_needs_x = CVY_ACTIVATIONS_FROM_INPUT >> facts->activation & 1;
    facts->backward_needs_y = !facts->backward_needs_x;
    return CONVOY_OK;
}

static convoy_status prepare(const cvy_layer_setup *setup, cvy_elementwise_kind kind, cvy_elementwise *op) {
    const config *c = setup->config;
    const size_t count = cvy_dims_count(setup->input) * (size_t)setup->pitch;
    convoy_status status = cvy_elementwise_prepare(setup->device, kind, kind_of(setup->type, c), count, op);
    op->parameters = (cvy_activation_parameters){(float)c->a, (float)c->b};
    return status;
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    convoy_status status = prepare(setup, CVY_ACTIVATE, &layer->forward);
    return status ? status : prepare(setup, CVY_ACTIVATE_BACKWARD, &layer->backward);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    return cvy_elementwise_run(&((const state *)s)->forward, run->x, NULL, run->y);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    const cvy_elementwise *op = &((const state *)s)->backward;
    cvy_buffer *values = CVY_ACTIVATIONS_FROM_INPUT >> op->activation & 1 ? run->x : run->y;
    return run->gx ? cvy_elementwise_run(op, values, run->gy, run->gx) : CONVOY_OK;
}

/* Forward reads x and writes y, backward reads one of them and gy and writes gx. */
static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    (void)s;
    double count = (double)cvy_dims_count(setup->input) * setup->pitch;
    out->op = "activation";
    out->cost.bytes = count * sizeof(float) * (2 + (setup->input_gradient ? 3 : 0));
    out->cost.flops = count * (1 + (setup->input_gradient ? 2 : 0));
    out->forward = (cvy_cost){count, 2 * count * sizeof(float)};
    cvy_text_add(&out->variant, "elementwise");
}

#define TYPE(NAME, row, torch, text, parameters)                                                             \
    const cvy_layer_type cvy_layer_##row = {.name = torch,                                                   \
                                            .help = text,                                                    \
                                            .kind = CVY_##NAME,                                              \
                                            .params = parameters,                                            \
                                            .config_size = sizeof(config),                                   \
                                            .state_size = sizeof(state),                                     \
                                            .describe = describe,                                            \
                                            .setup = setup,                                                  \
                                            .forward = forward,                                              \
                                            .backward = backward,                                            \
                                            .report = report};
#define PLAIN_TYPE(NAME, row, torch, text, ...) TYPE(NAME, row, torch, text, plain_params)
CVY_ACTIVATIONS(PLAIN_TYPE)
CVY_PLAIN_ACTIVATIONS(PLAIN_TYPE)
TYPE(GELU, gelu, "GELU", "x Phi(x), Phi the normal distribution's", gelu_params)
TYPE(LEAKY_RELU, leaky_relu, "LeakyReLU", "x above 0, negative_slope x below", leaky_relu_params)
TYPE(ELU, elu, "ELU", "x above 0, alpha (exp(x) - 1) below", elu_params)
TYPE(SOFTPLUS, softplus, "Softplus", "log(1 + exp(beta x))/beta", softplus_params)
