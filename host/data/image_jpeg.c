/* Decoding JPEG with libjpeg's interface (libjpeg-turbo). */
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "data/image_formats.h"

/* A progressive image of a few kilobytes can ask for thousands of passes over its pixels. The passes over a
   large one are fewer: 15 over the largest, where programs write about ten. */
enum { MOST_SCANS = 200, MOST_PIXELS_OF_SCANS = 15 * CVY_MOST_PIXELS };

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX]; /* of the error, or of the first warning that means lost pixels */
    uint8_t *row;                  /* of a CMYK image */
} decoder;

static decoder *owner(j_common_ptr jpeg) {
    return (decoder *)((char *)jpeg->err - offsetof(decoder, errors));
}

/* libjpeg's own handler would end the process. */
static void on_error(j_common_ptr jpeg) {
    decoder *decoder = owner(jpeg);
    jpeg->err->format_message(jpeg, decoder->message);
    longjmp(decoder->escape, 1);
}

/* Lost pixels are mere warnings to libjpeg, which fills them with grey; to a training set they are damage.
   Odd markers are neither. */
static void on_message(j_common_ptr jpeg, int level) {
    decoder *decoder = owner(jpeg);
    if (level >= 0)
        return;
    switch (jpeg->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_ICC:
        return;
    default:
        if (!decoder->message[0])
            jpeg->err->format_message(jpeg, decoder->message);
    }
}

static void on_progress(j_common_ptr common) {
    decoder *decoder = owner(common);
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    const uint64_t pixels = (uint64_t)jpeg->image_height * jpeg->image_width,
                   most = MOST_PIXELS_OF_SCANS / pixels < MOST_SCANS ? MOST_PIXELS_OF_SCANS / pixels
                                                                     : MOST_SCANS;
    const bool is_damaged = jpeg_has_multiple_scans(jpeg) && decoder->message[0]; /* spares the other scans */
    if ((uint64_t)jpeg->input_scan_number > most)
        snprintf(decoder->message, sizeof decoder->message, "more than %d scans of %u x %u pixels", (int)most,
                 jpeg->image_width, jpeg->image_height);
    else if (!is_damaged)
        return;
    longjmp(decoder->escape, 1);
}

/* Does libjpeg make a picture at 1/denominator of its size that still covers what is wanted? */
static bool covers(const struct jpeg_decompress_struct *jpeg, unsigned denominator, int height, int width) {
    return jpeg->image_height / denominator >= (unsigned)height &&
           jpeg->image_width / denominator >= (unsigned)width;
}

static bool too_large(const struct jpeg_decompress_struct *jpeg, unsigned denominator, size_t most) {
    return (uint64_t)(jpeg->image_height / denominator) * (jpeg->image_width / denominator) > most;
}

/* The largest reduction that is free where that is asked for; else one that brings the picture within the
   limit. One of several scans is in memory as a whole, however small it is made. */
static void choose_scale(struct jpeg_decompress_struct *jpeg, cvy_wanted wanted, int orientation) {
    const bool swapped = orientation >= 5 && !wanted.as_stored;
    const int height = swapped ? wanted.width : wanted.height, width = swapped ? wanted.height : wanted.width;
    const size_t most = cvy_most_pixels(wanted);
    jpeg->scale_num = 1;
    jpeg->scale_denom = 1;
    if (!height || !width || (jpeg_has_multiple_scans(jpeg) && too_large(jpeg, 1, most)))
        return;
    for (unsigned denominator = 2; denominator <= 8; denominator *= 2)
        if (covers(jpeg, denominator, height, width) &&
            (wanted.fast || too_large(jpeg, jpeg->scale_denom, most)))
            jpeg->scale_denom = denominator;
}

static void choose_colours(struct jpeg_decompress_struct *jpeg, cvy_wanted wanted) {
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
        jpeg->out_color_space = JCS_CMYK;
    else if (jpeg->jpeg_color_space == JCS_GRAYSCALE || (wanted.fast && wanted.channels == 1))
        jpeg->out_color_space = JCS_GRAYSCALE;
    else
        jpeg->out_color_space = JCS_RGB;
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg) {
    for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker; marker = marker->next)
        if (marker->data_length > 6 && memcmp(marker->data, "Exif\0", 6) == 0)
            return cvy_exif_orientation(marker->data, marker->data_length);
    return 0;
}

/* Adobe's programs store inks inverted (255: none); others do not. */
static void cmyk_to_rgb(const uint8_t *cmyk, int width, int inverted, uint8_t *rgb) {
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++) {
            unsigned ink = cmyk[4 * x + c], black = cmyk[4 * x + 3];
            unsigned light = inverted ? ink * black : (255 - ink) * (255 - black);
            rgb[3 * x + c] = (uint8_t)((light + 127) / 255);
        }
}

/* Everything here may end in on_error's longjmp; nothing is owned by local variables. */
static convoy_status decode(decoder *decoder, const char *path, cvy_wanted wanted, cvy_pixels *pixels) {
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    pixels->orientation = orientation_of(jpeg);
    choose_scale(jpeg, wanted, pixels->orientation);
    choose_colours(jpeg, wanted);
    if (too_large(jpeg, jpeg->scale_denom, CVY_MOST_PIXELS))
        return cvy_pixels_create(path, 3, jpeg->image_height, jpeg->image_width,
                                 pixels); /* fails with its message */
    jpeg_start_decompress(jpeg);
    int cmyk = jpeg->out_color_space == JCS_CMYK;
    convoy_status status = cvy_pixels_create(path, jpeg->out_color_space == JCS_GRAYSCALE ? 1 : 3,
                                             jpeg->output_height, jpeg->output_width, pixels);
    if (status)
        return status;
    if (cmyk && !(decoder->row = malloc((size_t)pixels->width * 4)))
        return cvy_fail_memory(path, (size_t)pixels->width * 4);
    size_t row_bytes = (size_t)pixels->width * (size_t)pixels->channels;
    while (jpeg->output_scanline < jpeg->output_height && !decoder->message[0]) {
        uint8_t *target = pixels->data + jpeg->output_scanline * row_bytes;
        JSAMPROW row = cmyk ? decoder->row : target;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (cmyk)
            cmyk_to_rgb(row, pixels->width, jpeg->saw_Adobe_marker, target);
    }
    /* With one scan all pixels are there now; what follows them, be it no end marker, says nothing about
       them. Of several scans the end marker tells that none is missing. */
    if (jpeg_has_multiple_scans(jpeg) && !decoder->message[0])
        jpeg_finish_decompress(jpeg);
    if (decoder->message[0])
        return cvy_fail(CONVOY_INVALID, "%s: damaged JPEG image: %s", path, decoder->message);
    return CONVOY_OK;
}

static convoy_status guarded_decode(decoder *decoder, const char *path, const uint8_t *file, size_t size,
                                    cvy_wanted wanted, cvy_pixels *pixels) {
    if (setjmp(decoder->escape))
        return cvy_fail(CONVOY_INVALID, "%s: damaged JPEG image: %s", path, decoder->message);
    jpeg_create_decompress(&decoder->jpeg);
    decoder->progress.progress_monitor = on_progress;
    decoder->jpeg.progress = &decoder->progress;
    jpeg_mem_src(&decoder->jpeg, file, (unsigned long)size);
    return decode(decoder, path, wanted, pixels);
}

convoy_status cvy_jpeg_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels) {
    decoder decoder;
    memset(&decoder, 0, sizeof decoder);
    decoder.jpeg.err = jpeg_std_error(&decoder.errors);
    decoder.errors.error_exit = on_error;
    decoder.errors.emit_message = on_message;
    convoy_status status = guarded_decode(&decoder, path, file, size, wanted, pixels);
    jpeg_destroy_decompress(&decoder.jpeg);
    free(decoder.row);
    return status;
}
