/* Bilinear resize, torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=False). */
#ifndef CVY_OPS_RESIZE_H
#define CVY_OPS_RESIZE_H

#include "ops/vector.h"

typedef struct cvy_resize_shape {
    int pitch, channels, in_height, in_width, out_height, out_width;
} cvy_resize_shape;

void cvy_resize_forward_reference(const cvy_resize_shape *shape, const float *x, float *y);
void cvy_resize_backward_reference(const cvy_resize_shape *shape, const float *gy, float *gx);

typedef struct cvy_resize {
    cvy_resize_shape shape;
    int vectors; /* of a batch */
    cvy_launcher forward, backward;
} cvy_resize;
convoy_status cvy_resize_prepare(convoy_device *device, const cvy_resize_shape *shape, cvy_resize *op);
convoy_status cvy_resize_forward(const cvy_resize *op, cvy_buffer *x, cvy_buffer *y);
/* Gathers: each input pixel sums the outputs that read it, so no atomics. */
convoy_status cvy_resize_backward(const cvy_resize *op, cvy_buffer *gy, cvy_buffer *gx);

#endif
