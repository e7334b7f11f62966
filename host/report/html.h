/* Pages: text from anywhere, and pictures that are part of the file. */
#ifndef CVY_REPORT_HTML_H
#define CVY_REPORT_HTML_H

#include "base/text.h"
#include "report/chart.h"

/* Text as a page may have it, in an element or in an attribute in quotes: <, >, &, " and ' as entities,
   control characters, and bytes that are no UTF-8, as \x1B. `lines`: tabs and line breaks stay. */
void cvy_html_add(cvy_text *page, const char *text, bool lines);

/* data:<type>;base64,... */
void cvy_html_add_data(cvy_text *page, const char *type, const void *data, size_t size);

/* How a picture is drawn in the colours of a theme. */
typedef convoy_status cvy_html_drawing(const void *what, const cvy_theme *theme, cvy_canvas **canvas);

/* <picture> of both themes, of which a reader's settings choose. */
convoy_status cvy_html_add_picture(cvy_text *page, cvy_picture kind, const char *alt, cvy_html_drawing *draw,
                                   const void *what);

#endif
