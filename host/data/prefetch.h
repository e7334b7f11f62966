/* Worker threads that prepare the next batches while the device computes: they decode into a ring of staging
   buffers. Which thread makes which image never shows: an image's place in the ring follows from its place in
   the order. */
#ifndef CVY_DATA_PREFETCH_H
#define CVY_DATA_PREFETCH_H

#include <stdbool.h>

#include "convoy/data.h"

typedef struct cvy_prefetch cvy_prefetch;

/* Batches of batch_size images of a set that outlives this; threads 0: the machine's cores, at most 4. */
convoy_status cvy_prefetch_create(const convoy_dataset *dataset, int batch_size, int threads,
                                  cvy_prefetch **prefetch);
/* Stops the threads, in the middle of their work too. NULL is allowed. */
void cvy_prefetch_free(cvy_prefetch *prefetch);

/* Begins anew with the images order[0..count-1] (kept by the caller until the next start), from batch `first`
   on. What was being prepared before is dropped. */
void cvy_prefetch_start(cvy_prefetch *prefetch, const uint32_t *order, size_t count, size_t first);

/* Is the next batch complete, so that asking for it does not wait? False at the end, and for a batch that
   fails. */
bool cvy_prefetch_ready(cvy_prefetch *prefetch);

/* The next batch: images [n][channels][height][width] and labels [n], valid until the call after the next, so
   that one can be on its way while the next is fetched. *n is 0 at the end. An image that cannot be decoded
   fails here, when its batch is asked for, with its file's name. */
convoy_status cvy_prefetch_next(cvy_prefetch *prefetch, const uint8_t **images, const int32_t **labels,
                                int *n);

#endif
