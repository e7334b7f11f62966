/* Pixels of chosen images into [channel][row][column][image]: scale, normalise, zero border. A work-item makes
   `length` pixels of one row for one vector of images. */
#include "common.clh"

#ifndef FLOATS
#define FLOATS 0 /* pixels are floats, not bytes */
#endif
#if FLOATS
#define PIXEL float
#else
#define PIXEL uchar
#endif

/* Item x is the vector, group y the row with its border, group z the channel and the part of the row. in_order: images
   are those of the batch, of which only the labels are chosen. factor_shift: each channel's factor, then each one's
   shift, which bring a pixel to its normalised value. */
kernel void gather(global const PIXEL *images, global const int *all_labels, global const uint *indices,
                   ulong index_offset, int n, int in_order, global const float *factor_shift, global float *y,
                   global int *labels, int channels, int height, int width, int border, int vectors, int length) {
    int vector = get_global_id(0), row = (int)get_group_id(1) - border;
    int out_width = width + 2 * border, parts = (out_width + length - 1) / length;
    int channel = get_group_id(2) / parts, start = get_group_id(2) % parts * length;
    if (vector >= vectors)
        return;
    intv real = vector * VW + lane_numbers() < n;
    bool row_inside = row >= 0 && row < height;
    ulong starts[VW];
    for (int lane = 0; lane < VW; lane++) {
        int image = vector * VW + lane;
        uint chosen = image < n ? indices[index_offset + image] : 0;
        uint place = in_order ? min(image, n - 1) : chosen;
        starts[lane] = (((ulong)place * channels + channel) * height + (row_inside ? row : 0)) * width;
        if (row == -border && get_group_id(2) == 0)
            labels[image] = image < n ? all_labels[chosen] : 0;
    }
    float factor = factor_shift[channel], shift = factor_shift[channels + channel];
    global float *to =
        y + ((ulong)channel * (height + 2 * border) + row + border) * out_width * vectors * VW + vector * VW;
    for (int column = start; column < min(start + length, out_width); column++) {
        int at = column - border;
        floatv value = 0;
        if (row_inside && at >= 0 && at < width) {
            PIXEL lanes[VW];
            for (int lane = 0; lane < VW; lane++)
                lanes[lane] = images[starts[lane] + at];
            value = convert_floatv(vloadv(0, lanes));
        }
        vstorev(select((floatv)0, fma(value, (floatv)factor, (floatv)shift), real), 0,
                to + (ulong)column * vectors * VW);
    }
}
