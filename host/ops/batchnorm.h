/* Batch normalisation over a channel's images and pixels: torch.nn.BatchNorm2d (Ioffe and Szegedy, 2015). The
   biased variance normalises, the unbiased one enters the running variance. */
#ifndef CVY_OPS_BATCHNORM_H
#define CVY_OPS_BATCHNORM_H

#include "ops/op.h"

typedef struct cvy_batchnorm_shape {
    int pitch;
    int channels, height, width;
    float eps, momentum;
    bool relu; /* of the output; backward takes the gradient behind it */
} cvy_batchnorm_shape;

/* n <= pitch: the real images. weight, bias, running_* and saved_* are [channels]; weight and bias may both
   be NULL (affine=False), running_* may be NULL. saved_invstd = 1/sqrt(variance + eps). */
void cvy_batchnorm_forward_training_reference(const cvy_batchnorm_shape *shape, int n, const float *x,
                                              const float *weight, const float *bias, float *y,
                                              float *running_mean, float *running_var, float *saved_mean,
                                              float *saved_invstd);
void cvy_batchnorm_forward_eval_reference(const cvy_batchnorm_shape *shape, const float *x,
                                          const float *weight, const float *bias, const float *running_mean,
                                          const float *running_var, float *y);
/* gx is 0 in the padding columns. gweight, gbias may be NULL. bias counts only for ReLU, whose sign it
 * decides. */
void cvy_batchnorm_backward_reference(const cvy_batchnorm_shape *shape, int n, const float *x,
                                      const float *gy, const float *weight, const float *bias,
                                      const float *saved_mean, const float *saved_invstd, float *gx,
                                      float *gweight, float *gbias, bool accumulate);

void cvy_batchnorm_fold_reference(int channels, size_t row, float eps, const float *conv_weight,
                                  const float *conv_bias, const float *weight, const float *bias,
                                  const float *running_mean, const float *running_var, float *folded_weight,
                                  float *folded_bias);

typedef struct cvy_batchnorm cvy_batchnorm;
convoy_status cvy_batchnorm_create(convoy_device *device, const cvy_batchnorm_shape *shape,
                                   cvy_batchnorm **op);
void cvy_batchnorm_free(cvy_batchnorm *op);
const char *cvy_batchnorm_variant(const cvy_batchnorm *op);
size_t cvy_batchnorm_workspace(const cvy_batchnorm *op);
/* Forward in training, or backward. */
cvy_cost cvy_batchnorm_cost(const cvy_batchnorm *op, bool backward);

convoy_status cvy_batchnorm_forward_training(cvy_batchnorm *op, int n, cvy_buffer *x, cvy_buffer *weight,
                                             cvy_buffer *bias, cvy_buffer *y, cvy_buffer *running_mean,
                                             cvy_buffer *running_var, cvy_buffer *saved_mean,
                                             cvy_buffer *saved_invstd, cvy_buffer *workspace);
convoy_status cvy_batchnorm_forward_eval(cvy_batchnorm *op, cvy_buffer *x, cvy_buffer *weight,
                                         cvy_buffer *bias, cvy_buffer *running_mean, cvy_buffer *running_var,
                                         cvy_buffer *y);
/* Evaluation folded into a convolution in front, whose weight has `row` values for each channel: writes a
   weight and a bias with which it computes what this op would make of its output. conv_bias may be NULL. */
convoy_status cvy_batchnorm_fold(convoy_device *device, int channels, size_t row, float eps,
                                 cvy_buffer *conv_weight, cvy_buffer *conv_bias, cvy_buffer *weight,
                                 cvy_buffer *bias, cvy_buffer *running_mean, cvy_buffer *running_var,
                                 cvy_buffer *folded_weight, cvy_buffer *folded_bias);
/* gx may be the same buffer as gy. */
convoy_status cvy_batchnorm_backward(cvy_batchnorm *op, int n, cvy_buffer *x, cvy_buffer *gy,
                                     cvy_buffer *weight, cvy_buffer *bias, cvy_buffer *saved_mean,
                                     cvy_buffer *saved_invstd, cvy_buffer *gx, cvy_buffer *gweight,
                                     cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace);

#endif
