/* Dropout, torch.nn.Dropout: zero with probability p, else scaled by 1/(1-p). The mask is a function of
   (seed, purpose, step, feature, image), the same on every device and for every pitch, and is computed again
   in backward: words = philox(counter {feature, image / 4, step, purpose}, key {seed low, seed high}), kept
   where uniform01(words[image % 4]) >= p. */
#ifndef CVY_OPS_DROPOUT_H
#define CVY_OPS_DROPOUT_H

#include "ops/vector.h"

typedef struct cvy_dropout_shape {
    int pitch;
    size_t features; /* C*H*W */
    float p;
    uint64_t seed;
    uint32_t purpose; /* CVY_RNG_LAYER + index of the layer */
} cvy_dropout_shape;

/* Forward on x; backward is the same call on gy. */
void cvy_dropout_reference(const cvy_dropout_shape *shape, uint32_t step, const float *x, float *y);
typedef struct cvy_dropout {
    cvy_dropout_shape shape;
    cvy_kernel *kernel; /* NULL on the host */
    cvy_blocks blocks;
} cvy_dropout;
convoy_status cvy_dropout_prepare(convoy_device *device, const cvy_dropout_shape *shape, cvy_dropout *op);
/* In place is allowed. */
convoy_status cvy_dropout_run(const cvy_dropout *op, uint32_t step, cvy_buffer *x, cvy_buffer *y);

#endif
