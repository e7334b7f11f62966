/* Making a network: plan its memory (memory.c), prepare its layers, check that it fits, allocate, bind. */
#include <stdlib.h>
#include <string.h>

#include "network/inside.h"
#include "tune/tune.h"

/* ---- layers ---- */

static void describe_step(convoy_network *network, size_t s) {
    const cvy_step *step = &network->model->steps[s];
    cvy_bound_step *bound = &network->steps[s];
    bool input_gradient = false, backward = false;
    for (size_t i = 0; i < network->plan->backward.count; i++) {
        const cvy_action *action = &network->plan->backward.list[i];
        if (action->step == s && action->kind == CVY_DO_BACKWARD) {
            backward = true;
            input_gradient = action->input_gradient;
        }
    }
    bound->setup = (cvy_layer_setup){.device = network->device,
                                     .config = step->config,
                                     .input = step->input_dims[0],
                                     .output = step->output_dims,
                                     .pitch = network->pitch,
                                     .activation = step->activation,
                                     .input_activation = step->input_activation,
                                     .training = backward,
                                     .input_gradient = input_gradient,
                                     .only_folds = step->folded && !network->options.training,
                                     .seed = network->options.seed,
                                     .index = (uint32_t)s};
    if (step->pool) {
        bound->setup.pooling = step->pool->facts.pooling;
        bound->setup.pooling.relu = step->pool->activation == CVY_RELU;
    }
}

static bool has_layer(const cvy_step *step) {
    return step->kind == CVY_STEP_LAYER && !step->facts.alias;
}

static convoy_status prepare_state(convoy_network *network, const cvy_step *step, cvy_layer_setup *setup,
                                   void **state) {
    *state = cvy_arena_alloc(network->memory, step->type->state_size ? step->type->state_size : 1);
    convoy_status status = step->type->setup ? step->type->setup(*state, setup) : CONVOY_OK;
    if (status)
        return cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name);
    if (setup->workspace > network->workspace_bytes)
        network->workspace_bytes = setup->workspace;
    return CONVOY_OK;
}

/* A convolution with a folded batch-norm is another one in evaluation: it ends with the batch-norm's
 * activation. */
static convoy_status prepare_folded(convoy_network *network, const cvy_step *step, cvy_bound_step *bound) {
    cvy_layer_setup setup = bound->setup;
    setup.activation = step->fold->activation;
    setup.training = setup.input_gradient = false;
    return prepare_state(network, step, &setup, &bound->folded_state);
}

static convoy_status prepare_step(convoy_network *network, size_t s) {
    const cvy_step *step = &network->model->steps[s];
    cvy_bound_step *bound = &network->steps[s];
    if (!has_layer(step))
        return CONVOY_OK;
    convoy_status status = CONVOY_OK;
    if (network->options.training || !step->fold)
        status = prepare_state(network, step, &bound->setup, &bound->state);
    if (bound->setup.pools) {
        network->steps[cvy_step_index(network->model, step->pool)].pooled = true;
        cvy_plan_pool(network->plan, network->model, s);
    }
    if (!status && step->fold)
        status = prepare_folded(network, step, bound);
    return status;
}

/* ---- what there is to choose ---- */

static int tasks_of(const convoy_network *network, size_t s, cvy_task tasks[CVY_LAYER_TASKS]) {
    const cvy_step *step = &network->model->steps[s];
    return has_layer(step) && step->type->tasks ? step->type->tasks(&network->steps[s].setup, tasks) : 0;
}

/* A forced variant serves the layers that can run it: first convolutions often differ from the rest. Where
   none can, what was asked for is not to be had. */
static convoy_status force(convoy_network *network, const cvy_op *op) {
    const cvy_variant *variant = *cvy_forced_of(&network->forced, op);
    bool served = !variant;
    for (size_t s = 0; s < network->model->step_count && variant; s++) {
        cvy_task tasks[CVY_LAYER_TASKS];
        const int count = tasks_of(network, s, tasks);
        for (int i = 0; i < count; i++) {
            const cvy_job job = cvy_task_job(network->device, &tasks[i]);
            if (tasks[i].op == op && variant->supports(&job)) {
                *cvy_forced_of(&network->steps[s].setup.forced, op) = variant;
                served = true;
            }
        }
    }
    return served
               ? CONVOY_OK
               : cvy_fail(CONVOY_DEVICE,
                          "variant %s=%s runs no layer of %s with batches of %d on %s; leave the choice open",
                          op->name, variant->name, network->model->name, network->options.batch_size,
                          convoy_device_get_info(network->device)->name);
}

static void add_task(cvy_task *list, size_t *count, const cvy_task *task) {
    if (!cvy_task_merge(list, *count, task))
        list[(*count)++] = *task;
}

/* A variant to choose, unless it is forced; and the options of variants, where one runs or, for `all`, may do
   so once they are known. */
static void add_choices(const cvy_layer_setup *setup, const cvy_task *task, bool all, cvy_task *list,
                        size_t *count) {
    const char *forced = cvy_forced_name(&setup->forced, task->op);
    const cvy_job job = cvy_task_job(setup->device, task);
    cvy_prepared chosen;
    cvy_prepared_choose(task->op, &job, forced, &chosen);
    for (size_t i = 0; task->op->variants[i]; i++) {
        const cvy_variant *variant = task->op->variants[i];
        const bool may = !forced && all && !job.traits->cpu && variant->supports(&job);
        cvy_task option = *task;
        option.option_of = variant;
        if (variant->option && (variant == chosen.variant || may))
            add_task(list, count, &option);
    }
    if (!forced)
        add_task(list, count, task);
}

/* What the layers will choose variants for, each once; malloc'ed. `all`: as for add_choices. */
static convoy_status collect_tasks(const convoy_network *network, bool all, cvy_task **tasks, size_t *count) {
    const convoy_model *model = network->model;
    cvy_task *list = calloc(model->step_count * CVY_LAYER_TASKS * 2 + 1, sizeof *list);
    *count = 0;
    if (!list)
        return cvy_fail_memory("a list of shapes", model->step_count * sizeof *list);
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_layer_setup *setup = &network->steps[s].setup;
        cvy_task own[CVY_LAYER_TASKS];
        const int found = tasks_of(network, s, own);
        for (int i = 0; i < found; i++)
            add_choices(setup, &own[i], all, list, count);
    }
    *tasks = list;
    return CONVOY_OK;
}

static convoy_status tune_new_shapes(const convoy_network *network) {
    cvy_task *tasks = NULL;
    size_t count = 0;
    convoy_status status = collect_tasks(network, false, &tasks, &count);
    if (!status)
        cvy_tune_automatically(network->device, tasks, count);
    free(tasks);
    return status;
}

/* ---- buffers ---- */

static convoy_status allocate(convoy_network *network) {
    const cvy_plan *plan = network->plan;
    convoy_status status = CONVOY_OK;
    network->arenas = cvy_arena_alloc(network->memory, (plan->arena_count + 1) * sizeof *network->arenas);
    for (size_t i = 0; i < plan->arena_count && !status; i++)
        status = cvy_buffer_create(network->device, plan->arena_bytes[i], "activations", &network->arenas[i]);
    if (!status)
        status =
            cvy_buffer_create(network->device, network->parameter_bytes, "parameters", &network->parameters);
    if (!status && network->options.training)
        status = cvy_buffer_create(network->device, network->parameter_count * sizeof(float), "gradients",
                                   &network->gradients);
    if (!status)
        status =
            cvy_buffer_create(network->device, network->workspace_bytes, "workspace", &network->workspace);
    return status;
}

/* ---- create and close ---- */

/* Everything that needs no memory of the device. */
static convoy_status describe_parts(convoy_network *network) {
    const convoy_model *model = network->model;
    network->steps = cvy_arena_alloc(network->memory, model->step_count * sizeof *network->steps);
    network->tensors = cvy_arena_alloc(network->memory, (model->tensor_count + 1) * sizeof *network->tensors);
    network->batches_tracked =
        cvy_arena_alloc(network->memory, model->step_count * sizeof *network->batches_tracked);
    convoy_status status = cvy_forced_read(network->options.variant, &network->forced);
    if (!status)
        status = cvy_network_plan_memory(network);
    for (size_t s = 0; s < model->step_count && !status; s++)
        describe_step(network, s);
    for (size_t i = 0; cvy_ops[i] && !status; i++)
        status = force(network, cvy_ops[i]);
    return status;
}

static convoy_status create_parts(convoy_network *network) {
    convoy_status status = describe_parts(network);
    if (!status && !network->options.as_before)
        status = tune_new_shapes(network);
    for (size_t s = 0; s < network->model->step_count && !status; s++)
        status = prepare_step(network, s);
    if (!status)
        status = cvy_network_check_fit(network);
    if (!status)
        status = allocate(network);
    if (!status)
        status = cvy_network_bind(network);
    return status ? status : cvy_network_upload(network);
}

static convoy_status begin(convoy_model *model, convoy_device *device, const cvy_network_options *options,
                           convoy_network **out) {
    *out = NULL;
    if (options->batch_size < 1 || options->batch_size > 1 << 20)
        return cvy_fail(CONVOY_INVALID, "a batch of %d images is not possible; 1 to %d are",
                        options->batch_size, 1 << 20);
    convoy_network *network = calloc(1, sizeof *network);
    if (!network || !(network->memory = cvy_arena_create())) {
        free(network);
        return cvy_fail_memory("a network", sizeof *network);
    }
    network->model = model;
    network->device = device;
    network->options = *options;
    *out = network;
    return CONVOY_OK;
}

convoy_status cvy_network_create(convoy_model *model, convoy_device *device,
                                 const cvy_network_options *options, convoy_network **out) {
    convoy_status status = begin(model, device, options, out);
    if (status)
        return status;
    status = create_parts(*out);
    (*out)->options.variant = NULL; /* the caller's text need not live on */
    if (status) {
        convoy_network_close(*out);
        *out = NULL;
    }
    return status;
}

convoy_status cvy_network_tasks(convoy_model *model, convoy_device *device,
                                const cvy_network_options *options, cvy_task **tasks, size_t *count) {
    convoy_network *network;
    *tasks = NULL;
    *count = 0;
    convoy_status status = begin(model, device, options, &network);
    if (!status)
        status = describe_parts(network);
    if (!status)
        status = collect_tasks(network, true, tasks, count);
    convoy_network_close(network);
    return status;
}

convoy_status convoy_network_open(convoy_model *model, convoy_device *device, int batch_size,
                                  convoy_network **network) {
    return cvy_network_create(model, device, &(cvy_network_options){.batch_size = batch_size}, network);
}

void convoy_network_close(convoy_network *network) {
    if (!network)
        return;
    for (size_t s = 0; network->steps && s < network->model->step_count; s++) {
        const cvy_layer_type *type = network->model->steps[s].type;
        void *states[] = {network->steps[s].state, network->steps[s].folded_state};
        for (size_t i = 0; i < 2; i++)
            if (states[i] && type->release)
                type->release(states[i]);
        free(network->steps[s].variant);
    }
    cvy_network_unbind(network);
    for (size_t i = 0; network->arenas && i < network->plan->arena_count; i++)
        cvy_buffer_free(network->arenas[i]);
    cvy_buffer_free(network->workspace);
    cvy_buffer_free(network->gradients);
    cvy_buffer_free(network->parameters);
    cvy_plan_free(network->plan);
    cvy_arena_free(network->memory);
    free(network);
}

/* ---- questions ---- */

convoy_model *cvy_network_model(const convoy_network *network) {
    return network->model;
}

int cvy_network_batch_size(const convoy_network *network) {
    return network->options.batch_size;
}

int cvy_network_pitch(const convoy_network *network) {
    return network->pitch;
}

cvy_buffer *cvy_network_input(convoy_network *network) {
    return network->input;
}

cvy_buffer *cvy_network_output(convoy_network *network) {
    return network->output;
}

cvy_buffer *cvy_network_output_gradient(convoy_network *network) {
    return network->output_gradient;
}

cvy_buffer *cvy_network_parameters(convoy_network *network) {
    return network->parameters;
}

cvy_buffer *cvy_network_gradients(convoy_network *network) {
    return network->gradients;
}

size_t cvy_network_parameter_count(const convoy_network *network) {
    return network->parameter_count;
}

size_t cvy_network_parameter_offset(const convoy_network *network, size_t index) {
    return convoy_model_tensor(network->model, index).trainable ? network->tensors[index].offset : SIZE_MAX;
}
