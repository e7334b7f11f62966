#include "data/image_rows.h"

#include <stdlib.h>

#include "base/integer.h"
#include "data/image_formats.h"

/* Of pixels as the file has them, which may be 8 bytes each: what unpacking may cost. More of a picture that
   is made smaller. */
enum { MOST_BYTES = 4 * CVY_MOST_PIXELS, LARGEST_REDUCTION = 8 };

size_t cvy_reduction(cvy_wanted wanted, int orientation, size_t height, size_t width) {
    const bool swapped = orientation >= 5 && !wanted.as_stored;
    const size_t rows = (size_t)(swapped ? wanted.width : wanted.height),
                 columns = (size_t)(swapped ? wanted.height : wanted.width);
    if (!rows || !columns || height > CVY_LONGEST_SIDE || width > CVY_LONGEST_SIDE ||
        height * width <= cvy_most_pixels(wanted))
        return 1;
    for (size_t by = 2; by <= LARGEST_REDUCTION && height / by >= rows && width / by >= columns; by *= 2)
        if (ceil_div_size(height, by) * ceil_div_size(width, by) <= cvy_most_pixels(wanted))
            return by;
    return 1;
}

convoy_status cvy_rows_create(const char *path, int channels, size_t height, size_t width, size_t bytes,
                              cvy_wanted wanted, cvy_pixels *pixels, cvy_rows *rows) {
    const size_t most = (size_t)LARGEST_REDUCTION * MOST_BYTES,
                 by = bytes > most ? 1 : cvy_reduction(wanted, pixels->orientation, height, width);
    *rows = (cvy_rows){.pixels = pixels, .height = height, .width = width, .by = by};
    convoy_status status =
        cvy_pixels_create(path, channels, ceil_div_size(height, by), ceil_div_size(width, by), pixels);
    if (status)
        return status;
    if (by == 1 && bytes > MOST_BYTES)
        return cvy_fail(CONVOY_INVALID, "%s: %zu million bytes of pixels; at most %d million are read", path,
                        bytes / 1000000, MOST_BYTES / 1000000);
    if (by == 1)
        return CONVOY_OK;
    const size_t row = width * (size_t)channels, sums = (size_t)pixels->width * (size_t)channels;
    rows->row = malloc(row);
    rows->sums = calloc(sums, sizeof *rows->sums);
    return rows->row && rows->sums ? CONVOY_OK : cvy_fail_memory(path, row + sums * sizeof *rows->sums);
}

static size_t pitch(const cvy_rows *rows) {
    return (size_t)rows->pixels->width * (size_t)rows->pixels->channels;
}

uint8_t *cvy_rows_place(const cvy_rows *rows, size_t y) {
    return rows->by > 1 ? rows->row : rows->pixels->data + y * pitch(rows);
}

static void sum_columns(cvy_rows *rows) {
    const size_t channels = (size_t)rows->pixels->channels;
    const uint8_t *from = rows->row;
    for (size_t x = 0; x < (size_t)rows->pixels->width; x++)
        for (size_t i = min_size(rows->by, rows->width - x * rows->by); i > 0; i--, from += channels)
            for (size_t c = 0; c < channels; c++)
                rows->sums[x * channels + c] += from[c];
}

/* The means of the rows that were added; the sums are 0 again. */
static void put_means(cvy_rows *rows, uint8_t *to) {
    const size_t channels = (size_t)rows->pixels->channels;
    for (size_t i = 0; i < pitch(rows); i++) {
        const uint32_t count =
            (uint32_t)(rows->added * min_size(rows->by, rows->width - i / channels * rows->by));
        to[i] = (uint8_t)((rows->sums[i] + count / 2) / count);
        rows->sums[i] = 0;
    }
    rows->added = 0;
}

void cvy_rows_add(cvy_rows *rows, size_t y) {
    if (rows->by == 1)
        return;
    const size_t block = y / rows->by;
    sum_columns(rows);
    if (++rows->added == min_size(rows->by, rows->height - block * rows->by))
        put_means(rows, rows->pixels->data + block * pitch(rows));
}

void cvy_rows_free(cvy_rows *rows) {
    free(rows->row);
    free(rows->sums);
}
