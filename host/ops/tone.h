/* What RandAugment and TrivialAugmentWide do behind the one sampling of an image: steps that look at its
   levels or at neighbours of a pixel, and what comes behind those. The network's input becomes bytes, the
   steps make bytes of bytes as torchvision does, the same on every device, and the last ones are normalised
   again. */
#ifndef CVY_OPS_TONE_H
#define CVY_OPS_TONE_H

#include "ops/gather.h"
#include "ops/vector.h"

/* Those of kernels/tone.cl; from CVY_TONE_BRIGHTEN on they are tables of levels. */
enum {
    CVY_TONE_NONE,
    CVY_TONE_MAP,       /* six words of a map to the picture before, the last of each row with a half, and its
                           binary digits */
    CVY_TONE_SATURATE,  /* a factor, as float */
    CVY_TONE_SHARPEN,   /* a factor */
    CVY_TONE_ERASE,     /* first column and row, last ones, the level */
    CVY_TONE_BRIGHTEN,  /* a factor */
    CVY_TONE_CONTRAST,  /* a factor */
    CVY_TONE_POSTERIZE, /* a mask */
    CVY_TONE_SOLARIZE,  /* the first level that is turned */
    CVY_TONE_AUTOCONTRAST,
    CVY_TONE_EQUALIZE,
    CVY_TONE_WORDS = 8,
    CVY_TONE_LEVELS = 256
};

typedef struct cvy_tone {
    int32_t words[CVY_TONE_WORDS]; /* the kind, and what it takes */
} cvy_tone;

typedef struct cvy_tone_shape {
    cvy_image_spec image; /* of 1 or 3 channels */
    int pitch;
    int steps; /* at most, of an image */
    int fill;  /* level beside a picture */
} cvy_tone_shape;

/* words [steps][CVY_TONE_WORDS][room], of the first image. */
void cvy_tone_reference(const cvy_tone_shape *shape, int n, const int32_t *words, size_t room, float *y);

typedef struct cvy_toner {
    convoy_device *device;
    cvy_tone_shape shape;
    cvy_kernel *kernel; /* NULL on the host */
    size_t group_size;
    cvy_buffer *levels, *pictures;
} cvy_toner;
/* For at most `images` at once. What a failure leaves is freed by cvy_toner_free. */
convoy_status cvy_toner_create(convoy_device *device, const cvy_tone_shape *shape, int images, cvy_toner *op);
void cvy_toner_free(cvy_toner *op); /* a zeroed one is allowed */
/* Adds the buffers that it will make for so many. */
void cvy_toner_sizes(const cvy_device_traits *traits, const cvy_tone_shape *shape, cvy_growth growth,
                     cvy_sizes *sizes);
/* looks [words][room]: the steps begin at word `first_word`, those of the first image at look_offset. */
convoy_status cvy_toner_run(const cvy_toner *op, int n, cvy_buffer *looks, size_t room, size_t look_offset,
                            size_t first_word, cvy_buffer *y);

#endif
