/* The backward-weights pass of variants winograd8_cpu and winograd6_cpu, which winograd_cpu.c puts beside
 * the other two. */
#ifndef CVY_OPS_CONV2D_WINOGRAD_CPU_H
#define CVY_OPS_CONV2D_WINOGRAD_CPU_H

#include "ops/conv2d/variant.h"
#include "ops/sum_rows.h"

typedef struct cvy_winograd_weights {
    cvy_kernel *narrow, *tiles, *wide, *gradient;
    cvy_sum_rows bias;             /* wide only */
    int edge, channels, vectors;   /* outputs of a tile; of the register tile: MR, NV */
    int in[3], out[3], padding[2]; /* channels, height, width */
    size_t out_vectors, xi;
    size_t items;            /* narrow: work-items, else 0 */
    size_t units, all_units; /* narrow: vectors of images at a time; wide: of a block, and in all */
    size_t bias_offset;      /* wide: the bias's scratch in the workspace, in floats */
} cvy_winograd_weights;

/* `tile`: 6 or 8, the edge of what is transformed. */
convoy_status cvy_winograd_weights_prepare(const cvy_job *job, int tile, cvy_winograd_weights *p,
                                           cvy_needs *needs);
convoy_status cvy_winograd_weights_run(const cvy_winograd_weights *p, const cvy_conv2d_buffers *buffers);

#endif
