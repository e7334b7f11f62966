/* Line charts. */
#include "report/chart.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

const cvy_theme cvy_light = {{0x1a1a1a, 1}, {0x595959, 1}, {0xdddddd, 1}, {0xffffff, 1}};
const cvy_theme cvy_dark = {{0xe8e8e8, 1}, {0xa8a8a8, 1}, {0x3d4247, 1}, {0x1b1e22, 1}};

cvy_color cvy_palette(const cvy_theme *theme, size_t index) {
    /* blue, vermillion, bluish green, reddish purple, orange, sky blue */
    static const uint32_t colors[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9};
    const size_t i = index % 6;
    return cvy_opaque(
        colors[theme == &cvy_dark && i % 5 == 0 ? 5 - i : i]); /* the light blue on dark first */
}

/* ---- axes ---- */

typedef struct axis {
    cvy_scale scale;
    double low, high; /* of the values; of their logarithms where the scale is one */
    double from, to;  /* where those lie on the canvas */
    cvy_ticks ticks;
} axis;

cvy_ticks cvy_round_ticks(double low, double high, int most) {
    static const double steps[] = {1, 2, 5, 10};
    const double wanted = (high - low) / (most > 1 ? most - 1 : 1);
    if (!(wanted > DBL_MIN) || !isfinite(wanted))
        return (cvy_ticks){low, 1, 1};
    double power = pow(10, floor(log10(wanted))), step = 10 * power;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        step = steps[i] * power;
        if (step >= wanted * (1 - 1e-9) && floor(high / step + 1e-9) - ceil(low / step - 1e-9) < most)
            break;
    }
    const double first = ceil(low / step - 1e-9);
    return (cvy_ticks){first * step, step, (int)(floor(high / step + 1e-9) - first) + 1};
}

static double place(const axis *a, double value) {
    if (a->scale == CVY_LOG)
        value = value > 0 ? log10(value) : NAN;
    return a->from + (value - a->low) / (a->high - a->low) * (a->to - a->from);
}

static void widen(double *low, double *high, double value) {
    if (isfinite(value)) {
        *low = fmin(*low, value);
        *high = fmax(*high, value);
    }
}

/* Of a quantity that is never below 0 the axis begins at 0 where that costs little room. */
static void find_range(axis *a, double low, double high) {
    if (!(low <= high))
        low = 0, high = 1;
    if (a->scale == CVY_LOG) {
        low = floor(log10(low) + 1e-9);
        high = ceil(log10(high) - 1e-9);
    } else if (a->scale == CVY_PERCENT) {
        const double room = fmax((high - low) * 0.06, 0.01);
        low = fmax(0, low - room);
        high = fmin(1, high + room);
    } else {
        const double room = (high - low) * 0.06;
        low = low >= 0 && low < 0.4 * high ? 0 : low - room;
        high += room;
    }
    if (!(high > low)) {
        const double around = fmax(fabs(low) * 0.1, 1e-3);
        low -= around;
        high += around;
    }
    a->low = low;
    a->high = high;
}

static void find_axis(axis *a, const cvy_chart *chart, bool horizontal, int most) {
    double low = INFINITY, high = -INFINITY;
    a->scale = horizontal ? chart->x_scale : chart->y_scale;
    for (size_t s = 0; s < chart->count; s++)
        for (size_t i = 0; i < chart->series[s].count; i++) {
            const double value = horizontal ? chart->series[s].x[i] : chart->series[s].y[i];
            if (a->scale != CVY_LOG || value > 0)
                widen(&low, &high, value);
        }
    /* Numbers so far apart that no difference of theirs is one. */
    low = fmax(low, -1e150);
    high = fmin(high, 1e150);
    if (horizontal && chart->x_words) {
        a->low = -0.5;
        a->high = (double)chart->x_word_count - 0.5;
        a->ticks = (cvy_ticks){0, 1, (int)chart->x_word_count};
        return;
    }
    if (chart->unit) {
        a->low = 0;
        a->high = 1;
    } else if (horizontal && low < high && a->scale == CVY_LINEAR &&
               !(chart->count && chart->series->dots > 0)) {
        a->low = low;
        a->high = high;
    } else if (horizontal && chart->whole_x && low == high) {
        a->low = low - 1;
        a->high = high + 1;
    } else {
        find_range(a, low, high);
    }
    if (a->scale == CVY_LOG && chart->count && chart->series->dots > 0) { /* whole, at the ends too */
        const double room = (a->high - a->low) * 0.04;
        a->low -= room;
        a->high += room;
    }
    a->ticks = cvy_round_ticks(a->low, a->high, most < 3 ? 3 : most);
    const bool whole = a->scale == CVY_LOG || (horizontal && chart->whole_x);
    if (whole && a->ticks.step < 1 && a->high - a->low >= 1) {
        const double first = ceil(a->low - 1e-9);
        a->ticks = (cvy_ticks){first, 1, (int)(floor(a->high + 1e-9) - first) + 1};
    }
}

static void tick_label(const axis *a, double value, char text[32]) {
    if (a->scale == CVY_LOG) {
        snprintf(text, 32, fabs(value) < 4 ? "%g" : "1e%g", fabs(value) < 4 ? pow(10, value) : value);
        return;
    }
    const double shown = a->scale == CVY_PERCENT ? 100 * value : value,
                 step = a->scale == CVY_PERCENT ? 100 * a->ticks.step : a->ticks.step;
    const int digits = (int)fmin(fmax(0, -floor(log10(step) + 1e-9)), 12);
    if (fabs(value) >= 1e6 || (value != 0 && digits > 5))
        snprintf(text, 32, "%.3g", shown);
    else
        snprintf(text, 32, "%.*f", digits, fabs(shown) < step * 1e-6 ? 0.0 : shown);
}

/* ---- text ---- */

void cvy_text_that_fits(cvy_canvas *canvas, cvy_point at, const cvy_font *font, double width,
                        const char *text) {
    cvy_text visible = {0}, part = {0};
    cvy_text_add_visible(&visible, text, false);
    size_t length = visible.length;
    cvy_text_add(&part, "%s", cvy_text_get(&visible));
    while (length > 1 && cvy_canvas_text_width(canvas, font, cvy_text_get(&part)) > width) {
        length--;
        while (length > 1 && ((unsigned char)visible.data[length] & 0xc0) == 0x80)
            length--; /* between characters only */
        part.length = 0;
        cvy_text_add(&part, "%.*s\xe2\x80\xa6", (int)length, visible.data);
    }
    cvy_canvas_text(canvas, at, font, cvy_text_get(&part));
    cvy_text_free(&visible);
    cvy_text_free(&part);
}

/* ---- parts of a chart ---- */

/* From the right, in the line of the title where there is room, or below it. Returns how many lines it took.
 */
static int draw_legend(cvy_canvas *canvas, cvy_box box, const cvy_chart *chart) {
    const double font = chart->font, mark = 2 * font;
    const cvy_font label = {.size = font, .color = chart->theme->ink},
                   title = {.size = font * 1.15, .bold = true};
    double width = 0, x, y = box.y + font * 1.1;
    int lines = 1;
    for (size_t s = 0; s < chart->count; s++)
        if (chart->series[s].name)
            width += mark + font * 1.4 + cvy_canvas_text_width(canvas, &label, chart->series[s].name);
    if (!(width > 0))
        return 1;
    if (cvy_canvas_text_width(canvas, &title, chart->title) + 2 * font + width > box.width) {
        y += 1.6 * font;
        lines = 2;
    }
    x = width < box.width && lines == 1 ? box.x + box.width - width : box.x;
    for (size_t s = 0; s < chart->count; s++) {
        const cvy_series *series = &chart->series[s];
        if (!series->name)
            continue;
        const double room =
            fmin(cvy_canvas_text_width(canvas, &label, series->name), box.width - mark - font * 1.4);
        if (x > box.x && x + mark + font * 0.4 + room > box.x + box.width) {
            x = box.x;
            y += 1.6 * font;
            lines++;
        }
        if (series->dots > 0)
            cvy_canvas_dot(canvas, (cvy_point){x + mark - font / 2, y - 0.35 * font}, series->dots,
                           series->color);
        else
            cvy_canvas_line(canvas, (cvy_point[]){{x, y - 0.35 * font}, {x + mark, y - 0.35 * font}}, 2,
                            font / 6, series->dash, series->color);
        cvy_text_that_fits(canvas, (cvy_point){x + mark + font * 0.4, y}, &label, room + 1, series->name);
        x += mark + font * 1.4 + room;
    }
    return lines;
}

static void draw_y_axis(cvy_canvas *canvas, cvy_box plot, const axis *y, const cvy_chart *chart) {
    const cvy_font label = {.size = chart->font, .align = 1, .color = chart->theme->faint};
    for (int i = 0; i < y->ticks.count; i++) {
        const double value = y->ticks.first + i * y->ticks.step,
                     at = y->from + (value - y->low) / (y->high - y->low) * (y->to - y->from);
        char text[32];
        tick_label(y, value, text);
        cvy_canvas_line(canvas, (cvy_point[]){{plot.x, at}, {plot.x + plot.width, at}}, 2, 1, 0,
                        chart->theme->grid);
        cvy_canvas_text(canvas, (cvy_point){plot.x - chart->font * 0.5, at + chart->font * 0.35}, &label,
                        text);
    }
}

static void draw_x_axis(cvy_canvas *canvas, cvy_box plot, const axis *x, const cvy_chart *chart) {
    const cvy_font label = {.size = chart->font, .align = 0.5, .color = chart->theme->faint};
    const double bottom = plot.y + plot.height;
    for (int i = 0; i < x->ticks.count; i++) {
        const double value = x->ticks.first + i * x->ticks.step,
                     at = x->from + (value - x->low) / (x->high - x->low) * (x->to - x->from);
        const double room = plot.width / (double)x->ticks.count - chart->font / 2;
        char text[32];
        tick_label(x, value, text);
        cvy_canvas_line(canvas, (cvy_point[]){{at, bottom}, {at, bottom + chart->font * 0.35}}, 2, 1, 0,
                        chart->theme->faint);
        cvy_text_that_fits(canvas, (cvy_point){at, bottom + chart->font * 1.45}, &label,
                           chart->x_words ? room : plot.width, chart->x_words ? chart->x_words[i] : text);
    }
    cvy_canvas_line(canvas, (cvy_point[]){{plot.x, bottom}, {plot.x + plot.width, bottom}}, 2, 1, 0,
                    chart->theme->faint);
}

static double widest_label(cvy_canvas *canvas, const axis *a, double size) {
    const cvy_font font = {.size = size};
    double widest = 0;
    for (int i = 0; i < a->ticks.count; i++) {
        char text[32];
        tick_label(a, a->ticks.first + i * a->ticks.step, text);
        widest = fmax(widest, cvy_canvas_text_width(canvas, &font, text));
    }
    return widest;
}

/* Few points are marked, and one alone would be no line. */
static void draw_series(cvy_canvas *canvas, const axis *x, const axis *y, const cvy_series *series,
                        double font) {
    cvy_point *points = malloc((series->count + 1) * sizeof *points);
    size_t finite = 0;
    if (!points)
        return;
    for (size_t i = 0; i < series->count; i++) {
        const cvy_point at = {place(x, series->x[i]), place(y, series->y[i])};
        if (isfinite(at.x) && isfinite(at.y))
            points[finite++] = at;
    }
    if (!(series->dots > 0))
        cvy_canvas_line(canvas, points, finite, font / 6, series->dash, series->color);
    for (size_t i = 0; i < finite && series->dots > 0; i++)
        cvy_canvas_dot(canvas, points[i], series->dots, series->color);
    for (size_t i = 0;
         i < finite && !(series->dots > 0) && finite <= 30 && series->dash == 0 && !series->plain; i++)
        cvy_canvas_dot(canvas, points[i], font / 4.5, series->color);
    free(points);
}

void cvy_chart_draw(cvy_canvas *canvas, cvy_box box, const cvy_chart *chart) {
    const double font = chart->font;
    const cvy_font title = {.size = font * 1.15, .bold = true, .color = chart->theme->ink},
                   name = {.size = font, .align = 0.5, .color = chart->theme->ink},
                   upwards = {.size = font, .align = 0.5, .upwards = true, .color = chart->theme->ink};
    axis x = {0}, y = {0};
    cvy_canvas_text(canvas, (cvy_point){box.x, box.y + font * 1.15}, &title, chart->title);
    const double top = font * (0.6 + 1.6 * draw_legend(canvas, box, chart));
    find_axis(&y, chart, false, (int)((box.height - top - 3 * font) / (2.5 * font)));
    const double left = 2.2 * font + widest_label(canvas, &y, font);
    const cvy_box plot = {box.x + left, box.y + top, box.width - left - 1.2 * font,
                          box.height - top - 3.2 * font};
    find_axis(&x, chart, true, (int)(plot.width / (4.5 * font)));
    x.from = plot.x, x.to = plot.x + plot.width;
    y.from = plot.y + plot.height, y.to = plot.y;
    draw_y_axis(canvas, plot, &y, chart);
    draw_x_axis(canvas, plot, &x, chart);
    cvy_canvas_text(canvas, (cvy_point){plot.x + plot.width / 2, box.y + box.height - font * 0.3}, &name,
                    chart->x_name);
    cvy_canvas_text(canvas, (cvy_point){box.x + font, plot.y + plot.height / 2}, &upwards, chart->y_name);
    const cvy_box inside = {plot.x - font / 3, plot.y - font / 3, plot.width + font / 1.5,
                            plot.height + font / 1.5};
    cvy_canvas_clip(canvas, &inside);
    for (size_t s = 0; s < chart->count; s++)
        draw_series(canvas, &x, &y, &chart->series[s], font);
    cvy_canvas_clip(canvas, NULL);
}
