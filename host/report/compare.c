/* Several runs: their results, and what differs in what they were to do. */
#include <string.h>

#include "report/page.h"

static void add_heads(const cvy_run *runs, size_t count, cvy_text *page) {
    cvy_text_add(page, "<tr><th></th>");
    for (size_t i = 0; i < count; i++) {
        cvy_text_add(page, "<th>");
        cvy_html_add(page, runs[i].name, false);
        cvy_text_add(page, "</th>");
    }
    cvy_text_add(page, "</tr>\n");
}

static void add_results(const cvy_run *runs, size_t count, cvy_text *page) {
    static const struct {
        const char *name, *column, *format;
        double factor;
        bool best; /* of the best row, else of the last */
    } rows[] = {
        {"best test accuracy", "test_accuracy", "%.2f %%", 100, true},
        {"best validation accuracy", "val_accuracy", "%.2f %%", 100, true},
        {"test accuracy at the end", "test_accuracy", "%.2f %%", 100, false},
        {"epoch of the best", "epoch", "%.0f", 1, true},
        {"test loss at the end", "test_loss", "%.4f", 1, false},
        {"training loss at the end", "train_loss", "%.4f", 1, false},
        {"training accuracy at the end", "train_accuracy", "%.2f %%", 100, false},
        {"epochs", "epoch", "%.0f", 1, false},
        {"seconds", "seconds", "%.1f", 1, false},
        {"images a second", "images_per_second", "%.0f", 1, false},
    };
    cvy_text_add(page, "<h2>Results</h2>\n<div class=\"scroll\"><table>\n");
    add_heads(runs, count, page);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known |= runs[i].has_history && cvy_history_column(&runs[i].history, rows[r].column);
        if (!known)
            continue;
        cvy_text_add(page, "<tr><td>%s</td>", rows[r].name);
        for (size_t i = 0; i < count; i++) {
            const size_t row = rows[r].best ? cvy_run_best_row(&runs[i]) : runs[i].history.rows - 1;
            cvy_text_add(page, "<td>");
            cvy_page_add_figure(page, rows[r].format,
                                rows[r].factor * cvy_run_value(&runs[i], rows[r].column, row));
            cvy_text_add(page, "</td>");
        }
        cvy_text_add(page, "</tr>\n");
    }
    cvy_text_add(page, "</table></div>\n");
}

static const char *value_of(const cvy_run *run, const char *key) {
    for (size_t i = 0; i < run->setting_count; i++)
        if (strcmp(run->settings[i].key, key) == 0)
            return run->settings[i].value;
    return NULL;
}

static bool same(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void add_values(const char *key, const char *const *values, size_t count, size_t *rows,
                       cvy_text *page) {
    bool differs = false;
    for (size_t i = 1; i < count; i++)
        differs |= !same(values[i], values[0]);
    if (!differs)
        return;
    ++*rows;
    cvy_text_add(page, "<tr><td>");
    cvy_html_add(page, key, false);
    cvy_text_add(page, "</td>");
    for (size_t i = 0; i < count; i++) {
        cvy_text_add(page, "<td>");
        cvy_html_add(page, values[i] ? values[i] : "\xe2\x80\x93", false);
        cvy_text_add(page, "</td>");
    }
    cvy_text_add(page, "</tr>\n");
}

static void add_differences(cvy_arena *arena, const cvy_run *runs, size_t count, cvy_text *page) {
    const char **values = cvy_arena_alloc(arena, count * sizeof *values);
    size_t rows = 0;
    cvy_text_add(page, "<h2>What differs</h2>\n<div class=\"scroll\"><table>\n");
    add_heads(runs, count, page);
    for (size_t i = 0; i < count; i++)
        values[i] = runs[i].model_name;
    add_values("model", values, count, &rows, page);
    for (size_t i = 0; i < count; i++)
        values[i] = same(runs[i].layers, runs[0].layers) ? "as the first" : "another";
    add_values("layers", values, count, &rows, page);
    for (size_t r = 0; r < count; r++)
        for (size_t s = 0; s < runs[r].setting_count; s++) {
            const char *key = runs[r].settings[s].key;
            bool seen = false;
            for (size_t before = 0; before < r; before++)
                seen |= value_of(&runs[before], key) != NULL;
            for (size_t i = 0; i < count; i++)
                values[i] = value_of(&runs[i], key);
            if (!seen)
                add_values(key, values, count, &rows, page);
        }
    for (size_t i = 0; i < count; i++)
        values[i] = runs[i].device;
    add_values("device", values, count, &rows, page);
    cvy_text_add(page, "</table></div>\n");
    if (!rows)
        cvy_text_add(page, "<p>Networks and recipes are the same.</p>\n");
}

void cvy_page_add_comparison(cvy_arena *arena, const cvy_run *runs, size_t count, cvy_text *page) {
    add_results(runs, count, page);
    add_differences(arena, runs, count, page);
}
