/* Networks side by side, action by action: where a batch-norm takes the statistics of a whole batch, those
   that have a piece of it meet. */
#include "network/inside.h"

/* Is the action one where all meet? */
static bool meets(const convoy_network *network, const cvy_bound_action *bound) {
    const cvy_action_kind kind = bound->action->kind;
    return (kind == CVY_DO_FORWARD || kind == CVY_DO_BACKWARD) &&
           network->steps[bound->action->step].setup.shares;
}

static const cvy_bound_action *action_at(const convoy_network *network, bool backward, size_t at) {
    return backward ? &network->backward[at] : &network->train[at];
}

size_t cvy_company_channels(const convoy_network *lead) {
    size_t most = 0;
    for (size_t i = 0; i < lead->plan->train.count; i++)
        if (meets(lead, &lead->train[i])) {
            const int channels = lead->model->steps[lead->train[i].action->step].input_dims[0].channels;
            most = (size_t)channels > most ? (size_t)channels : most;
        }
    return most;
}

/* The running mean, then the variance, which is the unbiased one. */
static void move(const cvy_company *c, size_t s, size_t channels, double count) {
    const cvy_step *step = &c->lead->model->steps[s];
    double divisor = 1;
    int which = 0;
    for (int i = 0; i < step->facts.tensor_count; i++) {
        if (step->facts.tensors[i].role != CVY_STATISTIC)
            continue;
        float *moved = c->moved + c->lead->tensors[step->first_tensor + (size_t)i].offset - c->moving->begin;
        for (size_t k = 0; k < channels; k++)
            moved[k] = (float)((double)step->facts.momentum * c->joined[2 * k + (size_t)which] / divisor);
        divisor = count - 1;
        which = 1;
    }
}

static convoy_status fail_at(const cvy_step *step, convoy_status status) {
    return status ? cvy_fail_in(status, "layer %s (%s)", step->name, step->type_name) : CONVOY_OK;
}

static cvy_layer_run run_of(const cvy_company *c, size_t i, const cvy_bound_action *bound) {
    cvy_layer_run run = bound->run;
    run.n = c->n[i];
    run.step = c->steps[i];
    return run;
}

static convoy_status meet(cvy_company *c, bool backward, size_t at, convoy_status own) {
    const cvy_bound_action *lead = action_at(c->lead, backward, at);
    const cvy_step *step = &c->lead->model->steps[lead->action->step];
    const size_t channels = (size_t)step->input_dims[0].channels;
    double count = 0;
    for (size_t i = 0; i < c->count && !own; i++) {
        const cvy_bound_action *bound = action_at(c->networks[i], backward, at);
        const cvy_layer_run run = run_of(c, i, bound);
        own = fail_at(step, step->type->give(bound->state, &run, backward, c->pairs + 2 * channels * i));
    }
    convoy_status status =
        c->meeting(c->context, own, backward, c->pairs, channels,
                   (size_t)step->input_dims[0].height * (size_t)step->input_dims[0].width, c->joined, &count);
    if (status) {
        c->told = true;
        return status;
    }
    if (!backward)
        move(c, lead->action->step, channels, count);
    for (size_t i = 0; i < c->count && !status; i++) {
        const cvy_bound_action *bound = action_at(c->networks[i], backward, at);
        const cvy_layer_run run = run_of(c, i, bound);
        status = fail_at(step, step->type->take(bound->state, &run, backward, c->joined, count));
    }
    return status;
}

/* One that cannot go on comes to the next meeting all the same. */
static convoy_status walk_all(cvy_company *c, bool backward, convoy_status status) {
    const size_t count = backward ? c->lead->plan->backward.count : c->lead->plan->train.count;
    for (size_t at = 0; at < count && !c->told; at++) {
        if (meets(c->lead, action_at(c->lead, backward, at))) {
            status = meet(c, backward, at, status);
            continue;
        }
        for (size_t i = 0; i < c->count && !status; i++) {
            const cvy_walk walk = {.n = c->n[i], .step = c->steps[i]};
            status = cvy_network_do(c->networks[i], action_at(c->networks[i], backward, at), &walk);
        }
    }
    return status;
}

convoy_status cvy_company_forward(cvy_company *c, convoy_status own) {
    c->told = false;
    return walk_all(c, false, own);
}

convoy_status cvy_company_backward(cvy_company *c, convoy_status own) {
    return c->told ? own : walk_all(c, true, own);
}
