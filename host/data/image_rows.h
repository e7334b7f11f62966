/* Pictures whose decoders give row after row, so that one over the limit is made smaller as it comes. */
#ifndef CVY_DATA_IMAGE_ROWS_H
#define CVY_DATA_IMAGE_ROWS_H

#include "data/image.h"

/* Rows come in their order, from the first or from the last one. */
typedef struct cvy_rows {
    cvy_pixels *pixels;
    size_t height, width,
        by;         /* as the file has them; by x by become one pixel, fewer at the right and below */
    size_t added;   /* rows, to those that become the present one */
    uint8_t *row;   /* of a picture that is made smaller, and the sums of its columns */
    uint32_t *sums; /* [pixels->width][pixels->channels] */
} cvy_rows;

/* To how manieth of its size a picture over the limit is made smaller: 2, 4 or 8, the least that brings it
   within, where it still covers what is wanted; 1: not at all. */
size_t cvy_reduction(cvy_wanted wanted, int orientation, size_t height, size_t width);

/* Checks a claimed size and creates `pixels`, whose orientation is set already. `bytes`: of all rows as they
   are unpacked. To be freed also after a failure. */
convoy_status cvy_rows_create(const char *path, int channels, size_t height, size_t width, size_t bytes,
                              cvy_wanted wanted, cvy_pixels *pixels, cvy_rows *rows);
/* Where row y is to be written; and: it was. */
uint8_t *cvy_rows_place(const cvy_rows *rows, size_t y);
void cvy_rows_add(cvy_rows *rows, size_t y);
void cvy_rows_free(cvy_rows *rows);

#endif
