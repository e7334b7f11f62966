/* How a run went, and what it was to do. */
#include <math.h>

#include "report/curves.h"
#include "report/page.h"
#include "report/tiles.h"

/* ---- figures ---- */

static void add_card(cvy_text *page, const char *name, const char *format, double value) {
    if (!isfinite(value))
        return;
    cvy_text_add(page, "<div><b>");
    cvy_page_add_figure(page, format, value);
    cvy_text_add(page, "</b><span>");
    cvy_html_add(page, name, false);
    cvy_text_add(page, "</span></div>\n");
}

static void add_cards(const cvy_run *run, cvy_text *page) {
    const size_t best = cvy_run_best_row(run), last = run->has_history ? run->history.rows - 1 : SIZE_MAX;
    const double seconds = cvy_run_value(run, "seconds", last);
    cvy_text_add(page, "<div class=\"cards\">\n");
    if (run->answers)
        add_card(page, "accuracy of these weights", "%.2f %%", 100 * run->answers->accuracy);
    add_card(page, "best validation accuracy", "%.2f %%", 100 * cvy_run_value(run, "val_accuracy", best));
    if (isfinite(cvy_run_value(run, "val_accuracy", best)))
        add_card(page, "test accuracy at the end", "%.2f %%",
                 100 * cvy_run_value(run, "test_accuracy", last));
    else
        add_card(page, "best test accuracy", "%.2f %%", 100 * cvy_run_value(run, "test_accuracy", best));
    add_card(page, "epoch of the best", "%.0f", cvy_run_value(run, "epoch", best));
    add_card(page, "test loss at the end", "%.4f", cvy_run_value(run, "test_loss", last));
    add_card(page, "training accuracy at the end", "%.2f %%",
             100 * cvy_run_value(run, "train_accuracy", last));
    add_card(page, "epochs", "%.0f", cvy_run_value(run, "epoch", last));
    add_card(page, seconds < 600 ? "seconds of training" : "minutes of training", "%.1f",
             seconds < 600 ? seconds : seconds / 60);
    add_card(page, "images a second at the end", "%.0f", cvy_run_value(run, "images_per_second", last));
    if (run->model) {
        double parameters = 0;
        for (size_t i = 0; i < convoy_model_layer_count(run->model); i++)
            parameters += (double)convoy_model_layer(run->model, i)->parameters;
        add_card(page, "parameters", "%.0f", parameters);
    }
    cvy_text_add(page, "</div>\n");
}

/* ---- curves ---- */

typedef struct curve_of_runs {
    cvy_curve curve;
    cvy_run_curves *runs;
    size_t count;
} curve_of_runs;

static convoy_status draw_curve(const void *what, const cvy_theme *theme, cvy_canvas **canvas) {
    enum { WIDTH = 480, HEIGHT = 320 };
    const curve_of_runs *of = what;
    const double legend = of->count > 2 ? 22.0 * (double)of->count / 2 : 0;
    convoy_status status = cvy_canvas_create(CVY_SVG, WIDTH, HEIGHT + legend, 1, canvas);
    if (!status)
        cvy_curve_draw(*canvas, (cvy_box){0, 2, WIDTH, HEIGHT + legend - 4}, of->curve, of->runs, of->count,
                       13, theme);
    return status;
}

convoy_status cvy_page_add_curves(cvy_text *page, const cvy_run *const *runs, size_t count) {
    static const char *const alts[CVY_CURVES] = {"Loss over epochs", "Accuracy over epochs",
                                                 "Learning rate over epochs"};
    cvy_arena *arena = cvy_arena_create();
    convoy_status status = CONVOY_OK;
    size_t known = 0;
    if (!arena)
        return cvy_fail_memory("curves", count);
    cvy_run_curves *curves = cvy_arena_alloc(arena, (count + 1) * sizeof *curves);
    for (size_t i = 0; i < count; i++)
        if (runs[i]->has_history)
            curves[known++] = (cvy_run_curves){runs[i]->name, &runs[i]->history};
    if (known) {
        cvy_text_add(page, "<h2>Curves</h2>\n");
        if (known > 1)
            cvy_text_add(page, "<p class=\"faint\">Solid: validation or test; dashed: training.</p>\n");
        cvy_text_add(page, "<div class=\"charts\">\n");
    }
    for (int c = 0; c < CVY_CURVES && known && !status; c++) {
        const curve_of_runs of = {(cvy_curve)c, curves, known};
        if (cvy_curve_exists((cvy_curve)c, curves, known))
            status = cvy_html_add_picture(page, CVY_SVG, alts[c], draw_curve, &of);
    }
    if (known)
        cvy_text_add(page, "</div>\n");
    cvy_arena_free(arena);
    return status;
}

/* ---- filters ---- */

enum { MOST_FILTERS = 64 };

/* The first convolution whose kernels have an extent. */
static const convoy_tensor *first_filters(const convoy_model *model) {
    for (size_t i = 0; i < convoy_model_tensor_count(model); i++) {
        const convoy_tensor *t = convoy_model_tensor(model, i);
        if (t->dimensions == 4 && t->shape[2] * t->shape[3] > 1)
            return t;
    }
    return NULL;
}

static double largest_weight(const convoy_tensor *t) {
    double largest = 0;
    for (size_t i = 0; i < t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3]; i++)
        largest = fmax(largest, fabs((double)t->values[i]));
    return largest;
}

/* Grey is 0. Filters of three channels are colours; of others the first channel is shown. */
static convoy_status draw_filters(const void *what, const cvy_theme *theme, cvy_canvas **canvas) {
    const convoy_tensor *t = what;
    const size_t pixels = t->shape[2] * t->shape[3],
                 count = t->shape[0] < MOST_FILTERS ? t->shape[0] : MOST_FILTERS;
    const float scale = (float)(2 * largest_weight(t) + 1e-30);
    const cvy_image_spec image = {.channels = (int)(t->shape[1] == 3 ? 3 : 1),
                                  .height = (int)t->shape[2],
                                  .width = (int)t->shape[3],
                                  .mean = {0.5f, 0.5f, 0.5f},
                                  .std = {1 / scale, 1 / scale, 1 / scale}};
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        return cvy_fail_memory("filters", count);
    cvy_tile *tiles = cvy_arena_alloc(arena, count * sizeof *tiles);
    for (size_t i = 0; i < count; i++) {
        uint8_t *rgba = cvy_arena_alloc(arena, 4 * pixels);
        cvy_pixels_of_input(&image, t->values + i * t->shape[1] * pixels, 1, rgba);
        tiles[i] = (cvy_tile){.rgba = rgba, .width = image.width, .height = image.height};
    }
    const cvy_tiles all = {
        .tiles = tiles, .count = count, .tile = 56, .width = 700, .font = 10, .theme = theme};
    convoy_status status = cvy_tiles_create(CVY_PNG, &all, canvas);
    cvy_arena_free(arena);
    return status;
}

static convoy_status add_filters(const cvy_run *run, cvy_text *page) {
    const convoy_tensor *t = run->model ? first_filters(run->model) : NULL;
    if (!t)
        return CONVOY_OK;
    cvy_text_add(page,
                 "<h2>Filters of the first layer</h2>\n<p class=\"faint\">%zu of %zu, %zu &times; %zu; ",
                 t->shape[0] < MOST_FILTERS ? t->shape[0] : (size_t)MOST_FILTERS, t->shape[0], t->shape[2],
                 t->shape[3]);
    cvy_text_add(page, "grey is 0, black and white are &#8723;%.3g.</p>\n<div class=\"filters\">",
                 largest_weight(t));
    convoy_status status = cvy_html_add_picture(page, CVY_PNG, "Filters of the first layer", draw_filters, t);
    cvy_text_add(page, "</div>\n");
    return status;
}

/* ---- words ---- */

static void add_row(cvy_text *page, const char *name, const char *value) {
    if (!value)
        return;
    cvy_text_add(page, "<tr><td>%s</td><td style=\"text-align:left\">", name);
    cvy_html_add(page, value, false);
    cvy_text_add(page, "</td></tr>\n");
}

static void add_origin(const cvy_run *run, cvy_text *page) {
    cvy_text_add(page, "<h2>How it was made</h2>\n<div class=\"scroll\"><table>\n");
    add_row(page, "folder", run->folder);
    add_row(page, "data", run->data);
    add_row(page, "trained on", run->device);
    add_row(page, "started", run->started);
    add_row(page, "convoy", run->version);
    add_row(page, "weights", run->weights);
    add_row(page, "evaluated on", run->answers ? run->answers->device : NULL);
    cvy_text_add(page, "</table></div>\n");
    if (run->command) {
        cvy_text_add(page, "<h3>Command</h3>\n<pre>");
        cvy_html_add(page, run->command, false);
        cvy_text_add(page, "</pre>\n");
    }
    if (run->recipe_text) {
        cvy_text_add(page, "<h3>Network and recipe</h3>\n<pre>");
        cvy_html_add(page, run->recipe_text, true);
        cvy_text_add(page, "</pre>\n");
    }
}

convoy_status cvy_page_add_run(cvy_arena *arena, const cvy_run *run, cvy_text *page) {
    cvy_text_add(page, "<p class=\"faint\">");
    cvy_html_add(page,
                 cvy_arena_printf(arena, "%s%s%s", run->folder, run->data ? " \xc2\xb7 " : "",
                                  run->data ? run->data : ""),
                 false);
    cvy_text_add(page, "</p>\n");
    add_cards(run, page);
    if (run->note_count)
        cvy_text_add(page, "<div class=\"notes\">\n");
    for (size_t i = 0; i < run->note_count; i++) {
        cvy_text_add(page, "<p>");
        cvy_html_add(page, run->notes[i], false);
        cvy_text_add(page, "</p>\n");
    }
    if (run->note_count)
        cvy_text_add(page, "</div>\n");
    convoy_status status = cvy_page_add_curves(page, &run, 1);
    if (!status && run->answers)
        status = cvy_page_add_answers(run, page);
    if (!status)
        status = add_filters(run, page);
    add_origin(run, page);
    return status;
}
