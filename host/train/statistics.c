/* The ring of per-batch losses and correct answers. */
#include "train/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/status.h"

static const double window_seconds = 0.2;

static size_t ring_bytes(size_t parts) {
    return CVY_STATISTICS_SLOTS * parts * 2 * sizeof(float);
}

cvy_size cvy_statistics_size(size_t parts, int pitch) {
    const size_t bytes = ring_bytes(parts);
    return parts > 1 ? (cvy_size){"statistics", bytes / (size_t)pitch, CVY_PER_COLUMN}
                     : (cvy_size){"statistics", bytes, CVY_FIXED_SIZE};
}

convoy_status cvy_statistics_create(convoy_device *device, size_t parts, cvy_statistics *statistics) {
    size_t bytes = ring_bytes(parts);
    *statistics = (cvy_statistics){.window = 1, .parts = parts, .pairs = malloc(bytes)};
    cvy_statistics_reset(statistics);
    if (!statistics->pairs)
        return cvy_fail_memory("statistics", bytes);
    return cvy_buffer_create(device, bytes, "statistics", &statistics->ring);
}

void cvy_statistics_free(cvy_statistics *statistics) {
    cvy_buffer_free(statistics->ring);
    free(statistics->pairs);
    statistics->ring = NULL;
    statistics->pairs = NULL;
}

void cvy_statistics_reset(cvy_statistics *statistics) {
    statistics->busy = statistics->loss_sum = 0;
    statistics->timed = statistics->read = statistics->first_bad = 0;
    statistics->correct = statistics->images = 0;
    statistics->batch_loss = NAN;
    cvy_statistics_resume_clock(statistics);
}

void cvy_statistics_resume_clock(cvy_statistics *statistics) {
    statistics->stamp = cvy_seconds();
}

size_t cvy_statistics_next_slot(cvy_statistics *statistics, int n) {
    statistics->sizes[statistics->pending] = n;
    statistics->factors[statistics->pending] = 1;
    return statistics->pending++;
}

bool cvy_statistics_due(const cvy_statistics *statistics) {
    return statistics->pending >= statistics->window || statistics->first_bad;
}

static void adapt_window(cvy_statistics *statistics, double seconds) {
    double per_batch = seconds / (double)statistics->pending;
    double wanted = per_batch > 0 ? window_seconds / per_batch : CVY_STATISTICS_SLOTS;
    if (wanted >
        2.0 * (double)statistics->window) /* the first batches may hold surprises: grow step by step */
        wanted = 2.0 * (double)statistics->window;
    if (wanted > CVY_STATISTICS_SLOTS)
        wanted = CVY_STATISTICS_SLOTS;
    statistics->window = wanted < 1 ? 1 : (size_t)wanted;
}

static void sum_slot(const cvy_statistics *statistics, size_t slot, double *loss,
                     unsigned long long *correct) {
    const float *pairs = statistics->pairs + 2 * slot * statistics->parts;
    *loss = 0;
    *correct = 0;
    for (size_t part = 0; part < statistics->parts; part++) {
        *loss += (double)pairs[2 * part];
        *correct += (unsigned long long)pairs[2 * part + 1];
    }
}

static void add_batch(cvy_statistics *statistics, double loss, unsigned long long correct, int n) {
    statistics->read++;
    if (!isfinite(loss) && !statistics->first_bad)
        statistics->first_bad = statistics->read;
    statistics->loss_sum += loss;
    statistics->correct += correct;
    statistics->images += (unsigned long long)n;
    statistics->timed += (size_t)n;
    statistics->batch_loss = loss / n;
}

static convoy_status read_ring(cvy_statistics *statistics) {
    return cvy_buffer_read(statistics->ring, 0, statistics->pairs,
                           statistics->pending * statistics->parts * 2 * sizeof *statistics->pairs);
}

convoy_status cvy_statistics_read(cvy_statistics *statistics) {
    if (statistics->pending == 0)
        return CONVOY_OK;
    convoy_status status = read_ring(statistics);
    if (status)
        return status;
    for (size_t i = 0; i < statistics->pending; i++) {
        double loss;
        unsigned long long correct;
        sum_slot(statistics, i, &loss, &correct);
        add_batch(statistics, loss * statistics->factors[i], correct, statistics->sizes[i]);
    }
    double now = cvy_seconds();
    statistics->busy += now - statistics->stamp;
    adapt_window(statistics, now - statistics->stamp);
    statistics->stamp = now;
    statistics->pending = 0;
    return CONVOY_OK;
}

convoy_status cvy_statistics_take(cvy_statistics *statistics, double *losses, unsigned long long *correct) {
    convoy_status status = statistics->pending ? read_ring(statistics) : CONVOY_OK;
    for (size_t i = 0; i < statistics->pending && !status; i++)
        sum_slot(statistics, i, &losses[i], &correct[i]);
    statistics->pending = 0;
    return status;
}

void cvy_statistics_add(cvy_statistics *statistics, double loss, unsigned long long correct, int n) {
    add_batch(statistics, loss, correct, n);
    const double now = cvy_seconds();
    statistics->busy += now - statistics->stamp;
    statistics->stamp = now;
}

double cvy_statistics_loss(const cvy_statistics *statistics) {
    return statistics->images ? statistics->loss_sum / (double)statistics->images : NAN;
}

double cvy_statistics_accuracy(const cvy_statistics *statistics) {
    return statistics->images ? (double)statistics->correct / (double)statistics->images : NAN;
}

double cvy_statistics_rate(const cvy_statistics *statistics) {
    return statistics->busy > 0 ? (double)statistics->timed / statistics->busy : 0;
}
