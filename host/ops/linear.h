/* Fully connected layer, torch.nn.functional.linear: y[out][n] = weight[out][in] x[in][n] + bias[out]. */
#ifndef CVY_OPS_LINEAR_H
#define CVY_OPS_LINEAR_H

#include "ops/elementwise.h"
#include "ops/variants.h"

typedef struct cvy_linear_shape {
    int pitch;
    size_t in_features, out_features;
    cvy_activation activation; /* of the output, in forward; backward takes the gradient in front of it */
    cvy_activation input_activation; /* that made x: backward takes gx through it */
} cvy_linear_shape;

typedef enum cvy_linear_pass {
    CVY_LINEAR_FORWARD,
    CVY_LINEAR_BACKWARD_DATA,
    CVY_LINEAR_BACKWARD_WEIGHTS
} cvy_linear_pass;

typedef struct cvy_linear cvy_linear;
/* `passes`: bit set of 1 << cvy_linear_pass. `variant`: a GEMM variant, forced for every pass that it
   supports (CONVOY_DEVICE when it supports none here), or NULL. */
convoy_status cvy_linear_create(convoy_device *device, const cvy_linear_shape *shape, unsigned passes,
                                const char *variant, cvy_linear **op);
/* What such an op will need, without building anything; `device` may be NULL, as for conv2d. */
convoy_status cvy_linear_describe(const cvy_device_traits *traits, convoy_device *device,
                                  const cvy_linear_shape *shape, unsigned passes, const char *variant,
                                  cvy_needs *needs);
void cvy_linear_free(cvy_linear *op);
const char *cvy_linear_variant(const cvy_linear *op, cvy_linear_pass pass);
cvy_origin cvy_linear_origin(const cvy_linear *op, cvy_linear_pass pass);
/* The product that the pass is. */
cvy_task cvy_linear_task(const cvy_linear_shape *shape, cvy_linear_pass pass);
size_t cvy_linear_workspace(const cvy_linear *op);
cvy_cost cvy_linear_cost(const cvy_linear *op, cvy_linear_pass pass);

/* bias and gbias may be NULL. */
convoy_status cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *workspace);
/* x is read where there is an input_activation. */
convoy_status cvy_linear_backward_data(cvy_linear *op, cvy_buffer *gy, cvy_buffer *weight, cvy_buffer *x,
                                       cvy_buffer *gx, cvy_buffer *workspace);
convoy_status cvy_linear_backward_weights(cvy_linear *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gweight,
                                          cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace);

#endif
