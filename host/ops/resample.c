/* Resampling: what part of a picture is taken, the tables of each axis, the host's loops, and
   kernels/resample.cl. */
#include "ops/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "ops/vector.h"

enum {
    WEIGHT_BITS = 15, /* weights of one output sum to 1 << 15 */
    EXTRA_BITS = 8,   /* kept between the two passes: 255 << 8 fits 16 bits, its weighted sum 32 */
};

/* ---- The tables of an axis ---- */

static void mixing_free(cvy_mixing *mixing) {
    free(mixing->first);
    free(mixing->weights);
    *mixing = (cvy_mixing){0};
}

/* Output i looks at input position start + (i + 1/2) * scale through a triangle of half-width max(scale, 1).
 */
static void mix_one(cvy_mixing *mixing, size_t i, double start, double scale, size_t inputs,
                    double *scratch) {
    double half = scale > 1 ? scale : 1, centre = start + ((double)i + 0.5) * scale, total = 0;
    double low = floor(centre - half + 0.5);
    size_t first = low > 0 ? (size_t)low : 0;
    first = first + mixing->taps > inputs ? inputs - mixing->taps : first;
    for (size_t t = 0; t < mixing->taps; t++) {
        double distance = fabs(((double)(first + t) + 0.5 - centre) / half);
        scratch[t] = distance < 1 ? 1 - distance : 0;
        total += scratch[t];
    }
    /* Rounded weights must still sum to 1: the largest takes the difference. */
    int left = 1 << WEIGHT_BITS;
    size_t largest = 0;
    uint16_t *weights = mixing->weights + i * mixing->taps;
    for (size_t t = 0; t < mixing->taps; t++) {
        weights[t] = (uint16_t)lround(scratch[t] / total * (1 << WEIGHT_BITS));
        left -= weights[t];
        largest = weights[t] > weights[largest] ? t : largest;
    }
    weights[largest] = (uint16_t)(weights[largest] + left);
    mixing->first[i] = (int)first;
}

static size_t taps_of(double scale, size_t inputs) {
    const size_t taps = (size_t)ceil(2 * (scale > 1 ? scale : 1)) + 1;
    return taps < inputs ? taps : inputs;
}

static convoy_status mixing_create(cvy_mixing *mixing, size_t count, double start, double scale,
                                   size_t inputs) {
    const size_t taps = taps_of(scale, inputs);
    mixing->count = count;
    mixing->taps = taps;
    mixing->first = malloc(count * sizeof *mixing->first);
    mixing->weights = malloc(count * taps * sizeof *mixing->weights);
    double *scratch = malloc(taps * sizeof *scratch);
    bool allocated = mixing->first && mixing->weights && scratch;
    for (size_t i = 0; allocated && i < count; i++)
        mix_one(mixing, i, start, scale, inputs, scratch);
    free(scratch);
    return allocated ? CONVOY_OK
                     : cvy_fail_memory("resizing an image", count * taps * sizeof *mixing->weights);
}

/* ---- What is taken of a picture ---- */

/* Where it begins, how many of its pixels become one, and the rows and columns that it becomes. */
typedef struct part {
    double left, top, scale_x, scale_y;
    int height, width;
} part;

/* The centre of a picture that has the shape of an image, as large as it can be. */
static part covering(const cvy_image_spec *image, int from_height, int from_width) {
    const int height = image->height, width = image->width;
    const double scale = fmin((double)from_width / width, (double)from_height / height);
    return (part){
        (from_width - width * scale) / 2, (from_height - height * scale) / 2, scale, scale, height, width};
}

/* torchvision's Resize to this short side, and CenterCrop: both sides and the crop are whole pixels. */
static part cropped(const cvy_image_spec *image, int from_height, int from_width) {
    const int short_side = image->short_side;
    const bool upright = from_height > from_width;
    const int shorter = upright ? from_width : from_height, longer = upright ? from_height : from_width;
    const double long_side = trunc((double)short_side * longer / shorter); /* more than an int holds */
    const double scale_x = (double)from_width / (upright ? short_side : long_side),
                 scale_y = (double)from_height / (upright ? long_side : short_side);
    const double left = nearbyint(((upright ? short_side : long_side) - image->width) / 2.0),
                 top = nearbyint(((upright ? long_side : short_side) - image->height) / 2.0);
    return (part){left * scale_x, top * scale_y, scale_x, scale_y, image->height, image->width};
}

/* All of a picture, as large as fits in. */
static part boxed(const cvy_image_spec *image, int from_height, int from_width) {
    const double scale = fmax((double)from_width / image->width, (double)from_height / image->height);
    const int width = (int)fmax(1, nearbyint(from_width / scale)),
              height = (int)fmax(1, nearbyint(from_height / scale));
    return (part){0, 0, (double)from_width / width, (double)from_height / height, height, width};
}

static part part_of(const cvy_image_spec *image, int from_height, int from_width) {
    if (image->resize == CVY_LETTERBOX)
        return boxed(image, from_height, from_width);
    if (image->resize == CVY_SHORT_SIDE)
        return image->short_side ? cropped(image, from_height, from_width)
                                 : covering(image, from_height, from_width);
    return (part){
        0,           0, (double)from_width / image->width, (double)from_height / image->height, image->height,
        image->width};
}

bool cvy_resampling_needed(const cvy_image_spec *image, int height, int width) {
    return height != image->height || width != image->width || image->short_side > height ||
           image->short_side > width;
}

convoy_status cvy_resampling_create(const cvy_image_spec *image, int height, int width, cvy_resampling *r) {
    const part part = part_of(image, height, width);
    *r = (cvy_resampling){.from_height = height,
                          .from_width = width,
                          .height = image->height,
                          .width = image->width,
                          .top = (image->height - part.height) / 2,
                          .left = (image->width - part.width) / 2};
    convoy_status status =
        mixing_create(&r->columns, (size_t)part.width, part.left, part.scale_x, (size_t)width);
    if (!status)
        status = mixing_create(&r->rows, (size_t)part.height, part.top, part.scale_y, (size_t)height);
    if (status)
        cvy_resampling_free(r);
    return status;
}

void cvy_resampling_free(cvy_resampling *resampling) {
    mixing_free(&resampling->rows);
    mixing_free(&resampling->columns);
}

/* ---- On the host ---- */

/* Rows [from_height][from_width][channels] -> [from_height][columns.count][channels] with EXTRA_BITS more. */
static void mix_columns(const cvy_resampling *r, const uint8_t *from, size_t channels, uint16_t *to) {
    const cvy_mixing *columns = &r->columns;
    for (size_t y = 0; y < (size_t)r->from_height; y++) {
        const uint8_t *row = from + y * (size_t)r->from_width * channels;
        for (size_t x = 0; x < columns->count; x++)
            for (size_t c = 0; c < channels; c++) {
                const uint8_t *in = row + (size_t)columns->first[x] * channels + c;
                const uint16_t *weights = columns->weights + x * columns->taps;
                uint32_t sum = 1u << (WEIGHT_BITS - EXTRA_BITS - 1);
                for (size_t t = 0; t < columns->taps; t++)
                    sum += (uint32_t)weights[t] * in[t * channels];
                *to++ = (uint16_t)(sum >> (WEIGHT_BITS - EXTRA_BITS));
            }
    }
}

/* [from_height][row] -> [rows.count] rows of bytes that begin `pitch` apart. */
static void mix_rows(const cvy_mixing *rows, const uint16_t *from, size_t row, size_t pitch, uint8_t *to) {
    for (size_t y = 0; y < rows->count; y++)
        for (size_t x = 0; x < row; x++) {
            uint32_t sum = 1u << (WEIGHT_BITS + EXTRA_BITS - 1);
            for (size_t t = 0; t < rows->taps; t++)
                sum += (uint32_t)rows->weights[y * rows->taps + t] *
                       from[((size_t)rows->first[y] + t) * row + x];
            to[y * pitch + x] = (uint8_t)(sum >> (WEIGHT_BITS + EXTRA_BITS));
        }
}

convoy_status cvy_resample_bytes(const cvy_resampling *r, const uint8_t *from, size_t channels, uint8_t *to) {
    const size_t row = r->columns.count * channels, pitch = (size_t)r->width * channels,
                 bytes = (size_t)r->from_height * row * sizeof(uint16_t);
    uint16_t *narrow = malloc(bytes);
    if (!narrow)
        return cvy_fail_memory("resizing an image", bytes);
    if (row < pitch || r->rows.count < (size_t)r->height)
        memset(to, 0, (size_t)r->height * pitch);
    mix_columns(r, from, channels, narrow);
    mix_rows(&r->rows, narrow, row, pitch, to + (size_t)r->top * pitch + (size_t)r->left * channels);
    free(narrow);
    return CONVOY_OK;
}

/* A plane of floats, as the formula says. */
static void resample_floats(const cvy_resampling *r, const float *from, float *to) {
    memset(to, 0, (size_t)r->height * (size_t)r->width * sizeof *to);
    for (size_t y = 0; y < r->rows.count; y++)
        for (size_t x = 0; x < r->columns.count; x++) {
            double sum = 0;
            for (size_t j = 0; j < r->rows.taps; j++)
                for (size_t i = 0; i < r->columns.taps; i++)
                    sum += (double)r->rows.weights[y * r->rows.taps + j] *
                           r->columns.weights[x * r->columns.taps + i] *
                           from[((size_t)r->rows.first[y] + j) * (size_t)r->from_width +
                                (size_t)r->columns.first[x] + i];
            to[((size_t)r->top + y) * (size_t)r->width + (size_t)r->left + x] =
                (float)ldexp(sum, -2 * WEIGHT_BITS);
        }
}

/* ---- The op ---- */

static size_t pixel_bytes(const cvy_gather_shape *shape) {
    return shape->floats ? sizeof(float) : 1;
}

static convoy_status refer(const cvy_resampling *r, const cvy_gather_shape *shape, int n, const void *images,
                           const uint32_t *indices, void *made) {
    const size_t channels = (size_t)shape->image.channels, pixel = pixel_bytes(shape),
                 from = (size_t)r->from_height * (size_t)r->from_width,
                 to = (size_t)r->height * (size_t)r->width;
    convoy_status status = CONVOY_OK;
    for (size_t p = 0; p < (size_t)n * channels && !status; p++) {
        const char *plane =
            (const char *)images + (indices[p / channels] * channels + p % channels) * from * pixel;
        char *out = (char *)made + p * to * pixel;
        if (shape->floats)
            resample_floats(r, (const float *)(const void *)plane, (float *)(void *)out);
        else
            status = cvy_resample_bytes(r, (const uint8_t *)plane, 1, (uint8_t *)out);
    }
    return status;
}

convoy_status cvy_resample_reference(const cvy_gather_shape *shape, int n, const void *images,
                                     const uint32_t *indices, void *made) {
    cvy_resampling resampling;
    convoy_status status =
        cvy_resampling_create(&shape->image, shape->in_height, shape->in_width, &resampling);
    if (status)
        return status;
    status = refer(&resampling, shape, n, images, indices, made);
    cvy_resampling_free(&resampling);
    return status;
}

struct cvy_resample {
    convoy_device *device;
    cvy_gather_shape shape;
    cvy_resampling tables;
    double *counts; /* [in_height + in_width]: of each row and column in the mean of what is made */
    bool host;
    cvy_kernel *mix_columns, *mix_rows;
    int length, lanes;          /* columns that a work-item makes */
    cvy_buffer *columns, *rows; /* the tables: see kernels/resample.cl */
    cvy_buffer *narrow, *made;
};

enum { LANES = 16 };

/* Each output line's first input, and the weights behind it. */
static cvy_size lines_size(const char *what, int count, double scale, int inputs) {
    return (cvy_size){.what = what,
                      .bytes = (size_t)count * (1 + taps_of(scale, (size_t)inputs)) * sizeof(int32_t)};
}

/* Of an image, beside the tables. */
typedef struct needs {
    cvy_size columns, rows, narrow, made;
} needs;

static size_t narrow_pitch(size_t columns) {
    return (columns + LANES - 1) / LANES * LANES;
}

static needs needs_of(const cvy_gather_shape *shape) {
    const part part = part_of(&shape->image, shape->in_height, shape->in_width);
    const size_t channels = (size_t)shape->image.channels, pixel = pixel_bytes(shape);
    return (needs){lines_size("columns of a resize", part.width, part.scale_x, shape->in_width),
                   lines_size("rows of a resize", part.height, part.scale_y, shape->in_height),
                   {"rows of resized images",
                    channels * (size_t)shape->in_height * narrow_pitch((size_t)part.width) *
                        (shape->floats ? sizeof(float) : sizeof(uint16_t)),
                    CVY_PER_COLUMN},
                   {"resized images",
                    channels * (size_t)shape->image.height * (size_t)shape->image.width * pixel,
                    CVY_PER_COLUMN}};
}

void cvy_resample_sizes(const cvy_device_traits *traits, const cvy_gather_shape *shape, cvy_sizes *sizes) {
    const needs needs = needs_of(shape);
    if (!traits->host) {
        cvy_sizes_add(sizes, needs.columns);
        cvy_sizes_add(sizes, needs.rows);
        cvy_sizes_add(sizes, needs.narrow);
    }
    cvy_sizes_add(sizes, needs.made);
}

static convoy_status upload_lines(convoy_device *device, const cvy_mixing *mixing, const cvy_size *size,
                                  cvy_buffer **buffer) {
    int32_t *lines = malloc(size->bytes), *line = lines;
    convoy_status status =
        lines ? cvy_size_create(device, size, 1, buffer) : cvy_fail_memory(size->what, size->bytes);
    for (size_t i = 0; i < mixing->count && !status; i++) {
        *line++ = mixing->first[i];
        for (size_t t = 0; t < mixing->taps; t++)
            *line++ = mixing->weights[i * mixing->taps + t];
    }
    if (!status)
        status = cvy_buffer_write(*buffer, 0, lines, size->bytes);
    free(lines);
    return status;
}

/* What lies beside the pictures is written once, and stays. */
static convoy_status clear(cvy_buffer *buffer, size_t bytes, size_t count) {
    char *zeros = calloc(bytes, 1);
    convoy_status status = zeros ? CONVOY_OK : cvy_fail_memory("an image", bytes);
    for (size_t i = 0; i < count && !status; i++)
        status = cvy_buffer_write(buffer, i * bytes, zeros, bytes);
    free(zeros);
    return status;
}

/* A core makes whole rows, and those of neighbours in vectors; neighbours on a GPU each have their work-item.
 */
static convoy_status prepare(cvy_resample *op, const needs *needs) {
    convoy_device *device = op->device;
    const bool cpu = cvy_device_get_traits(device)->cpu;
    const size_t pitch = (size_t)op->shape.pitch;
    const cvy_resampling *r = &op->tables;
    op->length = cpu ? (int)r->columns.count : 1;
    op->lanes = cpu ? LANES : 1;
    convoy_status status =
        cvy_kernel_build(device, "resample", "resample_columns",
                         CVY_OPTIONS({"FLOATS", op->shape.floats}, {"LANES", op->lanes}), &op->mix_columns);
    if (!status)
        status =
            cvy_kernel_build(device, "resample", "resample_rows",
                             CVY_OPTIONS({"FLOATS", op->shape.floats}, {"LANES", op->lanes}), &op->mix_rows);
    if (!status)
        status = upload_lines(device, &r->columns, &needs->columns, &op->columns);
    if (!status)
        status = upload_lines(device, &r->rows, &needs->rows, &op->rows);
    if (!status)
        status = cvy_size_create(device, &needs->narrow, pitch, &op->narrow);
    if (!status && (r->rows.count < (size_t)r->height || r->columns.count < (size_t)r->width))
        status = clear(op->made, needs->made.bytes, pitch);
    return status;
}

/* How much each input of an axis counts in the mean of all outputs. */
static void add_weights(const cvy_mixing *mixing, double *all) {
    for (size_t i = 0; i < mixing->count; i++)
        for (size_t t = 0; t < mixing->taps; t++)
            all[(size_t)mixing->first[i] + t] += ldexp(mixing->weights[i * mixing->taps + t], -WEIGHT_BITS);
}

static convoy_status count_inputs(cvy_resample *op) {
    const size_t height = (size_t)op->shape.in_height, width = (size_t)op->shape.in_width;
    op->counts = calloc(height + width, sizeof *op->counts);
    if (!op->counts)
        return cvy_fail_memory("a resize", (height + width) * sizeof *op->counts);
    add_weights(&op->tables.rows, op->counts);
    add_weights(&op->tables.columns, op->counts + height);
    return CONVOY_OK;
}

convoy_status cvy_resample_create(convoy_device *device, const cvy_gather_shape *shape, cvy_resample **out) {
    cvy_resample *op = calloc(1, sizeof *op);
    if (!op)
        return cvy_fail_memory("a resize", sizeof *op);
    const needs needs = needs_of(shape);
    *op = (cvy_resample){.device = device, .shape = *shape, .host = cvy_device_get_traits(device)->host};
    convoy_status status =
        cvy_resampling_create(&shape->image, shape->in_height, shape->in_width, &op->tables);
    if (!status)
        status = count_inputs(op);
    if (!status)
        status = cvy_size_create(device, &needs.made, (size_t)shape->pitch, &op->made);
    if (!status && !op->host)
        status = prepare(op, &needs);
    if (!status)
        *out = op;
    else
        cvy_resample_free(op);
    return status;
}

void cvy_resample_free(cvy_resample *op) {
    if (!op)
        return;
    cvy_resampling_free(&op->tables);
    free(op->counts);
    cvy_buffer_free(op->columns);
    cvy_buffer_free(op->rows);
    cvy_buffer_free(op->narrow);
    cvy_buffer_free(op->made);
    free(op);
}

void cvy_resample_means(const cvy_resample *op, const void *image, float *means) {
    const cvy_gather_shape *shape = &op->shape;
    const size_t height = (size_t)shape->in_height, width = (size_t)shape->in_width;
    for (size_t c = 0, at = 0; c < (size_t)shape->image.channels; c++) {
        double sum = 0;
        for (size_t y = 0; y < height; y++) {
            double row = 0;
            for (size_t x = 0; x < width; x++, at++)
                row += op->counts[height + x] *
                       (shape->floats ? (double)((const float *)image)[at] : ((const uint8_t *)image)[at]);
            sum += op->counts[y] * row;
        }
        means[c] = (float)(sum / shape->image.height / shape->image.width / cvy_gather_white(shape));
    }
}

/* `rows` rows of each plane, in parts whose items make so many columns each. */
static cvy_grid groups_of(const cvy_resample *op, cvy_kernel *kernel, int columns, size_t planes, int rows,
                          int *parts) {
    const size_t items = ceil_div_size(op->tables.columns.count, (size_t)columns),
                 size = cvy_group_size(op->device, kernel, items);
    *parts = (int)ceil_div_size(items, size);
    return cvy_groups(size, planes * (size_t)*parts, (size_t)rows, 1);
}

convoy_status cvy_resample_run(cvy_resample *op, int n, cvy_buffer *images, cvy_buffer *indices,
                               size_t index_offset, cvy_buffer **made) {
    const cvy_gather_shape *shape = &op->shape;
    const cvy_resampling *r = &op->tables;
    *made = op->made;
    if (op->host)
        return refer(r, shape, n, cvy_buffer_host(images),
                     (const uint32_t *)cvy_buffer_host(indices) + index_offset, cvy_buffer_host(op->made));
    const size_t columns = r->columns.count, planes = (size_t)n * (size_t)shape->image.channels;
    const int pitch = (int)narrow_pitch(columns);
    int parts;
    cvy_grid grid = groups_of(op, op->mix_columns, op->length, planes, shape->in_height, &parts);
    convoy_status status =
        CVY_LAUNCH(op->mix_columns, grid, cvy_buf(images), cvy_buf(indices), cvy_ulong(index_offset),
                   cvy_buf(op->columns), cvy_buf(op->narrow), cvy_int(shape->image.channels),
                   cvy_int(shape->in_height), cvy_int(shape->in_width), cvy_int((int)columns), cvy_int(pitch),
                   cvy_int((int)r->columns.taps), cvy_int(parts), cvy_int(op->length));
    if (status)
        return status;
    grid = groups_of(op, op->mix_rows, op->lanes, planes, (int)r->rows.count, &parts);
    return CVY_LAUNCH(op->mix_rows, grid, cvy_buf(op->narrow), cvy_buf(op->rows), cvy_buf(op->made),
                      cvy_int(shape->in_height), cvy_int((int)columns), cvy_int(pitch), cvy_int(r->height),
                      cvy_int(r->width), cvy_int(r->top), cvy_int(r->left), cvy_int((int)r->rows.taps),
                      cvy_int(parts));
}
