/* One training step. */
#include "train/step.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/* ---- creation ---- */

static convoy_status create_loss(const cvy_training *t, convoy_device *device, cvy_loss_op **loss) {
    const cvy_recipe *recipe = t->recipe;
    const int classes = convoy_model_classes(cvy_network_model(t->network)),
              pitch = cvy_network_pitch(t->network);
    const bool mixed = cvy_transforms_mix(&recipe->augment);
    if (!t->class_weights && recipe->label_smoothing == 0 && !mixed)
        return cvy_loss_create(device, (cvy_loss)recipe->loss, classes, pitch, loss);
    float *weights = malloc((size_t)classes * sizeof *weights);
    if (!weights)
        return cvy_fail_memory("class weights", (size_t)classes * sizeof *weights);
    for (int c = 0; c < classes; c++)
        weights[c] = t->class_weights ? t->class_weights[c] : 1;
    const cvy_soft_targets targets = {recipe->label_smoothing, weights, mixed, 1};
    convoy_status status = cvy_loss_create_soft(device, &targets, classes, pitch, loss);
    free(weights);
    return status;
}

static convoy_status keep_weights(cvy_training *t, const float *class_weights, int classes) {
    const size_t bytes = (size_t)classes * sizeof *class_weights;
    if (!class_weights)
        return CONVOY_OK;
    t->class_weights = malloc(bytes);
    if (!t->class_weights)
        return cvy_fail_memory("class weights", bytes);
    memcpy(t->class_weights, class_weights, bytes);
    return CONVOY_OK;
}

static convoy_status view(cvy_buffer *whole, size_t offset, size_t count, cvy_buffer **part) {
    return whole ? cvy_buffer_view(whole, offset * sizeof(float), count * sizeof(float), part) : CONVOY_OK;
}

/* One group has the buffers themselves. */
static convoy_status add_group(cvy_training *t, const cvy_optimizer *optimizer, cvy_range range) {
    cvy_group *group = &t->groups[t->group_count++];
    const size_t all = cvy_network_parameter_count(t->network);
    const size_t states = (size_t)cvy_optimizer_states(optimizer);
    *group = (cvy_group){.base = *optimizer, .now = *optimizer, .range = range};
    convoy_status status = cvy_update_prepare(t->device, &group->now, range.count, &group->update);
    if (status || range.count == all) {
        group->parameters = cvy_network_parameters(t->network);
        group->gradients = cvy_network_gradients(t->network);
        group->state = t->state;
        return status;
    }
    status = view(cvy_network_parameters(t->network), range.offset, range.count, &group->parameters);
    if (!status)
        status = view(cvy_network_gradients(t->network), range.offset, range.count, &group->gradients);
    return status ? status : view(t->state, range.offset * states, range.count * states, &group->state);
}

static convoy_status create_groups(cvy_training *t) {
    const cvy_optimizer *optimizers;
    const size_t count = cvy_model_groups(cvy_network_model(t->network), &optimizers);
    const size_t floats =
        cvy_network_parameter_count(t->network) * (size_t)cvy_optimizer_states(&optimizers[0]);
    convoy_status status = CONVOY_OK;
    if (floats)
        status = cvy_buffer_create(t->device, floats * sizeof(float), "the optimizer's state", &t->state);
    for (size_t g = 0; g < count && !status; g++) {
        const cvy_range range = cvy_network_group(t->network, g);
        if (range.count)
            status = add_group(t, &optimizers[g], range);
    }
    return status;
}

static convoy_status create_average(cvy_training *t) {
    const size_t count = cvy_network_parameter_count(t->network);
    if (t->recipe->ema == 0)
        return CONVOY_OK;
    convoy_status status = cvy_average_prepare(t->device, count, &t->averaging);
    return status ? status
                  : cvy_buffer_create(t->device, count * sizeof(float), "averaged weights", &t->average);
}

convoy_status cvy_training_create_weighted(convoy_network *network, convoy_device *device, int batch_size,
                                           const float *class_weights, cvy_training *training) {
    const unsigned limit = (unsigned)cvy_network_batch_size(network);
    const convoy_model *model = cvy_network_model(network);
    const int pitch = cvy_network_pitch(network);
    *training = (cvy_training){.device = device,
                               .network = network,
                               .recipe = cvy_model_recipe(model),
                               .forwards = ((unsigned)batch_size + limit - 1) / limit};
    convoy_status status = keep_weights(training, class_weights, convoy_model_classes(model));
    if (!status)
        status = cvy_verifier_create(device, &training->verifier);
    if (!status)
        status = create_loss(training, device, &training->loss);
    if (!status && training->verifier)
        status = create_loss(training, cvy_verifier_host(training->verifier), &training->host_loss);
    if (!status)
        status = create_groups(training);
    if (!status)
        status = cvy_size_create(device, &cvy_loader_labels, (size_t)pitch, &training->labels);
    if (!status)
        status = cvy_clip_prepare(device, training->recipe->clip_grad_norm,
                                  cvy_network_parameter_count(network), &training->clip);
    if (!status)
        status = create_average(training);
    return status ? status
                  : cvy_statistics_create(device, cvy_loss_parts(device, pitch), &training->statistics);
}

convoy_status cvy_training_create(convoy_network *network, convoy_device *device, int batch_size,
                                  cvy_training *training) {
    return cvy_training_create_weighted(network, device, batch_size, NULL, training);
}

void cvy_training_sizes(const convoy_device *device, int pitch, cvy_sizes *sizes) {
    cvy_sizes_add(sizes, cvy_loader_labels);
    cvy_sizes_add(sizes, cvy_statistics_size(cvy_loss_parts(device, pitch), pitch));
}

void cvy_training_free(cvy_training *training) {
    cvy_statistics_free(&training->statistics);
    for (size_t g = 0; g < training->group_count; g++) {
        cvy_group *group = &training->groups[g];
        if (group->gradients == cvy_network_gradients(training->network)) /* no views */
            continue;
        cvy_buffer_free(group->parameters);
        cvy_buffer_free(group->gradients);
        cvy_buffer_free(group->state);
    }
    cvy_verifier_free(training->verifier);
    cvy_clip_free(&training->clip);
    cvy_buffer_free(training->average);
    free(training->class_weights);
    cvy_buffer_free(training->state);
    cvy_buffer_free(training->labels);
    cvy_loss_free(training->host_loss);
    cvy_loss_free(training->loss);
    *training = (cvy_training){0};
}

convoy_status cvy_training_load(cvy_training *t, cvy_loader *loader, int n) {
    int given = 0;
    convoy_status status = cvy_loader_next_of(loader, n, cvy_network_input(t->network), t->labels, &given);
    if (!status && given != n)
        status = cvy_fail(CONVOY_FAILED, "internal error: %d images came where %d were due", given, n);
    t->mix = cvy_loader_mix(loader);
    return status;
}

static convoy_status run_loss(cvy_training *t, const cvy_loss_operands *on) {
    return cvy_loss_run_verified(t->verifier, t->loss, t->host_loss, t->statistics.parts, on);
}

convoy_status cvy_training_loss(cvy_training *t, int n, float scale, size_t slot, bool accumulate) {
    const double own = t->mix ? t->mix->target : 1;
    const cvy_network_head *heads;
    const size_t count = cvy_network_heads(t->network, &heads);
    convoy_status status =
        run_loss(t, &(cvy_loss_operands){.n = n,
                                         .output = cvy_network_output(t->network),
                                         .labels = t->labels,
                                         .grad_scale = scale,
                                         .own = own,
                                         .gradient = cvy_network_output_gradient(t->network),
                                         .statistics = t->statistics.ring,
                                         .slot = slot,
                                         .accumulate = accumulate});
    for (size_t i = 0; i < count && !status; i++)
        status = run_loss(t, &(cvy_loss_operands){.n = n,
                                                  .output = heads[i].output,
                                                  .labels = t->labels,
                                                  .grad_scale = scale * (float)heads[i].weight,
                                                  .own = own,
                                                  .gradient = heads[i].gradient});
    return status;
}

static convoy_status run_update(cvy_training *t, unsigned long long step) {
    convoy_status status = cvy_clip_run(&t->clip, cvy_network_gradients(t->network));
    for (size_t g = 0; g < t->group_count && !status; g++) {
        const cvy_group *group = &t->groups[g];
        cvy_update update = group->update;
        update.optimizer = &group->now;
        status = cvy_update_run(&update, step + 1, group->parameters, group->gradients, group->state);
    }
    if (!status && t->average) /* the first average is what it averages */
        status = cvy_average_run(&t->averaging, step ? 1 - t->recipe->ema : 1,
                                 cvy_network_parameters(t->network), t->average);
    return status;
}

convoy_status cvy_training_update(cvy_training *t, unsigned long long step) {
    return cvy_verifier_takes(t->verifier) ? cvy_training_update_verified(t, step, run_update)
                                           : run_update(t, step);
}

/* ---- settings that change, and averaged weights ---- */

void cvy_training_schedule(cvy_training *training, const cvy_moment *at) {
    for (size_t g = 0; g < training->group_count; g++)
        cvy_schedule_apply(&training->recipe->schedule, at, &training->groups[g].base,
                           &training->groups[g].now);
}

double cvy_training_rate(const cvy_training *training) {
    return training->group_count ? training->groups[0].now.lr : 0;
}

static size_t average_bytes(const cvy_training *t) {
    return cvy_network_parameter_count(t->network) * sizeof(float);
}

convoy_status cvy_training_start_average(cvy_training *t) {
    return t->average
               ? cvy_buffer_copy(cvy_network_parameters(t->network), 0, t->average, 0, average_bytes(t))
               : CONVOY_OK;
}

/* They change places; between steps nobody needs the gradients. */
convoy_status cvy_training_show_average(cvy_training *t, bool shown) {
    cvy_buffer *parameters = cvy_network_parameters(t->network),
               *free_room = cvy_network_gradients(t->network);
    if (!t->average || t->average_shown == shown)
        return CONVOY_OK;
    convoy_status status = cvy_buffer_copy(parameters, 0, free_room, 0, average_bytes(t));
    if (!status)
        status = cvy_buffer_copy(t->average, 0, parameters, 0, average_bytes(t));
    if (!status)
        status = cvy_buffer_copy(free_room, 0, t->average, 0, average_bytes(t));
    t->average_shown = shown;
    return status;
}

/* ---- steps ---- */

/* A result of this step may be computed once more; else, at other times, none of the network is. */
static void watch(cvy_training *t, cvy_loader *loader, cvy_verifier *verifier) {
    if (!t->verifier)
        return;
    cvy_verifier_begin(verifier);
    cvy_network_verify(t->network, verifier);
    if (loader)
        cvy_loader_verify(loader, verifier);
}

convoy_status cvy_training_micro_batch(cvy_training *t, cvy_loader *loader, const cvy_micro_batch *m) {
    t->mix = NULL;
    convoy_status status = loader ? cvy_training_load(t, loader, m->n) : CONVOY_OK;
    if (!status)
        status = cvy_network_forward(t->network, m->n, true, m->index);
    if (!status)
        status = cvy_training_loss(t, m->n, m->scale, m->slot, m->adds);
    return status ? status : cvy_network_backward(t->network, m->n, m->adds);
}

float cvy_training_scale(const cvy_training *t, const cvy_loader *loader, int n, double *left) {
    *left = 1;
    if (!t->class_weights || !loader ||
        cvy_loader_mix(loader)) /* torch's mean over probabilities is the plain one */
        return 1.0f / (float)n;
    const double weight =
        cvy_loader_next_weight(loader, t->class_weights); /* torch's mean: over the images' */
    *left = weight > 0 ? n / weight : 0;
    return weight > 0 ? (float)(1 / weight) : 0;
}

/* One piece, on this rank. */
static convoy_status step_whole(cvy_training *t, cvy_loader *loader, int n, unsigned long long step) {
    int limit = cvy_network_batch_size(t->network);
    cvy_micro_batch m = {.slot = cvy_statistics_next_slot(&t->statistics, n),
                         .index = (uint32_t)(step * t->forwards)};
    convoy_status status = CONVOY_OK;
    m.scale = cvy_training_scale(t, loader, n, &t->statistics.factors[m.slot]);
    for (int done = 0; done < n && !status; done += m.n, m.index++, m.adds = true) {
        m.n = n - done < limit ? n - done : limit;
        status = cvy_training_micro_batch(t, loader, &m);
    }
    if (status) /* the steps before it are all that can be read */
        t->statistics.pending--;
    return status;
}

convoy_status cvy_training_step(cvy_training *t, cvy_loader *loader, int n, unsigned long long step) {
    watch(t, loader, t->verifier);
    convoy_status status =
        t->pieces ? cvy_pieces_step(t->pieces, t, loader, n, step) : step_whole(t, loader, n, step);
    if (!status)
        status = cvy_training_update(t, step);
    watch(t, loader, NULL);
    return status;
}
