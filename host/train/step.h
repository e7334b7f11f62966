/* One training step: forward, loss and its gradient, backward, optimizer, all launched without waiting. Here
   stands what a step needs beside the network, for the trainer and for `bench` alike. */
#ifndef CVY_TRAIN_STEP_H
#define CVY_TRAIN_STEP_H

#include "data/loader.h"
#include "graph/model.h"
#include "graph/network.h"
#include "train/statistics.h"

typedef struct cvy_training {
    convoy_device *device;
    convoy_network *network;
    const cvy_recipe *recipe;
    cvy_loss_op *loss;
    cvy_buffer *labels;        /* int32 [pitch] */
    cvy_buffer *state;         /* the optimizer's; NULL where it has none */
    cvy_statistics statistics; /* a slot for each step; the caller reads them */
} cvy_training;

/* `network` was made for training and outlives this; its model's recipe says the loss and the optimizer. What
   a failure leaves is freed by cvy_training_free. */
convoy_status cvy_training_create(convoy_network *network, convoy_device *device, cvy_training *training);
void cvy_training_free(cvy_training *training); /* a zeroed one is allowed */

/* Step number `step`, from 0, on the loader's next batch, of `n` images; `loader` NULL: on what the network's
   input and the labels hold already. */
convoy_status cvy_training_step(cvy_training *training, cvy_loader *loader, int n, unsigned long long step);

#endif
