/* From images to the network's input: the reference, and kernels/gather.cl with its tables. */
#include "ops/gather.h"

#include <math.h>
#include <stdlib.h>

#include "ops/resize.h"
#include "ops/vector.h"

/* ---- Checks ---- */

convoy_status cvy_gather_check(const cvy_gather_shape *shape) {
    const int limit = 16384;
    const cvy_image_spec *image = &shape->image;
    if (image->channels < 1 || image->channels > 4)
        return cvy_fail(CONVOY_INVALID, "images of %d channels: 1 to 4 are supported", image->channels);
    if (shape->in_height < 1 || shape->in_width < 1 || image->height < 1 || image->width < 1 ||
        image->border < 0 || shape->in_height > limit || shape->in_width > limit || image->height > limit ||
        image->width > limit || image->border > limit)
        return cvy_fail(CONVOY_INVALID,
                        "images of %dx%d brought to %dx%d with a border of %d: sizes must be 1 to %d",
                        shape->in_height, shape->in_width, image->height, image->width, image->border, limit);
    for (int c = 0; c < image->channels; c++)
        if (!isfinite(image->mean[c]) || !isfinite(image->std[c]) || image->std[c] <= 0)
            return cvy_fail(CONVOY_INVALID,
                            "channel %d cannot be normalised by mean %g and std %g: std must be over 0", c,
                            (double)image->mean[c], (double)image->std[c]);
    return CONVOY_OK;
}

/* ---- Reference ---- */

/* Where output o lies: ops/resize.h. Beyond the last pixel there is nothing to mix. */
static double source(int o, int in, int out, int *first) {
    double part = cvy_resize_source(o, in, out, first);
    return *first < in - 1 ? part : 0;
}

static double pixel_at(const cvy_gather_shape *shape, const void *pixels, size_t at) {
    return shape->floats ? (double)((const float *)pixels)[at] : ((const uint8_t *)pixels)[at];
}

/* What one unit of a pixel is of the range 0..1. */
static double unit(const cvy_gather_shape *shape) {
    return shape->floats ? 1 : 255;
}

/* The value at (row, column) of the resized image, which begins at `start`; 0 in the border. */
static double resized(const cvy_gather_shape *shape, const void *pixels, size_t start, int row, int column) {
    const cvy_image_spec *image = &shape->image;
    if (row < 0 || row >= image->height || column < 0 || column >= image->width)
        return 0;
    int top, left;
    double down = source(row, shape->in_height, image->height, &top);
    double right = source(column, shape->in_width, image->width, &left);
    size_t width = (size_t)shape->in_width, at = start + (size_t)top * width + (size_t)left;
    size_t below = top + 1 < shape->in_height ? width : 0, beside = left + 1 < shape->in_width ? 1 : 0;
    double over = pixel_at(shape, pixels, at) * (1 - right) + pixel_at(shape, pixels, at + beside) * right;
    double under = pixel_at(shape, pixels, at + below) * (1 - right) +
                   pixel_at(shape, pixels, at + below + beside) * right;
    return over * (1 - down) + under * down;
}

void cvy_gather_reference(const cvy_gather_shape *shape, int n, const void *images, const int32_t *all_labels,
                          const uint32_t *indices, float *y, int32_t *labels) {
    const cvy_image_spec *image = &shape->image;
    size_t plane = (size_t)shape->in_height * (size_t)shape->in_width, channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++)
        for (int row = -image->border; row < image->height + image->border; row++)
            for (int column = -image->border; column < image->width + image->border; column++)
                for (int i = 0; i < shape->pitch; i++) {
                    float value = 0;
                    if (i < n) {
                        double pixel =
                            resized(shape, images, (indices[i] * channels + c) * plane, row, column);
                        value = (float)((pixel / unit(shape) - image->mean[c]) / image->std[c]);
                    }
                    *y++ = value;
                }
    for (int i = 0; i < shape->pitch; i++)
        labels[i] = i < n ? all_labels[indices[i]] : 0;
}

/* ---- Prepared op ---- */

struct cvy_gather {
    convoy_device *device;
    cvy_gather_shape shape;
    bool host;
    cvy_kernel *kernel;
    size_t group_size;
    int length;                 /* pixels of a row that one work-item makes */
    cvy_buffer *first, *second; /* see kernels/gather.cl */
};

static cvy_size first_table(const cvy_gather_shape *shape) {
    const size_t lines = (size_t)shape->image.height + (size_t)shape->image.width;
    return (cvy_size){.what = "positions of a resize", .bytes = lines * sizeof(int)};
}

static cvy_size second_table(const cvy_gather_shape *shape) {
    const size_t lines = (size_t)shape->image.height + (size_t)shape->image.width;
    return (cvy_size){.what = "weights of a resize",
                      .bytes = (lines + 2 * (size_t)shape->image.channels) * sizeof(float)};
}

void cvy_gather_sizes(const cvy_device_traits *traits, const cvy_gather_shape *shape, cvy_sizes *sizes) {
    if (traits->host)
        return;
    cvy_sizes_add(sizes, first_table(shape));
    cvy_sizes_add(sizes, second_table(shape));
}

static convoy_status upload_tables(cvy_gather *op) {
    const cvy_gather_shape *shape = &op->shape;
    size_t rows = (size_t)shape->image.height, columns = (size_t)shape->image.width,
           channels = (size_t)shape->image.channels;
    const cvy_size sizes[] = {first_table(shape), second_table(shape)};
    convoy_status status = CONVOY_OK;
    int *first = malloc(sizes[0].bytes);
    float *second = malloc(sizes[1].bytes);
    if (!first || !second) {
        status = cvy_fail_memory("tables of a resize", sizes[0].bytes + sizes[1].bytes);
        goto done;
    }
    for (size_t i = 0; i < rows + columns; i++)
        second[i] =
            (float)(i < rows ? source((int)i, shape->in_height, shape->image.height, &first[i])
                             : source((int)(i - rows), shape->in_width, shape->image.width, &first[i]));
    for (size_t c = 0; c < channels; c++) {
        second[rows + columns + c] = (float)(1 / (unit(shape) * shape->image.std[c]));
        second[rows + columns + channels + c] = (float)(-(double)shape->image.mean[c] / shape->image.std[c]);
    }
    status = cvy_size_create(op->device, &sizes[0], 1, &op->first);
    if (!status)
        status = cvy_size_create(op->device, &sizes[1], 1, &op->second);
    if (!status)
        status = cvy_buffer_write(op->first, 0, first, sizes[0].bytes);
    if (!status)
        status = cvy_buffer_write(op->second, 0, second, sizes[1].bytes);
done:
    free(first);
    free(second);
    return status;
}

static convoy_status prepare(cvy_gather *op) {
    const int width = cvy_pitch_width(op->device, (size_t)op->shape.pitch);
    convoy_status status =
        op->shape.floats /* rare: a program of their own */
            ? cvy_kernel_build(op->device, "gather", "gather", CVY_OPTIONS({"VW", width}, {"FLOATS", 1}),
                               &op->kernel)
            : cvy_kernel_get_pitch(op->device, "gather", "gather", (size_t)op->shape.pitch, &op->kernel);
    if (status)
        return status;
    int vectors = op->shape.pitch / width;
    op->group_size = cvy_group_size(op->device, op->kernel, (size_t)vectors);
    /* A core makes whole rows; a GPU needs more work-items than an image has rows. */
    op->length =
        cvy_device_get_traits(op->device)->cpu ? op->shape.image.width + 2 * op->shape.image.border : 8;
    return upload_tables(op);
}

convoy_status cvy_gather_create(convoy_device *device, const cvy_gather_shape *shape, cvy_gather **op) {
    convoy_status status = cvy_gather_check(shape);
    if (status)
        return status;
    cvy_gather *made = malloc(sizeof *made);
    if (!made)
        return cvy_fail_memory("a gather op", sizeof *made);
    *made = (cvy_gather){.device = device, .shape = *shape, .host = cvy_device_get_traits(device)->host};
    status = made->host ? CONVOY_OK : prepare(made);
    if (!status)
        *op = made;
    else
        cvy_gather_free(made);
    return status;
}

void cvy_gather_free(cvy_gather *op) {
    if (!op)
        return;
    cvy_buffer_free(op->first);
    cvy_buffer_free(op->second);
    free(op);
}

convoy_status cvy_gather_run(cvy_gather *op, int n, cvy_buffer *images, cvy_buffer *all_labels,
                             cvy_buffer *indices, size_t index_offset, cvy_buffer *y, cvy_buffer *labels) {
    const cvy_gather_shape *shape = &op->shape;
    if (op->host) {
        cvy_gather_reference(shape, n, cvy_buffer_host(images), cvy_buffer_host(all_labels),
                             (const uint32_t *)cvy_buffer_host(indices) + index_offset, cvy_buffer_host(y),
                             cvy_buffer_host(labels));
        return CONVOY_OK;
    }
    size_t vectors = (size_t)(shape->pitch / cvy_pitch_width(op->device, (size_t)op->shape.pitch)),
           size = op->group_size;
    int width = shape->image.width + 2 * shape->image.border, parts = (width + op->length - 1) / op->length;
    cvy_grid grid =
        cvy_groups(size, (vectors + size - 1) / size, (size_t)(shape->image.height + 2 * shape->image.border),
                   (size_t)(shape->image.channels * parts));
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(images), cvy_buf(all_labels), cvy_buf(indices),
                      cvy_ulong(index_offset), cvy_int(n), cvy_buf(op->first), cvy_buf(op->second),
                      cvy_buf(y), cvy_buf(labels), cvy_int(shape->image.channels), cvy_int(shape->in_height),
                      cvy_int(shape->in_width), cvy_int(shape->image.height), cvy_int(shape->image.width),
                      cvy_int(shape->image.border), cvy_int((int)vectors), cvy_int(op->length));
}
