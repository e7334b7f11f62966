/* Networks for pieces that run side by side, and their meetings. */
#include "train/together.h"

#include <stdlib.h>

#include "base/status.h"
#include "model/model.h"
#include "ops/batchnorm.h"

bool cvy_together_wanted(const convoy_model *model) {
    return cvy_model_recipe(model)->sync_batch_norm && cvy_model_takes_statistics(model);
}

/* All pieces' pairs come to each rank, which puts them together alike. */
static convoy_status meet(void *context, convoy_status own, bool backward, const double *pairs,
                          size_t channels, size_t pixels, double *joined, double *count) {
    cvy_together *t = context;
    const size_t block = 2 * channels * sizeof *pairs, ranks = (size_t)cvy_ranks(t->collective);
    for (size_t r = 0; r < ranks; r++)
        t->bytes[r] = t->each[r] * block;
    convoy_status status = cvy_collective_gather(t->collective, "batch-norm", own, pairs, t->bytes, t->all);
    *count = 0;
    for (unsigned p = 0; p < t->pieces; p++)
        *count += t->counts[p] = (double)t->images[p] * (double)pixels;
    if (!status && *count < 2)
        status = cvy_fail(CONVOY_INVALID, "batch normalisation in training has one value of a channel in the "
                                          "whole batch: more are needed; use another batch size");
    if (!status)
        cvy_batchnorm_join(backward, t->all, t->counts, t->pieces, channels, joined);
    return status;
}

static convoy_status create_lanes(cvy_together *t, convoy_device *device, cvy_buffer *labels,
                                  const cvy_network_options *options) {
    cvy_network_options twin = *options;
    twin.as_before = true;
    twin.parameters_of = t->company.lead;
    twin.beside = NULL;
    convoy_status status = CONVOY_OK;
    for (unsigned i = 0; i + 1 < t->count && !status; i++) {
        status = cvy_network_create(cvy_network_model(t->company.lead), device, &twin, &t->lanes[i].network);
        if (!status)
            status = cvy_buffer_create(device, cvy_buffer_bytes(labels), "labels", &t->lanes[i].labels);
    }
    t->lanes[t->count - 1] = (cvy_lane){.network = t->company.lead, .labels = labels};
    return status;
}

convoy_status cvy_together_create(convoy_network *network, convoy_device *device, cvy_buffer *labels,
                                  const cvy_network_options *options, cvy_collective *collective,
                                  unsigned lanes, unsigned pieces, const cvy_moving *moving,
                                  cvy_together **together) {
    const size_t channels = cvy_company_channels(network), ranks = (size_t)cvy_ranks(collective);
    cvy_together *t = *together = calloc(1, sizeof *t);
    if (!t)
        return cvy_fail_memory("pieces side by side", sizeof *t);
    *t = (cvy_together){.collective = collective,
                        .count = lanes,
                        .lanes = calloc(lanes, sizeof *t->lanes),
                        .all = malloc(pieces * 2 * channels * sizeof *t->all),
                        .counts = malloc(pieces * sizeof *t->counts),
                        .bytes = calloc(ranks, sizeof *t->bytes),
                        .each = calloc(ranks, sizeof *t->each),
                        .images = malloc(pieces * sizeof *t->images)};
    cvy_company *c = &t->company;
    *c = (cvy_company){.lead = network,
                       .networks = malloc(lanes * sizeof(convoy_network *)),
                       .n = malloc(lanes * sizeof *c->n),
                       .steps = calloc(lanes, sizeof *c->steps),
                       .meeting = meet,
                       .context = t,
                       .pairs = malloc(lanes * 2 * channels * sizeof *c->pairs),
                       .joined = malloc(2 * channels * sizeof *c->joined),
                       .moving = moving,
                       .moved = calloc(moving->count + 1, sizeof *c->moved)};
    if (!t->lanes || !t->all || !t->counts || !t->bytes || !t->each || !t->images || !c->networks || !c->n ||
        !c->steps || !c->pairs || !c->joined || !c->moved)
        return cvy_fail_memory("pieces side by side", pieces * 2 * channels * sizeof *t->all);
    return create_lanes(t, device, labels, options);
}

void cvy_together_free(cvy_together *t) {
    if (!t)
        return;
    for (unsigned i = 0; t->lanes && i + 1 < t->count; i++) {
        cvy_buffer_free(t->lanes[i].labels);
        convoy_network_close(t->lanes[i].network);
    }
    free(t->lanes);
    free(t->all);
    free(t->counts);
    free(t->bytes);
    free(t->each);
    free(t->images);
    free(t->company.networks);
    free(t->company.n);
    free(t->company.steps);
    free(t->company.pairs);
    free(t->company.joined);
    free(t->company.moved);
    free(t);
}

void cvy_together_sizes(unsigned lanes, const cvy_memory *each, cvy_sizes *sizes) {
    if (lanes > 1)
        cvy_sizes_add(sizes, (cvy_size){"pieces side by side",
                                        (lanes - 1) * (each->activations + each->gradients + each->workspace),
                                        CVY_FIXED_SIZE});
}

cvy_lane *cvy_together_begin(cvy_together *t, unsigned first) {
    const unsigned own = t->each[cvy_rank(t->collective)];
    cvy_lane *lanes = t->lanes + (t->count - own);
    t->company.count = own;
    for (unsigned i = 0; i < own; i++) {
        t->company.networks[i] = lanes[i].network;
        t->company.n[i] = t->images[first + i];
    }
    return lanes;
}
