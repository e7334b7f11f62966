/* Normalisation within each image: torch.nn.GroupNorm over groups of channels, and torch.nn.LayerNorm over
   the channels of each pixel, as it stands between two permutations. Biased variances, in training and
   evaluation alike. */
#ifndef CVY_OPS_GROUPNORM_H
#define CVY_OPS_GROUPNORM_H

#include "ops/sum_rows.h"
#include "ops/vector.h"

typedef struct cvy_groupnorm_shape {
    int pitch;
    size_t channels, pixels;
    size_t groups; /* of channels; 0: each pixel by itself */
    float eps;
} cvy_groupnorm_shape;

/* Sets of values with a mean of their own, for one image: groups or pixels. */
size_t cvy_groupnorm_sets(const cvy_groupnorm_shape *shape);

/* On the host. weight, bias and the gradients of these may be NULL. mean and invstd: [sets][pitch]. */
typedef struct cvy_groupnorm_values {
    const float *x, *weight, *bias, *gy;
    float *y, *mean, *invstd, *gx, *gweight, *gbias;
} cvy_groupnorm_values;
void cvy_groupnorm_forward_reference(const cvy_groupnorm_shape *shape, const cvy_groupnorm_values *v);
/* Adds to gweight and gbias where `accumulate`. */
void cvy_groupnorm_backward_reference(const cvy_groupnorm_shape *shape, bool accumulate,
                                      const cvy_groupnorm_values *v);

typedef struct cvy_groupnorm {
    cvy_groupnorm_shape shape;
    bool host;
    cvy_kernel *forward, *backward, *products;
    cvy_blocks forward_blocks, backward_blocks;
    cvy_grid products_grid;
    int vectors;                 /* of a batch */
    cvy_sum_rows gweight, gbias; /* planned only where there is backward */
} cvy_groupnorm;
typedef struct cvy_groupnorm_buffers {
    cvy_buffer *x, *weight, *bias, *y, *mean, *invstd, *gy, *gx, *gweight, *gbias, *workspace;
} cvy_groupnorm_buffers;

size_t cvy_groupnorm_workspace(const cvy_device_traits *traits,
                               const cvy_groupnorm_shape *shape); /* of backward */
convoy_status cvy_groupnorm_prepare(convoy_device *device, const cvy_groupnorm_shape *shape, bool training,
                                    cvy_groupnorm *op);
/* Writes mean and invstd, [sets][pitch]. y may be x where no backward follows. */
convoy_status cvy_groupnorm_forward(const cvy_groupnorm *op, const cvy_groupnorm_buffers *b);
/* gx may be gy, or NULL. */
convoy_status cvy_groupnorm_backward(const cvy_groupnorm *op, bool accumulate,
                                     const cvy_groupnorm_buffers *b);

#endif
