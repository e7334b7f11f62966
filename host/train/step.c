/* One training step. */
#include "train/step.h"

#include "base/status.h"

convoy_status cvy_training_create(convoy_network *network, convoy_device *device, int batch_size,
                                  cvy_training *training) {
    unsigned limit = (unsigned)cvy_network_batch_size(network);
    convoy_model *model = cvy_network_model(network);
    const cvy_recipe *recipe = cvy_model_recipe(model);
    size_t pitch = (size_t)cvy_network_pitch(network);
    const size_t parameters = cvy_network_parameter_count(network);
    const size_t state = parameters * (size_t)cvy_optimizer_states(&recipe->optimizer);
    *training = (cvy_training){.device = device,
                               .network = network,
                               .recipe = recipe,
                               .optimizer = recipe->optimizer,
                               .pieces = ((unsigned)batch_size + limit - 1) / limit};
    convoy_status status = cvy_loss_create(device, (cvy_loss)recipe->loss, convoy_model_classes(model),
                                           (int)pitch, &training->loss);
    if (!status)
        status = cvy_update_prepare(device, &recipe->optimizer, parameters, &training->update);
    if (!status)
        status = cvy_size_create(device, &cvy_loader_labels, pitch, &training->labels);
    if (!status && state)
        status = cvy_buffer_create(device, state * sizeof(float), "the optimizer's state", &training->state);
    return status ? status
                  : cvy_statistics_create(device, cvy_loss_parts(device, (int)pitch), &training->statistics);
}

void cvy_training_sizes(const convoy_device *device, int pitch, cvy_sizes *sizes) {
    cvy_sizes_add(sizes, cvy_loader_labels);
    cvy_sizes_add(sizes, cvy_statistics_size(cvy_loss_parts(device, pitch), pitch));
}

void cvy_training_free(cvy_training *training) {
    cvy_statistics_free(&training->statistics);
    cvy_buffer_free(training->state);
    cvy_buffer_free(training->labels);
    cvy_loss_free(training->loss);
    *training = (cvy_training){0};
}

static convoy_status load(cvy_training *t, cvy_loader *loader, int n) {
    int given = 0;
    convoy_status status = cvy_loader_next(loader, cvy_network_input(t->network), t->labels, &given);
    if (!status && given != n)
        status = cvy_fail(CONVOY_FAILED, "internal error: %d images came where %d were due", given, n);
    return status;
}

/* What a piece of a batch is computed with. */
typedef struct piece {
    int n;
    float scale;    /* of the loss: 1 / the batch's images */
    size_t slot;    /* of the statistics */
    bool first;     /* of its batch */
    uint32_t index; /* among all pieces of the run, for dropout's masks */
} piece;

convoy_status cvy_training_loss(cvy_training *t, int n, float scale, size_t slot, bool accumulate) {
    return cvy_loss_run(t->loss, &(cvy_loss_operands){.n = n,
                                                      .output = cvy_network_output(t->network),
                                                      .labels = t->labels,
                                                      .grad_scale = scale,
                                                      .gradient = cvy_network_output_gradient(t->network),
                                                      .statistics = t->statistics.ring,
                                                      .slot = slot,
                                                      .accumulate = accumulate});
}

convoy_status cvy_training_update(cvy_training *t, unsigned long long step) {
    cvy_update update = t->update;
    update.optimizer = &t->optimizer;
    return cvy_update_run(&update, step + 1, cvy_network_parameters(t->network),
                          cvy_network_gradients(t->network), t->state);
}

/* The gradients of a piece, in place of what was there or added to it. */
static convoy_status run_piece(cvy_training *t, const piece *p) {
    convoy_status status = cvy_network_forward(t->network, p->n, true, p->index);
    if (!status)
        status = cvy_training_loss(t, p->n, p->scale, p->slot, !p->first);
    return status ? status : cvy_network_backward(t->network, p->n, !p->first);
}

convoy_status cvy_training_step(cvy_training *t, cvy_loader *loader, int n, unsigned long long step) {
    int limit = cvy_network_batch_size(t->network);
    piece p = {.scale = 1.0f / (float)n,
               .slot = cvy_statistics_next_slot(&t->statistics, n),
               .first = true,
               .index = (uint32_t)(step * t->pieces)};
    convoy_status status = CONVOY_OK;
    for (int done = 0; done < n && !status; done += p.n, p.index++, p.first = false) {
        p.n = n - done < limit ? n - done : limit;
        status = loader ? load(t, loader, p.n) : CONVOY_OK;
        if (!status)
            status = run_piece(t, &p);
    }
    if (status) { /* the steps before it are all that can be read */
        t->statistics.pending--;
        return status;
    }
    return cvy_training_update(t, step);
}
