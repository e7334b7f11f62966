/* Decoding PNG with libpng. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/image_formats.h"
#include "data/image_rows.h"

typedef struct decoder {
    const uint8_t *file;
    size_t size, position;
    png_structp png;
    png_infop info;
    char message[128];
    cvy_rows rows;
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

static void read_rows(decoder *decoder, int passes) {
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < decoder->rows.height; y++) {
            png_read_row(decoder->png, cvy_rows_place(&decoder->rows, y), NULL);
            cvy_rows_add(&decoder->rows, y);
        }
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
                 width = png_get_image_width(png, decoder->info),
                 bytes = png_get_rowbytes(png, decoder->info);
    pixels->orientation = orientation_of(decoder);
    if (png_get_interlace_type(png, decoder->info) != PNG_INTERLACE_NONE)
        wanted.height = wanted.width = 0; /* it would have to be in memory as a whole */
    convoy_status status =
        cvy_rows_create(path, channels, height, width, height * bytes, wanted, pixels, &decoder->rows);
    if (status)
        return status;
    ask_for_8_bits_without_alpha(decoder);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    if (png_get_rowbytes(png, decoder->info) != width * (size_t)channels)
        png_error(png, "unexpected row size");
    read_rows(decoder, passes);
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
    cvy_rows_free(&decoder.rows);
    return status;
}
