/* The bias gradient of a convolution: each channel of gy summed up in one or two steps of fixed order, for
   the variants whose weight gradient does not meet every element of gy anyway. */
#ifndef CVY_OPS_CONV2D_BIAS_H
#define CVY_OPS_CONV2D_BIAS_H

#include "ops/conv2d_variant.h"

typedef struct cvy_conv2d_bias {
    cvy_kernel *kernel;
    size_t vector, items;    /* floats of a vector; work-items of a group */
    size_t channels, length; /* length: vectors of a channel of gy */
    size_t strips;           /* that a channel is summed in; 1: in a single step */
    size_t scratch;          /* floats that run needs of the workspace */
} cvy_conv2d_bias;

convoy_status cvy_conv2d_bias_prepare(convoy_device *device, const cvy_conv2d_shape *shape,
                                      cvy_conv2d_bias *bias);
/* buffers->gbias (+)= the sums of buffers->gy; does nothing where there is no gbias. `offset`: where the
   scratch starts in the workspace, in floats, a multiple of 16. */
convoy_status cvy_conv2d_bias_run(const cvy_conv2d_bias *bias, const cvy_conv2d_buffers *buffers,
                                  size_t offset);

#endif
