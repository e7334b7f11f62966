/* Finding where values stop being finite: a watch on a network that looks at what each action has made. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "network/inside.h"

void cvy_network_watch(convoy_network *network, cvy_trace *trace) {
    network->watch = trace;
}

/* In rows of `pitch`, of which the first n columns count: is there a value that is not finite? Else their
 * range. */
typedef struct finding {
    bool bad;
    float value; /* the first that is not */
    size_t place, count;
    double low, high; /* of the finite ones */
} finding;

static convoy_status look(cvy_buffer *buffer, size_t pitch, size_t n, finding *f) {
    const size_t count = buffer ? cvy_buffer_bytes(buffer) / sizeof(float) : 0;
    float *values = malloc((count ? count : 1) * sizeof *values);
    *f = (finding){.low = INFINITY, .high = -INFINITY};
    convoy_status status = !values ? cvy_fail_memory("a trace", count * sizeof *values)
                           : count ? cvy_buffer_read(buffer, 0, values, count * sizeof *values)
                                   : CONVOY_OK;
    for (size_t i = 0; !status && i < count; i++) {
        if (i % pitch >= n)
            continue;
        if (isfinite(values[i])) {
            f->low = fmin(f->low, values[i]);
            f->high = fmax(f->high, values[i]);
            f->count++;
        } else if (!f->bad) {
            f->bad = true;
            f->value = values[i];
            f->place = i;
        }
    }
    free(values);
    return status;
}

/* "nan", "inf" */
static const char *word(float value) {
    return isnan(value) ? "NaN" : value > 0 ? "infinity" : "-infinity";
}

static void tell(const convoy_network *network, const cvy_bound_action *bound, const char *what, float value,
                 const finding *input) {
    cvy_trace *trace = network->watch;
    cvy_text text = {0};
    const bool backward = bound->action->kind == CVY_DO_BACKWARD;
    cvy_network_name(network, bound, &text);
    cvy_text_add(&text, " makes the first %s, in its %s%s", word(value),
                 backward ? "backward pass" : "forward pass", what);
    if (input->bad)
        cvy_text_add(&text, ", of %s that holds %s itself", backward ? "a gradient" : "an input",
                     word(input->value));
    else if (input->count)
        cvy_text_add(&text, ", of %s from %.4g to %.4g", backward ? "gradients" : "inputs", input->low,
                     input->high);
    snprintf(trace->text, sizeof trace->text, "%s", cvy_text_get(&text));
    trace->found = true;
    cvy_text_free(&text);
}

/* The parameters that the layer reads, and the gradients that it makes of them. */
static convoy_status look_at_tensors(const convoy_network *network, const cvy_bound_action *bound) {
    const cvy_step *step = &network->model->steps[bound->action->step];
    const bool backward = bound->action->kind == CVY_DO_BACKWARD;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < step->facts.tensor_count && !status && !network->watch->found; i++) {
        const cvy_model_tensor *tensor = &network->model->tensors[step->first_tensor + (size_t)i];
        finding f;
        status = look(backward ? bound->run.gradients[i] : bound->run.tensors[i], 1, 1, &f);
        if (status || !f.bad)
            continue;
        if (backward) {
            finding input;
            char what[128];
            snprintf(what, sizeof what, ", in the gradient of %.100s", tensor->name);
            status = look(bound->run.gy, (size_t)network->pitch, (size_t)network->options.batch_size, &input);
            tell(network, bound, what, f.value, &input);
        } else {
            snprintf(network->watch->text, sizeof network->watch->text,
                     "%s holds %s at value %zu before any layer runs: the update of the step before made it",
                     tensor->name, word(f.value), f.place);
            network->watch->found = true;
        }
    }
    return status;
}

convoy_status cvy_network_look_before(convoy_network *network, const cvy_bound_action *bound) {
    if (network->watch->found || !bound->call || bound->action->kind == CVY_DO_BACKWARD)
        return CONVOY_OK;
    return look_at_tensors(network, bound);
}

convoy_status cvy_network_look(convoy_network *network, const cvy_bound_action *bound, int n) {
    const size_t pitch = (size_t)network->pitch, images = (size_t)n;
    const bool backward = bound->action->kind == CVY_DO_BACKWARD;
    cvy_buffer *made = bound->out ? bound->out : bound->run.pooled,
               *from = backward ? bound->run.gy : bound->run.x;
    finding output, input;
    if (network->watch->found || bound->action->kind == CVY_DO_FOLD)
        return CONVOY_OK;
    /* Where a backward pass wants no gradient, it may use the place as it likes. */
    convoy_status status =
        look(backward && !bound->action->input_gradient ? NULL : made, pitch, images, &output);
    if (!status && output.bad) {
        status = look(from == made ? NULL : from, pitch, images, &input);
        if (!status)
            tell(network, bound, "", output.value, &input);
    } else if (!status && backward)
        status = look_at_tensors(network, bound);
    return status;
}
