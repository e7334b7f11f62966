/* Flatten and Identity: nothing moves. With the batch innermost, [C][H][W][N] is [C*H*W][N]. */
#include <limits.h>

#include "layers/types.h"

static const cvy_param params[] = {CVY_PARAM_END};

static convoy_status describe_flatten(const void *config, const cvy_node *node, cvy_dims input,
                                      cvy_arena *arena, cvy_layer_facts *facts) {
    (void)config, (void)node, (void)arena;
    if (cvy_dims_count(input) > INT_MAX)
        return cvy_fail(CONVOY_INVALID, "a vector of %zu values is too long", cvy_dims_count(input));
    facts->output = (cvy_dims){(int)cvy_dims_count(input), 1, 1};
    facts->alias = true;
    return CONVOY_OK;
}

static convoy_status describe_identity(const void *config, const cvy_node *node, cvy_dims input,
                                       cvy_arena *arena, cvy_layer_facts *facts) {
    (void)config, (void)node, (void)arena;
    facts->output = input;
    facts->alias = true;
    return CONVOY_OK;
}

const cvy_layer_type cvy_layer_flatten = {
    .name = "Flatten",
    .help = "channels x height x width to one vector",
    .params = params,
    .describe = describe_flatten,
};
const cvy_layer_type cvy_layer_identity = {
    .name = "Identity",
    .help = "its input",
    .params = params,
    .describe = describe_identity,
};
