/* Escaping, and pictures as text. */
#include "report/html.h"

#include <stdlib.h>
#include <string.h>

void cvy_html_add(cvy_text *page, const char *text, bool lines) {
    cvy_text visible = {0};
    cvy_text_add_visible(&visible, text, lines);
    for (const char *c = cvy_text_get(&visible); *c;) {
        const size_t plain = strcspn(c, "<>&\"'");
        cvy_text_add(page, "%.*s", (int)plain, c);
        c += plain;
        if (*c)
            cvy_text_add(page, "&#%d;", *c++);
    }
    cvy_text_free(&visible);
}

void cvy_html_add_data(cvy_text *page, const char *type, const void *data, size_t size) {
    cvy_text_add(page, "data:%s;base64,", type);
    cvy_text_add_base64(page, data, size);
}

static convoy_status add_canvas(cvy_text *page, cvy_picture kind, cvy_canvas *canvas) {
    char *data;
    size_t size;
    convoy_status status = cvy_canvas_finish(canvas, &data, &size);
    if (!status)
        cvy_html_add_data(page, kind == CVY_PNG ? "image/png" : "image/svg+xml", data, size);
    free(data);
    return status;
}

convoy_status cvy_html_add_picture(cvy_text *page, cvy_picture kind, const char *alt, cvy_html_drawing *draw,
                                   const void *what) {
    cvy_canvas *light = NULL, *dark = NULL;
    convoy_status status = draw(what, &cvy_dark, &dark);
    if (status)
        return status;
    cvy_text_add(page, "<picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"");
    status = add_canvas(page, kind, dark);
    if (!status)
        status = draw(what, &cvy_light, &light);
    if (status)
        return status;
    cvy_text_add(page, "\"><img src=\"");
    status = add_canvas(page, kind, light);
    cvy_text_add(page, "\" alt=\"");
    cvy_html_add(page, alt, false);
    cvy_text_add(page, "\"></picture>\n");
    return status;
}
