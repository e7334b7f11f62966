/* Binding: every planned action gets its buffers, its layer's call and state, so that walking needs to look
   nothing up. */
#include "network/inside.h"

/* ---- views: equal places share one ---- */

static convoy_status view(convoy_network *network, cvy_buffer *parent, size_t offset, size_t bytes,
                          cvy_buffer **out) {
    for (size_t i = 0; i < network->view_count; i++) {
        const cvy_view *known = &network->views[i];
        if (known->parent == parent && known->offset == offset && known->bytes == bytes) {
            *out = known->buffer;
            return CONVOY_OK;
        }
    }
    convoy_status status = cvy_buffer_view(parent, offset, bytes, out);
    if (status)
        return status;
    network->views = cvy_grow(network->memory, network->views, network->view_count, sizeof *network->views);
    network->views[network->view_count++] = (cvy_view){parent, *out, offset, bytes};
    return CONVOY_OK;
}

static convoy_status view_place(convoy_network *network, cvy_place place, cvy_buffer **out) {
    *out = NULL;
    const cvy_block *block = &network->plan->blocks[place.block];
    if (block->first > block->last) /* nowhere, or kept for nobody */
        return CONVOY_OK;
    return view(network, network->arenas[block->arena], block->offset + place.offset, place.bytes, out);
}

/* ---- steps ---- */

static convoy_status bind_step(convoy_network *network, size_t s) {
    const cvy_step *step = &network->model->steps[s];
    cvy_layer_run *run = &network->steps[s].run;
    convoy_status status = CONVOY_OK;
    run->workspace = network->workspace;
    for (int i = 0; i < step->facts.tensor_count && !status; i++) {
        size_t t = step->first_tensor + (size_t)i, bytes = network->model->tensors[t].count * sizeof(float);
        const cvy_tensor_place *place = &network->tensors[t];
        status = view(network, network->parameters, place->offset * sizeof(float), bytes, &run->tensors[i]);
        if (!status && network->gradients &&
            cvy_tensor_has_gradient(network->model, &network->model->tensors[t]))
            status =
                view(network, network->gradients, place->offset * sizeof(float), bytes, &run->gradients[i]);
        if (!status && place->mask_offset != SIZE_MAX)
            status =
                view(network, network->parameters, place->mask_offset * sizeof(float), bytes, &run->masks[i]);
    }
    for (int i = 0; i < CVY_LAYER_SAVED && !status; i++)
        status = view_place(network, network->plan->saved[s][i], &run->saved[i]);
    return status;
}

/* ---- actions ---- */

static convoy_status view_places(convoy_network *network, const cvy_action *action, cvy_bound_action *bound) {
    struct {
        cvy_place place;
        cvy_buffer **buffer;
    } views[] = {{action->x, &bound->run.x},           {action->y, &bound->run.y},
                 {action->gy, &bound->run.gy},         {action->out, &bound->out},
                 {action->pooled, &bound->run.pooled}, {action->pool_indices, &bound->run.pool_indices}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof views / sizeof *views && !status; i++) {
        cvy_place *place = &views[i].place;
        if (action->kind == CVY_DO_COPY) /* takes an offset, which need not suit a view */
            *place = (cvy_place){place->block, 0, network->plan->blocks[place->block].bytes};
        status = view_place(network, *place, views[i].buffer);
    }
    return status;
}

/* Filling the folded weights of a convolution is the batch-norm's call. */
static void bind_fold(const convoy_network *network, const cvy_step *norm, cvy_bound_action *bound) {
    const cvy_bound_step *ready = &network->steps[cvy_step_index(network->model, norm)];
    cvy_buffer *const *tensors = bound->run.tensors, *const *saved = bound->run.saved;
    const cvy_folding folding = {tensors[0], tensors[1], saved[0], saved[1]};
    bound->call = norm->facts.fold;
    bound->state = ready->state;
    bound->run = ready->run;
    bound->run.folding = folding;
}

static convoy_status bind_product(convoy_network *network, const cvy_step *step, cvy_bound_action *bound) {
    const cvy_dims maps = step->input_dims[0], gates = step->input_dims[1];
    const cvy_product_shape shape = {network->pitch, cvy_dims_count(gates),
                                     cvy_dims_count(maps) / cvy_dims_count(gates)};
    return cvy_product_prepare(network->device, &shape, &bound->product);
}

static convoy_status bind_action(convoy_network *network, const cvy_action *action, cvy_bound_action *bound) {
    const cvy_step *step = &network->model->steps[action->step];
    const cvy_bound_step *ready = &network->steps[action->step];
    *bound = (cvy_bound_action){.action = action, .state = ready->state, .run = ready->run};
    bound->run.training = action->training && !step->frozen;
    for (int i = 0; i < CVY_LAYER_SAVED; i++)
        if (!action->training && !step->facts.saved[i].inference)
            bound->run.saved[i] = NULL;
    convoy_status status = view_places(network, action, bound);
    if (status || action->kind == CVY_DO_COPY)
        return status;
    if (action->kind == CVY_DO_ADD)
        return cvy_elementwise_prepare(network->device, CVY_ADD, CVY_IDENTITY,
                                       action->out.bytes / sizeof(float), &bound->add);
    if (action->kind == CVY_DO_PRODUCT || action->kind == CVY_DO_SUMS)
        return bind_product(network, step, bound);
    const bool backward = action->kind == CVY_DO_BACKWARD;
    bound->call = backward ? step->type->backward : step->type->forward;
    *(backward ? &bound->run.gx : &bound->run.y) = bound->out;
    if (action->kind == CVY_DO_FOLD)
        bind_fold(network, step->fold, bound);
    if (action->kind == CVY_DO_FOLDED) {
        bound->state = ready->folded_state;
        for (int i = 0; i < 2; i++) /* weight and bias */
            bound->run.tensors[i] = ready->run.saved[i];
    }
    return CONVOY_OK;
}

static convoy_status bind_actions(convoy_network *network, const cvy_actions *actions,
                                  cvy_bound_action **bound) {
    convoy_status status = CONVOY_OK;
    *bound = cvy_arena_alloc(network->memory, (actions->count + 1) * sizeof **bound);
    for (size_t i = 0; i < actions->count && !status; i++)
        status = bind_action(network, &actions->list[i], &(*bound)[i]);
    return status;
}

convoy_status cvy_network_bind(convoy_network *network) {
    const cvy_plan *plan = network->plan;
    convoy_status status = CONVOY_OK;
    for (size_t s = 0; s < network->model->step_count && !status; s++)
        status = bind_step(network, s);
    if (!status)
        status = bind_actions(network, &plan->train, &network->train);
    if (!status)
        status = bind_actions(network, &plan->evaluate, &network->evaluate);
    if (!status)
        status = bind_actions(network, &plan->backward, &network->backward);
    if (!status)
        status = view_place(network, plan->input, &network->input);
    if (!status)
        status = view_place(network, plan->output, &network->output);
    if (!status)
        status = view_place(network, plan->output_gradient, &network->output_gradient);
    network->heads = cvy_arena_alloc(network->memory, (plan->auxiliary_count + 1) * sizeof *network->heads);
    for (size_t i = 0; i < plan->auxiliary_count && !status; i++) {
        network->heads[i].weight = network->model->auxiliaries[i].weight;
        status = view_place(network, plan->auxiliaries[i].output, &network->heads[i].output);
        if (!status)
            status = view_place(network, plan->auxiliaries[i].gradient, &network->heads[i].gradient);
    }
    return status;
}

void cvy_network_unbind(convoy_network *network) {
    for (size_t i = network->view_count; i-- > 0;)
        cvy_buffer_free(network->views[i].buffer);
}
