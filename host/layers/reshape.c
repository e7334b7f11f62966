/* Flatten and Identity: nothing moves. With the batch innermost, [C][H][W][N] is [C*H*W][N]. */
#include <limits.h>

#include "layers/types.h"

static const cvy_param params[] = {CVY_PARAM_END};

static convoy_status describe_flatten(const cvy_layer_site *at, cvy_layer_facts *facts) {
    if (cvy_dims_count(at->input) > INT_MAX)
        return cvy_fail(CONVOY_INVALID, "a vector of %zu values is too long", cvy_dims_count(at->input));
    facts->output = (cvy_dims){(int)cvy_dims_count(at->input), 1, 1};
    facts->alias = true;
    return CONVOY_OK;
}

static convoy_status describe_identity(const cvy_layer_site *at, cvy_layer_facts *facts) {
    facts->output = at->input;
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
