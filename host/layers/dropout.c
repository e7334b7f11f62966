/* Dropout: torch.nn.Dropout. The mask is a function of (seed, layer, step), so nothing is kept for backward.
 */
#include "ops/dropout.h"
#include "base/rng.h"
#include "layers/types.h"

typedef struct config {
    double p;
} config;

typedef struct state {
    cvy_dropout op;
} state;

static const cvy_param params[] = {
    CVY_PARAM(config, p, CVY_FLOAT, .fallback = "0.5", .maximum = 1,
              .help = "probability of a value to become 0"),
    CVY_PARAM_END,
};

static convoy_status describe(const void *config, const cvy_node *node, cvy_dims input, cvy_arena *arena,
                              cvy_layer_facts *facts) {
    (void)config, (void)node, (void)arena;
    facts->output = input;
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    const cvy_dropout_shape shape = {.pitch = setup->pitch,
                                     .features = cvy_dims_count(setup->input),
                                     .p = (float)((const config *)setup->config)->p,
                                     .seed = setup->seed,
                                     .purpose = CVY_RNG_LAYER + setup->index};
    return cvy_dropout_prepare(setup->device, &shape, &((state *)s)->op);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    if (run->training)
        return cvy_dropout_run(&((state *)s)->op, run->step, run->x, run->y);
    return run->x == run->y ? CONVOY_OK : cvy_buffer_copy(run->x, 0, run->y, 0, cvy_buffer_bytes(run->y));
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    return run->gx ? cvy_dropout_run(&((state *)s)->op, run->step, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_dropout = {
    .name = "Dropout",
    .help = "zeroes values at random while training",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
