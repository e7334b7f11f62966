/* Time of each layer, by waiting after each of its actions. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "network/inside.h"

/* Runs a list of actions once and adds the seconds of each to its step, without those of the wait. */
static convoy_status time_actions(convoy_network *network, const cvy_bound_action *actions, size_t count,
                                  double wait, double *seconds) {
    const cvy_walk walk = {.n = network->options.batch_size};
    for (size_t i = 0; i < count; i++) {
        double start = cvy_seconds();
        convoy_status status = cvy_network_run(network, &actions[i], &walk);
        if (!status)
            status = cvy_device_finish(network->device);
        if (status)
            return status;
        double taken = cvy_seconds() - start;
        seconds[actions[i].action->step] += taken > 2 * wait ? taken - wait : taken / 2;
    }
    return CONVOY_OK;
}

static void keep_best(double *best, const double *seconds, size_t count, bool first) {
    for (size_t i = 0; i < count; i++)
        if (first || seconds[i] < best[i])
            best[i] = seconds[i];
}

/* Of a step whose layer does not say: forward reads its input and writes its output once, backward the other
   way round, at an operation for each value. */
static void default_cost(const cvy_bound_step *bound, const cvy_step *step, cvy_layer_report *report) {
    double in = 0, out = (double)cvy_dims_count(step->output_dims) * bound->setup.pitch;
    for (int i = 0; i < step->input_count; i++)
        in += (double)cvy_dims_count(step->input_dims[i]) * bound->setup.pitch;
    report->forward = (cvy_cost){out, sizeof(float) * (in + out)};
    double passes = step->kind == CVY_STEP_LAYER && bound->setup.input_gradient ? 2 : 1;
    report->cost = (cvy_cost){passes * report->forward.flops, passes * report->forward.bytes};
}

/* What the step is to `bench`: the op, its variant and its cost. */
static void describe(convoy_network *network, size_t s, cvy_layer_timing *row) {
    const cvy_step *step = &network->model->steps[s];
    cvy_bound_step *bound = &network->steps[s];
    cvy_layer_report report = {.op = step->kind == CVY_STEP_ADD       ? "add"
                                     : step->kind == CVY_STEP_CONCAT  ? "concat"
                                     : step->kind == CVY_STEP_PRODUCT ? "product"
                                                                      : NULL};
    if (step->type && step->type->report)
        step->type->report(bound->state, &bound->setup, &report);
    else
        default_cost(bound, step, &report);
    free(bound->variant);
    bound->variant = report.variant.data; /* the network owns it from here on */
    row->name = step->name;
    if (step->fused || bound->pooled) {
        /* The layer before it has the cost; what is left here is the way back. */
        free(bound->variant);
        bound->variant = strdup("fused");
        report.cost.flops -= report.forward.flops;
        report.cost.bytes -= report.forward.bytes;
        report.forward = (cvy_cost){0, 0};
    }
    row->op = report.op ? report.op : step->type_name;
    row->variant = bound->variant ? bound->variant : "";
    row->measured = report.measured;
    row->forward = report.forward;
    row->backward =
        (cvy_cost){report.cost.flops - report.forward.flops, report.cost.bytes - report.forward.bytes};
}

convoy_status cvy_network_time_layers(convoy_network *network, int repeats, double wait,
                                      cvy_layer_timing **rows, size_t *count) {
    size_t steps = network->model->step_count;
    *rows = NULL;
    *count = 0;
    if (!network->options.training)
        return cvy_fail(CONVOY_INVALID,
                        "this network was made for inference; layers are timed while training");
    double *times = calloc(4 * steps, sizeof *times), *best = times ? times + 2 * steps : NULL;
    cvy_layer_timing *list = calloc(steps, sizeof *list);
    convoy_status status =
        times && list ? CONVOY_OK : cvy_fail_memory("a list of timings", steps * sizeof *list);
    for (int r = 0; r < repeats && !status; r++) {
        memset(times, 0, 2 * steps * sizeof *times);
        status = time_actions(network, network->train, network->plan->train.count, wait, times);
        if (!status)
            status =
                time_actions(network, network->backward, network->plan->backward.count, wait, times + steps);
        keep_best(best, times, 2 * steps, r == 0);
    }
    for (size_t s = 0; s < steps && !status; s++) {
        if (network->model->steps[s].facts.alias)
            continue;
        cvy_layer_timing *row = &list[(*count)++];
        describe(network, s, row);
        row->forward_seconds = best[s];
        row->backward_seconds = best[steps + s];
    }
    free(times);
    if (status)
        free(list);
    else
        *rows = list;
    return status;
}
