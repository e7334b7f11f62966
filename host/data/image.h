/* Photographs: files into bytes, and fitting them to a network's input. */
#ifndef CVY_DATA_IMAGE_H
#define CVY_DATA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ops/gather.h"

#define CVY_IMAGE_FORMATS "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM and PGM"

/* Larger images are refused before memory is asked for: a few bytes of file can claim billions of pixels. Of
   an image that is made smaller as it is decoded, to an eighth at most, this limits what it becomes. The
   sides are bounded too, since resizing goes over whole rows and columns. */
enum { CVY_MOST_PIXELS = 100 * 1000 * 1000, CVY_LONGEST_SIDE = 65535 };

/* Rows of pixels with the channels side by side, as files hold them. */
typedef struct cvy_pixels {
    int channels; /* 1 or 3 */
    int height, width;
    uint8_t *data;   /* [height][width][channels], malloc'ed */
    int orientation; /* as EXIF tells it, 1 to 8; 0: it does not */
} cvy_pixels;

/* What a decoder may leave out because nobody will see it; sizes of 0: as stored. */
typedef struct cvy_wanted {
    int channels, height, width;
    bool fast; /* a JPEG image grey directly, and at a half, quarter or eighth of its size where that still
                  covers the wanted one; otherwise, and of other formats, only where it is over the limit */
    bool as_stored;     /* not turned as EXIF says */
    size_t most_pixels; /* a lower limit than CVY_MOST_PIXELS; 0: that one */
} cvy_wanted;

/* Reads a file, told apart by content. */
convoy_status cvy_image_read(const char *path, cvy_wanted wanted, cvy_pixels *pixels);
/* The same from memory; `path` is for messages. */
convoy_status cvy_image_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                               cvy_pixels *pixels);

/* What a picture is to become: cvy_image_spec says how. */
typedef struct cvy_fitting {
    int channels, height, width;
    cvy_resize_mode resize;
    int short_side;
    bool fast_decode, as_stored; /* as in cvy_wanted, of a file */
} cvy_fitting;

/* Resamples (a triangle filter as wide as the reduction: bilinear with antialiasing) as `fitting` says,
   converts between grey and RGB, and writes [channels][height][width]. */
convoy_status cvy_image_bring(const cvy_pixels *pixels, const cvy_fitting *fitting, uint8_t *image);
/* The same for a file. */
convoy_status cvy_image_load(const char *path, const cvy_fitting *fitting, uint8_t *image);

/* ITU-R BT.601 luma in 16 bits, as libjpeg and the Python imaging library compute it. */
uint8_t cvy_luma(uint8_t red, uint8_t green, uint8_t blue);

#endif
