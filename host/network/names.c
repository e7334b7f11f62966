/* What layers are called, and by which variants they run. */
#include "network/inside.h"

cvy_layer_report cvy_network_report(const convoy_network *network, size_t s, bool folded) {
    const cvy_step *step = &network->model->steps[s];
    const cvy_bound_step *ready = &network->steps[s];
    const void *state = folded ? ready->folded_state : ready->state;
    cvy_layer_report report = {0};
    if (step->type && step->type->report && state)
        step->type->report(state, folded ? &ready->folded : &ready->setup, &report);
    return report;
}

void cvy_network_name(const convoy_network *network, const cvy_bound_action *bound, cvy_text *text) {
    const cvy_step *step = &network->model->steps[bound->action->step];
    cvy_layer_report report =
        cvy_network_report(network, bound->action->step, bound->action->kind == CVY_DO_FOLDED);
    cvy_text_add(text, "layer %s (%s", step->name, step->type_name);
    if (report.variant.length)
        cvy_text_add(text, ", %s", report.variant.data);
    cvy_text_add(text, ")");
    cvy_text_free(&report.variant);
}

void cvy_network_print_variants(const convoy_network *network, cvy_text *text) {
    const bool evaluates = !network->options.training;
    for (size_t s = 0; s < network->model->step_count; s++) {
        const cvy_step *step = &network->model->steps[s];
        if (evaluates && step->folded) /* into another layer, which does its work */
            continue;
        cvy_layer_report report = cvy_network_report(network, s, evaluates && step->fold);
        if (report.op || report.variant.length)
            cvy_text_add(text, "%s %s %s\n", step->name, report.op ? report.op : step->type_name,
                         cvy_text_get(&report.variant));
        cvy_text_free(&report.variant);
    }
}
