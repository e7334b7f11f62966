/* A step of training in which the loss is not finite, run once more with a look at what every layer makes. */
#ifndef CVY_TRAIN_TRACE_H
#define CVY_TRAIN_TRACE_H

#include "train/step.h"

/* Runs step number `step` (from 0) of n images as cvy_training_step does, and says in `found` which layer,
   or the loss, made the first value that is not finite; "" where none did. Then it runs the same batch on the
   host's references, where that does not take long, and says whether it is finite there. The model has the
   parameters from before the step afterwards. */
convoy_status cvy_training_trace(cvy_training *training, cvy_loader *loader, int n, unsigned long long step,
                                 cvy_text *found);

#endif
