/* Drawing an explanation. */
#include "report/explain.h"

#include <math.h>
#include <stdio.h>

#include "model/model.h"

enum { MARGIN = 24, SIDE = 392, WIDTH = 1280, MOST_MAPS = 64, MOST_ANSWERS = 5 };

/* viridis by eight of its colours: as light as the value is large, for every eye. */
static void heat(double value, uint8_t rgb[3]) {
    static const uint8_t stops[8][3] = {{68, 1, 84},    {70, 50, 127},  {54, 92, 141},  {39, 127, 142},
                                        {31, 161, 135}, {74, 194, 109}, {159, 218, 58}, {253, 231, 37}};
    const double at = fmin(fmax(value, 0), 1) * 7;
    const int i = at < 7 ? (int)at : 6;
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)(stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]) + 0.5);
}

/* The map at a place of the image, as PyTorch's interpolate(mode="bilinear", align_corners=False) has it. */
static double stretched(const cvy_gradcam *g, int y, int x, int height, int width) {
    const double v = fmax((y + 0.5) * g->height / height - 0.5, 0),
                 u = fmax((x + 0.5) * g->width / width - 0.5, 0);
    const int y0 = (int)v, x0 = (int)u, y1 = y0 + (y0 + 1 < g->height), x1 = x0 + (x0 + 1 < g->width);
    const double b = v - y0, a = u - x0;
    const double *m = g->map;
    return (1 - b) * ((1 - a) * m[y0 * g->width + x0] + a * m[y0 * g->width + x1]) +
           b * ((1 - a) * m[y1 * g->width + x0] + a * m[y1 * g->width + x1]);
}

/* The image [height][width], in grey and each pixel as a square of `times`, under the map. */
static void overlay(const cvy_gradcam *g, const uint8_t *image, int height, int width, int times,
                    uint8_t *rgba) {
    double largest = 0;
    for (int i = 0; i < g->height * g->width; i++)
        largest = fmax(largest, g->map[i]);
    for (int y = 0; y < height * times; y++)
        for (int x = 0; x < width * times; x++) {
            const uint8_t *pixel = image + 4 * (y / times * width + x / times);
            uint8_t *to = rgba + 4 * (y * width * times + x), rgb[3];
            const double grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
            heat(largest > 0 ? stretched(g, y, x, height * times, width * times) / largest : 0, rgb);
            for (int c = 0; c < 3; c++)
                to[c] = (uint8_t)(0.45 * grey + 0.55 * rgb[c] + 0.5);
            to[3] = 255;
        }
}

/* What the colours mean. */
static void draw_scale(cvy_canvas *canvas, cvy_box box) {
    enum { STEPS = 128 };
    uint8_t rgba[4 * STEPS];
    const cvy_font left = {.size = 13, .color = cvy_light.faint},
                   right = {.size = 13, .align = 1, .color = cvy_light.faint};
    for (int i = 0; i < STEPS; i++) {
        heat(i / (STEPS - 1.0), rgba + 4 * i);
        rgba[4 * i + 3] = 255;
    }
    cvy_canvas_text(canvas, (cvy_point){box.x, box.y - 8}, &left, "did not matter");
    cvy_canvas_text(canvas, (cvy_point){box.x + box.width, box.y - 8}, &right, "mattered most");
    cvy_canvas_pixels(canvas, box, rgba, STEPS, 1, true);
}

static void draw_answers(cvy_canvas *canvas, cvy_box box, const cvy_gradcam *g, int classes,
                         const char *const *names) {
    const cvy_font title = {.size = 16, .bold = true, .color = cvy_light.ink},
                   name = {.size = 14, .color = cvy_light.ink},
                   figure = {.size = 14, .align = 1, .color = cvy_light.ink};
    double last = INFINITY;
    cvy_canvas_text(canvas, (cvy_point){box.x, box.y + 14}, &title, "Answers");
    for (int k = 0, before = -1; k < MOST_ANSWERS && k < classes; k++) {
        int best = -1;
        for (int c = 0; c < classes; c++) { /* the next in the order of probability, then of class */
            const double p = g->probabilities[c];
            if ((p < last || (p == last && c > before)) && (best < 0 || p > g->probabilities[best]))
                best = c;
        }
        last = g->probabilities[best];
        before = best;
        char text[32];
        const double y = box.y + 54 + 52 * k;
        snprintf(text, sizeof text, "%.1f %%", 100 * last);
        cvy_text_that_fits(canvas, (cvy_point){box.x, y}, &name, box.width - 80, names[best]);
        cvy_canvas_text(canvas, (cvy_point){box.x + box.width, y}, &figure, text);
        cvy_canvas_fill(canvas, (cvy_box){box.x, y + 8, box.width, 10}, cvy_light.grid);
        cvy_canvas_fill(canvas, (cvy_box){box.x, y + 8, box.width * last, 10},
                        cvy_palette(&cvy_light, best == g->class_index ? 1 : 0));
    }
}

static cvy_tile *make_maps(cvy_arena *arena, const cvy_gradcam *g, size_t count) {
    const size_t pixels = (size_t)g->height * (size_t)g->width;
    cvy_tile *tiles = cvy_arena_alloc(arena, count * sizeof *tiles);
    for (size_t c = 0; c < count; c++) {
        const float *values = g->activation + c * pixels * g->pitch;
        uint8_t *rgba = cvy_arena_alloc(arena, 4 * pixels);
        double low = INFINITY, high = -INFINITY;
        for (size_t i = 0; i < pixels; i++) {
            low = fmin(low, (double)values[i * g->pitch]);
            high = fmax(high, (double)values[i * g->pitch]);
        }
        cvy_pixels_grey(values, g->pitch, pixels, low, high, rgba);
        tiles[c] = (cvy_tile){rgba, g->width, g->height, cvy_arena_printf(arena, "%zu", c), NULL, false};
    }
    return tiles;
}

/* The image and the map beside each other. */
static cvy_tile *make_images(cvy_arena *arena, const convoy_model *model, const cvy_gradcam *g,
                             const char *const *names) {
    const cvy_image_spec image = cvy_model_image(model);
    const int height = image.height + 2 * image.border, width = image.width + 2 * image.border;
    const size_t bytes = 4 * (size_t)height * (size_t)width;
    const int times = SIDE / (width > height ? width : height) + 1;
    uint8_t *seen = cvy_arena_alloc(arena, bytes),
            *under = cvy_arena_alloc(arena, bytes * (size_t)times * (size_t)times);
    cvy_tile *tiles = cvy_arena_alloc(arena, 2 * sizeof *tiles);
    cvy_pixels_of_input(&image, g->input, g->pitch, seen);
    overlay(g, seen, height, width, times, under);
    tiles[0] = (cvy_tile){seen, width, height, "as the network sees it", NULL, false};
    tiles[1] = (cvy_tile){under,
                          width * times,
                          height * times,
                          cvy_arena_printf(arena, "Grad-CAM for %s at layer %s", names[g->class_index],
                                           convoy_model_layer(model, g->layer)->name),
                          NULL,
                          false};
    return tiles;
}

convoy_status cvy_explain_draw(const convoy_model *model, const cvy_gradcam *g, const char *const *names,
                               cvy_canvas **canvas) {
    const convoy_layer_info *layer = convoy_model_layer(model, g->layer);
    const size_t shown = g->channels < MOST_MAPS ? (size_t)g->channels : MOST_MAPS;
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("a picture", 1);
    const cvy_tiles images = {.tiles = make_images(arena, model, g, names),
                              .count = 2,
                              .tile = SIDE,
                              .fixed = true,
                              .width = WIDTH,
                              .font = 15,
                              .theme = &cvy_light};
    const cvy_tiles maps = {.title = cvy_arena_printf(arena,
                                                      "Maps of layer %s (%s): %zu of %d, %d x %d, each from "
                                                      "its least value (black) to its largest",
                                                      layer->name, layer->type, shown, g->channels, g->height,
                                                      g->width),
                            .tiles = make_maps(arena, g, shown),
                            .count = shown,
                            .tile = 84,
                            .width = WIDTH - 2 * MARGIN,
                            .font = 13,
                            .theme = &cvy_light};
    const cvy_point above = cvy_tiles_size(&images), below = cvy_tiles_size(&maps);
    convoy_status status = cvy_canvas_create(CVY_PNG, WIDTH, above.y + below.y + 3 * MARGIN, 1, canvas);
    if (!status) {
        cvy_canvas_fill(*canvas, (cvy_box){0, 0, WIDTH, above.y + below.y + 3 * MARGIN}, cvy_light.paper);
        cvy_tiles_draw(*canvas, (cvy_point){MARGIN, MARGIN}, &images);
        draw_answers(*canvas,
                     (cvy_box){above.x + 2.5 * MARGIN, MARGIN, WIDTH - above.x - 3.5 * MARGIN, above.y}, g,
                     convoy_model_classes(model), names);
        draw_scale(*canvas,
                   (cvy_box){above.x + 2.5 * MARGIN, MARGIN + SIDE - 12, WIDTH - above.x - 3.5 * MARGIN, 12});
        cvy_tiles_draw(*canvas, (cvy_point){MARGIN, above.y + 2 * MARGIN}, &maps);
    }
    cvy_arena_free(arena);
    return status;
}
