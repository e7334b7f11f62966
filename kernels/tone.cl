/* What RandAugment and TrivialAugmentWide do to images of a batch that are made, in place and to the byte:
   host/ops/tone.h. A work-group has an image and takes one step after the other, from one picture of bytes to another
   beside it. Floats are multiplied and added as the reference does it, so that all devices make the same bytes. */
#include "common.clh"

#ifndef CHANNELS
#define CHANNELS 1
#endif

/* host/ops/tone.h */
#define MAP 1
#define SATURATE 2
#define SHARPEN 3
#define ERASE 4
#define BRIGHTEN 5
#define CONTRAST 6
#define POSTERIZE 7
#define SOLARIZE 8
#define AUTOCONTRAST 9
#define EQUALIZE 10
#define LEVELS 256

#define EACH_OF_MINE(at, count)                                                                                        \
    int at = get_local_id(0);                                                                                          \
    at < (count);                                                                                                      \
    at += get_local_size(0)

/* A step: kind, and what it takes. */
typedef struct step_words {
    int w[8];
} step_words;

static int to_level(float value) {
    return (int)max(min(value, 255.0f), 0.0f);
}

/* The level of black and white mixed: ITU-R BT.601. */
static int grey_of(global const uchar *picture, int at, int size) {
    if (CHANNELS == 1)
        return picture[at];
    float red = picture[at], green = picture[at + size], blue = picture[at + 2 * size];
    return (int)fma(blue, 0.114f, fma(green, 0.587f, red * 0.2989f));
}

/* From counts to levels: as torchvision's equalize, which is Pillow's; a channel of too few levels stays. */
static void equalize(int size, local int *counts) {
    int last = LEVELS - 1, sum = 0;
    while (counts[last] == 0)
        last--;
    const int step = (size - counts[last]) / 255;
    for (int level = 0; level < LEVELS; level++) {
        int count = counts[level];
        counts[level] = step ? min((sum + step / 2) / step, 255) : level;
        sum += count;
    }
}

/* The lowest level becomes 0, the highest 255. */
static void stretch(local int *counts) {
    int first = 0, last = LEVELS - 1;
    while (counts[first] == 0)
        first++;
    while (counts[last] == 0)
        last--;
    for (int level = 0; level < LEVELS; level++)
        counts[level] = last > first ? max(min((level - first) * 255 / (last - first), 255), 0) : level;
}

/* What each level of each channel becomes, in table [CHANNELS][LEVELS], behind which lies a sum: how often levels come,
   and what is made of that. All items come here in each step, for the barriers. per_pixel: 1 / size. */
static void make_table(global const uchar *picture, const step_words *s, int size, float per_pixel, local int *table) {
    const int kind = s->w[0], counted = kind >= AUTOCONTRAST ? CHANNELS * size : 0;
    const float factor = as_float(s->w[1]);
    local int *sum = table + CHANNELS * LEVELS;
    int mine = 0;
    for (EACH_OF_MINE(at, CHANNELS * LEVELS + 1))
        table[at] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (EACH_OF_MINE(at, counted))
        atomic_inc(table + at / size * LEVELS + picture[at]);
    for (EACH_OF_MINE(at, kind == CONTRAST ? size : 0))
        mine += grey_of(picture, at, size);
    if (kind == CONTRAST)
        atomic_add(sum, mine);
    barrier(CLK_LOCAL_MEM_FENCE);
    const float offset = convert_float(*sum) * per_pixel * (1 - factor);
    for (EACH_OF_MINE(c, kind == EQUALIZE ? CHANNELS : 0))
        equalize(size, table + c * LEVELS);
    for (EACH_OF_MINE(c, kind == AUTOCONTRAST ? CHANNELS : 0))
        stretch(table + c * LEVELS);
    for (EACH_OF_MINE(at, kind < AUTOCONTRAST ? CHANNELS * LEVELS : 0)) {
        const int level = at % LEVELS;
        table[at] = kind == POSTERIZE  ? level & s->w[1]
                    : kind == SOLARIZE ? (level >= s->w[1] ? 255 - level : level)
                                       : to_level(fma(convert_float(level), factor, offset));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* A pixel mixed with the eight around it, that in the middle five times; those at the edges stay. */
static int sharpened(global const uchar *picture, int at, int height, int width, float factor) {
    const int row = at / width % height, column = at % width, level = picture[at];
    if (row == 0 || column == 0 || row == height - 1 || column == width - 1)
        return level;
    int sum = 4 * level;
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++)
            sum += picture[at + y * width + x];
    return to_level(fma(1 - factor, convert_float((2 * sum + 13) / 26 - level), convert_float(level)));
}

static int moved(global const uchar *picture, int at, int height, int width, const step_words *s, int fill) {
    const int row = at / width % height, column = at % width, plane = at / (width * height);
    const int x = (s->w[1] * column + s->w[2] * row + s->w[3]) >> s->w[7],
              y = (s->w[4] * column + s->w[5] * row + s->w[6]) >> s->w[7];
    const int there = x >= 0 && y >= 0 && x < width && y < height;
    return there ? picture[(plane * height + y) * width + x] : fill;
}

static int changed(global const uchar *picture, int at, int height, int width, const step_words *s, int fill,
                   local const int *table) {
    const int size = height * width, row = at / width % height, column = at % width;
    const float factor = as_float(s->w[1]);
    if (s->w[0] == MAP)
        return moved(picture, at, height, width, s, fill);
    if (s->w[0] == SHARPEN)
        return sharpened(picture, at, height, width, factor);
    if (s->w[0] == SATURATE)
        return to_level(
            fma(convert_float(picture[at]), factor, convert_float(grey_of(picture, at % size, size)) * (1 - factor)));
    if (s->w[0] == ERASE) {
        const int covered = column >= s->w[1] && row >= s->w[2] && column <= s->w[3] && row <= s->w[4];
        return covered ? s->w[5] : picture[at];
    }
    return table[at / size * LEVELS + picture[at]];
}

/* Where a pixel of [channel][height][width] lies in the network's input. */
static ulong place_of(int at, int height, int width, int border, int pitch) {
    const int row = at / width, column = at % width; /* rows of all channels */
    const ulong full = row / height * (height + 2 * border) + row % height + border;
    return (full * (width + 2 * border) + column + border) * pitch;
}

/* Group x is the image, whose words begin at [first_word][look_offset + image]. factor_shift: each channel's factor,
   then each one's shift, which bring a level of 0..255 to its normalised value, and then those that bring it back. */
kernel void tone(global float *y, global const int *words, ulong room, ulong look_offset, ulong first_word, int steps,
                 global const float *factor_shift, int height, int width, int border, int pitch, int fill,
                 float per_pixel, global uchar *pictures, local int *table) {
    const int image = get_group_id(0), size = height * width, count = CHANNELS * size;
    global uchar *picture = pictures + (ulong)image * 2 * count, *other = picture + count;
    words += first_word * room + look_offset + image;
    y += image;
    const int wanted = words[0] ? count : 0; /* pixels of an image that stays as it is: none */
    for (EACH_OF_MINE(at, wanted)) {
        const int c = at / size;
        float value = y[place_of(at, height, width, border, pitch)];
        value = fma(value, factor_shift[(2 * CHANNELS) + c], factor_shift[3 * CHANNELS + c]);
        picture[at] = (uchar)(int)(max(min(value, 255.0f), 0.0f) + 0.5f);
    }
    for (int step = 0; step < steps; step++) {
        step_words s;
        for (int i = 0; i < 8; i++)
            s.w[i] = words[((ulong)step * 8 + i) * room];
        barrier(CLK_GLOBAL_MEM_FENCE);
        make_table(picture, &s, size, per_pixel, table);
        for (EACH_OF_MINE(at, s.w[0] ? count : 0))
            other[at] = (uchar)changed(picture, at, height, width, &s, fill, table);
        global uchar *former = picture;
        picture = s.w[0] ? other : picture;
        other = s.w[0] ? former : other;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (EACH_OF_MINE(at, wanted)) { /* each item reads what it wrote */
        const int c = at / size;
        y[place_of(at, height, width, border, pitch)] =
            fma(convert_float(picture[at]), factor_shift[c], factor_shift[CHANNELS + c]);
    }
}
