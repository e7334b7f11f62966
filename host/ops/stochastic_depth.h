/* Stochastic depth, torchvision.ops.StochasticDepth (Huang et al., 2016): whole images become 0 with
   probability p, the others are scaled by 1/(1-p). What becomes of an image is a function of (seed, purpose,
   step, image), as in dropout.h of the feature 0. */
#ifndef CVY_OPS_STOCHASTIC_DEPTH_H
#define CVY_OPS_STOCHASTIC_DEPTH_H

#include "ops/product.h"

typedef struct cvy_stochastic_depth_shape {
    int pitch;
    size_t features; /* C*H*W */
    float p;
    bool batch; /* all images have the first one's fate */
    uint64_t seed;
    uint32_t purpose; /* CVY_RNG_LAYER + index of the layer */
} cvy_stochastic_depth_shape;

/* The factor of each image, [pitch]. */
void cvy_stochastic_depth_reference(const cvy_stochastic_depth_shape *shape, uint32_t step, float *factors);

typedef struct cvy_stochastic_depth {
    cvy_stochastic_depth_shape shape;
    cvy_product product;
    cvy_kernel *factors; /* NULL on the host */
} cvy_stochastic_depth;
convoy_status cvy_stochastic_depth_prepare(convoy_device *device, const cvy_stochastic_depth_shape *shape,
                                           cvy_stochastic_depth *op);
/* Fills `factors` [pitch] and applies them; backward is cvy_product_run with the same. In place is allowed.
 */
convoy_status cvy_stochastic_depth_forward(const cvy_stochastic_depth *op, uint32_t step, cvy_buffer *x,
                                           cvy_buffer *factors, cvy_buffer *y);

#endif
