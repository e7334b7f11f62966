/* BatchNorm2d: torch.nn.BatchNorm2d. */
#include <stdlib.h>

#include "base/status.h"
#include "layers/types.h"
#include "ops/batchnorm.h"

typedef struct config {
    int num_features;
    double eps, momentum;
    bool affine, track_running_stats;
} config;

typedef struct state {
    const config *config;
    cvy_batchnorm *op; /* NULL where only fold runs */
    cvy_fold fold;
    bool frozen;
} state;

static const cvy_param params[] = {
    CVY_PARAM(config, num_features, CVY_INT, .fallback = "0", .maximum = 1 << 20,
              .help = "maps; inferred, checked where given"),
    CVY_PARAM(config, eps, CVY_FLOAT, .fallback = "1e-5", .minimum = 1e-30, .maximum = 1,
              .help = "added to the variance"),
    CVY_PARAM(config, momentum, CVY_FLOAT, .fallback = "0.1", .maximum = 1,
              .help = "weight of a batch in the running statistics"),
    CVY_PARAM(config, affine, CVY_BOOL, .fallback = "true", .help = "learn a scale and a shift per map"),
    CVY_PARAM(config, track_running_stats, CVY_BOOL, .fallback = "true",
              .help = "keep running statistics for evaluation"),
    CVY_PARAM_END,
};

static cvy_batchnorm_buffers buffers_of(const config *c, const cvy_layer_run *run) {
    cvy_buffer *const *statistics = &run->tensors[c->affine ? 2 : 0];
    cvy_batchnorm_buffers b = {.x = run->x,
                               .y = run->y,
                               .gy = run->gy,
                               .gx = run->gx,
                               .saved_mean = run->saved[0],
                               .saved_invstd = run->saved[1],
                               .workspace = run->workspace};
    if (c->affine) {
        b.weight = run->tensors[0], b.bias = run->tensors[1];
        b.gweight = run->gradients[0], b.gbias = run->gradients[1];
    }
    if (c->track_running_stats)
        b.running_mean = statistics[0], b.running_var = statistics[1];
    return b;
}

static convoy_status fold(void *s, const cvy_layer_run *run) {
    const state *layer = s;
    const cvy_batchnorm_buffers b = buffers_of(layer->config, run);
    return cvy_fold_run(&layer->fold, &run->folding, &b);
}

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    const config *c = at->config;
    convoy_status status =
        cvy_layer_check_given("num_features", c->num_features, at->input.channels, "channels");
    if (status)
        return status;
    size_t channels = (size_t)at->input.channels;
    facts->output = at->input;
    facts->pooled_values = (size_t)at->input.height * (size_t)at->input.width;
    if (c->affine) {
        cvy_layer_add_tensor(facts, "weight", CVY_TRAINABLE, CVY_INIT_ONES, 1, &channels);
        cvy_layer_add_tensor(facts, "bias", CVY_TRAINABLE, CVY_INIT_ZEROS, 1, &channels);
        facts->multiply_adds = facts->connections = cvy_dims_count(at->input);
    }
    if (c->track_running_stats) {
        cvy_layer_add_tensor(facts, "running_mean", CVY_STATISTIC, CVY_INIT_ZEROS, 1, &channels);
        cvy_layer_add_tensor(facts, "running_var", CVY_STATISTIC, CVY_INIT_ONES, 1, &channels);
        facts->counts_batches = true;
        facts->momentum = (float)c->momentum;
        facts->fold = fold;
    }
    for (int i = 0; i < 2; i++) /* mean, 1/standard deviation */
        facts->saved[facts->saved_count++] =
            (cvy_layer_saved){.bytes = channels * sizeof(float), .inference = !c->track_running_stats};
    facts->backward_needs_x = true;
    facts->takes_activation = CVY_BATCHNORM_ACTIVATIONS;
    facts->takes_gradient = true;
    facts->backward_in_place = true;
    facts->backward_writes_gx = true;
    return CONVOY_OK;
}

static cvy_batchnorm_shape shape_of(const cvy_layer_setup *setup) {
    const config *c = setup->config;
    return (cvy_batchnorm_shape){.pitch = setup->pitch,
                                 .channels = setup->input.channels,
                                 .height = setup->input.height,
                                 .width = setup->input.width,
                                 .eps = (float)c->eps,
                                 .momentum = (float)c->momentum,
                                 .activation = setup->activation,
                                 .frozen = setup->frozen && c->track_running_stats,
                                 .shared = setup->shares};
}

static convoy_status needs(cvy_layer_setup *setup) {
    const cvy_batchnorm_shape shape = shape_of(setup);
    setup->needs.workspace = setup->only_folds ? 0 : cvy_batchnorm_workspace(setup->traits, &shape);
    return CONVOY_OK;
}

static convoy_status setup(void *s, cvy_layer_setup *setup) {
    state *layer = s;
    const cvy_batchnorm_shape shape = shape_of(setup);
    layer->config = setup->config;
    layer->frozen = shape.frozen;
    convoy_status status = cvy_fold_prepare(setup->device, shape.channels, shape.eps, &layer->fold);
    return status || setup->only_folds ? status : cvy_batchnorm_create(setup->device, &shape, &layer->op);
}

static void release(void *s) {
    cvy_batchnorm_free(((state *)s)->op);
}

static convoy_status forward(void *s, const cvy_layer_run *run) {
    const state *layer = s;
    const cvy_batchnorm_buffers b = buffers_of(layer->config, run);
    if (layer->frozen && !run->training)
        return cvy_batchnorm_forward_frozen(layer->op, &b);
    return !run->training && b.running_mean ? cvy_batchnorm_forward_eval(layer->op, &b)
                                            : cvy_batchnorm_forward_training(layer->op, run->n, &b);
}

static convoy_status backward(void *s, const cvy_layer_run *run) {
    const state *layer = s;
    const cvy_batchnorm_buffers b = buffers_of(layer->config, run);
    return cvy_batchnorm_backward(layer->op, run->n, run->accumulate, &b);
}

static convoy_status give(void *s, const cvy_layer_run *run, bool backward, double *pairs) {
    const state *layer = s;
    const cvy_batchnorm_buffers b = buffers_of(layer->config, run);
    return backward ? cvy_batchnorm_sums(layer->op, run->n, run->accumulate, &b, pairs)
                    : cvy_batchnorm_moments(layer->op, run->n, &b, pairs);
}

static convoy_status take(void *s, const cvy_layer_run *run, bool backward, const double *pairs,
                          double count) {
    const state *layer = s;
    const cvy_batchnorm_buffers b = buffers_of(layer->config, run);
    return backward ? cvy_batchnorm_backward_shared(layer->op, run->n, pairs, count, &b)
                    : cvy_batchnorm_forward_shared(layer->op, pairs, count, &b);
}

static void report(const void *s, const cvy_layer_setup *setup, cvy_layer_report *out) {
    const cvy_batchnorm *op = ((const state *)s)->op;
    out->op = "batchnorm";
    out->forward = cvy_batchnorm_cost(op, false);
    out->cost = out->forward;
    if (setup->training) {
        cvy_cost backward = cvy_batchnorm_cost(op, true);
        out->cost.flops += backward.flops;
        out->cost.bytes += backward.bytes;
    }
    cvy_text_add(&out->variant, "%s", cvy_batchnorm_variant(op));
}

const cvy_layer_type cvy_layer_batch_norm2d = {
    .name = "BatchNorm2d",
    .help = "batch normalisation per map",
    .params = params,
    .config_size = sizeof(config),
    .state_size = sizeof(state),
    .describe = describe,
    .needs = needs,
    .setup = setup,
    .release = release,
    .forward = forward,
    .backward = backward,
    .give = give,
    .take = take,
    .report = report,
};
