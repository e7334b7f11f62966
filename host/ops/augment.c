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
    SUPPORTS = 22, /* where more than two neighbours are mixed */
    WHOLE_WORDS = 15,
    SMOOTH_WORDS = 22,
    SHRINKING_WORDS = 24,
    /* Behind them, each if there are any: the colours and the pivots, [channel][channel] each; what is
       erased: x, y, x, y; */
    FOLD_WORDS = 8, /* where the picture folds and what may be seen of the unfolded, x, y, x, y each; */
    HUE_WORDS = 1   /* colours and pivots before the hue turns, and by how much it does */
};

/* ---- Shapes ---- */

convoy_status cvy_augment_describe(const cvy_gather_shape *gather, const cvy_transforms *transforms,
                                   const int *covers, cvy_augment_shape *shape) {
    const cvy_image_spec *image = &gather->image;
    const int height = gather->in_height, width = gather->in_width;
    const int *least = covers ? covers : (const int[2]){image->height, image->width};
    size_t at;
    *shape = (cvy_augment_shape){
        .gather = *gather,
        .frame = {
            .channels = image->channels, .height = least[0], .width = least[1], .longer = 1, .shrink = 1}};
    if (covers)
        shape->frame.longer = fmax((double)height / covers[0], (double)width / covers[1]);
    convoy_status status = cvy_gather_check(gather);
    if (!status && (height < 2 || width < 2))
        status = cvy_fail(CONVOY_INVALID, "images of %dx%d are too small to be augmented: 2x2 is the least",
                          height, width);
    return status ? status
                  : cvy_transforms_check(transforms, image->height, image->width, &shape->frame, &at);
}

/* A level of 0..255. */
static double level(const cvy_augment_shape *shape, double of_255) {
    return of_255 / 255 * cvy_gather_white(&shape->gather);
}

void cvy_augment_means(const cvy_gather_shape *gather, const void *image, int height, int width,
                       float *means) {
    const size_t row = (size_t)gather->in_width, plane = (size_t)gather->in_height * row;
    for (size_t c = 0; c < (size_t)gather->image.channels; c++) {
        double sum = 0;
        for (size_t y = 0; y < (size_t)height; y++) {
            const size_t begin = c * plane + y * row;
            uint32_t bytes = 0;
            for (size_t x = begin; x < begin + (size_t)width && gather->floats; x++)
                sum += ((const float *)image)[x];
            for (size_t x = begin; x < begin + (size_t)width && !gather->floats; x++)
                bytes += ((const uint8_t *)image)[x];
            sum += bytes;
        }
        means[c] = (float)(sum / height / width / cvy_gather_white(gather));
    }
}

/* ---- Looks as words ---- */

/* Neighbours along a side that can count. */
static int taps(const cvy_augment_shape *shape) {
    return shape->frame.shrink > 1 ? (int)ceil(2 * shape->frame.shrink) : 2;
}

static size_t colour_word(const cvy_augment_shape *shape) {
    return !shape->frame.smooth ? WHOLE_WORDS : taps(shape) > 2 ? SHRINKING_WORDS : SMOOTH_WORDS;
}

static size_t matrix_words(const cvy_augment_shape *shape) {
    const size_t channels = (size_t)shape->gather.image.channels;
    return shape->frame.colours ? channels * channels : 0;
}

static size_t erased_word(const cvy_augment_shape *shape) {
    return colour_word(shape) + 2 * matrix_words(shape);
}

static size_t fold_word(const cvy_augment_shape *shape) {
    return erased_word(shape) + (shape->frame.erases ? 4 : 0);
}

static size_t early_word(const cvy_augment_shape *shape) {
    return fold_word(shape) + (shape->frame.fold ? FOLD_WORDS : 0);
}

static size_t hue_word(const cvy_augment_shape *shape) {
    return early_word(shape) + 2 * matrix_words(shape);
}

size_t cvy_look_step_word(const cvy_augment_shape *shape) {
    return shape->frame.hues ? hue_word(shape) + HUE_WORDS : early_word(shape);
}

static int most_steps(const cvy_frame *frame) {
    return frame->steps ? frame->steps + frame->erases : 0;
}

size_t cvy_look_words(const cvy_augment_shape *shape) {
    return cvy_look_step_word(shape) + (size_t)most_steps(&shape->frame) * CVY_TONE_WORDS;
}

cvy_tone_shape cvy_augment_steps(const cvy_augment_shape *shape) {
    return (cvy_tone_shape){.image = shape->gather.image,
                            .pitch = shape->gather.pitch,
                            .steps = most_steps(&shape->frame),
                            .fill = (int)(shape->frame.fill + 0.5)};
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

/* As many binary digits, at most 16, as leave every place within 2^30, and its mirror image. */
static int bits_of(const double map[6], int height, int width, const double *fold) {
    double most = 1;
    for (int i = 0; i < 6; i += 3)
        most = fmax(most, fabs(map[i]) * width + fabs(map[i + 1]) * height + fabs(map[i + 2]) + 1);
    for (int i = 0; i < 4 && fold; i++)
        most = fmax(most, fabs(fold[i]) + 1);
    most *= fold ? 4 : 1;
    int bits = 16;
    while (bits > 0 && ldexp(most, bits) > 1 << 30)
        bits--;
    return bits;
}

static void map_words(const double map[6], int bits, int32_t *words, size_t room) {
    for (size_t i = 0; i < 6; i++) {
        const double half = i % 3 == 2 ? 0.5 : 0; /* so that cutting off rounds */
        words[i * room] = whole(rint(ldexp(map[i] + half, bits)));
    }
}

int cvy_map_words(const double map[6], int height, int width, int32_t words[6]) {
    const int bits = bits_of(map, height, width, NULL);
    map_words(map, bits, words, 1);
    return bits;
}

static void pack_whole(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room) {
    const int bits = bits_of(look->place, look->height, look->width, shape->frame.fold ? look->fold : NULL);
    map_words(look->place, bits, words + MAP * room, room);
    for (size_t i = 0; i < 4 && shape->frame.fold; i++)
        words[(fold_word(shape) + i) * room] = whole(rint(ldexp(look->fold[i] + 0.5, bits)));
    words[BITS * room] = bits;
}

static void pack_smooth(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room) {
    for (size_t i = 0; i < 6; i++)
        words[(MAP + i) * room] = word_of(look->place[i]);
    for (size_t edge = 0; edge < 4; edge++) {
        const cvy_edge *e = &look->inside[edge];
        words[(EDGES + edge) * room] = word_of(e->at);
        words[(SLOPES + edge) * room] = word_of((edge < 2 ? 1 : -1) / e->step);
        if (shape->frame.fold)
            words[(fold_word(shape) + edge) * room] = word_of(look->fold[edge]);
    }
}

static void pack_colours(const cvy_augment_shape *shape, const double colour[3][3], const double pivot[3][3],
                         int32_t *words, size_t room) {
    const size_t count = matrix_words(shape), channels = (size_t)shape->gather.image.channels;
    for (size_t i = 0; i < count; i++) {
        words[i * room] = word_of(colour[i / channels][i % channels]);
        words[(count + i) * room] = word_of(pivot[i / channels][i % channels]);
    }
}

/* Both parts of a range that a picture has, of which nothing is left where the last is before the first. */
static void pack_range(const double from[4], size_t axis, int most, int32_t *words, size_t room) {
    words[axis * room] = whole(fmin(fmax(ceil(from[axis]), 0), most));
    words[(axis + 2) * room] = whole(fmin(fmax(floor(from[axis + 2]), -1), most));
}

/* Behind them comes what covers. */
static void pack_steps(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room) {
    const int *e = look->erased;
    cvy_tone last = {{0}};
    if (look->step_count && e[2] >= e[0])
        last = (cvy_tone){{CVY_TONE_ERASE, e[0], e[1], e[2], e[3], (int32_t)(shape->frame.erased + 0.5)}};
    for (int step = 0; step < most_steps(&shape->frame); step++)
        for (size_t i = 0; i < CVY_TONE_WORDS; i++) {
            const cvy_tone *from = step < look->step_count ? &look->steps[step] : &last;
            words[((size_t)step * CVY_TONE_WORDS + i) * room] = step <= look->step_count ? from->words[i] : 0;
        }
}

void cvy_look_pack(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room,
                   size_t at) {
    const int most[2] = {shape->gather.in_width - 1, shape->gather.in_height - 1};
    const double inside[4] = {look->inside[0].at, look->inside[1].at, look->inside[2].at, look->inside[3].at};
    words += at;
    if (shape->frame.smooth)
        pack_smooth(shape, look, words, room);
    else
        pack_whole(shape, look, words, room);
    for (size_t axis = 0; axis < 2; axis++) {
        pack_range(shape->frame.fold ? look->box : inside, axis, most[axis], words + RANGE * room, room);
        for (size_t end = axis; end < 4 && shape->frame.fold; end += 2)
            words[(fold_word(shape) + 4 + end) * room] =
                whole(end < 2 ? ceil(inside[end]) : floor(inside[end]));
        words[(SHOWN + axis) * room] = whole(ceil(look->shown[axis]));
        words[(SHOWN + axis + 2) * room] = whole(floor(look->shown[axis + 2]));
        if (colour_word(shape) == SHRINKING_WORDS)
            words[(SUPPORTS + axis) * room] = word_of(fmax(look->blur[axis], 1));
    }
    pack_colours(shape, look->colour, look->pivot, words + colour_word(shape) * room, room);
    if (shape->frame.hues) {
        pack_colours(shape, look->early_colour, look->early_pivot, words + early_word(shape) * room, room);
        words[hue_word(shape) * room] = word_of(6 * (look->hue < 0 ? look->hue + 1 : look->hue));
    }
    for (size_t i = 0; i < 4 && shape->frame.erases; i++)
        words[(erased_word(shape) + i) * room] = look->step_count ? -(int)(i > 1) : look->erased[i];
    pack_steps(shape, look, words + cvy_look_step_word(shape) * room, room);
}

/* ---- Reference ---- */

/* A look, taken from its words. */
typedef struct looking {
    const cvy_augment_shape *shape;
    const void *image;  /* the first pixel's address */
    const float *means; /* of its channels */
    const int32_t *words;
    size_t room;
} looking;

static int32_t word(const looking *l, size_t which) {
    return l->words[which * l->room];
}

static double real(const looking *l, size_t which) {
    return real_of(word(l, which));
}

static bool in_box(const looking *l, size_t box, int column, int row) {
    return column >= word(l, box) && row >= word(l, box + 1) && column <= word(l, box + 2) &&
           row <= word(l, box + 3);
}

/* Where pixel (column, row) lies in the picture, along an axis; of a whole-numbered map, with all its digits.
 */
static double place(const looking *l, size_t axis, int column, int row) {
    const size_t at = MAP + 3 * axis;
    if (l->shape->frame.smooth)
        return real(l, at) * column + real(l, at + 1) * row + real(l, at + 2);
    const int64_t sum =
        (int64_t)word(l, at) * column + (int64_t)word(l, at + 1) * row + (int64_t)word(l, at + 2);
    return (double)sum;
}

static double settle(const looking *l, double at) {
    return l->shape->frame.smooth ? at : floor(ldexp(at, -word(l, BITS)));
}

/* What lies there of a picture that is padded with itself. */
static double fold(const looking *l, size_t axis, double at) {
    const size_t which = fold_word(l->shape) + axis;
    const bool is_smooth = l->shape->frame.smooth;
    const double first = is_smooth ? real(l, which) : word(l, which),
                 last = is_smooth ? real(l, which + 2) : word(l, which + 2);
    if (l->shape->frame.fold == CVY_FOLD_MIRROR)
        at = fmin(fmax(at, 2 * first - at), 2 * last - fmax(at, 2 * first - at));
    return settle(l, fmax(fmin(at, last), first));
}

/* How much of the picture is seen from there, along an axis. */
static double inside(const looking *l, size_t axis, double at) {
    const size_t range = l->shape->frame.fold ? fold_word(l->shape) + 4 : RANGE;
    double all = 1;
    if (!l->shape->frame.smooth)
        return at >= word(l, range + axis) && at <= word(l, range + axis + 2);
    for (size_t edge = axis; edge < 4; edge += 2) {
        const double beyond = (at - real(l, EDGES + edge)) * real(l, SLOPES + edge) + 0.5;
        all *= fmin(fmax(beyond, 0), 1);
    }
    return all;
}

enum { MOST_TAPS = 33 };

/* Along an axis, the pixels of the set's image that count there, from the first one on, and how much. */
typedef struct mixing {
    int first, count;
    double weights[MOST_TAPS];
} mixing;

static mixing mix_at(const looking *l, size_t axis, double at) {
    const int first = word(l, RANGE + axis), last = word(l, RANGE + axis + 2);
    if (colour_word(l->shape) != SHRINKING_WORDS) {
        at = fmax(fmin(at, last), first);
        const int before = (int)at;
        return (mixing){before, before < last ? 2 : 1, {1 - (at - before), at - before}};
    }
    /* A triangle as wide as what becomes one pixel, of those pixels that there are. */
    const double support = real(l, SUPPORTS + axis);
    at = fmax(fmin(at, last + 0.5), first - 0.5);
    const int from = (int)fmax(floor(at - support) + 1, first), to = (int)fmin(ceil(at + support) - 1, last);
    mixing m = {.first = from, .count = to - from + 1};
    double sum = 0;
    for (int i = 0; i < m.count; i++)
        sum += m.weights[i] = 1 - fabs(from + i - at) / support;
    for (int i = 0; i < m.count; i++)
        m.weights[i] /= sum;
    return m;
}

static double pixel_at(const looking *l, size_t at) {
    return l->shape->gather.floats ? (double)((const float *)l->image)[at] : ((const uint8_t *)l->image)[at];
}

/* The pixel of all channels, and how much of it is seen. */
static double sample(const looking *l, int column, int row, double value[4]) {
    const cvy_gather_shape *gather = &l->shape->gather;
    const bool folds = l->shape->frame.fold;
    const double at_x = place(l, 0, column, row), at_y = place(l, 1, column, row), x = settle(l, at_x),
                 y = settle(l, at_y);
    const mixing columns = mix_at(l, 0, folds ? fold(l, 0, at_x) : x),
                 rows = mix_at(l, 1, folds ? fold(l, 1, at_y) : y);
    for (int c = 0; c < gather->image.channels; c++) {
        value[c] = 0;
        for (int i = 0; i < rows.count; i++)
            for (int j = 0; j < columns.count; j++) {
                const int at =
                    (c * gather->in_height + rows.first + i) * gather->in_width + columns.first + j;
                value[c] += rows.weights[i] * columns.weights[j] * pixel_at(l, (size_t)at);
            }
    }
    return in_box(l, SHOWN, column, row) ? inside(l, 0, x) * inside(l, 1, y) : 0;
}

/* Means: of 0..white; NULL: nobody looks at them. */
static void paint(const looking *l, size_t first, const double *means, double value[4]) {
    const size_t channels = (size_t)l->shape->gather.image.channels, count = matrix_words(l->shape);
    double before[4];
    memcpy(before, value, sizeof before);
    for (size_t c = 0; c < channels && count; c++) {
        double sum = 0;
        for (size_t j = 0; j < channels; j++) {
            sum += real(l, first + c * channels + j) * before[j];
            if (means)
                sum += real(l, first + count + c * channels + j) * means[j];
        }
        value[c] = fmax(fmin(sum, cvy_gather_white(&l->shape->gather)), 0);
    }
}

/* From RGB through HSV and back: turn is in sixths of the circle. */
static void turn_hue(double turn, double value[4]) {
    const double r = value[0], g = value[1], b = value[2], high = fmax(fmax(r, g), b),
                 chroma = high - fmin(fmin(r, g), b);
    if (chroma <= 0)
        return;
    const double hue = r == high ? (g - b) / chroma : g == high ? 2 + (b - r) / chroma : 4 + (r - g) / chroma;
    for (int c = 0; c < 3; c++) {
        const double at = fmod(hue + turn + 5 - 2 * c, 6);
        value[c] = high - chroma * fmax(fmin(fmin(at, 4 - at), 1), 0);
    }
}

static void colour(const looking *l, double value[4]) {
    const size_t early = early_word(l->shape);
    double means[4] = {0}, *known = l->means ? means : NULL;
    for (int c = 0; c < l->shape->gather.image.channels && known; c++)
        means[c] = (double)l->means[c] * cvy_gather_white(&l->shape->gather);
    if (l->shape->frame.hues) {
        const double turn = real(l, hue_word(l->shape)), first[4] = {means[0], means[1], means[2]};
        paint(l, early, known ? first : NULL, value);
        turn_hue(turn, value);
        paint(l, early, known ? first : NULL, means);
        turn_hue(turn, means);
    }
    paint(l, colour_word(l->shape), known, value);
}

static void see(const looking *l, int column, int row, double value[4]) {
    const cvy_frame *frame = &l->shape->frame;
    const int channels = l->shape->gather.image.channels;
    const double seen = sample(l, column, row, value), fill = level(l->shape, frame->fill);
    if (frame->fill_last)
        colour(l, value);
    for (int c = 0; c < channels; c++)
        value[c] = value[c] * seen + fill * (1 - seen);
    if (!frame->fill_last)
        colour(l, value);
    for (int c = 0; c < channels && frame->erases; c++)
        if (in_box(l, erased_word(l->shape), column, row))
            value[c] = level(l->shape, frame->erased);
}

void cvy_augment_reference(const cvy_augment_shape *shape, int n, const cvy_augment_source *from, float *y,
                           int32_t *labels) {
    const cvy_gather_shape *gather = &shape->gather;
    const cvy_image_spec *image = &gather->image;
    const size_t channels = (size_t)image->channels, pitch = (size_t)gather->pitch,
                 width = (size_t)image->width + 2 * (size_t)image->border,
                 plane = ((size_t)image->height + 2 * (size_t)image->border) * width,
                 bytes = channels * (size_t)gather->in_height * (size_t)gather->in_width *
                         (gather->floats ? sizeof(float) : 1);
    for (size_t p = 0; p < plane; p++)
        for (size_t i = 0; i < pitch; i++) {
            const int row = (int)(p / width) - image->border, column = (int)(p % width) - image->border;
            double value[4] = {0};
            if (i < (size_t)n && row >= 0 && row < image->height && column >= 0 && column < image->width)
                see(&(looking){shape,
                               (const char *)from->images + (gather->in_order ? i : from->indices[i]) * bytes,
                               from->means ? from->means + from->indices[i] * channels : NULL,
                               from->looks + i, from->room},
                    column, row, value);
            for (size_t c = 0; c < channels; c++)
                y[(c * plane + p) * pitch + i] =
                    i < (size_t)n ? (float)((value[c] / cvy_gather_white(&shape->gather) - image->mean[c]) /
                                            image->std[c])
                                  : 0;
        }
    for (int i = 0; i < gather->pitch; i++)
        labels[i] = i < n ? from->all_labels[from->indices[i]] : 0;
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

void cvy_augment_sizes(const cvy_device_traits *traits, const cvy_augment_shape *shape, cvy_sizes *sizes) {
    cvy_gather_sizes(traits, &shape->gather, sizes); /* it makes the same */
}

static convoy_status prepare(cvy_augment *op) {
    const cvy_gather_shape *gather = &op->shape.gather;
    const cvy_frame *frame = &op->shape.frame;
    const int width = cvy_pitch_width(op->device, (size_t)gather->pitch);
    convoy_status status = cvy_kernel_build(
        op->device, "augment", "augment",
        CVY_OPTIONS({"VW", width}, {"CHANNELS", gather->image.channels}, {"FLOATS", gather->floats},
                    {"SMOOTH", frame->smooth}, {"TAPS", taps(&op->shape)}, {"COLOURS", frame->colours},
                    {"CONTRASTS", frame->contrasts}, {"FILL_LAST", frame->fill_last},
                    {"ERASES", frame->erases}, {"FOLD", frame->fold}, {"HUES", frame->hues}),
        &op->kernel);
    if (status)
        return status;
    op->vectors = gather->pitch / width;
    op->group_size = cvy_group_size(op->device, op->kernel, (size_t)op->vectors);
    /* A core makes whole rows; a GPU needs more work-items than an image has rows. */
    op->length = cvy_device_get_traits(op->device)->cpu ? gather->image.width + 2 * gather->image.border : 4;
    return cvy_levels_create(op->device, &op->shape.gather, &op->levels);
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
        const cvy_augment_source from = {
            .images = cvy_buffer_host(on->images),
            .all_labels = cvy_buffer_host(on->all_labels),
            .indices = (const uint32_t *)cvy_buffer_host(on->indices) + on->index_offset,
            .means = cvy_buffer_host(on->means),
            .looks = (const int32_t *)cvy_buffer_host(on->looks) + on->look_offset,
            .room = on->room};
        cvy_augment_reference(&op->shape, on->n, &from, cvy_buffer_host(on->y), cvy_buffer_host(on->labels));
        return CONVOY_OK;
    }
    const int width = image->width + 2 * image->border, parts = (width + op->length - 1) / op->length;
    const size_t size = op->group_size, groups = ((size_t)op->vectors + size - 1) / size;
    cvy_grid grid =
        cvy_groups(size, groups, (size_t)image->height + 2 * (size_t)image->border, (size_t)parts);
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(on->images), cvy_buf(on->all_labels), cvy_buf(on->indices),
                      cvy_ulong(on->index_offset), cvy_int(on->n), cvy_int(gather->in_order),
                      cvy_buf(on->means), cvy_buf(on->looks), cvy_ulong(on->room), cvy_ulong(on->look_offset),
                      cvy_buf(op->levels), cvy_buf(on->y), cvy_buf(on->labels), cvy_int(gather->in_height),
                      cvy_int(gather->in_width), cvy_int(image->height), cvy_int(image->width),
                      cvy_int(image->border), cvy_float((float)level(&op->shape, op->shape.frame.fill)),
                      cvy_float((float)level(&op->shape, op->shape.frame.erased)),
                      cvy_float((float)cvy_gather_white(&op->shape.gather)), cvy_int(op->vectors),
                      cvy_int(op->length));
}
