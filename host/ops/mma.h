/* Tensor cores, as the kernels that include kernels/mma.clh see them. */
#ifndef CVY_OPS_MMA_H
#define CVY_OPS_MMA_H

#include "device/device.h"

/* Are they there, and allowed to round? */
static inline bool cvy_mma_runs(const cvy_device_traits *traits) {
    return traits->tensor_cores != CVY_TENSOR_NONE && traits->precision != CONVOY_FLOAT32;
}
/* The kernels' MMA: 1 for TF32, 2 for BF16; 0 without tensor cores. */
static inline int cvy_mma_of(const cvy_device_traits *traits) {
    return traits->precision == CONVOY_TF32 ? 1 : traits->precision == CONVOY_BF16 ? 2 : 0;
}
/* Rows of a tile in local memory that `depth` values of k take, two to a word in BF16. */
static inline int cvy_mma_rows(int mma, int depth) {
    return mma == 2 ? depth / 2 : depth;
}
/* Bytes of local memory beside the words of two tiles of `rows` rows: the gaps behind these, and the scratch
   of the emulation. */
static inline size_t cvy_mma_local(const cvy_device_traits *traits, int rows, int items) {
    const int scratch = traits->tensor_cores == CVY_TENSOR_EMULATED ? items / 32 * 24 * 8 : 0;
    return sizeof(float) * (size_t)(2 * 4 * 2 * rows + scratch);
}

#endif
