/* Decoding the first image of a TIFF file with libtiff. */
#include "data/image_formats.h"

#ifdef CONVOY_TIFF
#include "base/integer.h"
#include "data/image_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

/* What a strip or a tile may ask for: more than any image within CVY_MOST_PIXELS needs. */
static const tmsize_t most_memory = (tmsize_t)1 << 30;

typedef struct source {
    const uint8_t *file;
    size_t size, position;
    char message[256];
} source;

static tmsize_t read_bytes(thandle_t handle, void *out, tmsize_t length) {
    source *from = handle;
    const size_t left = from->position < from->size ? from->size - from->position : 0,
                 count = (size_t)length < left ? (size_t)length : left;
    if (count)
        memcpy(out, from->file + from->position, count);
    from->position += count;
    return (tmsize_t)count;
}

static tmsize_t write_bytes(thandle_t handle, void *data, tmsize_t length) {
    (void)handle, (void)data, (void)length;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    source *from = handle;
    from->position = (size_t)offset + (whence == SEEK_CUR   ? from->position
                                       : whence == SEEK_END ? from->size
                                                            : 0);
    return from->position;
}

/* The file is in memory: libtiff 4.5 reads tiles of odd sizes from there only. */
static int map(thandle_t handle, void **bytes, toff_t *size) {
    source *from = handle;
    *bytes = (void *)from->file;
    *size = from->size;
    return 1;
}

static void unmap_nothing(thandle_t handle, void *bytes, toff_t size) {
    (void)handle, (void)bytes, (void)size;
}

static int close_nothing(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) {
    return ((source *)handle)->size;
}

static int hear_error(TIFF *tiff, void *context, const char *module, const char *format, va_list arguments) {
    (void)tiff, (void)module;
    source *from = context;
    if (!from->message[0])
        vsnprintf(from->message, sizeof from->message, format, arguments);
    return 1;
}

/* Unknown tags and the like. */
static int hear_warning(TIFF *tiff, void *context, const char *module, const char *format,
                        va_list arguments) {
    (void)tiff, (void)context, (void)module, (void)format, (void)arguments;
    return 1;
}

static convoy_status fail(const char *path, const char *reason) {
    return cvy_fail(CONVOY_INVALID, "%s: damaged TIFF image, or of an unknown kind: %s", path,
                    *reason ? reason : "it cannot be decoded");
}

/* Colours beside transparency are taken as they are: libtiff would multiply them. */
static void ignore_transparency(TIFF *tiff) {
    uint16_t count = 0, *kinds = NULL;
    if (TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) && count == 1 &&
        kinds[0] == EXTRASAMPLE_UNASSALPHA)
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]){EXTRASAMPLE_ASSOCALPHA});
}

/* How many rows are unpacked together: those of a strip or of a row of tiles. */
static size_t rows_at_once(TIFF *tiff, size_t height) {
    uint32_t rows = 0;
    TIFFGetFieldDefaulted(tiff, TIFFIsTiled(tiff) ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP, &rows);
    return rows && rows < height ? rows : height;
}

/* libtiff's words hold red in their lowest byte. */
static void take_colours(const uint32_t *raster, size_t from, size_t count, cvy_rows *rows) {
    const size_t channels = (size_t)rows->pixels->channels;
    for (size_t y = from; y < from + count; y++) {
        uint8_t *row = cvy_rows_place(rows, y);
        for (size_t x = 0; x < rows->width; x++, raster++)
            for (size_t c = 0; c < channels; c++)
                row[x * channels + c] = (uint8_t)(*raster >> 8 * c);
        cvy_rows_add(rows, y);
    }
}

static convoy_status read_bands(const char *path, TIFFRGBAImage *image, size_t band, cvy_rows *rows) {
    uint32_t *raster = calloc(band * rows->width, sizeof *raster);
    if (!raster)
        return cvy_fail_memory(path, band * rows->width * sizeof *raster);
    convoy_status status = CONVOY_OK;
    for (size_t y = 0; !status && y < rows->height; y += band) {
        const size_t count = min_size(band, rows->height - y);
        image->row_offset = (int)y;
        if (TIFFRGBAImageGet(image, raster, image->width, (uint32_t)count))
            take_colours(raster, y, count, rows);
        else
            status = fail(path, "");
    }
    free(raster);
    return status;
}

static convoy_status read_image(const char *path, TIFFRGBAImage *image, size_t band, cvy_wanted wanted,
                                cvy_pixels *pixels) {
    const bool grey =
        image->photometric == PHOTOMETRIC_MINISBLACK || image->photometric == PHOTOMETRIC_MINISWHITE;
    cvy_rows rows = {0};
    image->req_orientation = image->orientation; /* as it is stored */
    convoy_status status =
        cvy_rows_create(path, grey ? 1 : 3, image->height, image->width,
                        sizeof(uint32_t) * image->height * image->width, wanted, pixels, &rows);
    if (!status)
        status = read_bands(path, image, band, &rows);
    cvy_rows_free(&rows);
    return status;
}

static convoy_status decode(const char *path, TIFF *tiff, source *from, cvy_wanted wanted,
                            cvy_pixels *pixels) {
    char reason[1024] = "";
    TIFFRGBAImage image;
    uint16_t orientation = 0;
    uint32_t height = 0, width = 0;
    TIFFGetField(tiff, TIFFTAG_ORIENTATION, &orientation);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    pixels->orientation = orientation <= 8 ? orientation : 0;
    const size_t band = rows_at_once(tiff, height);
    if (band * width > CVY_MOST_PIXELS)
        return cvy_pixels_create(path, 3, height, width, pixels); /* fails with its message */
    ignore_transparency(tiff);
    if (!TIFFRGBAImageBegin(&image, tiff, 1, reason))
        return fail(path, *reason ? reason : from->message);
    convoy_status status = read_image(path, &image, band, wanted, pixels);
    TIFFRGBAImageEnd(&image);
    if (from->message[0] && status != CONVOY_MEMORY)
        status = fail(path, from->message);
    return status;
}

convoy_status cvy_tiff_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels) {
    source from = {.file = file, .size = size};
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options)
        return cvy_fail_memory(path, 1);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, most_memory);
    TIFFOpenOptionsSetErrorHandlerExtR(options, hear_error, &from);
    TIFFOpenOptionsSetWarningHandlerExtR(options, hear_warning, &from);
    TIFF *tiff = TIFFClientOpenExt(path, "r", &from, read_bytes, write_bytes, seek, close_nothing, size_of,
                                   map, unmap_nothing, options);
    TIFFOpenOptionsFree(options);
    convoy_status status = tiff ? decode(path, tiff, &from, wanted, pixels) : fail(path, from.message);
    if (tiff)
        TIFFClose(tiff);
    return status;
}

#else

convoy_status cvy_tiff_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels) {
    (void)file, (void)size, (void)wanted, (void)pixels;
    return cvy_fail(CONVOY_INVALID, "%s: a TIFF image, and this Convoy was built without libtiff", path);
}

#endif
