/* Grids of small pictures. */
#include "report/tiles.h"

#include <math.h>
#include <stdlib.h>

/* Small images by whole factors, so that each of their pixels is a square of the same size. */
static double stretched(double longer, double tile) {
    return longer * 2 <= tile * 1.25 ? longer * floor(tile * 1.25 / longer) : fmin(longer, 2 * tile);
}

/* Where everything lies. */
typedef struct layout {
    double side, gap, step, head;
    size_t columns, rows;
} layout;

static layout lay_out(const cvy_tiles *all) {
    layout l = {.side = 1, .gap = all->font, .head = all->title ? 2.2 * all->font : 0};
    int lines = 0;
    for (size_t i = 0; i < all->count; i++) {
        const cvy_tile *t = &all->tiles[i];
        l.side = all->fixed ? all->tile : fmax(l.side, stretched(fmax(t->width, t->height), all->tile));
        lines = t->below ? 2 : t->caption && lines < 1 ? 1 : lines;
    }
    const double room = floor((all->width + l.gap) / (l.side + l.gap));
    l.columns = room > 1 ? (size_t)fmin(room, (double)all->count) : 1;
    l.rows = (all->count + l.columns - 1) / l.columns;
    l.step = l.side + l.gap + 1.35 * all->font * lines;
    return l;
}

cvy_point cvy_tiles_size(const cvy_tiles *tiles) {
    const layout l = lay_out(tiles);
    return (cvy_point){(l.side + l.gap) * (double)l.columns - l.gap,
                       l.head + l.step * (double)l.rows - l.gap};
}

void cvy_tiles_draw(cvy_canvas *canvas, cvy_point at, const cvy_tiles *all) {
    const layout l = lay_out(all);
    const cvy_color mark = cvy_palette(all->theme, 1);
    const cvy_font title = {.size = all->font * 1.15, .bold = true, .color = all->theme->ink},
                   right = {.size = all->font, .align = 0.5, .color = all->theme->ink},
                   wrong = {.size = all->font, .align = 0.5, .bold = true, .color = mark},
                   below = {.size = all->font, .align = 0.5, .color = all->theme->faint};
    if (all->title)
        cvy_text_that_fits(canvas, (cvy_point){at.x, at.y + all->font}, &title, all->width, all->title);
    for (size_t i = 0; i < all->count; i++) {
        const cvy_tile *t = &all->tiles[i];
        const double x = at.x + (l.side + l.gap) * (double)(i % l.columns),
                     y = at.y + l.head + l.step * (double)(i / l.columns),
                     scale = l.side / fmax(t->width, t->height), wide = t->width * scale;
        const cvy_box box = {x + (l.side - wide) / 2, y, wide, t->height * scale};
        cvy_canvas_pixels(canvas, box, t->rgba, t->width, t->height, scale < 1);
        cvy_canvas_frame(canvas, box, t->wrong ? 4 : 1, t->wrong ? mark : all->theme->grid);
        const cvy_point line = {x + l.side / 2, y + t->height * scale + 1.25 * all->font};
        if (t->caption)
            cvy_text_that_fits(canvas, line, t->wrong ? &wrong : &right, l.side + l.gap * 0.5, t->caption);
        if (t->below)
            cvy_text_that_fits(canvas, (cvy_point){line.x, line.y + 1.3 * all->font}, &below,
                               l.side + l.gap * 0.5, t->below);
    }
}

convoy_status cvy_tiles_create(cvy_picture kind, const cvy_tiles *tiles, cvy_canvas **canvas) {
    const double margin = 1.5 * tiles->font;
    const cvy_point size = cvy_tiles_size(tiles);
    const cvy_box all = {0, 0, size.x + 2 * margin, size.y + 2 * margin};
    convoy_status status = cvy_canvas_create(kind, all.width, all.height, 1, canvas);
    if (status)
        return status;
    cvy_canvas_fill(*canvas, all, tiles->theme->paper);
    cvy_tiles_draw(*canvas, (cvy_point){margin, margin}, tiles);
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

convoy_status cvy_pixels_of_image(const convoy_dataset *set, size_t index, uint8_t *rgba) {
    const size_t pixels = (size_t)set->height * (size_t)set->width;
    uint8_t *bytes = malloc(cvy_dataset_image_bytes(set));
    convoy_status status =
        bytes ? convoy_dataset_image(set, index, bytes) : cvy_fail_memory("an image", 4 * pixels);
    for (size_t i = 0; i < pixels && !status; i++) {
        for (size_t c = 0; c < 3; c++)
            rgba[4 * i + c] = bytes[(set->channels < 3 ? 0 : c) * pixels + i];
        rgba[4 * i + 3] = 255;
    }
    free(bytes);
    return status;
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
