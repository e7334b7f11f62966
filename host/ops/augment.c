/* The op that samples: looks as words, the reference, and kernels/augment.cl. */
#include "ops/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/vector.h"

/* The words of a look: those of kernels/augment.cl. */
enum {
    MAP = 0,
    RANGE = 6, /* first and last column and row of the picture that are seen: x, y, x, y */
    SHOWN = 10,
    BITS = 14, /* of a whole-numbered map; or else, */
    EDGES = 14,
    SLOPES = 18,
    WHOLE_WORDS = 15,
    SMOOTH_WORDS = 22
};

/* ---- Shapes ---- */

convoy_status cvy_augment_describe(const cvy_gather_shape *gather, const cvy_transforms *transforms,
                                   cvy_augment_shape *shape) {
    const cvy_image_spec *image = &gather->image;
    size_t at;
    *shape = (cvy_augment_shape){.gather = *gather,
                                 .frame = {.height = image->height, .width = image->width, .shrink = 1},
                                 .height = image->height,
                                 .width = image->width};
    convoy_status status = cvy_gather_check(gather);
    return status ? status
                  : cvy_transforms_check(transforms, image->height, image->width, &shape->frame, &at);
}

static bool resized(const cvy_augment_shape *shape) {
    return shape->height != shape->gather.in_height || shape->width != shape->gather.in_width;
}

/* Of the set's pixels to the picture's. */
static double ratio_x(const cvy_augment_shape *shape) {
    return (double)shape->gather.in_width / shape->width;
}

static double ratio_y(const cvy_augment_shape *shape) {
    return (double)shape->gather.in_height / shape->height;
}

/* What white is in the set. */
static double white(const cvy_augment_shape *shape) {
    return shape->gather.floats ? 1 : 255;
}

static double fill(const cvy_augment_shape *shape) {
    return shape->frame.fill / 255 * white(shape);
}

/* ---- Looks as words ---- */

size_t cvy_look_words(const cvy_augment_shape *shape) {
    return shape->frame.smooth ? SMOOTH_WORDS : WHOLE_WORDS;
}

static int32_t word_of(double value) {
    const float single = (float)value;
    int32_t word;
    memcpy(&word, &single, sizeof word);
    return word;
}

static double real_of(int32_t word) {
    float single;
    memcpy(&single, &word, sizeof single);
    return single;
}

static int32_t whole(double value) {
    return (int32_t)fmax(fmin(value, 1 << 30), -(1 << 30));
}

/* As many binary digits, at most 16, as leave every place within 2^30. */
static int bits_of(const cvy_look *look) {
    double most = 1;
    for (int i = 0; i < 6; i += 3)
        most = fmax(most, fabs(look->place[i]) * look->width + fabs(look->place[i + 1]) * look->height +
                              fabs(look->place[i + 2]) + 1);
    int bits = 16;
    while (bits > 0 && ldexp(most, bits) > 1 << 30)
        bits--;
    return bits;
}

static void pack_whole(const cvy_look *look, int32_t *words, size_t room) {
    const int bits = bits_of(look);
    for (size_t i = 0; i < 6; i++) {
        const double half = i % 3 == 2 ? 0.5 : 0; /* so that cutting off rounds */
        words[(MAP + i) * room] = whole(rint(ldexp(look->place[i] + half, bits)));
    }
    words[BITS * room] = bits;
}

static void pack_smooth(const cvy_look *look, int32_t *words, size_t room) {
    for (size_t i = 0; i < 6; i++)
        words[(MAP + i) * room] = word_of(look->place[i]);
    for (size_t edge = 0; edge < 4; edge++) {
        const cvy_edge *e = &look->inside[edge];
        words[(EDGES + edge) * room] = word_of(e->at);
        words[(SLOPES + edge) * room] = word_of((edge < 2 ? 1 : -1) / e->step);
    }
}

void cvy_look_pack(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room,
                   size_t at) {
    const int most[2] = {shape->width - 1, shape->height - 1};
    words += at;
    if (shape->frame.smooth)
        pack_smooth(look, words, room);
    else
        pack_whole(look, words, room);
    for (size_t axis = 0; axis < 2; axis++) {
        /* Nothing is seen where the last is before the first, which is one of the picture even so. */
        const double first = ceil(look->inside[axis].at), last = floor(look->inside[axis + 2].at);
        words[(RANGE + axis) * room] = whole(fmin(fmax(first, 0), most[axis]));
        words[(RANGE + axis + 2) * room] = whole(fmin(fmax(last, -1), most[axis]));
        words[(SHOWN + axis) * room] = whole(ceil(look->shown[axis]));
        words[(SHOWN + axis + 2) * room] = whole(floor(look->shown[axis + 2]));
    }
}

/* ---- Reference ---- */

/* A look, taken from its words. */
typedef struct looking {
    const cvy_augment_shape *shape;
    const void *images;
    const int32_t *words;
    size_t room;
} looking;

static int32_t word(const looking *l, size_t which) {
    return l->words[which * l->room];
}

static double real(const looking *l, size_t which) {
    return real_of(word(l, which));
}

/* Where pixel (column, row) lies in the picture, along an axis. */
static double place(const looking *l, size_t axis, int column, int row) {
    const size_t at = MAP + 3 * axis;
    if (l->shape->frame.smooth)
        return real(l, at) * column + real(l, at + 1) * row + real(l, at + 2);
    const int64_t sum =
        (int64_t)word(l, at) * column + (int64_t)word(l, at + 1) * row + (int64_t)word(l, at + 2);
    return floor(ldexp((double)sum, -word(l, BITS)));
}

/* How much of the picture is seen from there, along an axis. */
static double inside(const looking *l, size_t axis, double at) {
    double all = 1;
    if (!l->shape->frame.smooth)
        return at >= word(l, RANGE + axis) && at <= word(l, RANGE + axis + 2);
    for (size_t edge = axis; edge < 4; edge += 2) {
        const double beyond = (at - real(l, EDGES + edge)) * real(l, SLOPES + edge) + 0.5;
        all *= fmin(fmax(beyond, 0), 1);
    }
    return all;
}

/* The two pixels of the set's image between which it lies, and how much the second counts. */
static double between(const looking *l, size_t axis, double at, int pixel[2]) {
    const cvy_gather_shape *gather = &l->shape->gather;
    int first = word(l, RANGE + axis), last = word(l, RANGE + axis + 2);
    if (resized(l->shape)) {
        first = 0;
        last = (axis ? gather->in_height : gather->in_width) - 1;
        at = (at + 0.5) * (axis ? ratio_y(l->shape) : ratio_x(l->shape)) - 0.5;
    }
    at = fmax(fmin(at, last), first);
    pixel[0] = (int)at;
    pixel[1] = pixel[0] < last ? pixel[0] + 1 : pixel[0];
    return at - pixel[0];
}

/* `start`: of the channel's plane in the image. */
static double sample(const looking *l, size_t start, int column, int row) {
    const cvy_gather_shape *gather = &l->shape->gather;
    if (column < word(l, SHOWN) || row < word(l, SHOWN + 1) || column > word(l, SHOWN + 2) ||
        row > word(l, SHOWN + 3))
        return fill(l->shape);
    const double x = place(l, 0, column, row), y = place(l, 1, column, row);
    const double seen = inside(l, 0, x) * inside(l, 1, y);
    int columns[2], rows[2];
    const double right = between(l, 0, x, columns), down = between(l, 1, y, rows);
    double value = 0;
    for (int r = 0; r < 2; r++)
        for (int c = 0; c < 2; c++) {
            const size_t at = start + (size_t)rows[r] * (size_t)gather->in_width + (size_t)columns[c];
            const double pixel =
                gather->floats ? (double)((const float *)l->images)[at] : ((const uint8_t *)l->images)[at];
            value += (r ? down : 1 - down) * (c ? right : 1 - right) * pixel;
        }
    return value * seen + fill(l->shape) * (1 - seen);
}

void cvy_augment_reference(const cvy_augment_shape *shape, int n, const void *images,
                           const int32_t *all_labels, const uint32_t *indices, const int32_t *looks,
                           size_t room, float *y, int32_t *labels) {
    const cvy_gather_shape *gather = &shape->gather;
    const cvy_image_spec *image = &gather->image;
    const size_t plane = (size_t)gather->in_height * (size_t)gather->in_width,
                 channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++)
        for (int row = -image->border; row < image->height + image->border; row++)
            for (int column = -image->border; column < image->width + image->border; column++)
                for (int i = 0; i < gather->pitch; i++) {
                    const bool seen = row >= 0 && row < image->height && column >= 0 && column < image->width;
                    const looking l = {shape, images, looks + i, room};
                    const double pixel =
                        i < n && seen ? sample(&l, (indices[i] * channels + c) * plane, column, row) : 0;
                    *y++ = i < n ? (float)((pixel / white(shape) - image->mean[c]) / image->std[c]) : 0;
                }
    for (int i = 0; i < gather->pitch; i++)
        labels[i] = i < n ? all_labels[indices[i]] : 0;
}

/* ---- Prepared op ---- */

struct cvy_augment {
    convoy_device *device;
    cvy_augment_shape shape;
    bool host;
    cvy_kernel *kernel;
    size_t group_size;
    int vectors, length; /* pixels of a row that one work-item makes */
    cvy_buffer *levels;  /* factors and shifts */
};

static cvy_size levels_size(const cvy_augment_shape *shape) {
    return (cvy_size){.what = "levels of images",
                      .bytes = 2 * (size_t)shape->gather.image.channels * sizeof(float)};
}

void cvy_augment_sizes(const cvy_device_traits *traits, const cvy_augment_shape *shape, cvy_sizes *sizes) {
    if (!traits->host)
        cvy_sizes_add(sizes, levels_size(shape));
}

static convoy_status upload_levels(cvy_augment *op) {
    const cvy_image_spec *image = &op->shape.gather.image;
    const cvy_size size = levels_size(&op->shape);
    float levels[8];
    for (int c = 0; c < image->channels; c++) {
        levels[c] = (float)(1 / (white(&op->shape) * image->std[c]));
        levels[image->channels + c] = (float)(-(double)image->mean[c] / image->std[c]);
    }
    convoy_status status = cvy_size_create(op->device, &size, 1, &op->levels);
    return status ? status : cvy_buffer_write(op->levels, 0, levels, size.bytes);
}

static convoy_status prepare(cvy_augment *op) {
    const cvy_gather_shape *gather = &op->shape.gather;
    const int width = cvy_pitch_width(op->device, (size_t)gather->pitch);
    convoy_status status = cvy_kernel_build(
        op->device, "augment", "augment",
        CVY_OPTIONS({"VW", width}, {"CHANNELS", gather->image.channels}, {"FLOATS", gather->floats},
                    {"SMOOTH", op->shape.frame.smooth}, {"RESIZED", resized(&op->shape)}),
        &op->kernel);
    if (status)
        return status;
    op->vectors = gather->pitch / width;
    op->group_size = cvy_group_size(op->device, op->kernel, (size_t)op->vectors);
    /* A core makes whole rows; a GPU needs more work-items than an image has rows. */
    op->length = cvy_device_get_traits(op->device)->cpu ? gather->image.width + 2 * gather->image.border : 4;
    return upload_levels(op);
}

convoy_status cvy_augment_create(convoy_device *device, const cvy_augment_shape *shape, cvy_augment **op) {
    cvy_augment *made = malloc(sizeof *made);
    if (!made)
        return cvy_fail_memory("an augmentation", sizeof *made);
    *made = (cvy_augment){.device = device, .shape = *shape, .host = cvy_device_get_traits(device)->host};
    convoy_status status = made->host ? CONVOY_OK : prepare(made);
    if (!status)
        *op = made;
    else
        cvy_augment_free(made);
    return status;
}

void cvy_augment_free(cvy_augment *op) {
    if (!op)
        return;
    cvy_buffer_free(op->levels);
    free(op);
}

convoy_status cvy_augment_run(cvy_augment *op, const cvy_augment_operands *on) {
    const cvy_gather_shape *gather = &op->shape.gather;
    const cvy_image_spec *image = &gather->image;
    if (op->host) {
        cvy_augment_reference(&op->shape, on->n, cvy_buffer_host(on->images), cvy_buffer_host(on->all_labels),
                              (const uint32_t *)cvy_buffer_host(on->indices) + on->index_offset,
                              (const int32_t *)cvy_buffer_host(on->looks) + on->look_offset, on->room,
                              cvy_buffer_host(on->y), cvy_buffer_host(on->labels));
        return CONVOY_OK;
    }
    const int width = image->width + 2 * image->border, parts = (width + op->length - 1) / op->length;
    const size_t size = op->group_size, groups = ((size_t)op->vectors + size - 1) / size;
    cvy_grid grid = cvy_groups(size, groups, (size_t)(image->height + 2 * image->border), (size_t)parts);
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(on->images), cvy_buf(on->all_labels), cvy_buf(on->indices),
                      cvy_ulong(on->index_offset), cvy_int(on->n), cvy_buf(on->looks), cvy_ulong(on->room),
                      cvy_ulong(on->look_offset), cvy_buf(op->levels), cvy_buf(on->y), cvy_buf(on->labels),
                      cvy_int(gather->in_height), cvy_int(gather->in_width), cvy_int(image->height),
                      cvy_int(image->width), cvy_int(image->border), cvy_float((float)ratio_x(&op->shape)),
                      cvy_float((float)ratio_y(&op->shape)), cvy_float((float)fill(&op->shape)),
                      cvy_int(op->vectors), cvy_int(op->length));
}
