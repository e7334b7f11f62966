/* What the weights answer: per class, confusion, the worst mistakes, and curves over thresholds. */
#include <math.h>
#include <stdlib.h>

#include "report/page.h"
#include "report/tiles.h"

enum { MATRIX_LIMIT = 25, CURVES_LIMIT = 12, MOST_WRONG = 12, MOST_SOME = 20 };

/* ---- the table of classes ---- */

static void add_bar(cvy_text *page, double value) {
    cvy_text_add(page, "<td class=\"bar\" style=\"--v:%.1f%%\">", 100 * (isfinite(value) ? value : 0));
    cvy_page_add_figure(page, "%.3f", value);
    cvy_text_add(page, "</td>");
}

static void add_classes(const cvy_answers *a, cvy_text *page) {
    cvy_text_add(page,
                 "<h2>Classes</h2>\n<p class=\"faint\">AUC: area under the ROC curve; AP: average precision; "
                 "each class against the rest.</p>\n<div "
                 "class=\"scroll\"><table>\n<tr><th>class</th><th>precision</th>"
                 "<th>recall</th><th>F1</th><th>AUC</th><th>AP</th><th>images</th>"
                 "</tr>\n");
    for (int c = 0; c < a->classes; c++) {
        const convoy_class_result *r = &a->results[c];
        cvy_text_add(page, "<tr><td>");
        cvy_html_add(page, a->names[c], false);
        cvy_text_add(page, "</td>");
        add_bar(page, r->precision);
        add_bar(page, r->recall);
        add_bar(page, r->f1);
        add_bar(page, a->scores[c].auc);
        add_bar(page, a->scores[c].average_precision);
        cvy_text_add(page, "<td>%llu</td></tr>\n", r->support);
    }
    cvy_text_add(page, "<tr><td>mean</td>");
    add_bar(page, a->averages.macro_precision);
    add_bar(page, a->averages.macro_recall);
    add_bar(page, a->averages.macro_f1);
    cvy_text_add(page, "<td></td><td></td><td>%zu</td></tr>\n</table></div>\n", a->images);
}

/* ---- confusion ---- */

static double share(const cvy_answers *a, int truth, int answer) {
    const unsigned long long all = a->results[truth].support;
    return all ? (double)a->confusion[truth * a->classes + answer] / (double)all : 0;
}

static void add_matrix(const cvy_answers *a, cvy_text *page) {
    cvy_text_add(page, "<div class=\"scroll\"><table class=\"matrix\">\n<thead><tr><th></th>");
    for (int c = 0; c < a->classes; c++) {
        cvy_text_add(page, "<th><span>");
        cvy_html_add(page, a->names[c], false);
        cvy_text_add(page, "</span></th>");
    }
    cvy_text_add(page, "</tr></thead>\n");
    for (int c = 0; c < a->classes; c++) {
        cvy_text_add(page, "<tr><th>");
        cvy_html_add(page, a->names[c], false);
        cvy_text_add(page, "</th>");
        for (int answer = 0; answer < a->classes; answer++)
            cvy_text_add(page, "<td style=\"background:rgba(var(--mark),%.2f)\">%llu</td>",
                         0.75 * sqrt(share(a, c, answer)), a->confusion[c * a->classes + answer]);
        cvy_text_add(page, "</tr>\n");
    }
    cvy_text_add(page, "</table></div>\n");
}

/* Of more classes than a table can have: a dot for each pair. */
static convoy_status draw_matrix(const void *what, const cvy_theme *theme, cvy_canvas **canvas) {
    const cvy_answers *a = what;
    const size_t cells = (size_t)a->classes * (size_t)a->classes;
    const bool dark = theme == &cvy_dark;
    uint8_t *rgba = malloc(4 * cells);
    convoy_status status = rgba ? cvy_canvas_create(CVY_PNG, 640, 640, 1, canvas)
                                : cvy_fail_memory("a confusion matrix", 4 * cells);
    for (size_t i = 0; i < cells && !status; i++) {
        const uint8_t blue[] = {dark ? 86 : 0, dark ? 180 : 114, dark ? 233 : 178};
        for (size_t k = 0; k < 3; k++)
            rgba[4 * i + k] = blue[k];
        rgba[4 * i + 3] =
            (uint8_t)(255 * sqrt(share(a, (int)(i / (size_t)a->classes), (int)(i % (size_t)a->classes))));
    }
    if (!status) {
        cvy_canvas_pixels(*canvas, (cvy_box){0, 0, 640, 640}, rgba, a->classes, a->classes, false);
        cvy_canvas_frame(*canvas, (cvy_box){0.5, 0.5, 639, 639}, 1, theme->grid);
    }
    free(rgba);
    return status;
}

static convoy_status add_confusion(const cvy_answers *a, cvy_text *page) {
    cvy_text_add(page, "<h2>Confusion</h2>\n<p class=\"faint\">Rows: true classes; columns: answers.%s</p>\n",
                 a->classes > MATRIX_LIMIT ? " In the order of the table of classes, from the top left."
                                           : "");
    if (a->classes <= MATRIX_LIMIT) {
        add_matrix(a, page);
        return CONVOY_OK;
    }
    cvy_text_add(page, "<div class=\"filters\">");
    convoy_status status = cvy_html_add_picture(page, CVY_PNG, "Confusion matrix", draw_matrix, a);
    cvy_text_add(page, "</div>\n");
    return status;
}

/* ---- images ---- */

static convoy_status draw_image(const convoy_dataset *set, size_t index, cvy_canvas **canvas) {
    const size_t pixels = (size_t)set->height * (size_t)set->width;
    uint8_t *rgba = malloc(4 * pixels);
    const double longer = fmax(set->height, set->width), scale = longer > 192 ? 192 / longer : 1;
    const double width = ceil(set->width * scale), height = ceil(set->height * scale);
    convoy_status status =
        rgba ? cvy_pixels_of_image(set, index, rgba) : cvy_fail_memory("an image", 4 * pixels);
    if (!status)
        status = cvy_canvas_create(CVY_PNG, width, height, 1, canvas);
    if (!status)
        cvy_canvas_pixels(*canvas, (cvy_box){0, 0, width, height}, rgba, set->width, set->height, scale < 1);
    free(rgba);
    return status;
}

static convoy_status add_image(const cvy_run *run, size_t index, cvy_text *page) {
    const cvy_answers *a = run->answers;
    const double *p = a->probabilities + index * (size_t)a->classes;
    cvy_canvas *canvas = NULL;
    char *data = NULL;
    size_t size = 0;
    convoy_status status = draw_image(run->set, index, &canvas);
    if (!status)
        status = cvy_canvas_finish(canvas, &data, &size);
    if (status)
        return status;
    cvy_text_add(page, "<figure><img src=\"");
    cvy_html_add_data(page, "image/png", data, size);
    cvy_text_add(page, "\" alt=\"Image %zu\"><figcaption>", index);
    cvy_html_add(page, a->names[a->given[index]], false);
    cvy_text_add(page, " %.1f %%<br><span class=\"faint\">is ", 100 * p[a->given[index]]);
    cvy_html_add(page, a->names[a->truth[index]], false);
    cvy_text_add(page, ", %.1f %%</span></figcaption></figure>\n", 100 * p[a->truth[index]]);
    free(data);
    return CONVOY_OK;
}

static convoy_status add_mistakes(const cvy_run *run, cvy_text *page) {
    size_t wrong[MOST_WRONG];
    const size_t count = cvy_answers_wrong(run->answers, MOST_WRONG, wrong);
    convoy_status status = CONVOY_OK;
    if (!count) {
        cvy_text_add(page, "<h2>Mistakes</h2>\n<p>None: every answer is right.</p>\n");
        return CONVOY_OK;
    }
    cvy_text_add(page, "<h2>Most confidently wrong</h2>\n<div class=\"images\">\n");
    for (size_t i = 0; i < count && !status; i++)
        status = add_image(run, wrong[i], page);
    cvy_text_add(page, "</div>\n");
    return status;
}

static convoy_status add_some(const cvy_run *run, cvy_text *page) {
    size_t some[MOST_SOME];
    const size_t count = cvy_answers_spread(run->answers, MOST_SOME, some);
    convoy_status status = CONVOY_OK;
    cvy_text_add(page, "<h2>Images and answers</h2>\n<div class=\"images\">\n");
    for (size_t i = 0; i < count && !status; i++)
        status = add_image(run, some[i], page);
    cvy_text_add(page, "</div>\n");
    return status;
}

/* ---- curves over thresholds ---- */

typedef struct thresholds {
    const cvy_answers *answers;
    const int *classes; /* [count]: those that are drawn */
    size_t count;
    bool precision; /* precision over recall, else ROC */
} thresholds;

static convoy_status draw_thresholds(const void *what, const cvy_theme *theme, cvy_canvas **canvas) {
    enum { WIDTH = 480, HEIGHT = 420 };
    const thresholds *t = what;
    cvy_series series[CURVES_LIMIT];
    for (size_t i = 0; i < t->count; i++) {
        const cvy_scores *s = &t->answers->scores[t->classes[i]];
        const cvy_unit_curve *curve = t->precision ? &s->recall : &s->roc;
        series[i] = (cvy_series){.name = t->answers->names[t->classes[i]],
                                 .x = curve->x,
                                 .y = curve->y,
                                 .count = curve->points,
                                 .color = cvy_palette(theme, i),
                                 .dash = i < 6 ? 0 : 5,
                                 .plain = true};
    }
    const cvy_chart chart = {.title = t->precision ? "Precision over recall" : "ROC",
                             .x_name = t->precision ? "recall" : "share of the others that is taken for it",
                             .y_name = t->precision ? "precision" : "recall",
                             .series = series,
                             .count = t->count,
                             .unit = true,
                             .font = 13,
                             .theme = theme};
    convoy_status status = cvy_canvas_create(CVY_SVG, WIDTH, HEIGHT, 1, canvas);
    if (!status)
        cvy_chart_draw(*canvas, (cvy_box){0, 2, WIDTH, HEIGHT - 4}, &chart);
    return status;
}

/* Of many classes those that are told apart worst. */
static size_t choose_classes(const cvy_answers *a, int chosen[CURVES_LIMIT]) {
    const size_t most = a->classes > CURVES_LIMIT ? 6 : CURVES_LIMIT;
    size_t found = 0;
    for (int c = 0; c < a->classes; c++) {
        size_t place = found;
        if (!isfinite(a->scores[c].auc))
            continue;
        while (a->classes > CURVES_LIMIT && place > 0 && a->scores[chosen[place - 1]].auc > a->scores[c].auc)
            place--;
        if (place == most)
            continue;
        found += found < most;
        for (size_t k = found - 1; k > place; k--)
            chosen[k] = chosen[k - 1];
        chosen[place] = c;
    }
    return found;
}

static convoy_status add_thresholds(const cvy_answers *a, cvy_text *page) {
    int chosen[CURVES_LIMIT];
    thresholds t = {.answers = a, .classes = chosen, .count = choose_classes(a, chosen)};
    if (!t.count)
        return CONVOY_OK;
    cvy_text_add(page, "<h2>Each class against the rest</h2>\n");
    if (a->classes > CURVES_LIMIT)
        cvy_text_add(page, "<p class=\"faint\">The %zu classes with the smallest ROC area.</p>\n", t.count);
    cvy_text_add(page, "<div class=\"charts\">\n");
    convoy_status status = cvy_html_add_picture(page, CVY_SVG, "ROC curves", draw_thresholds, &t);
    t.precision = true;
    if (!status)
        status = cvy_html_add_picture(page, CVY_SVG, "Precision-recall curves", draw_thresholds, &t);
    cvy_text_add(page, "</div>\n");
    return status;
}

convoy_status cvy_page_add_answers(const cvy_run *run, cvy_text *page) {
    add_classes(run->answers, page);
    convoy_status status = add_confusion(run->answers, page);
    if (!status)
        status = add_some(run, page);
    if (!status)
        status = add_mistakes(run, page);
    return status ? status : add_thresholds(run->answers, page);
}
