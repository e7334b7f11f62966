/* The only thing that comes back from the device while batches run: per batch, the sum of its losses and the
   number of correct answers. The loss op writes them into a ring on the device, a pair for each of its
   work-groups; the host reads the ring every so many batches, and adds them up in order, in double: the sums
   do not depend on when they were read. */
#ifndef CVY_TRAIN_STATISTICS_H
#define CVY_TRAIN_STATISTICS_H

#include "device/device.h"

enum { CVY_STATISTICS_SLOTS = 64 };

typedef struct cvy_statistics {
    cvy_buffer *ring; /* float pairs [CVY_STATISTICS_SLOTS][parts] */
    float *pairs;     /* what was read of it */
    size_t parts;     /* pairs of a batch: cvy_loss_parts() */
    size_t pending;   /* batches launched and not read yet: slots 0..pending-1 */
    size_t window;    /* read when so many are pending: adapted to about 0.2 s of work, so that a slow network
                         still reports and stops promptly and a fast one is not held up */
    int sizes[CVY_STATISTICS_SLOTS]; /* images of each pending batch */
    double
        factors[CVY_STATISTICS_SLOTS]; /* of each one's sum of losses: 1, or what class weights leave to do */
    double stamp;                      /* when the present window began */
    double busy;                       /* seconds in windows since the last reset; pauses left out */
    size_t timed;                      /* images of those windows */
    /* Over the batches that were read: */
    double loss_sum;
    unsigned long long correct, images;
    double batch_loss; /* mean of the latest batch; NaN before the first */
    size_t read;       /* batches since the last reset */
    size_t first_bad;  /* 1 + index, since the last reset, of the first batch whose loss was NaN or infinite;
                          0: none */
} cvy_statistics;

convoy_status cvy_statistics_create(convoy_device *device, size_t parts, cvy_statistics *statistics);
/* Its buffer on the device, where a pitch has so many parts. */
cvy_size cvy_statistics_size(size_t parts, int pitch);
void cvy_statistics_free(cvy_statistics *statistics);

/* Sums to zero; nothing may be pending. */
void cvy_statistics_reset(cvy_statistics *statistics);
/* The clock goes on from now: call it after anything that is not batches (an evaluation, a file). */
void cvy_statistics_resume_clock(cvy_statistics *statistics);

/* The slot for the next batch, of n images; its loss is to be launched next. */
size_t cvy_statistics_next_slot(cvy_statistics *statistics, int n);
/* A batch that was added up elsewhere, of n images; nothing is pending. */
void cvy_statistics_add(cvy_statistics *statistics, double loss, unsigned long long correct, int n);
/* Should the ring be read now? */
bool cvy_statistics_due(const cvy_statistics *statistics);
/* Waits for the pending batches and adds them up. */
convoy_status cvy_statistics_read(cvy_statistics *statistics);
/* Waits for the pending slots, which then are free; of each the sum of losses and the correct answers. */
convoy_status cvy_statistics_take(cvy_statistics *statistics, double *losses, unsigned long long *correct);

/* Means over what was read; NaN where nothing was. */
double cvy_statistics_loss(const cvy_statistics *statistics);
double cvy_statistics_accuracy(const cvy_statistics *statistics);
/* Images per second of the windows since the last reset; 0 before the first. */
double cvy_statistics_rate(const cvy_statistics *statistics);

#endif
