/* convoy bench on several ranks: what a step computes, what it waits for the others, and how much of that is
   hidden behind the backward pass; and what it would take on other wires. Steps of five kinds take turns, so
   that all of them meet the same machine: with overlap; without; nothing but this rank's pieces; nothing but
   the exchange; and that without a wire, what is sent being dropped. The least time of each counts. */
#include <stdlib.h>

#include "base/file.h"
#include "cli/bench.h"
#include "device/device.h"
#include "model/model.h"
#include "train/handshake.h"

enum { OVERLAPPED, APART, COMPUTE, WIRE, HANDLING, KINDS };
enum { LEAST_ROUNDS = 3 };
static const double wires[] = {1, 10, 100}; /* Gbit/s */
enum { WIRES = sizeof wires / sizeof *wires };

typedef struct measured {
    bench *b;
    cvy_pieces all, own;
    double least[KINDS], at[WIRES]; /* seconds */
    double *left;                   /* [buckets]: when each left the device, at the earliest */
    size_t rounds, buckets;
    unsigned long long sent, gradients; /* bytes of a step */
} measured;

static int start_nothing(void *state, const cvy_parcel *to, const cvy_parcel *from) {
    (void)state;
    (void)to;
    (void)from;
    return 0;
}

static int test_nothing(void *state, bool *answered) {
    (void)state;
    (void)answered;
    return 1;
}

static convoy_status exchange_nothing(measured *m) {
    cvy_transport *transport = &m->b->ranks->transport;
    const cvy_transport real = *transport;
    transport->start = start_nothing;
    transport->test = test_nothing;
    convoy_status status = cvy_pieces_exchange(&m->all, m->b->batch_size);
    *transport = real;
    return status;
}

static convoy_status take_step(measured *m, int kind) {
    bench *b = m->b;
    b->training.statistics.pending = 0;
    if (kind == HANDLING)
        return exchange_nothing(m);
    if (kind == WIRE)
        return cvy_pieces_exchange(&m->all, b->batch_size);
    cvy_buckets_overlap(m->all.buckets, kind == OVERLAPPED);
    b->training.pieces = kind == COMPUTE ? &m->own : &m->all;
    return cvy_training_step(&b->training, NULL,
                             kind == COMPUTE ? (int)m->own.count * m->own.images : b->batch_size, b->step++);
}

static void note_buckets(measured *m) {
    const cvy_bucket *list = cvy_buckets_list(m->all.buckets, &m->buckets);
    for (size_t k = 0; k < m->buckets; k++)
        if (m->rounds == 0 || list[k].left < m->left[k])
            m->left[k] = list[k].left;
}

static convoy_status take_round(measured *m) {
    convoy_status status = CONVOY_OK;
    for (int kind = 0; kind < KINDS && !status; kind++) {
        const unsigned long long before = m->b->ranks->bytes;
        status = cvy_collective_agree(m->b->ranks, "bench", cvy_device_finish(m->b->device));
        const double start = cvy_seconds();
        const unsigned long long agreed = m->b->ranks->bytes - before;
        if (!status)
            status = take_step(m, kind);
        if (!status)
            status = cvy_device_finish(m->b->device);
        const double taken = cvy_seconds() - start;
        if (m->rounds == 0 || taken < m->least[kind])
            m->least[kind] = taken;
        if (kind == OVERLAPPED)
            m->sent = m->b->ranks->bytes - before - agreed;
        if (kind == OVERLAPPED && !status)
            note_buckets(m);
    }
    m->rounds++;
    return status;
}

/* The slowest rank's computing, since all wait for it. */
static convoy_status find_slowest(measured *m) {
    const size_t ranks = (size_t)cvy_ranks(m->b->ranks);
    double *all = calloc(ranks, sizeof *all);
    if (!all)
        return cvy_fail_memory("the figures of ranks", ranks * sizeof *all);
    convoy_status status = cvy_collective_gather_alike(m->b->ranks, "figures", CONVOY_OK, &m->least[COMPUTE],
                                                       sizeof(double), all);
    for (size_t r = 0; r < ranks && !status; r++)
        m->least[COMPUTE] = all[r] > m->least[COMPUTE] ? all[r] : m->least[COMPUTE];
    free(all);
    return status;
}

/* Bucket after bucket: each goes when it has left its device and the one before it is through. */
static void predict(measured *m) {
    size_t count = 0;
    const cvy_bucket *list = cvy_buckets_list(m->all.buckets, &count);
    const double bytes = (double)m->gradients, values = (double)cvy_network_parameter_count(m->b->network);
    for (int w = 0; w < WIRES; w++) {
        double now = 0;
        for (size_t k = 0; k < count; k++) {
            const double share = (double)list[k].range.count / values,
                         taken = m->least[HANDLING] + bytes * 8 / (wires[w] * 1e9);
            now = (now > m->left[k] ? now : m->left[k]) + share * taken;
        }
        const double behind = m->least[COMPUTE] - (count ? m->left[count - 1] : 0);
        m->at[w] = now + (behind > 0 ? behind : 0);
    }
}

static double hidden(const measured *m) {
    const double saved = m->least[COMPUTE] + m->least[WIRE] - m->least[OVERLAPPED];
    return saved < 0 ? 0 : saved < m->least[WIRE] ? saved : m->least[WIRE];
}

static json_t *to_json(const measured *m, const convoy_model *model) {
    json_t *at = json_array();
    for (int w = 0; w < WIRES; w++)
        json_array_append_new(at, json_pack("{s:f, s:f}", "gigabits", wires[w], "step_ms", 1e3 * m->at[w]));
    return json_pack("{s:o, s:o, s:i, s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:o}",
                     "model", cli_string(convoy_model_name(model)), "device",
                     cli_string(convoy_device_get_info(m->b->device)->name), "ranks", cvy_ranks(m->b->ranks),
                     "pieces", (int)m->all.count, "batch_size", m->b->batch_size, "buckets",
                     (json_int_t)m->buckets, "train_images_per_second",
                     m->b->batch_size / m->least[OVERLAPPED], "step_ms", 1e3 * m->least[OVERLAPPED],
                     "step_without_overlap_ms", 1e3 * m->least[APART], "compute_ms", 1e3 * m->least[COMPUTE],
                     "wire_ms", 1e3 * m->least[WIRE], "handling_ms", 1e3 * m->least[HANDLING], "hidden_ms",
                     1e3 * hidden(m), "bytes_sent", (json_int_t)m->sent, "bytes_of_gradients",
                     (json_int_t)m->gradients, "at", at);
}

static void print(const measured *m, const convoy_model *model) {
    const double *t = m->least;
    printf("%s on %d ranks, batches of %d in %u pieces, gradients in %zu bucket%s\n",
           convoy_model_name(model), cvy_ranks(m->b->ranks), m->b->batch_size, m->all.count, m->buckets,
           m->buckets == 1 ? "" : "s");
    printf("training    %12.1f images/s  (%.3f ms a step; %.3f ms without overlap)\n",
           m->b->batch_size / t[OVERLAPPED], 1e3 * t[OVERLAPPED], 1e3 * t[APART]);
    printf(
        "compute     %12.3f ms, of the slowest rank\nwire        %12.3f ms by itself, of which %.3f ms are "
        "hidden (%.0f %%)\n",
        1e3 * t[COMPUTE], 1e3 * t[WIRE], 1e3 * hidden(m), t[WIRE] > 0 ? 100 * hidden(m) / t[WIRE] : 0);
    printf("handling    %12.3f ms of it, without a wire\n", 1e3 * t[HANDLING]);
    printf("sent        %12llu bytes a step by rank 0, %llu of them gradients\n", m->sent, m->gradients);
    for (int w = 0; w < WIRES; w++)
        printf("at %3.0f Gbit/s %10.3f ms a step would take\n", wires[w], 1e3 * m->at[w]);
}

static convoy_status measure(measured *m, size_t steps, double seconds) {
    const double start = cvy_seconds();
    convoy_status status = take_round(m);
    bool goes_on = true;
    m->rounds = 0; /* that was to warm up */
    while (!status && goes_on) {
        status = take_round(m);
        goes_on = steps ? m->rounds < steps : m->rounds < LEAST_ROUNDS || cvy_seconds() - start < seconds;
        if (!status) /* rank 0's clock is everybody's */
            status = cvy_collective_broadcast(m->b->ranks, "rounds", CONVOY_OK, &goes_on, sizeof goes_on);
    }
    m->gradients = cvy_pieces_bytes(&m->all, m->b->batch_size);
    if (!status)
        status = find_slowest(m);
    if (!status)
        predict(m);
    return status;
}

static convoy_status prepare(measured *m, const cli_call *call, convoy_model *model) {
    bench *b = m->b;
    const unsigned count = cvy_pieces_wanted(cvy_model_recipe(model)->pieces, cvy_ranks(b->ranks));
    const int images = cvy_pieces_images(b->batch_size, count);
    b->micro_batch = b->micro_batch < images ? b->micro_batch : images;
    if (cvy_together_wanted(model))
        cli_note("without sync_batch_norm: its meetings are no part of what is measured");
    convoy_status status = bench_prepare(b, model, true, call->variants);
    if (!status)
        status = cvy_handshake_of(b->ranks, b->network, b->device, NULL);
    if (!status)
        status = cvy_pieces_create(b->network, b->device, b->ranks, count, b->batch_size, false, &m->all);
    if (!status)
        status = cvy_pieces_create_own(&m->all, b->network, b->device, &m->own);
    if (status)
        return status;
    (void)cvy_buckets_list(m->all.buckets, &m->buckets);
    m->left = calloc(m->buckets + 1, sizeof *m->left);
    return m->left ? CONVOY_OK : cvy_fail_memory("figures of buckets", m->buckets * sizeof *m->left);
}

convoy_status bench_on_ranks(cli_call *call, convoy_model *model, bench *b, size_t steps, double seconds) {
    measured *m = calloc(1, sizeof *m);
    if (!m)
        return cvy_fail_memory("figures", sizeof *m);
    m->b = b;
    b->ranks = cli_ranks();
    convoy_status status = prepare(m, call, model);
    if (!status)
        status = measure(m, steps, seconds);
    if (!status && cvy_rank(b->ranks) == 0) {
        if (cli_common_of(call)->json)
            call->result = to_json(m, model);
        else
            print(m, model);
    }
    b->training.pieces = NULL;
    cvy_pieces_free(&m->own);
    cvy_pieces_free(&m->all);
    free(m->left);
    free(m);
    return status;
}
