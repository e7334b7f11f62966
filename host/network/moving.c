/* Running statistics of the pieces of a batch, which may be computed by other processes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "network/inside.h"

static bool moves(const convoy_model *model, const cvy_model_tensor *tensor) {
    return tensor->about->role == CVY_STATISTIC && !model->steps[tensor->step].frozen;
}

static void find_range(cvy_moving *m) {
    const convoy_model *model = m->network->model;
    size_t end = 0;
    m->begin = SIZE_MAX;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (moves(model, &model->tensors[t])) {
            const size_t at = m->network->tensors[t].offset;
            m->begin = at < m->begin ? at : m->begin;
            end = at + model->tensors[t].count > end ? at + model->tensors[t].count : end;
        }
    m->count = end > m->begin ? end - m->begin : 0;
}

convoy_status cvy_moving_create(convoy_network *network, cvy_moving *m) {
    const convoy_model *model = network->model;
    *m = (cvy_moving){.network = network};
    find_range(m);
    m->momentum = calloc(m->count + 1, sizeof *m->momentum);
    m->nothing = calloc(m->count + 1, sizeof *m->nothing);
    m->now = calloc(m->count + 1, sizeof *m->now);
    m->tracked = calloc(model->step_count + 1, sizeof *m->tracked);
    if (!m->momentum || !m->nothing || !m->now || !m->tracked)
        return cvy_fail_memory("running statistics", 3 * m->count * sizeof *m->now);
    for (size_t t = 0; t < model->tensor_count; t++)
        for (size_t i = 0; moves(model, &model->tensors[t]) && i < model->tensors[t].count; i++)
            m->momentum[network->tensors[t].offset - m->begin + i] =
                model->steps[model->tensors[t].step].facts.momentum;
    return cvy_moving_fetch(m);
}

void cvy_moving_free(cvy_moving *m) {
    free(m->momentum);
    free(m->nothing);
    free(m->now);
    free(m->tracked);
    *m = (cvy_moving){0};
}

static convoy_status write(const cvy_moving *m, const float *values) {
    return m->count ? cvy_buffer_write(m->network->parameters, m->begin * sizeof *values, values,
                                       m->count * sizeof *values)
                    : CONVOY_OK;
}

convoy_status cvy_moving_read(const cvy_moving *m, float *moved) {
    return m->count ? cvy_buffer_read(m->network->parameters, m->begin * sizeof *moved, moved,
                                      m->count * sizeof *moved)
                    : CONVOY_OK;
}

convoy_status cvy_moving_begin(const cvy_moving *m) {
    return write(m, m->nothing);
}

convoy_status cvy_moving_give(const cvy_moving *m, int forwards) {
    convoy_network *network = m->network;
    for (size_t s = 0; s < network->model->step_count; s++) {
        const cvy_step *step = &network->model->steps[s];
        network->batches_tracked[s] =
            m->tracked[s] + (step->facts.counts_batches && !step->frozen ? forwards : 0);
    }
    return write(m, m->now);
}

/* Values between them that do not move are the same in every piece. */
convoy_status cvy_moving_fetch(cvy_moving *m) {
    const convoy_network *network = m->network;
    convoy_status status = cvy_moving_read(m, m->now);
    for (size_t i = 0; i < m->count; i++)
        m->nothing[i] = m->momentum[i] > 0 ? 0 : m->now[i];
    memcpy(m->tracked, network->batches_tracked, network->model->step_count * sizeof *m->tracked);
    return status;
}

void cvy_moving_apply(cvy_moving *m, const float *moved, int forwards) {
    for (size_t i = 0; i < m->count; i++)
        if (m->momentum[i] > 0)
            m->now[i] = (float)(pow(1 - (double)m->momentum[i], forwards) * m->now[i] + moved[i]);
}
