/* Clipping gradients by their norm: torch.nn.utils.clip_grad_norm_ with the 2-norm over all of them. */
#ifndef CVY_OPS_CLIP_H
#define CVY_OPS_CLIP_H

#include "ops/vector.h"

/* Scales `values` so that their norm is at most `limit`. */
void cvy_clip_reference(double limit, size_t count, float *values);

typedef struct cvy_clip {
    size_t count;
    float limit;
    cvy_kernel *square, *scale; /* NULL on the host */
    cvy_blocks square_blocks, scale_blocks;
    size_t blocks;
    cvy_buffer *partials; /* [blocks] */
} cvy_clip;
/* `limit` 0: it is not done. What a failure leaves is freed by cvy_clip_free. */
convoy_status cvy_clip_prepare(convoy_device *device, double limit, size_t count, cvy_clip *op);
void cvy_clip_free(cvy_clip *op); /* a zeroed one is allowed */
convoy_status cvy_clip_run(const cvy_clip *op, cvy_buffer *values);

#endif
