/* The backward-weights pass of variant tile_gpu, which conv2d_tile_gpu.c puts beside the other two, and what
   both choose tiles by. */
#ifndef CVY_OPS_CONV2D_TILE_GPU_H
#define CVY_OPS_CONV2D_TILE_GPU_H

#include "ops/conv2d_variant.h"

enum {
    CVY_TILE_OPTIONS = 1024,     /* characters of a program's options */
    CVY_TILE_LEAST_ITEMS = 64,   /* of a work-group: the smallest tiles */
    CVY_TILE_LEAST_LOCAL = 8192, /* bytes of local memory that some tile for every shape makes do with */
    CVY_TILE_OCCUPIED = 256      /* work-items that keep a compute unit busy */
};

static inline size_t cvy_tile_ceil_div(size_t a, size_t b) {
    return (a + b - 1) / b;
}

/* The most work-items that `kernel` may be given. A kernel may allow less than the device does; the smallest
   tiles are tried whatever it says, since Rusticl says 32 and runs 64. */
static inline size_t cvy_tile_most_items(const cvy_kernel *kernel) {
    const size_t most = cvy_kernel_max_work_group(kernel);
    return most > CVY_TILE_LEAST_ITEMS ? most : CVY_TILE_LEAST_ITEMS;
}

/* With tensor cores (kernels/mma.clh): 1 for TF32, 2 for BF16; 0 without. */
static inline int cvy_tile_mma(const cvy_device_traits *traits) {
    return traits->precision == CONVOY_TF32 ? 1 : traits->precision == CONVOY_BF16 ? 2 : 0;
}
/* Rows of a tile in local memory that `depth` values of k take, two to a word in BF16. */
static inline int cvy_tile_rows(int mma, int depth) {
    return mma == 2 ? depth / 2 : depth;
}
/* What the tensor cores' kernels take of local memory beside `rows` of bm + bn words: the gaps behind rows,
   and the scratch of the emulation. */
static inline size_t cvy_tile_mma_local(const cvy_device_traits *traits, int rows, int items) {
    const int scratch = traits->tensor_cores == CVY_TENSOR_EMULATED ? items / 32 * 24 * 8 : 0;
    return sizeof(float) * (size_t)(2 * 4 * 2 * rows + scratch);
}

/* A prepared backward-weights pass. */
typedef struct cvy_tile_weights {
    cvy_kernel *weights, *add;
    size_t items, add_results;                 /* add_results: of a work-group that adds up partial results */
    size_t work_groups, splits, units, groups; /* units: the steps that each of the splits sums */
    size_t weight_count, bias_count;
} cvy_tile_weights;

convoy_status cvy_tile_weights_prepare(convoy_device *device, const cvy_conv2d_shape *shape, int mma,
                                       cvy_tile_weights *prepared, size_t *workspace);
convoy_status cvy_tile_weights_run(const cvy_tile_weights *prepared, const cvy_conv2d_buffers *buffers);

#endif
