/* Brings pictures to the size of a model's image: a triangle filter as wide as the reduction (bilinear with
   antialiasing), over what cvy_resize_mode takes of them. Of bytes all is done in integers, so that files,
   pictures in memory and sets on any device become the same bytes. */
#ifndef CVY_OPS_RESAMPLE_H
#define CVY_OPS_RESAMPLE_H

#include "ops/gather.h"

/* How each of `count` outputs along one axis is mixed from inputs first[i] .. first[i]+taps-1. */
typedef struct cvy_mixing {
    size_t count, taps;
    int *first;        /* [count] */
    uint16_t *weights; /* [count][taps]; those of an output sum to 1 << 15 */
} cvy_mixing;

/* A picture of `from` becomes the rows and columns of an image that begin at `top` and `left`; beside them
   there are zeros. */
typedef struct cvy_resampling {
    int from_height, from_width, height, width, top, left;
    cvy_mixing rows, columns;
} cvy_resampling;

/* Is anything to be done, for pictures of this size? */
bool cvy_resampling_needed(const cvy_image_spec *image, int height, int width);
/* Height, width, resize and short_side of `image` count. A failed one leaves nothing to free. */
convoy_status cvy_resampling_create(const cvy_image_spec *image, int height, int width,
                                    cvy_resampling *resampling);
void cvy_resampling_free(cvy_resampling *resampling);
/* `channels` values of a pixel lie side by side. CONVOY_MEMORY: for a picture that is as narrow as the image.
 */
convoy_status cvy_resample_bytes(const cvy_resampling *resampling, const uint8_t *from, size_t channels,
                                 uint8_t *to);

/* ---- The op: the images of a batch ---- */

/* `shape` tells of the set. Chosen images [n][channels][height][width], as the set has them: bytes or floats.
 */
convoy_status cvy_resample_reference(const cvy_gather_shape *shape, int n, const void *images,
                                     const uint32_t *indices, void *made);
typedef struct cvy_resample cvy_resample;
/* For at most shape->pitch images at once. */
convoy_status cvy_resample_create(convoy_device *device, const cvy_gather_shape *shape, cvy_resample **op);
void cvy_resample_free(cvy_resample *op); /* NULL is allowed */
/* Adds the buffers that it will make. */
void cvy_resample_sizes(const cvy_device_traits *traits, const cvy_gather_shape *shape, cvy_sizes *sizes);
/* Reads indices[index_offset ... + n). *made is the op's own, until the next run. */
convoy_status cvy_resample_run(cvy_resample *op, int n, cvy_buffer *images, cvy_buffer *indices,
                               size_t index_offset, cvy_buffer **made);
/* The mean of each channel, of 0..1, of what an image of the set becomes, without the rounding to bytes. */
void cvy_resample_means(const cvy_resample *op, const void *image, float *means);

#endif
