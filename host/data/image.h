/* Photographs: PNG and JPEG files into bytes, and fitting them to a network's input. */
#ifndef CVY_DATA_IMAGE_H
#define CVY_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ops/gather.h"

/* Larger images are refused before memory is asked for: a few bytes of file can claim billions of pixels. The
   sides are bounded too, since resizing goes over whole rows and columns. */
enum { CVY_MOST_PIXELS = 100 * 1000 * 1000, CVY_LONGEST_SIDE = 65535 };

/* Rows of pixels with the channels side by side, as files hold them. */
typedef struct cvy_pixels {
    int channels; /* 1 or 3 */
    int height, width;
    uint8_t *data; /* [height][width][channels], malloc'ed */
} cvy_pixels;

/* What a decoder may leave out because nobody will see it; 0: as stored. */
typedef struct cvy_wanted {
    int channels, height, width;
} cvy_wanted;

/* Decoders of a whole file in memory; `path` is for messages. They return 1 or 3 channels of 8 bits whatever
   the file has: palettes are expanded, 16 bits rounded to 8, transparency is dropped. The JPEG decoder uses
   `wanted`: grey directly, and a half, quarter or eighth of the size where that still covers the wanted one.
 */
convoy_status cvy_png_decode(const char *path, const uint8_t *file, size_t size, cvy_pixels *pixels);
convoy_status cvy_jpeg_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels);

/* Checks a claimed size and allocates pixels->data. */
convoy_status cvy_pixels_create(const char *path, int channels, size_t height, size_t width,
                                cvy_pixels *pixels);

/* Reads a PNG or JPEG file, told apart by content. */
convoy_status cvy_image_read(const char *path, cvy_wanted wanted, cvy_pixels *pixels);

/* What a picture is to become: cvy_image_spec says how. */
typedef struct cvy_fitting {
    int channels, height, width;
    cvy_resize_mode resize;
    int short_side;
} cvy_fitting;

/* Resamples (a triangle filter as wide as the reduction: bilinear with antialiasing) as `fitting` says,
   converts between grey and RGB, and writes [channels][height][width]. */
convoy_status cvy_image_bring(const cvy_pixels *pixels, const cvy_fitting *fitting, uint8_t *image);
/* The same for a file. */
convoy_status cvy_image_load(const char *path, const cvy_fitting *fitting, uint8_t *image);

/* Resizes so that the image just covers height x width (a triangle filter as wide as the reduction: bilinear
   with antialiasing), crops the centre, converts between grey and RGB, and writes [channels][height][width].
 */
convoy_status cvy_image_fit(const cvy_pixels *pixels, int channels, int height, int width, uint8_t *image);

/* ITU-R BT.601 luma in 16 bits, as libjpeg and the Python imaging library compute it. */
uint8_t cvy_luma(uint8_t red, uint8_t green, uint8_t blue);

#endif
