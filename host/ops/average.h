/* Averaged weights: torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay). */
#ifndef CVY_OPS_AVERAGE_H
#define CVY_OPS_AVERAGE_H

#include "ops/vector.h"

/* average += (value - average) * weight */
void cvy_average_reference(double weight, size_t count, const float *values, float *averages);

typedef struct cvy_average {
    size_t count;
    cvy_kernel *kernel; /* NULL on the host */
    cvy_blocks blocks;
} cvy_average;
convoy_status cvy_average_prepare(convoy_device *device, size_t count, cvy_average *op);
convoy_status cvy_average_run(const cvy_average *op, double weight, cvy_buffer *values, cvy_buffer *averages);

#endif
