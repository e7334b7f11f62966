/* A sheet to draw on, which becomes a PNG or an SVG: the only part of report/ that knows cairo, and that may
   be missing. Lengths are in pixels of a sheet of scale 1; y grows downwards. What goes wrong while drawing
   is told at the end. */
#ifndef CVY_REPORT_CANVAS_H
#define CVY_REPORT_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum cvy_picture { CVY_PNG, CVY_SVG } cvy_picture;

/* 0xRRGGBB, and how much of what lies behind it it covers. */
typedef struct cvy_color {
    uint32_t rgb;
    double alpha; /* 0..1 */
} cvy_color;

static inline cvy_color cvy_opaque(uint32_t rgb) {
    return (cvy_color){rgb, 1};
}

typedef struct cvy_point {
    double x, y;
} cvy_point;

typedef struct cvy_box {
    double x, y, width, height;
} cvy_box;

typedef struct cvy_font {
    double size, align; /* the place is the text's left end (0), its middle (0.5) or its right end (1) */
    bool bold, upwards;
    cvy_color color;
} cvy_font;

typedef struct cvy_canvas cvy_canvas;

/* CONVOY_INVALID: this program was built without cairo. */
convoy_status cvy_canvas_check(void);
/* An empty, transparent sheet, of which a PNG has `scale` dots for a pixel. */
convoy_status cvy_canvas_create(cvy_picture kind, double width, double height, double scale,
                                cvy_canvas **canvas);

void cvy_canvas_fill(cvy_canvas *canvas, cvy_box box, cvy_color color);
void cvy_canvas_frame(cvy_canvas *canvas, cvy_box box, double width, cvy_color color);
/* Through all points; those that are not finite leave a gap. `dash`: length of dashes, 0 for none. */
void cvy_canvas_line(cvy_canvas *canvas, const cvy_point *points, size_t count, double width, double dash,
                     cvy_color color);
void cvy_canvas_dot(cvy_canvas *canvas, cvy_point at, double radius, cvy_color color);
/* On one baseline through `at`. Any bytes: what no screen should get is escaped. */
void cvy_canvas_text(cvy_canvas *canvas, cvy_point at, const cvy_font *font, const char *text);
double cvy_canvas_text_width(cvy_canvas *canvas, const cvy_font *font, const char *text);
/* Pixels [height][width][4]: red, green, blue, and how much they cover. `smooth`: blended where they are
   stretched, else squares. */
void cvy_canvas_pixels(cvy_canvas *canvas, cvy_box box, const uint8_t *rgba, int width, int height,
                       bool smooth);
/* Until the next call, nothing is drawn outside of the box; NULL: everywhere. */
void cvy_canvas_clip(cvy_canvas *canvas, const cvy_box *box);

/* The file; malloc'ed. Closes the canvas, also where that fails. */
convoy_status cvy_canvas_finish(cvy_canvas *canvas, char **data, size_t *size);
/* The same, into a file, atomically. */
convoy_status cvy_canvas_save(cvy_canvas *canvas, const char *path);

#endif
