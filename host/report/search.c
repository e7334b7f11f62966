/* What a search tried, and what came of it. */
#include <math.h>

#include "report/page.h"

enum { MOST_ROWS = 200 };

static void add_table(const cvy_trials *t, cvy_text *page) {
    cvy_text_add(page, "<div class=\"scroll\"><table>\n<tr><th>trial</th><th>");
    cvy_html_add(page, t->monitor, false);
    cvy_text_add(page, "</th><th>epochs</th>");
    for (size_t i = 0; i < t->axes; i++) {
        cvy_text_add(page, "<th>");
        cvy_html_add(page, t->keys[i], false);
        cvy_text_add(page, "</th>");
    }
    cvy_text_add(page, "<th>device</th></tr>\n");
    for (size_t i = 0; i < t->count && i < MOST_ROWS; i++) {
        const cvy_trial *trial = &t->trials[i];
        cvy_text_add(page, "<tr><td>%zu</td><td>", trial->number);
        if (isnan(trial->value))
            cvy_text_add(page, "failed");
        else
            cvy_page_add_figure(page, "%.4f", trial->value);
        cvy_text_add(page, "</td><td>%d</td>", trial->epochs);
        for (size_t k = 0; k < t->axes; k++) {
            cvy_text_add(page, "<td>");
            cvy_html_add(page, trial->settings[k], false);
            cvy_text_add(page, "</td>");
        }
        cvy_text_add(page, "<td>");
        cvy_html_add(page, trial->device ? trial->device : "\xe2\x80\x93", false);
        cvy_text_add(page, "</td></tr>\n");
    }
    cvy_text_add(page, "</table></div>\n");
}

typedef struct panel_of {
    const cvy_trials *trials;
    size_t panel;
} panel_of;

static convoy_status draw_panel(const void *what, const cvy_theme *theme, cvy_canvas **canvas) {
    enum { WIDTH = 480, HEIGHT = 360 };
    const panel_of *of = what;
    convoy_status status = cvy_canvas_create(CVY_SVG, WIDTH, HEIGHT, 1, canvas);
    if (!status)
        cvy_trials_draw(*canvas, (cvy_box){0, 2, WIDTH, HEIGHT - 4}, of->trials, of->panel, 13, theme);
    return status;
}

convoy_status cvy_page_add_search(cvy_arena *arena, const cvy_trials *t, cvy_text *page) {
    convoy_status status = CONVOY_OK;
    cvy_text_add(page, "<h2>Search</h2>\n<p class=\"faint\">%zu trials, the best first, by the %s ", t->count,
                 t->least ? "least" : "highest");
    cvy_html_add(page, t->monitor, false);
    cvy_text_add(page, "%s. Below is the run of trial %zu.</p>\n",
                 t->damaged ? "; lines of search.csv that are damaged are left out" : "",
                 t->trials[0].number);
    if (t->count > MOST_ROWS)
        cvy_text_add(page, "<p class=\"faint\">The first %d; search.csv has all.</p>\n", MOST_ROWS);
    add_table(t, page);
    cvy_text_add(page, "<div class=\"charts\">\n");
    for (size_t i = 0; i < cvy_trials_panels(t) && !status; i++) {
        const panel_of of = {t, i};
        status = cvy_html_add_picture(page, CVY_SVG, cvy_trials_title(arena, t, i), draw_panel, &of);
    }
    cvy_text_add(page, "</div>\n");
    return status;
}
