/* The activations of kernels/activations.clh, a layer type each. All run in place, and their backward needs
   the output only. */
#include "layers/types.h"
#include "ops/elementwise.h"

typedef struct state {
    cvy_elementwise forward, backward;
} state;

static const cvy_param params[] = {CVY_PARAM_END};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->activation = (cvy_activation)at->type->kind;
    facts->forward_in_place = facts->backward_in_place = true;
    facts->backward_needs_y = true;
    return CONVOY_OK;
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    const cvy_activation kind = (cvy_activation)setup->type->kind;
    const size_t count = cvy_dims_count(setup->input) * (size_t)setup->pitch;
    convoy_status status = cvy_elementwise_prepare(setup->device, CVY_ACTIVATE, kind, count, &layer->forward);
    return status
               ? status
               : cvy_elementwise_prepare(setup->device, CVY_ACTIVATE_BACKWARD, kind, count, &layer->backward);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    return cvy_elementwise_run(&((const state *)s)->forward, run->x, NULL, run->y);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    return run->gx ? cvy_elementwise_run(&((const state *)s)->backward, run->y, run->gy, run->gx) : CONVOY_OK;
}

/* Forward reads x and writes y, backward reads y and gy and writes gx. */
static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    (void)s;
    double count = (double)cvy_dims_count(setup->input) * setup->pitch;
    out->op = "activation";
    out->cost.bytes = count * sizeof(float) * (2 + (setup->input_gradient ? 3 : 0));
    out->cost.flops = count * (1 + (setup->input_gradient ? 2 : 0));
    out->forward = (cvy_cost){count, 2 * count * sizeof(float)};
    cvy_text_add(&out->variant, "elementwise");
}

#define LAYER_TYPE(NAME, row, torch, text, ...)                                                              \
    const cvy_layer_type cvy_layer_##row = {.name = torch,                                                   \
                                            .help = text,                                                    \
                                            .kind = CVY_##NAME,                                              \
                                            .params = params,                                                \
                                            .state_size = sizeof(state),                                     \
                                            .describe = describe,                                            \
                                            .setup = setup,                                                  \
                                            .forward = forward,                                              \
                                            .backward = backward,                                            \
                                            .report = report};
CVY_ACTIVATIONS(LAYER_TYPE)
