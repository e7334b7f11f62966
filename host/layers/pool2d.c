/* MaxPool2d, AvgPool2d and AdaptiveAvgPool2d: one op with three kinds. */
#include "ops/pool2d.h"
#include "layers/types.h"

typedef struct config {
    int kernel_size[2], stride[2], padding[2], dilation[2];
    int output_size[2];
    bool ceil_mode, count_include_pad;
} config;

#define WINDOW_PARAMS                                                                                        \
    CVY_PARAM(config, kernel_size, CVY_PAIR, .minimum = 1, .maximum = 1 << 15,                               \
              .help = "height and width of the window"),                                                     \
        CVY_PARAM(config, stride, CVY_PAIR, .fallback = "0", .maximum = 1 << 15,                             \
                  .help = "step of the window; 0: kernel_size"),                                             \
        CVY_PARAM(config, padding, CVY_PAIR, .fallback = "0", .maximum = 1 << 15,                            \
                  .help = "border, at most half the window"),                                                \
        CVY_PARAM(config, ceil_mode, CVY_BOOL, .fallback = "false",                                          \
                  .help = "a last window may hang over the border")

static const cvy_param max_params[] = {
    WINDOW_PARAMS,
    CVY_PARAM(config, dilation, CVY_PAIR, .fallback = "1", .minimum = 1, .maximum = 1 << 15,
              .help = "distance between the window's pixels"),
    CVY_PARAM_END,
};
static const cvy_param average_params[] = {
    WINDOW_PARAMS,
    CVY_PARAM(config, count_include_pad, CVY_BOOL, .fallback = "true",
              .help = "zeros of the padding are part of the mean"),
    CVY_PARAM_END,
};
static const cvy_param adaptive_params[] = {
    CVY_PARAM(config, output_size, CVY_PAIR, .minimum = 1, .maximum = 1 << 15,
              .help = "height and width of the output"),
    CVY_PARAM_END,
};

static cvy_pool2d_shape shape_of(const cvy_layer_type *type, const config *c, cvy_dims input, int pitch) {
    cvy_pool2d_shape shape = {.kind = (cvy_pool2d_kind)type->kind,
                              .pitch = pitch,
                              .channels = input.channels,
                              .in_height = input.height,
                              .in_width = input.width,
                              .out_height = c->output_size[0],
                              .out_width = c->output_size[1],
                              .ceil_mode = c->ceil_mode,
                              .exclude_padding = type->kind == CVY_POOL_AVERAGE && !c->count_include_pad};
    for (int i = 0; i < 2; i++) {
        shape.kernel[i] = c->kernel_size[i];
        shape.stride[i] = c->stride[i] ? c->stride[i] : c->kernel_size[i];
        shape.padding[i] = c->padding[i];
        shape.dilation[i] = c->dilation[i] ? c->dilation[i] : 1;
    }
    return shape;
}

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    cvy_pool2d_shape shape = shape_of(at->type, at->config, at->input, 16);
    convoy_status status = cvy_pool2d_infer(&shape);
    if (status)
        return status;
    facts->output = (cvy_dims){at->input.channels, shape.out_height, shape.out_width};
    facts->takes_input_activation = CVY_COMMON_ACTIVATIONS;
    facts->pooling = cvy_pool2d_pooling(&shape);
    if (shape.kind == CVY_POOL_MAX) {
        facts->saved[facts->saved_count++] =
            (cvy_layer_saved){.column_bytes = cvy_dims_count(facts->output), .indices = true};
        facts->takes_activation = cvy_pool2d_takes_relu(&shape) ? 1u << CVY_RELU : 0;
        facts->takes_gradient = true;
    }
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    cvy_pool2d_shape shape = shape_of(setup->type, setup->config, setup->input, setup->pitch);
    shape.relu = setup->activation == CVY_RELU;
    shape.input_activation = setup->input_activation;
    convoy_status status = cvy_pool2d_infer(&shape);
    return status ? status : cvy_pool2d_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_pool2d_forward(op, run->x, run->y, run->saved[0]);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_pool2d_backward(op, run->gy, run->saved[0], run->x, run->gx) : CONVOY_OK;
}

static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    const cvy_pool2d *op = s;
    double passes = setup->input_gradient ? 2 : 1; /* backward moves the same the other way */
    out->op = "pool2d";
    out->forward = cvy_pool2d_cost(op);
    out->cost = (cvy_cost){passes * out->forward.flops, passes * out->forward.bytes};
    cvy_text_add(&out->variant, "%s", cvy_pool2d_variant(op));
}

const cvy_layer_type cvy_layer_max_pool2d = {
    .name = "MaxPool2d",
    .help = "largest value of each window",
    .kind = CVY_POOL_MAX,
    .params = max_params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_pool2d),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
    .report = report,
};
const cvy_layer_type cvy_layer_avg_pool2d = {
    .name = "AvgPool2d",
    .help = "mean of each window",
    .kind = CVY_POOL_AVERAGE,
    .params = average_params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_pool2d),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
    .report = report,
};
const cvy_layer_type cvy_layer_adaptive_avg_pool2d = {
    .name = "AdaptiveAvgPool2d",
    .help = "mean over a grid of output_size windows",
    .kind = CVY_POOL_ADAPTIVE_AVERAGE,
    .params = adaptive_params,
    .config_size = sizeof(config),
    .state_size = sizeof(cvy_pool2d),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
    .report = report,
};
