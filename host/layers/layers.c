/* The table of layer types, and what their files share. */
#include <stdio.h>
#include <string.h>

#include "layers/types.h"

const cvy_layer_type *const cvy_layer_types[] = {
    &cvy_layer_conv2d,
    &cvy_layer_linear,
    &cvy_layer_max_pool2d,
    &cvy_layer_avg_pool2d,
    &cvy_layer_adaptive_avg_pool2d,
    &cvy_layer_adaptive_max_pool2d,
    &cvy_layer_batch_norm2d,
    &cvy_layer_softmax,
    &cvy_layer_dropout,
    &cvy_layer_stochastic_depth,
    &cvy_layer_flatten,
    &cvy_layer_identity,
    &cvy_layer_upsample,
    &cvy_layer_subsample2d,
    &cvy_layer_euclidean_rbf,
    &cvy_layer_group_norm,
    &cvy_layer_layer_norm,
    &cvy_layer_layer_scale,
    &cvy_layer_local_response_norm,
    &cvy_layer_channel_linear,
    &cvy_layer_channel_shuffle,
    &cvy_layer_channel_split,
#define ROW(NAME, name, ...) &cvy_layer_##name,
    CVY_ACTIVATIONS(ROW) CVY_PLAIN_ACTIVATIONS(ROW)
#undef ROW
        & cvy_layer_gelu,
    &cvy_layer_leaky_relu,
    &cvy_layer_elu,
    &cvy_layer_softplus,
    &cvy_layer_prelu,
    NULL,
};

const cvy_layer_type *cvy_layer_type_find(const char *name) {
    for (const cvy_layer_type *const *type = cvy_layer_types; *type; type++)
        if (strcmp((*type)->name, name) == 0)
            return *type;
    return NULL;
}

const char *cvy_dims_text(cvy_dims dims) {
    static _Thread_local char buffers[8][40];
    static _Thread_local unsigned next;
    char *text = buffers[next++ % 8];
    if (dims.height == 1 && dims.width == 1)
        snprintf(text, sizeof buffers[0], "%d", dims.channels);
    else
        snprintf(text, sizeof buffers[0], "%dx%dx%d", dims.channels, dims.height, dims.width);
    return text;
}

convoy_status cvy_layer_check_given(const char *parameter, int given, int found, const char *what) {
    if (given && given != found)
        return cvy_fail(CONVOY_INVALID, "%s is %d but the input has %d %s; leave it out to have it inferred",
                        parameter, given, found, what);
    return CONVOY_OK;
}

convoy_status cvy_layer_want_vector(const char *type, cvy_dims input) {
    if (input.height != 1 || input.width != 1)
        return cvy_fail(
            CONVOY_INVALID,
            "%s works on a vector, but the input has height %d and width %d; put a Flatten before it", type,
            input.height, input.width);
    return CONVOY_OK;
}

unsigned cvy_layer_passes(const cvy_layer_setup *setup) {
    return 1u | (setup->input_gradient ? 2u : 0) | (setup->training ? 4u : 0);
}

cvy_layer_tensor *cvy_layer_add_tensor(cvy_layer_facts *facts, const char *name, cvy_tensor_role role,
                                       cvy_init_kind init, int dimensions, const size_t *shape) {
    cvy_layer_tensor *tensor = &facts->tensors[facts->tensor_count++];
    tensor->name = name;
    tensor->role = role;
    tensor->init = init;
    tensor->dimensions = dimensions;
    for (int i = 0; i < 4; i++)
        tensor->shape[i] = i < dimensions ? shape[i] : 1;
    return tensor;
}

void cvy_layer_report_passes(cvy_layer_report *report, const cvy_layer_pass *passes, int count) {
    bool same = true;
    report->measured = true;
    report->forward = passes[0].cost;
    for (int i = 0; i < count; i++) {
        report->cost.flops += passes[i].cost.flops;
        report->cost.bytes += passes[i].cost.bytes;
        report->measured = report->measured && passes[i].origin == CVY_MEASURED;
        same = same && strcmp(passes[0].variant, passes[i].variant) == 0;
    }
    for (int i = 0; i < (same ? 1 : count); i++)
        cvy_text_add(&report->variant, "%s%s", i ? "/" : "", passes[i].variant);
}
