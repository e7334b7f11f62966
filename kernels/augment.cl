/* kernels/gather.cl for images that are looked at from elsewhere: host/ops/augment.h. A work-item makes `length` pixels
   of one row, in all channels, for one vector of images, each of which has a map of its own from pixels to places in
   the picture. Where no pixel is mixed from others, places are whole numbers with `bits` binary digits behind the
   point: they are the same on every device, and so is which pixel lies there. */
#include "common.clh"

#ifndef CHANNELS
#define CHANNELS 1
#endif
#ifndef FLOATS
#define FLOATS 0 /* pixels are floats, not bytes */
#endif
#ifndef SMOOTH
#define SMOOTH 0 /* places lie between pixels */
#endif
#ifndef RESIZED
#define RESIZED 0 /* the picture is the set's image, resized */
#endif
#if FLOATS
#define PIXEL float
#else
#define PIXEL uchar
#endif

/* The words of a look, [word][room]; host/ops/augment.c writes them. */
enum {
    MAP = 0,
    FIRST_X = 6,
    FIRST_Y,
    LAST_X,
    LAST_Y,
    SHOWN_LEFT,
    SHOWN_TOP,
    SHOWN_RIGHT,
    SHOWN_BOTTOM,
    BITS,
    EDGES = BITS,
    SLOPES = 18
};

/* One word of VW looks, of which `left` are there. */
static intv word(global const int *looks, ulong room, int left, int which) {
    looks += which * room;
    if (left >= VW)
        return vloadv(0, looks);
    int lanes[VW];
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = lane < left ? looks[lane] : 0;
    return vloadv(0, lanes);
}
#define real_word(looks, room, left, which) as_floatv(word(looks, room, left, which))

/* A pixel of each of VW images. */
static floatv pixels(global const PIXEL *images, const ulong *starts, intv places) {
    PIXEL lanes[VW];
    int at[VW];
    vstorev(places, 0, at);
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = images[starts[lane] + at[lane]];
    return convert_floatv(vloadv(0, lanes));
}

static intv within(intv value, intv first, intv last) {
    return max(min(value, last), first);
}

/* Between four pixels around (x, y), which lies within first..last. */
static void mix_four(global const PIXEL *images, const ulong *starts, floatv x, floatv y, intv last_x, intv last_y,
                     int width, int plane, floatv *value) {
    intv left = convert_intv(x), top = convert_intv(y);
    floatv across = x - convert_floatv(left), down = y - convert_floatv(top);
    intv right = min(left + 1, last_x), below = min(top + 1, last_y) * width;
    top *= width;
    for (int c = 0; c < CHANNELS; c++) {
        intv begin = c * plane;
        floatv over =
                   mix(pixels(images, starts, begin + top + left), pixels(images, starts, begin + top + right), across),
               under = mix(pixels(images, starts, begin + below + left), pixels(images, starts, begin + below + right),
                           across);
        value[c] = mix(over, under, down);
    }
}

/* How much of the picture's inside is seen from (x, y): beyond its edges it fades. */
static floatv inside_at(global const int *looks, ulong room, int left, floatv x, floatv y) {
    floatv all = 1;
    for (int edge = 0; edge < 4; edge++) {
        floatv at = real_word(looks, room, left, EDGES + edge), slope = real_word(looks, room, left, SLOPES + edge);
        floatv beyond = ((edge & 1 ? y : x) - at) * slope + 0.5f; /* the slopes of the far edges are negative */
        all *= min(max(beyond, (floatv)0), (floatv)1);
    }
    return all;
}

/* Pixel `column` of `row` of VW looks. in_height, in_width: of the set's images; ratio: theirs to the picture's. */
static void see(global const PIXEL *images, const ulong *starts, global const int *looks, ulong room, int left, int row,
                int column, int in_height, int in_width, float2 ratio, float fill, floatv *value) {
    int plane = in_height * in_width;
    intv shown = (column >= word(looks, room, left, SHOWN_LEFT)) && (column <= word(looks, room, left, SHOWN_RIGHT)) &&
                 (row >= word(looks, room, left, SHOWN_TOP)) && (row <= word(looks, room, left, SHOWN_BOTTOM));
    intv first_x = word(looks, room, left, FIRST_X), last_x = word(looks, room, left, LAST_X),
         first_y = word(looks, room, left, FIRST_Y), last_y = word(looks, room, left, LAST_Y);
#if SMOOTH
    floatv x = fma(real_word(looks, room, left, MAP), (floatv)column,
                   fma(real_word(looks, room, left, MAP + 1), (floatv)row, real_word(looks, room, left, MAP + 2)));
    floatv y = fma(real_word(looks, room, left, MAP + 3), (floatv)column,
                   fma(real_word(looks, room, left, MAP + 4), (floatv)row, real_word(looks, room, left, MAP + 5)));
    floatv seen = select((floatv)0, inside_at(looks, room, left, x, y), shown);
#else
    intv bits = word(looks, room, left, BITS);
    intv x = (word(looks, room, left, MAP) * column + word(looks, room, left, MAP + 1) * row +
              word(looks, room, left, MAP + 2)) >>
             bits;
    intv y = (word(looks, room, left, MAP + 3) * column + word(looks, room, left, MAP + 4) * row +
              word(looks, room, left, MAP + 5)) >>
             bits;
    floatv seen =
        select((floatv)0, (floatv)1, shown && (x >= first_x) && (x <= last_x) && (y >= first_y) && (y <= last_y));
#endif
#if SMOOTH || RESIZED
    floatv from_x = fma(convert_floatv(x) + 0.5f, (floatv)ratio.x, (floatv)-0.5f),
           from_y = fma(convert_floatv(y) + 0.5f, (floatv)ratio.y, (floatv)-0.5f);
#if RESIZED
    first_x = first_y = 0;
    last_x = in_width - 1;
    last_y = in_height - 1;
#endif
    from_x = max(min(from_x, convert_floatv(last_x)), convert_floatv(first_x));
    from_y = max(min(from_y, convert_floatv(last_y)), convert_floatv(first_y));
    mix_four(images, starts, from_x, from_y, last_x, last_y, in_width, plane, value);
#else
    intv place = within(y, first_y, last_y) * in_width + within(x, first_x, last_x);
    for (int c = 0; c < CHANNELS; c++)
        value[c] = pixels(images, starts, place + c * plane);
#endif
    for (int c = 0; c < CHANNELS; c++)
        value[c] = mix((floatv)fill, value[c], seen);
}

/* Item x is the vector, group y the row with its border, group z the part of the row. factor_shift: each channel's
   factor, then each one's shift, which bring a pixel to its normalised value. */
kernel void augment(global const PIXEL *images, global const int *all_labels, global const uint *indices,
                    ulong index_offset, int n, global const int *looks, ulong room, ulong look_offset,
                    global const float *factor_shift, global float *y, global int *labels, int in_height, int in_width,
                    int out_height, int out_width, int border, float ratio_x, float ratio_y, float fill, int vectors,
                    int length) {
    int vector = get_global_id(0), out_row = get_group_id(1), start = get_group_id(2) * length;
    int width = out_width + 2 * border, height = out_height + 2 * border;
    if (vector >= vectors)
        return;
    int left = n - vector * VW; /* images of this vector, and more */
    intv real = lane_numbers() < left;
    ulong starts[VW];
    for (int lane = 0; lane < VW; lane++) {
        int image = vector * VW + lane;
        uint chosen = image < n ? indices[index_offset + image] : 0;
        starts[lane] = (ulong)chosen * CHANNELS * in_height * in_width;
        if (out_row == 0 && start == 0)
            labels[image] = image < n ? all_labels[chosen] : 0;
    }
    looks += look_offset + vector * VW;
    int row = out_row - border;
    for (int out_column = start; out_column < min(start + length, width); out_column++) {
        int column = out_column - border;
        floatv value[CHANNELS];
        if (left > 0 && row >= 0 && row < out_height && column >= 0 && column < out_width)
            see(images, starts, looks, room, left, row, column, in_height, in_width, (float2)(ratio_x, ratio_y), fill,
                value);
        else
            for (int c = 0; c < CHANNELS; c++)
                value[c] = 0;
        for (int c = 0; c < CHANNELS; c++) {
            floatv level = fma(value[c], (floatv)factor_shift[c], (floatv)factor_shift[CHANNELS + c]);
            ulong at = ((ulong)(c * height + out_row) * width + out_column) * vectors + vector;
            vstorev(select((floatv)0, level, real), at, y);
        }
    }
}
