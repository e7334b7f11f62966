/* Pixels of chosen images into [channel][row][column][image]: bilinear resize, scale, normalise, zero border. A
   work-item makes `length` pixels of one row for one vector of images. Neighbouring pixels of an enlarged row lie
   between the same two columns of the image, so those are read once. */
#include "common.clh"

#ifndef FLOATS
#define FLOATS 0 /* pixels are floats, not bytes */
#endif
#if FLOATS
#define PIXEL float
#else
#define PIXEL uchar
#endif

/* One column of the image between two rows, for VW images. */
static floatv between_rows(global const PIXEL *images, const ulong *starts, uint upper, uint lower, float down) {
    PIXEL lanes[VW];
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = images[starts[lane] + upper];
    floatv value = convert_floatv(vloadv(0, lanes));
    if (down == 0)
        return value;
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = images[starts[lane] + lower];
    return mix(value, convert_floatv(vloadv(0, lanes)), (floatv)down);
}

/* Item x is the vector, group y the row with its border, group z the channel and the part of the row. first: for each
   output row, then each column, the first of the two that it lies between; second: how much the other counts; then
   each channel's factor and shift, which bring a pixel to its normalised value. */
kernel void gather(global const PIXEL *images, global const int *all_labels, global const uint *indices,
                   ulong index_offset, int n, global const int *first, global const float *second, global float *y,
                   global int *labels, int channels, int in_height, int in_width, int out_height, int out_width,
                   int border, int vectors, int length) {
    int column = get_global_id(0), out_row = get_group_id(1);
    int width = out_width + 2 * border, parts = (width + length - 1) / length;
    int channel = get_group_id(2) / parts, start = get_group_id(2) % parts * length;
    if (column >= vectors)
        return;
    intv real = column * VW + lane_numbers() < n;
    ulong starts[VW];
    for (int lane = 0; lane < VW; lane++) {
        int image = column * VW + lane;
        uint chosen = image < n ? indices[index_offset + image] : 0;
        starts[lane] = ((ulong)chosen * channels + channel) * in_height * in_width;
        if (out_row == 0 && get_group_id(2) == 0)
            labels[image] = image < n ? all_labels[chosen] : 0;
    }
    int row = out_row - border;
    bool row_inside = row >= 0 && row < out_height;
    int top = row_inside ? first[row] : 0;
    float down = row_inside ? second[row] : 0;
    uint upper = top * in_width, lower = min(top + 1, in_height - 1) * in_width;
    float factor = second[out_height + out_width + channel],
          shift = second[out_height + out_width + channels + channel];
    global float *to = y + ((ulong)channel * (out_height + 2 * border) + out_row) * width * vectors * VW + column * VW;
    int have_left = -1, have_right = -1;
    floatv left = 0, right = 0;
    for (int out_column = start; out_column < min(start + length, width); out_column++) {
        int c = out_column - border;
        floatv value = 0;
        if (row_inside && c >= 0 && c < out_width) {
            int from = first[out_height + c];
            float part = second[out_height + c];
            if (have_left != from) {
                left = have_right == from ? right : between_rows(images, starts, upper + from, lower + from, down);
                have_left = from;
            }
            if (part != 0 && have_right != from + 1) {
                int next = min(from + 1, in_width - 1);
                right = between_rows(images, starts, upper + next, lower + next, down);
                have_right = from + 1;
            }
            value = part != 0 ? mix(left, right, (floatv)part) : left;
        }
        vstorev(select((floatv)0, fma(value, (floatv)factor, (floatv)shift), real), 0,
                to + (ulong)out_column * vectors * VW);
    }
}
