/* Images to predict: PNG, JPEG and IDX files, without classes. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "data/image.h"

/* What has been read of the files so far. */
typedef struct reader {
    convoy_dataset *dataset;
    int channels, height, width; /* wanted; 0: as the first image is */
    size_t capacity;
} reader;

static convoy_status make_room(reader *reader, size_t more) {
    convoy_dataset *dataset = reader->dataset;
    size_t each = cvy_dataset_image_bytes(dataset), needed = dataset->count + more, bytes;
    if (needed <= reader->capacity)
        return CONVOY_OK;
    size_t capacity = needed > 2 * reader->capacity ? needed : 2 * reader->capacity;
    if (__builtin_mul_overflow(capacity, each, &bytes))
        return cvy_fail(CONVOY_INVALID, "%zu images of %zu bytes are too many", capacity, each);
    uint8_t *images = realloc(dataset->images, bytes);
    dataset->images = images ? images : dataset->images;
    char **paths = realloc(dataset->paths, capacity * sizeof *paths);
    dataset->paths = paths ? paths : dataset->paths;
    if (!images || !paths)
        return cvy_fail_memory("the images", bytes);
    reader->capacity = capacity;
    return CONVOY_OK;
}

/* The first image fixes what the options leave open. */
static convoy_status agree(reader *reader, const char *path, int channels, int height, int width) {
    convoy_dataset *dataset = reader->dataset;
    if (!dataset->count) {
        dataset->channels = reader->channels ? reader->channels : channels;
        dataset->height = reader->height ? reader->height : height;
        dataset->width = reader->width ? reader->width : width;
    }
    if (!reader->height && (height != dataset->height || width != dataset->width))
        return cvy_fail(CONVOY_INVALID,
                        "%s: an image of %d x %d among images of %d x %d; they must be of one size", path,
                        width, height, dataset->width, dataset->height);
    return CONVOY_OK;
}

static convoy_status add(reader *reader, const char *path, const cvy_pixels *pixels) {
    convoy_dataset *dataset = reader->dataset;
    convoy_status status = agree(reader, path, pixels->channels, pixels->height, pixels->width);
    if (status == CONVOY_OK)
        status = make_room(reader, 1);
    if (status == CONVOY_OK)
        status = cvy_image_fit(pixels, dataset->channels, dataset->height, dataset->width,
                               dataset->images + dataset->count * cvy_dataset_image_bytes(dataset));
    if (status != CONVOY_OK)
        return status;
    char *copy = strdup(path);
    if (!copy)
        return cvy_fail_memory("a path", strlen(path));
    dataset->paths[dataset->count++] = copy;
    return CONVOY_OK;
}

static convoy_status add_idx(reader *reader, const char *path, size_t limit) {
    cvy_idx idx;
    convoy_status status = cvy_idx_read(path, 3, limit, &idx);
    for (size_t i = 0; status == CONVOY_OK && i < idx.count; i++) {
        cvy_pixels one = {1, (int)idx.height, (int)idx.width, idx.data + i * idx.height * idx.width};
        status = add(reader, path, &one);
    }
    free(idx.data);
    return status;
}

static convoy_status add_file(reader *reader, const char *path, size_t limit) {
    if (cvy_idx_is_images(path))
        return add_idx(reader, path, limit);
    cvy_pixels pixels;
    convoy_status status =
        cvy_image_read(path, (cvy_wanted){reader->channels, reader->height, reader->width}, &pixels);
    if (status == CONVOY_OK)
        status = add(reader, path, &pixels);
    free(pixels.data);
    return status;
}

convoy_status cvy_files_open(const char *const *files, size_t count, const convoy_dataset_options *options,
                             convoy_dataset *dataset) {
    reader reader = {dataset, options->channels, options->height, options->width, 0};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; status == CONVOY_OK && i < count; i++) {
        if (options->limit && dataset->count >= options->limit)
            break;
        status = add_file(&reader, files[i], options->limit ? options->limit - dataset->count : 0);
    }
    if (status != CONVOY_OK)
        return status;
    dataset->labels = calloc(dataset->count, sizeof *dataset->labels);
    return dataset->labels ? CONVOY_OK : cvy_fail_memory("labels", dataset->count * sizeof *dataset->labels);
}
