/* Maps times a learnt value for each: the layer scale of Touvron et al. (2021). */
#ifndef CVY_OPS_CHANNEL_SCALE_H
#define CVY_OPS_CHANNEL_SCALE_H

#include "ops/product.h"
#include "ops/sum_rows.h"

void cvy_channel_scale_reference(const cvy_product_shape *shape, const float *x, const float *scale,
                                 float *y);

typedef struct cvy_channel_scale {
    cvy_product_shape shape;
    cvy_kernel *kernel; /* NULL on the host */
    cvy_blocks blocks;
    size_t vectors; /* of a channel */
    cvy_product product;
    cvy_sum_rows sums;
} cvy_channel_scale;
size_t cvy_channel_scale_workspace(const cvy_device_traits *traits,
                                   const cvy_product_shape *shape); /* of backward */
convoy_status cvy_channel_scale_prepare(convoy_device *device, const cvy_product_shape *shape, bool training,
                                        cvy_channel_scale *op);
/* y = x * scale; with gy in x's place, gx. y may be x. */
convoy_status cvy_channel_scale_run(const cvy_channel_scale *op, cvy_buffer *x, cvy_buffer *scale,
                                    cvy_buffer *y);
/* gscale (+)= the sums of gy * x over each map and the batch. */
convoy_status cvy_channel_scale_backward(const cvy_channel_scale *op, cvy_buffer *gy, cvy_buffer *x,
                                         cvy_buffer *gscale, bool accumulate, cvy_buffer *workspace);

#endif
