/* One step of pieces: those of this rank one after the other, then what the ranks tell each other. */
#include "train/pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/integer.h"
#include "base/log.h"
#include "base/text.h"
#include "train/step.h"

/* ---- how many, and whose ---- */

unsigned cvy_pieces_wanted(int wanted, int ranks) {
    unsigned count = 1;
    while (count < (unsigned)ranks)
        count *= 2;
    return wanted > 0 ? (unsigned)wanted : count;
}

unsigned cvy_pieces_wanted_unlike(int wanted, int ranks, int batch_size) {
    unsigned count = cvy_pieces_wanted(wanted, ranks);
    for (int i = 0; i < 3 && wanted <= 0 && 4 * count <= (unsigned)batch_size; i++)
        count *= 2;
    return count;
}

int cvy_pieces_images(int batch_size, unsigned count) {
    return (int)(((unsigned)batch_size + count - 1) / count);
}

static int least_of(int n, int part) {
    return n % part ? n % part : part;
}

int cvy_pieces_least(size_t images, int batch_size, int piece, int micro_batch) {
    const int last = (int)(images % (size_t)batch_size);
    int least = piece;
    for (int full = 0; full < 2; full++) {
        const int n = full ? batch_size : last;
        if (n == 0 || (full && images < (size_t)batch_size))
            continue;
        const int sizes[2] = {n < piece ? n : piece,
                              least_of(n, piece)}; /* of most pieces, of the last one */
        for (int i = 0; i < 2; i++) {
            const int forward = sizes[i] < micro_batch ? sizes[i] : least_of(sizes[i], micro_batch);
            least = forward < least ? forward : least;
        }
    }
    return least;
}

static unsigned pieces_of(const cvy_pieces *p, int n) {
    return ((unsigned)n + (unsigned)p->images - 1) / (unsigned)p->images;
}

static int images_of(const cvy_pieces *p, unsigned piece, int n) {
    const int left = n - (int)piece * p->images;
    return left < p->images ? left : p->images;
}

/* Of a batch of n images, its pieces first..end - 1 of this rank. */
typedef struct range {
    unsigned first, end;
} range;

static range own_range(const cvy_pieces *p, int rank, int n) {
    const unsigned all = pieces_of(p, n);
    return (range){(unsigned)min_size(p->first[rank], all), (unsigned)min_size(p->first[rank + 1], all)};
}

void cvy_pieces_share(const cvy_pieces *p, int batch_size, int *first, int *share) {
    const range own = own_range(p, cvy_rank(p->collective), batch_size);
    const int begin = (int)own.first * p->images, end = (int)own.end * p->images;
    *first = begin < batch_size ? begin : batch_size - 1;
    *share = (end < batch_size ? end : batch_size) - *first;
    *share = *share > 0 ? *share : 1;
}

/* ---- by speed ---- */

/* Only the first `count` pieces have images. */
static double slowest(const double *seconds, int ranks, unsigned count, const unsigned *first) {
    double most = 0;
    for (int r = 0; r < ranks; r++)
        most = fmax(most, seconds[r] * (double)(min_size(first[r + 1], count) - min_size(first[r], count)));
    return most;
}

/* One piece for each, and each of the rest for the rank that is through with it first. */
double cvy_pieces_deal(const double *seconds, int ranks, unsigned count, unsigned *first) {
    first[0] = 0;
    for (int r = 0; r < ranks; r++)
        first[r + 1] = (unsigned)r < count;
    for (unsigned left = count > (unsigned)ranks ? count - (unsigned)ranks : 0; left; left--) {
        int best = 0;
        for (int r = 1; r < ranks; r++)
            if (seconds[r] * (first[r + 1] + 1) < seconds[best] * (first[best + 1] + 1))
                best = r;
        first[best + 1]++;
    }
    for (int r = 0; r < ranks; r++)
        first[r + 1] += first[r];
    return slowest(seconds, ranks, count, first);
}

static void tell_shares(const cvy_pieces *p) {
    cvy_text text = {0};
    for (int r = 0; r < cvy_ranks(p->collective); r++)
        cvy_text_add(&text, "%s%u", r ? ", " : "", p->first[r + 1] - p->first[r]);
    if (cvy_rank(p->collective) == 0)
        cvy_info("by their speed the ranks compute %s of %u pieces", cvy_text_get(&text), p->count);
    cvy_text_free(&text);
}

convoy_status cvy_pieces_deal_again(cvy_pieces *p, bool *changed) {
    static const double worth = 0.95;
    const int ranks = cvy_ranks(p->collective);
    const unsigned used = pieces_of(p, p->batch_size);
    const double mine = p->done ? p->seconds / p->done : 0;
    double *all = calloc((size_t)ranks, sizeof *all);
    unsigned *first = calloc((size_t)ranks + 1, sizeof *first);
    convoy_status status =
        all && first ? CONVOY_OK : cvy_fail_memory("the speed of ranks", (size_t)ranks * sizeof *all);
    status = cvy_collective_gather_alike(p->collective, "speed", status, &mine, sizeof mine, all);
    *changed = false;
    bool known = !status;
    for (int r = 0; r < ranks && known; r++)
        known = all[r] > 0;
    if (known && cvy_pieces_deal(all, ranks, used, first) < worth * slowest(all, ranks, used, p->first)) {
        memcpy(p->first, first, (size_t)ranks * sizeof *first); /* empty ones stay with the last rank */
        *changed = true;
        tell_shares(p);
    }
    p->seconds = 0;
    p->done = p->steps = 0;
    free(first);
    free(all);
    return status;
}

/* ---- creation ---- */

/* What a piece came to, but for what is moved, which follows. */
typedef struct figures {
    double loss;
    unsigned long long correct;
} figures;

static size_t block_bytes(const cvy_pieces *p) {
    if (p->together) /* statistics have met already */
        return sizeof(figures);
    return sizeof(figures) + round_up(p->moving.count * sizeof(float), sizeof(double));
}

/* Subtrees that wait at the same time while pieces come one by one. */
static int most_waiting(unsigned count) {
    int most = 0;
    for (unsigned at = 1; at < count; at *= 2)
        most++;
    return 2 * most;
}

unsigned cvy_pieces_most_own(unsigned count, int ranks, bool dealt) {
    if (dealt) /* each of the others has one */
        return count > (unsigned)ranks ? count - (unsigned)ranks + 1 : 1;
    return (count + (unsigned)ranks - 1) / (unsigned)ranks;
}

static convoy_status create_memory(cvy_pieces *p, convoy_device *device, unsigned own, size_t values) {
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < most_waiting(own) && !status; i++)
        status = cvy_buffer_create(device, values * sizeof(float), "sums of gradients", &p->pile.sums[i]);
    p->own = malloc(own * block_bytes(p));
    p->all = malloc(p->count * block_bytes(p));
    if (!status && (!p->own || !p->all))
        status = cvy_fail_memory("pieces of a batch", p->count * block_bytes(p));
    return status;
}

convoy_status cvy_pieces_create(convoy_network *network, convoy_device *device, cvy_collective *collective,
                                unsigned count, int batch_size, bool dealt, cvy_pieces *p) {
    const int ranks = cvy_ranks(collective), limit = cvy_network_batch_size(network);
    const unsigned own = cvy_pieces_most_own(count, ranks, dealt);
    const size_t values = cvy_network_parameter_count(network);
    *p = (cvy_pieces){.collective = collective,
                      .count = count,
                      .batch_size = batch_size,
                      .images = cvy_pieces_images(batch_size, count),
                      .first = calloc(2 * ((size_t)ranks + 1), sizeof *p->first)};
    if (!p->first)
        return cvy_fail_memory("pieces of a batch", (size_t)ranks * sizeof *p->first);
    p->forwards = ((unsigned)p->images + (unsigned)limit - 1) / (unsigned)limit;
    for (int r = 0; r <= ranks; r++)
        p->first[r] = (unsigned)((unsigned long long)count * (unsigned)r / (unsigned)ranks);
    convoy_status status = cvy_moving_create(network, &p->moving);
    if (!status)
        status = cvy_elementwise_prepare(device, CVY_ADD, CVY_IDENTITY, values, &p->add);
    if (!status)
        status = create_memory(p, device, own, values);
    if (!status && ranks > 1)
        status = cvy_buckets_create(network, device, collective, &p->pile, most_waiting(own), &p->buckets);
    return status;
}

void cvy_pieces_sizes(unsigned count, int ranks, bool dealt, size_t gradients, cvy_sizes *sizes) {
    for (int i = 0; i < most_waiting(cvy_pieces_most_own(count, ranks, dealt)); i++)
        cvy_sizes_add(sizes, (cvy_size){"sums of gradients", gradients, CVY_FIXED_SIZE});
}

void cvy_pieces_free(cvy_pieces *p) {
    cvy_together_free(p->together);
    cvy_buckets_free(p->buckets);
    for (int i = 0; i < CVY_SPANS; i++)
        cvy_buffer_free(p->pile.sums[i]);
    cvy_moving_free(&p->moving);
    free(p->first);
    free(p->own);
    free(p->all);
    *p = (cvy_pieces){0};
}

/* No bucket leaves while a batch-norm may have to meet. */
convoy_status cvy_pieces_join(cvy_pieces *p, cvy_training *t, const cvy_network_options *options) {
    const unsigned own = cvy_pieces_most_own(p->count, cvy_ranks(p->collective), false);
    if (p->buckets)
        cvy_buckets_overlap(p->buckets, false);
    return cvy_together_create(t->network, t->device, t->labels, options, p->collective, own, p->count,
                               &p->moving, &p->together);
}

/* ---- the tree on the device ---- */

/* The network's gradients are those of `span`: they take in what waits for them. */
static convoy_status join(cvy_pieces *p, cvy_buffer *gradients, cvy_span *span, bool all) {
    cvy_pile *pile = &p->pile;
    convoy_status status = CONVOY_OK;
    while (!status && pile->count && (all || cvy_spans_join(pile->spans[pile->count - 1], *span))) {
        pile->count--;
        status = cvy_elementwise_run(&p->add, pile->sums[pile->count], gradients, gradients);
        *span = (cvy_span){pile->spans[pile->count].first, 2 * span->count};
    }
    return status;
}

static convoy_status put_aside(cvy_pieces *p, cvy_buffer *gradients, cvy_span span) {
    cvy_pile *pile = &p->pile;
    pile->spans[pile->count] = span;
    return cvy_buffer_copy(gradients, 0, pile->sums[pile->count++], 0, p->add.count * sizeof(float));
}

/* ---- this rank's pieces ---- */

/* Of the last piece the gradients leave while its last backward pass runs. */
static convoy_status run_piece(cvy_pieces *p, cvy_training *t, cvy_loader *loader, int n, cvy_micro_batch m,
                               const unsigned *last) {
    const int limit = cvy_network_batch_size(t->network);
    convoy_status status = cvy_moving_begin(&p->moving);
    m.slot = cvy_statistics_next_slot(&t->statistics, n);
    for (int done = 0; done < n && !status; done += m.n, m.index++, m.adds = true) {
        m.n = n - done < limit ? n - done : limit;
        if (last && done + m.n == n)
            cvy_buckets_listen(p->buckets, *last);
        status = cvy_training_micro_batch(t, loader, &m);
    }
    return last ? cvy_buckets_leave(p->buckets, status) : status;
}

/* The figures of the pieces whose slots are pending, which end before `end`. */
static convoy_status take_figures(cvy_pieces *p, cvy_training *t, size_t end) {
    double losses[CVY_STATISTICS_SLOTS];
    unsigned long long correct[CVY_STATISTICS_SLOTS];
    const size_t count = t->statistics.pending;
    convoy_status status = cvy_statistics_take(&t->statistics, losses, correct);
    for (size_t i = 0; i < count && !status; i++) {
        const figures f = {losses[i], correct[i]};
        memcpy(p->own + (end - count + i) * block_bytes(p), &f, sizeof f);
    }
    return status;
}

static uint32_t index_of(const cvy_pieces *p, unsigned long long step, unsigned piece) {
    return (uint32_t)((step * p->count + piece) * p->forwards);
}

/* Its gradients into the tree; the last ones stay where they are, for buckets that leave from there. */
static convoy_status add_piece(cvy_pieces *p, cvy_buffer *gradients, unsigned piece, bool last) {
    cvy_span span = {piece, 1};
    if (last && p->buckets)
        return CONVOY_OK;
    convoy_status status = join(p, gradients, &span, false);
    if (!status && !last)
        return put_aside(p, gradients, span);
    p->pile.spans[p->pile.count] = span;
    return status;
}

/* One after the other. */
static convoy_status run_each(cvy_pieces *p, cvy_training *t, cvy_loader *loader, int n, range own,
                              unsigned long long step, float scale) {
    convoy_status status = CONVOY_OK;
    for (unsigned piece = own.first; piece < own.end && !status; piece++) {
        char *block = p->own + (piece - own.first) * block_bytes(p);
        const bool last = piece + 1 == own.end;
        const cvy_micro_batch m = {.scale = scale, .index = index_of(p, step, piece)};
        status = run_piece(p, t, loader, images_of(p, piece, n), m, last && p->buckets ? &piece : NULL);
        if (!status)
            status = cvy_moving_read(&p->moving, (float *)(void *)(block + sizeof(figures)));
        if (!status && t->statistics.pending == CVY_STATISTICS_SLOTS)
            status = take_figures(p, t, piece - own.first + 1);
        if (!status)
            status = add_piece(p, cvy_network_gradients(t->network), piece, last);
    }
    return status;
}

/* ---- side by side ---- */

/* What follows is done with this piece's network. */
static void enter(cvy_training *t, const cvy_lane *lane) {
    t->network = lane->network;
    t->labels = lane->labels;
    t->mix = lane->mixed ? &lane->mix : NULL;
}

static convoy_status load_lane(cvy_training *t, cvy_loader *loader, cvy_lane *lane, int n) {
    enter(t, lane);
    convoy_status status = loader ? cvy_training_load(t, loader, n) : CONVOY_OK;
    lane->mixed = !status && t->mix;
    if (lane->mixed)
        lane->mix = *t->mix;
    return status;
}

static cvy_lane *begin_lanes(cvy_pieces *p, int n, range own, unsigned long long step) {
    cvy_together *t = p->together;
    t->pieces = pieces_of(p, n);
    for (int r = 0; r < cvy_ranks(p->collective); r++) {
        const range range = own_range(p, r, n);
        t->each[r] = range.end - range.first;
    }
    for (unsigned piece = 0; piece < t->pieces; piece++)
        t->images[piece] = images_of(p, piece, n);
    for (unsigned piece = own.first; piece < own.end; piece++)
        t->company.steps[piece - own.first] = index_of(p, step, piece);
    return cvy_together_begin(t, own.first);
}

/* A failure is told at the next meeting, so that all pieces go through all of this. */
static convoy_status run_together(cvy_pieces *p, cvy_training *t, cvy_loader *loader, int n, range own,
                                  unsigned long long step, float scale, convoy_status status) {
    cvy_lane *lanes = begin_lanes(p, n, own, step);
    cvy_company *company = &p->together->company;
    for (unsigned i = 0; i < company->count && !status; i++)
        status = load_lane(t, loader, &lanes[i], company->n[i]);
    status = cvy_company_forward(company, status);
    for (unsigned i = 0; i < company->count && !status; i++) {
        enter(t, &lanes[i]);
        const size_t slot = cvy_statistics_next_slot(&t->statistics, company->n[i]);
        status = cvy_training_loss(t, company->n[i], scale, slot, false);
        if (!status && t->statistics.pending == CVY_STATISTICS_SLOTS)
            status = take_figures(p, t, i + 1);
    }
    status = cvy_company_backward(company, status);
    enter(t, &p->together->lanes[p->together->count - 1]);
    for (unsigned i = 0; i < company->count && !status; i++)
        status =
            add_piece(p, cvy_network_gradients(lanes[i].network), own.first + i, i + 1 == company->count);
    if (p->buckets && own.first < own.end)
        cvy_buckets_listen(p->buckets, own.end - 1);
    return status;
}

/* One that failed before does nothing but tell those who meet. */
static convoy_status run_own(cvy_pieces *p, cvy_training *t, cvy_loader *loader, int n,
                             unsigned long long step, double *left, convoy_status status) {
    const range own = own_range(p, cvy_rank(p->collective), n);
    const float scale = cvy_training_scale(t, loader, n, left);
    const int before = (int)min_size((size_t)own.first * (size_t)p->images, (size_t)n),
              end = (int)min_size((size_t)own.end * (size_t)p->images, (size_t)n);
    if (!status && loader)
        status = cvy_loader_skip(loader, before);
    p->pile.count = 0;
    if (p->together)
        status = run_together(p, t, loader, n, own, step, scale, status);
    else if (!status)
        status = run_each(p, t, loader, n, own, step, scale);
    if (!status && loader)
        status = cvy_loader_skip(loader, n - end);
    return status ? status : take_figures(p, t, own.end - own.first);
}

/* ---- what all of them came to ---- */

static convoy_status gather(cvy_pieces *p, int n, convoy_status own) {
    const int ranks = cvy_ranks(p->collective);
    size_t *bytes = malloc((size_t)ranks * sizeof *bytes);
    if (!bytes)
        return cvy_fail_memory("pieces of a batch", (size_t)ranks * sizeof *bytes);
    for (int r = 0; r < ranks; r++) {
        const range range = own_range(p, r, n);
        bytes[r] = (range.end - range.first) * block_bytes(p);
    }
    convoy_status status = cvy_collective_gather(p->collective, "step", own, p->own, bytes, p->all);
    free(bytes);
    return status;
}

/* Forwards of so many pieces of a batch of n images. */
static int count_forwards(const cvy_pieces *p, const cvy_training *t, range range, int n) {
    const int limit = cvy_network_batch_size(t->network);
    int forwards = 0;
    for (unsigned piece = range.first; piece < range.end; piece++)
        forwards += (images_of(p, piece, n) + limit - 1) / limit;
    return forwards;
}

static void apply(cvy_pieces *p, cvy_training *t, int n, double left) {
    double loss = 0;
    if (p->together)
        cvy_moving_apply(&p->moving, p->together->company.moved, 1);
    unsigned long long correct = 0;
    for (unsigned piece = 0; piece < pieces_of(p, n); piece++) {
        const char *block = p->all + piece * block_bytes(p);
        figures f;
        memcpy(&f, block, sizeof f);
        loss += f.loss;
        correct += f.correct;
        if (!p->together)
            cvy_moving_apply(&p->moving, (const float *)(const void *)(block + sizeof f),
                             count_forwards(p, t, (range){piece, piece + 1}, n));
    }
    cvy_statistics_add(&t->statistics, loss * left, correct, n);
}

/* All ranks take the sum, whatever becomes of their pieces; how they fare follows. */
static void begin_sum(cvy_pieces *p, int n) {
    const int ranks = cvy_ranks(p->collective);
    unsigned *first = p->first + ranks + 1;
    for (int r = 0; r <= ranks; r++)
        first[r] = (unsigned)min_size(p->first[r], pieces_of(p, n));
    cvy_buckets_begin(p->buckets, first);
}

/* The sum of all pieces in the network's gradients. */
static convoy_status add_up(cvy_pieces *p, cvy_training *t, convoy_status own) {
    if (p->buckets)
        return cvy_buckets_finish(p->buckets, cvy_buckets_leave(p->buckets, own));
    return own ? own : join(p, cvy_network_gradients(t->network), &p->pile.spans[p->pile.count], true);
}

/* Until its last bucket left. */
static void note_speed(cvy_pieces *p, int n) {
    const range own = own_range(p, cvy_rank(p->collective), n);
    size_t count = 0;
    const cvy_bucket *list = cvy_buckets_list(p->buckets, &count);
    p->seconds += count ? list[count - 1].left : 0;
    p->done += own.end - own.first;
    p->steps++;
}

convoy_status cvy_pieces_step(cvy_pieces *p, cvy_training *t, cvy_loader *loader, int n,
                              unsigned long long step) {
    const range all = {0, pieces_of(p, n)};
    const double start = cvy_seconds();
    double left = 1;
    if (p->buckets)
        begin_sum(p, n);
    convoy_status status = run_own(p, t, loader, n, step, &left, cvy_moving_fetch(&p->moving));
    t->statistics.pending = 0;
    status = add_up(p, t, status);
    const convoy_status gathered = gather(p, n, status);
    status = status ? status : gathered;
    if (!status)
        apply(p, t, n, left);
    const int forwards = p->together ? 1 : count_forwards(p, t, all, n);
    const convoy_status back = cvy_moving_give(&p->moving, status ? 0 : forwards);
    if (p->collective && !status && !p->collective->patient)
        p->collective->step = fmax(p->collective->step, cvy_seconds() - start);
    if (p->buckets && !status && !p->collective->patient && n == p->batch_size)
        note_speed(p, n);
    if (p->collective && !status)
        p->collective->patient = false;
    return status ? status : back;
}

/* ---- for `bench` ---- */

convoy_status cvy_pieces_create_own(const cvy_pieces *p, convoy_network *network, convoy_device *device,
                                    cvy_pieces *own) {
    const int rank = cvy_rank(p->collective);
    const unsigned count = p->first[rank + 1] > p->first[rank] ? p->first[rank + 1] - p->first[rank] : 1;
    return cvy_pieces_create(network, device, NULL, count, (int)count * p->images, false, own);
}

convoy_status cvy_pieces_exchange(cvy_pieces *p, int n) {
    begin_sum(p, n);
    p->pile.count = 0;
    return cvy_buckets_finish(p->buckets, cvy_buckets_leave(p->buckets, CONVOY_OK));
}

unsigned long long cvy_pieces_bytes(const cvy_pieces *p, int n) {
    const int ranks = cvy_ranks(p->collective), rank = cvy_rank(p->collective);
    const range own = own_range(p, rank, n);
    cvy_span spans[CVY_SPANS];
    const unsigned long long rows = (unsigned long long)cvy_spans_of(own.first, own.end, spans);
    unsigned long long values = 0;
    size_t count = 0;
    const cvy_bucket *list = cvy_buckets_list(p->buckets, &count);
    for (size_t k = 0; k < count; k++) {
        const size_t all = list[k].range.count, slice = cvy_collective_slice(all, rank, ranks);
        values += rows * (all - slice) + (unsigned long long)(ranks - 1) * slice;
    }
    return values * sizeof(float);
}
