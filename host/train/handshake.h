/* Do the ranks that are to train together have the same? */
#ifndef CVY_TRAIN_HANDSHAKE_H
#define CVY_TRAIN_HANDSHAKE_H

#include "base/hash.h"
#include "train/trainer.h"

/* CONVOY_INVALID names what differs, and whose; all ranks come to that together. *unlike: they compute on
   devices that are not alike, so that they agree only to rounding. */
convoy_status cvy_handshake(convoy_trainer *trainer, bool *unlike);
/* Only the latter. */
convoy_status cvy_handshake_devices(convoy_trainer *trainer, bool *unlike);
/* The same without a run: of a network, and of a set or none (NULL). */
convoy_status cvy_handshake_of(cvy_collective *collective, convoy_network *network, convoy_device *device,
                               convoy_dataset *set);

/* Adds the version and the code of this build of Convoy. */
convoy_status cvy_handshake_build(cvy_hash *hash);

/* Rank 0 first: what it measures, and the kernels that it builds, the others of its machine find. */
convoy_status cvy_network_create_on_ranks(cvy_collective *collective, convoy_model *model,
                                          convoy_device *device, const cvy_network_options *options,
                                          convoy_network **network);

#endif
