/* Decoding PNG with libpng. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/image_formats.h"

/* Of pixels as the file has them, which may be 8 bytes each: what inflating may cost. */
enum { MOST_BYTES = 4 * CVY_MOST_PIXELS };

typedef struct decoder {
    const uint8_t *file;
    size_t size, position;
    png_structp png;
    png_infop info;
    char message[128];
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

/* Everything here may end in on_error's longjmp; nothing is owned by local variables. */
static convoy_status decode(decoder *decoder, const char *path, cvy_pixels *pixels) {
    png_structp png = decoder->png;
    png_set_user_limits(png, PNG_UINT_31_MAX,
                        PNG_UINT_31_MAX); /* cvy_pixels_create checks, with a better message */
    png_set_read_fn(png, decoder, read_bytes);
    skip_texts(png);
    png_read_info(png, decoder->info);
    int channels = png_get_color_type(png, decoder->info) & PNG_COLOR_MASK_COLOR ? 3 : 1;
    convoy_status status = cvy_pixels_create(path, channels, png_get_image_height(png, decoder->info),
                                             png_get_image_width(png, decoder->info), pixels);
    if (status)
        return status;
    const size_t bytes = png_get_rowbytes(png, decoder->info) * (size_t)pixels->height;
    if (bytes > MOST_BYTES)
        return cvy_fail(CONVOY_INVALID, "%s: %zu million bytes of pixels; at most %d million are read", path,
                        bytes / 1000000, MOST_BYTES / 1000000);
    ask_for_8_bits_without_alpha(decoder);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    size_t row = (size_t)pixels->width * (size_t)channels;
    if (png_get_rowbytes(png, decoder->info) != row)
        png_error(png, "unexpected row size");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < pixels->height; y++)
            png_read_row(png, pixels->data + (size_t)y * row, NULL);
    png_read_end(png, decoder->info);
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 exif_size = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(png, decoder->info, &exif_size, &exif))
        pixels->orientation = cvy_exif_orientation(exif, exif_size);
#endif
    return CONVOY_OK;
}

static convoy_status guarded_decode(decoder *decoder, const char *path, cvy_pixels *pixels) {
    if (setjmp(png_jmpbuf(decoder->png)))
        return cvy_fail(CONVOY_INVALID, "%s: damaged PNG image: %s", path, decoder->message);
    return decode(decoder, path, pixels);
}

convoy_status cvy_png_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    (void)wanted;
    decoder decoder = {.file = file, .size = size};
    decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
    decoder.info = decoder.png ? png_create_info_struct(decoder.png) : NULL;
    convoy_status status =
        decoder.info ? guarded_decode(&decoder, path, pixels) : cvy_fail_memory("a PNG decoder", 1);
    if (decoder.png)
        png_destroy_read_struct(&decoder.png, decoder.info ? &decoder.info : NULL, NULL);
    return status;
}
