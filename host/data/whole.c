/* Photographs that are kept whole, for what is drawn of them later: each is resized as for a crop of its
   centre, but not cropped. A set's images have one size even so, that of the highest and the widest: what a
   photograph leaves of it, to the right and below, is 0. Those more than twice as long as they are wide are
   cut to that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "data/dataset.h"
#include "data/image.h"

/* What becomes of a photograph: a fitting whose crop cuts nothing off. */
static cvy_fitting whole_of(const convoy_dataset *dataset, const cvy_pixels *pixels) {
    const double height = pixels->height, width = pixels->width;
    const int *least = dataset->covers;
    double scale = fmin(width / least[1], height / least[0]);
    if (dataset->short_side)
        scale = fmin(width, height) / dataset->short_side;
    const int most = 2 * (int)fmax(dataset->short_side, fmax(least[0], least[1]));
    return (cvy_fitting){.channels = dataset->channels,
                         .height = (int)fmin(most, fmax(least[0], trunc(height / scale + 1e-6))),
                         .width = (int)fmin(most, fmax(least[1], trunc(width / scale + 1e-6))),
                         .resize = CVY_SHORT_SIDE,
                         .short_side = dataset->short_side};
}

static convoy_status read_photograph(const convoy_dataset *dataset, size_t index, cvy_pixels *pixels) {
    const int least = dataset->short_side;
    const cvy_wanted wanted = {.channels = dataset->channels,
                               .height = (int)fmax(least, dataset->covers[0]),
                               .width = (int)fmax(least, dataset->covers[1]),
                               .fast = dataset->fast_decode,
                               .as_stored = dataset->as_stored};
    return cvy_image_read(dataset->paths[index], wanted, pixels);
}

/* What cannot be read is told when it is fetched. */
static convoy_status measure_one(void *context, size_t index) {
    const convoy_dataset *dataset = context;
    int *extent = dataset->extents[index];
    cvy_pixels pixels;
    extent[0] = dataset->covers[0];
    extent[1] = dataset->covers[1];
    convoy_status status = read_photograph(dataset, index, &pixels);
    if (!status) {
        const cvy_fitting fitting = whole_of(dataset, &pixels);
        extent[0] = fitting.height;
        extent[1] = fitting.width;
    }
    free(pixels.data);
    return status == CONVOY_MEMORY ? status : CONVOY_OK;
}

static convoy_status fetch(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    const size_t height = (size_t)dataset->extents[index][0], width = (size_t)dataset->extents[index][1],
                 channels = (size_t)dataset->channels, row = (size_t)dataset->width,
                 plane = (size_t)dataset->height * row;
    cvy_pixels pixels;
    convoy_status status = read_photograph(dataset, index, &pixels);
    uint8_t *whole = status ? NULL : malloc(channels * height * width);
    if (!status && !whole)
        status = cvy_fail_memory("resizing an image", channels * height * width);
    const cvy_fitting fitting = {.channels = dataset->channels,
                                 .height = (int)height,
                                 .width = (int)width,
                                 .short_side = dataset->short_side};
    if (!status)
        status = cvy_image_bring(&pixels, &fitting, whole);
    memset(image, 0, channels * plane);
    for (size_t y = 0; y < channels * height && !status; y++)
        memcpy(image + y / height * plane + y % height * row, whole + y * width, width);
    free(whole);
    free(pixels.data);
    return status;
}

convoy_status cvy_dataset_keep_whole(convoy_dataset *dataset, int threads) {
    dataset->covers[0] = dataset->height;
    dataset->covers[1] = dataset->width;
    dataset->extents = calloc(dataset->count, sizeof *dataset->extents);
    if (!dataset->extents)
        return cvy_fail_memory("the sizes of images", dataset->count * sizeof *dataset->extents);
    convoy_status status = cvy_parallel("measuring images", dataset->count, threads, measure_one, dataset);
    for (size_t i = 0; i < dataset->count; i++) {
        const int *extent = dataset->extents[i];
        dataset->height = extent[0] > dataset->height ? extent[0] : dataset->height;
        dataset->width = extent[1] > dataset->width ? extent[1] : dataset->width;
    }
    dataset->fetch = fetch;
    return status;
}
