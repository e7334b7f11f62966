/* A few images in pieces: 16 pieces lie side by side like the images of a batch, lane piece * PITCH + image. There are
   16 / PITCH pieces of an image, `across` of them along a row. */
#ifndef PITCH
#define PITCH 1 /* images: 1, 2, 4 or 8 */
#endif

#define LANES 16

static inline void clear(global float *to, int columns) {
    for (int column = 0; column < columns; column++)
        for (int n = 0; n < PITCH; n++)
            to[column * LANES + n] = 0;
}

/* x [channel][in_h][in_w][PITCH] -> pieces [channel][row][columns][LANES]. The first row and column of a piece lie
   step_h and step_w behind those of the piece before it; those of the first one are -pad_h and -pad_w, and what is not
   in x is 0. Work-items: channel, row. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_cut(global const float *restrict x,
                                                                      global float *restrict pieces, int in_h, int in_w,
                                                                      int columns, int across, int step_h, int step_w,
                                                                      int pad_h, int pad_w) {
    const ulong channel = get_global_id(0), row = get_global_id(1), rows = get_global_size(1);
    pieces += (channel * rows + row) * columns * LANES;
    for (int piece = 0; piece < LANES / PITCH; piece++) {
        const int y = piece / across * step_h - pad_h + (int)row, left = piece % across * step_w - pad_w;
        const int inside = y >= 0 && y < in_h;
        const int first = inside ? min(max(-left, 0), columns) : columns;
        const int last = inside ? min(max(in_w - left, first), columns) : columns;
        global float *to = pieces + piece * PITCH;
        global const float *from = x + ((channel * in_h + (inside ? y : 0)) * in_w + (left + first)) * PITCH;
        clear(to, first);
        for (int column = first; column < last; column++, from += PITCH)
            for (int n = 0; n < PITCH; n++)
                to[column * LANES + n] = from[n];
        clear(to + last * LANES, columns - last);
    }
}

/* pieces [channel][rows][columns][LANES] -> y [channel][out_h][out_w][PITCH]; what reaches beyond y is left out.
   Work-items: channel, row of y. */
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void conv2d_join(global const float *restrict pieces,
                                                                       global float *restrict y, int rows, int columns,
                                                                       int across, int out_w) {
    const ulong channel = get_global_id(0), out_h = get_global_size(1);
    const int row = get_global_id(1), down = row / rows;
    y += (channel * out_h + row) * out_w * PITCH;
    pieces += (channel * rows + row % rows) * columns * LANES;
    for (int piece = 0; piece < across; piece++) {
        const int first = piece * columns, count = min(columns, out_w - first);
        global const float *from = pieces + (down * across + piece) * PITCH;
        for (int column = 0; column < count; column++)
            for (int n = 0; n < PITCH; n++)
                y[(first + column) * PITCH + n] = from[column * LANES + n];
    }
}
