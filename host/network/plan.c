/* Planning: the order of actions, what may run in place, and where gradients of shared values are summed. */
#include "network/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

static const cvy_place nowhere = {.block = -1};

/* A gradient while backward is planned: a place, and how many values still need what stands there. Several
   values may have the same gradient (the branches of a sum). */
typedef struct gradient {
    cvy_place place;
    int users;
} gradient;

typedef struct planner {
    const convoy_model *model;
    cvy_plan *plan;
    size_t alignment;
    int *value_block; /* -1: not computed yet */
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
    plan->blocks[plan->block_count] = (cvy_block){.bytes = bytes, .parent = -1, .first = INT_MAX, .last = -1};
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
    while (place.block >= 0 && plan->blocks[place.block].parent >= 0) {
        place.offset += plan->blocks[place.block].parent_offset;
        place.block = plan->blocks[place.block].parent;
    }
    return place;
}

static cvy_action *add_action(cvy_plan *plan, bool backward, cvy_action_kind kind, size_t step) {
    cvy_action **list = backward ? &plan->backward : &plan->forward;
    size_t *count = backward ? &plan->backward_count : &plan->forward_count;
    *list = cvy_grow(plan->arena, *list, *count, sizeof **list);
    cvy_action *action = &(*list)[(*count)++];
    *action = (cvy_action){.kind = kind,
                           .step = step,
                           .x = nowhere,
                           .y = nowhere,
                           .gy = nowhere,
                           .out = nowhere,
                           .folded_out = nowhere,
                           .pooled = nowhere,
                           .pool_indices = nowhere};
    return action;
}

/* ---- what is known before any place is chosen ---- */

static bool has_trainable(const cvy_step *step) {
    for (int i = 0; i < step->facts.tensor_count; i++)
        if (step->facts.tensors[i].role == CVY_TRAINABLE)
            return true;
    return false;
}

/* The backward of a fused activation is an action of its own, unless the layer before or behind it takes that
   over. */
static bool has_backward_of_its_own(const cvy_step *fused) {
    return !(fused - 1)->facts.takes_gradient && !fused->passed_on;
}

static void find_uses(planner *p) {
    const convoy_model *model = p->model;
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_step *step = &model->steps[s];
        bool gradient = has_trainable(step);
        for (int i = 0; i < step->input_count; i++)
            gradient = gradient || p->requires_grad[step->inputs[i]];
        if (!cvy_step_runs(step))
            continue;
        p->requires_grad[step->output] = gradient;
        bool backward = p->plan->training && gradient;
        bool needs_y =
            step->facts.backward_needs_y || (step->activation && has_backward_of_its_own(step + 1));
        for (int i = 0; i < step->input_count; i++) {
            int *read = &p->last_read[step->inputs[i]];
            if (*read != INT_MAX)
                *read = backward && step->facts.backward_needs_x ? INT_MAX : (int)s;
        }
        p->last_read[step->output] = backward && needs_y ? INT_MAX : (int)s;
    }
    p->last_read[0] = INT_MAX;
    p->last_read[model->output] = INT_MAX;
}

/* ---- forward ---- */

/* May step `s` write its output over `value`? Only if nothing that lies there is read afterwards. */
static bool may_overwrite(const planner *p, int value, size_t s) {
    cvy_place target = resolve(p->plan, place_of(p, value));
    for (int v = 0; v < p->model->value_count; v++) {
        if (p->value_block[v] < 0 || p->last_read[v] <= (int)s)
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
        bool kept = i < step->facts.saved_count && (p->plan->training || saved->inference);
        p->plan->saved[s][i] =
            kept ? new_place(p->plan, saved->bytes + saved->column_bytes * (size_t)p->plan->pitch) : nowhere;
    }
}

/* With a folded batch-norm a convolution has two outputs: its own in training, in evaluation that of the
   batch-norm. Where no training is planned the first does not exist. */
static int written_value(const planner *p, const cvy_step *step) {
    return step->fold && !p->plan->training ? p->model->steps[step->fold].output : step->output;
}

static void plan_layer(planner *p, const cvy_step *step, size_t s) {
    int x = step->inputs[0], y = written_value(p, step);
    if (step->folded && !p->plan->training)
        return;
    size_t bytes = cvy_value_bytes(step->output_dims, p->plan->pitch);
    bool in_place = step->facts.forward_in_place && may_overwrite(p, x, s);
    p->value_block[y] = in_place ? p->value_block[x] : new_block(p->plan, bytes);
    plan_saved(p, step, s);
    cvy_action *action = add_action(p->plan, false, CVY_DO_FORWARD, s);
    action->x = place_of(p, x);
    action->out = place_of(p, y);
    action->training_only = step->folded;
    if (step->fold)
        action->folded_out = action->out;
    if (step->folded)
        (action - 1)->folded_out = action->out;
    if (p->plan->forward_count > 1 && p->model->steps[(action - 1)->step].pool == s) {
        (action - 1)->pooled = action->out;
        (action - 1)->pool_indices = p->plan->saved[s][0];
    }
}

static void plan_add(planner *p, const cvy_step *step, size_t s) {
    int a = step->inputs[0], b = step->inputs[1];
    int over = may_overwrite(p, a, s) ? a : may_overwrite(p, b, s) ? b : -1;
    p->value_block[step->output] =
        over >= 0 ? p->value_block[over]
                  : new_block(p->plan, cvy_value_bytes(step->output_dims, p->plan->pitch));
    cvy_action *action = add_action(p->plan, false, CVY_DO_ADD, s);
    action->x = place_of(p, a);
    action->y = place_of(p, b);
    action->out = place_of(p, step->output);
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
        if (block->parent < 0 && step->inputs[i] != 0 && block->bytes == from.bytes &&
            offset % p->alignment == 0) {
            block->parent = whole;
            block->parent_offset = offset;
        } else {
            cvy_action *action = add_action(plan, false, CVY_DO_COPY, s);
            action->x = from;
            action->out = (cvy_place){whole, offset, from.bytes};
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
        for (int i = 0; i < CVY_LAYER_SAVED; i++)
            p->plan->saved[s][i] = nowhere;
        if (!cvy_step_runs(step))
            continue;
        if (step->kind == CVY_STEP_LAYER)
            plan_layer(p, step, s);
        else if (step->kind == CVY_STEP_ADD)
            plan_add(p, step, s);
        else
            plan_concat(p, step, s);
    }
    p->plan->input = place_of(p, 0);
    p->plan->output = place_of(p, model->output);
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
    cvy_action *action = add_action(p->plan, true, CVY_DO_ADD, s);
    action->x = a;
    action->y = b;
    action->out = p->gradients[out].place;
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
    if (wanted || has_trainable(step)) {
        cvy_action *action = add_action(p->plan, true, CVY_DO_BACKWARD, s);
        action->input_gradient = wanted;
        action->x = step->facts.backward_needs_x ? place_of(p, x) : nowhere;
        action->y = step->facts.backward_needs_y ? place_of(p, step->output) : nowhere;
        action->gy = from;
        action->out = gx >= 0 ? p->gradients[gx].place : nowhere;
    }
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
    if (!has_backward_of_its_own(step))
        return;
    if (p->gradients[gy].users > 1) {
        p->gradients[gy].users--;
        gx = new_gradient(p, new_place(p->plan, p->gradients[gy].place.bytes));
    }
    cvy_action *action = add_action(p->plan, true, CVY_DO_BACKWARD, s);
    action->input_gradient = true;
    action->y = place_of(p, step->output);
    action->gy = p->gradients[gy].place;
    action->out = p->gradients[gx].place;
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
        if (!split || part.offset % p->alignment) {
            place = new_place(p->plan, part.bytes);
            cvy_action *action = add_action(p->plan, true, CVY_DO_COPY, s);
            action->x = part;
            action->out = place;
        }
        contribute(p, step->inputs[i], new_gradient(p, place), s);
    }
    p->gradients[gy].users--;
}

static void plan_backward(planner *p) {
    const convoy_model *model = p->model;
    p->plan->output_gradient = new_place(p->plan, cvy_value_bytes(model->output_dims, p->plan->pitch));
    p->value_gradient[model->output] = new_gradient(p, p->plan->output_gradient);
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
        else
            plan_concat_backward(p, step, s, gy);
    }
}

/* ---- the plan ---- */

static void resolve_actions(cvy_plan *plan, cvy_action *actions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        actions[i].x = resolve(plan, actions[i].x);
        actions[i].y = resolve(plan, actions[i].y);
        actions[i].gy = resolve(plan, actions[i].gy);
        actions[i].out = resolve(plan, actions[i].out);
        actions[i].folded_out = resolve(plan, actions[i].folded_out);
        actions[i].pooled = resolve(plan, actions[i].pooled);
    }
}

static void touch(cvy_plan *plan, cvy_place place, int time) {
    if (place.block < 0)
        return;
    cvy_block *block = &plan->blocks[place.block];
    block->first = time < block->first ? time : block->first;
    block->last = time > block->last ? time : block->last;
}

static void touch_action(cvy_plan *plan, const cvy_action *action, int time) {
    touch(plan, action->x, time);
    touch(plan, action->y, time);
    touch(plan, action->gy, time);
    touch(plan, action->out, time);
    touch(plan, action->folded_out, time);
    touch(plan, action->pooled, time);
    touch(plan, action->pool_indices, time);
    if (action->kind == CVY_DO_FORWARD || action->kind == CVY_DO_BACKWARD)
        for (int i = 0; i < CVY_LAYER_SAVED; i++)
            touch(plan, plan->saved[action->step][i], time);
}

void cvy_plan_lifetimes(cvy_plan *plan) {
    int loss = (int)plan->forward_count, end = loss + 1 + (int)plan->backward_count;
    for (size_t i = 0; i < plan->forward_count; i++)
        touch_action(plan, &plan->forward[i], (int)i);
    for (size_t i = 0; i < plan->backward_count; i++)
        touch_action(plan, &plan->backward[i], loss + 1 + (int)i);
    touch(plan, plan->input, 0);
    touch(plan, plan->input, end);
    touch(plan, plan->output, end);
    touch(plan, plan->output_gradient, loss);
}

static void *list_of(cvy_plan *plan, size_t count, size_t element) {
    return cvy_arena_alloc(plan->arena, (count + 1) * element);
}

convoy_status cvy_plan_create(const convoy_model *model, int pitch, bool training, size_t alignment,
                              size_t max_allocation, cvy_plan **out) {
    *out = NULL;
    cvy_plan *plan = calloc(1, sizeof *plan);
    if (!plan || !(plan->arena = cvy_arena_create())) {
        free(plan);
        return cvy_fail_memory("a plan", sizeof *plan);
    }
    size_t values = (size_t)model->value_count;
    plan->pitch = pitch;
    plan->training = training;
    plan->saved = list_of(plan, model->step_count, sizeof *plan->saved);
    plan->output_gradient = nowhere;
    planner p = {.model = model, .plan = plan, .alignment = alignment};
    p.value_block = list_of(plan, values, sizeof(int));
    p.value_gradient = list_of(plan, values, sizeof(int));
    p.last_read = list_of(plan, values, sizeof(int));
    p.requires_grad = list_of(plan, values, sizeof(bool));
    for (size_t v = 0; v < values; v++)
        p.value_block[v] = p.value_gradient[v] = p.last_read[v] = -1;
    find_uses(&p);
    plan_forward(&p);
    if (training)
        plan_backward(&p);
    resolve_actions(plan, plan->forward, plan->forward_count);
    resolve_actions(plan, plan->backward, plan->backward_count);
    plan->input = resolve(plan, plan->input);
    plan->output = resolve(plan, plan->output);
    cvy_plan_lifetimes(plan);
    convoy_status status = cvy_plan_pack(plan, alignment, max_allocation);
    if (status)
        cvy_plan_free(plan);
    else
        *out = plan;
    return status;
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
