/* Making a network: plan its memory (memory.c), prepare its layers, check that it fits, allocate, bind. */
#include <stdlib.h>
#include <string.h>

#include "network/inside.h"
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/gemm.h"
#include "tune/measure.h"
#include "tune/tune.h"

/* ---- forced variants ---- */

static convoy_status copy_variant(char out[64], const char *name, size_t length, const char *const *known,
                                  const char *op) {
    size_t count = 0;
    cvy_text list = {0};
    for (; known[count]; count++) {
        if (strlen(known[count]) == length && memcmp(known[count], name, length) == 0) {
            memcpy(out, name, length);
            out[length] = '\0';
            cvy_text_free(&list);
            return CONVOY_OK;
        }
        cvy_text_add(&list, "%s%s", count ? ", " : "", known[count]);
    }
    convoy_status status = cvy_fail(CONVOY_INVALID, "variant %s=%.*s: there is no such variant; %s has: %s",
                                    op, (int)length, name, op, cvy_text_get(&list));
    cvy_text_free(&list);
    return status;
}

/* "conv2d=im2col_gemm,gemm=clblast" */
static convoy_status read_variants(convoy_network *network, const char *text) {
    convoy_status status = CONVOY_OK;
    while (text && *text && !status) {
        size_t length = strcspn(text, ","), op = strcspn(text, "=");
        const char *name = text + op + 1;
        if (op >= length)
            return cvy_fail(CONVOY_INVALID, "variant `%s`: expected op=name, as conv2d=im2col_gemm", text);
        size_t name_length = length - op - 1;
        if (op == 6 && memcmp(text, "conv2d", 6) == 0)
            status =
                copy_variant(network->conv2d_variant, name, name_length, cvy_conv2d_variants(), "conv2d");
        else if ((op == 4 && memcmp(text, "gemm", 4) == 0) || (op == 6 && memcmp(text, "linear", 6) == 0))
            status = copy_variant(network->gemm_variant, name, name_length, cvy_gemm_variants(), "gemm");
        else
            status = cvy_fail(CONVOY_INVALID,
                              "variant `%.*s`: only the ops conv2d and gemm have variants to choose from",
                              (int)length, text);
        text += text[length] ? length + 1 : length;
    }
    return status;
}

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
static convoy_status force(convoy_network *network, const char *op, const char *variant) {
    const bool conv2d = strcmp(op, "conv2d") == 0;
    bool served = !*variant;
    for (size_t s = 0; s < network->model->step_count && *variant; s++) {
        cvy_layer_setup *setup = &network->steps[s].setup;
        cvy_task tasks[CVY_LAYER_TASKS];
        const int count = tasks_of(network, s, tasks);
        for (int i = 0; i < count; i++)
            if (strcmp(tasks[i].op, op) == 0 && cvy_task_has_candidate(network->device, &tasks[i], variant)) {
                *(conv2d ? &setup->conv2d_variant : &setup->gemm_variant) = variant;
                served = true;
            }
    }
    return served
               ? CONVOY_OK
               : cvy_fail(CONVOY_DEVICE,
                          "variant %s=%s runs no layer of %s with batches of %d on %s; leave the choice open",
                          op, variant, network->model->name, network->options.batch_size,
                          convoy_device_get_info(network->device)->name);
}

static void add_task(cvy_task *list, size_t *count, const cvy_task *task) {
    for (size_t i = 0; i < *count; i++)
        if (strcmp(list[i].op, task->op) == 0 && strcmp(list[i].pass, task->pass) == 0 &&
            strcmp(list[i].shape, task->shape) == 0) {
            list[i].uses += task->uses;
            return;
        }
    list[(*count)++] = *task;
}

/* A variant to choose, unless it is forced; and CLBlast's parameters, where a product runs there or, for
   `all`, may do so once they are known. */
static void add_choices(const cvy_layer_setup *setup, const cvy_task *task, bool all, cvy_task *list,
                        size_t *count) {
    const bool conv2d = strcmp(task->op, "conv2d") == 0;
    const char *forced = conv2d ? setup->conv2d_variant : setup->gemm_variant;
    const bool gpu = !cvy_device_get_traits(setup->device)->cpu;
    cvy_gemm_shape product;
    if (!conv2d && cvy_gemm_shape_read(task->shape, &product) &&
        ((!forced && all && gpu) ||
         strcmp(forced ? forced : cvy_gemm_choice(setup->device, &product), "clblast") == 0)) {
        const cvy_task parameters = cvy_clblast_task(&product);
        add_task(list, count, &parameters);
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
    convoy_status status = read_variants(network, network->options.variant);
    if (!status)
        status = cvy_network_plan_memory(network);
    for (size_t s = 0; s < model->step_count && !status; s++)
        describe_step(network, s);
    if (!status)
        status = force(network, "conv2d", network->conv2d_variant);
    return status ? status : force(network, "gemm", network->gemm_variant);
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
