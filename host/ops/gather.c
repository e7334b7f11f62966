/* From byte images to the network's input: the reference, and kernels/gather.cl with its tables. */
#include "ops/gather.h"

#include <stdlib.h>

#include "ops/vector.h"

/* ---- Checks ---- */

static convoy_status check(const cvy_gather_shape *shape) {
    const int limit = 16384;
    if (shape->channels < 1 || shape->channels > 4)
        return cvy_fail(CONVOY_INVALID, "images of %d channels: 1 to 4 are supported", shape->channels);
    if (shape->in_height < 1 || shape->in_width < 1 || shape->out_height < 1 || shape->out_width < 1 ||
        shape->border < 0 || shape->in_height > limit || shape->in_width > limit ||
        shape->out_height > limit || shape->out_width > limit || shape->border > limit)
        return cvy_fail(
            CONVOY_INVALID, "images of %dx%d brought to %dx%d with a border of %d: sizes must be 1 to %d",
            shape->in_height, shape->in_width, shape->out_height, shape->out_width, shape->border, limit);
    for (int c = 0; c < shape->channels; c++)
        if (!(shape->std[c] > 0))
            return cvy_fail(CONVOY_INVALID, "std of channel %d is %g: it must be over 0", c,
                            (double)shape->std[c]);
    return CONVOY_OK;
}

/* ---- Reference ---- */

/* Output o lies between pixel `*first` and the next one, which counts the returned part: ops/resize.h. */
static double source(int o, int in, int out, int *first) {
    double at = (o + 0.5) * in / out - 0.5;
    at = at < 0 ? 0 : at;
    *first = (int)at < in - 1 ? (int)at : in - 1;
    return *first < in - 1 ? at - *first : 0;
}

/* The value between 0 and 255 at (row, column) of the resized image. */
static double resized(const cvy_gather_shape *shape, const uint8_t *image, int row, int column) {
    int top, left;
    double down = source(row, shape->in_height, shape->out_height, &top);
    double right = source(column, shape->in_width, shape->out_width, &left);
    size_t width = (size_t)shape->in_width, at = (size_t)top * width + (size_t)left;
    size_t below = top + 1 < shape->in_height ? width : 0, beside = left + 1 < shape->in_width ? 1 : 0;
    double over = image[at] * (1 - right) + image[at + beside] * right;
    double under = image[at + below] * (1 - right) + image[at + below + beside] * right;
    return over * (1 - down) + under * down;
}

void cvy_gather_reference(const cvy_gather_shape *shape, int n, const uint8_t *images,
                          const int32_t *all_labels, const uint32_t *indices, float *y, int32_t *labels) {
    size_t image_bytes = (size_t)shape->in_height * (size_t)shape->in_width, at = 0;
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = -shape->border; row < shape->out_height + shape->border; row++)
            for (int column = -shape->border; column < shape->out_width + shape->border; column++)
                for (int i = 0; i < shape->pitch; i++, at++) {
                    bool inside =
                        row >= 0 && row < shape->out_height && column >= 0 && column < shape->out_width;
                    double value = 0;
                    if (i < n && inside)
                        value = resized(shape,
                                        images +
                                            ((size_t)indices[i] * (size_t)shape->channels + (size_t)channel) *
                                                image_bytes,
                                        row, column);
                    y[at] = i < n ? (float)((value / 255 - shape->mean[channel]) / shape->std[channel]) : 0;
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

static size_t first_table(const cvy_gather_shape *shape) {
    return ((size_t)shape->out_height + (size_t)shape->out_width) * sizeof(int);
}

static size_t second_table(const cvy_gather_shape *shape) {
    return ((size_t)shape->out_height + (size_t)shape->out_width + 2 * (size_t)shape->channels) *
           sizeof(float);
}

size_t cvy_gather_bytes(convoy_device *device, const cvy_gather_shape *shape) {
    return cvy_device_get_traits(device)->host
               ? 0
               : cvy_buffer_footprint(first_table(shape)) + cvy_buffer_footprint(second_table(shape));
}

static convoy_status upload_tables(cvy_gather *op) {
    const cvy_gather_shape *shape = &op->shape;
    size_t rows = (size_t)shape->out_height, columns = (size_t)shape->out_width,
           channels = (size_t)shape->channels;
    size_t first_bytes = first_table(shape), second_bytes = second_table(shape);
    convoy_status status = CONVOY_OK;
    int *first = malloc(first_bytes);
    float *second = malloc(second_bytes);
    if (!first || !second) {
        status = cvy_fail_memory("tables of a resize", first_bytes + second_bytes);
        goto done;
    }
    for (size_t i = 0; i < rows + columns; i++)
        second[i] = (float)(i < rows ? source((int)i, shape->in_height, shape->out_height, &first[i])
                                     : source((int)(i - rows), shape->in_width, shape->out_width, &first[i]));
    for (size_t c = 0; c < channels; c++) {
        second[rows + columns + c] = (float)(1 / (255.0 * shape->std[c]));
        second[rows + columns + channels + c] = (float)(-(double)shape->mean[c] / shape->std[c]);
    }
    status = cvy_buffer_create(op->device, first_bytes, "positions of a resize", &op->first);
    if (status == CONVOY_OK)
        status = cvy_buffer_create(op->device, second_bytes, "weights of a resize", &op->second);
    if (status == CONVOY_OK)
        status = cvy_buffer_write(op->first, 0, first, first_bytes);
    if (status == CONVOY_OK)
        status = cvy_buffer_write(op->second, 0, second, second_bytes);
done:
    free(first);
    free(second);
    return status;
}

static convoy_status prepare(cvy_gather *op) {
    convoy_status status =
        cvy_kernel_get_pitch(op->device, "gather", "gather", (size_t)op->shape.pitch, &op->kernel);
    if (status != CONVOY_OK)
        return status;
    int vectors = op->shape.pitch / cvy_pitch_width(op->device, (size_t)op->shape.pitch);
    op->group_size = cvy_group_size(op->device, op->kernel, (size_t)vectors);
    /* A core makes whole rows; a GPU needs more work-items than an image has rows. */
    op->length = cvy_device_get_traits(op->device)->cpu ? op->shape.out_width + 2 * op->shape.border : 8;
    return upload_tables(op);
}

convoy_status cvy_gather_create(convoy_device *device, const cvy_gather_shape *shape, cvy_gather **op) {
    convoy_status status = check(shape);
    if (status != CONVOY_OK)
        return status;
    cvy_gather *made = malloc(sizeof *made);
    if (!made)
        return cvy_fail_memory("a gather op", sizeof *made);
    *made = (cvy_gather){.device = device, .shape = *shape, .host = cvy_device_get_traits(device)->host};
    status = made->host ? CONVOY_OK : prepare(made);
    if (status == CONVOY_OK)
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
    int width = shape->out_width + 2 * shape->border, parts = (width + op->length - 1) / op->length;
    cvy_grid grid =
        cvy_groups(size, (vectors + size - 1) / size, (size_t)(shape->out_height + 2 * shape->border),
                   (size_t)(shape->channels * parts));
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(images), cvy_buf(all_labels), cvy_buf(indices),
                      cvy_ulong(index_offset), cvy_int(n), cvy_buf(op->first), cvy_buf(op->second),
                      cvy_buf(y), cvy_buf(labels), cvy_int(shape->channels), cvy_int(shape->in_height),
                      cvy_int(shape->in_width), cvy_int(shape->out_height), cvy_int(shape->out_width),
                      cvy_int(shape->border), cvy_int((int)vectors), cvy_int(op->length));
}
