/* What all ops have in common. An op is prepared once for a device and a shape (X_create picks a variant,
   builds its kernels and reserves what it packs) and then run any number of times; its buffers are
   [C][H][W][pitch] float32, and `workspace` is a shared scratch buffer of at least X_workspace() bytes that
   holds nothing between calls.

   Each op file has, in this order: the checks, a host reference in plain loops that accumulates in double,
   and the entry points; an op with variants (variants.h) has a folder, with the reference and each variant in
   a file of its own. The reference is the oracle of the tests and what runs on the
   host device.

   `accumulate`: parameter gradients are added to what is there instead of replacing it. */
#ifndef CVY_OPS_OP_H
#define CVY_OPS_OP_H

#include "device/device.h"

/* What one call must move and compute at least, for the bench's GFLOP/s and GB/s. */
typedef struct cvy_cost {
    double flops, bytes;
} cvy_cost;

#endif
