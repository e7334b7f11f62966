/* Grids of small pictures. */
#include "report/tiles.h"

#include <math.h>

/* Small images by whole factors, so that each of their pixels is a square of the same size. */
static double stretched(double longer, double tile) {
    return longer * 2 <= tile * 1.25 ? longer * floor(tile * 1.25 / longer) : fmin(longer, 2 * tile);
}

convoy_status cvy_tiles_create(cvy_picture kind, const cvy_tiles *grid, cvy_canvas **canvas) {
    const double gap = grid->font, margin = 1.5 * grid->font;
    double side = 1;
    int lines = 0;
    for (size_t i = 0; i < grid->count; i++) {
        const cvy_tile *t = &grid->tiles[i];
        side = fmax(side, stretched(fmax(t->width, t->height), grid->tile));
        lines = t->below ? 2 : t->caption && lines < 1 ? 1 : lines;
    }
    const double room = floor((grid->width - 2 * margin + gap) / (side + gap));
    const size_t columns = room > 1 ? (size_t)fmin(room, (double)grid->count) : 1,
                 rows = (grid->count + columns - 1) / columns;
    const double step = side + gap + 1.35 * grid->font * lines, head = grid->title ? 2.2 * grid->font : 0;
    convoy_status status = cvy_canvas_create(kind, 2 * margin - gap + (side + gap) * (double)columns,
                                             2 * margin - gap + head + step * (double)rows, 1, canvas);
    if (status)
        return status;
    const cvy_font title = {.size = grid->font * 1.15, .bold = true, .color = grid->theme->ink},
                   caption = {.size = grid->font, .align = 0.5, .color = grid->theme->ink},
                   below = {.size = grid->font, .align = 0.5, .color = grid->theme->faint};
    cvy_canvas_fill(*canvas, (cvy_box){0, 0, 1e5, 1e5}, grid->theme->paper);
    if (grid->title)
        cvy_text_that_fits(*canvas, (cvy_point){margin, margin + grid->font}, &title,
                           (side + gap) * (double)columns, grid->title);
    for (size_t i = 0; i < grid->count; i++) {
        const cvy_tile *t = &grid->tiles[i];
        const double x = margin + (side + gap) * (double)(i % columns),
                     y = margin + head + step * (double)(i / columns),
                     scale = side / fmax(t->width, t->height);
        const cvy_box box = {x + (side - t->width * scale) / 2, y, t->width * scale, t->height * scale};
        cvy_canvas_pixels(*canvas, box, t->rgba, t->width, t->height, scale < 1);
        cvy_canvas_frame(*canvas, box, 1, grid->theme->grid);
        const cvy_point at = {x + side / 2, y + t->height * scale + 1.25 * grid->font};
        if (t->caption)
            cvy_text_that_fits(*canvas, at, &caption, side + gap * 0.5, t->caption);
        if (t->below)
            cvy_text_that_fits(*canvas, (cvy_point){at.x, at.y + 1.3 * grid->font}, &below, side + gap * 0.5,
                               t->below);
    }
    return CONVOY_OK;
}

static uint8_t to_byte(double value) {
    return (uint8_t)(value > 0 ? value < 1 ? value * 255 + 0.5 : 255 : 0);
}

void cvy_pixels_of_input(const cvy_image_spec *image, const float *planes, size_t pitch, uint8_t *rgba) {
    const size_t pixels =
        (size_t)(image->height + 2 * image->border) * (size_t)(image->width + 2 * image->border);
    for (size_t i = 0; i < pixels; i++) {
        for (int c = 0; c < 3; c++) {
            const int from = image->channels < 3 ? 0 : c;
            const double value = (double)planes[((size_t)from * pixels + i) * pitch];
            rgba[4 * i + (size_t)c] = to_byte(value * (double)image->std[from] + (double)image->mean[from]);
        }
        rgba[4 * i + 3] = 255;
    }
}

void cvy_pixels_grey(const float *values, size_t pitch, size_t count, double low, double high,
                     uint8_t *rgba) {
    for (size_t i = 0; i < count; i++) {
        const double value = (double)values[i * pitch];
        rgba[4 * i] = rgba[4 * i + 1] = rgba[4 * i + 2] =
            to_byte(high > low ? (value - low) / (high - low) : 0.5);
        rgba[4 * i + 3] = 255;
    }
}
