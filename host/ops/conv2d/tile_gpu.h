/* The backward-weights pass of variant tile_gpu, which tile_gpu.c puts beside the other two, and what
   both choose tiles by. */
#ifndef CVY_OPS_CONV2D_TILE_GPU_H
#define CVY_OPS_CONV2D_TILE_GPU_H

#include "ops/conv2d/variant.h"
#include "ops/mma.h"

enum {
    CVY_TILE_LEAST_ITEMS = 64,   /* of a work-group: the smallest tiles */
    CVY_TILE_LEAST_LOCAL = 8192, /* bytes of local memory that some tile for every shape makes do with */
    CVY_TILE_OCCUPIED = 256      /* work-items that keep a compute unit busy */
};

/* The most work-items that `kernel` may be given. A kernel may allow less than the device does; the smallest
   tiles are tried whatever it says, since Rusticl says 32 and runs 64. */
static inline size_t cvy_tile_most_items(const cvy_kernel *kernel) {
    const size_t most = cvy_kernel_max_work_group(kernel);
    return most > CVY_TILE_LEAST_ITEMS ? most : CVY_TILE_LEAST_ITEMS;
}

/* The backward-weights pass. */
typedef struct cvy_tile_weights {
    const struct cvy_tile_of_weights *tile;
    cvy_kernel *weights, *add;
    size_t items, add_results;                 /* add_results: of a work-group that adds up partial results */
    size_t work_groups, splits, units, groups; /* units: the steps that each of the splits sums */
    size_t most_splits;                        /* that the workspace has room for */
    size_t weight_count, bias_count;
} cvy_tile_weights;

/* `mma`: as cvy_mma_of has it. */
convoy_status cvy_tile_weights_prepare(const cvy_job *job, int mma, cvy_tile_weights *p, cvy_needs *needs);
convoy_status cvy_tile_weights_run(const cvy_tile_weights *p, const cvy_conv2d_buffers *buffers);

#endif
