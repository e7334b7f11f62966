/* Chosen images of a set, brought to another size: host/ops/resample.h. First each row for itself, then the rows with
   each other. Of bytes all is done in integers, with the same roundings as on the host: images become the same bytes
   everywhere. */
#include "common.clh"

#ifndef FLOATS
#define FLOATS 0 /* pixels are floats, not bytes */
#endif
#ifndef LANES
#define LANES 1 /* neighbours of a row that a work-item makes together */
#endif
#if FLOATS
#define PIXEL float
#define NARROW float
#define SUM float
#else
#define PIXEL uchar
#define NARROW ushort
#define SUM uint
#endif

/* Group x is a part of a row of a plane, group y the row. lines: for each column, the first one of the image that it
   is mixed from, and how much that one and those behind it count. narrow: [plane][in_height][pitch], of bytes with 8
   bits more. An item makes `length` columns. */
kernel void resample_columns(global const PIXEL *images, global const uint *indices, ulong index_offset,
                             global const int *lines, global NARROW *narrow, int channels, int in_height, int in_width,
                             int columns, int pitch, int taps, int parts, int length) {
    int plane = get_group_id(0) / parts, row = get_group_id(1);
    int start = (get_group_id(0) % parts * get_local_size(0) + get_local_id(0)) * length;
    ulong image = indices[index_offset + plane / channels];
    images += ((image * channels + plane % channels) * in_height + row) * in_width;
    narrow += ((ulong)plane * in_height + row) * pitch;
    for (int column = start; column < min(start + length, columns); column++) {
        global const int *line = lines + column * (1 + taps);
        global const PIXEL *from = images + line[0];
#if FLOATS
        float sum = 0;
        for (int tap = 0; tap < taps; tap++)
            sum = fma((float)line[1 + tap], from[tap], sum);
        narrow[column] = sum * (1.0f / (1 << 15));
#else
        uint sum = 1 << 6;
        for (int tap = 0; tap < taps; tap++)
            sum += (uint)line[1 + tap] * from[tap];
        narrow[column] = (ushort)(sum >> 7);
#endif
    }
}

/* The same groups, for rows of what is made, [plane][height][width], of which rows and columns begin at `top` and
   `left`. pitch: a multiple of LANES. */
kernel void resample_rows(global const NARROW *narrow, global const int *lines, global PIXEL *made, int in_height,
                          int columns, int pitch, int height, int width, int top, int left, int taps, int parts) {
    int plane = get_group_id(0) / parts, row = get_group_id(1);
    int column = (get_group_id(0) % parts * get_local_size(0) + get_local_id(0)) * LANES;
    if (column >= columns)
        return;
    global const int *line = lines + row * (1 + taps);
    narrow += ((ulong)plane * in_height + line[0]) * pitch + column;
    SUM sums[LANES];
    for (int lane = 0; lane < LANES; lane++)
        sums[lane] = FLOATS ? 0 : 1 << 22;
    for (int tap = 0; tap < taps; tap++, narrow += pitch)
        if (line[1 + tap])
            for (int lane = 0; lane < LANES; lane++)
                sums[lane] += (SUM)line[1 + tap] * narrow[lane];
    made += ((ulong)plane * height + top + row) * width + left + column;
    for (int lane = 0; lane < min(LANES, columns - column); lane++)
#if FLOATS
        made[lane] = sums[lane] * (1.0f / (1 << 15));
#else
        made[lane] = (uchar)(sums[lane] >> 23);
#endif
}
