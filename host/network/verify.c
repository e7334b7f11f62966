/* Results of a network computed once more by the host's references (ops/verify.h). What costs much is done in
   part: sixteen images of a convolution or a Linear layer, in turn; of the gradients of its parameters, which
   all images add to, some channels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "network/inside.h"

/* The host's multiply-adds of a part, where it can choose: a few milliseconds. */
static const double part_work = 4e6;
enum { COLUMNS = 16 };

typedef enum share { NOTHING, WHOLE, IMAGES, CHANNELS } share;

/* A layer on the host. */
typedef struct twin_layer {
    const cvy_layer_type *type;
    void *state, *config; /* malloc'ed; config NULL: the step's */
    cvy_layer_setup setup;
} twin_layer;

/* One result on its way. */
typedef struct result {
    convoy_network *network;
    const cvy_bound_action *bound;
    const cvy_walk *walk;
    cvy_verifier *verifier;
    share share;
    cvy_text name;
    twin_layer layer, pool;
    cvy_layer_run run;   /* on the host */
    cvy_buffer *out;     /* of a sum or a product */
    size_t first, width; /* of IMAGES */
    cvy_layer_part part; /* of CHANNELS */
} result;

void cvy_network_verify(convoy_network *network, cvy_verifier *verifier) {
    network->verifier = verifier;
}

static const cvy_step *step_of(const result *r) {
    return &r->network->model->steps[r->bound->action->step];
}

static bool is_backward(const result *r) {
    return r->bound->action->kind == CVY_DO_BACKWARD;
}

/* ---- The layer on the host ---- */

static void close_layer(twin_layer *layer) {
    if (layer->state && layer->type->release)
        layer->type->release(layer->state);
    free(layer->state);
    free(layer->config);
    *layer = (twin_layer){0};
}

static convoy_status open_layer(result *r, const cvy_layer_setup *setup, twin_layer *layer) {
    convoy_device *host = cvy_verifier_host(r->verifier);
    const cvy_layer_type *type = setup->type;
    layer->type = type;
    layer->setup = *setup;
    layer->setup.device = host;
    layer->setup.traits = cvy_device_get_traits(host);
    layer->setup.forced = (cvy_forced){0};
    layer->setup.pooling.kind = CVY_POOLING_NONE;
    if (layer->config)
        layer->setup.config = layer->config;
    layer->state = calloc(1, type->state_size ? type->state_size : 1);
    convoy_status status = layer->state ? CONVOY_OK : cvy_fail_memory("a layer", type->state_size);
    if (!status && type->needs)
        status = type->needs(&layer->setup);
    return status || !type->setup ? status : type->setup(layer->state, &layer->setup);
}

/* Of a backward pass, the images' part needs no more than the gradient of the input, and the channels' part
   has none. */
static convoy_status open_part(result *r) {
    const cvy_step *step = step_of(r);
    const cvy_bound_step *ready = &r->network->steps[r->bound->action->step];
    cvy_layer_setup setup = r->bound->action->kind == CVY_DO_FOLDED ? ready->folded : ready->setup;
    if (r->bound->action->kind == CVY_DO_FOLD)
        setup = r->network->steps[cvy_step_index(r->network->model, step->fold)].setup;
    if (r->share == IMAGES)
        setup.pitch = (int)r->width;
    if (r->share == CHANNELS) {
        r->layer.config = calloc(1, step->type->config_size);
        if (!r->layer.config)
            return cvy_fail_memory("a layer", step->type->config_size);
        step->type->divide(&setup, &r->part, r->layer.config);
        setup.input.channels = r->part.input_count;
        setup.output.channels = r->part.count;
        setup.input_gradient = false;
    }
    return open_layer(r, &setup, &r->layer);
}

static convoy_status open_pool(result *r) {
    cvy_layer_setup setup = r->network->steps[cvy_step_index(r->network->model, step_of(r)->pool)].setup;
    setup.pitch = (int)r->width;
    return open_layer(r, &setup, &r->pool);
}

/* ---- Its operands ---- */

static cvy_cut rows_of(const cvy_buffer *buffer, int rows, int first, int count) {
    const size_t bytes = cvy_buffer_bytes(buffer) / (size_t)rows;
    return (cvy_cut){(size_t)first * bytes, (size_t)count * bytes, (size_t)count * bytes, 1};
}

/* Of an activation that the layer reads (`input`) or is behind it. */
static cvy_cut activation_cut(const result *r, const cvy_buffer *buffer, bool input) {
    const cvy_step *step = step_of(r);
    if (r->share == IMAGES)
        return cvy_cut_columns(buffer, (size_t)r->network->pitch, sizeof(float), r->first, r->width);
    if (r->share == CHANNELS && buffer)
        return input ? rows_of(buffer, step->input_dims[0].channels, r->part.input_first, r->part.input_count)
                     : rows_of(buffer, step->output_dims.channels, r->part.first, r->part.count);
    return cvy_cut_whole(buffer);
}

/* Of a tensor, its gradient or its mask. */
static cvy_cut tensor_cut(const result *r, const cvy_buffer *buffer) {
    return r->share == CHANNELS && buffer
               ? rows_of(buffer, step_of(r)->output_dims.channels, r->part.first, r->part.count)
               : cvy_cut_whole(buffer);
}

static double root_mean_square(const cvy_buffer *host) {
    const float *values = cvy_buffer_host(host);
    const size_t count = values ? cvy_buffer_bytes(host) / sizeof *values : 0;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return count ? sqrt(sum / (double)count) : 0;
}

static size_t floats_of(const cvy_buffer *buffer) {
    return buffer ? cvy_buffer_bytes(buffer) / sizeof(float) : 0;
}

/* A size of sums of products of a weight with `factor`, of which each of `sums` has as many. */
static double product_size(const result *r, const cvy_buffer *factor, int sums) {
    const cvy_buffer *weight = r->run.tensors[0];
    return sqrt((double)floats_of(weight) / sums) * root_mean_square(weight) * root_mean_square(factor);
}

/* A copy of `device`, of which the host is to make the same. */
static convoy_status expect(result *r, const char *name, cvy_buffer *device, cvy_cut cut, double least,
                            bool rows) {
    cvy_buffer *host;
    convoy_status status = cvy_verifier_copy(r->verifier, device, cut, &host);
    const size_t n = (size_t)r->walk->n;
    cvy_expected expected = {.name = name,
                             .device = device,
                             .host = host,
                             .cut = cut,
                             .tolerance = cvy_verifier_tolerance(r->network->device),
                             .least = least,
                             .changes = !rows && is_backward(r) && r->walk->accumulate};
    if (rows && r->share == IMAGES) {
        expected.pitch = r->width;
        expected.n = n - r->first < r->width ? n - r->first : r->width;
    } else if (rows) {
        expected.pitch = (size_t)r->network->pitch;
        expected.n = n;
    }
    if (!status)
        cvy_verifier_expect(r->verifier, &expected);
    return status;
}

/* What is left of a buffer that the other part looks at: it may change, and is put back. */
static convoy_status keep(result *r, cvy_buffer *device) {
    cvy_buffer *host;
    const cvy_cut cut = {0, 0, 0, 0};
    convoy_status status = cvy_verifier_copy(r->verifier, device, cut, &host);
    if (!status)
        cvy_verifier_expect(r->verifier, &(cvy_expected){.device = device, .host = host, .cut = cut});
    return status;
}

/* ---- Layers ---- */

static convoy_status copy_activations(result *r) {
    const cvy_layer_run *device = &r->bound->run;
    const bool divided = r->share == CHANNELS;
    convoy_status status =
        cvy_verifier_copy(r->verifier, device->x, activation_cut(r, device->x, true), &r->run.x);
    if (!status && is_backward(r) && !divided)
        status = cvy_verifier_copy(r->verifier, device->y, activation_cut(r, device->y, false), &r->run.y);
    if (!status)
        status = cvy_verifier_copy(r->verifier, device->gy, activation_cut(r, device->gy, false), &r->run.gy);
    return status;
}

/* In evaluation alone the parameters are still those of the model: `buffer` is parameter i of the step. */
static convoy_status check_values(const result *r, const cvy_step *step, int i, const cvy_buffer *buffer) {
    const convoy_model *model = r->network->model;
    const float *here = cvy_verifier_before(r->verifier, buffer);
    if (r->network->options.training || !here || i >= step->facts.tensor_count)
        return CONVOY_OK;
    const cvy_model_tensor *tensor = &model->tensors[step->first_tensor + (size_t)i];
    if (memcmp(here, model->data + tensor->offset, tensor->count * sizeof *here) == 0)
        return CONVOY_OK;
    cvy_difference difference;
    snprintf(difference.text, sizeof difference.text,
             "%.150s is not what was uploaded: something that ran before has changed it", tensor->name);
    return cvy_verifier_fail(r->verifier, cvy_text_get((cvy_text *)&r->name), &difference);
}

static convoy_status copy_tensors(result *r) {
    const cvy_layer_run *device = &r->bound->run;
    const bool forward = !is_backward(r);
    const cvy_action_kind kind = r->bound->action->kind;
    const cvy_step *step = kind == CVY_DO_FOLD ? step_of(r)->fold : step_of(r);
    const double least = 0.01 * root_mean_square(r->run.x);
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < CVY_LAYER_TENSORS && !status; i++) {
        cvy_buffer *tensor = device->tensors[i];
        const bool statistic = tensor && forward && r->bound->action->training &&
                               i < step->facts.tensor_count && step->facts.tensors[i].role == CVY_STATISTIC;
        const cvy_cut cut = tensor_cut(r, tensor);
        status = cvy_verifier_copy(r->verifier, tensor, cut, &r->run.tensors[i]);
        if (!status && kind != CVY_DO_FOLDED) /* of which they were computed */
            status = check_values(r, step, i, tensor);
        if (!status && statistic)
            status = expect(r, step->facts.tensors[i].name, tensor, cut, least, false);
        if (!status)
            status = cvy_verifier_copy(r->verifier, device->masks[i], tensor_cut(r, device->masks[i]),
                                       &r->run.masks[i]);
    }
    return status;
}

static const char *const gradient_names[CVY_LAYER_TENSORS] = {
    "gradient of the weight", "gradient of the bias", "gradient of the third tensor",
    "gradient of the fourth tensor"};

/* What the gradients of all images add up to: sums over `terms` of gy, or of its products with x. */
static convoy_status copy_gradients(result *r) {
    const cvy_layer_run *device = &r->bound->run;
    const int channels = r->share == CHANNELS ? r->part.count : step_of(r)->output_dims.channels;
    const double sums = sqrt((double)floats_of(r->run.gy) / channels) * root_mean_square(r->run.gy);
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < CVY_LAYER_TENSORS && !status; i++) {
        cvy_buffer *gradient = device->gradients[i];
        if (!gradient)
            continue;
        if (r->share == IMAGES) {
            status = cvy_verifier_scratch(r->verifier, cvy_buffer_bytes(gradient), &r->run.gradients[i]);
            if (!status)
                status = keep(r, gradient);
            continue;
        }
        const cvy_cut cut = tensor_cut(r, gradient);
        const double least = sums * (i == 0 && r->share == CHANNELS ? root_mean_square(r->run.x) : 1);
        status = expect(r, gradient_names[i], gradient, cut, least, false);
        if (!status)
            status = cvy_verifier_copy(r->verifier, gradient, cut, &r->run.gradients[i]);
    }
    return status;
}

static convoy_status copy_saved(result *r) {
    const cvy_layer_run *device = &r->bound->run;
    const cvy_step *step = step_of(r);
    const bool made = !is_backward(r) && r->bound->action->kind == CVY_DO_FORWARD;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < step->facts.saved_count && r->share == WHOLE && !status; i++) {
        const cvy_cut cut = cvy_cut_whole(device->saved[i]);
        const cvy_layer_saved *about = &step->facts.saved[i];
        status = cvy_verifier_copy(r->verifier, device->saved[i], cut, &r->run.saved[i]);
        if (status || !made || !device->saved[i])
            continue;
        cvy_verifier_expect(r->verifier,
                            &(cvy_expected){.name = "what it keeps for the backward pass",
                                            .device = device->saved[i],
                                            .host = r->run.saved[i],
                                            .cut = cut,
                                            .exact = about->indices,
                                            .pitch = about->column_bytes ? (size_t)r->network->pitch : 0,
                                            .n = (size_t)r->walk->n,
                                            .tolerance = cvy_verifier_tolerance(r->network->device),
                                            .least = i == 0 ? 0.01 * root_mean_square(r->run.x) : 0});
    }
    return status;
}

/* What comes out of it, and a size that its values have where nothing cancels. */
static convoy_status copy_output(result *r) {
    cvy_buffer *device = r->bound->out;
    const cvy_step *step = step_of(r);
    const cvy_cut cut = activation_cut(r, device, is_backward(r));
    const bool wanted = !is_backward(r) || r->bound->action->input_gradient;
    double least = is_backward(r) ? 0.2 * root_mean_square(r->run.gy) : 0;
    if (!device || r->share == CHANNELS)
        return device && wanted ? keep(r, device) : CONVOY_OK;
    if (!wanted) { /* it may use the place as it likes */
        convoy_status status = cvy_verifier_scratch(r->verifier, cut.count * cut.length, &r->run.gx);
        return status ? status : keep(r, device);
    }
    if (r->share == IMAGES)
        least = is_backward(r) ? product_size(r, r->run.gy, step->input_dims[0].channels)
                               : fmax(product_size(r, r->run.x, step->output_dims.channels),
                                      root_mean_square(r->run.tensors[1]));
    convoy_status status =
        expect(r, is_backward(r) ? "gradient of the input" : "output", device, cut, least, true);
    return status ? status
                  : cvy_verifier_copy(r->verifier, device, cut, is_backward(r) ? &r->run.gx : &r->run.y);
}

/* A convolution that pools: its own output, which may be wanted by nobody, and the pooling's. */
static convoy_status copy_pooled(result *r) {
    cvy_buffer *pooled = r->bound->run.pooled;
    convoy_status status = CONVOY_OK;
    if (!pooled)
        return CONVOY_OK;
    if (!r->run.y)
        status = cvy_verifier_scratch(r->verifier, cvy_value_bytes(step_of(r)->output_dims, (int)r->width),
                                      &r->run.y);
    const double least = product_size(r, r->run.x, step_of(r)->output_dims.channels);
    const cvy_cut cut = cvy_cut_columns(pooled, (size_t)r->network->pitch, sizeof(float), r->first, r->width);
    if (!status)
        status = expect(r, "pooled output", pooled, cut, least, true);
    return status ? status : cvy_verifier_copy(r->verifier, pooled, cut, &r->run.pooled);
}

static convoy_status copy_folding(result *r) {
    const cvy_folding *device = &r->bound->run.folding;
    cvy_folding *host = &r->run.folding;
    struct {
        cvy_buffer *device, **host;
        const char *made;
    } list[] = {{device->weight, &host->weight, NULL},
                {device->bias, &host->bias, NULL},
                {device->folded_weight, &host->folded_weight, "folded weight"},
                {device->folded_bias, &host->folded_bias, "folded bias"}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && !status; i++) {
        const cvy_cut cut = cvy_cut_whole(list[i].device);
        if (list[i].made && list[i].device)
            status = expect(r, list[i].made, list[i].device, cut, 0, false);
        if (!status)
            status = cvy_verifier_copy(r->verifier, list[i].device, cut, list[i].host);
        if (!status && !list[i].made)
            status = check_values(r, step_of(r), (int)i, list[i].device);
    }
    return status;
}

static convoy_status copy_layer(result *r) {
    const bool fold = r->bound->action->kind == CVY_DO_FOLD;
    r->run = (cvy_layer_run){.n = r->walk->n,
                             .training = r->bound->run.training && !r->walk->frozen,
                             .accumulate = r->walk->accumulate,
                             .step = r->walk->step};
    if (r->share == IMAGES)
        r->run.n = r->walk->n - (int)r->first < (int)r->width ? r->walk->n - (int)r->first : (int)r->width;
    convoy_status status = fold ? CONVOY_OK : copy_activations(r);
    if (!status)
        status = copy_tensors(r);
    if (!status && is_backward(r))
        status = copy_gradients(r);
    if (!status && !fold)
        status = copy_saved(r);
    if (!status && !fold)
        status = copy_output(r);
    if (!status && !fold)
        status = copy_pooled(r);
    if (!status && fold)
        status = copy_folding(r);
    return status ? status
                  : cvy_verifier_scratch(r->verifier, r->layer.setup.needs.workspace, &r->run.workspace);
}

static convoy_status run_layer(result *r) {
    const cvy_layer_type *type = r->layer.type;
    if (r->bound->action->kind == CVY_DO_FOLD)
        return step_of(r)->fold->facts.fold(r->layer.state, &r->run);
    if (is_backward(r))
        return type->backward(r->layer.state, &r->run);
    cvy_layer_run run = r->run;
    run.pooled = run.pool_indices = NULL;
    convoy_status status = type->forward(r->layer.state, &run);
    if (status || !r->run.pooled)
        return status;
    run = (cvy_layer_run){.n = run.n, .training = run.training, .x = r->run.y, .y = r->run.pooled};
    return r->pool.type->forward(r->pool.state, &run);
}

/* ---- The places of maxima that a convolution found ---- */

/* Where two values are nearly the same, either of them may be the largest. */
static bool is_largest(const result *r, unsigned index, size_t place, double largest, double allowed) {
    const cvy_dims dims = step_of(r)->output_dims;
    const size_t column = place % r->width, at = place / r->width, half = (size_t)dims.width / 2,
                 row = at / half * 2 + index / 2,
                 pixel = row * (size_t)dims.width + at % half * 2 + index % 2;
    const float *y = cvy_buffer_host(r->run.y);
    if (index > 3)
        return index == 255 && largest <= allowed; /* ReLU made it 0 */
    return fabs((double)y[pixel * r->width + column] - largest) <= allowed;
}

static convoy_status check_indices(result *r, bool *found, cvy_difference *difference) {
    cvy_buffer *device = r->bound->run.pool_indices;
    const cvy_cut cut = cvy_cut_columns(device, (size_t)r->network->pitch, 1, r->first, r->width);
    const size_t bytes = device ? cvy_buffer_bytes(device) : 0;
    if (!device)
        return CONVOY_OK;
    unsigned char *indices = malloc(bytes ? bytes : 1);
    convoy_status status =
        indices ? cvy_buffer_read(device, 0, indices, bytes) : cvy_fail_memory("places of maxima", bytes);
    const float *pooled = cvy_buffer_host(r->run.pooled);
    double scale = product_size(r, r->run.x, step_of(r)->output_dims.channels);
    for (size_t i = 0; !status && i < cut.count * r->width; i++)
        scale = fmax(scale, fabs((double)pooled[i]));
    const double allowed = 2 * cvy_verifier_tolerance(r->network->device) * scale;
    for (size_t i = 0; !status && i < cut.count * r->width && !*found; i++) {
        const unsigned index = indices[cut.offset + i / r->width * cut.stride + i % r->width];
        if (i % r->width >= (size_t)r->run.n || is_largest(r, index, i, pooled[i], allowed))
            continue;
        *found = true;
        snprintf(difference->text, sizeof difference->text,
                 "the place of the largest value of window %zu is wrong: %u", i, index);
    }
    free(indices);
    return status;
}

/* ---- Sums and products ---- */

static convoy_status copy_operands(result *r) {
    cvy_buffer *x = r->bound->run.x, *y = r->bound->run.y, *out = r->bound->out;
    const cvy_cut cut = cvy_cut_whole(out);
    convoy_status status = cvy_verifier_copy(r->verifier, x, cvy_cut_whole(x), &r->run.x);
    if (!status)
        status = cvy_verifier_copy(r->verifier, y, cvy_cut_whole(y), &r->run.y);
    double least = 0;
    if (!status && r->bound->action->kind == CVY_DO_SUMS)
        least = sqrt((double)floats_of(x) / (double)floats_of(out)) * root_mean_square(r->run.x) *
                root_mean_square(r->run.y);
    if (!status)
        status = expect(r, "result", out, cut, least, true);
    return status ? status : cvy_verifier_copy(r->verifier, out, cut, &r->out);
}

static convoy_status run_operands(result *r) {
    convoy_device *host = cvy_verifier_host(r->verifier);
    cvy_elementwise add;
    cvy_product product;
    convoy_status status;
    if (r->bound->action->kind == CVY_DO_ADD) {
        status = cvy_elementwise_prepare(host, CVY_ADD, CVY_IDENTITY, floats_of(r->out), &add);
        return status ? status : cvy_elementwise_run(&add, r->run.x, r->run.y, r->out);
    }
    status = cvy_product_prepare(host, &r->bound->product.shape, &product);
    if (status)
        return status;
    return r->bound->action->kind == CVY_DO_PRODUCT ? cvy_product_run(&product, r->run.x, r->run.y, r->out)
                                                    : cvy_product_sums(&product, r->run.x, r->run.y, r->out);
}

/* ---- One result ---- */

static convoy_status prepare(result *r) {
    cvy_verifier_start(r->verifier);
    cvy_network_name(r->network, r->bound, &r->name);
    cvy_text_add(&r->name, ", %s pass", is_backward(r) ? "backward" : "forward");
    if (!r->bound->call)
        return copy_operands(r);
    convoy_status status = open_part(r);
    if (!status && r->bound->run.pooled)
        status = open_pool(r);
    return status ? status : copy_layer(r);
}

static convoy_status compare(result *r, bool *found, cvy_difference *difference) {
    convoy_status status = cvy_verifier_compare(r->verifier, cvy_text_get(&r->name), found, difference);
    return status || *found || !r->run.pooled ? status : check_indices(r, found, difference);
}

/* Layers run the product of the weights' gradient first, and that of the input's behind it. */
static cvy_prepared *blamed(const result *r, const cvy_noted *noted) {
    const size_t i = is_backward(r) && r->share == IMAGES && noted->count > 1 ? 1 : 0;
    return i < noted->count ? noted->list[i] : NULL;
}

/* The next variant takes over, as long as there is one. */
static convoy_status repeat(result *r, const cvy_noted *noted, const cvy_difference *difference) {
    cvy_prepared *wrong = blamed(r, noted);
    cvy_text reason = {0};
    cvy_text_add(&reason, "%s, %s", cvy_text_get(&r->name), difference->text);
    convoy_status status = wrong ? cvy_prepared_replace(wrong, cvy_text_get(&reason)) : CONVOY_DEVICE;
    cvy_text_free(&reason);
    if (status)
        return cvy_verifier_fail(r->verifier, cvy_text_get(&r->name), difference);
    cvy_warning("the result is repeated with variant %s; those of the batches before this one may be wrong",
                wrong->variant->name);
    return cvy_verifier_restore(r->verifier);
}

static convoy_status verify(result *r) {
    cvy_noted noted;
    bool found = true;
    convoy_status status = prepare(r);
    for (bool first = true; !status && found; first = false) {
        cvy_difference difference;
        cvy_prepared_note(&noted);
        status = cvy_network_run(r->network, r->bound, r->walk);
        cvy_prepared_note(NULL);
        if (!status && first)
            status = r->bound->call ? run_layer(r) : run_operands(r);
        if (!status)
            status = compare(r, &found, &difference);
        if (!status && found)
            status = repeat(r, &noted, &difference);
    }
    close_layer(&r->layer);
    close_layer(&r->pool);
    cvy_text_free(&r->name);
    return status;
}

/* ---- Turns ---- */

static bool has_gradients(const cvy_bound_action *bound) {
    for (int i = 0; i < CVY_LAYER_TENSORS; i++)
        if (bound->run.gradients[i])
            return true;
    return false;
}

/* Of a layer that is done in part, the two gradients have a turn each. */
static share take_turn(const convoy_network *network, const cvy_bound_action *bound) {
    const cvy_action_kind kind = bound->action->kind;
    const cvy_layer_type *type = network->model->steps[bound->action->step].type;
    cvy_verifier *v = network->verifier;
    if (kind == CVY_DO_COPY) /* no kernel */
        return NOTHING;
    if (!bound->call || !type->divide || kind == CVY_DO_FOLD)
        return cvy_verifier_takes(v) ? WHOLE : NOTHING;
    if (kind != CVY_DO_BACKWARD)
        return cvy_verifier_takes(v) ? IMAGES : NOTHING;
    const bool channels = has_gradients(bound) && cvy_verifier_takes(v),
               images = bound->action->input_gradient && cvy_verifier_takes(v);
    return channels ? CHANNELS : images ? IMAGES : NOTHING;
}

static void choose_part(result *r) {
    convoy_network *network = r->network;
    const cvy_step *step = step_of(r);
    const size_t n = (size_t)r->walk->n, slice = (size_t)network->slices;
    network->slices += r->share != WHOLE;
    r->width = network->pitch < COLUMNS ? (size_t)network->pitch : COLUMNS;
    r->first = slice % ((n + r->width - 1) / r->width) * r->width;
    const int channels = step->output_dims.channels;
    const double each = (double)step->facts.multiply_adds / channels * (double)n;
    int count = each > 0 && part_work / each < channels ? (int)(part_work / each) : channels;
    count = count < 1 ? 1 : count;
    r->part.first = (int)(slice % (size_t)((channels + count - 1) / count)) * count;
    r->part.count = channels - r->part.first < count ? channels - r->part.first : count;
}

convoy_status cvy_network_run_verified(convoy_network *network, const cvy_bound_action *bound,
                                       const cvy_walk *walk) {
    result r = {.network = network,
                .bound = bound,
                .walk = walk,
                .verifier = network->verifier,
                .share = take_turn(network, bound)};
    if (r.share == NOTHING)
        return cvy_network_run(network, bound, walk);
    choose_part(&r);
    return verify(&r);
}
