/* Charts: lines over axes with round numbers, and a matrix of counts. They are drawn into a box of a canvas.
 */
#ifndef CVY_REPORT_CHART_H
#define CVY_REPORT_CHART_H

#include "report/canvas.h"

/* Colours of what is not data. */
typedef struct cvy_theme {
    cvy_color ink, faint, grid, paper; /* text, text of less weight, lines behind the data, the ground */
} cvy_theme;

extern const cvy_theme cvy_light, cvy_dark;

/* Okabe and Ito's palette, told apart by colour-blind eyes too, without yellow and black: any index. */
cvy_color cvy_palette(const cvy_theme *theme, size_t index);

/* Axes. */
typedef enum cvy_scale {
    CVY_LINEAR,
    CVY_PERCENT, /* values are fractions of 1, shown as 0 to 100 */
    CVY_LOG      /* values must be over 0 */
} cvy_scale;

typedef struct cvy_series {
    const char *name;    /* NULL: not in the legend */
    const double *x, *y; /* [count]; those that are not finite are left out */
    size_t count;
    cvy_color color;
    double dash; /* length of dashes; 0: none */
    bool plain;  /* without a mark at each point */
    double dots; /* a mark of this radius at each point, and no line; 0: a line */
} cvy_series;

typedef struct cvy_chart {
    const char *title, *x_name, *y_name;
    const cvy_series *series;
    size_t count;
    cvy_scale x_scale, y_scale;
    bool unit;                  /* both axes from 0 to 1 */
    bool whole_x;               /* ticks at whole numbers only */
    const char *const *x_words; /* [x_word_count]: what 0, 1, ... mean on the x axis; NULL: numbers */
    size_t x_word_count;
    double font; /* size of the text */
    const cvy_theme *theme;
} cvy_chart;

void cvy_chart_draw(cvy_canvas *canvas, cvy_box box, const cvy_chart *chart);

/* Round numbers from `low` to `high`, at most `most` of them; at least two where that is 6 or more and low <
 * high. */
typedef struct cvy_ticks {
    double first, step;
    int count;
} cvy_ticks;
cvy_ticks cvy_round_ticks(double low, double high, int most);

/* `text`, or as much of its beginning as fits into `width`, and an ellipsis. */
void cvy_text_that_fits(cvy_canvas *canvas, cvy_point at, const cvy_font *font, double width,
                        const char *text);

#endif
