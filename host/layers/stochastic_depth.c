/* StochasticDepth: torchvision.ops.StochasticDepth, at the end of a residual branch. */
#include "ops/stochastic_depth.h"
#include "base/rng.h"
#include "layers/types.h"

typedef struct config {
    double p;
    int mode; /* 1: batch */
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, p, CVY_FLOAT, .maximum = 1, .help = "probability of an image to become 0"),
    CVY_PARAM(config, mode, CVY_CHOICE, .fallback = "row", .choices = "row|batch",
              .help = "row: each image by itself; batch: all or none"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    facts->saved[facts->saved_count++].column_bytes = sizeof(float); /* the images' factors */
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const config *c = setup->config;
    const cvy_stochastic_depth_shape shape = {.pitch = setup->pitch,
                                              .features = cvy_dims_count(setup->input),
                                              .p = (float)c->p,
                                              .batch = c->mode == 1,
                                              .seed = setup->seed,
                                              .purpose = CVY_RNG_LAYER + setup->index};
    return cvy_stochastic_depth_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    if (run->training)
        return cvy_stochastic_depth_forward(op, run->step, run->x, run->saved[0], run->y);
    return run->x == run->y ? CONVOY_OK : cvy_buffer_copy(run->x, 0, run->y, 0, cvy_buffer_bytes(run->y));
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    const cvy_product *product = &((const cvy_stochastic_depth *)op)->product;
    return run->gx ? cvy_product_run(product, run->gy, run->saved[0], run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_stochastic_depth = {
    .name = "StochasticDepth",
    .help = "zeroes whole images at random while training",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_stochastic_depth),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
