/* What each layer of a network is to do, what that needs of the device, and the plan that follows from it. No
   kernel is built, and no device needed: its traits will do. */
#include "base/integer.h"
#include "base/log.h"
#include "network/inside.h"

/* ---- what the layers are to do ---- */

static void describe_step(convoy_network *network, size_t s) {
    const cvy_step *step = &network->model->steps[s];
    bool input_gradient = false, backward = false;
    for (size_t i = 0; i < network->plan->backward.count; i++) {
        const cvy_action *action = &network->plan->backward.list[i];
        if (action->step == s && action->kind == CVY_DO_BACKWARD) {
            backward = true;
            input_gradient = action->input_gradient;
        }
    }
    cvy_layer_setup setup = {.traits = network->traits,
                             .device = network->device,
                             .type = step->type,
                             .config = step->config,
                             .input = step->input_dims[0],
                             .output = step->output_dims,
                             .pitch = network->pitch,
                             .activation = step->activation,
                             .input_activation = step->input_activation,
                             .training = backward,
                             .input_gradient = input_gradient,
                             .frozen = (step->frozen || network->model->apart) && network->options.training,
                             .only_folds = step->folded && !network->options.training,
                             .shares = network->options.shares && step->type && step->type->give &&
                                       !step->frozen && !network->model->apart,
                             .seed = network->options.seed,
                             .index = (uint32_t)s};
    if (step->pool) {
        setup.pooling = step->pool->facts.pooling;
        setup.pooling.relu = step->pool->activation == CVY_RELU;
    }
    network->steps[s].setup = setup;
}

int cvy_network_step_tasks(const convoy_network *network, size_t s, cvy_task tasks[CVY_LAYER_TASKS]) {
    const cvy_step *step = &network->model->steps[s];
    return cvy_network_has_layer(network, step) && step->type->tasks
               ? step->type->tasks(&network->steps[s].setup, tasks)
               : 0;
}

/* A forced variant serves the layers that can run it: first convolutions often differ from the rest. Where
   none can, what was asked for is not to be had. */
static convoy_status force(convoy_network *network, const cvy_op *op) {
    const cvy_variant *variant = *cvy_forced_of(&network->forced, op);
    bool served = !variant;
    for (size_t s = 0; s < network->model->step_count && variant; s++) {
        cvy_task tasks[CVY_LAYER_TASKS];
        const int count = cvy_network_step_tasks(network, s, tasks);
        for (int i = 0; i < count; i++) {
            const cvy_job job = cvy_job_on(network->traits, network->device, tasks[i].shape, tasks[i].pass);
            if (tasks[i].op == op && variant->supports(&job)) {
                *cvy_forced_of(&network->steps[s].setup.forced, op) = variant;
                served = true;
            }
        }
    }
    const char *where = network->device ? convoy_device_get_info(network->device)->name : "this device";
    if (!served && network->options.where_possible) {
        *cvy_forced_of(&network->forced, op) = NULL;
        cvy_warning("variant %s=%s runs no layer on %s, which chooses by itself", op->name, variant->name,
                    where);
        return CONVOY_OK;
    }
    return served
               ? CONVOY_OK
               : cvy_fail(CONVOY_DEVICE,
                          "variant %s=%s runs no layer of %s with batches of %d on %s; leave the choice open",
                          op->name, variant->name, network->model->name, network->options.batch_size, where);
}

const cvy_variant *cvy_network_forced(const convoy_network *network, const cvy_op *op) {
    return *cvy_forced_of((cvy_forced *)&network->forced, op);
}

/* ---- what they need ---- */

static convoy_status ask(const cvy_step *step, cvy_layer_setup *setup) {
    const convoy_status status = step->type->needs ? step->type->needs(setup) : CONVOY_OK;
    return status ? cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name) : CONVOY_OK;
}

/* A convolution with a folded batch-norm is another one in evaluation: it ends with the batch-norm's
   activation. Without training it is only that one. */
static convoy_status find_needs(convoy_network *network, size_t s) {
    const cvy_step *step = &network->model->steps[s];
    cvy_bound_step *bound = &network->steps[s];
    convoy_status status = CONVOY_OK;
    if (!cvy_network_has_layer(network, step))
        return CONVOY_OK;
    if (step->fold) {
        bound->folded = bound->setup;
        bound->folded.activation = step->fold->activation;
        bound->folded.training = bound->folded.input_gradient = false;
        status = ask(step, &bound->folded);
    }
    return status || (step->fold && !network->options.training) ? status : ask(step, &bound->setup);
}

/* ---- the plan ---- */

static convoy_status start_plan(convoy_network *network) {
    cvy_plan_free(network->plan);
    return cvy_plan_create(network->model, network->pitch, network->options.training,
                           network->traits->view_alignment, &network->plan);
}

static convoy_status finish_plan(convoy_network *network) {
    const convoy_model *model = network->model;
    network->workspace_bytes = 0;
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_bound_step *bound = &network->steps[s];
        network->workspace_bytes = max_size(
            network->workspace_bytes, max_size(bound->setup.needs.workspace, bound->folded.needs.workspace));
        if (model->steps[s].pool)
            network->steps[cvy_step_index(model, model->steps[s].pool)].pooled = bound->setup.needs.fuses;
        if (bound->setup.needs.fuses)
            cvy_plan_pool(network->plan, model, s);
    }
    return cvy_plan_pack(network->plan, network->traits->max_allocation);
}

convoy_status cvy_network_plan_again(convoy_network *network) {
    const convoy_status status = start_plan(network);
    return status ? status : finish_plan(network);
}

convoy_status cvy_network_describe(convoy_network *network) {
    const convoy_model *model = network->model;
    const cvy_network_options *options = &network->options;
    network->pitch = cvy_network_pitch_of(network->traits, options->batch_size, options->training);
    network->layout = cvy_network_lay_out(model, network->traits, network->tensors);
    convoy_status status = start_plan(network);
    for (size_t s = 0; s < model->step_count && !status; s++)
        describe_step(network, s);
    for (size_t i = 0; cvy_ops[i] && !status; i++)
        status = force(network, cvy_ops[i]);
    for (size_t s = 0; s < model->step_count && !status; s++)
        status = find_needs(network, s);
    return status ? status : finish_plan(network);
}
