/* Batch normalisation over a channel's images and pixels: torch.nn.BatchNorm2d (Ioffe and Szegedy, 2015). The
   biased variance normalises, the unbiased one enters the running variance. */
#ifndef CVY_OPS_BATCHNORM_H
#define CVY_OPS_BATCHNORM_H

#include <math.h>

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
    bool shared; /* statistics may be those of several pieces of a batch */
} cvy_batchnorm_shape;

static inline size_t cvy_batchnorm_pixels(const cvy_batchnorm_shape *shape) {
    return (size_t)shape->height * (size_t)shape->width;
}
/* Where a channel starts. */
static inline size_t cvy_batchnorm_at(const cvy_batchnorm_shape *shape, int channel) {
    return (size_t)channel * cvy_batchnorm_pixels(shape) * (size_t)shape->pitch;
}
/* Over how many values the statistics were taken. Constants are as if over infinitely many: none of them
   moves them. */
static inline double cvy_batchnorm_count(const cvy_batchnorm_shape *shape, int n) {
    return shape->frozen ? INFINITY : (double)n * (double)cvy_batchnorm_pixels(shape);
}

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

/* Parts of these, for what is said of shared shapes below. */
void cvy_batchnorm_moments_reference(const cvy_batchnorm_shape *shape, int n, const float *x, double *pairs);
void cvy_batchnorm_sums_reference(const cvy_batchnorm_shape *shape, int n, bool accumulate,
                                  const cvy_batchnorm_values *v, double *pairs);
void cvy_batchnorm_gradient_reference(const cvy_batchnorm_shape *shape, int n, const double *sums,
                                      double count, const cvy_batchnorm_values *v);

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

/* ---- Of a shared shape: the same over pieces of a batch, of which this op has one. The running statistics
   are the caller's. Pairs are [channels][2] in host memory; each call waits for the device. ---- */

/* Mean and sum of squared deviations from it of n images. */
convoy_status cvy_batchnorm_moments(cvy_batchnorm *op, int n, const cvy_batchnorm_buffers *b, double *pairs);
/* Forward with those of all pieces, which have `count` values in a channel. */
convoy_status cvy_batchnorm_forward_shared(cvy_batchnorm *op, const double *moments, double count,
                                           const cvy_batchnorm_buffers *b);
/* Sums of gy and of gy * (x - mean), and the gradients of weight and bias, of n images. */
convoy_status cvy_batchnorm_sums(cvy_batchnorm *op, int n, bool accumulate, const cvy_batchnorm_buffers *b,
                                 double *pairs);
/* The rest of backward, with the sums of all. */
convoy_status cvy_batchnorm_backward_shared(cvy_batchnorm *op, int n, const double *sums, double count,
                                            const cvy_batchnorm_buffers *b);
/* Puts moments, or sums (`backward`), of pieces together, in their order: pairs [pieces][channels][2];
   counts[pieces]: values of a channel. */
void cvy_batchnorm_join(bool backward, const double *pairs, const double *counts, size_t pieces,
                        size_t channels, double *joined);

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
