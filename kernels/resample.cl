/* Chosen images of a set, brought to another size: host/ops/resample.h. A work-item makes one pixel. Of bytes all is
   done in integers, with the same roundings as on the host: images become the same bytes everywhere. */
#include "common.clh"

#ifndef FLOATS
#define FLOATS 0 /* pixels are floats, not bytes */
#endif
#if FLOATS
#define PIXEL float
#else
#define PIXEL uchar
#endif

/* A row of the image, mixed at one column; of bytes with 8 bits more. weights: those of the column. */
#if FLOATS
static float across(global const PIXEL *row, global const int *weights, int taps) {
    float sum = 0;
    for (int tap = 0; tap < taps; tap++)
        sum = fma((float)weights[tap], row[tap], sum);
    return sum * (1.0f / (1 << 15));
}
#else
static uint across(global const PIXEL *row, global const int *weights, int taps) {
    uint sum = 1 << 6;
    for (int tap = 0; tap < taps; tap++)
        sum += (uint)weights[tap] * row[tap];
    return sum >> 7;
}
#endif

/* Group x is a part of a row of a channel of an image, item x its column, group y the row. lines: for each of
   `shown_rows` rows, which begin at `top`, its first row of the set's image and how much that one and those behind it
   count; then the same for columns. */
kernel void resample(global const PIXEL *images, global const uint *indices, ulong index_offset,
                     global const int *lines, global PIXEL *made, int channels, int in_height, int in_width, int height,
                     int width, int top, int left, int shown_rows, int shown_columns, int row_taps, int column_taps,
                     int parts) {
    int plane = get_group_id(0) / parts, row = get_group_id(1);
    int column = get_group_id(0) % parts * get_local_size(0) + get_local_id(0);
    if (column >= width)
        return;
    ulong image = indices[index_offset + plane / channels];
    global const PIXEL *from = images + (image * channels + plane % channels) * in_height * in_width;
    PIXEL value = 0;
    int y = row - top, x = column - left;
    if (y >= 0 && y < shown_rows && x >= 0 && x < shown_columns) {
        global const int *down = lines + y * (1 + row_taps);
        global const int *right = lines + shown_rows * (1 + row_taps) + x * (1 + column_taps);
        from += (ulong)down[0] * in_width + right[0];
#if FLOATS
        for (int tap = 0; tap < row_taps; tap++)
            value = fma((float)down[1 + tap], across(from + (ulong)tap * in_width, right + 1, column_taps), value);
        value *= 1.0f / (1 << 15);
#else
        uint sum = 1 << 22;
        for (int tap = 0; tap < row_taps; tap++)
            if (down[1 + tap])
                sum += (uint)down[1 + tap] * across(from + (ulong)tap * in_width, right + 1, column_taps);
        value = (uchar)(sum >> 23);
#endif
    }
    made[((ulong)plane * height + row) * width + column] = value;
}
