/* Batch normalisation over a channel's images and pixels: torch.nn.BatchNorm2d (Ioffe and Szegedy, 2015). The
   biased variance normalises, the unbiased one enters the running variance. */
#ifndef CVY_OPS_BATCHNORM_H
#define CVY_OPS_BATCHNORM_H

#include "ops/elementwise.h"

/* ReLU, and those that a program is built for. */
enum { CVY_BATCHNORM_ACTIVATIONS = 1 << CVY_RELU | (CVY_BUILT_IN_ACTIVATIONS & ~CVY_COMMON_ACTIVATIONS) };

typedef struct cvy_batchnorm_shape {
    int pitch;
    int channels, height, width;
    float eps, momentum;
    cvy_activation activation; /* of CVY_BATCHNORM_ACTIVATIONS, of the output; backward takes the gradient
                                  behind it */
    bool frozen; /* the running statistics are constants, in training too: no gradient goes through them */
} cvy_batchnorm_shape;

/* The tensors of one call, on the device and, for the references, in host memory. Those that are per channel
   are [channels]; the others are as large as the input. */
typedef struct cvy_batchnorm_buffers {
    cvy_buffer *x, *y, *gy, *gx; /* gx may be gy; it is 0 in the padding columns */
    cvy_buffer *weight, *bias;   /* both NULL: affine=False; bias: in backward, of activations only */
    cvy_buffer *running_mean, *running_var; /* NULL in training: not tracked */
    cvy_buffer *saved_mean, *saved_invstd;  /* from forward to backward; 1/sqrt(variance + eps) */
    cvy_buffer *gweight, *gbias;            /* NULL: not wanted */
    cvy_buffer *workspace;
} cvy_batchnorm_buffers;

typedef struct cvy_batchnorm_values {
    const float *x, *gy, *weight, *bias;
    float *y, *gx, *running_mean, *running_var, *saved_mean, *saved_invstd, *gweight, *gbias;
} cvy_batchnorm_values;

/* n <= pitch: the real images. */
void cvy_batchnorm_forward_training_reference(const cvy_batchnorm_shape *shape, int n,
                                              const cvy_batchnorm_values *v);
void cvy_batchnorm_forward_eval_reference(const cvy_batchnorm_shape *shape, const cvy_batchnorm_values *v);
/* 1 / sqrt(running_var + eps) and the mean, for backward. */
void cvy_batchnorm_keep_reference(const cvy_batchnorm_shape *shape, const cvy_batchnorm_values *v);
void cvy_batchnorm_backward_reference(const cvy_batchnorm_shape *shape, int n, bool accumulate,
                                      const cvy_batchnorm_values *v);

typedef struct cvy_batchnorm cvy_batchnorm;
convoy_status cvy_batchnorm_create(convoy_device *device, const cvy_batchnorm_shape *shape,
                                   cvy_batchnorm **op);
void cvy_batchnorm_free(cvy_batchnorm *op);
const char *cvy_batchnorm_variant(const cvy_batchnorm *op);
/* Bytes. */
size_t cvy_batchnorm_workspace(const cvy_device_traits *traits, const cvy_batchnorm_shape *shape);
/* Forward in training, or backward. */
cvy_cost cvy_batchnorm_cost(const cvy_batchnorm *op, bool backward);

convoy_status cvy_batchnorm_forward_training(cvy_batchnorm *op, int n, const cvy_batchnorm_buffers *b);
convoy_status cvy_batchnorm_forward_eval(cvy_batchnorm *op, const cvy_batchnorm_buffers *b);
/* As evaluation, with what backward needs; of a frozen shape. */
convoy_status cvy_batchnorm_forward_frozen(cvy_batchnorm *op, const cvy_batchnorm_buffers *b);
convoy_status cvy_batchnorm_backward(cvy_batchnorm *op, int n, bool accumulate,
                                     const cvy_batchnorm_buffers *b);

/* Evaluation folded into a convolution in front: a weight and a bias with which it computes what this op
   would make of its output. */
typedef struct cvy_folding {
    cvy_buffer *weight, *bias;               /* the convolution's; bias may be NULL */
    cvy_buffer *folded_weight, *folded_bias; /* written */
} cvy_folding;
typedef struct cvy_folding_values { /* in host memory */
    const float *weight, *bias;
    float *folded_weight, *folded_bias;
} cvy_folding_values;
typedef struct cvy_fold {
    int channels;
    float eps;
    cvy_kernel *kernel; /* NULL on the host */
} cvy_fold;
/* `row`: floats of a channel's weight. */
void cvy_fold_reference(const cvy_fold *op, size_t row, const cvy_folding_values *of,
                        const cvy_batchnorm_values *v);
convoy_status cvy_fold_prepare(convoy_device *device, int channels, float eps, cvy_fold *op);
convoy_status cvy_fold_run(const cvy_fold *op, const cvy_folding *of, const cvy_batchnorm_buffers *b);

#endif
