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

static convoy_status describe(const void *configuration, const cvy_node *node, cvy_dims input,
                              cvy_arena *arena, cvy_layer_facts *facts) {
    (void)node, (void)arena;
    const config *c = configuration;
    facts->output = (cvy_dims){input.channels, c->size[0], c->size[1]};
    return CONVOY_OK;
}

static cvy_resize_shape shape_of(const cvy_layer_run *run) {
    return (cvy_resize_shape){run->pitch,       run->input.channels, run->input.height,
                              run->input.width, run->output.height,  run->output.width};
}

static convoy_status forward(void *state, const cvy_layer_run *run) {
    (void)state;
    cvy_resize_shape shape = shape_of(run);
    return cvy_resize_forward(run->device, &shape, run->x, run->y);
}

static convoy_status backward(void *state, const cvy_layer_run *run) {
    (void)state;
    cvy_resize_shape shape = shape_of(run);
    return run->gx ? cvy_resize_backward(run->device, &shape, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_upsample = {
    .name = "Upsample",
    .help = "bilinear resize",
    .params = params,
    .config_size = sizeof(config),
    .describe = describe,
    .forward = forward,
    .backward = backward,
};
