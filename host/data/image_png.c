/* Decoding PNG with libpng. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "data/image_formats.h"

/* Of pixels as the file has them, which may be 8 bytes each: what inflating may cost. More of an image that
   is made smaller. */
enum { MOST_BYTES = 4 * CVY_MOST_PIXELS, LARGEST_REDUCTION = 8 };

typedef struct decoder {
    const uint8_t *file;
    size_t size, position;
    png_structp png;
    png_infop info;
    char message[128];
    uint8_t *row;   /* of an image that is made smaller, and the sums of its columns */
    uint32_t *sums; /* [pixels->width][pixels->channels] */
} decoder;

static void on_error(png_structp png, png_const_charp message) {
    decoder *decoder = png_get_error_ptr(png);
    snprintf(decoder->message, sizeof decoder->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message; /* odd colour profiles and the like: nothing that changes the pixels */
}

static void read_bytes(png_structp png, png_bytep out, size_t length) {
    decoder *decoder = png_get_io_ptr(png);
    if (length > decoder->size - decoder->position)
        png_error(png, "the file ends early");
    memcpy(out, decoder->file + decoder->position, length);
    decoder->position += length;
}

/* Texts and profiles are packed, too, and a thousand of them would be unpacked in memory. */
static void skip_texts(png_structp png) {
    static const png_byte chunks[] = "iCCP\0iTXt\0sPLT\0tEXt\0zTXt";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, chunks, sizeof chunks / 5);
}

static void ask_for_8_bits_without_alpha(decoder *decoder) {
    png_set_expand(decoder->png); /* palette -> RGB, 1, 2 and 4 bits -> 8, a transparent colour -> alpha */
    png_set_scale_16(decoder->png);
    png_set_strip_alpha(decoder->png);
}

/* To how manieth of its size an image over the limit is made smaller: the least that brings it within, where
   it still covers what is wanted; 1: not at all. An interlaced one would have to be in memory. */
static unsigned choose_reduction(const decoder *decoder, cvy_wanted wanted, int orientation) {
    const size_t height = png_get_image_height(decoder->png, decoder->info),
                 width = png_get_image_width(decoder->png, decoder->info),
                 bytes = png_get_rowbytes(decoder->png, decoder->info);
    const bool swapped = orientation >= 5 && !wanted.as_stored;
    const size_t rows = (size_t)(swapped ? wanted.width : wanted.height),
                 columns = (size_t)(swapped ? wanted.height : wanted.width);
    if (!rows || !columns || height > CVY_LONGEST_SIDE || width > CVY_LONGEST_SIDE ||
        height * width <= CVY_MOST_PIXELS || height * bytes > (size_t)LARGEST_REDUCTION * MOST_BYTES ||
        png_get_interlace_type(decoder->png, decoder->info) != PNG_INTERLACE_NONE)
        return 1;
    for (unsigned by = 2; by <= LARGEST_REDUCTION && height / by >= rows && width / by >= columns; by *= 2)
        if (ceil_div_size(height, by) * ceil_div_size(width, by) <= CVY_MOST_PIXELS)
            return by;
    return 1;
}

static int orientation_of(const decoder *decoder) {
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 size = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(decoder->png, decoder->info, &size, &exif))
        return cvy_exif_orientation(exif, size);
#else
    (void)decoder;
#endif
    return 0;
}

static void read_rows(png_structp png, int passes, const cvy_pixels *pixels) {
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < pixels->height; y++)
            png_read_row(png, pixels->data + (size_t)y * (size_t)pixels->width * (size_t)pixels->channels,
                         NULL);
}

static void add_row(const decoder *decoder, size_t width, size_t by, const cvy_pixels *pixels) {
    const size_t channels = (size_t)pixels->channels;
    const uint8_t *from = decoder->row;
    for (size_t x = 0; x < (size_t)pixels->width; x++)
        for (size_t i = min_size(by, width - x * by); i > 0; i--, from += channels)
            for (size_t c = 0; c < channels; c++)
                decoder->sums[x * channels + c] += from[c];
}

/* The means of `rows` rows that were added; the sums are 0 again. */
static void put_means(const decoder *decoder, size_t width, size_t by, size_t rows, const cvy_pixels *pixels,
                      uint8_t *to) {
    const size_t channels = (size_t)pixels->channels;
    for (size_t i = 0; i < (size_t)pixels->width * channels; i++) {
        const uint32_t count = (uint32_t)(rows * min_size(by, width - i / channels * by));
        to[i] = (uint8_t)((decoder->sums[i] + count / 2) / count);
        decoder->sums[i] = 0;
    }
}

/* Each pixel becomes the mean of by x by, of fewer at the right and at the bottom. */
static convoy_status read_reduced(decoder *decoder, const char *path, size_t by, const cvy_pixels *pixels) {
    const size_t height = png_get_image_height(decoder->png, decoder->info),
                 width = png_get_image_width(decoder->png, decoder->info),
                 channels = (size_t)pixels->channels, pitch = (size_t)pixels->width * channels;
    decoder->row = malloc(width * channels);
    decoder->sums = calloc(pitch, sizeof *decoder->sums);
    if (!decoder->row || !decoder->sums)
        return cvy_fail_memory(path, width * channels + pitch * sizeof *decoder->sums);
    for (size_t y = 0; y < height; y++) {
        png_read_row(decoder->png, decoder->row, NULL);
        add_row(decoder, width, by, pixels);
        if (y % by == by - 1 || y == height - 1)
            put_means(decoder, width, by, y % by + 1, pixels, pixels->data + y / by * pitch);
    }
    return CONVOY_OK;
}

/* Everything here may end in on_error's longjmp; nothing is owned by local variables. */
static convoy_status decode(decoder *decoder, const char *path, cvy_wanted wanted, cvy_pixels *pixels) {
    png_structp png = decoder->png;
    png_set_user_limits(png, PNG_UINT_31_MAX,
                        PNG_UINT_31_MAX); /* cvy_pixels_create checks, with a better message */
    png_set_read_fn(png, decoder, read_bytes);
    skip_texts(png);
    png_read_info(png, decoder->info);
    const int channels = png_get_color_type(png, decoder->info) & PNG_COLOR_MASK_COLOR ? 3 : 1;
    const size_t height = png_get_image_height(png, decoder->info),
                 width = png_get_image_width(png, decoder->info);
    const unsigned by = choose_reduction(decoder, wanted, orientation_of(decoder));
    convoy_status status =
        cvy_pixels_create(path, channels, ceil_div_size(height, by), ceil_div_size(width, by), pixels);
    if (status)
        return status;
    const size_t bytes = png_get_rowbytes(png, decoder->info) * height;
    if (by == 1 && bytes > MOST_BYTES)
        return cvy_fail(CONVOY_INVALID, "%s: %zu million bytes of pixels; at most %d million are read", path,
                        bytes / 1000000, MOST_BYTES / 1000000);
    ask_for_8_bits_without_alpha(decoder);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    if (png_get_rowbytes(png, decoder->info) != width * (size_t)channels)
        png_error(png, "unexpected row size");
    if (by > 1)
        status = read_reduced(decoder, path, by, pixels);
    else
        read_rows(png, passes, pixels);
    if (status)
        return status;
    png_read_end(png, decoder->info);
    pixels->orientation = orientation_of(decoder); /* which may stand behind the pixels */
    return CONVOY_OK;
}

static convoy_status guarded_decode(decoder *decoder, const char *path, cvy_wanted wanted,
                                    cvy_pixels *pixels) {
    if (setjmp(png_jmpbuf(decoder->png)))
        return cvy_fail(CONVOY_INVALID, "%s: damaged PNG image: %s", path, decoder->message);
    return decode(decoder, path, wanted, pixels);
}

convoy_status cvy_png_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    decoder decoder = {.file = file, .size = size};
    decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
    decoder.info = decoder.png ? png_create_info_struct(decoder.png) : NULL;
    convoy_status status =
        decoder.info ? guarded_decode(&decoder, path, wanted, pixels) : cvy_fail_memory("a PNG decoder", 1);
    if (decoder.png)
        png_destroy_read_struct(&decoder.png, decoder.info ? &decoder.info : NULL, NULL);
    free(decoder.row);
    free(decoder.sums);
    return status;
}
