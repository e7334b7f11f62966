/* Pieces of a batch whose batch-norms take the statistics of all of it, as torch.nn.SyncBatchNorm does: those
   of this rank run side by side, a network for each, and meet the others at every batch-norm. What is put
   together is in the order of the pieces, whoever has them. */
#ifndef CVY_TRAIN_TOGETHER_H
#define CVY_TRAIN_TOGETHER_H

#include "network/network.h"
#include "ops/mix.h"
#include "train/collective.h"

/* A piece of this rank on its way. */
typedef struct cvy_lane {
    convoy_network *network;
    cvy_buffer *labels;
    cvy_mix mix;
    bool mixed;
} cvy_lane;

typedef struct cvy_together {
    cvy_collective *collective;
    cvy_lane *lanes; /* [count]; the last one is the training's own network */
    unsigned count;
    cvy_company company;
    double *all, *counts; /* [pieces][channels][2], [pieces] */
    size_t *bytes;        /* [ranks], of a meeting */
    /* Of the step in progress: */
    unsigned pieces; /* that have images, */
    int *images;     /* [pieces], so many, */
    unsigned *each;  /* [ranks], and so many of them on each */
} cvy_together;

/* Does the recipe ask for it, of a network that has such a layer? */
bool cvy_together_wanted(const convoy_model *model);

/* Up to `lanes` pieces on this rank, of `pieces` in all; `network` was made with `options`, and with its
   `shares`. */
convoy_status cvy_together_create(convoy_network *network, convoy_device *device, cvy_buffer *labels,
                                  const cvy_network_options *options, cvy_collective *collective,
                                  unsigned lanes, unsigned pieces, const cvy_moving *moving,
                                  cvy_together **together);
void cvy_together_free(cvy_together *together); /* NULL is allowed */
/* Adds what the networks beside the first need, by what that one needs. */
void cvy_together_sizes(unsigned lanes, const cvy_memory *each, cvy_sizes *sizes);

/* A step begins, of which the above is filled in: the lanes for this rank's pieces, which begin with `first`.
 */
cvy_lane *cvy_together_begin(cvy_together *together, unsigned first);

#endif
