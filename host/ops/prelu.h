/* torch.nn.PReLU (He et al., 2015): x above 0, a learnt slope times x below; a slope for each channel, or one
   for all of them. */
#ifndef CVY_OPS_PRELU_H
#define CVY_OPS_PRELU_H

#include "ops/sum_rows.h"
#include "ops/vector.h"

typedef struct cvy_prelu_shape {
    int pitch;
    size_t channels, pixels;
    bool shared; /* one slope for all channels */
} cvy_prelu_shape;

void cvy_prelu_forward_reference(const cvy_prelu_shape *shape, const float *x, const float *slopes, float *y);
/* gx may be gy. */
void cvy_prelu_backward_reference(const cvy_prelu_shape *shape, const float *x, const float *slopes,
                                  const float *gy, float *gx);
void cvy_prelu_slopes_reference(const cvy_prelu_shape *shape, const float *x, const float *gy, float *gslopes,
                                bool accumulate);

typedef struct cvy_prelu {
    cvy_prelu_shape shape;
    cvy_kernel *forward, *backward, *slopes; /* NULL on the host */
    cvy_blocks forward_blocks, backward_blocks;
    cvy_grid slopes_grid;
    size_t vectors; /* of a channel */
    cvy_sum_rows sums;
} cvy_prelu;
size_t cvy_prelu_workspace(const cvy_device_traits *traits, const cvy_prelu_shape *shape); /* of slopes */
convoy_status cvy_prelu_prepare(convoy_device *device, const cvy_prelu_shape *shape, bool training,
                                cvy_prelu *op);
/* y may be x. */
convoy_status cvy_prelu_forward(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *slopes, cvy_buffer *y);
/* gx may be gy. */
convoy_status cvy_prelu_backward(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *slopes, cvy_buffer *gy,
                                 cvy_buffer *gx);
/* gslopes (+)= sums over each map and the batch; does nothing where it is NULL. */
convoy_status cvy_prelu_slopes(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gslopes,
                               bool accumulate, cvy_buffer *workspace);

#endif
