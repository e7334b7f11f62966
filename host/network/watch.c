/* Looking at a layer while a network runs. */
#include "network/inside.h"

static convoy_status check(const convoy_network *network, int n, size_t layer) {
    const convoy_model *model = network->model;
    if (!network->options.training || !model->apart)
        return cvy_fail(CONVOY_INVALID, "only a training network whose layers are kept apart can be watched");
    if (n < 1 || n > network->options.batch_size)
        return cvy_fail(CONVOY_INVALID, "%d images were given to a network for batches of 1 to %d", n,
                        network->options.batch_size);
    if (layer >= model->step_count || !cvy_network_has_layer(network, &model->steps[layer]))
        return cvy_fail(CONVOY_INVALID,
                        "layer %s gives nothing of its own: choose one that computes something",
                        layer < model->step_count ? model->steps[layer].name : "beyond the last");
    return CONVOY_OK;
}

static convoy_status copy(const convoy_network *network, size_t layer, cvy_buffer *from, float *to) {
    return cvy_buffer_read(from, 0, to,
                           cvy_value_bytes(network->model->steps[layer].output_dims, network->pitch));
}

convoy_status cvy_network_watch_forward(convoy_network *network, int n, size_t layer, float *activation) {
    const cvy_walk walk = {.n = n, .frozen = true};
    convoy_status status = check(network, n, layer);
    for (size_t i = 0; i < network->plan->train.count && !status; i++) {
        const cvy_bound_action *bound = &network->train[i];
        status = cvy_network_run(network, bound, &walk);
        if (!status && bound->action->step == layer)
            status = copy(network, layer, bound->out, activation);
    }
    network->forward_n = status ? 0 : n;
    return status;
}

convoy_status cvy_network_watch_backward(convoy_network *network, int n, size_t layer, float *gradient) {
    const cvy_walk walk = {.n = n, .frozen = true};
    convoy_status status = check(network, n, layer);
    if (!status && network->forward_n != n)
        status =
            cvy_fail(CONVOY_INVALID, "backward of %d images must follow a forward of the same images", n);
    for (size_t i = 0; i < network->plan->backward.count && !status; i++) {
        const cvy_bound_action *bound = &network->backward[i];
        if (bound->action->step == layer && bound->action->kind == CVY_DO_BACKWARD)
            return copy(network, layer, bound->run.gy, gradient);
        status = cvy_network_run(network, bound, &walk);
    }
    return status ? status
                  : cvy_fail(CONVOY_INVALID, "no gradient comes to layer %s: nothing before it is learnt",
                             network->model->steps[layer].name);
}
