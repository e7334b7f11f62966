/* Planning: the order of actions, what may run in place, and where gradients of shared values are summed. */
#include "network/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

static const cvy_place nowhere = {0};

/* A gradient while backward is planned: a place, and how many values still need what stands there. Several
   values may have the same gradient (the branches of a sum). */
typedef struct gradient {
    cvy_place place;
    int users;
} gradient;

typedef struct planner {
    const convoy_model *model;
    cvy_plan *plan;
    int time;
    int *value_block; /* 0: not computed yet */
    int *last_read;   /* the last step that reads a value; INT_MAX: backward or the caller does */
    bool *requires_grad;
    gradient *gradients;
    size_t gradient_count;
    int *value_gradient; /* index into gradients, -1: none yet */
} planner;

size_t cvy_value_bytes(cvy_dims dims, int pitch) {
    return cvy_dims_count(dims) * (size_t)pitch * sizeof(float);
}

static int new_block(cvy_plan *plan, size_t bytes) {
    plan->blocks = cvy_grow(plan->arena, plan->blocks, plan->block_count, sizeof *plan->blocks);
    plan->blocks[plan->block_count] = (cvy_block){.bytes = bytes, .first = INT_MAX, .last = -1};
    return (int)plan->block_count++;
}

static cvy_place new_place(cvy_plan *plan, size_t bytes) {
    return (cvy_place){.block = new_block(plan, bytes), .bytes = bytes};
}

static cvy_place place_of(const planner *p, int value) {
    return (cvy_place){.block = p->value_block[value],
                       .bytes = cvy_value_bytes(p->model->values[value], p->plan->pitch)};
}

/* A place in the block that its block became a part of, all the way up. */
static cvy_place resolve(const cvy_plan *plan, cvy_place place) {
    while (plan->blocks[place.block].parent) {
        place.offset += plan->blocks[place.block].parent_offset;
        place.block = plan->blocks[place.block].parent;
    }
    return place;
}

static void append(planner *p, cvy_actions *actions, cvy_action action) {
    actions->list = cvy_grow(p->plan->arena, actions->list, actions->count, sizeof *actions->list);
    action.time = p->time;
    action.training = actions != &p->plan->evaluate;
    actions->list[actions->count++] = action;
}

/* To the forward lists that are planned. A folded batch-norm and an auxiliary head run in training only. */
static void append_forward(planner *p, cvy_action action) {
    if (p->plan->training)
        append(p, &p->plan->train, action);
    if (!p->model->steps[action.step].folded && !p->model->steps[action.step].auxiliary)
        append(p, &p->plan->evaluate, action);
    p->time++;
}

static void append_backward(planner *p, cvy_action action) {
    append(p, &p->plan->backward, action);
    p->time++;
}

/* ---- what is known before any place is chosen ---- */

static void find_uses(planner *p) {
    const convoy_model *model = p->model;
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_step *step = &model->steps[s];
        if (!cvy_step_planned(model, step, p->plan->training))
            continue;
        const bool gradient = step->reached;
        bool backward = p->plan->training && gradient;
        if (step->fused && !step->backward_elsewhere && backward)
            p->last_read[step->output] = INT_MAX;
        if (!cvy_step_runs(step))
            continue;
        p->requires_grad[step->output] = gradient;
        for (int i = 0; i < step->input_count; i++) {
            int *read = &p->last_read[step->inputs[i]];
            if (*read != INT_MAX)
                *read = backward && step->facts.backward_needs_x ? INT_MAX : (int)s;
        }
        p->last_read[step->output] = backward && step->facts.backward_needs_y ? INT_MAX : (int)s;
    }
    p->last_read[0] = INT_MAX;
    for (int v = 0; v < model->value_count; v++)
        if (cvy_model_gives(model, v))
            p->last_read[v] = INT_MAX;
}

/* ---- forward ---- */

/* May step `s` write its output over `value`? Only if nothing that lies there is read afterwards. */
static bool may_overwrite(const planner *p, int value, size_t s) {
    cvy_place target = resolve(p->plan, place_of(p, value));
    for (int v = 0; v < p->model->value_count; v++) {
        if (!p->value_block[v] || p->last_read[v] <= (int)s)
            continue;
        cvy_place other = resolve(p->plan, place_of(p, v));
        if (other.block == target.block && other.offset < target.offset + target.bytes &&
            target.offset < other.offset + other.bytes)
            return false;
    }
    return true;
}

static void plan_saved(planner *p, const cvy_step *step, size_t s) {
    for (int i = 0; i < CVY_LAYER_SAVED; i++) {
        const cvy_layer_saved *saved = &step->facts.saved[i];
        if (i < step->facts.saved_count && (p->plan->training || saved->inference))
            p->plan->saved[s][i] =
                new_place(p->plan, saved->bytes + saved->column_bytes * (size_t)p->plan->pitch);
    }
}

/* Room for what a layer writes: once, as a convolution makes it for the layer behind it whose work it may do.
 */
static void make_room(planner *p, const cvy_step *step) {
    const size_t s = cvy_step_index(p->model, step);
    int x = step->inputs[0], *block = &p->value_block[step->output];
    if (*block)
        return;
    *block = step->facts.forward_in_place && may_overwrite(p, x, s)
                 ? p->value_block[x]
                 : new_block(p->plan, cvy_value_bytes(step->output_dims, p->plan->pitch));
    plan_saved(p, step, s);
}

static void plan_layer(planner *p, const cvy_step *step, size_t s) {
    const cvy_step *pool = step->pool;
    make_room(p, step);
    if (pool)
        make_room(p, pool);
    append_forward(p, (cvy_action){
                          .kind = CVY_DO_FORWARD,
                          .step = s,
                          .x = place_of(p, step->inputs[0]),
                          .out = place_of(p, step->output),
                          .pooled = pool ? place_of(p, pool->output) : nowhere,
                          .pool_indices = pool ? p->plan->saved[cvy_step_index(p->model, pool)][0] : nowhere,
                      });
}

/* With a folded batch-norm a convolution has two outputs: its own in training, in evaluation that of the
   batch-norm. Where no training is planned the first does not exist. */
static void plan_folded(planner *p, const cvy_step *step, size_t s) {
    cvy_action action = {.kind = CVY_DO_FORWARD, .step = s, .x = place_of(p, step->inputs[0])};
    if (p->plan->training) {
        make_room(p, step);
        action.out = place_of(p, step->output);
        append(p, &p->plan->train, action);
    } else {
        plan_saved(p, step, s);
    }
    make_room(p, step->fold);
    append(p, &p->plan->evaluate, (cvy_action){.kind = CVY_DO_FOLD, .step = s});
    action.kind = CVY_DO_FOLDED;
    action.out = place_of(p, step->fold->output);
    append(p, &p->plan->evaluate, action);
    p->time++;
}

static void plan_add(planner *p, const cvy_step *step, size_t s) {
    int a = step->inputs[0], b = step->inputs[1];
    int over = may_overwrite(p, a, s) ? a : may_overwrite(p, b, s) ? b : -1;
    p->value_block[step->output] =
        over >= 0 ? p->value_block[over]
                  : new_block(p->plan, cvy_value_bytes(step->output_dims, p->plan->pitch));
    append_forward(p, (cvy_action){.kind = CVY_DO_ADD,
                                   .step = s,
                                   .x = place_of(p, a),
                                   .y = place_of(p, b),
                                   .out = place_of(p, step->output)});
}

static void plan_product(planner *p, const cvy_step *step, size_t s) {
    const int maps = step->inputs[0];
    p->value_block[step->output] =
        may_overwrite(p, maps, s) ? p->value_block[maps]
                                  : new_block(p->plan, cvy_value_bytes(step->output_dims, p->plan->pitch));
    append_forward(p, (cvy_action){.kind = CVY_DO_PRODUCT,
                                   .step = s,
                                   .x = place_of(p, maps),
                                   .y = place_of(p, step->inputs[1]),
                                   .out = place_of(p, step->output)});
}

/* A branch whose result has a block of its own computes straight into its part of the whole: the block
   becomes a part. Others are copied. */
static void plan_concat(planner *p, const cvy_step *step, size_t s) {
    cvy_plan *plan = p->plan;
    int whole = new_block(plan, cvy_value_bytes(step->output_dims, plan->pitch));
    size_t offset = 0;
    for (int i = 0; i < step->input_count; i++) {
        cvy_place from = place_of(p, step->inputs[i]);
        cvy_block *block = &plan->blocks[from.block];
        if (!block->parent && step->inputs[i] != 0 && block->bytes == from.bytes &&
            offset % plan->alignment == 0) {
            block->parent = whole;
            block->parent_offset = offset;
        } else {
            const cvy_place part = {whole, offset, from.bytes};
            append_forward(p, (cvy_action){.kind = CVY_DO_COPY, .step = s, .x = from, .out = part});
        }
        offset += from.bytes;
    }
    p->value_block[step->output] = whole;
}

static void plan_forward(planner *p) {
    const convoy_model *model = p->model;
    p->value_block[0] = new_block(p->plan, cvy_value_bytes(model->input, p->plan->pitch));
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_step *step = &model->steps[s];
        if (!cvy_step_runs(step) || (step->folded && !p->plan->training) ||
            !cvy_step_planned(model, step, p->plan->training))
            continue;
        if (step->fold)
            plan_folded(p, step, s);
        else if (step->kind == CVY_STEP_LAYER)
            plan_layer(p, step, s);
        else if (step->kind == CVY_STEP_ADD)
            plan_add(p, step, s);
        else if (step->kind == CVY_STEP_PRODUCT)
            plan_product(p, step, s);
        else
            plan_concat(p, step, s);
    }
    p->plan->input = place_of(p, 0);
    p->plan->output = place_of(p, model->output);
    for (size_t i = 0; i < p->plan->auxiliary_count; i++)
        p->plan->auxiliaries[i].output = place_of(p, model->auxiliaries[i].value);
}

/* ---- backward ---- */

static int new_gradient(planner *p, cvy_place place) {
    p->gradients = cvy_grow(p->plan->arena, p->gradients, p->gradient_count, sizeof *p->gradients);
    p->gradients[p->gradient_count] = (gradient){place, 1};
    return (int)p->gradient_count++;
}

/* Gives `value` one more summand `g`, of which the caller hands over one use. The sum goes where nobody else
   needs what stands there. */
static void contribute(planner *p, int value, int g, size_t s) {
    int *sum = &p->value_gradient[value], old = *sum, out = -1;
    if (old < 0) {
        *sum = g;
        return;
    }
    cvy_place a = p->gradients[old].place, b = p->gradients[g].place;
    if (p->gradients[g].users == 1)
        out = g;
    else if (p->gradients[old].users == 1)
        out = old;
    else
        out = new_gradient(p, new_place(p->plan, a.bytes));
    if (out != g)
        p->gradients[g].users--;
    if (out != old)
        p->gradients[old].users--;
    const cvy_place place = p->gradients[out].place;
    append_backward(p, (cvy_action){.kind = CVY_DO_ADD, .step = s, .x = a, .y = b, .out = place});
    *sum = out;
}

static void plan_layer_backward(planner *p, const cvy_step *step, size_t s, int gy) {
    int x = step->inputs[0], gx = -1;
    bool wanted = p->requires_grad[x];
    cvy_place from = p->gradients[gy].place;
    if (wanted || step->facts.backward_writes_gx) {
        size_t bytes = cvy_value_bytes(step->input_dims[0], p->plan->pitch);
        bool in_place = step->facts.backward_in_place && p->gradients[gy].users == 1;
        gx = in_place ? gy : new_gradient(p, new_place(p->plan, bytes));
    }
    if (wanted || step->learns)
        append_backward(p, (cvy_action){
                               .kind = CVY_DO_BACKWARD,
                               .step = s,
                               .input_gradient = wanted,
                               .x = step->facts.backward_needs_x ? place_of(p, x) : nowhere,
                               .y = step->facts.backward_needs_y ? place_of(p, step->output) : nowhere,
                               .gy = from,
                               .out = gx >= 0 ? p->gradients[gx].place : nowhere,
                           });
    if (gx != gy)
        p->gradients[gy].users--;
    if (wanted)
        contribute(p, x, gx, s);
    else if (gx >= 0)
        p->gradients[gx].users--;
}

/* The value keeps its name, but from here on its gradient is the one in front of the activation. */
static void plan_fused_backward(planner *p, const cvy_step *step, size_t s, int gy) {
    int gx = gy;
    if (step->backward_elsewhere)
        return;
    if (p->gradients[gy].users > 1) {
        p->gradients[gy].users--;
        gx = new_gradient(p, new_place(p->plan, p->gradients[gy].place.bytes));
    }
    append_backward(p, (cvy_action){.kind = CVY_DO_BACKWARD,
                                    .step = s,
                                    .input_gradient = true,
                                    .y = place_of(p, step->output),
                                    .gy = p->gradients[gy].place,
                                    .out = p->gradients[gx].place});
    p->value_gradient[step->output] = gx;
}

/* Both summands have the sum's gradient. */
static void plan_add_backward(planner *p, const cvy_step *step, size_t s, int gy) {
    for (int i = 0; i < 2; i++)
        if (p->requires_grad[step->inputs[i]]) {
            p->gradients[gy].users++;
            contribute(p, step->inputs[i], gy, s);
        }
    p->gradients[gy].users--;
}

/* The gradient of each factor is the product's times the other one. */
static void plan_product_backward(planner *p, const cvy_step *step, size_t s, int gy) {
    const int maps = step->inputs[0], gates = step->inputs[1];
    const cvy_place from = p->gradients[gy].place;
    int g[2] = {-1, -1};
    if (p->requires_grad[gates]) {
        g[1] = new_gradient(p, new_place(p->plan, cvy_value_bytes(step->input_dims[1], p->plan->pitch)));
        append_backward(p, (cvy_action){.kind = CVY_DO_SUMS,
                                        .step = s,
                                        .x = from,
                                        .y = place_of(p, maps),
                                        .out = p->gradients[g[1]].place});
    }
    if (p->requires_grad[maps]) {
        g[0] = p->gradients[gy].users == 1 ? gy : new_gradient(p, new_place(p->plan, from.bytes));
        append_backward(p, (cvy_action){.kind = CVY_DO_PRODUCT,
                                        .step = s,
                                        .x = from,
                                        .y = place_of(p, gates),
                                        .out = p->gradients[g[0]].place});
    }
    if (g[0] != gy)
        p->gradients[gy].users--;
    for (int i = 0; i < 2; i++)
        if (g[i] >= 0)
            contribute(p, step->inputs[i], g[i], s);
}

/* Each branch has its part of the gradient: the part itself where nobody else needs the whole, else a copy.
 */
static void plan_concat_backward(planner *p, const cvy_step *step, size_t s, int gy) {
    cvy_place whole = p->gradients[gy].place;
    bool split = p->gradients[gy].users == 1;
    size_t offset = whole.offset;
    for (int i = 0; i < step->input_count; i++) {
        cvy_place part = {whole.block, offset, cvy_value_bytes(step->input_dims[i], p->plan->pitch)};
        offset += part.bytes;
        if (!p->requires_grad[step->inputs[i]])
            continue;
        cvy_place place = part;
        if (!split || part.offset % p->plan->alignment) {
            place = new_place(p->plan, part.bytes);
            append_backward(p, (cvy_action){.kind = CVY_DO_COPY, .step = s, .x = part, .out = place});
        }
        contribute(p, step->inputs[i], new_gradient(p, place), s);
    }
    p->gradients[gy].users--;
}

/* What the loss writes. */
static void plan_gradients(planner *p) {
    const convoy_model *model = p->model;
    const size_t bytes = cvy_value_bytes(model->output_dims, p->plan->pitch);
    p->plan->output_gradient = new_place(p->plan, bytes);
    p->value_gradient[model->output] = new_gradient(p, p->plan->output_gradient);
    for (size_t i = 0; i < p->plan->auxiliary_count; i++) {
        const cvy_place place = p->plan->auxiliaries[i].gradient = new_place(p->plan, bytes);
        p->value_gradient[model->auxiliaries[i].value] = new_gradient(p, place);
    }
}

static void plan_backward(planner *p) {
    const convoy_model *model = p->model;
    plan_gradients(p);
    for (size_t s = model->step_count; s-- > 0;) {
        const cvy_step *step = &model->steps[s];
        int gy = p->value_gradient[step->output];
        if (step->facts.alias || !p->requires_grad[step->output] || gy < 0)
            continue;
        if (step->fused)
            plan_fused_backward(p, step, s, gy);
        else if (step->kind == CVY_STEP_LAYER)
            plan_layer_backward(p, step, s, gy);
        else if (step->kind == CVY_STEP_ADD)
            plan_add_backward(p, step, s, gy);
        else if (step->kind == CVY_STEP_PRODUCT)
            plan_product_backward(p, step, s, gy);
        else
            plan_concat_backward(p, step, s, gy);
    }
}

/* ---- the plan ---- */

static void touch(cvy_plan *plan, cvy_place place, int time) {
    if (!place.block)
        return;
    cvy_block *block = &plan->blocks[place.block];
    block->first = time < block->first ? time : block->first;
    block->last = time > block->last ? time : block->last;
}

/* Finds the final places of actions and the lifetimes of the blocks that they lie in. */
static void settle(cvy_plan *plan, cvy_actions *actions) {
    for (size_t i = 0; i < actions->count; i++) {
        cvy_action *action = &actions->list[i];
        if (action->kind != CVY_DO_POOLED)
            action->pooled = action->pool_indices = nowhere;
        cvy_place *places[] = {&action->x,   &action->y,      &action->gy,
                               &action->out, &action->pooled, &action->pool_indices};
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            *places[k] = resolve(plan, *places[k]);
            touch(plan, *places[k], action->time);
        }
        for (int k = 0; k < CVY_LAYER_SAVED && action->kind != CVY_DO_ADD && action->kind != CVY_DO_COPY; k++)
            touch(plan, plan->saved[action->step][k], action->time);
    }
}

void cvy_plan_settle(cvy_plan *plan) {
    settle(plan, &plan->train);
    settle(plan, &plan->evaluate);
    settle(plan, &plan->backward);
    plan->input = resolve(plan, plan->input);
    plan->output = resolve(plan, plan->output);
    touch(plan, plan->input, 0);
    touch(plan, plan->input, plan->end);
    touch(plan, plan->output, plan->end);
    touch(plan, plan->output_gradient, plan->loss);
    for (size_t i = 0; i < plan->auxiliary_count; i++) {
        plan->auxiliaries[i].output = resolve(plan, plan->auxiliaries[i].output);
        touch(plan, plan->auxiliaries[i].output, plan->loss);
        touch(plan, plan->auxiliaries[i].gradient, plan->loss);
    }
}

static void *list_of(cvy_plan *plan, size_t count, size_t element) {
    return cvy_arena_alloc(plan->arena, (count + 1) * element);
}

convoy_status cvy_plan_create(const convoy_model *model, int pitch, bool training, size_t alignment,
                              cvy_plan **out) {
    cvy_plan *plan = *out = calloc(1, sizeof *plan);
    if (!plan || !(plan->arena = cvy_arena_create())) {
        free(plan);
        *out = NULL;
        return cvy_fail_memory("a plan", sizeof *plan);
    }
    size_t values = (size_t)model->value_count;
    plan->pitch = pitch;
    plan->training = training;
    plan->alignment = alignment;
    plan->saved = list_of(plan, model->step_count, sizeof *plan->saved);
    plan->auxiliary_count = training && !model->apart ? model->auxiliary_count : 0;
    plan->auxiliaries = list_of(plan, plan->auxiliary_count, sizeof *plan->auxiliaries);
    planner p = {.model = model, .plan = plan};
    p.value_block = list_of(plan, values, sizeof(int));
    p.value_gradient = list_of(plan, values, sizeof(int));
    p.last_read = list_of(plan, values, sizeof(int));
    p.requires_grad = list_of(plan, values, sizeof(bool));
    for (size_t v = 0; v < values; v++)
        p.value_gradient[v] = p.last_read[v] = -1;
    new_block(plan, 0); /* nowhere */
    find_uses(&p);
    plan_forward(&p);
    plan->loss = p.time++;
    if (training)
        plan_backward(&p);
    plan->end = p.time;
    return CONVOY_OK;
}

static void pool_in(cvy_actions *actions, const cvy_step *step, size_t convolution, size_t pool) {
    size_t kept = 0;
    for (size_t i = 0; i < actions->count; i++) {
        cvy_action action = actions->list[i];
        if (action.step == pool)
            continue;
        if (action.step == convolution) {
            action.kind = CVY_DO_POOLED;
            /* Backward reads the map in front of the pooling only for an activation's slope. */
            if (!action.training || !step->activation)
                action.out = nowhere;
            if (!action.training)
                action.pool_indices = nowhere;
        }
        actions->list[kept++] = action;
    }
    actions->count = kept;
}

void cvy_plan_pool(cvy_plan *plan, const convoy_model *model, size_t step) {
    const cvy_step *convolution = &model->steps[step];
    const size_t pool = cvy_step_index(model, convolution->pool);
    pool_in(&plan->train, convolution, step, pool);
    pool_in(&plan->evaluate, convolution, step, pool);
}

void cvy_plan_free(cvy_plan *plan) {
    if (!plan)
        return;
    cvy_arena_free(plan->arena);
    free(plan);
}

size_t cvy_plan_bytes(const cvy_plan *plan) {
    size_t bytes = 0;
    for (size_t i = 0; i < plan->arena_count; i++)
        bytes += cvy_buffer_footprint(plan->arena_bytes[i]);
    return bytes;
}
