/* Brings a batch of images into the network's input: picks rows of a set, scales and normalises:
   y[c][h][w][i] = (pixel / 255 - mean[c]) / std[c], where pixels are floats without the 255. Padding columns
   become 0. Images of another size are brought to the model's before: ops/resample.h. */
#ifndef CVY_OPS_GATHER_H
#define CVY_OPS_GATHER_H

#include "ops/op.h"

/* How a photograph is brought to the size of the image: resized until its short side is as long as the
   image's (or has `short_side` pixels) and the centre cropped; stretched; or resized until it fits in, with
   zeros around. */
typedef enum cvy_resize_mode { CVY_SHORT_SIDE, CVY_SQUASH, CVY_LETTERBOX } cvy_resize_mode;

/* The image that a model takes: what a loader, a data set and whoever predicts must agree about. */
typedef struct cvy_image_spec {
    int channels, height, width; /* without the border */
    int border; /* zero pixels around the image (LeNet-5 pads 28 to 32): the input is height + 2 border high
                 */
    float mean[4], std[4]; /* per channel, of pixels / 255 */
    cvy_resize_mode resize;
    int short_side; /* 0: the image's */
} cvy_image_spec;

typedef struct cvy_gather_shape {
    int pitch;
    int in_height, in_width; /* of the set: [image][channels][in_height][in_width] */
    cvy_image_spec image;
    bool floats;   /* the set's pixels are float32, not bytes */
    bool in_order; /* the images are those of the batch, one behind the other; indices choose what else there
                      is of each */
} cvy_gather_shape;

convoy_status cvy_gather_check(const cvy_gather_shape *shape); /* CONVOY_INVALID: not possible */

/* What white is among the set's pixels. */
static inline double cvy_gather_white(const cvy_gather_shape *shape) {
    return shape->floats ? 1 : 255;
}
/* A pixel as the network sees it is pixel * factor + shift of its channel. */
void cvy_image_levels(const cvy_image_spec *image, double white, float *factors, float *shifts);
/* Both, one behind the other, as kernels read them. */
convoy_status cvy_levels_create(convoy_device *device, const cvy_gather_shape *shape, cvy_buffer **levels);

/* indices [n] choose images, all_labels [images] their classes; labels [pitch] receives them (padding: 0). */
void cvy_gather_reference(const cvy_gather_shape *shape, int n, const void *images, const int32_t *all_labels,
                          const uint32_t *indices, float *y, int32_t *labels);
typedef struct cvy_gather cvy_gather;
convoy_status cvy_gather_create(convoy_device *device, const cvy_gather_shape *shape, cvy_gather **op);
void cvy_gather_free(cvy_gather *op);
/* Adds the buffers that it will make. */
void cvy_gather_sizes(const cvy_device_traits *traits, const cvy_gather_shape *shape, cvy_sizes *sizes);
/* Reads indices[index_offset ... + n). */
convoy_status cvy_gather_run(cvy_gather *op, int n, cvy_buffer *images, cvy_buffer *all_labels,
                             cvy_buffer *indices, size_t index_offset, cvy_buffer *y, cvy_buffer *labels);

#endif
