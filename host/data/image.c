/* Fitting a photograph to a size and to a model's channels. */
#include "data/image.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/given.h"
#include "convoy/data.h"
#include "ops/resample.h"

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
    const cvy_image_spec wanted = {.height = fitting->height,
                                   .width = fitting->width,
                                   .resize = fitting->resize,
                                   .short_side = fitting->short_side};
    const size_t count = (size_t)wanted.height * (size_t)wanted.width, channels = (size_t)pixels->channels;
    if (!cvy_resampling_needed(&wanted, pixels->height, pixels->width)) {
        to_planes(pixels->data, pixels->channels, count, fitting->channels, image);
        return CONVOY_OK;
    }
    cvy_resampling resampling = {0};
    uint8_t *fitted = malloc(count * channels);
    convoy_status status = fitted ? CONVOY_OK : cvy_fail_memory("resizing an image", count * channels);
    if (!status)
        status = cvy_resampling_create(&wanted, pixels->height, pixels->width, &resampling);
    if (!status)
        status = cvy_resample_bytes(&resampling, pixels->data, channels, fitted);
    if (!status)
        to_planes(fitted, pixels->channels, count, fitting->channels, image);
    cvy_resampling_free(&resampling);
    free(fitted);
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
