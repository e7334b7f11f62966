/* Upsample: torch.nn.Upsample(size, mode="bilinear", align_corners=False); also shrinks. */
#include "layers/types.h"
#include "ops/resize.h"

typedef struct config {
    int size[2];
    int mode;
} config;

static const cvy_param params[] = {
    CVY_PARAM(config, size, CVY_PAIR, .minimum = 1, .maximum = 1 << 15,
              .help = "height and width of the output"),
    CVY_PARAM(config, mode, CVY_CHOICE, .fallback = "bilinear", .choices = "bilinear",
              .help = "how pixels are mixed"),
    CVY_PARAM_END,
};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    facts->output = (cvy_dims){at->input.channels, c->size[0], c->size[1]};
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_resize_shape shape = {setup->pitch,       setup->input.channels, setup->input.height,
                                    setup->input.width, setup->output.height,  setup->output.width};
    return cvy_resize_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_resize_forward(op, run->x, run->y);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_resize_backward(op, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_upsample = {
    .name = "Upsample",
    .help = "bilinear resize",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_resize),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
