/* Sets that a program has in memory, or makes batch by batch with a function of its own. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/integer.h"
#include "base/machine.h"
#include "data/dataset.h"

struct cvy_fill {
    convoy_fill *call;
    void *context;
    bool labels;          /* it gives them, too */
    int *place;           /* [classes]: what a class that it gives is called here; NULL: the same */
    pthread_mutex_t lock; /* of the call: two loaders may read one set */
};

/* ---- what is given ---- */

static convoy_status check_shape(const char *function, const convoy_images *images) {
    if (!images->count || images->count > UINT32_MAX)
        return cvy_fail(CONVOY_INVALID, "%s: %zu images cannot be a set: 1 to %u can", function,
                        images->count, UINT32_MAX);
    if (images->channels < 1 || images->channels > 4 || images->height < 1 || images->width < 1 ||
        images->height > 16384 || images->width > 16384)
        return cvy_fail(
            CONVOY_INVALID,
            "%s: images of %d channels and %d x %d pixels are not possible: 1 to 4 channels and sides of "
            "1 to 16384 are",
            function, images->channels, images->height, images->width);
    if (images->pixel != CONVOY_PIXEL_BYTE && images->pixel != CONVOY_PIXEL_FLOAT)
        return cvy_fail(CONVOY_INVALID, "%s: pixel is %d, neither CONVOY_PIXEL_BYTE nor CONVOY_PIXEL_FLOAT",
                        function, (int)images->pixel);
    if (images->classes < 0 || images->classes > 1000000)
        return cvy_fail(CONVOY_INVALID, "%s: %d classes are out of range (0 to 1000000)", function,
                        images->classes);
    return CONVOY_OK;
}

/* How many classes there are, and what they are called. */
static convoy_status take_classes(const char *function, const convoy_images *images, int classes,
                                  convoy_dataset *set) {
    if (!classes)
        return CONVOY_OK;
    cvy_dataset_number_classes(set, classes);
    if (!images->class_names)
        return CONVOY_OK;
    if (images->classes != classes)
        return cvy_fail(CONVOY_INVALID, "%s: there are class_names, but `classes` does not say how many",
                        function);
    set->numbered = false;
    for (int c = 0; c < classes; c++) {
        if (!images->class_names[c] || !*images->class_names[c])
            return cvy_fail(CONVOY_INVALID, "%s: class_names[%d] is %s", function, c,
                            images->class_names[c] ? "empty" : "NULL");
        set->class_names[c] = cvy_arena_strdup(set->arena, images->class_names[c]);
    }
    const cvy_classes named = cvy_dataset_classes(set);
    return cvy_classes_check(&named, function);
}

static convoy_status check_labels(const char *function, const int32_t *labels, size_t count, int classes) {
    for (size_t i = 0; i < count; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return cvy_fail(CONVOY_INVALID, "%s: label %d of image %zu is out of range: there are %d classes",
                            function, (int)labels[i], i, classes);
    return CONVOY_OK;
}

static convoy_status take_labels(const char *function, const convoy_images *images, convoy_dataset *set) {
    int32_t highest = 0;
    for (size_t i = 0; images->labels && i < images->count; i++)
        highest = images->labels[i] > highest ? images->labels[i] : highest;
    const int classes = images->classes                       ? images->classes
                        : images->labels && highest < 1000000 ? highest + 1
                                                              : 0;
    convoy_status status = CONVOY_OK;
    if (images->labels)
        status = check_labels(function, images->labels, images->count, classes);
    if (!status)
        status = take_classes(function, images, images->labels || set->fill ? classes : 0, set);
    if (!status && !(set->fill && set->fill->labels))
        status = cvy_dataset_reserve_labels(set, images->count);
    if (!status && images->labels)
        memcpy(set->labels, images->labels, images->count * sizeof *set->labels);
    return status;
}

/* A set of what is asked for, which becomes `given`, without its labels and pixels. */
static convoy_status create(const char *function, const convoy_images *images, convoy_images *given,
                            convoy_dataset **out) {
    convoy_status status = cvy_given_pointer(function, "dataset", out);
    if (status)
        return status;
    *out = NULL;
    status = cvy_given_pointer(function, "images", images);
    if (!status)
        status = cvy_take_struct(function, "images", images, given, sizeof *given);
    if (!status)
        status = check_shape(function, given);
    if (status)
        return status;
    convoy_dataset *set = *out = cvy_dataset_create();
    if (!set)
        return cvy_fail_memory("a data set", sizeof *set);
    set->name = cvy_arena_strdup(set->arena, given->name && *given->name ? given->name : "memory");
    set->source = set->name;
    set->count = given->count;
    set->channels = given->channels;
    set->height = given->height;
    set->width = given->width;
    set->unfitted = true;
    set->floats = given->pixel == CONVOY_PIXEL_FLOAT;
    return CONVOY_OK;
}

/* A failed set leaves nothing. */
static convoy_status finish(convoy_status status, convoy_dataset **out) {
    if (status && out) {
        convoy_dataset_free(*out);
        *out = NULL;
    }
    return status;
}

/* The first value that is not finite; count: none. */
static size_t find_bad(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return i;
    return count;
}

static convoy_status check_floats(const char *what, const convoy_dataset *set, const void *pixels,
                                  const uint32_t *indices, size_t count) {
    const size_t each = cvy_dataset_image_bytes(set) / sizeof(float), all = set->floats ? count * each : 0;
    const size_t bad = find_bad(pixels, all);
    if (bad == all)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "%s: pixel %zu of image %zu is %g", what, bad % each,
                    indices ? indices[bad / each] : bad / each, (double)((const float *)pixels)[bad]);
}

/* ---- memory ---- */

static convoy_status take_pixels(const char *function, const convoy_images *images, convoy_dataset *set) {
    const size_t each = cvy_dataset_image_bytes(set), bytes = mul_size(each, set->count);
    convoy_status status = check_floats(function, set, images->pixels, NULL, set->count);
    if (status)
        return status;
    set->borrowed = images->borrow;
    if (set->borrowed) {
        set->images = (uint8_t *)(uintptr_t)images->pixels; /* nobody writes to it */
        return CONVOY_OK;
    }
    set->images = bytes > cvy_machine_memory() ? NULL : malloc(bytes);
    if (!set->images)
        return cvy_fail_memory("a copy of the images", bytes);
    memcpy(set->images, images->pixels, bytes);
    return CONVOY_OK;
}

convoy_status convoy_dataset_from_memory(const convoy_images *images, convoy_dataset **dataset) {
    convoy_images given;
    convoy_status status = create(__func__, images, &given, dataset);
    if (!status)
        status = cvy_given_pointer(__func__, "images.pixels", given.pixels);
    if (!status)
        status = take_labels(__func__, &given, *dataset);
    if (!status)
        status = take_pixels(__func__, &given, *dataset);
    return finish(status, dataset);
}

/* ---- a function ---- */

static convoy_status take_function(const convoy_images *images, convoy_fill *call, void *context,
                                   convoy_dataset *set) {
    set->fill = calloc(1, sizeof *set->fill);
    if (!set->fill)
        return cvy_fail_memory("a data set", sizeof *set->fill);
    *set->fill =
        (struct cvy_fill){.call = call, .context = context, .labels = !images->labels && images->classes};
    pthread_mutex_init(&set->fill->lock, NULL);
    return CONVOY_OK;
}

convoy_status convoy_dataset_from_function(const convoy_images *images, convoy_fill *fill, void *context,
                                           convoy_dataset **dataset) {
    convoy_images given;
    convoy_status status = create(__func__, images, &given, dataset);
    if (!status && !fill)
        status = cvy_fail(CONVOY_INVALID, "%s: fill is NULL", __func__);
    if (!status && given.pixels)
        status =
            cvy_fail(CONVOY_INVALID, "%s: images.pixels must be NULL: the function makes them", __func__);
    if (!status)
        status = take_function(&given, fill, context, *dataset);
    if (!status)
        status = take_labels(__func__, &given, *dataset);
    return finish(status, dataset);
}

void cvy_fill_free(struct cvy_fill *fill) {
    if (!fill)
        return;
    pthread_mutex_destroy(&fill->lock);
    free(fill);
}

void cvy_fill_reorder(const convoy_dataset *set, const int *place) {
    struct cvy_fill *fill = set->fill;
    const size_t classes = (size_t)set->classes;
    int *now = cvy_arena_alloc(set->arena, classes * sizeof *now);
    for (size_t c = 0; c < classes; c++)
        now[c] = place[fill->place ? fill->place[c] : (int)c];
    fill->place = now;
}

static convoy_status fail_call(const convoy_dataset *set, convoy_status status, const uint32_t *indices,
                               size_t count) {
    return cvy_fail(status,
                    "%s: the function that makes its images gave up (%s) on %zu of them, the first being %u",
                    set->name, convoy_status_name(status), count, indices[0]);
}

convoy_status cvy_dataset_fill(const convoy_dataset *set, const uint32_t *indices, size_t count,
                               uint8_t *images, int32_t *labels) {
    struct cvy_fill *fill = set->fill;
    pthread_mutex_lock(&fill->lock);
    convoy_status status = fill->call(fill->context, indices, count, images, labels);
    pthread_mutex_unlock(&fill->lock);
    if (status)
        return fail_call(set, status, indices, count);
    status = check_floats(set->name, set, images, indices, count);
    for (size_t i = 0; fill->labels && !status && i < count; i++) {
        if (labels[i] < 0 || labels[i] >= set->classes)
            return cvy_fail(CONVOY_INVALID,
                            "%s: its function says that image %u is of class %d: there are %d", set->name,
                            indices[i], (int)labels[i], set->classes);
        labels[i] = fill->place ? fill->place[labels[i]] : labels[i];
    }
    return status;
}
