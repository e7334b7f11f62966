/* Steps on bytes: reference, and kernels/tone.cl. */
#include "ops/tone.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reference: in float, with the roundings of the kernel ---- */

/* A picture of bytes and the step that is taken. */
typedef struct taking {
    int channels, height, width, fill;
    const uint8_t *picture;
    int32_t words[CVY_TONE_WORDS];
    int table[4][CVY_TONE_LEVELS];
} taking;

static float factor_of(const taking *t) {
    float factor;
    memcpy(&factor, &t->words[1], sizeof factor);
    return factor;
}

static int to_level(float value) {
    return (int)fmaxf(fminf(value, 255), 0);
}

static int size_of(const taking *t) {
    return t->height * t->width;
}

/* torchvision's weights of the channels. */
static int grey_of(const taking *t, int at) {
    const uint8_t *p = t->picture + at;
    const int size = size_of(t);
    if (t->channels == 1)
        return *p;
    return (int)fmaf(p[2 * size], 0.114f, fmaf(p[size], 0.587f, (float)p[0] * 0.2989f));
}

/* From counts to levels: torchvision's equalize. */
static void equalize(int size, int counts[CVY_TONE_LEVELS]) {
    int last = CVY_TONE_LEVELS - 1, sum = 0;
    while (counts[last] == 0)
        last--;
    const int step = (size - counts[last]) / 255;
    for (int level = 0; level < CVY_TONE_LEVELS; level++) {
        const int count = counts[level], made = step ? (sum + step / 2) / step : level;
        counts[level] = made < 255 ? made : 255;
        sum += count;
    }
}

static void stretch(int counts[CVY_TONE_LEVELS]) {
    int first = 0, last = CVY_TONE_LEVELS - 1;
    while (counts[first] == 0)
        first++;
    while (counts[last] == 0)
        last--;
    for (int level = 0; level < CVY_TONE_LEVELS; level++) {
        const int made = last > first ? (level - first) * 255 / (last - first) : level;
        counts[level] = made < 0 ? 0 : made < 255 ? made : 255;
    }
}

static void count_levels(taking *t) {
    memset(t->table, 0, sizeof t->table);
    for (int at = 0; at < t->channels * size_of(t); at++)
        t->table[at / size_of(t)][t->picture[at]]++;
    for (int c = 0; c < t->channels; c++)
        if (t->words[0] == CVY_TONE_EQUALIZE)
            equalize(size_of(t), t->table[c]);
        else
            stretch(t->table[c]);
}

static void make_table(taking *t) {
    const float factor = factor_of(t);
    float offset = 0;
    int sum = 0;
    for (int at = 0; at < size_of(t) && t->words[0] == CVY_TONE_CONTRAST; at++)
        sum += grey_of(t, at);
    if (t->words[0] == CVY_TONE_CONTRAST)
        offset = (float)sum * (1.0f / (float)size_of(t)) * (1 - factor);
    if (t->words[0] >= CVY_TONE_AUTOCONTRAST) {
        count_levels(t);
        return;
    }
    for (int c = 0; c < t->channels; c++)
        for (int level = 0; level < CVY_TONE_LEVELS; level++)
            t->table[c][level] = t->words[0] == CVY_TONE_POSTERIZE ? level & t->words[1]
                                 : t->words[0] == CVY_TONE_SOLARIZE
                                     ? level >= t->words[1] ? 255 - level : level
                                     : to_level(fmaf((float)level, factor, offset));
}

static int sharpened(const taking *t, int at) {
    const int row = at / t->width % t->height, column = at % t->width, level = t->picture[at];
    int sum = 4 * level;
    if (row == 0 || column == 0 || row == t->height - 1 || column == t->width - 1)
        return level;
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++)
            sum += t->picture[at + y * t->width + x];
    return to_level(fmaf(1 - factor_of(t), (float)((2 * sum + 13) / 26 - level), (float)level));
}

static int moved(const taking *t, int at) {
    const int32_t *w = t->words;
    const int row = at / t->width % t->height, column = at % t->width, plane = at / size_of(t);
    const int x = (w[1] * column + w[2] * row + w[3]) >> w[7],
              y = (w[4] * column + w[5] * row + w[6]) >> w[7];
    if (x < 0 || y < 0 || x >= t->width || y >= t->height)
        return t->fill;
    return t->picture[(plane * t->height + y) * t->width + x];
}

static int changed(const taking *t, int at) {
    const int32_t *w = t->words;
    const int row = at / t->width % t->height, column = at % t->width, level = t->picture[at];
    switch (w[0]) {
    case CVY_TONE_MAP:
        return moved(t, at);
    case CVY_TONE_SHARPEN:
        return sharpened(t, at);
    case CVY_TONE_SATURATE:
        return to_level(
            fmaf((float)level, factor_of(t), (float)grey_of(t, at % size_of(t)) * (1 - factor_of(t))));
    case CVY_TONE_ERASE:
        return column >= w[1] && row >= w[2] && column <= w[3] && row <= w[4] ? w[5] : level;
    default:
        return t->table[at / size_of(t)][level];
    }
}

/* [0]: factors, [1]: shifts to normalised values, [2] and [3]: back. */
static void levels_of(const cvy_image_spec *image, float levels[4][4]) {
    cvy_image_levels(image, 255, levels[0], levels[1]);
    for (int c = 0; c < image->channels; c++) {
        levels[2][c] = (float)(255 * (double)image->std[c]);
        levels[3][c] = (float)(255 * (double)image->mean[c]);
    }
}

static size_t place_of(const cvy_tone_shape *shape, int at) {
    const cvy_image_spec *image = &shape->image;
    const int row = at / image->width, column = at % image->width;
    return cvy_pixel_at(row / image->height, row % image->height + image->border, column + image->border,
                        image->height + 2 * image->border, image->width + 2 * image->border, shape->pitch);
}

/* y: of one image. */
static void take_steps(const cvy_tone_shape *shape, const int32_t *words, size_t room, float *y,
                       uint8_t *pictures) {
    const cvy_image_spec *image = &shape->image;
    const int size = image->height * image->width, count = image->channels * size;
    taking t = {
        .channels = image->channels, .height = image->height, .width = image->width, .fill = shape->fill};
    uint8_t *picture = pictures, *other = pictures + count;
    float levels[4][4];
    levels_of(image, levels);
    for (int at = 0; at < count; at++) {
        const float value = fmaf(y[place_of(shape, at)], levels[2][at / size], levels[3][at / size]);
        picture[at] = (uint8_t)(fmaxf(fminf(value, 255), 0) + 0.5f);
    }
    for (int step = 0; step < shape->steps; step++) {
        for (size_t i = 0; i < CVY_TONE_WORDS; i++)
            t.words[i] = words[((size_t)step * CVY_TONE_WORDS + i) * room];
        if (t.words[0] == CVY_TONE_NONE)
            break;
        t.picture = picture;
        if (t.words[0] >= CVY_TONE_BRIGHTEN)
            make_table(&t);
        for (int at = 0; at < count; at++)
            other[at] = (uint8_t)changed(&t, at);
        picture = other;
        other = (uint8_t *)(uintptr_t)t.picture;
    }
    for (int at = 0; at < count; at++)
        y[place_of(shape, at)] = fmaf(picture[at], levels[0][at / size], levels[1][at / size]);
}

void cvy_tone_reference(const cvy_tone_shape *shape, int n, const int32_t *words, size_t room, float *y) {
    const cvy_image_spec *image = &shape->image;
    uint8_t *pictures = malloc(2 * (size_t)image->channels * (size_t)image->height * (size_t)image->width);
    if (!pictures)
        cvy_abort_memory();
    for (int i = 0; i < n; i++)
        if (words[i] != CVY_TONE_NONE)
            take_steps(shape, words + i, room, y + i, pictures);
    free(pictures);
}

/* ---- Prepared op ---- */

static cvy_size levels_size(const cvy_tone_shape *shape) {
    return (cvy_size){"levels of images", 4 * (size_t)shape->image.channels * sizeof(float), CVY_FIXED_SIZE};
}

static cvy_size pictures_size(const cvy_tone_shape *shape, cvy_growth growth) {
    return (cvy_size){
        "pictures between steps of augmentation",
        2 * (size_t)shape->image.channels * (size_t)shape->image.height * (size_t)shape->image.width, growth};
}

convoy_status cvy_toner_create(convoy_device *device, const cvy_tone_shape *shape, int images,
                               cvy_toner *op) {
    const cvy_size levels = levels_size(shape), pictures = pictures_size(shape, CVY_PER_BATCH);
    const size_t channels = (size_t)shape->image.channels;
    float values[4][4], rows[16];
    *op = (cvy_toner){.device = device, .shape = *shape};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    levels_of(&shape->image, values);
    for (size_t i = 0; i < 4 * channels; i++)
        rows[i] = values[i / channels][i % channels];
    convoy_status status = cvy_kernel_build(
        device, "tone", "tone", CVY_OPTIONS({"VW", 1}, {"CHANNELS", shape->image.channels}), &op->kernel);
    if (!status)
        status = cvy_size_create(device, &levels, 1, &op->levels);
    if (!status)
        status = cvy_buffer_write(op->levels, 0, rows, levels.bytes);
    if (!status)
        status = cvy_size_create(device, &pictures, (size_t)images, &op->pictures);
    if (!status)
        op->group_size = cvy_group_size(device, op->kernel, CVY_TONE_LEVELS);
    return status;
}

void cvy_toner_free(cvy_toner *op) {
    cvy_buffer_free(op->levels);
    cvy_buffer_free(op->pictures);
    *op = (cvy_toner){0};
}

void cvy_toner_sizes(const cvy_device_traits *traits, const cvy_tone_shape *shape, cvy_growth growth,
                     cvy_sizes *sizes) {
    if (traits->host)
        return;
    cvy_sizes_add(sizes, levels_size(shape));
    cvy_sizes_add(sizes, pictures_size(shape, growth));
}

convoy_status cvy_toner_run(const cvy_toner *op, int n, cvy_buffer *looks, size_t room, size_t look_offset,
                            size_t first_word, cvy_buffer *y) {
    const cvy_image_spec *image = &op->shape.image;
    if (!op->kernel) {
        cvy_tone_reference(&op->shape, n,
                           (const int32_t *)cvy_buffer_host(looks) + first_word * room + look_offset, room,
                           cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(
        op->kernel, cvy_groups(op->group_size, (size_t)n, 1, 1), cvy_buf(y), cvy_buf(looks), cvy_ulong(room),
        cvy_ulong(look_offset), cvy_ulong(first_word), cvy_int(op->shape.steps), cvy_buf(op->levels),
        cvy_int(image->height), cvy_int(image->width), cvy_int(image->border), cvy_int(op->shape.pitch),
        cvy_int(op->shape.fill), cvy_float(1.0f / (float)(image->height * image->width)),
        cvy_buf(op->pictures), cvy_local(((size_t)image->channels * CVY_TONE_LEVELS + 1) * sizeof(int32_t)));
}
