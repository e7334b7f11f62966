/* Local response normalisation, torch.nn.LocalResponseNorm (Krizhevsky et al., 2012): y = x / b^beta with
   b = k + alpha / size * the sum of x^2 over channels c - size / 2 to c + (size - 1) / 2 of the same pixel.
 */
#ifndef CVY_OPS_LRN_H
#define CVY_OPS_LRN_H

#include "ops/vector.h"

typedef struct cvy_lrn_shape {
    int pitch;
    size_t channels, pixels;
    int size;
    float alpha, beta, k;
} cvy_lrn_shape;

/* `base`: b of each value, for backward. */
void cvy_lrn_forward_reference(const cvy_lrn_shape *shape, const float *x, float *y, float *base);
void cvy_lrn_backward_reference(const cvy_lrn_shape *shape, const float *x, const float *base,
                                const float *gy, float *gx);

typedef struct cvy_lrn {
    cvy_lrn_shape shape;
    bool host;
    cvy_kernel *forward, *backward;
    cvy_blocks forward_blocks, backward_blocks;
    size_t vectors; /* of a channel */
} cvy_lrn;
convoy_status cvy_lrn_prepare(convoy_device *device, const cvy_lrn_shape *shape, cvy_lrn *op);
/* base may be NULL where no backward follows. No output may be an input. */
convoy_status cvy_lrn_forward(const cvy_lrn *op, cvy_buffer *x, cvy_buffer *y, cvy_buffer *base);
convoy_status cvy_lrn_backward(const cvy_lrn *op, cvy_buffer *x, cvy_buffer *base, cvy_buffer *gy,
                               cvy_buffer *gx);

#endif
