/* Decoding the first image of a GIF file with giflib. */
#include "data/image_formats.h"

#ifdef CONVOY_GIF
#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

typedef struct source {
    const uint8_t *file;
    size_t size, position;
} source;

static int read_bytes(GifFileType *gif, GifByteType *out, int length) {
    source *from = gif->UserData;
    const size_t left = from->size - from->position, count = (size_t)length < left ? (size_t)length : left;
    memcpy(out, from->file + from->position, count);
    from->position += count;
    return (int)count;
}

static convoy_status fail(const char *path, const GifFileType *gif, int error) {
    const char *text = GifErrorString(gif ? gif->Error : error);
    return cvy_fail(CONVOY_INVALID, "%s: damaged GIF image: %s", path, text ? text : "no image in it");
}

/* Goes to the first image. *clear: the colour number of what no image covers, which a graphics control block
   makes transparent, or 0: as Pillow. */
static bool find_image(GifFileType *gif, int *clear) {
    GifRecordType type = UNDEFINED_RECORD_TYPE;
    *clear = 0;
    while (DGifGetRecordType(gif, &type) == GIF_OK && type == EXTENSION_RECORD_TYPE) {
        int code = 0;
        GifByteType *block = NULL;
        GraphicsControlBlock control;
        if (DGifGetExtension(gif, &code, &block) != GIF_OK)
            return false;
        if (code == GRAPHICS_EXT_FUNC_CODE && block &&
            DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK &&
            control.TransparentColor != NO_TRANSPARENT_COLOR)
            *clear = control.TransparentColor;
        while (block)
            if (DGifGetExtensionNext(gif, &block) != GIF_OK)
                return false;
    }
    return type == IMAGE_DESC_RECORD_TYPE && DGifGetImageDesc(gif) == GIF_OK;
}

static void paint(const ColorMapObject *colours, int number, uint8_t *pixel) {
    const GifColorType black = {0, 0, 0},
                       *colour = number < colours->ColorCount ? &colours->Colors[number] : &black;
    pixel[0] = colour->Red;
    pixel[1] = colour->Green;
    pixel[2] = colour->Blue;
}

/* Rows come in their order, or every eighth, and then those between. */
static convoy_status read_rows(const char *path, GifFileType *gif, const ColorMapObject *colours,
                               uint8_t *row, cvy_pixels *pixels) {
    static const int firsts[] = {0, 4, 2, 1}, steps[] = {8, 8, 4, 2};
    const GifImageDesc *image = &gif->Image;
    for (int pass = image->Interlace ? 0 : 3; pass < 4; pass++) {
        const int first = image->Interlace ? firsts[pass] : 0, step = image->Interlace ? steps[pass] : 1;
        for (int y = first; y < image->Height; y += step) {
            if (DGifGetLine(gif, row, image->Width) != GIF_OK)
                return fail(path, gif, 0);
            for (int x = 0; x < image->Width && image->Top + y < pixels->height; x++)
                if (image->Left + x < pixels->width)
                    paint(colours, row[x],
                          pixels->data + 3 * ((size_t)(image->Top + y) * (size_t)pixels->width +
                                              (size_t)(image->Left + x)));
        }
    }
    return CONVOY_OK;
}

static convoy_status decode(const char *path, GifFileType *gif, cvy_pixels *pixels) {
    int clear;
    if (!find_image(gif, &clear))
        return fail(path, gif, 0);
    const ColorMapObject *colours = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;
    if (!colours || gif->Image.Width < 1 || gif->Image.Height < 1)
        return cvy_fail(CONVOY_INVALID, "%s: damaged GIF image: no colours or no pixels", path);
    if ((size_t)gif->Image.Height * (size_t)gif->Image.Width > CVY_MOST_PIXELS) /* be they seen or not */
        return cvy_pixels_create(path, 3, (size_t)gif->Image.Height, (size_t)gif->Image.Width,
                                 pixels); /* fails with its message */
    convoy_status status = cvy_pixels_create(path, 3, (size_t)gif->SHeight, (size_t)gif->SWidth, pixels);
    uint8_t *row = status ? NULL : malloc((size_t)gif->Image.Width);
    if (!status && !row)
        status = cvy_fail_memory(path, (size_t)gif->Image.Width);
    if (!status) {
        paint(colours, clear, pixels->data);
        cvy_pixels_spread(pixels->data, 3, (size_t)pixels->height * (size_t)pixels->width);
    }
    if (!status)
        status = read_rows(path, gif, colours, row, pixels);
    free(row);
    return status;
}

convoy_status cvy_gif_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    (void)wanted;
    int error = 0;
    source from = {file, size, 0};
    GifFileType *gif = DGifOpen(&from, read_bytes, &error);
    if (!gif)
        return fail(path, NULL, error);
    convoy_status status = decode(path, gif, pixels);
    DGifCloseFile(gif, &error);
    return status;
}

#else

convoy_status cvy_gif_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    (void)file, (void)size, (void)wanted, (void)pixels;
    return cvy_fail(CONVOY_INVALID, "%s: a GIF image, and this Convoy was built without giflib", path);
}

#endif
