/* Maps times a value for each of them and each image: the gate of a squeeze-and-excitation (Hu et al., 2017),
   x [channels][pixels][pitch] and gate [channels][pitch]. With one pixel it is the product of two tensors. */
#ifndef CVY_OPS_PRODUCT_H
#define CVY_OPS_PRODUCT_H

#include "ops/elementwise.h"
#include "ops/vector.h"

typedef struct cvy_product_shape {
    int pitch;
    size_t channels, pixels;
} cvy_product_shape;

/* y = x * gate; with gy in x's place, gx. */
void cvy_product_reference(const cvy_product_shape *shape, const float *x, const float *gate, float *y);
/* ggate = the sum of gy * x over the pixels of each map. */
void cvy_product_sums_reference(const cvy_product_shape *shape, const float *gy, const float *x,
                                float *ggate);

typedef struct cvy_product {
    cvy_product_shape shape;
    bool host;
    cvy_elementwise plain; /* where there is one pixel */
    cvy_kernel *scale, *sums;
    cvy_blocks scale_blocks;
    cvy_grid sums_grid;
    int vectors; /* of a batch */
} cvy_product;
convoy_status cvy_product_prepare(convoy_device *device, const cvy_product_shape *shape, cvy_product *op);
/* y may be x. */
convoy_status cvy_product_run(const cvy_product *op, cvy_buffer *x, cvy_buffer *gate, cvy_buffer *y);
convoy_status cvy_product_sums(const cvy_product *op, cvy_buffer *gy, cvy_buffer *x, cvy_buffer *ggate);

#endif
