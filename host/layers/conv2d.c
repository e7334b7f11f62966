/* Conv2d: torch.nn.Conv2d, and LeNet-5's table of connections between input and output maps. ChannelLinear:
   torch.nn.Linear over the channels of each pixel, as between two permutations, which is a convolution of one
   pixel. */
#include <string.h>

#include "layers/types.h"
#include "ops/conv2d/conv2d.h"
#include "ops/elementwise.h"

typedef struct config {
    int in_channels, out_channels;
    int kernel_size[2], stride[2], padding[2], dilation[2];
    int groups;
    bool bias;
    cvy_node *connections;
} config;

enum { CONVOLUTION, LINEAR };
enum { PADDING_SAME = -1, PADDING_VALID = -2 }; /* as CVY_PAIR has its words */

typedef struct state {
    cvy_conv2d *op;
    cvy_elementwise mask; /* keeps absent connections at zero */
} state;

static const cvy_param params[] = {
    CVY_PARAM(config, in_channels, CVY_INT, .fallback = "0", .maximum = 1 << 20,
              .help = "input maps; inferred, checked where given"),
    CVY_PARAM(config, out_channels, CVY_INT, .minimum = 1, .maximum = 1 << 20, .help = "output maps"),
    CVY_PARAM(config, kernel_size, CVY_PAIR, .minimum = 1, .maximum = 1 << 15,
              .help = "height and width of the kernel"),
    CVY_PARAM(config, stride, CVY_PAIR, .fallback = "1", .minimum = 1, .maximum = 1 << 15,
              .help = "step of the kernel"),
    CVY_PARAM(config, padding, CVY_PAIR, .fallback = "0", .maximum = 1 << 15, .choices = "same|valid",
              .help = "zeros on each side; same: as many as keep the size, valid: none"),
    CVY_PARAM(config, dilation, CVY_PAIR, .fallback = "1", .minimum = 1, .maximum = 1 << 15,
              .help = "distance between the kernel's taps"),
    CVY_PARAM(config, groups, CVY_INT, .fallback = "1", .minimum = 1, .maximum = 1 << 20,
              .help = "groups of maps that do not see each other"),
    CVY_PARAM(config, bias, CVY_BOOL, .fallback = "true", .help = "add a value per output map"),
    CVY_PARAM(config, connections, CVY_NODE, .fallback = "",
              .help = "input maps that each output map sees: a list of lists"),
    CVY_PARAM_END,
};

static const cvy_param linear_params[] = {
    {"in_features", CVY_INT, offsetof(config, in_channels), "0", 0, 1 << 20, NULL,
     "input channels; inferred, checked where given"},
    {"out_features", CVY_INT, offsetof(config, out_channels), NULL, 1, 1 << 20, NULL, "output channels"},
    CVY_PARAM(config, bias, CVY_BOOL, .fallback = "true", .help = "add a value per output channel"),
    CVY_PARAM_END,
};

/* Of a ChannelLinear, which has no kernel to speak of, 1 wherever something is 0. */
static int or_one(int value) {
    return value ? value : 1;
}

/* Zeros on each side of an axis. */
static int padding_of(const config *c, int axis) {
    const int given = c->padding[axis];
    if (given == PADDING_SAME)
        return c->dilation[axis] * (c->kernel_size[axis] - 1) / 2;
    return given == PADDING_VALID ? 0 : given;
}

static cvy_conv2d_shape shape_of(const config *c, cvy_dims input, int pitch) {
    return (cvy_conv2d_shape){.pitch = pitch,
                              .in_channels = input.channels,
                              .in_height = input.height,
                              .in_width = input.width,
                              .out_channels = c->out_channels,
                              .kernel = {or_one(c->kernel_size[0]), or_one(c->kernel_size[1])},
                              .stride = {or_one(c->stride[0]), or_one(c->stride[1])},
                              .padding = {padding_of(c, 0), padding_of(c, 1)},
                              .dilation = {or_one(c->dilation[0]), or_one(c->dilation[1])},
                              .groups = or_one(c->groups)};
}

/* torch.nn's too wants a stride of 1; where an even number of taps would need a zero more behind than in
   front, it copies the input to put it there, which is not done here. */
static convoy_status check_same(const config *c) {
    for (int axis = 0; axis < 2 && c->padding[axis] == PADDING_SAME; axis++) {
        if (c->stride[axis] != 1)
            return cvy_fail(
                CONVOY_INVALID,
                "padding `same` is for a stride of 1, and here it is %d; give the zeros as a number",
                c->stride[axis]);
        if (c->dilation[axis] * (c->kernel_size[axis] - 1) % 2)
            return cvy_fail(
                CONVOY_INVALID,
                "padding `same` of a kernel_size of %d would need more zeros behind than in front; "
                "use an odd kernel_size",
                c->kernel_size[axis]);
    }
    return CONVOY_OK;
}

/* Marks the input maps of one output map in `row` ([in_channels]) and counts them. */
static convoy_status read_connections(const cvy_node *list, int in_channels, float *row, size_t *count) {
    if (list->kind != CVY_SEQUENCE || list->count == 0)
        return cvy_node_fail(list, "an output map needs a list of the input maps that it sees, as [0, 1, 2]");
    for (size_t i = 0; i < list->count; i++) {
        const cvy_node *item = list->items[i];
        long long map = -1;
        if (item->kind != CVY_SCALAR || !cvy_text_to_long(item->text, &map) || map < 0 || map >= in_channels)
            return cvy_node_fail(item, "an input map is a number from 0 to %d, found \"%s\"", in_channels - 1,
                                 item->kind == CVY_SCALAR ? item->text : "a list");
        if (row[map] != 0)
            return cvy_node_fail(item, "input map %lld is listed twice", map);
        row[map] = 1;
    }
    *count = list->count;
    return CONVOY_OK;
}

/* Fills the mask and the fan of each output map of `weight`, and how many pairs of maps are connected. */
static convoy_status describe_connections(const config *c, cvy_dims input, cvy_arena *arena,
                                          cvy_layer_tensor *weight, size_t *pairs) {
    const cvy_node *table = c->connections;
    size_t in = (size_t)input.channels, out = (size_t)c->out_channels;
    size_t taps = (size_t)c->kernel_size[0] * (size_t)c->kernel_size[1];
    if (c->groups != 1)
        return cvy_node_fail(table, "connections and groups exclude each other");
    if (table->kind != CVY_SEQUENCE || table->count != out)
        return cvy_node_fail(table, "connections needs one list per output map, %d in all, found %d",
                             c->out_channels, table->kind == CVY_SEQUENCE ? (int)table->count : 0);
    if (mul_size(out * in, taps) > cvy_most_values)
        return cvy_node_fail(table, "a kernel of %zu x %zu x %zu values is too large", out, in, taps);
    float *mask = cvy_arena_try(arena, out * in * taps * sizeof *mask);
    if (!mask)
        return cvy_fail_memory("a table of connections", out * in * taps * sizeof *mask);
    float *row = cvy_arena_alloc(arena, in * sizeof *row);
    size_t *fans = cvy_arena_alloc(arena, out * sizeof *fans);
    *pairs = 0;
    for (size_t o = 0; o < out; o++) {
        size_t count = 0;
        memset(row, 0, in * sizeof *row);
        convoy_status status = read_connections(table->items[o], input.channels, row, &count);
        if (status)
            return status;
        for (size_t i = 0; i < in; i++)
            for (size_t k = 0; k < taps; k++)
                mask[(o * in + i) * taps + k] = row[i];
        fans[o] = count * taps;
        *pairs += count;
    }
    weight->mask = mask;
    weight->row_fans = fans;
    return CONVOY_OK;
}

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    cvy_conv2d_shape shape = shape_of(c, at->input, 16);
    const bool linear = at->type->kind == LINEAR;
    convoy_status status = cvy_layer_check_given(linear ? "in_features" : "in_channels", c->in_channels,
                                                 at->input.channels, "channels");
    if (!status)
        status = check_same(c);
    if (!status)
        status = cvy_conv2d_infer(&shape);
    if (status)
        return status;
    facts->output = (cvy_dims){c->out_channels, shape.out_height, shape.out_width};
    size_t group_in = (size_t)(at->input.channels / shape.groups), out = (size_t)c->out_channels;
    size_t taps = (size_t)shape.kernel[0] * (size_t)shape.kernel[1];
    const size_t weight_shape[4] = {out, group_in, (size_t)shape.kernel[0], (size_t)shape.kernel[1]};
    cvy_layer_tensor *weight =
        cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_WEIGHT, linear ? 2 : 4, weight_shape);
    weight->fan_in = group_in * taps;
    weight->fan_out = out * taps;
    size_t pairs = out * group_in;
    if (c->connections)
        status = describe_connections(c, at->input, at->arena, weight, &pairs);
    if (status)
        return status;
    if (c->bias) {
        cvy_layer_tensor *bias = cvy_layer_add_tensor(facts, "bias", CVY_TRAINABLE, CVY_INIT_BIAS, 1, &out);
        bias->fan_in = weight->fan_in;
        bias->row_fans = weight->row_fans;
    }
    size_t pixels = (size_t)shape.out_height * (size_t)shape.out_width;
    facts->multiply_adds = mul_size(mul_size(pairs, taps), pixels);
    facts->connections = add_size(facts->multiply_adds, c->bias ? mul_size(out, pixels) : 0);
    facts->absent = mul_size(out * group_in - pairs, taps);
    facts->backward_needs_x = true;
    facts->takes_activation = CVY_BUILT_IN_ACTIVATIONS;
    facts->takes_fold = facts->takes_pooling = true;
    return CONVOY_OK;
}

static int tasks(const cvy_layer_setup *setup, cvy_task list[CVY_LAYER_TASKS]) {
    cvy_conv2d_shape shape = shape_of(setup->config, setup->input, setup->pitch);
    int count = 0;
    if (cvy_conv2d_infer(&shape))
        return 0;
    for (int pass = 0; pass < 3; pass++)
        if (cvy_layer_passes(setup) >> pass & 1)
            list[count++] = cvy_task_of(&cvy_conv2d_op, &shape, pass);
    return count;
}

static cvy_conv2d_shape shape_to_run(const cvy_layer_setup *setup) {
    cvy_conv2d_shape shape = shape_of(setup->config, setup->input, setup->pitch);
    shape.activation = setup->activation;
    shape.pooling = setup->pooling;
    return shape;
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_conv2d_shape shape = shape_to_run(setup);
    return cvy_conv2d_describe(setup->traits, setup->device, &shape, cvy_layer_passes(setup),
                               cvy_forced_name(&setup->forced, &cvy_conv2d_op), &setup->needs);
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    const cvy_conv2d_shape shape = shape_to_run(setup);
    convoy_status status = cvy_conv2d_create(setup->device, &shape, cvy_layer_passes(setup),
                                             cvy_forced_name(&setup->forced, &cvy_conv2d_op), &layer->op);
    if (status)
        return status;
    setup->needs = (cvy_needs){cvy_conv2d_workspace(layer->op), cvy_conv2d_pools(layer->op)};
    if (!((const config *)setup->config)->connections)
        return CONVOY_OK;
    const size_t taps = (size_t)shape.kernel[0] * (size_t)shape.kernel[1];
    return cvy_elementwise_prepare(setup->device, CVY_MULTIPLY, CVY_IDENTITY,
                                   (size_t)shape.out_channels * (size_t)shape.in_channels * taps,
                                   &layer->mask);
}

static void release(void *s) {
    cvy_conv2d_free(((state *)s)->op);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    return cvy_conv2d_forward(((state *)s)->op, run->x, run->tensors[0], run->tensors[1], run->y, run->pooled,
                              run->pool_indices, run->workspace);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    cvy_conv2d *op = ((state *)s)->op;
    cvy_buffer *gweight = run->gradients[0];
    convoy_status status = cvy_conv2d_backward_weights(op, run->x, run->gy, gweight, run->gradients[1],
                                                       run->accumulate, run->workspace);
    if (!status && run->masks[0])
        status = cvy_elementwise_run(&((state *)s)->mask, gweight, run->masks[0], gweight);
    if (!status && run->gx)
        status = cvy_conv2d_backward_data(op, run->gy, run->tensors[0], run->gx, run->workspace);
    return status;
}

/* Of one group. */
static void divide(const cvy_layer_setup *setup, cvy_layer_part *part, void *divided) {
    config *c = divided;
    *c = *(const config *)setup->config;
    const int groups = or_one(c->groups), outputs = c->out_channels / groups,
              inputs = setup->input.channels / groups, group = part->first / outputs,
              left = (group + 1) * outputs - part->first;
    part->count = part->count < left ? part->count : left;
    part->input_first = group * inputs;
    part->input_count = inputs;
    c->in_channels = inputs;
    c->out_channels = part->count;
    c->groups = 1;
}

static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    const cvy_conv2d *op = ((const state *)s)->op;
    cvy_layer_pass passes[3];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        const cvy_conv2d_pass pass = (cvy_conv2d_pass)i;
        if (cvy_layer_passes(setup) >> i & 1)
            passes[count++] = (cvy_layer_pass){cvy_conv2d_variant(op, pass), cvy_conv2d_origin(op, pass),
                                               cvy_conv2d_cost(op, pass)};
    }
    out->op = cvy_conv2d_op.name;
    cvy_layer_report_passes(out, passes, count);
}

const cvy_layer_type cvy_layer_conv2d = {
    .name = "Conv2d",
    .help = "2-D convolution",
    .kind = CONVOLUTION,
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .release = release,
    .forward = forward,
    .backward = backward,
    .report = report,
    .tasks = tasks,
    .divide = divide,
};

const cvy_layer_type cvy_layer_channel_linear = {
    .name = "ChannelLinear",
    .help = "Linear over the channels of each pixel",
    .kind = LINEAR,
    .params = linear_params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .release = release,
    .forward = forward,
    .backward = backward,
    .report = report,
    .tasks = tasks,
    .divide = divide,
};
