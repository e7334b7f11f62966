/* Drawing by cairo, whose "toy" text needs no library beside it. */
#include "report/canvas.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

convoy_status cvy_canvas_save(cvy_canvas *canvas, const char *path) {
    char *data = NULL;
    size_t size = 0;
    convoy_status status = cvy_canvas_finish(canvas, &data, &size);
    if (!status)
        status = cvy_file_write(path, data, size);
    free(data);
    return status;
}

#ifdef CONVOY_CAIRO
#include <cairo-svg.h>
#include <math.h>

struct cvy_canvas {
    cvy_picture kind;
    cairo_surface_t *surface;
    cairo_t *cairo;
    char *data; /* of the file */
    size_t size, room;
};

convoy_status cvy_canvas_check(void) {
    return CONVOY_OK;
}

static cairo_status_t collect(void *closure, const unsigned char *data, unsigned length) {
    cvy_canvas *canvas = closure;
    if (canvas->size + length > canvas->room) {
        const size_t room = 2 * (canvas->size + length);
        char *larger = realloc(canvas->data, room);
        if (!larger)
            return CAIRO_STATUS_NO_MEMORY;
        canvas->data = larger;
        canvas->room = room;
    }
    memcpy(canvas->data + canvas->size, data, length);
    canvas->size += length;
    return CAIRO_STATUS_SUCCESS;
}

static void destroy(cvy_canvas *canvas) {
    cairo_destroy(canvas->cairo);
    cairo_surface_destroy(canvas->surface);
    free(canvas->data);
    free(canvas);
}

static convoy_status fail(cairo_status_t status) {
    return cvy_fail(status == CAIRO_STATUS_NO_MEMORY ? CONVOY_MEMORY : CONVOY_FAILED,
                    "a picture could not be drawn: %s", cairo_status_to_string(status));
}

/* Glyphs as they are, not fitted to the dots: the same widths everywhere. */
static void choose_font_options(cairo_t *cairo) {
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_set_font_options(cairo, options);
    cairo_font_options_destroy(options);
}

convoy_status cvy_canvas_create(cvy_picture kind, double width, double height, double scale,
                                cvy_canvas **out) {
    cvy_canvas *canvas = *out = calloc(1, sizeof *canvas);
    if (!canvas)
        return cvy_fail_memory("a picture", sizeof *canvas);
    canvas->kind = kind;
    canvas->surface = kind == CVY_PNG
                          ? cairo_image_surface_create(CAIRO_FORMAT_ARGB32, (int)ceil(width * scale),
                                                       (int)ceil(height * scale))
                          : cairo_svg_surface_create_for_stream(collect, canvas, width, height);
    if (kind == CVY_SVG)
        cairo_svg_surface_set_document_unit(canvas->surface, CAIRO_SVG_UNIT_PX);
    canvas->cairo = cairo_create(canvas->surface);
    if (kind == CVY_PNG)
        cairo_scale(canvas->cairo, scale, scale);
    choose_font_options(canvas->cairo);
    cairo_set_line_join(canvas->cairo, CAIRO_LINE_JOIN_ROUND);
    const cairo_status_t status = cairo_status(canvas->cairo);
    if (status == CAIRO_STATUS_SUCCESS)
        return CONVOY_OK;
    destroy(canvas);
    *out = NULL;
    return fail(status);
}

static void use_color(cvy_canvas *canvas, cvy_color color) {
    cairo_set_source_rgba(canvas->cairo, (color.rgb >> 16 & 255) / 255.0, (color.rgb >> 8 & 255) / 255.0,
                          (color.rgb & 255) / 255.0, color.alpha);
}

void cvy_canvas_fill(cvy_canvas *canvas, cvy_box box, cvy_color color) {
    use_color(canvas, color);
    cairo_rectangle(canvas->cairo, box.x, box.y, box.width, box.height);
    cairo_fill(canvas->cairo);
}

void cvy_canvas_frame(cvy_canvas *canvas, cvy_box box, double width, cvy_color color) {
    use_color(canvas, color);
    cairo_set_line_width(canvas->cairo, width);
    cairo_set_dash(canvas->cairo, NULL, 0, 0);
    cairo_rectangle(canvas->cairo, box.x, box.y, box.width, box.height);
    cairo_stroke(canvas->cairo);
}

void cvy_canvas_line(cvy_canvas *canvas, const cvy_point *points, size_t count, double width, double dash,
                     cvy_color color) {
    bool pen = false;
    use_color(canvas, color);
    cairo_set_line_width(canvas->cairo, width);
    cairo_set_dash(canvas->cairo, &dash, dash > 0, 0);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(points[i].x) || !isfinite(points[i].y)) {
            pen = false;
            continue;
        }
        (pen ? cairo_line_to : cairo_move_to)(canvas->cairo, points[i].x, points[i].y);
        pen = true;
    }
    cairo_stroke(canvas->cairo);
}

void cvy_canvas_dot(cvy_canvas *canvas, cvy_point at, double radius, cvy_color color) {
    use_color(canvas, color);
    cairo_arc(canvas->cairo, at.x, at.y, radius, 0, 2 * M_PI);
    cairo_fill(canvas->cairo);
}

/* Chooses the font, and measures the text that is shown; the caller frees it. */
static double prepare_text(cvy_canvas *canvas, const cvy_font *font, const char *text, cvy_text *shown) {
    cairo_text_extents_t extents;
    cvy_text_add_visible(shown, text, false);
    cairo_select_font_face(canvas->cairo, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           font->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(canvas->cairo, font->size);
    cairo_text_extents(canvas->cairo, cvy_text_get(shown), &extents);
    return extents.x_advance;
}

void cvy_canvas_text(cvy_canvas *canvas, cvy_point at, const cvy_font *font, const char *text) {
    cvy_text shown = {0};
    const double width = prepare_text(canvas, font, text, &shown);
    use_color(canvas, font->color);
    cairo_save(canvas->cairo);
    cairo_translate(canvas->cairo, at.x, at.y);
    if (font->upwards)
        cairo_rotate(canvas->cairo, -M_PI / 2);
    cairo_move_to(canvas->cairo, -font->align * width, 0);
    cairo_show_text(canvas->cairo, cvy_text_get(&shown));
    cairo_restore(canvas->cairo);
    cvy_text_free(&shown);
}

double cvy_canvas_text_width(cvy_canvas *canvas, const cvy_font *font, const char *text) {
    cvy_text shown = {0};
    const double width = prepare_text(canvas, font, text, &shown);
    cvy_text_free(&shown);
    return width;
}

/* cairo's pixels are words, alpha first, with the colours multiplied by it. */
static uint32_t premultiplied(const uint8_t *p) {
    const uint32_t a = p[3];
    return a << 24 | (p[0] * a + 127) / 255 << 16 | (p[1] * a + 127) / 255 << 8 | (p[2] * a + 127) / 255;
}

void cvy_canvas_pixels(cvy_canvas *canvas, cvy_box box, const uint8_t *rgba, int width, int height,
                       bool smooth) {
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, width, height);
    unsigned char *rows = cairo_image_surface_get_data(image);
    const int stride = cairo_image_surface_get_stride(image);
    for (int y = 0; rows && y < height; y++)
        for (int x = 0; x < width; x++) {
            const uint32_t word = premultiplied(rgba + 4 * ((size_t)y * (size_t)width + (size_t)x));
            memcpy(rows + (size_t)y * (size_t)stride + 4 * (size_t)x, &word, sizeof word);
        }
    cairo_surface_mark_dirty(image);
    cairo_save(canvas->cairo);
    cairo_rectangle(canvas->cairo, box.x, box.y, box.width, box.height);
    cairo_clip(canvas->cairo);
    cairo_translate(canvas->cairo, box.x, box.y);
    cairo_scale(canvas->cairo, box.width / width, box.height / height);
    cairo_set_source_surface(canvas->cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(canvas->cairo),
                             smooth ? CAIRO_FILTER_BILINEAR : CAIRO_FILTER_NEAREST);
    cairo_pattern_set_extend(cairo_get_source(canvas->cairo), CAIRO_EXTEND_PAD);
    cairo_paint(canvas->cairo);
    cairo_restore(canvas->cairo);
    cairo_surface_destroy(image);
}

void cvy_canvas_clip(cvy_canvas *canvas, const cvy_box *box) {
    cairo_reset_clip(canvas->cairo);
    if (box) {
        cairo_rectangle(canvas->cairo, box->x, box->y, box->width, box->height);
        cairo_clip(canvas->cairo);
    }
}

convoy_status cvy_canvas_finish(cvy_canvas *canvas, char **data, size_t *size) {
    cairo_status_t status = cairo_status(canvas->cairo);
    if (!status && canvas->kind == CVY_PNG)
        status = cairo_surface_write_to_png_stream(canvas->surface, collect, canvas);
    cairo_surface_finish(canvas->surface);
    if (!status)
        status = cairo_surface_status(canvas->surface);
    *data = NULL;
    *size = 0;
    if (!status) {
        *data = canvas->data;
        *size = canvas->size;
        canvas->data = NULL;
    }
    destroy(canvas);
    return status ? fail(status) : CONVOY_OK;
}

#else

convoy_status cvy_canvas_check(void) {
    return cvy_fail(CONVOY_INVALID, "this convoy was built without cairo, which draws its pictures: install "
                                    "it (Debian's libcairo2-dev), configure and build again");
}

convoy_status cvy_canvas_create(cvy_picture kind, double width, double height, double scale,
                                cvy_canvas **canvas) {
    (void)kind, (void)width, (void)height, (void)scale;
    *canvas = NULL;
    return cvy_canvas_check();
}

/* There is no canvas to call these with. */
void cvy_canvas_fill(cvy_canvas *canvas, cvy_box box, cvy_color color) {
    (void)canvas, (void)box, (void)color;
}

void cvy_canvas_frame(cvy_canvas *canvas, cvy_box box, double width, cvy_color color) {
    (void)canvas, (void)box, (void)width, (void)color;
}

void cvy_canvas_line(cvy_canvas *canvas, const cvy_point *points, size_t count, double width, double dash,
                     cvy_color color) {
    (void)canvas, (void)points, (void)count, (void)width, (void)dash, (void)color;
}

void cvy_canvas_dot(cvy_canvas *canvas, cvy_point at, double radius, cvy_color color) {
    (void)canvas, (void)at, (void)radius, (void)color;
}

void cvy_canvas_text(cvy_canvas *canvas, cvy_point at, const cvy_font *font, const char *text) {
    (void)canvas, (void)at, (void)font, (void)text;
}

double cvy_canvas_text_width(cvy_canvas *canvas, const cvy_font *font, const char *text) {
    (void)canvas, (void)font, (void)text;
    return 0;
}

void cvy_canvas_pixels(cvy_canvas *canvas, cvy_box box, const uint8_t *rgba, int width, int height,
                       bool smooth) {
    (void)canvas, (void)box, (void)rgba, (void)width, (void)height, (void)smooth;
}

void cvy_canvas_clip(cvy_canvas *canvas, const cvy_box *box) {
    (void)canvas, (void)box;
}

convoy_status cvy_canvas_finish(cvy_canvas *canvas, char **data, size_t *size) {
    (void)canvas;
    *data = NULL;
    *size = 0;
    return cvy_canvas_check();
}
#endif
