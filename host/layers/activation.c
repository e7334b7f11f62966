/* The activations of kernels/activations.clh, a layer type each. All run in place, and their backward needs
   the output only. */
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

#define LAYER_TYPE(NAME, row, torch, text, ...)                                                              \
    static convoy_status row##_describe(const void *config, const cvy_node *node, cvy_dims input,            \
                                        cvy_arena *arena, cvy_layer_facts *facts) {                          \
        (void)config, (void)node, (void)arena;                                                               \
        return describe_kind(CVY_##NAME, input, facts);                                                      \
    }                                                                                                        \
    static convoy_status row##_forward(void *state, const cvy_layer_run *run) {                              \
        (void)state;                                                                                         \
        return forward_kind(CVY_##NAME, run);                                                                \
    }                                                                                                        \
    static convoy_status row##_backward(void *state, const cvy_layer_run *run) {                             \
        (void)state;                                                                                         \
        return backward_kind(CVY_##NAME, run);                                                               \
    }                                                                                                        \
    const cvy_layer_type cvy_layer_##row = {.name = torch,                                                   \
                                            .help = text,                                                    \
                                            .params = params,                                                \
                                            .describe = row##_describe,                                      \
                                            .forward = row##_forward,                                        \
                                            .backward = row##_backward,                                      \
                                            .report = report};
CVY_ACTIVATIONS(LAYER_TYPE)
