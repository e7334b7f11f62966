/* The two layers that only LeNet-5 has (LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to
   document recognition", 1998): trainable subsampling and Euclidean radial-basis units. */
#ifndef CVY_OPS_LENET5_H
#define CVY_OPS_LENET5_H

#include "ops/vector.h"

/* y[c] = weight[c] * (sum of the kernel x kernel inputs) + bias[c], windows side by side (stride = kernel).
   Rows and columns that do not fill a window are not read, and their gradient is 0. */
typedef struct cvy_subsample_shape {
    int pitch, channels, in_height, in_width, kernel;
} cvy_subsample_shape;

void cvy_subsample_forward_reference(const cvy_subsample_shape *shape, const float *x, const float *weight,
                                     const float *bias, float *y);
void cvy_subsample_backward_reference(const cvy_subsample_shape *shape, const float *x, const float *gy,
                                      const float *weight, float *gx, float *gweight, float *gbias,
                                      bool accumulate);
typedef struct cvy_subsample {
    cvy_subsample_shape shape;
    int vectors; /* of a batch */
    cvy_launcher forward, backward;
    cvy_kernel *finish; /* of backward */
} cvy_subsample;
convoy_status cvy_subsample_prepare(convoy_device *device, const cvy_subsample_shape *shape,
                                    cvy_subsample *op);
/* Bytes, of backward. */
size_t cvy_subsample_workspace(const cvy_device_traits *traits, const cvy_subsample_shape *shape);
convoy_status cvy_subsample_forward(const cvy_subsample *op, cvy_buffer *x, cvy_buffer *weight,
                                    cvy_buffer *bias, cvy_buffer *y);
/* gx may be NULL. */
convoy_status cvy_subsample_backward(const cvy_subsample *op, cvy_buffer *x, cvy_buffer *gy,
                                     cvy_buffer *weight, cvy_buffer *gx, cvy_buffer *gweight,
                                     cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace);

/* y[i] = sum_j (x[j] - weight[i][j])^2 with fixed weights [units][features]. */
typedef struct cvy_rbf_shape {
    int pitch, features, units;
} cvy_rbf_shape;

void cvy_rbf_forward_reference(const cvy_rbf_shape *shape, const float *x, const float *weight, float *y);
void cvy_rbf_backward_reference(const cvy_rbf_shape *shape, const float *x, const float *weight,
                                const float *gy, float *gx);

typedef struct cvy_rbf {
    cvy_rbf_shape shape;
    int vectors; /* of a batch */
    cvy_launcher forward, backward;
} cvy_rbf;
convoy_status cvy_rbf_prepare(convoy_device *device, const cvy_rbf_shape *shape, cvy_rbf *op);
convoy_status cvy_rbf_forward(const cvy_rbf *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *y);
convoy_status cvy_rbf_backward(const cvy_rbf *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *gy,
                               cvy_buffer *gx);

#endif
