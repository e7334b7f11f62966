/* Running a network: forward, backward, and its values to and from the host. */
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "network/inside.h"

convoy_status cvy_network_run(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk) {
    const cvy_action *action = bound->action;
    const cvy_step *step = &network->model->steps[action->step];
    cvy_layer_run run = bound->run;
    convoy_status status = CONVOY_OK;
    switch (action->kind) {
    case CVY_DO_ADD:
        status = cvy_elementwise_run(&bound->add, run.x, run.y, bound->out);
        break;
    case CVY_DO_PRODUCT:
        status = cvy_product_run(&bound->product, run.x, run.y, bound->out);
        break;
    case CVY_DO_SUMS:
        status = cvy_product_sums(&bound->product, run.x, run.y, bound->out);
        break;
    case CVY_DO_COPY:
        status = cvy_buffer_copy(run.x, action->x.offset, bound->out, action->out.offset, action->out.bytes);
        break;
    default: /* a layer's call */
        run.n = walk->n;
        run.accumulate = walk->accumulate;
        run.step = walk->step;
        run.training = run.training && !walk->frozen;
        status = bound->call(bound->state, &run);
        break;
    }
    return status ? cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name) : CONVOY_OK;
}

convoy_status cvy_network_do(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk) {
    convoy_status status = network->watch ? cvy_network_look_before(network, bound) : CONVOY_OK;
    if (!status)
        status = network->verifier ? cvy_network_run_verified(network, bound, walk)
                                   : cvy_network_run(network, bound, walk);
    if (!status && network->watch)
        status = cvy_network_look(network, bound, walk->n);
    if (!status && network->observer)
        status = cvy_network_show(network, bound, walk->n);
    return status;
}

static convoy_status run_all(convoy_network *network, const cvy_bound_action *bound, size_t count,
                             const cvy_walk *walk) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status = cvy_network_do(network, &bound[i], walk);
        if (!status && network->listener && bound == network->backward)
            status = network->listener(network->listener_context, i + 1);
    }
    return status;
}

convoy_status cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step) {
    if (n < 1 || n > network->options.batch_size)
        return cvy_fail(CONVOY_INVALID, "%d images were given to a network for batches of 1 to %d", n,
                        network->options.batch_size);
    if (training && !network->options.training)
        return cvy_fail(CONVOY_INVALID, "this network was made for inference; it has no room for training");
    const cvy_walk walk = {.n = n, .step = step};
    const cvy_plan *plan = network->plan;
    network->forward_n = 0;
    if (!training)
        return run_all(network, network->evaluate, plan->evaluate.count, &walk);
    convoy_status status = run_all(network, network->train, plan->train.count, &walk);
    if (status)
        return status;
    network->forward_n = n;
    network->forward_step = step;
    for (size_t s = 0; s < network->model->step_count; s++)
        network->batches_tracked[s] +=
            network->model->steps[s].facts.counts_batches && !network->model->steps[s].frozen;
    return CONVOY_OK;
}

convoy_status cvy_network_backward(convoy_network *network, int n, bool accumulate) {
    if (network->forward_n != n || n < 1)
        return cvy_fail(CONVOY_INVALID,
                        "backward of %d images must follow a training forward of the same images", n);
    const cvy_walk walk = {.n = n, .accumulate = accumulate, .step = network->forward_step};
    return run_all(network, network->backward, network->plan->backward.count, &walk);
}

size_t cvy_network_gradients_ready(const convoy_network *network, cvy_range range) {
    const cvy_actions *backward = &network->plan->backward;
    size_t ready = 0;
    for (size_t t = 0; t < network->model->tensor_count; t++) {
        const size_t at = cvy_network_parameter_offset(network, t);
        for (size_t i = ready; at >= range.offset && at < range.offset + range.count && i < backward->count;
             i++)
            if (backward->list[i].step == network->model->tensors[t].step)
                ready = i + 1;
    }
    return ready;
}

void cvy_network_listen(convoy_network *network, cvy_backward_listener *listener, void *context) {
    network->listener = listener;
    network->listener_context = context;
}

/* ---- values ---- */

convoy_status cvy_network_upload(convoy_network *network) {
    const convoy_model *model = network->model;
    convoy_status status = CONVOY_OK;
    for (size_t t = 0; t < model->tensor_count && !status; t++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        const cvy_tensor_place *place = &network->tensors[t];
        size_t bytes = tensor->count * sizeof(float);
        status = cvy_buffer_write(network->parameters, place->offset * sizeof(float),
                                  model->data + tensor->offset, bytes);
        if (!status && place->mask_offset != SIZE_MAX)
            status = cvy_buffer_write(network->parameters, place->mask_offset * sizeof(float),
                                      tensor->about->mask, bytes);
    }
    memcpy(network->batches_tracked, model->batches_tracked,
           model->step_count * sizeof *model->batches_tracked);
    return status;
}

convoy_status cvy_network_download(convoy_network *network) {
    convoy_model *model = network->model;
    convoy_status status = CONVOY_OK;
    for (size_t t = 0; t < model->tensor_count && !status; t++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        status = cvy_buffer_read(network->parameters, network->tensors[t].offset * sizeof(float),
                                 model->data + tensor->offset, tensor->count * sizeof(float));
    }
    memcpy(model->batches_tracked, network->batches_tracked,
           model->step_count * sizeof *model->batches_tracked);
    return status;
}

/* ---- prediction ---- */

/* [n][features] -> [features][pitch]; padding columns become 0. */
static void to_columns(const float *rows, size_t n, size_t features, size_t pitch, float *columns) {
    for (size_t f = 0; f < features; f++) {
        for (size_t i = 0; i < n; i++)
            columns[f * pitch + i] = rows[i * features + f];
        for (size_t i = n; i < pitch; i++)
            columns[f * pitch + i] = 0;
    }
}

static void to_rows(const float *columns, size_t n, size_t features, size_t pitch, float *rows) {
    for (size_t i = 0; i < n; i++)
        for (size_t f = 0; f < features; f++)
            rows[i * features + f] = columns[f * pitch + i];
}

convoy_status convoy_network_predict(convoy_network *network, const float *images, size_t count,
                                     float *outputs) {
    convoy_status status = CVY_GIVEN(network);
    if (!status)
        status = CVY_GIVEN_POINTER(images);
    if (!status)
        status = CVY_GIVEN_POINTER(outputs);
    if (status)
        return status;
    size_t in = cvy_dims_count(network->model->input), out = cvy_dims_count(network->model->output_dims);
    size_t pitch = (size_t)network->pitch, batch = (size_t)network->options.batch_size;
    size_t larger = in > out ? in : out;
    float *columns = malloc(larger * pitch * sizeof *columns);
    if (!columns)
        status = cvy_fail_memory("a batch of images", larger * pitch * sizeof *columns);
    for (size_t done = 0; done < count && !status; done += batch) {
        size_t n = count - done < batch ? count - done : batch;
        to_columns(images + done * in, n, in, pitch, columns);
        status = cvy_buffer_write(network->input, 0, columns, in * pitch * sizeof *columns);
        if (!status)
            status = cvy_network_forward(network, (int)n, false, 0);
        if (!status)
            status = cvy_buffer_read(network->output, 0, columns, out * pitch * sizeof *columns);
        if (!status)
            to_rows(columns, n, out, pitch, outputs + done * out);
    }
    free(columns);
    return status;
}
