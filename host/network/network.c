/* Making a network: plan it (needs.c), check that it fits (memory.c), choose variants, open the layers,
   allocate, bind. */
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "network/inside.h"
#include "tune/tune.h"

/* ---- layers ---- */

/* *changed: the needs turned out otherwise. */
static convoy_status open_layer(convoy_network *network, const cvy_step *step, cvy_layer_setup *setup,
                                void **state, bool *changed) {
    const cvy_needs planned = setup->needs;
    *state = cvy_arena_alloc(network->memory, step->type->state_size ? step->type->state_size : 1);
    convoy_status status = step->type->setup ? step->type->setup(*state, setup) : CONVOY_OK;
    *changed |= planned.workspace != setup->needs.workspace || planned.fuses != setup->needs.fuses;
    return status ? cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name) : CONVOY_OK;
}

static convoy_status open_step(convoy_network *network, size_t s, bool *changed) {
    const cvy_step *step = &network->model->steps[s];
    cvy_bound_step *bound = &network->steps[s];
    convoy_status status = CONVOY_OK;
    if (!cvy_network_has_layer(network, step) || (step->fused && !bound->setup.training))
        return CONVOY_OK;
    if (network->options.training || !step->fold)
        status = open_layer(network, step, &bound->setup, &bound->state, changed);
    return status || !step->fold ? status
                                 : open_layer(network, step, &bound->folded, &bound->folded_state, changed);
}

/* Where a variant failed and another has its place, memory is planned again. */
static convoy_status open_layers(convoy_network *network) {
    convoy_status status = CONVOY_OK;
    bool changed = false;
    const size_t count = network->model->step_count;
    for (size_t s = 0; s < count && !status; s++) {
        cvy_network_build_ahead(network);
        status = open_step(network, network->options.last_first ? count - 1 - s : s, &changed);
    }
    return status || !changed ? status : cvy_network_check_fit(network, cvy_network_plan_again(network));
}

/* ---- what there is to choose ---- */

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
        const int found = cvy_network_step_tasks(network, s, own);
        for (int i = 0; i < found; i++)
            add_choices(setup, &own[i], all, list, count);
    }
    *tasks = list;
    return CONVOY_OK;
}

/* Where it measured something, other variants may be chosen, with other needs. */
static convoy_status tune_new_shapes(convoy_network *network) {
    cvy_task *tasks = NULL;
    size_t count = 0;
    convoy_status status = collect_tasks(network, false, &tasks, &count);
    if (!status && cvy_tune_automatically(network->device, tasks, count))
        status = cvy_network_check_fit(network, cvy_network_describe(network));
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
    if (network->options.parameters_of)
        network->parameters = network->options.parameters_of->parameters;
    else if (!status)
        status =
            cvy_buffer_create(network->device, network->layout.bytes, "parameters", &network->parameters);
    if (!status && network->options.training)
        status = cvy_buffer_create(network->device, network->layout.gradients * sizeof(float), "gradients",
                                   &network->gradients);
    if (!status)
        status =
            cvy_buffer_create(network->device, network->workspace_bytes, "workspace", &network->workspace);
    return status;
}

/* ---- create and close ---- */

convoy_status cvy_network_begin(convoy_model *model, const cvy_device_traits *traits, convoy_device *device,
                                const cvy_network_options *options, convoy_network **out) {
    *out = NULL;
    if (options->batch_size < 1 || options->batch_size > 1 << 20)
        return cvy_fail(CONVOY_INVALID, "a batch of %d images is not possible; 1 to %d are",
                        options->batch_size, 1 << 20);
    convoy_network *network = calloc(1, sizeof *network);
    if (!network || !(network->memory = cvy_arena_create())) {
        free(network);
        return cvy_fail_memory("a network", sizeof *network);
    }
    cvy_object_open(network);
    network->model = model;
    network->device = device;
    network->traits = traits;
    network->options = *options;
    if (options->beside) {
        network->beside = *options->beside;
        network->options.beside = &network->beside;
    }
    network->steps = cvy_arena_alloc(network->memory, model->step_count * sizeof *network->steps);
    network->tensors = cvy_arena_alloc(network->memory, (model->tensor_count + 1) * sizeof *network->tensors);
    network->batches_tracked =
        cvy_arena_alloc(network->memory, model->step_count * sizeof *network->batches_tracked);
    *out = network;
    return cvy_forced_read(options->variant, &network->forced);
}

/* All that can be said before anything is built or allocated. */
static convoy_status plan(convoy_model *model, convoy_device *device, const cvy_network_options *options,
                          convoy_network **network) {
    convoy_status status = cvy_network_begin(model, cvy_device_get_traits(device), device, options, network);
    return status ? status : cvy_network_check_fit(*network, cvy_network_describe(*network));
}

static convoy_status build(convoy_network *network) {
    convoy_status status = network->options.as_before ? CONVOY_OK : tune_new_shapes(network);
    if (!status)
        status = open_layers(network);
    if (!status)
        status = allocate(network);
    if (!status)
        status = cvy_network_bind(network);
    return status || network->options.parameters_of ? status : cvy_network_upload(network);
}

convoy_status cvy_network_create(convoy_model *model, convoy_device *device,
                                 const cvy_network_options *options, convoy_network **out) {
    convoy_status status = plan(model, device, options, out);
    if (!status)
        status = build(*out);
    if (status) {
        convoy_network_close(*out);
        *out = NULL;
    } else {
        (*out)->options.variant = NULL; /* the caller's text need not live on */
    }
    return status;
}

convoy_status cvy_network_tasks(convoy_model *model, convoy_device *device,
                                const cvy_network_options *options, cvy_task **tasks, size_t *count) {
    convoy_network *network;
    *tasks = NULL;
    *count = 0;
    convoy_status status = plan(model, device, options, &network);
    if (!status)
        status = collect_tasks(network, true, tasks, count);
    convoy_network_close(network);
    return status;
}

convoy_status convoy_network_open(convoy_model *model, convoy_device *device, int batch_size,
                                  convoy_network **network) {
    convoy_status status = CVY_GIVEN_POINTER(network);
    if (status)
        return status;
    *network = NULL;
    status = CVY_GIVEN(model);
    if (!status)
        status = CVY_GIVEN(device);
    if (status)
        return status;
    return cvy_network_create(model, device, &(cvy_network_options){.batch_size = batch_size}, network);
}

void convoy_network_close(convoy_network *network) {
    if (!network || !cvy_object_close(__func__, "network", network))
        return;
    for (size_t s = 0; network->steps && s < network->model->step_count; s++) {
        const cvy_layer_type *type = network->model->steps[s].type;
        void *states[] = {network->steps[s].state, network->steps[s].folded_state};
        for (size_t i = 0; i < 2; i++)
            if (states[i] && type->release)
                type->release(states[i]);
        free(network->steps[s].variant);
    }
    cvy_child_end(&network->ahead);
    cvy_network_unbind(network);
    for (size_t i = 0; network->arenas && i < network->plan->arena_count; i++)
        cvy_buffer_free(network->arenas[i]);
    cvy_buffer_free(network->workspace);
    cvy_buffer_free(network->gradients);
    if (!network->options.parameters_of)
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

size_t cvy_network_heads(const convoy_network *network, const cvy_network_head **heads) {
    *heads = network->heads;
    return network->plan->auxiliary_count;
}

cvy_buffer *cvy_network_parameters(convoy_network *network) {
    return network->parameters;
}

cvy_buffer *cvy_network_gradients(convoy_network *network) {
    return network->gradients;
}

size_t cvy_network_parameter_count(const convoy_network *network) {
    return network->layout.learnt;
}

size_t cvy_network_parameter_offset(const convoy_network *network, size_t index) {
    return convoy_model_tensor(network->model, index)->trainable ? network->tensors[index].offset : SIZE_MAX;
}

cvy_range cvy_network_group(const convoy_network *network, size_t group) {
    return network->layout.groups[group];
}

size_t cvy_network_state_offset(const convoy_network *network, size_t index, int states, int state) {
    const cvy_range group = network->layout.groups[network->model->tensors[index].group];
    const size_t within = network->tensors[index].offset - group.offset;
    return group.offset * (size_t)states + group.count * (size_t)state + within;
}
