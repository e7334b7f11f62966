/* The backward-weights pass of variants winograd8_cpu and winograd6_cpu, which winograd_cpu.c puts beside
 * the other two. */
#ifndef CVY_OPS_CONV2D_WINOGRAD_CPU_H
#define CVY_OPS_CONV2D_WINOGRAD_CPU_H

#include "ops/conv2d/variant.h"

convoy_status cvy_winograd_weights_prepare(convoy_device *device, const cvy_conv2d_shape *shape, int tile,
                                           void **prepared, size_t *workspace);
convoy_status cvy_winograd_weights_run(void *prepared, const cvy_conv2d_buffers *buffers);

#endif
