/* Ops that treat a tensor as a row of floats: activations, sum, mask. `count` is C*H*W*pitch. */
#ifndef CVY_OPS_ELEMENTWISE_H
#define CVY_OPS_ELEMENTWISE_H

#include "../../kernels/activations.clh"
#include "ops/op.h"

/* None, and the rows of kernels/activations.clh: CVY_RELU and so on. */
#define CVY_ROW(NAME, ...) CVY_##NAME,
typedef enum cvy_activation { CVY_IDENTITY, CVY_ACTIVATIONS(CVY_ROW) CVY_ACTIVATION_COUNT } cvy_activation;
#undef CVY_ROW

void cvy_activation_forward_reference(cvy_activation kind, size_t count, const float *x, float *y);
/* From the output alone: relu lets NaN through and stops gradients where y <= 0. */
void cvy_activation_backward_reference(cvy_activation kind, size_t count, const float *y, const float *gy,
                                       float *gx);

/* In place is allowed everywhere: y may be x, gx may be gy. */
convoy_status cvy_activation_forward(convoy_device *device, cvy_activation kind, size_t count, cvy_buffer *x,
                                     cvy_buffer *y);
convoy_status cvy_activation_backward(convoy_device *device, cvy_activation kind, size_t count, cvy_buffer *y,
                                      cvy_buffer *gy, cvy_buffer *gx);

/* sum = a + b; sum may be a or b. */
convoy_status cvy_add(convoy_device *device, size_t count, cvy_buffer *a, cvy_buffer *b, cvy_buffer *sum);
/* y = a * b; y may be a or b. Keeps the absent connections of a connection table at zero. */
convoy_status cvy_multiply(convoy_device *device, size_t count, cvy_buffer *a, cvy_buffer *b, cvy_buffer *y);

#endif
