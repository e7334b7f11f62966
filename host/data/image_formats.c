/* Reading a photograph of any format, told apart by content, and turning it as it was taken. */
#include "data/image_formats.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "data/dataset.h"

enum { LARGEST_FILE = 1 << 30, ENDINGS = 2 };

/* A file is of the first format whose magic it has; `more` stands 8 bytes in. */
typedef struct format {
    const char *name, *endings[ENDINGS];
    const char *magic, *more;
    size_t length;
    cvy_decoder *decode; /* NULL: known by name only */
} format;

static const format formats[] = {
    {"JPEG", {".jpg", ".jpeg"}, "\xff\xd8\xff", NULL, 3, cvy_jpeg_decode},
    {"PNG", {".png"}, "\x89PNG\r\n\x1a\n", NULL, 8, cvy_png_decode},
    {"WebP", {".webp"}, "RIFF", "WEBP", 4, cvy_webp_decode},
    {"BMP", {".bmp"}, "BM", NULL, 2, cvy_bmp_decode},
    {"TIFF", {".tif", ".tiff"}, "II*\0", NULL, 4, cvy_tiff_decode},
    {"TIFF", {NULL}, "MM\0*", NULL, 4, cvy_tiff_decode},
    {"GIF", {".gif"}, "GIF8", NULL, 4, cvy_gif_decode},
    {"PGM", {".pgm", ".pnm"}, "P2", NULL, 2, cvy_pnm_decode},
    {"PPM", {".ppm"}, "P3", NULL, 2, cvy_pnm_decode},
    {"PGM", {NULL}, "P5", NULL, 2, cvy_pnm_decode},
    {"PPM", {NULL}, "P6", NULL, 2, cvy_pnm_decode},
    {"PBM", {NULL}, "P4\n", NULL, 3, NULL},
    {"JPEG 2000", {NULL}, "\0\0\0\x0cjP  ", NULL, 8, NULL},
    {"Photoshop", {NULL}, "8BPS", NULL, 4, NULL},
    {"PDF", {NULL}, "%PDF", NULL, 4, NULL},
    {"HTML", {NULL}, "<!DO", NULL, 4, NULL},
    {"HTML", {NULL}, "<htm", NULL, 4, NULL},
};
enum { FORMATS = sizeof formats / sizeof *formats };

bool cvy_is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < FORMATS; i++)
        for (size_t e = 0; e < ENDINGS; e++)
            if (formats[i].endings[e] && strcasecmp(dot, formats[i].endings[e]) == 0)
                return true;
    return false;
}

static bool is_format(const format *format, const uint8_t *file, size_t size) {
    return size >= format->length && memcmp(file, format->magic, format->length) == 0 &&
           (!format->more || (size >= 12 && memcmp(file + 8, format->more, 4) == 0));
}

/* Says what the file is instead, where that is known. */
static convoy_status fail_format(const char *path, const uint8_t *file, size_t size) {
    if (size == 0)
        return cvy_fail(CONVOY_INVALID, "%s: the file is empty; an image is expected", path);
    const char *name = size >= 12 && memcmp(file + 4, "ftyp", 4) == 0 ? "AVIF or HEIF" : NULL;
    for (size_t i = 0; i < FORMATS && !name; i++)
        name = is_format(&formats[i], file, size) ? formats[i].name : NULL;
    if (name)
        return cvy_fail(CONVOY_INVALID, "%s: a file of %s; " CVY_IMAGE_FORMATS " are read", path, name);
    return cvy_fail(CONVOY_INVALID, "%s: not an image (" CVY_IMAGE_FORMATS "): it starts with %02x %02x",
                    path, file[0], size > 1 ? file[1] : 0u);
}

size_t cvy_most_pixels(cvy_wanted wanted) {
    return wanted.most_pixels ? wanted.most_pixels : CVY_MOST_PIXELS;
}

convoy_status cvy_pixels_create(const char *path, int channels, size_t height, size_t width,
                                cvy_pixels *pixels) {
    if (!height || !width || height > CVY_LONGEST_SIDE || width > CVY_LONGEST_SIDE ||
        height * width > CVY_MOST_PIXELS)
        return cvy_fail(
            CONVOY_INVALID,
            "%s: an image of %zu x %zu pixels; at most %d megapixels are read, and sides of at most %d%s",
            path, width, height, CVY_MOST_PIXELS / 1000000, CVY_LONGEST_SIDE,
            height && width ? ": make it smaller, or save it as PNG or baseline JPEG, which are read at a "
                              "part of their size"
                            : "");
    pixels->channels = channels;
    pixels->height = (int)height;
    pixels->width = (int)width;
    pixels->data = malloc(height * width * (size_t)channels);
    return pixels->data ? CONVOY_OK : cvy_fail_memory(path, height * width * (size_t)channels);
}

/* Each copy doubles what is there: a file of some bytes may claim a hundred million blank pixels. */
void cvy_pixels_spread(uint8_t *pixels, size_t size, size_t count) {
    const size_t all = size * count;
    for (size_t done = size; done < all; done *= 2)
        memcpy(pixels + done, pixels, done < all - done ? done : all - done);
}

/* ---- Orientation ---- */

static unsigned whole(const uint8_t *at, int bytes, bool little) {
    unsigned value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[little ? bytes - 1 - i : i];
    return value;
}

/* EXIF is a TIFF file: a header with the place of a directory, which has entries of 12 bytes. */
int cvy_exif_orientation(const uint8_t *exif, size_t size) {
    enum { ORIENTATION = 0x0112, SHORT = 3 };
    if (size > 6 && memcmp(exif, "Exif\0", 6) == 0) {
        exif += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(exif, "II*\0", 4) != 0 && memcmp(exif, "MM\0*", 4) != 0))
        return 0;
    const bool little = exif[0] == 'I';
    const size_t directory = whole(exif + 4, 4, little);
    if (directory > size || size - directory < 2)
        return 0;
    size_t entries = whole(exif + directory, 2, little);
    const size_t most = (size - directory - 2) / 12;
    entries = entries < most ? entries : most;
    for (size_t i = 0; i < entries; i++) {
        const uint8_t *entry = exif + directory + 2 + 12 * i;
        const unsigned value = whole(entry + 8, 2, little);
        if (whole(entry, 2, little) == ORIENTATION && whole(entry + 2, 2, little) == SHORT)
            return value >= 1 && value <= 8 ? (int)value : 0;
    }
    return 0;
}

/* Where in a picture of height x width lies what is shown at (y, x)? EXIF's 5 to 8 swap the sides. */
static size_t stored_at(int orientation, size_t height, size_t width, size_t y, size_t x) {
    const bool swapped = orientation >= 5;
    const size_t row = swapped ? x : y, column = swapped ? y : x;
    const bool up = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7,
               mirrored = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    return (up ? height - 1 - row : row) * width + (mirrored ? width - 1 - column : column);
}

static convoy_status turn(const char *path, cvy_pixels *pixels) {
    const size_t height = (size_t)pixels->height, width = (size_t)pixels->width,
                 channels = (size_t)pixels->channels;
    const bool swapped = pixels->orientation >= 5;
    const size_t rows = swapped ? width : height, columns = swapped ? height : width;
    uint8_t *turned = malloc(height * width * channels), *to = turned;
    if (!turned)
        return cvy_fail_memory(path, height * width * channels);
    for (size_t y = 0; y < rows; y++)
        for (size_t x = 0; x < columns; x++, to += channels)
            memcpy(to, pixels->data + stored_at(pixels->orientation, height, width, y, x) * channels,
                   channels);
    free(pixels->data);
    pixels->data = turned;
    pixels->height = (int)rows;
    pixels->width = (int)columns;
    return CONVOY_OK;
}

/* ---- Reading ---- */

convoy_status cvy_image_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                               cvy_pixels *pixels) {
    convoy_status status = CONVOY_INVALID;
    size_t i = 0;
    memset(pixels, 0, sizeof *pixels);
    while (i < FORMATS && !(formats[i].decode && is_format(&formats[i], file, size)))
        i++;
    if (i == FORMATS)
        return fail_format(path, file, size);
    status = formats[i].decode(path, file, size, wanted, pixels);
    if (!status && pixels->orientation > 1 && !wanted.as_stored)
        status = turn(path, pixels);
    if (status) {
        free(pixels->data);
        pixels->data = NULL;
    }
    return status;
}

convoy_status cvy_image_read(const char *path, cvy_wanted wanted, cvy_pixels *pixels) {
    char *data;
    size_t size;
    memset(pixels, 0, sizeof *pixels);
    convoy_status status = cvy_file_read_regular(path, LARGEST_FILE, &data, &size);
    if (status)
        return status;
    status = cvy_image_decode(path, (const uint8_t *)data, size, wanted, pixels);
    free(data);
    return status;
}
