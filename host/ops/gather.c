/* From images to the network's input: the reference, and kernels/gather.cl. */
#include "ops/gather.h"

#include <math.h>
#include <stdlib.h>

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

static double pixel_at(const cvy_gather_shape *shape, const void *pixels, size_t at) {
    return shape->floats ? (double)((const float *)pixels)[at] : ((const uint8_t *)pixels)[at];
}

void cvy_gather_reference(const cvy_gather_shape *shape, int n, const void *images, const int32_t *all_labels,
                          const uint32_t *indices, float *y, int32_t *labels) {
    const cvy_image_spec *image = &shape->image;
    const size_t width = (size_t)image->width, plane = (size_t)image->height * width,
                 channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++)
        for (int row = -image->border; row < image->height + image->border; row++)
            for (int column = -image->border; column < image->width + image->border; column++)
                for (int i = 0; i < shape->pitch; i++) {
                    const size_t which = i >= n ? 0 : shape->in_order ? (size_t)i : indices[i];
                    double pixel = 0;
                    if (row >= 0 && row < image->height && column >= 0 && column < image->width)
                        pixel =
                            pixel_at(shape, images,
                                     (which * channels + c) * plane + (size_t)row * width + (size_t)column);
                    *y++ = i < n ? (float)((pixel / cvy_gather_white(shape) - image->mean[c]) / image->std[c])
                                 : 0;
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
    int length;         /* pixels of a row that one work-item makes */
    cvy_buffer *levels; /* factors and shifts */
};

static cvy_size levels_size(const cvy_gather_shape *shape) {
    return (cvy_size){.what = "levels of images", .bytes = 2 * (size_t)shape->image.channels * sizeof(float)};
}

void cvy_gather_sizes(const cvy_device_traits *traits, const cvy_gather_shape *shape, cvy_sizes *sizes) {
    if (!traits->host)
        cvy_sizes_add(sizes, levels_size(shape));
}

void cvy_image_levels(const cvy_image_spec *image, double white, float *factors, float *shifts) {
    for (int c = 0; c < image->channels; c++) {
        factors[c] = (float)(1 / (white * image->std[c]));
        shifts[c] = (float)(-(double)image->mean[c] / image->std[c]);
    }
}

convoy_status cvy_levels_create(convoy_device *device, const cvy_gather_shape *shape, cvy_buffer **levels) {
    const cvy_size size = levels_size(shape);
    float values[8];
    cvy_image_levels(&shape->image, cvy_gather_white(shape), values, values + shape->image.channels);
    convoy_status status = cvy_size_create(device, &size, 1, levels);
    return status ? status : cvy_buffer_write(*levels, 0, values, size.bytes);
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
    return cvy_levels_create(op->device, &op->shape, &op->levels);
}

convoy_status cvy_gather_create(convoy_device *device, const cvy_gather_shape *shape, cvy_gather **op) {
    convoy_status status = cvy_gather_check(shape);
    if (!status && (shape->in_height != shape->image.height || shape->in_width != shape->image.width))
        status = cvy_fail(CONVOY_INVALID, "images of %dx%d are gathered as %dx%d without being resized",
                          shape->in_height, shape->in_width, shape->image.height, shape->image.width);
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
    cvy_buffer_free(op->levels);
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
    cvy_grid grid = cvy_groups(size, (vectors + size - 1) / size,
                               (size_t)shape->image.height + 2 * (size_t)shape->image.border,
                               (size_t)shape->image.channels * (size_t)parts);
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(images), cvy_buf(all_labels), cvy_buf(indices),
                      cvy_ulong(index_offset), cvy_int(n), cvy_int(shape->in_order), cvy_buf(op->levels),
                      cvy_buf(y), cvy_buf(labels), cvy_int(shape->image.channels),
                      cvy_int(shape->image.height), cvy_int(shape->image.width), cvy_int(shape->image.border),
                      cvy_int((int)vectors), cvy_int(op->length));
}
