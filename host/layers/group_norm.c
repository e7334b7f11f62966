/* GroupNorm: torch.nn.GroupNorm. LayerNorm: torch.nn.LayerNorm over the channels of each pixel, which is all
   of a vector. */
#include "layers/types.h"
#include "ops/groupnorm.h"

enum { GROUPS, PIXELS };

typedef struct config {
    int num_groups;
    int channels; /* num_channels, normalized_shape */
    double eps;
    bool affine, bias;
} config;

#define EPS                                                                                                  \
    CVY_PARAM(config, eps, CVY_FLOAT, .fallback = "1e-5", .minimum = 1e-30, .maximum = 1,                    \
              .help = "added to the variance")

static const cvy_param group_params[] = {
    CVY_PARAM(config, num_groups, CVY_INT, .minimum = 1, .maximum = 1 << 20, .help = "groups of channels"),
    {"num_channels", CVY_INT, offsetof(config, channels), "0", 0, 1 << 20, NULL,
     "inferred, checked where given"},
    EPS,
    CVY_PARAM(config, affine, CVY_BOOL, .fallback = "true", .help = "learn a scale and a shift per channel"),
    CVY_PARAM_END,
};
static const cvy_param layer_params[] = {
    {"normalized_shape", CVY_INT, offsetof(config, channels), "0", 0, 1 << 20, NULL,
     "channels; inferred, checked where given"},
    EPS,
    {"elementwise_affine", CVY_BOOL, offsetof(config, affine), "true", 0, 0, NULL,
     "learn a scale and a shift per channel"},
    CVY_PARAM(config, bias, CVY_BOOL, .fallback = "true", .help = "learn the shift"),
    CVY_PARAM_END,
};

static bool has_bias(const cvy_layer_type *type, const config *c) {
    return c->affine && (c->bias || type->kind == GROUPS);
}

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    const bool groups = at->type->kind == GROUPS;
    const size_t channels = (size_t)at->input.channels;
    convoy_status status = cvy_layer_check_given(groups ? "num_channels" : "normalized_shape", c->channels,
                                                 at->input.channels, "channels");
    if (status)
        return status;
    if (groups && at->input.channels % c->num_groups)
        return cvy_fail(CONVOY_INVALID, "num_groups is %d, which does not divide the input's %d channels",
                        c->num_groups, at->input.channels);
    facts->output = at->input;
    if (c->affine) {
        cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_ONES, 1, &channels);
        facts->multiply_adds = facts->connections = cvy_dims_count(at->input);
    }
    if (has_bias(at->type, c))
        cvy_layer_add_tensor(facts, "bias", CVY_TRAINABLE, CVY_INIT_ZEROS, 1, &channels);
    const size_t sets = groups ? (size_t)c->num_groups : cvy_dims_count(at->input) / channels;
    for (int i = 0; i < 2; i++) /* mean, 1/standard deviation */
        facts->saved[facts->saved_count++] =
            (cvy_layer_saved){.column_bytes = sets * sizeof(float), .inference = true};
    facts->backward_needs_x = true;
    facts->forward_in_place = facts->backward_in_place = true;
    return CONVOY_OK;
}

static cvy_groupnorm_shape shape_of(const cvy_layer_setup *setup) {
    const config *c = setup->config;
    return (cvy_groupnorm_shape){.pitch = setup->pitch,
                                 .channels = (size_t)setup->input.channels,
                                 .pixels = (size_t)setup->input.height * (size_t)setup->input.width,
                                 .groups = setup->type->kind == GROUPS ? (size_t)c->num_groups : 0,
                                 .eps = (float)c->eps};
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_groupnorm_shape shape = shape_of(setup);
    setup->needs.workspace = setup->training ? cvy_groupnorm_workspace(setup->traits, &shape) : 0;
    return CONVOY_OK;
}

typedef struct state {
    cvy_groupnorm op;
    bool affine, bias;
} state;

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    const cvy_groupnorm_shape shape = shape_of(setup);
    const config *c = setup->config;
    layer->affine = c->affine;
    layer->bias = has_bias(setup->type, c);
    return cvy_groupnorm_prepare(setup->device, &shape, setup->training, &layer->op);
}

static cvy_groupnorm_buffers buffers_of(const state *s, const cvy_layer_run *run) {
    return (cvy_groupnorm_buffers){.x = run->x,
                                   .weight = s->affine ? run->tensors[0] : NULL,
                                   .bias = s->bias ? run->tensors[1] : NULL,
                                   .y = run->y,
                                   .mean = run->saved[0],
                                   .invstd = run->saved[1],
                                   .gy = run->gy,
                                   .gx = run->gx,
                                   .gweight = s->affine ? run->gradients[0] : NULL,
                                   .gbias = s->bias ? run->gradients[1] : NULL,
                                   .workspace = run->workspace};
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    const cvy_groupnorm_buffers b = buffers_of(s, run);
    return cvy_groupnorm_forward(&((const state *)s)->op, &b);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    const cvy_groupnorm_buffers b = buffers_of(s, run);
    return cvy_groupnorm_backward(&((const state *)s)->op, run->accumulate, &b);
}

const cvy_layer_type cvy_layer_group_norm = {
    .name = "GroupNorm",
    .help = "normalisation of groups of channels within each image",
    .kind = GROUPS,
    .params = group_params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
const cvy_layer_type cvy_layer_layer_norm = {
    .name = "LayerNorm",
    .help = "normalisation over the channels of each pixel",
    .kind = PIXELS,
    .params = layer_params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
