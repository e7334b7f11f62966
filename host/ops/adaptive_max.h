/* torch.nn.AdaptiveMaxPool2d: the largest value of each of a grid of windows that cover the input. Apart from
   the other poolings, as its windows may have more positions than a byte counts. */
#ifndef CVY_OPS_ADAPTIVE_MAX_H
#define CVY_OPS_ADAPTIVE_MAX_H

#include <stdint.h>

#include "ops/vector.h"

typedef struct cvy_adaptive_max_shape {
    int pitch, channels, in_height, in_width, out_height, out_width;
} cvy_adaptive_max_shape;

/* `indices`: for each output the winner's place in its plane, row * in_width + column, or NULL; the first of
   equal maxima, and the last NaN wins, as in PyTorch. */
void cvy_adaptive_max_forward_reference(const cvy_adaptive_max_shape *shape, const float *x, float *y,
                                        int32_t *indices);
void cvy_adaptive_max_backward_reference(const cvy_adaptive_max_shape *shape, const float *gy,
                                         const int32_t *indices, float *gx);

typedef struct cvy_adaptive_max {
    cvy_adaptive_max_shape shape;
    int vectors; /* of a pixel */
    cvy_launcher forward, backward;
} cvy_adaptive_max;
convoy_status cvy_adaptive_max_prepare(convoy_device *device, const cvy_adaptive_max_shape *shape,
                                       cvy_adaptive_max *op);
/* indices: int32, as many as y has values; may be NULL when no backward follows. */
convoy_status cvy_adaptive_max_forward(const cvy_adaptive_max *op, cvy_buffer *x, cvy_buffer *y,
                                       cvy_buffer *indices);
convoy_status cvy_adaptive_max_backward(const cvy_adaptive_max *op, cvy_buffer *gy, cvy_buffer *indices,
                                        cvy_buffer *gx);

#endif
