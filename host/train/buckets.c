/* Buckets of gradients on their way: device, memory, other ranks, memory, device. */
#include "train/buckets.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"
#include "base/threads.h"

static const double default_megabytes = 25; /* of torch's DistributedDataParallel */

struct cvy_buckets {
    convoy_network *network;
    cvy_collective *collective;
    const cvy_pile *pile;
    cvy_bucket *list;
    size_t count;
    bool overlaps, at_once; /* at_once: what was fetched is there, without waiting */
    cvy_pinned *pinned[2];  /* of these: */
    float *rows, *sum;      /* [bucket][waiting + 1][its values]; [values] */
    size_t most_rows;
    const unsigned *first;
    int joins;      /* of this rank's last piece with what waits for it */
    size_t fetched; /* buckets, in their order: asked for, */
    double begin;
    /* The thread; it lives as long as the buckets. */
    cvy_threads thread; /* none where all is exchanged by who calls cvy_buckets_finish */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t handed, summed; /* there to be exchanged, and exchanged */
    bool ends;
    cvy_failure failure;
};

/* ---- the exchange ---- */

static void note_failure(cvy_buckets *b, size_t k, convoy_status status) {
    if (status)
        cvy_failure_note(&b->failure, k, status);
}

static convoy_status sum_bucket(cvy_buckets *b, cvy_bucket *bucket) {
    const double start = cvy_seconds();
    convoy_status status =
        cvy_collective_sum(b->collective, b->first, b->rows + b->most_rows * bucket->range.offset,
                           bucket->range.count, b->sum + bucket->range.offset);
    bucket->came = cvy_seconds() - b->begin;
    bucket->taken = bucket->came + b->begin - start;
    return status;
}

static void exchange_all(void *context) {
    cvy_buckets *b = context;
    pthread_mutex_lock(&b->lock);
    while (!b->ends) {
        if (b->summed == b->handed) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        const size_t k = b->summed;
        const bool failed = b->failure.status != CONVOY_OK;
        pthread_mutex_unlock(&b->lock);
        const convoy_status status = failed ? CONVOY_OK : sum_bucket(b, &b->list[k]);
        pthread_mutex_lock(&b->lock);
        note_failure(b, k, status);
        b->summed = k + 1;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
}

static void hand_over(cvy_buckets *b, size_t count) {
    for (size_t k = b->handed; k < count; k++)
        b->list[k].left = cvy_seconds() - b->begin;
    pthread_mutex_lock(&b->lock);
    b->handed = count;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* Waits for the sum of bucket k, or makes it. */
static convoy_status wait_for_sum(cvy_buckets *b, size_t k) {
    if (b->thread.count == 0) {
        if (!b->failure.status)
            note_failure(b, k, sum_bucket(b, &b->list[k]));
        return cvy_failure_tell(&b->failure);
    }
    pthread_mutex_lock(&b->lock);
    while (b->summed <= k)
        pthread_cond_wait(&b->changed, &b->lock);
    const convoy_status status = cvy_failure_tell(&b->failure);
    pthread_mutex_unlock(&b->lock);
    return status;
}

/* ---- creation ---- */

static convoy_status read_limit(size_t *floats) {
    const char *wish = getenv("CONVOY_BUCKET_MB");
    double megabytes = default_megabytes;
    if (wish && *wish && (!cvy_text_to_double(wish, &megabytes) || !(megabytes >= 0 && megabytes < 1e9)))
        return cvy_fail(CONVOY_INVALID, "CONVOY_BUCKET_MB must be megabytes, 0 or more; found `%s`", wish);
    *floats = (size_t)(megabytes * 1024 * 1024 / sizeof(float));
    return CONVOY_OK;
}

static int by_place(const void *a, const void *b) {
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

static int by_time(const void *a, const void *b) {
    const cvy_bucket *x = a, *y = b;
    if (x->ready != y->ready)
        return x->ready < y->ready ? -1 : 1;
    return (x->range.offset < y->range.offset) - (x->range.offset > y->range.offset);
}

/* Tensors from the last one on; one that is larger than a bucket has one for itself. */
static convoy_status cut(cvy_buckets *b, size_t limit) {
    const size_t tensors = convoy_model_tensor_count(cvy_network_model(b->network));
    size_t *places = calloc(tensors + 1, sizeof *places), count = 0;
    b->list = calloc(tensors + 1, sizeof *b->list);
    if (!places || !b->list) {
        free(places);
        return cvy_fail_memory("buckets of gradients", tensors * sizeof *b->list);
    }
    for (size_t t = 0; t < tensors; t++) {
        const size_t at = cvy_network_parameter_offset(b->network, t);
        if (at < cvy_network_parameter_count(b->network))
            places[count++] = at;
    }
    qsort(places, count, sizeof *places, by_place);
    for (size_t i = 0, end = cvy_network_parameter_count(b->network); i < count; i++)
        if (i + 1 == count || end - places[i + 1] > limit) {
            cvy_bucket *bucket = &b->list[b->count++];
            bucket->range = (cvy_range){places[i], end - places[i]};
            bucket->ready = cvy_network_gradients_ready(b->network, bucket->range);
            end = places[i];
        }
    qsort(b->list, b->count, sizeof *b->list, by_time);
    free(places);
    return CONVOY_OK;
}

static convoy_status prepare(cvy_buckets *b, convoy_device *device, cvy_bucket *bucket, int waiting) {
    const size_t at = bucket->range.offset * sizeof(float), bytes = bucket->range.count * sizeof(float);
    convoy_status status = cvy_buffer_view(cvy_network_gradients(b->network), at, bytes, &bucket->gradients);
    for (int i = 0; i < waiting && !status; i++)
        status = cvy_buffer_view(b->pile->sums[i], at, bytes, &bucket->sums[i]);
    if (!status)
        status = cvy_elementwise_prepare(device, CVY_ADD, CVY_IDENTITY, bucket->range.count, &bucket->add);
    return status ? status : cvy_transfer_create(device, &bucket->transfer);
}

convoy_status cvy_buckets_create(convoy_network *network, convoy_device *device, cvy_collective *collective,
                                 const cvy_pile *pile, int waiting, cvy_buckets **buckets) {
    const size_t values = cvy_network_parameter_count(network), most_rows = (size_t)waiting + 1;
    size_t limit = 0;
    cvy_buckets *b = *buckets = calloc(1, sizeof *b);
    if (!b)
        return cvy_fail_memory("buckets of gradients", sizeof *b);
    *b = (cvy_buckets){.network = network,
                       .collective = collective,
                       .pile = pile,
                       .overlaps = true,
                       .at_once = cvy_device_get_traits(device)->host,
                       .most_rows = most_rows,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .changed = PTHREAD_COND_INITIALIZER};
    const size_t bytes[2] = {most_rows * values * sizeof *b->rows, values * sizeof *b->sum};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = cvy_pinned_create(device, bytes[i], "gradients on their way", &b->pinned[i]);
    if (!status) {
        b->rows = cvy_pinned_host(b->pinned[0]); /* zeros, also sent by a rank that failed */
        b->sum = cvy_pinned_host(b->pinned[1]);
        status = read_limit(&limit);
    }
    if (!status)
        status = cut(b, limit);
    for (size_t k = 0; k < b->count && !status; k++)
        status = prepare(b, device, &b->list[k], waiting);
    if (!status && b->count > 1 && collective->transport.any_thread)
        cvy_threads_start(&b->thread, 1, exchange_all, b);
    return status;
}

void cvy_buckets_free(cvy_buckets *b) {
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->ends = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    cvy_threads_join(&b->thread);
    for (size_t k = 0; k < b->count; k++) {
        cvy_transfer_free(b->list[k].transfer);
        for (int i = 0; i < CVY_SPANS; i++)
            cvy_buffer_free(b->list[k].sums[i]);
        cvy_buffer_free(b->list[k].gradients);
    }
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    cvy_failure_clear(&b->failure);
    free(b->list);
    for (int i = 0; i < 2; i++)
        cvy_pinned_free(b->pinned[i]);
    free(b);
}

const cvy_bucket *cvy_buckets_list(const cvy_buckets *b, size_t *count) {
    *count = b ? b->count : 0;
    return b ? b->list : NULL;
}

void cvy_buckets_overlap(cvy_buckets *b, bool overlaps) {
    b->overlaps = overlaps;
}

/* ---- one step ---- */

void cvy_buckets_begin(cvy_buckets *b, const unsigned *first) {
    pthread_mutex_lock(&b->lock);
    b->begin = cvy_seconds();
    b->first = first;
    b->joins = 0;
    b->fetched = b->handed = b->summed = 0;
    cvy_failure_clear(&b->failure);
    pthread_mutex_unlock(&b->lock);
}

/* This rank's part of the sum, on its way into memory. */
static convoy_status fetch(cvy_buckets *b, cvy_bucket *bucket) {
    const int kept = b->pile->count - b->joins;
    float *rows = b->rows + b->most_rows * bucket->range.offset;
    convoy_status status = CONVOY_OK;
    for (int i = b->pile->count - 1; i >= kept && !status; i--)
        status = cvy_elementwise_run(&bucket->add, bucket->sums[i], bucket->gradients, bucket->gradients);
    if (!status)
        status = cvy_transfer_after_launches(bucket->transfer);
    for (int i = 0; i <= kept && !status; i++)
        status =
            cvy_transfer_fetch(bucket->transfer, i < kept ? bucket->sums[i] : bucket->gradients, 0,
                               rows + (size_t)i * bucket->range.count, bucket->range.count * sizeof *rows);
    return status;
}

static convoy_status hear(void *context, size_t done) {
    cvy_buckets *b = context;
    convoy_status status = CONVOY_OK;
    while (b->fetched < b->count && b->list[b->fetched].ready <= done && !status)
        status = fetch(b, &b->list[b->fetched++]);
    if (!status && b->at_once)
        hand_over(b, b->fetched);
    return status;
}

void cvy_buckets_listen(cvy_buckets *b, unsigned leaf) {
    cvy_span span = {leaf, 1};
    for (int i = b->pile->count - 1; i >= 0 && cvy_spans_join(b->pile->spans[i], span); i--, b->joins++)
        span = (cvy_span){b->pile->spans[i].first, 2 * span.count};
    if (b->overlaps)
        cvy_network_listen(b->network, hear, b);
}

convoy_status cvy_buckets_leave(cvy_buckets *b, convoy_status own) {
    const bool has = b->first[cvy_rank(b->collective)] < b->first[cvy_rank(b->collective) + 1];
    cvy_network_listen(b->network, NULL, NULL);
    for (; b->fetched < b->count && !own && has; b->fetched++)
        own = fetch(b, &b->list[b->fetched]);
    for (size_t k = b->handed; k < b->count; k++) {
        if (!own)
            own = cvy_transfer_finish(b->list[k].transfer);
        hand_over(b, k + 1);
    }
    return own;
}

convoy_status cvy_buckets_finish(cvy_buckets *b, convoy_status own) {
    convoy_status status = CONVOY_OK;
    for (size_t k = 0; k < b->count; k++) {
        const cvy_bucket *bucket = &b->list[k];
        const convoy_status summed = wait_for_sum(b, k);
        status = status ? status : summed;
        if (!status && !own)
            own = cvy_transfer_start(bucket->transfer, bucket->gradients, 0, b->sum + bucket->range.offset,
                                     bucket->range.count * sizeof *b->sum);
        if (!status && !own)
            own = cvy_transfer_before_launches(bucket->transfer);
    }
    return own ? own : status;
}
