/* Runs a network over a whole set, without gradients. During training it is the training network itself that
   is evaluated, so nothing is copied. */
#ifndef CVY_TRAIN_EVALUATOR_H
#define CVY_TRAIN_EVALUATOR_H

#include "convoy/train.h"
#include "data/loader.h"
#include "model/model.h"
#include "network/network.h"
#include "train/collective.h"

/* A loader that brings `set` into the network's input as the model's recipe says, in batches of batch_size
   images, of which the network may take only a piece at a time; augmented, where `augment` is not NULL.
   CONVOY_INVALID when the set's channels or classes are not the model's. */
convoy_status cvy_feed_create(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                              int batch_size, bool shuffle, uint64_t seed, const cvy_transforms *augment,
                              cvy_loader **loader);
/* The same without a network: for an input of `pitch` columns that takes `piece` images at a time. */
typedef struct cvy_feed_options {
    int piece, batch_size, pitch;
    int first, share; /* of each batch, the images that are asked for; share 0: all */
    bool shuffle;
    uint64_t seed;
    const cvy_transforms *augment;
} cvy_feed_options;
convoy_status cvy_feed_open(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                            const cvy_feed_options *options, cvy_loader **loader);
/* Adds the buffers that it will make at least, for batches of `growth`: it keeps the set on the device only
   where half of what is left there is enough. */
void cvy_feed_sizes(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                    const cvy_transforms *augment, cvy_growth growth, cvy_sizes *sizes);
/* The same checks alone, before anything is built. */
convoy_status cvy_feed_check(const convoy_model *model, const convoy_dataset *set);

typedef struct cvy_evaluator cvy_evaluator;
/* From now on each rank evaluates a part of the batches, and all of them know what all came to, to the same
   bits as one rank. CONVOY_MEMORY. */
convoy_status cvy_evaluator_share(cvy_evaluator *evaluator, cvy_collective *collective);

/* `answers`: keep every image's class and answer, for the confusion matrix. */
convoy_status cvy_evaluator_create(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                                   bool answers, cvy_evaluator **evaluator);
/* Adds the buffers that it will make at least, beside a network of this pitch. */
void cvy_evaluator_sizes(const convoy_model *model, convoy_device *device, const convoy_dataset *set,
                         int pitch, bool answers, cvy_sizes *sizes);
void cvy_evaluator_free(cvy_evaluator *evaluator); /* NULL is allowed */

/* Mean loss per image and the fraction of right answers; CONVOY_FAILED where a loss is not finite, or,
   with `answers`, an output. Returns
   CONVOY_INTERRUPTED within about 0.2 s, or one batch, after *interrupt (NULL: never) became non-zero. */
convoy_status cvy_evaluator_run(cvy_evaluator *evaluator, const volatile int *interrupt, double *loss,
                                double *accuracy);
/* A cvy_monitor of the last run that follows from its answers. */
convoy_status cvy_evaluator_monitor(cvy_evaluator *evaluator, int monitor, double *value);
/* convoy_evaluate of one of several ranks, which all call it alike and get the same figures (collective NULL:
   alone), and the outputs that it looked at: [images][classes] in the set's order, malloc'ed; NULL: not
   wanted. */
convoy_status cvy_evaluate(cvy_collective *collective, convoy_model *model, convoy_device *device,
                           convoy_dataset *set, int batch_size, float **outputs,
                           const convoy_evaluation **evaluation);
/* What the last run answered; truth and answers [images of the set]. */
convoy_status cvy_evaluator_answers(cvy_evaluator *evaluator, int32_t *truth, int32_t *answers);

#endif
