/* Dropout: torch.nn.Dropout. The mask is a function of (seed, layer, step), so nothing is kept for backward.
 */
#include "ops/dropout.h"
#include "base/rng.h"
#include "layers/types.h"

typedef struct config {
    double p;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, p, CVY_FLOAT, .fallback = "0.5", .maximum = 1,
              .help = "probability of a value to become 0"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_dropout_shape shape = {.pitch = setup->pitch,
                                     .features = cvy_dims_count(setup->input),
                                     .p = (float)((const config *)setup->config)->p,
                                     .seed = setup->seed,
                                     .purpose = CVY_RNG_LAYER + setup->index};
    return cvy_dropout_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    if (run->training)
        return cvy_dropout_run(op, run->step, run->x, run->y);
    return run->x == run->y ? CONVOY_OK : cvy_buffer_copy(run->x, 0, run->y, 0, cvy_buffer_bytes(run->y));
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    if (!run->gx)
        return CONVOY_OK;
    if (run->training)
        return cvy_dropout_run(op, run->step, run->gy, run->gx);
    return run->gx == run->gy ? CONVOY_OK
                              : cvy_buffer_copy(run->gy, 0, run->gx, 0, cvy_buffer_bytes(run->gx));
}

const cvy_layer_type cvy_layer_dropout = {
    .name = "Dropout",
    .help = "zeroes values at random while training",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_dropout),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
