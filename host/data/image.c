/* Fitting a photograph to a size: a separable resampler in integers, so that every machine gets the same
   bytes. */
#include "data/image.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "convoy/data.h"

enum {
    WEIGHT_BITS = 15, /* weights of one output sum to 1 << 15 */
    EXTRA_BITS = 8,   /* kept between the two passes: 255 << 8 fits 16 bits, its weighted sum 32 */
};

/* ---- Resampling ---- */

/* How each of `count` outputs along one axis is mixed from inputs first[i] .. first[i]+taps-1. */
typedef struct mixing {
    size_t count, taps;
    size_t *first;     /* [count] */
    uint16_t *weights; /* [count][taps] */
} mixing;

static void mixing_free(mixing *mixing) {
    free(mixing->first);
    free(mixing->weights);
}

/* Output i looks at input position start + (i + 1/2) * scale through a triangle of half-width max(scale, 1).
 */
static void mix_one(mixing *mixing, size_t i, double start, double scale, size_t inputs, double *scratch) {
    double half = scale > 1 ? scale : 1, centre = start + ((double)i + 0.5) * scale, total = 0;
    double low = floor(centre - half + 0.5);
    size_t first = low > 0 ? (size_t)low : 0;
    first = first + mixing->taps > inputs ? inputs - mixing->taps : first;
    for (size_t t = 0; t < mixing->taps; t++) {
        double distance = fabs(((double)(first + t) + 0.5 - centre) / half);
        scratch[t] = distance < 1 ? 1 - distance : 0;
        total += scratch[t];
    }
    /* Rounded weights must still sum to 1: the largest takes the difference. */
    int left = 1 << WEIGHT_BITS;
    size_t largest = 0;
    uint16_t *weights = mixing->weights + i * mixing->taps;
    for (size_t t = 0; t < mixing->taps; t++) {
        weights[t] = (uint16_t)lround(scratch[t] / total * (1 << WEIGHT_BITS));
        left -= weights[t];
        largest = weights[t] > weights[largest] ? t : largest;
    }
    weights[largest] = (uint16_t)(weights[largest] + left);
    mixing->first[i] = first;
}

static convoy_status mixing_create(mixing *mixing, size_t count, double start, double scale, size_t inputs) {
    size_t taps = (size_t)ceil(2 * (scale > 1 ? scale : 1)) + 1;
    taps = taps < inputs ? taps : inputs;
    mixing->count = count;
    mixing->taps = taps;
    mixing->first = malloc(count * sizeof *mixing->first);
    mixing->weights = malloc(count * taps * sizeof *mixing->weights);
    double *scratch = malloc(taps * sizeof *scratch);
    bool allocated = mixing->first && mixing->weights && scratch;
    for (size_t i = 0; allocated && i < count; i++)
        mix_one(mixing, i, start, scale, inputs, scratch);
    free(scratch);
    return allocated ? CONVOY_OK
                     : cvy_fail_memory("resizing an image", count * taps * sizeof *mixing->weights);
}

/* Rows [height][width][channels] -> [height][columns->count][channels] with EXTRA_BITS more. */
static void mix_columns(const cvy_pixels *from, const mixing *columns, uint16_t *to) {
    size_t channels = (size_t)from->channels;
    for (size_t y = 0; y < (size_t)from->height; y++) {
        const uint8_t *row = from->data + y * (size_t)from->width * channels;
        for (size_t x = 0; x < columns->count; x++)
            for (size_t c = 0; c < channels; c++) {
                const uint8_t *in = row + columns->first[x] * channels + c;
                const uint16_t *weights = columns->weights + x * columns->taps;
                uint32_t sum = 1u << (WEIGHT_BITS - EXTRA_BITS - 1);
                for (size_t t = 0; t < columns->taps; t++)
                    sum += (uint32_t)weights[t] * in[t * channels];
                *to++ = (uint16_t)(sum >> (WEIGHT_BITS - EXTRA_BITS));
            }
    }
}

/* [inputs][row] -> [rows->count][row] bytes. */
static void mix_rows(const uint16_t *from, const mixing *rows, size_t row, uint8_t *to) {
    for (size_t y = 0; y < rows->count; y++)
        for (size_t x = 0; x < row; x++) {
            uint32_t sum = 1u << (WEIGHT_BITS + EXTRA_BITS - 1);
            for (size_t t = 0; t < rows->taps; t++)
                sum += (uint32_t)rows->weights[y * rows->taps + t] * from[(rows->first[y] + t) * row + x];
            *to++ = (uint8_t)(sum >> (WEIGHT_BITS + EXTRA_BITS));
        }
}

/* The part of a picture that becomes an image: where it begins, and how many of its pixels become one. */
typedef struct part {
    double left, top, scale_x, scale_y;
} part;

static convoy_status resample(const cvy_pixels *from, const part *part, cvy_pixels *to) {
    mixing columns = {0}, rows = {0};
    size_t row = (size_t)to->width * (size_t)from->channels,
           bytes = (size_t)from->height * row * sizeof(uint16_t);
    uint16_t *narrow = malloc(bytes);
    convoy_status status = narrow ? CONVOY_OK : cvy_fail_memory("resizing an image", bytes);
    if (!status)
        status = mixing_create(&columns, (size_t)to->width, part->left, part->scale_x, (size_t)from->width);
    if (!status)
        status = mixing_create(&rows, (size_t)to->height, part->top, part->scale_y, (size_t)from->height);
    if (!status) {
        mix_columns(from, &columns, narrow);
        mix_rows(narrow, &rows, row, to->data);
    }
    free(narrow);
    mixing_free(&columns);
    mixing_free(&rows);
    return status;
}

/* The centre of a picture that has the shape of an image, as large as it can be. */
static part covering(const cvy_pixels *from, int height, int width) {
    const double scale = fmin((double)from->width / width, (double)from->height / height);
    return (part){(from->width - width * scale) / 2, (from->height - height * scale) / 2, scale, scale};
}

/* torchvision's Resize to this short side, and CenterCrop: both sides and the crop are whole pixels. */
static part cropped(const cvy_pixels *from, int short_side, int height, int width) {
    const bool upright = from->height > from->width;
    const int shorter = upright ? from->width : from->height, longer = upright ? from->height : from->width;
    const double long_side = trunc((double)short_side * longer / shorter); /* more than an int holds */
    const double scale_x = (double)from->width / (upright ? short_side : long_side),
                 scale_y = (double)from->height / (upright ? long_side : short_side);
    const double left = nearbyint(((upright ? short_side : long_side) - width) / 2.0),
                 top = nearbyint(((upright ? long_side : short_side) - height) / 2.0);
    return (part){left * scale_x, top * scale_y, scale_x, scale_y};
}

/* All of a picture, `to` its size, in the middle of zeros. */
static convoy_status letterbox(const cvy_pixels *from, int height, int width, cvy_pixels *to) {
    const double scale = fmax((double)from->width / width, (double)from->height / height);
    const int inner_width = (int)fmax(1, nearbyint(from->width / scale)),
              inner_height = (int)fmax(1, nearbyint(from->height / scale));
    const size_t pixel = (size_t)from->channels, row = (size_t)inner_width * pixel;
    cvy_pixels inner = {.channels = from->channels,
                        .height = inner_height,
                        .width = inner_width,
                        .data = malloc(row * (size_t)inner_height)};
    if (!inner.data)
        return cvy_fail_memory("resizing an image", row * (size_t)inner_height);
    const part all = {0, 0, (double)from->width / inner_width, (double)from->height / inner_height};
    convoy_status status = resample(from, &all, &inner);
    memset(to->data, 0, (size_t)height * (size_t)width * pixel);
    uint8_t *at =
        to->data +
        ((size_t)((height - inner_height) / 2) * (size_t)width + (size_t)((width - inner_width) / 2)) * pixel;
    for (size_t y = 0; y < (size_t)inner_height && !status; y++)
        memcpy(at + y * (size_t)width * pixel, inner.data + y * row, row);
    free(inner.data);
    return status;
}

static convoy_status resize(const cvy_pixels *from, const cvy_fitting *fitting, cvy_pixels *to) {
    part part = {0, 0, (double)from->width / fitting->width, (double)from->height / fitting->height};
    if (fitting->resize == CVY_LETTERBOX)
        return letterbox(from, fitting->height, fitting->width, to);
    if (fitting->resize == CVY_SHORT_SIDE)
        part = fitting->short_side ? cropped(from, fitting->short_side, fitting->height, fitting->width)
                                   : covering(from, fitting->height, fitting->width);
    return resample(from, &part, to);
}

/* ---- Channels ---- */

uint8_t cvy_luma(uint8_t red, uint8_t green, uint8_t blue) {
    return (uint8_t)((19595u * red + 38470u * green + 7471u * blue + 32768u) >> 16);
}

/* [pixels][from] side by side -> [channels][pixels] planes. */
static void to_planes(const uint8_t *data, int from, size_t pixels, int channels, uint8_t *image) {
    for (size_t p = 0; p < pixels; p++) {
        const uint8_t *pixel = data + p * (size_t)from;
        if (channels == 1)
            image[p] = from == 1 ? pixel[0] : cvy_luma(pixel[0], pixel[1], pixel[2]);
        else
            for (int c = 0; c < channels; c++)
                image[(size_t)c * pixels + p] = pixel[from == 1 ? 0 : c];
    }
}

convoy_status cvy_image_bring(const cvy_pixels *pixels, const cvy_fitting *fitting, uint8_t *image) {
    const int height = fitting->height, width = fitting->width, channels = fitting->channels;
    const size_t count = (size_t)height * (size_t)width;
    const bool shrinks_first = fitting->short_side > height || fitting->short_side > width;
    if (pixels->height == height && pixels->width == width && !shrinks_first) {
        to_planes(pixels->data, pixels->channels, count, channels, image);
        return CONVOY_OK;
    }
    cvy_pixels fitted = {.channels = pixels->channels,
                         .height = height,
                         .width = width,
                         .data = malloc(count * (size_t)pixels->channels)};
    if (!fitted.data)
        return cvy_fail_memory("resizing an image", count * (size_t)pixels->channels);
    convoy_status status = resize(pixels, fitting, &fitted);
    if (!status)
        to_planes(fitted.data, fitted.channels, count, channels, image);
    free(fitted.data);
    return status;
}

convoy_status cvy_image_load(const char *path, const cvy_fitting *fitting, uint8_t *image) {
    const int least = fitting->short_side, channels = fitting->channels, height = fitting->height,
              width = fitting->width;
    if ((channels != 1 && channels != 3) || height < 1 || width < 1 || height > 65535 || width > 65535)
        return cvy_fail(CONVOY_INVALID,
                        "convoy_image_load: %s cannot be brought to %d x %d x %d: expected 1 or 3 channels "
                        "and sides of 1 to "
                        "65535",
                        path, channels, height, width);
    const cvy_wanted wanted = {.channels = channels,
                               .height = least > height ? least : height,
                               .width = least > width ? least : width,
                               .fast = fitting->fast_decode,
                               .as_stored = fitting->as_stored};
    cvy_pixels pixels;
    convoy_status status = cvy_image_read(path, wanted, &pixels);
    if (!status)
        status = cvy_image_bring(&pixels, fitting, image);
    free(pixels.data);
    return status;
}

convoy_status convoy_image_load(const char *path, int channels, int height, int width, uint8_t *image) {
    convoy_status status = CVY_GIVEN_POINTER(path);
    if (!status)
        status = CVY_GIVEN_POINTER(image);
    if (status)
        return status;
    return cvy_image_load(path, &(cvy_fitting){.channels = channels, .height = height, .width = width},
                          image);
}
