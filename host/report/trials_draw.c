/* Pictures of a search. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "report/trials.h"

enum { MOST_CELLS = 12 }; /* of a map, on a side */

/* ---- what was tried of a key ---- */

typedef struct axis {
    bool numbers;
    const char **words; /* [count]: different ones, numbers in their order, others as they came */
    size_t count;
    double low, high; /* of numbers */
} axis;

static bool before(const axis *a, const char *x, const char *y) {
    double u, v;
    return a->numbers && cvy_text_to_double(x, &u) && cvy_text_to_double(y, &v) && u < v;
}

static axis axis_of(cvy_arena *arena, const cvy_trials *t, size_t key) {
    axis a = {true, cvy_arena_alloc(arena, (t->count + 1) * sizeof *a.words), 0, INFINITY, -INFINITY};
    for (size_t i = 0; i < t->count; i++) {
        double value;
        a.numbers &= cvy_text_to_double(t->trials[i].settings[key], &value);
        if (a.numbers) {
            a.low = fmin(a.low, value);
            a.high = fmax(a.high, value);
        }
    }
    for (size_t i = 0; i < t->count; i++) {
        const char *word = t->trials[i].settings[key];
        size_t at = 0;
        while (at < a.count && strcmp(a.words[at], word) != 0)
            at++;
        if (at < a.count)
            continue;
        for (at = a.count++; at > 0 && before(&a, word, a.words[at - 1]); at--)
            a.words[at] = a.words[at - 1];
        a.words[at] = word;
    }
    return a;
}

static size_t place_of(const axis *a, const char *word) {
    size_t at = 0;
    while (at < a->count && strcmp(a->words[at], word) != 0)
        at++;
    return at;
}

/* ---- which pictures there are ---- */

typedef enum kind { KEY, RUNGS, MAP } kind;

static bool has_rungs(const cvy_trials *t) {
    return t->rung_count > t->count;
}

/* Two keys of which each value was tried with each of the other. */
static bool has_map(const cvy_trials *t) {
    cvy_arena *arena = t->axes == 2 ? cvy_arena_create() : NULL;
    if (!arena)
        return false;
    const axis x = axis_of(arena, t, 0), y = axis_of(arena, t, 1);
    const bool is = x.count > 1 && y.count > 1 && x.count <= MOST_CELLS && y.count <= MOST_CELLS &&
                    t->count == x.count * y.count;
    cvy_arena_free(arena);
    return is;
}

static kind kind_of(const cvy_trials *t, size_t panel) {
    return panel < t->axes ? KEY : panel == t->axes && has_rungs(t) ? RUNGS : MAP;
}

size_t cvy_trials_panels(const cvy_trials *t) {
    return t->axes + has_rungs(t) + has_map(t);
}

const char *cvy_trials_title(cvy_arena *arena, const cvy_trials *t, size_t panel) {
    switch (kind_of(t, panel)) {
    case KEY:
        return cvy_arena_printf(arena, "%s by %s", t->monitor, t->keys[panel]);
    case RUNGS:
        return cvy_arena_printf(arena, "%s over epochs", t->monitor);
    default:
        return cvy_arena_printf(arena, "%s by %s and %s", t->monitor, t->keys[0], t->keys[1]);
    }
}

/* ---- charts ---- */

static bool is_share(const cvy_trials *t) {
    return strstr(t->monitor, "accuracy") != NULL;
}

/* Names, axes and the scale of values. */
static cvy_chart chart_of(cvy_arena *arena, const cvy_trials *t, size_t panel, double font,
                          const cvy_theme *theme) {
    return (cvy_chart){.title = cvy_trials_title(arena, t, panel),
                       .y_name = is_share(t) ? cvy_arena_printf(arena, "%s, %%", t->monitor) : t->monitor,
                       .y_scale = is_share(t) ? CVY_PERCENT : CVY_LINEAR,
                       .font = font,
                       .theme = theme};
}

static size_t last_rung(const cvy_trials *t) {
    size_t last = 0;
    for (size_t i = 0; i < t->count; i++)
        last = t->trials[i].rung > last ? t->trials[i].rung : last;
    return last;
}

/* A dot for each trial; those that came far stand out, and the best of all. */
static void draw_key(cvy_arena *arena, cvy_canvas *canvas, cvy_box box, const cvy_trials *t, size_t panel,
                     cvy_chart *chart) {
    enum { EARLIER, LAST, BEST, KINDS };
    const axis a = axis_of(arena, t, panel);
    const bool words = !a.numbers || a.count <= 2; /* two values make no scale */
    cvy_series series[KINDS];
    double *x[KINDS], *y[KINDS];
    for (int s = 0; s < KINDS; s++) {
        x[s] = cvy_arena_alloc(arena, (t->count + 1) * sizeof *x[s]);
        y[s] = cvy_arena_alloc(arena, (t->count + 1) * sizeof *y[s]);
        series[s] = (cvy_series){.x = x[s],
                                 .y = y[s],
                                 .color = s ? cvy_palette(chart->theme, s == BEST) : chart->theme->faint,
                                 .dots = chart->font * (s == BEST ? 0.42 : 0.3)};
    }
    series[EARLIER].name = has_rungs(t) ? "stopped earlier" : NULL;
    series[BEST].name = "best";
    for (size_t i = 0; i < t->count; i++) {
        const int s = i == 0 ? BEST : t->trials[i].rung < last_rung(t) ? EARLIER : LAST;
        double at = (double)place_of(&a, t->trials[i].settings[panel]);
        if (!words)
            cvy_text_to_double(t->trials[i].settings[panel], &at);
        x[s][series[s].count] = at;
        y[s][series[s].count++] = t->trials[i].value;
    }
    chart->x_name = t->keys[panel];
    chart->x_scale = !words && a.low > 0 && a.high >= 9.99 * a.low ? CVY_LOG : CVY_LINEAR;
    chart->x_words = words ? a.words : NULL;
    chart->x_word_count = a.count;
    chart->series = series;
    chart->count = KINDS;
    cvy_chart_draw(canvas, box, chart);
}

/* The way of each trial from rung to rung. */
static void draw_rungs(cvy_arena *arena, cvy_canvas *canvas, cvy_box box, const cvy_trials *t,
                       cvy_chart *chart) {
    cvy_series *series = cvy_arena_alloc(arena, (t->count + 1) * sizeof *series);
    double *x = cvy_arena_alloc(arena, (t->rung_count + 1) * sizeof *x),
           *y = cvy_arena_alloc(arena, (t->rung_count + 1) * sizeof *y);
    for (size_t i = 0; i < t->count; i++) /* the best last, above the others */
        series[i] =
            (cvy_series){.color = i + 1 < t->count ? chart->theme->faint : cvy_palette(chart->theme, 1),
                         .name = i + 1 < t->count ? NULL : "best"};
    for (size_t r = 0; r < t->rung_count; r++) {
        cvy_series *of = &series[t->count - 1 - t->rungs[r].trial];
        x[r] = t->rungs[r].epochs;
        y[r] = t->rungs[r].value;
        if (!of->count++) {
            of->x = x + r;
            of->y = y + r;
        }
    }
    chart->x_name = "epochs";
    chart->whole_x = true;
    chart->series = series;
    chart->count = t->count;
    cvy_chart_draw(canvas, box, chart);
}

/* ---- the map ---- */

/* Where cells lie, and between which values their colours. */
typedef struct map {
    axis x, y;
    cvy_box plot;
    double low, high;
} map;

static void draw_cell(cvy_canvas *canvas, const cvy_trials *t, size_t index, const map *m,
                      const cvy_chart *chart) {
    const cvy_trial *trial = &t->trials[index];
    const double width = m->plot.width / (double)m->x.count, height = m->plot.height / (double)m->y.count;
    const cvy_box cell = {m->plot.x + width * (double)place_of(&m->x, trial->settings[0]),
                          m->plot.y + height * (double)(m->y.count - 1 - place_of(&m->y, trial->settings[1])),
                          width, height};
    const double part = m->high > m->low ? (trial->value - m->low) / (m->high - m->low) : 1,
                 good = isfinite(part) ? (t->least ? 1 - part : part) : 0;
    cvy_color color = cvy_palette(chart->theme, 0);
    color.alpha = isfinite(trial->value) ? 0.08 + 0.82 * good : 0;
    const cvy_font font = {.size = chart->font,
                           .align = 0.5,
                           .bold = index == 0,
                           .color = good > 0.6 ? chart->theme->paper : chart->theme->ink};
    char text[32] = "failed";
    if (isfinite(trial->value))
        snprintf(text, sizeof text, is_share(t) ? "%.1f" : "%.3g", trial->value * (is_share(t) ? 100 : 1));
    cvy_canvas_fill(canvas, cell, color);
    cvy_canvas_frame(canvas, cell, 1, chart->theme->grid);
    if (width > cvy_canvas_text_width(canvas, &font, text))
        cvy_canvas_text(canvas, (cvy_point){cell.x + width / 2, cell.y + height / 2 + font.size * 0.35},
                        &font, text);
    if (index == 0)
        cvy_canvas_frame(canvas, (cvy_box){cell.x + 1, cell.y + 1, width - 2, height - 2}, font.size / 5,
                         cvy_palette(chart->theme, 1));
}

static void draw_names(cvy_canvas *canvas, cvy_box box, const cvy_trials *t, const map *m,
                       const cvy_chart *chart) {
    const double size = chart->font, width = m->plot.width / (double)m->x.count,
                 height = m->plot.height / (double)m->y.count, bottom = m->plot.y + m->plot.height;
    const cvy_font below = {.size = size, .align = 0.5, .color = chart->theme->faint},
                   beside = {.size = size, .align = 1, .color = chart->theme->faint},
                   name = {.size = size, .align = 0.5, .color = chart->theme->ink},
                   upwards = {.size = size, .align = 0.5, .upwards = true, .color = chart->theme->ink},
                   title = {.size = size * 1.15, .bold = true, .color = chart->theme->ink};
    for (size_t i = 0; i < m->x.count; i++)
        cvy_text_that_fits(canvas, (cvy_point){m->plot.x + width * ((double)i + 0.5), bottom + size * 1.45},
                           &below, width, m->x.words[i]);
    for (size_t i = 0; i < m->y.count; i++)
        cvy_text_that_fits(
            canvas, (cvy_point){m->plot.x - size / 2, bottom - height * ((double)i + 0.5) + size * 0.35},
            &beside, m->plot.x - box.x - 2 * size, m->y.words[i]);
    cvy_canvas_text(canvas, (cvy_point){m->plot.x + m->plot.width / 2, box.y + box.height - size * 0.3},
                    &name, t->keys[0]);
    cvy_canvas_text(canvas, (cvy_point){box.x + size, m->plot.y + m->plot.height / 2}, &upwards, t->keys[1]);
    cvy_text_that_fits(canvas, (cvy_point){box.x, box.y + size * 1.15}, &title, box.width, chart->title);
}

static void draw_map(cvy_arena *arena, cvy_canvas *canvas, cvy_box box, const cvy_trials *t,
                     const cvy_chart *chart) {
    const cvy_font label = {.size = chart->font};
    map m = {axis_of(arena, t, 0), axis_of(arena, t, 1), box, INFINITY, -INFINITY};
    double widest = 0;
    for (size_t i = 0; i < m.y.count; i++)
        widest = fmax(widest, cvy_canvas_text_width(canvas, &label, m.y.words[i]));
    const double left = 2.2 * chart->font + fmin(widest, box.width / 4), top = 2.2 * chart->font;
    m.plot = (cvy_box){box.x + left, box.y + top, box.width - left, box.height - top - 3.2 * chart->font};
    for (size_t i = 0; i < t->count; i++)
        if (isfinite(t->trials[i].value)) {
            m.low = fmin(m.low, t->trials[i].value);
            m.high = fmax(m.high, t->trials[i].value);
        }
    for (size_t i = t->count; i-- > 0;) /* the best above the others */
        draw_cell(canvas, t, i, &m, chart);
    draw_names(canvas, box, t, &m, chart);
}

/* ---- all of it ---- */

void cvy_trials_draw(cvy_canvas *canvas, cvy_box box, const cvy_trials *t, size_t panel, double font,
                     const cvy_theme *theme) {
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return;
    cvy_chart chart = chart_of(arena, t, panel, font, theme);
    if (kind_of(t, panel) == KEY)
        draw_key(arena, canvas, box, t, panel, &chart);
    else if (kind_of(t, panel) == RUNGS)
        draw_rungs(arena, canvas, box, t, &chart);
    else
        draw_map(arena, canvas, box, t, &chart);
    cvy_arena_free(arena);
}

convoy_status cvy_trials_save(const char *folder) {
    enum { WIDTH = 480, HEIGHT = 400, MARGIN = 24, ROW = 3 };
    cvy_trials trials;
    cvy_canvas *canvas = NULL;
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("a picture of the search", 1);
    char *path = cvy_path_join(folder, "search.png");
    convoy_status status = cvy_trials_read(arena, folder, &trials);
    const size_t panels = status ? 0 : cvy_trials_panels(&trials), columns = panels < ROW ? panels : ROW,
                 rows = (panels + ROW - 1) / ROW;
    if (!status && panels) {
        const cvy_box all = {0, 0, (double)columns * (WIDTH + MARGIN) + MARGIN,
                             (double)rows * (HEIGHT + MARGIN) + MARGIN};
        status = cvy_canvas_create(CVY_PNG, all.width, all.height, 1, &canvas);
        if (!status)
            cvy_canvas_fill(canvas, all, cvy_light.paper);
        for (size_t i = 0; i < panels && !status; i++)
            cvy_trials_draw(canvas,
                            (cvy_box){MARGIN + (double)(i % ROW) * (WIDTH + MARGIN),
                                      MARGIN + (double)(i / ROW) * (HEIGHT + MARGIN), WIDTH, HEIGHT},
                            &trials, i, 15, &cvy_light);
        if (!status)
            status = cvy_canvas_save(canvas, path);
    }
    free(path);
    cvy_arena_free(arena);
    return status;
}
