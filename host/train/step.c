/* One training step. */
#include "train/step.h"

#include "base/status.h"

convoy_status cvy_training_create(convoy_network *network, convoy_device *device, cvy_training *training) {
    convoy_model *model = cvy_network_model(network);
    const cvy_recipe *recipe = cvy_model_recipe(model);
    size_t pitch = (size_t)cvy_network_pitch(network);
    size_t state = cvy_network_parameter_count(network) * (size_t)cvy_optimizer_states(&recipe->optimizer);
    *training = (cvy_training){.device = device, .network = network, .recipe = recipe};
    convoy_status status = cvy_loss_create(device, (cvy_loss)recipe->loss, convoy_model_classes(model),
                                           (int)pitch, &training->loss);
    if (!status)
        status = cvy_buffer_create(device, pitch * sizeof(int32_t), "labels", &training->labels);
    if (!status && state)
        status = cvy_buffer_create(device, state * sizeof(float), "the optimizer's state", &training->state);
    return status ? status : cvy_statistics_create(device, &training->statistics);
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
        status = cvy_fail(CONVOY_FAILED, "internal error: a batch of %d images where %d were due", given, n);
    return status;
}

convoy_status cvy_training_step(cvy_training *t, cvy_loader *loader, int n, unsigned long long step) {
    convoy_network *network = t->network;
    convoy_status status = loader ? load(t, loader, n) : CONVOY_OK;
    if (!status)
        status = cvy_network_forward(network, n, true, (uint32_t)step);
    if (!status)
        status = cvy_loss_run(t->loss, n, cvy_network_output(network), t->labels, 1.0f / (float)n,
                              cvy_network_output_gradient(network), t->statistics.ring,
                              cvy_statistics_next_slot(&t->statistics, n), NULL, 0);
    if (!status)
        status = cvy_network_backward(network, n, false);
    if (!status)
        status = cvy_optimizer_step(t->device, &t->recipe->optimizer, step + 1,
                                    cvy_network_parameter_count(network), cvy_network_parameters(network),
                                    cvy_network_gradients(network), t->state);
    return status;
}
