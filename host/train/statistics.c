/* The ring of per-batch losses and correct answers. */
#include "train/statistics.h"

#include <math.h>

#include "base/file.h"

static const double window_seconds = 0.2;

convoy_status cvy_statistics_create(convoy_device *device, cvy_statistics *statistics) {
    *statistics = (cvy_statistics){.window = 1};
    cvy_statistics_reset(statistics);
    return cvy_buffer_create(device, CVY_STATISTICS_SLOTS * 2 * sizeof(float), "statistics",
                             &statistics->ring);
}

void cvy_statistics_free(cvy_statistics *statistics) {
    cvy_buffer_free(statistics->ring);
    statistics->ring = NULL;
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
    return statistics->pending++;
}

bool cvy_statistics_due(const cvy_statistics *statistics) {
    return statistics->pending >= statistics->window;
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

convoy_status cvy_statistics_read(cvy_statistics *statistics) {
    float pairs[CVY_STATISTICS_SLOTS][2];
    if (statistics->pending == 0)
        return CONVOY_OK;
    convoy_status status =
        cvy_buffer_read(statistics->ring, 0, pairs, statistics->pending * sizeof(pairs[0]));
    if (status)
        return status;
    for (size_t i = 0; i < statistics->pending; i++) {
        double loss = (double)pairs[i][0];
        int n = statistics->sizes[i];
        statistics->read++;
        if (!isfinite(loss) && !statistics->first_bad)
            statistics->first_bad = statistics->read;
        statistics->loss_sum += loss;
        statistics->correct += (unsigned long long)pairs[i][1];
        statistics->images += (unsigned long long)n;
        statistics->timed += (size_t)n;
        statistics->batch_loss = loss / n;
    }
    double now = cvy_seconds();
    statistics->busy += now - statistics->stamp;
    adapt_window(statistics, now - statistics->stamp);
    statistics->stamp = now;
    statistics->pending = 0;
    return CONVOY_OK;
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
