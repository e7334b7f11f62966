/* ChannelShuffle: torch.nn.ChannelShuffle. ChannelSplit: a part of the channels, as torch.chunk gives it; the
   branches of a Concat take one each. */
#include "ops/channels.h"
#include "layers/types.h"

typedef struct config {
    int groups;
    int parts, part;
} config;

static const cvy_param shuffle_params[] = {
    CVY_PARAM(config, groups, CVY_INT, .minimum = 1, .maximum = 1 << 20,
              .help = "parts of which the channels are taken in turn"),
    CVY_PARAM_END,
};
static const cvy_param split_params[] = {
    CVY_PARAM(config, parts, CVY_INT, .fallback = "2", .minimum = 1, .maximum = 1 << 20,
              .help = "of as many channels each"),
    CVY_PARAM(config, part, CVY_INT, .maximum = 1 << 20, .help = "which one, from 0"),
    CVY_PARAM_END,
};

static cvy_channels_shape shape_of(const config *c, cvy_dims input, int pitch) {
    cvy_channels_shape shape = {.pitch = pitch,
                                .channels = (size_t)input.channels,
                                .pixels = (size_t)input.height * (size_t)input.width,
                                .groups = (size_t)c->groups};
    if (c->parts) {
        shape.count = shape.channels / (size_t)c->parts;
        shape.first = (size_t)c->part * shape.count;
    }
    return shape;
}

static convoy_status check_divides(const char *name, int value, int channels) {
    return channels % value
               ? cvy_fail(CONVOY_INVALID, "%s is %d, which does not divide the input's %d channels", name,
                          value, channels)
               : CONVOY_OK;
}

static convoy_status describe_shuffle(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
    return check_divides("groups", ((const config *)at->config)->groups, at->input.channels);
}

static convoy_status setup_shuffle(void *op, cvy_layer_setup *setup) {
    const cvy_channels_shape shape = shape_of(setup->config, setup->input, setup->pitch);
    return cvy_channel_shuffle_prepare(setup->device, &shape, op);
}

static convoy_status forward_shuffle(void *op, const cvy_layer_run *run) {
    return cvy_channel_shuffle_run(op, false, run->x, run->y);
}

static convoy_status backward_shuffle(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_channel_shuffle_run(op, true, run->gy, run->gx) : CONVOY_OK;
}

static convoy_status describe_split(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    if (c->part >= c->parts)
        return cvy_fail(CONVOY_INVALID, "part %d of %d: parts are counted from 0", c->part, c->parts);
    facts->output = at->input;
    facts->output.channels /= c->parts;
    return check_divides("parts", c->parts, at->input.channels);
}

static convoy_status setup_split(void *op, cvy_layer_setup *setup) {
    const cvy_channels_shape shape = shape_of(setup->config, setup->input, setup->pitch);
    return cvy_channel_part_prepare(setup->device, &shape, setup->training, op);
}

static convoy_status forward_split(void *op, const cvy_layer_run *run) {
    return cvy_channel_part_forward(op, run->x, run->y);
}

static convoy_status backward_split(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_channel_part_backward(op, run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_channel_shuffle = {
    .name = "ChannelShuffle",
    .help = "channels of each group in turn",
    .params = shuffle_params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_channels),
    .describe = describe_shuffle,
    .setup = setup_shuffle,
    .forward = forward_shuffle,
    .backward = backward_shuffle,
};
const cvy_layer_type cvy_layer_channel_split = {
    .name = "ChannelSplit",
    .help = "one of equal parts of the channels",
    .params = split_params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_channels),
    .describe = describe_split,
    .setup = setup_split,
    .forward = forward_split,
    .backward = backward_split,
};
