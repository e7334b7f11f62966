/* Seeing each value that a network makes, layer by layer, on whatever device and with whatever is fused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "network/inside.h"

void cvy_network_observe(convoy_network *network, cvy_observer *observer, void *context) {
    network->observer = observer;
    network->observer_context = context;
}

static convoy_status show(convoy_network *network, size_t s, cvy_seen seen, size_t n) {
    const cvy_step *step = &network->model->steps[s];
    if (!seen.buffer)
        return CONVOY_OK;
    cvy_layer_report report = cvy_network_report(network, s, false);
    seen.step = s;
    seen.layer = step->name;
    seen.type = step->type_name;
    seen.variant = cvy_text_get(&report.variant);
    if (seen.pitch == 0) {
        seen.pitch = seen.n = 1;
    } else {
        seen.pitch = (size_t)network->pitch;
        seen.n = n;
    }
    const convoy_status status = network->observer(network->observer_context, &seen);
    cvy_text_free(&report.variant);
    return status;
}

/* Sums over the gradient behind the layer, a channel each: a bias in front of a batch-norm has one of 0, and
   what is found are its terms' rounding errors. */
static convoy_status size_of_sums(const convoy_network *network, const cvy_bound_action *bound,
                                  double *least) {
    const size_t bytes = cvy_buffer_bytes(bound->run.gy), count = bytes / sizeof(float);
    float *values = malloc(bytes ? bytes : 1);
    convoy_status status =
        values ? cvy_buffer_read(bound->run.gy, 0, values, bytes) : cvy_fail_memory("gradients", bytes);
    double sum = 0;
    for (size_t i = 0; i < count && !status; i++)
        sum += (double)values[i] * (double)values[i];
    *least = sqrt(sum / network->model->steps[bound->action->step].output_dims.channels);
    free(values);
    return status;
}

static convoy_status show_gradients(convoy_network *network, const cvy_bound_action *bound) {
    const cvy_step *step = &network->model->steps[bound->action->step];
    double least = 0;
    convoy_status status = step->facts.tensor_count ? size_of_sums(network, bound, &least) : CONVOY_OK;
    for (int i = 0; i < step->facts.tensor_count && !status; i++) {
        char what[64];
        snprintf(what, sizeof what, "gradient of %s", step->facts.tensors[i].name);
        status = show(
            network, bound->action->step,
            (cvy_seen){.pass = "backward", .what = what, .buffer = bound->run.gradients[i], .least = least},
            1);
    }
    return status;
}

convoy_status cvy_network_show(convoy_network *network, const cvy_bound_action *bound, int n) {
    const cvy_action *action = bound->action;
    const cvy_step *step = &network->model->steps[action->step];
    const size_t images = (size_t)n;
    convoy_status status = CONVOY_OK;
    if (action->kind == CVY_DO_FOLD || action->kind == CVY_DO_COPY)
        return CONVOY_OK;
    if (action->kind == CVY_DO_BACKWARD) {
        if (action->input_gradient)
            status = show(
                network, action->step,
                (cvy_seen){
                    .pass = "backward", .what = "gradient of the input", .buffer = bound->out, .pitch = 1},
                images);
        return status ? status : show_gradients(network, bound);
    }
    const bool forward = action->time < network->plan->loss;
    status = show(network, action->step,
                  (cvy_seen){.pass = forward ? "forward" : "backward",
                             .what = forward ? "output" : "sum",
                             .buffer = bound->out,
                             .pitch = 1},
                  images);
    if (!status && bound->run.pooled)
        status = show(
            network, cvy_step_index(network->model, step->pool),
            (cvy_seen){.pass = "forward", .what = "output", .buffer = bound->run.pooled, .pitch = 1}, images);
    return status;
}
