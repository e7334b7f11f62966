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
#ifndef TAPS
#define TAPS 2 /* neighbours that can count along a side; more than two where pixels shrink */
#endif
#ifndef COLOURS
#define COLOURS 0 /* colours change, */
#endif
#ifndef CONTRASTS
#define CONTRASTS 0 /* looking at the image's mean, */
#endif
#ifndef FILL_LAST
#define FILL_LAST 0 /* and not those of the fill */
#endif
#ifndef ERASES
#define ERASES 0 /* a box is covered */
#endif
#ifndef FOLD
#define FOLD 0 /* beside the picture lie 1: its last pixels, 2: itself, mirrored */
#endif
#ifndef HUES
#define HUES 0 /* colours change in two steps, between which the hue turns; of 3 channels */
#endif
#if FLOATS
#define PIXEL float
#else
#define PIXEL uchar
#endif

/* The words of a look, [word][room]; host/ops/augment.c writes them. */
#define MAP 0
#define RANGE 6
#define SHOWN 10
#define BITS 14
#define EDGES 14
#define SLOPES 18
#define SUPPORTS 22
#define COLOUR (!SMOOTH ? 15 : TAPS > 2 ? 24 : 22)
#define PIVOT (COLOUR + CHANNELS * CHANNELS)
#define ERASED (COLOURS ? PIVOT + CHANNELS * CHANNELS : COLOUR)
#define FOLDS (ERASES ? ERASED + 4 : ERASED)
#define UNFOLDED (FOLDS + 4)
#define EARLY (FOLD ? FOLDS + 8 : FOLDS)
#define HUE (EARLY + 2 * CHANNELS * CHANNELS)

#if SMOOTH
#define placev floatv
#define place_word real_word
#else
#define placev intv
#define place_word word
#endif

/* VW looks at one row. Boxes are first column, first row, last column, last row. */
typedef struct looks_at {
#if SMOOTH
    floatv step_x, step_y, begin_x, begin_y; /* column c lies at begin + c step */
    floatv edges[4], slopes[4], supports[2];
#else
    intv step_x, step_y, begin_x, begin_y, bits;
#endif
    intv range[4], shown[4], erased[4];
    floatv colour[CHANNELS * CHANNELS], pivot[CHANNELS];
#if FOLD
    placev folds[4];
    intv unfolded[4];
#endif
#if HUES
    floatv early[CHANNELS * CHANNELS], early_pivot[CHANNELS], hue;
#endif
} looks_at;

/* One word of VW looks, of which `left` are there. Oclgrind's counter of instructions breaks where it is a call. */
#if defined(__has_attribute)
#if __has_attribute(always_inline)
__attribute__((always_inline))
#endif
#endif
static inline intv
word(global const int *words, ulong room, int left, int which) {
    words += which * room;
    if (left >= VW)
        return vloadv(0, words);
    int lanes[VW];
    for (int lane = 0; lane < VW; lane++)
        lanes[lane] = lane < left ? words[lane] : 0;
    return vloadv(0, lanes);
}
#define real_word(words, room, left, which) as_floatv(word(words, room, left, which))

static void load_colours(global const int *words, ulong room, int left, int first, const floatv *means, floatv *colour,
                         floatv *pivot) {
    for (int c = 0; c < CHANNELS && COLOURS; c++) {
        pivot[c] = 0;
        for (int j = 0; j < CHANNELS; j++) {
            colour[c * CHANNELS + j] = real_word(words, room, left, first + c * CHANNELS + j);
            if (CONTRASTS)
                pivot[c] = fma(real_word(words, room, left, first + CHANNELS * (CHANNELS + c) + j), means[j], pivot[c]);
        }
    }
}

/* white: the largest level. */
static void paint(const floatv *colour, const floatv *pivot, float white, floatv *value) {
    floatv before[CHANNELS];
    for (int c = 0; c < CHANNELS; c++)
        before[c] = value[c];
    for (int c = 0; c < CHANNELS && COLOURS; c++) {
        floatv sum = pivot[c];
        for (int j = 0; j < CHANNELS; j++)
            sum = fma(colour[c * CHANNELS + j], before[j], sum);
        value[c] = max(min(sum, (floatv)white), (floatv)0);
    }
}

#if HUES
/* From RGB through HSV and back, without its divisions: places on the circle, six of which are whole, are multiplied by
   the chroma. turn: of 0..6. */
static void turn_hue(floatv turn, floatv *value) {
    floatv high = max(max(value[0], value[1]), value[2]), low = min(min(value[0], value[1]), value[2]);
    floatv chroma = high - low, all = 6 * chroma;
    floatv hue = select(value[0] - value[1] + 4 * chroma, value[2] - value[0] + 2 * chroma, value[1] == high);
    hue = fma(turn, chroma, select(hue, value[1] - value[2], value[0] == high));
    for (int c = 0; c < CHANNELS; c++) {
        floatv at = hue + (5 - 2 * c) * chroma;
        at = select(at, at - all, at >= all);
        at = select(at, at - all, at >= all);
        value[c] = high - max(min(min(at, 4 * chroma - at), chroma), (floatv)0);
    }
}
#endif

/* means: of the images' channels; white: the largest level. */
static void load_looks(global const int *words, ulong room, int left, int row, floatv *means, float white,
                       looks_at *l) {
#if SMOOTH
    l->step_x = real_word(words, room, left, MAP);
    l->step_y = real_word(words, room, left, MAP + 3);
    l->begin_x = fma(real_word(words, room, left, MAP + 1), (floatv)row, real_word(words, room, left, MAP + 2));
    l->begin_y = fma(real_word(words, room, left, MAP + 4), (floatv)row, real_word(words, room, left, MAP + 5));
    for (int edge = 0; edge < 4; edge++) {
        l->edges[edge] = real_word(words, room, left, EDGES + edge);
        l->slopes[edge] = real_word(words, room, left, SLOPES + edge);
    }
#if TAPS > 2
    for (int axis = 0; axis < 2; axis++)
        l->supports[axis] = real_word(words, room, left, SUPPORTS + axis);
#endif
#else
    l->step_x = word(words, room, left, MAP);
    l->step_y = word(words, room, left, MAP + 3);
    l->begin_x = word(words, room, left, MAP + 1) * row + word(words, room, left, MAP + 2);
    l->begin_y = word(words, room, left, MAP + 4) * row + word(words, room, left, MAP + 5);
    l->bits = word(words, room, left, BITS);
#endif
    for (int side = 0; side < 4; side++) {
        l->range[side] = word(words, room, left, RANGE + side);
        l->shown[side] = word(words, room, left, SHOWN + side);
        if (ERASES)
            l->erased[side] = word(words, room, left, ERASED + side);
    }
#if FOLD
    for (int side = 0; side < 4; side++) {
        l->folds[side] = place_word(words, room, left, FOLDS + side);
        l->unfolded[side] = word(words, room, left, UNFOLDED + side);
    }
#endif
#if HUES
    l->hue = real_word(words, room, left, HUE);
    load_colours(words, room, left, EARLY, means, l->early, l->early_pivot);
    if (CONTRASTS) {
        paint(l->early, l->early_pivot, white, means);
        turn_hue(l->hue, means);
    }
#endif
    load_colours(words, room, left, COLOUR, means, l->colour, l->pivot);
}

static intv in_box(const intv *box, int column, int row) {
    return (column >= box[0]) && (row >= box[1]) && (column <= box[2]) && (row <= box[3]);
}

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

#if FOLD
/* What lies there of a picture that ends at `first` and `last`. */
static placev fold(placev at, placev first, placev last) {
#if FOLD == 2
    at = max(at, 2 * first - at);
    at = min(at, 2 * last - at);
#endif
    return max(min(at, last), first);
}
#endif

#if TAPS > 2
/* Along a side, the first pixel that counts at `at`, and how much it and those behind it do: a triangle as wide as what
   becomes one pixel, of those pixels that there are. */
static intv weigh(floatv at, floatv support, intv first, intv last, floatv *weights) {
    at = max(min(at, convert_floatv(last) + 0.5f), convert_floatv(first) - 0.5f);
    intv from = convert_intv(at - support + 64) - 63;
    floatv sum = 0;
    for (int tap = 0; tap < TAPS; tap++) {
        intv pixel = from + tap;
        floatv weight = max(1 - fabs(convert_floatv(pixel) - at) / support, (floatv)0);
        weights[tap] = select((floatv)0, weight, (pixel >= first) && (pixel <= last));
        sum += weights[tap];
    }
    for (int tap = 0; tap < TAPS; tap++)
        weights[tap] /= sum;
    return from;
}

static void mix_many(global const PIXEL *images, const ulong *starts, const looks_at *l, floatv x, floatv y, int width,
                     int plane, floatv *value) {
    floatv across[TAPS], down[TAPS];
    intv from_x = weigh(x, l->supports[0], l->range[0], l->range[2], across),
         from_y = weigh(y, l->supports[1], l->range[1], l->range[3], down);
    for (int c = 0; c < CHANNELS; c++)
        value[c] = 0;
    for (int i = 0; i < TAPS; i++)
        for (int j = 0; j < TAPS; j++) {
            intv place =
                within(from_y + i, l->range[1], l->range[3]) * width + within(from_x + j, l->range[0], l->range[2]);
            for (int c = 0; c < CHANNELS; c++)
                value[c] = fma(down[i] * across[j], pixels(images, starts, place + c * plane), value[c]);
        }
}
#endif

/* Between a pixel and the one behind it, of each of VW images. Bytes that lie side by side are read together. */
static floatv between(global const PIXEL *images, const ulong *starts, intv places, floatv across) {
#if FLOATS
    return mix(pixels(images, starts, places), pixels(images, starts, places + 1), across);
#else
    int lanes[VW], at[VW];
    vstorev(places, 0, at);
    for (int lane = 0; lane < VW; lane++) {
        uchar2 pair = vload2(0, images + starts[lane] + at[lane]);
        lanes[lane] = pair.x | pair.y << 8;
    }
    intv both = vloadv(0, lanes);
    return mix(convert_floatv(both & 255), convert_floatv(both >> 8), across);
#endif
}

/* Between four pixels around (x, y), of those within the box. Where there is none behind the last, it is the second of
   two, so that pairs are pairs; the set's images have two rows and columns at least. */
static void mix_four(global const PIXEL *images, const ulong *starts, floatv x, floatv y, const intv *box, int width,
                     int plane, floatv *value) {
    x = max(min(x, convert_floatv(box[2])), convert_floatv(box[0]));
    y = max(min(y, convert_floatv(box[3])), convert_floatv(box[1]));
    intv left = max(min(convert_intv(x), box[2] - 1), (intv)0), top = max(min(convert_intv(y), box[3] - 1), (intv)0);
    floatv across = x - convert_floatv(left), down = y - convert_floatv(top);
    intv place = top * width + left;
    for (int c = 0; c < CHANNELS; c++) {
        floatv over = between(images, starts, place + c * plane, across);
        value[c] = mix(over, between(images, starts, place + c * plane + width, across), down);
    }
}

/* The pixel of the picture at `column`, and how much of it is seen: beyond the picture's edges it fades. in_height,
   in_width: of the set's images. */
static floatv sample(global const PIXEL *images, const ulong *starts, const looks_at *l, int column, int in_height,
                     int in_width, floatv *value) {
    const int plane = in_height * in_width;
    floatv seen = 1;
#if SMOOTH
    floatv x = fma(l->step_x, (floatv)column, l->begin_x), y = fma(l->step_y, (floatv)column, l->begin_y);
    for (int edge = 0; edge < 4; edge++) /* the slopes of the far edges are negative */
        seen *= max(min(((edge & 1 ? y : x) - l->edges[edge]) * l->slopes[edge] + 0.5f, (floatv)1), (floatv)0);
#else
    intv x = l->step_x * column + l->begin_x, y = l->step_y * column + l->begin_y;
#if FOLD
    const intv *range = l->unfolded;
    intv far_x = x >> l->bits, far_y = y >> l->bits;
    x = fold(x, l->folds[0], l->folds[2]) >> l->bits;
    y = fold(y, l->folds[1], l->folds[3]) >> l->bits;
#else
    const intv *range = l->range;
    x >>= l->bits;
    y >>= l->bits;
    intv far_x = x, far_y = y;
#endif
    seen = select((floatv)0, seen,
                  (far_x >= range[0]) && (far_x <= range[2]) && (far_y >= range[1]) && (far_y <= range[3]));
#endif
#if FOLD && SMOOTH
    x = fold(x, l->folds[0], l->folds[2]);
    y = fold(y, l->folds[1], l->folds[3]);
#endif
#if TAPS > 2
    mix_many(images, starts, l, x, y, in_width, plane, value);
#elif SMOOTH
    mix_four(images, starts, x, y, l->range, in_width, plane, value);
#else
    intv place = within(y, l->range[1], l->range[3]) * in_width + within(x, l->range[0], l->range[2]);
    for (int c = 0; c < CHANNELS; c++)
        value[c] = pixels(images, starts, place + c * plane);
#endif
    return seen;
}

static void recolour(const looks_at *l, float white, floatv *value) {
#if HUES
    paint(l->early, l->early_pivot, white, value);
    turn_hue(l->hue, value);
#endif
    paint(l->colour, l->pivot, white, value);
}

/* Where the images of a vector begin, their labels, and their channels' means. in_order: as in kernels/gather.cl. */
static void choose(global const int *all_labels, global const uint *indices, global const float *all_means, int first,
                   int n, int in_order, float white, ulong image_size, global int *labels, ulong *starts,
                   floatv *means) {
    float lanes[CHANNELS][VW];
    for (int lane = 0; lane < VW; lane++) {
        uint chosen = first + lane < n ? indices[first + lane] : 0;
        starts[lane] = (in_order ? min(first + lane, n - 1) : chosen) * image_size;
        for (int c = 0; c < CHANNELS && CONTRASTS; c++)
            lanes[c][lane] = all_means[(ulong)chosen * CHANNELS + c] * white;
        if (labels)
            labels[first + lane] = first + lane < n ? all_labels[chosen] : 0;
    }
    for (int c = 0; c < CHANNELS && CONTRASTS; c++)
        means[c] = vloadv(0, lanes[c]);
}

/* Item x is the vector, group y the row with its border, group z the part of the row. factor_shift: each channel's
   factor, then each one's shift, which bring a pixel to its normalised value. */
kernel void augment(global const PIXEL *images, global const int *all_labels, global const uint *indices,
                    ulong index_offset, int n, int in_order, global const float *all_means, global const int *words,
                    ulong room, ulong look_offset, global const float *factor_shift, global float *y,
                    global int *labels, int in_height, int in_width, int out_height, int out_width, int border,
                    float fill, float erased, float white, int vectors, int length) {
    const int vector = get_global_id(0), row = get_group_id(1) - border, start = get_group_id(2) * length;
    const int width = out_width + 2 * border, height = out_height + 2 * border;
    if (vector >= vectors)
        return;
    const int left = n - vector * VW; /* images of this vector, and more */
    intv real = lane_numbers() < left;
    ulong starts[VW];
    floatv means[CHANNELS];
    looks_at l;
    choose(all_labels, indices + index_offset, all_means, vector * VW, n, in_order, white,
           (ulong)CHANNELS * in_height * in_width, row == -border && start == 0 ? labels : 0, starts, means);
    load_looks(words + look_offset + vector * VW, room, left, row, means, white, &l);
    for (int column = start - border; column < min(start + length, width) - border; column++) {
        floatv value[CHANNELS];
        for (int c = 0; c < CHANNELS; c++)
            value[c] = 0;
        if (left > 0 && row >= 0 && row < out_height && column >= 0 && column < out_width) {
            floatv seen = sample(images, starts, &l, column, in_height, in_width, value);
            seen = select((floatv)0, seen, in_box(l.shown, column, row));
            if (FILL_LAST)
                recolour(&l, white, value);
            for (int c = 0; c < CHANNELS; c++)
                value[c] = mix((floatv)fill, value[c], seen);
            if (!FILL_LAST)
                recolour(&l, white, value);
            for (int c = 0; c < CHANNELS && ERASES; c++)
                value[c] = select(value[c], (floatv)erased, in_box(l.erased, column, row));
        }
        for (int c = 0; c < CHANNELS; c++) {
            floatv level = fma(value[c], (floatv)factor_shift[c], (floatv)factor_shift[CHANNELS + c]);
            ulong at = ((ulong)(c * height + row + border) * width + column + border) * vectors + vector;
            vstorev(select((floatv)0, level, real), at, y);
        }
    }
}
