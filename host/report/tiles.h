/* Small pictures side by side, each with a line below it. */
#ifndef CVY_REPORT_TILES_H
#define CVY_REPORT_TILES_H

#include "data/dataset.h"
#include "ops/gather.h"
#include "report/chart.h"

/* Pixels [height][width][4], as cvy_canvas_pixels takes them. */
typedef struct cvy_tile {
    const uint8_t *rgba;
    int width, height;
    const char *caption; /* NULL: none */
    const char *below;   /* a second line, or NULL */
    bool wrong;          /* framed, and its caption bold */
} cvy_tile;

typedef struct cvy_tiles {
    const char *title; /* NULL: none */
    const cvy_tile *tiles;
    size_t count;
    bool fixed;         /* tiles are as long as `tile` says, whatever the images are */
    double tile, width; /* length of a tile's longer side, about; most of the whole */
    double font;
    const cvy_theme *theme;
} cvy_tiles;

/* What it takes: the size, and drawing it with its upper left corner at `at`. */
cvy_point cvy_tiles_size(const cvy_tiles *tiles);
void cvy_tiles_draw(cvy_canvas *canvas, cvy_point at, const cvy_tiles *tiles);
/* A canvas with all of it, as wide as it has to be, and a margin. */
convoy_status cvy_tiles_create(cvy_picture kind, const cvy_tiles *grid, cvy_canvas **canvas);

/* An image as the network sees it, planes [channels][height][width] that lie `pitch` floats apart from pixel
   to pixel, back to colours: rgba [height][width][4]. One or two channels are grey, of four the first three
   are shown. `image` says how it was normalised, and how large it is. */
void cvy_pixels_of_input(const cvy_image_spec *image, const float *planes, size_t pitch, uint8_t *rgba);
/* An image of a set, before normalisation: rgba [height][width][4]. */
convoy_status cvy_pixels_of_image(const convoy_dataset *set, size_t index, uint8_t *rgba);
/* Values between `low` and `high` in grey. */
void cvy_pixels_grey(const float *values, size_t pitch, size_t count, double low, double high, uint8_t *rgba);

#endif
