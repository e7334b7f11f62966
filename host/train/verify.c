/* The loss and the update of a step once more on the host. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/step.h"

static convoy_status copy(cvy_verifier *v, cvy_buffer *buffer, cvy_buffer **host) {
    return cvy_verifier_copy(v, buffer, cvy_cut_whole(buffer), host);
}

/* A copy of all of it, and the host is to make the same. */
static convoy_status expect(cvy_verifier *v, const cvy_expected *expected, cvy_buffer **host) {
    cvy_expected all = *expected;
    convoy_status status = copy(v, all.device, host);
    all.host = *host;
    all.cut = cvy_cut_whole(all.device);
    if (!status)
        cvy_verifier_expect(v, &all);
    return status;
}

/* ---- Loss ---- */

/* The sums of a slot, of which the device has one pair for each of its `parts`, and the host one alone; all
   others are what they were. */
static convoy_status check_statistics(const cvy_loss_operands *on, size_t parts, const float *before,
                                      const float *host, bool *found, cvy_difference *difference) {
    const size_t bytes = cvy_buffer_bytes(on->statistics), first = on->slot * parts * 2,
                 end = first + parts * 2, floats = bytes / sizeof(float);
    float *after = malloc(bytes);
    convoy_status status =
        after ? cvy_buffer_read(on->statistics, 0, after, bytes) : cvy_fail_memory("statistics", bytes);
    double sums[2] = {0, 0};
    bool others = true;
    for (size_t i = 0; i < floats && !status; i++)
        if (i < first || i >= end)
            others = others && memcmp(&after[i], &before[i], sizeof *after) == 0;
        else
            sums[i % 2] += (double)after[i];
    free(after);
    const double allowed = 1e-4 * fmax(on->n, fabs((double)host[0]));
    const bool both = isfinite(host[0]) && isfinite(sums[0]);
    if (status ||
        (others && sums[1] == (double)host[1] &&
         (both ? fabs(sums[0] - (double)host[0]) <= allowed : isfinite(host[0]) == isfinite(sums[0]))))
        return status;
    *found = true;
    snprintf(difference->text, sizeof difference->text,
             others
                 ? "the batch's loss and right answers are %.6g and %g where %.6g and %g are right"
                 : "the sums of batches before it were changed (these are %.6g and %g, of which %.6g and %g "
                   "are right)",
             sums[0], sums[1], (double)host[0], (double)host[1]);
    return CONVOY_OK;
}

/* The host adds to what the parts have been so far. */
static convoy_status copy_statistics(cvy_verifier *v, const cvy_loss_operands *on, size_t parts,
                                     float **before, cvy_buffer **host) {
    const size_t bytes = cvy_buffer_bytes(on->statistics);
    *before = malloc(bytes);
    convoy_status status =
        *before ? cvy_buffer_read(on->statistics, 0, *before, bytes) : cvy_fail_memory("statistics", bytes);
    if (!status)
        status = cvy_verifier_scratch(v, (on->slot + 1) * 2 * sizeof(float), host);
    if (status)
        return status;
    float *pair = (float *)cvy_buffer_host(*host) + 2 * on->slot;
    for (size_t i = 0; i < 2 * parts; i++)
        pair[i % 2] += (*before)[on->slot * 2 * parts + i];
    return CONVOY_OK;
}

convoy_status cvy_loss_run_verified(cvy_verifier *v, cvy_loss_op *loss, cvy_loss_op *host_loss, size_t parts,
                                    const cvy_loss_operands *on) {
    const char *what = "the loss";
    cvy_loss_operands host = *on;
    cvy_difference difference;
    float *before = NULL;
    bool found = false;
    if (!cvy_verifier_takes(v))
        return cvy_loss_run(loss, on);
    cvy_verifier_start(v);
    convoy_status status = copy(v, on->output, &host.output);
    if (!status)
        status = copy(v, on->labels, &host.labels);
    if (!status)
        status = expect(v,
                        &(cvy_expected){.name = "gradient",
                                        .device = on->gradient,
                                        .tolerance = 1e-4,
                                        .least = (double)on->grad_scale},
                        &host.gradient);
    if (!status)
        status =
            expect(v, &(cvy_expected){.name = "list of answers", .device = on->predictions, .exact = true},
                   &host.predictions);
    if (!status && on->statistics)
        status = copy_statistics(v, on, parts, &before, &host.statistics);
    if (!status)
        status = cvy_loss_run(loss, on);
    if (!status)
        status = cvy_loss_run(host_loss, &host);
    if (!status)
        status = cvy_verifier_compare(v, what, &found, &difference);
    if (!status && !found && on->statistics)
        status = check_statistics(on, parts, before,
                                  (const float *)cvy_buffer_host(host.statistics) + 2 * on->slot, &found,
                                  &difference);
    free(before);
    return status || !found ? status : cvy_verifier_fail(v, what, &difference);
}

/* ---- Update ---- */

/* The whole buffers on the host; NULL where there is none. */
typedef struct update {
    cvy_buffer *parameters, *gradients, *state, *average;
} update;

/* A range of floats changes, in its own way. */
static void expect_range(cvy_verifier *v, const char *name, cvy_buffer *device, cvy_buffer *host,
                         size_t offset, size_t count) {
    const size_t bytes = count * sizeof(float);
    if (count)
        cvy_verifier_expect(v, &(cvy_expected){.name = name,
                                               .device = device,
                                               .host = host,
                                               .host_offset = offset * sizeof(float),
                                               .cut = {offset * sizeof(float), bytes, bytes, 1},
                                               .tolerance = 1e-4,
                                               .changes = true});
}

static convoy_status copy_update(const cvy_training *t, update *host) {
    cvy_verifier *v = t->verifier;
    cvy_buffer *parameters = cvy_network_parameters(t->network),
               *gradients = cvy_network_gradients(t->network);
    const size_t all = cvy_network_parameter_count(t->network);
    convoy_status status = copy(v, parameters, &host->parameters);
    if (!status)
        status = copy(v, gradients, &host->gradients);
    if (!status)
        status = copy(v, t->state, &host->state);
    if (!status)
        status = copy(v, t->average, &host->average);
    if (status)
        return status;
    if (t->clip.count && t->clip.limit > 0)
        expect_range(v, "clipped gradient", gradients, host->gradients, 0, all);
    if (t->average)
        expect_range(v, "average of the weights", t->average, host->average, 0, all);
    for (size_t g = 0; g < t->group_count; g++) {
        const cvy_range range = t->groups[g].range;
        const size_t states = (size_t)cvy_optimizer_states(&t->groups[g].now);
        expect_range(v, "weight", parameters, host->parameters, range.offset, range.count);
        for (size_t s = 0; s < states; s++)
            expect_range(v, "optimizer's state", t->state, host->state,
                         range.offset * states + s * range.count, range.count);
    }
    return CONVOY_OK;
}

static convoy_status view(cvy_buffer *whole, size_t offset, size_t count, cvy_buffer **part) {
    *part = NULL;
    return whole ? cvy_buffer_view(whole, offset * sizeof(float), count * sizeof(float), part) : CONVOY_OK;
}

static convoy_status update_group(const cvy_training *t, const cvy_group *group, unsigned long long step,
                                  const update *host) {
    const cvy_range range = group->range;
    const size_t states = (size_t)cvy_optimizer_states(&group->now);
    cvy_buffer *parts[3] = {NULL, NULL, NULL};
    cvy_update op;
    convoy_status status = cvy_update_prepare(cvy_verifier_host(t->verifier), &group->now, range.count, &op);
    if (!status)
        status = view(host->parameters, range.offset, range.count, &parts[0]);
    if (!status)
        status = view(host->gradients, range.offset, range.count, &parts[1]);
    if (!status)
        status = view(host->state, range.offset * states, range.count * states, &parts[2]);
    if (!status)
        status = cvy_update_run(&op, step + 1, parts[0], parts[1], parts[2]);
    for (int i = 0; i < 3; i++)
        cvy_buffer_free(parts[i]);
    return status;
}

static convoy_status update_on_host(const cvy_training *t, unsigned long long step, const update *host) {
    convoy_device *device = cvy_verifier_host(t->verifier);
    const size_t all = cvy_network_parameter_count(t->network);
    cvy_clip clip = {0};
    cvy_average average;
    convoy_status status = cvy_clip_prepare(device, t->recipe->clip_grad_norm, all, &clip);
    if (!status)
        status = cvy_clip_run(&clip, host->gradients);
    cvy_clip_free(&clip);
    for (size_t g = 0; g < t->group_count && !status; g++)
        status = update_group(t, &t->groups[g], step, host);
    if (status || !t->average)
        return status;
    status = cvy_average_prepare(device, all, &average);
    return status ? status
                  : cvy_average_run(&average, step ? 1 - t->recipe->ema : 1, host->parameters, host->average);
}

convoy_status cvy_training_update_verified(cvy_training *t, unsigned long long step,
                                           convoy_status (*run)(cvy_training *training,
                                                                unsigned long long step)) {
    update host;
    cvy_difference difference;
    bool found = false;
    cvy_verifier_start(t->verifier);
    convoy_status status = copy_update(t, &host);
    if (!status)
        status = run(t, step);
    if (!status)
        status = update_on_host(t, step, &host);
    if (!status)
        status = cvy_verifier_compare(t->verifier, "the optimizer", &found, &difference);
    return status || !found ? status : cvy_verifier_fail(t->verifier, "the optimizer", &difference);
}
