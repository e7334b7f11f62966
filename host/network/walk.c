/* Running a network: forward, backward, and its values to and from the host. */
#include <stdlib.h>
#include <string.h>

#include "network/inside.h"
#include "ops/elementwise.h"

/* Evaluation of a convolution that does the work of the batch-norm behind it. */
static convoy_status run_folded(convoy_network *network, size_t s, cvy_layer_run *run) {
    const cvy_step *step = &network->model->steps[s];
    convoy_status status = network->model->steps[step->fold].facts.fold(
        &network->steps[step->fold].run, run->tensors[0], run->tensors[1], run->saved[0], run->saved[1]);
    run->tensors[0] = run->saved[0];
    run->tensors[1] = run->saved[1];
    return status ? status : step->type->forward(network->steps[s].folded_state, run);
}

static convoy_status run_layer(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk) {
    const cvy_action *action = bound->action;
    const cvy_layer_type *type = network->model->steps[action->step].type;
    const cvy_bound_step *step = &network->steps[action->step];
    cvy_layer_run run = step->run;
    run.n = walk->n;
    run.training = walk->training;
    run.accumulate = walk->accumulate;
    run.step = walk->step;
    run.x = bound->x;
    run.gy = bound->gy;
    if (action->kind == CVY_DO_BACKWARD) {
        run.y = bound->y;
        run.gx = bound->out;
        return type->backward(step->state, &run);
    }
    if (step->pooled)
        return CONVOY_OK;
    if (step->setup.pools) {
        /* Backward reads the map in front of the pooling only for an activation's slope. */
        run.y = walk->training && step->setup.activation ? bound->out : NULL;
        run.pooled = bound->pooled;
        run.pool_indices = walk->training ? bound->pool_indices : NULL;
        return type->forward(step->state, &run);
    }
    bool folded = bound->folded_out && !walk->training;
    run.y = folded ? bound->folded_out : bound->out;
    return folded ? run_folded(network, action->step, &run) : type->forward(step->state, &run);
}

convoy_status cvy_network_run(convoy_network *network, const cvy_bound_action *bound, const cvy_walk *walk) {
    const cvy_action *action = bound->action;
    const cvy_step *step = &network->model->steps[action->step];
    convoy_status status = CONVOY_OK;
    if (action->kind == CVY_DO_ADD)
        status = cvy_add(network->device, action->out.bytes / sizeof(float), bound->x, bound->y, bound->out);
    else if (action->kind == CVY_DO_COPY)
        status =
            cvy_buffer_copy(bound->x, action->x.offset, bound->out, action->out.offset, action->out.bytes);
    else if (walk->training || !action->training_only)
        status = run_layer(network, bound, walk);
    return status ? cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name) : CONVOY_OK;
}

convoy_status cvy_network_forward(convoy_network *network, int n, bool training, uint32_t step) {
    if (n < 1 || n > network->options.batch_size)
        return cvy_fail(CONVOY_INVALID, "%d images were given to a network for batches of 1 to %d", n,
                        network->options.batch_size);
    if (training && !network->options.training)
        return cvy_fail(CONVOY_INVALID, "this network was made for inference; it has no room for training");
    cvy_walk walk = {.n = n, .training = training, .step = step};
    network->forward_n = 0;
    for (size_t i = 0; i < network->plan->forward_count; i++) {
        convoy_status status = cvy_network_run(network, &network->forward[i], &walk);
        if (status)
            return status;
    }
    if (training) {
        network->forward_n = n;
        network->forward_step = step;
        for (size_t s = 0; s < network->model->step_count; s++)
            network->batches_tracked[s] += network->model->steps[s].facts.counts_batches;
    }
    return CONVOY_OK;
}

convoy_status cvy_network_backward(convoy_network *network, int n, bool accumulate) {
    if (network->forward_n != n || n < 1)
        return cvy_fail(CONVOY_INVALID,
                        "backward of %d images must follow a training forward of the same images", n);
    cvy_walk walk = {.n = n, .training = true, .accumulate = accumulate, .step = network->forward_step};
    for (size_t i = 0; i < network->plan->backward_count; i++) {
        convoy_status status = cvy_network_run(network, &network->backward[i], &walk);
        if (status)
            return status;
    }
    return CONVOY_OK;
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
    size_t in = cvy_dims_count(network->model->input), out = cvy_dims_count(network->model->output_dims);
    size_t pitch = (size_t)network->pitch, batch = (size_t)network->options.batch_size;
    size_t larger = in > out ? in : out;
    float *columns = malloc(larger * pitch * sizeof *columns);
    convoy_status status =
        columns ? CONVOY_OK : cvy_fail_memory("a batch of images", larger * pitch * sizeof *columns);
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
