/* The formats of photographs: a decoder each, for a whole file in memory. */
#ifndef CVY_DATA_IMAGE_FORMATS_H
#define CVY_DATA_IMAGE_FORMATS_H

#include "data/image.h"

/* `path` is for messages. They return 1 or 3 channels of 8 bits whatever the file has: palettes are expanded,
   16 bits rounded to 8, transparency is dropped; of several images the first counts. `orientation` is set
   where the file tells one; nothing is turned here. What is over the limit of `wanted` is made smaller where
   its rows can be had one by one, and refused otherwise. */
typedef convoy_status cvy_decoder(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                                  cvy_pixels *pixels);
cvy_decoder cvy_jpeg_decode, cvy_png_decode, cvy_webp_decode, cvy_bmp_decode, cvy_tiff_decode, cvy_gif_decode,
    cvy_pnm_decode;

/* Checks a claimed size and allocates pixels->data. */
convoy_status cvy_pixels_create(const char *path, int channels, size_t height, size_t width,
                                cvy_pixels *pixels);

/* The limit for pictures that are made smaller. */
size_t cvy_most_pixels(cvy_wanted wanted);

/* All pixels of `size` bytes as the first one. */
void cvy_pixels_spread(uint8_t *pixels, size_t size, size_t count);

/* The orientation, 1 to 8, that an EXIF block tells; 0: none. "Exif\0\0" in front is passed over. */
int cvy_exif_orientation(const uint8_t *exif, size_t size);

#endif
