/* Do the ranks that are to train together have the same? */
#ifndef CVY_TRAIN_HANDSHAKE_H
#define CVY_TRAIN_HANDSHAKE_H

#include "train/trainer.h"

/* CONVOY_INVALID names what differs, and whose; all ranks come to that together. *unlike: they compute on
   devices that are not alike, so that they agree only to rounding. */
convoy_status cvy_handshake(convoy_trainer *trainer, bool *unlike);

#endif
