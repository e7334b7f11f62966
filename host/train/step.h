/* One training step: forward, loss and its gradient, backward, optimizer, all launched without waiting. Here
   stands what a step needs beside the network, for the trainer and for `bench` alike.

   A batch larger than the network is computed in micro-batches whose gradients add up: gradient accumulation,
   with the loss averaged over the whole batch. As in PyTorch, batch-norm takes its statistics from each of
   them. Pieces (pieces.h) are what other ranks may compute. */
#ifndef CVY_TRAIN_STEP_H
#define CVY_TRAIN_STEP_H

#include "data/loader.h"
#include "model/model.h"
#include "network/network.h"
#include "ops/average.h"
#include "ops/clip.h"
#include "train/pieces.h"
#include "train/statistics.h"

/* Parameters that are updated with the same settings. */
typedef struct cvy_group {
    cvy_optimizer base, now; /* as the recipe has them; of the next step */
    cvy_range range;         /* of the network's parameters */
    cvy_update update;
    cvy_buffer *parameters, *gradients, *state; /* views; of the only group the whole; state NULL: none */
} cvy_group;

typedef struct cvy_training {
    convoy_device *device;
    convoy_network *network;
    const cvy_recipe *recipe;
    unsigned forwards;  /* of a full batch that is one piece */
    cvy_pieces *pieces; /* the caller's; NULL: a batch is one piece, and this process alone computes it */
    cvy_loss_op *loss, *host_loss; /* the host's is there with a verifier */
    float *class_weights;          /* [classes], or NULL */
    cvy_group groups[CVY_GROUPS];
    size_t group_count;
    cvy_buffer *labels;        /* int32 [pitch] */
    const cvy_mix *mix;        /* of the images in the network's input; NULL: they are not mixed */
    cvy_buffer *state;         /* the optimizer's, [group][states][count]; NULL where it has none */
    cvy_clip clip;             /* of the gradients */
    cvy_average averaging;     /* of the weights */
    cvy_buffer *average;       /* NULL: none */
    bool average_shown;        /* the network holds the average, and `average` what it is of */
    cvy_statistics statistics; /* a slot for each step; the caller reads them */
    cvy_verifier *verifier;    /* NULL: the device is not watched */
} cvy_training;

/* `network` was made for training and outlives this; its model's recipe says the loss and the optimizer.
   Batches have at most batch_size images, which may be more than the network takes at a time. `class_weights`
   [classes], or NULL: all alike. What a failure leaves is freed by cvy_training_free. */
convoy_status cvy_training_create_weighted(convoy_network *network, convoy_device *device, int batch_size,
                                           const float *class_weights, cvy_training *training);
convoy_status cvy_training_create(convoy_network *network, convoy_device *device, int batch_size,
                                  cvy_training *training);
/* Adds the buffers that it will make beside the optimizer's state. */
void cvy_training_sizes(const convoy_device *device, int pitch, cvy_sizes *sizes);
void cvy_training_free(cvy_training *training); /* a zeroed one is allowed */

/* The settings of the next step, by the recipe's schedule. Without a call they are the recipe's. */
void cvy_training_schedule(cvy_training *training, const cvy_moment *at);
/* The learning rate of the next step, of the first group. */
double cvy_training_rate(const cvy_training *training);

/* The weights begin to be averaged: before the first step. */
convoy_status cvy_training_start_average(cvy_training *training);
/* Has the network compute with the averaged weights, or no longer; without an average nothing happens. */
convoy_status cvy_training_show_average(cvy_training *training, bool shown);

/* Step number `step`, from 0, on the loader's next batch, of `n` images; `loader` NULL: on what the network's
   input and the labels hold already, each piece on the same. */
convoy_status cvy_training_step(cvy_training *training, cvy_loader *loader, int n, unsigned long long step);

/* What a micro-batch is computed with. */
typedef struct cvy_micro_batch {
    int n;
    float scale;    /* of the loss: 1 / the batch's images */
    size_t slot;    /* of the statistics */
    bool adds;      /* its gradients and figures to what is there */
    uint32_t index; /* among all of the run, for dropout's masks */
} cvy_micro_batch;
/* The loader's next n images, into the network's input. */
convoy_status cvy_training_load(cvy_training *training, cvy_loader *loader, int n);
/* The loader's next images, or what is there already; the gradients are left where they are. */
convoy_status cvy_training_micro_batch(cvy_training *training, cvy_loader *loader, const cvy_micro_batch *m);
/* By what the losses of the loader's next batch, of n images, are divided, as a factor; *left: what is left
   to multiply their sum with. */
float cvy_training_scale(const cvy_training *training, const cvy_loader *loader, int n, double *left);

/* Two parts of a step, by themselves for `bench`: the loss and its gradient of n images, whose figures go
   into the statistics' slot; and the optimizer. */
convoy_status cvy_training_loss(cvy_training *training, int n, float scale, size_t slot, bool accumulate);
convoy_status cvy_training_update(cvy_training *training, unsigned long long step);

/* ---- ahead.c ---- */

/* The helper's task "build-network" with arguments ID NAME BATCH TRAINING VARIANT: reads the model from its
   parent and builds what a step and an evaluation of such a network run, from their end on. */
convoy_status cvy_training_serve_ahead(cvy_child *parent, char *const *arguments);

/* ---- verify.c: what the host computes once more (ops/verify.h) ---- */

/* The loss on the device, and, where it is its turn, on the host's twin of it; `parts`: pairs of a slot of
   the statistics. */
convoy_status cvy_loss_run_verified(cvy_verifier *verifier, cvy_loss_op *loss, cvy_loss_op *host,
                                    size_t parts, const cvy_loss_operands *on);
/* Clipping, the optimizer and averaging; `run` launches them. */
convoy_status cvy_training_update_verified(cvy_training *training, unsigned long long step,
                                           convoy_status (*run)(cvy_training *training,
                                                                unsigned long long step));

#endif
