/* Looks in windows of some batches: while the device looks through one window, the next is drawn and uploaded
   into the other. */
#include "data/looks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/dataset.h"

/* Not a power of two: words of an image would fall on the same line of a cache. */
enum { WINDOWS = 2, WINDOW_BATCHES = 15 };

typedef struct window {
    int32_t *words; /* [words][room] */
    cvy_buffer *buffer;
    cvy_transfer *transfer;
} window;

struct cvy_looks {
    cvy_augment *op;
    cvy_augment_shape shape;
    cvy_toner toner; /* where the list takes steps on bytes */
    const convoy_dataset *dataset;
    const cvy_transforms *transforms;
    uint64_t seed;
    size_t room; /* images of a window */
    window windows[WINDOWS];
    uint32_t epoch;
    const uint32_t *order;
    size_t count;
    size_t begin, end; /* places of the order that the current window has */
    size_t current;
};

static cvy_size window_size(const cvy_augment_shape *shape, cvy_growth growth) {
    return (cvy_size){"how images are looked at", WINDOW_BATCHES * cvy_look_words(shape) * sizeof(int32_t),
                      growth};
}

/* Are the classes digits or letters, as far as their names tell? */
static bool classes_are_characters(const convoy_dataset *dataset) {
    for (int c = 0; c < dataset->classes; c++)
        if (!isalnum((unsigned char)dataset->class_names[c][0]) || dataset->class_names[c][1])
            return false;
    return dataset->classes > 1;
}

static void warn_of_mirrors(const convoy_dataset *dataset, const cvy_transforms *augment) {
    for (size_t i = 0; i < cvy_transforms_of_images(augment); i++) {
        const cvy_transform *t = &augment->list[i];
        if (t->type->mirrors && t->p > 0 && classes_are_characters(dataset)) {
            cvy_warning(
                "%s: the classes, %s to %s, look like digits or letters, of which %s can make others: leave "
                "it out of `augment` if they are",
                dataset->name, dataset->class_names[0], dataset->class_names[dataset->classes - 1],
                t->type->name);
            return;
        }
    }
}

convoy_status cvy_looks_create(convoy_device *device, const convoy_dataset *dataset,
                               const cvy_gather_shape *shape, const cvy_transforms *transforms, uint64_t seed,
                               int batch_size, cvy_looks **out) {
    *out = NULL;
    cvy_looks *looks = calloc(1, sizeof *looks);
    if (!looks)
        return cvy_fail_memory("the looks of images", sizeof *looks);
    warn_of_mirrors(dataset, transforms);
    looks->dataset = dataset;
    looks->transforms = transforms;
    looks->seed = seed;
    looks->room = (size_t)batch_size * WINDOW_BATCHES;
    convoy_status status =
        cvy_augment_describe(shape, transforms, dataset->extents ? dataset->covers : NULL, &looks->shape);
    if (!status)
        status = cvy_augment_create(device, &looks->shape, &looks->op);
    const cvy_tone_shape steps = cvy_augment_steps(&looks->shape);
    if (!status && steps.steps)
        status = cvy_toner_create(device, &steps, batch_size, &looks->toner);
    const cvy_size size = window_size(&looks->shape, CVY_PER_BATCH);
    for (int w = 0; w < WINDOWS && !status; w++) {
        window *window = &looks->windows[w];
        window->words = calloc((size_t)batch_size, size.bytes);
        status = window->words ? cvy_size_create(device, &size, (size_t)batch_size, &window->buffer)
                               : cvy_fail_memory(size.what, (size_t)batch_size * size.bytes);
        if (!status)
            status = cvy_transfer_create(device, &window->transfer);
    }
    if (status)
        cvy_looks_free(looks);
    else
        *out = looks;
    return status;
}

void cvy_looks_sizes(convoy_device *device, const cvy_augment_shape *shape, cvy_growth growth,
                     cvy_sizes *sizes) {
    const cvy_tone_shape steps = cvy_augment_steps(shape);
    cvy_augment_sizes(cvy_device_get_traits(device), shape, sizes);
    if (steps.steps)
        cvy_toner_sizes(cvy_device_get_traits(device), &steps, growth, sizes);
    for (int w = 0; w < WINDOWS; w++)
        cvy_sizes_add(sizes, window_size(shape, growth));
}

void cvy_looks_free(cvy_looks *looks) {
    if (!looks)
        return;
    for (int w = 0; w < WINDOWS; w++) {
        cvy_transfer_free(looks->windows[w].transfer); /* before what it reads and writes */
        cvy_buffer_free(looks->windows[w].buffer);
        free(looks->windows[w].words);
    }
    cvy_toner_free(&looks->toner);
    cvy_augment_free(looks->op);
    free(looks);
}

void cvy_looks_start(cvy_looks *looks, uint32_t epoch, const uint32_t *order, size_t count, size_t first) {
    looks->epoch = epoch;
    looks->order = order;
    looks->count = count;
    looks->begin = looks->end = first * (looks->room / WINDOW_BATCHES);
}

/* Draws the next window and sends it on its way. What it lies in was looked through by launches that its
   upload waits for; what its last upload read may be written again when that has ended. */
static convoy_status next_window(cvy_looks *looks) {
    convoy_status status = cvy_transfer_after_launches(looks->windows[looks->current].transfer);
    looks->current = (looks->current + 1) % WINDOWS;
    const window *window = &looks->windows[looks->current];
    if (!status)
        status = cvy_transfer_finish(window->transfer);
    if (status)
        return status;
    const int all[2] = {looks->shape.gather.in_height, looks->shape.gather.in_width};
    const size_t left = looks->count - looks->end, n = left < looks->room ? left : looks->room;
    looks->begin = looks->end;
    looks->end += n;
    for (size_t i = 0; i < n; i++) {
        cvy_look look;
        const uint32_t index = looks->order[looks->begin + i];
        const int *extent = looks->dataset->extents ? looks->dataset->extents[index] : all;
        cvy_transforms_draw(looks->transforms, looks->seed, looks->epoch, index, extent[0], extent[1],
                            &looks->shape.gather.image, &look);
        cvy_look_pack(&looks->shape, &look, window->words, looks->room, i);
    }
    status = cvy_transfer_start(window->transfer, window->buffer, 0, window->words,
                                cvy_look_words(&looks->shape) * looks->room * sizeof *window->words);
    return status ? status : cvy_transfer_before_launches(window->transfer);
}

convoy_status cvy_looks_run(cvy_looks *looks, size_t begin, cvy_augment_operands *on) {
    convoy_status status = begin < looks->end ? CONVOY_OK : next_window(looks);
    on->looks = looks->windows[looks->current].buffer;
    on->room = looks->room;
    on->look_offset = begin - looks->begin;
    return status ? status : cvy_augment_run(looks->op, on);
}

bool cvy_looks_step(const cvy_looks *looks) {
    return looks->shape.frame.steps > 0;
}

convoy_status cvy_looks_run_steps(const cvy_looks *looks, size_t begin, int n, cvy_buffer *y) {
    return cvy_toner_run(&looks->toner, n, looks->windows[looks->current].buffer, looks->room,
                         begin - looks->begin, cvy_look_step_word(&looks->shape), y);
}

/* ---- Once more on the host ---- */

void cvy_looks_reference_steps(const cvy_looks *looks, size_t begin, int n, float *y) {
    const cvy_tone_shape steps = cvy_augment_steps(&looks->shape);
    cvy_tone_reference(&steps, n,
                       looks->windows[looks->current].words +
                           cvy_look_step_word(&looks->shape) * looks->room + (begin - looks->begin),
                       looks->room, y);
}

void cvy_looks_reference(const cvy_looks *looks, size_t begin, int n, cvy_augment_source *from, float *y,
                         int32_t *labels) {
    from->looks = looks->windows[looks->current].words + (begin - looks->begin);
    from->room = looks->room;
    cvy_augment_reference(&looks->shape, n, from, y, labels);
}

convoy_status cvy_looks_check(const cvy_looks *looks, const cvy_verifier *verifier) {
    const window *window = &looks->windows[looks->current];
    const size_t bytes = cvy_buffer_bytes(window->buffer);
    char *here = malloc(bytes);
    convoy_status status =
        here ? cvy_buffer_read(window->buffer, 0, here, bytes) : cvy_fail_memory("a comparison", bytes);
    if (!status && memcmp(here, window->words, bytes) != 0)
        status = cvy_verifier_fail(
            verifier, "the making of a batch",
            &(cvy_difference){.text = "what was drawn for its images is not what was uploaded"});
    free(here);
    return status;
}
