/* EuclideanRBF: LeNet-5's output layer, y[i] = sum over j of (x[j] - w[i][j])^2, where w[i] is a 7x12 bitmap
   of the digit i: +1 for ink, -1 for paper (LeCun et al., 1998). Small outputs are good answers. */
#include "layers/types.h"
#include "ops/lenet5.h"

enum { UNITS = 10, COLUMNS = 7, ROWS = 12, FEATURES = COLUMNS * ROWS };

static const char *const bitmaps[UNITS][ROWS] = {
    {"       ", "  ###  ", " ## ## ", "##   ##", "##   ##", "##   ##", "##   ##", "##   ##", "##   ##",
     " ## ## ", "  ###  ", "       "},
    {"       ", "   ##  ", "  ###  ", " ####  ", "   ##  ", "   ##  ", "   ##  ", "   ##  ", "   ##  ",
     "   ##  ", " ##### ", "       "},
    {"       ", " ##### ", "##   ##", "     ##", "     ##", "    ## ", "   ##  ", "  ##   ", " ##    ",
     "##     ", "#######", "       "},
    {"       ", "###### ", "     ##", "     ##", "     ##", "  #### ", "     ##", "     ##", "     ##",
     "     ##", "###### ", "       "},
    {"       ", "    ## ", "   ### ", "  #### ", " ## ## ", "##  ## ", "##  ## ", "#######", "    ## ",
     "    ## ", "    ## ", "       "},
    {"       ", "#######", "##     ", "##     ", "##     ", "###### ", "     ##", "     ##", "     ##",
     "##   ##", " ##### ", "       "},
    {"       ", "  #### ", " ##    ", "##     ", "##     ", "###### ", "##   ##", "##   ##", "##   ##",
     "##   ##", " ##### ", "       "},
    {"       ", "#######", "     ##", "     ##", "    ## ", "    ## ", "   ##  ", "   ##  ", "  ##   ",
     "  ##   ", "  ##   ", "       "},
    {"       ", " ##### ", "##   ##", "##   ##", "##   ##", " ##### ", "##   ##", "##   ##", "##   ##",
     "##   ##", " ##### ", "       "},
    {"       ", " ##### ", "##   ##", "##   ##", "##   ##", "##   ##", " ######", "     ##", "     ##",
     "    ## ", " ####  ", "       "},
};

static const cvy_param params[] = {CVY_PARAM_END};

static convoy_status describe(const cvy_layer_site *at, cvy_layer_facts *facts) {
    convoy_status status = cvy_layer_want_vector("EuclideanRBF", at->input);
    if (status)
        return status;
    if (at->input.channels != FEATURES)
        return cvy_fail(
            CONVOY_INVALID,
            "EuclideanRBF compares its input with bitmaps of %d pixels, but the input has %d values",
            FEATURES, at->input.channels);
    float *values = cvy_arena_alloc(at->arena, sizeof(float) * UNITS * FEATURES);
    for (int i = 0; i < UNITS; i++)
        for (int j = 0; j < FEATURES; j++)
            values[i * FEATURES + j] = bitmaps[i][j / COLUMNS][j % COLUMNS] == '#' ? 1.0f : -1.0f;
    facts->output = (cvy_dims){UNITS, 1, 1};
    cvy_layer_add_tensor(facts, "weight", CVY_FIXED, CVY_INIT_VALUES, 2, (const size_t[]){UNITS, FEATURES})
        ->values = values;
    facts->multiply_adds = facts->connections = UNITS * FEATURES;
    facts->backward_needs_x = true;
    return CONVOY_OK;
}

static convoy_status setup(void *op, cvy_layer_setup *setup) {
    const cvy_rbf_shape shape = {setup->pitch, FEATURES, UNITS};
    return cvy_rbf_prepare(setup->device, &shape, op);
}

static convoy_status forward(void *op, const cvy_layer_run *run) {
    return cvy_rbf_forward(op, run->x, run->tensors[0], run->y);
}

static convoy_status backward(void *op, const cvy_layer_run *run) {
    return run->gx ? cvy_rbf_backward(op, run->x, run->tensors[0], run->gy, run->gx) : CONVOY_OK;
}

const cvy_layer_type cvy_layer_euclidean_rbf = {
    .name = "EuclideanRBF",
    .help = "LeNet-5's distances to the bitmaps of the ten digits",
    .params = params,
    .state_size = sizeof(cvy_rbf),
    .describe = describe,
    .setup = setup,
    .forward = forward,
    .backward = backward,
};
