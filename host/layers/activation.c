/* ReLU, Sigmoid, Tanh and ScaledTanh: one op with four kinds. All run in place, and their backward needs the
   output only. */
#include "layers/types.h"
#include "ops/elementwise.h"

static const cvy_param params[] = {CVY_PARAM_END};

static convoy_status describe_kind(cvy_activation kind, cvy_dims input, cvy_layer_facts *facts) {
    facts->output = input;
    facts->activation = kind;
    facts->forward_in_place = facts->backward_in_place = true;
    facts->backward_needs_y = true;
    return CONVOY_OK;
}

static convoy_status forward_kind(cvy_activation kind, const cvy_layer_run *run) {
    return cvy_activation_forward(run->device, kind, cvy_dims_count(run->input) * (size_t)run->pitch, run->x,
                                  run->y);
}

static convoy_status backward_kind(cvy_activation kind, const cvy_layer_run *run) {
    if (!run->gx)
        return CONVOY_OK;
    return cvy_activation_backward(run->device, kind, cvy_dims_count(run->input) * (size_t)run->pitch, run->y,
                                   run->gy, run->gx);
}

/* Forward reads x and writes y, backward reads y and gy and writes gx. */
static void report(const void *state, const cvy_layer_setup *setup, cvy_layer_report *out) {
    (void)state;
    double count = (double)cvy_dims_count(setup->input) * setup->pitch;
    out->op = "activation";
    out->cost.bytes = count * sizeof(float) * (2 + (setup->input_gradient ? 3 : 0));
    out->cost.flops = count * (1 + (setup->input_gradient ? 2 : 0));
    out->forward = (cvy_cost){count, 2 * count * sizeof(float)};
    cvy_text_add(&out->variant, "elementwise");
}

#define ACTIVATION(row, name, kind, help)                                                                    \
    static convoy_status row##_describe(const void *config, const cvy_node *node, cvy_dims input,            \
                                        cvy_arena *arena, cvy_layer_facts *facts) {                          \
        (void)config, (void)node, (void)arena;                                                               \
        return describe_kind(kind, input, facts);                                                            \
    }                                                                                                        \
    static convoy_status row##_forward(void *state, const cvy_layer_run *run) {                              \
        (void)state;                                                                                         \
        return forward_kind(kind, run);                                                                      \
    }                                                                                                        \
    static convoy_status row##_backward(void *state, const cvy_layer_run *run) {                             \
        (void)state;                                                                                         \
        return backward_kind(kind, run);                                                                     \
    }                                                                                                        \
    const cvy_layer_type cvy_layer_##row = {                                                                 \
        name, help, params, 0, 0, row##_describe, NULL, NULL, row##_forward, row##_backward, report, NULL};

ACTIVATION(relu, "ReLU", CVY_RELU, "max(0, x)")
ACTIVATION(sigmoid, "Sigmoid", CVY_SIGMOID, "1/(1 + exp(-x))")
ACTIVATION(tanh, "Tanh", CVY_TANH, "hyperbolic tangent")
ACTIVATION(scaled_tanh, "ScaledTanh", CVY_SCALED_TANH, "1.7159 tanh(2x/3), LeNet-5's squashing function")
