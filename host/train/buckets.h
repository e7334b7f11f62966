/* The gradients of all ranks, added up in buckets: parts of the one buffer of gradients, from its end on,
   each of whole tensors. A bucket leaves the device as soon as the backward pass has made it, and a thread
   exchanges one after the other (collective.h) while the rest of the pass still runs. What is added to what
   does not depend on them. */
#ifndef CVY_TRAIN_BUCKETS_H
#define CVY_TRAIN_BUCKETS_H

#include "network/network.h"
#include "ops/elementwise.h"
#include "train/collective.h"

/* Gradients of subtrees that wait for their other half. */
typedef struct cvy_pile {
    cvy_span spans[CVY_SPANS];
    cvy_buffer *sums[CVY_SPANS];
    int count;
} cvy_pile;

typedef struct cvy_bucket {
    cvy_range range;
    size_t ready;                            /* actions of the backward pass after which it may leave */
    cvy_buffer *gradients, *sums[CVY_SPANS]; /* views: of the network's, and of the pile's */
    cvy_elementwise add;
    cvy_transfer *transfer;
    double left, came; /* of the latest step, in seconds since it began: it left the device; its sum came */
    double taken;      /* seconds of its exchange, with the wait for other ranks */
} cvy_bucket;

typedef struct cvy_buckets cvy_buckets;

/* `pile`: where a rank's subtrees wait that do not lie in the network's gradients, `waiting` of them at most.
   CONVOY_BUCKET_MB says how large a bucket is, other than of one tensor; 25 where it is silent. */
convoy_status cvy_buckets_create(convoy_network *network, convoy_device *device, cvy_collective *collective,
                                 const cvy_pile *pile, int waiting, cvy_buckets **buckets);
void cvy_buckets_free(cvy_buckets *buckets); /* NULL is allowed */

/* In the order in which they travel; of NULL none. */
const cvy_bucket *cvy_buckets_list(const cvy_buckets *buckets, size_t *count);
/* False: all of them leave when the backward pass is over. True unless said. */
void cvy_buckets_overlap(cvy_buckets *buckets, bool overlaps);

/* ---- One step, on all ranks ---- */

/* It begins. Rank r has the subtrees of leaves first[r]..first[r + 1] - 1. */
void cvy_buckets_begin(cvy_buckets *buckets, const unsigned *first);
/* The backward pass that comes next is the last one of this rank's, of leaf `leaf`; it is in the pile's
   subtrees that are there by then. */
void cvy_buckets_listen(cvy_buckets *buckets, unsigned leaf);
/* It is over, or `own` says why not; all ranks go on to the end of the step all the same. What is left of the
   buckets leaves. */
convoy_status cvy_buckets_leave(cvy_buckets *buckets, convoy_status own);
/* The sums of all, in the network's gradients. */
convoy_status cvy_buckets_finish(cvy_buckets *buckets, convoy_status own);

#endif
