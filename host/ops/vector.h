/* How the simple kernels (cvy_kernel_get_simple) are spread over a device: a work-group takes a block of
   vectors that its items walk through side by side. A CPU gets groups of one item and long blocks, so that a
   core streams through memory; a GPU gets groups of up to 256. */
#ifndef CVY_OPS_VECTOR_H
#define CVY_OPS_VECTOR_H

#include "ops/op.h"

/* Items of a work-group that has `pieces` pieces of work side by side: 1 on a CPU, 64 to 256 on a GPU (fewer
   where the kernel allows no more). There may be more items than pieces. */
size_t cvy_group_size(const convoy_device *device, const cvy_kernel *kernel, size_t pieces);

/* Images in a vector of a kernel that steps through batches of this pitch: cvy_vector_width(), or a pitch
 * below it.
 */
int cvy_pitch_width(const convoy_device *device, size_t pitch);
int cvy_pitch_width_of(const cvy_device_traits *traits, size_t pitch);
/* A simple kernel for vectors of that many images: of the one program that holds them all, or, where the
   pitch is below a vector, of a program of its own file kernels/<file>.cl. */
convoy_status cvy_kernel_get_pitch(convoy_device *device, const char *file, const char *function,
                                   size_t pitch, cvy_kernel **kernel);

/* `groups` work-groups in each direction, of `size` items along x. */
static inline cvy_grid cvy_groups(size_t size, size_t x, size_t y, size_t z) {
    return (cvy_grid){{size * x, y, z}, {size, 1, 1}};
}

/* A kernel made ready: where it runs the same way each time. Without a kernel: on the host. */
typedef struct cvy_launcher {
    cvy_kernel *kernel;
    cvy_grid grid;
} cvy_launcher;
/* A kernel of cvy_kernel_get_pitch whose work-groups have a row of pixels each, its vectors side by side, of
   `rows` rows in each of `channels`. */
convoy_status cvy_launcher_prepare(convoy_device *device, const char *file, const char *function, int pitch,
                                   int columns, int rows, int channels, cvy_launcher *launcher);
/* Where a pixel's images begin in [channels][height][width][pitch]. */
static inline size_t cvy_pixel_at(int channel, int row, int column, int height, int width, int pitch) {
    return (((size_t)channel * (size_t)height + (size_t)row) * (size_t)width + (size_t)column) *
           (size_t)pitch;
}

/* `rows` times `vectors` vectors, cut into blocks of `block` vectors within a row: group x is the block,
   group y the row. */
typedef struct cvy_blocks {
    cvy_grid grid;
    uint32_t block;
} cvy_blocks;
cvy_blocks cvy_vector_blocks(const convoy_device *device, const cvy_kernel *kernel, size_t vectors,
                             size_t rows);

#endif
