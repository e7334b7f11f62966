/* 2-D convolution (cross-correlation), torch.nn.functional.conv2d. */
#ifndef CVY_OPS_CONV2D_CONV2D_H
#define CVY_OPS_CONV2D_CONV2D_H

#include "ops/elementwise.h"
#include "ops/pool2d.h"
#include "ops/variants.h"

typedef struct cvy_conv2d_shape {
    int pitch; /* columns of the batch axis */
    int in_channels, in_height, in_width;
    int out_channels, out_height, out_width;           /* filled in by cvy_conv2d_infer */
    int kernel[2], stride[2], padding[2], dilation[2]; /* [height, width] */
    int groups;
    cvy_activation activation; /* of the output, in forward; backward takes the gradient in front of it */
    cvy_pooling pooling;       /* behind the activation, of which forward can do the work too */
} cvy_conv2d_shape;

/* Checks the shape and fills in out_height and out_width; CONVOY_INVALID says which value is impossible. */
convoy_status cvy_conv2d_infer(cvy_conv2d_shape *shape);

/* ---- Host reference: dense host arrays, no padding columns skipped ---- */
/* x [in_channels][in_height][in_width][pitch], weight [out_channels][in_channels/groups][kernel], bias
   [out_channels] or NULL, y [out_channels][out_height][out_width][pitch]. */
void cvy_conv2d_forward_reference(const cvy_conv2d_shape *shape, const float *x, const float *weight,
                                  const float *bias, float *y);
void cvy_conv2d_backward_data_reference(const cvy_conv2d_shape *shape, const float *gy, const float *weight,
                                        float *gx);
/* gbias may be NULL. */
void cvy_conv2d_backward_weights_reference(const cvy_conv2d_shape *shape, const float *x, const float *gy,
                                           float *gweight, float *gbias, bool accumulate);

/* ---- Prepared op ---- */
typedef struct cvy_conv2d cvy_conv2d;
typedef enum cvy_conv2d_pass {
    CVY_CONV2D_FORWARD,
    CVY_CONV2D_BACKWARD_DATA,
    CVY_CONV2D_BACKWARD_WEIGHTS
} cvy_conv2d_pass;

/* A shape in words is "128,96,26,26,256,5,5,1,1,2,2,1,1,1" (pitch, input, output channels, kernel, stride,
   padding, dilation, groups), its passes "forward", "backward_data" and "backward_weights". The activation is
   no part of it: it costs every variant about the same time on top, which on a CPU left the fastest one of
   five shapes the fastest with each activation, ties within 5 % apart. */
extern const cvy_op cvy_conv2d_op;

/* `variant`: a name from the table to force it for every pass it supports (CONVOY_DEVICE when it supports
   none here), or NULL to choose: what was measured (choice.h), else what the heuristics prefer. `passes` is a
   bit set of 1 << cvy_conv2d_pass: only those are prepared. */
convoy_status cvy_conv2d_create(convoy_device *device, const cvy_conv2d_shape *shape, unsigned passes,
                                const char *variant, cvy_conv2d **op);
/* What such an op will need, without building anything; needs->fuses: forward can do the pooling. `device`
   may be NULL: then nothing is known to have been measured. */
convoy_status cvy_conv2d_describe(const cvy_device_traits *traits, convoy_device *device,
                                  const cvy_conv2d_shape *shape, unsigned passes, const char *variant,
                                  cvy_needs *needs);
void cvy_conv2d_free(cvy_conv2d *op);
/* Name of the variant that runs `pass`: "reference" on the host device; NULL: not prepared. */
const char *cvy_conv2d_variant(const cvy_conv2d *op, cvy_conv2d_pass pass);
cvy_origin cvy_conv2d_origin(const cvy_conv2d *op, cvy_conv2d_pass pass);

size_t cvy_conv2d_workspace(const cvy_conv2d *op);
cvy_cost cvy_conv2d_cost(const cvy_conv2d *op, cvy_conv2d_pass pass);

/* Can forward do the work of shape.pooling too? */
bool cvy_conv2d_pools(const cvy_conv2d *op);
/* `pooled`: the map behind the pooling, or NULL; then y may be NULL where only that is wanted, and `indices`
   takes those of the maxima, as pool2d.h has them, or is NULL. */
convoy_status cvy_conv2d_forward(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *pooled, cvy_buffer *indices,
                                 cvy_buffer *workspace);
convoy_status cvy_conv2d_backward_data(cvy_conv2d *op, cvy_buffer *gy, cvy_buffer *weight, cvy_buffer *gx,
                                       cvy_buffer *workspace);
convoy_status cvy_conv2d_backward_weights(cvy_conv2d *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gweight,
                                          cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace);

#endif
