/* Dividing a list of photographs and making a set of it. */
#include "data/photographs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/rng.h"
#include "data/image.h"

const char *const cvy_split_names[CVY_NO_SPLIT][CVY_SPLIT_NAMES] = {
    {"train", "training"}, {"test", "testing"}, {"val", "valid", "validation"}};

cvy_split cvy_split_of(const char *word) {
    for (int s = 0; s < CVY_NO_SPLIT; s++)
        for (int n = 0; n < CVY_SPLIT_NAMES && cvy_split_names[s][n]; n++)
            if (strcasecmp(word, cvy_split_names[s][n]) == 0)
                return (cvy_split)s;
    return CVY_NO_SPLIT;
}

void cvy_listing_free(cvy_listing *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    free(list->labels);
    *list = (cvy_listing){0};
}

convoy_status cvy_listing_add(cvy_listing *list, char *path, int label) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        char **paths = realloc(list->paths, capacity * sizeof *paths);
        list->paths = paths ? paths : list->paths;
        int32_t *labels = realloc(list->labels, capacity * sizeof *labels);
        list->labels = labels ? labels : list->labels;
        if (!paths || !labels) {
            free(path);
            return cvy_fail_memory("a list of images", capacity * sizeof *paths);
        }
        list->capacity = capacity;
    }
    list->paths[list->count] = path;
    list->labels[list->count++] = label;
    return CONVOY_OK;
}

/* ---- Dividing ---- */

/* Whole parts first; what is left goes to the largest remainders, of equal ones to the first class. */
static void share_out(const size_t *members, int classes, size_t total, size_t wanted, size_t *chosen) {
    size_t given = 0;
    for (int c = 0; c < classes; c++)
        given += chosen[c] = members[c] * wanted / total;
    for (; given < wanted; given++) {
        int best = 0;
        double largest = -1;
        for (int c = 0; c < classes; c++) {
            const double left = (double)members[c] * (double)wanted / (double)total - (double)chosen[c];
            if (left > largest + 1e-9) {
                largest = left;
                best = c;
            }
        }
        chosen[best]++;
    }
}

/* How many of each class are held out. */
static void choose_counts(const cvy_dataset_request *request, const size_t *members, int classes,
                          size_t total, size_t *chosen) {
    const double fraction = request->options.test_fraction;
    if (total && !request->options.rounded_by_class)
        share_out(members, classes, total, (size_t)ceil((double)total * fraction - 1e-9), chosen);
    for (int c = 0; c < classes; c++) {
        const size_t count = members[c];
        if (request->options.rounded_by_class)
            chosen[c] = (size_t)((double)count * fraction + 0.5);
        chosen[c] = count < 2 ? 0 : chosen[c] < 1 ? 1 : chosen[c] > count - 1 ? count - 1 : chosen[c];
    }
}

/* What a division is made with: counts, how many are held out, and where they begin, by class; places in the
   list, by class; room to shuffle; and of each image whether it is held out. */
typedef struct division {
    size_t *members, *chosen, *begins;
    uint32_t *places, *order;
    bool *held;
} division;

static void draw(const cvy_listing *list, int classes, const cvy_dataset_request *request, division *d) {
    cvy_list_by_class(list->labels, list->count, classes, d->begins, d->places);
    for (int c = 0; c < classes; c++)
        d->members[c] = d->begins[c + 1] - d->begins[c];
    choose_counts(request, d->members, classes, list->count, d->chosen);
    for (int c = 0; c < classes; c++) {
        const uint32_t *places = d->places + d->begins[c];
        cvy_rng rng = cvy_rng_stream(request->options.seed, CVY_RNG_SPLIT, (uint32_t)c);
        cvy_rng_shuffle(&rng, d->order, d->members[c]);
        for (size_t i = 0; i < d->chosen[c]; i++)
            d->held[places[d->order[i]]] = true;
    }
}

static void keep(cvy_listing *list, const bool *held, bool wanted) {
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (held[i] == wanted) {
            list->paths[kept] = list->paths[i];
            list->labels[kept++] = list->labels[i];
        } else {
            free(list->paths[i]);
        }
    list->count = kept;
}

convoy_status cvy_listing_split(cvy_listing *list, int classes, const cvy_dataset_request *request) {
    const size_t total = list->count, groups = (size_t)classes;
    size_t *counts = calloc(3 * groups + 1, sizeof *counts);
    uint32_t *places = calloc(2 * total + 1, sizeof *places);
    bool *held = calloc(total + 1, sizeof *held);
    const bool allocated = counts && places && held;
    if (allocated) {
        division d = {counts, counts + groups, counts + 2 * groups, places, places + total, held};
        draw(list, classes, request, &d);
        keep(list, held, !request->training);
        cvy_info("%s: %zu of %zu images are %s (test_fraction %g)", request->folder, list->count, total,
                 request->training ? "for training, the others are held out"
                                   : "held out of the training images",
                 request->options.test_fraction);
    }
    free(counts);
    free(places);
    free(held);
    if (!allocated)
        return cvy_fail_memory("splitting a folder", total * sizeof *places);
    return list->count || !total
               ? CONVOY_OK
               : cvy_fail(
                     CONVOY_INVALID,
                     "%s: no images for the test split: no class has more than one image, which training "
                     "keeps; add images, say which ones are for testing, or evaluate all of them (--split "
                     "all)",
                     request->folder);
}

/* With a limit, evenly spread over the list, so that every class keeps its share. */
static void thin_out(cvy_listing *list, size_t limit) {
    if (!limit || limit >= list->count)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        /* Image i is taken when the share of the limit passes a whole number at it. */
        bool take = (i + 1) * limit / list->count > i * limit / list->count;
        if (take) {
            list->paths[kept] = list->paths[i];
            list->labels[kept++] = list->labels[i];
        } else {
            free(list->paths[i]);
        }
    }
    list->count = kept;
}

/* ---- The set ---- */

static convoy_status fetch(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    const cvy_fitting fitting = {dataset->channels, dataset->height,     dataset->width,
                                 dataset->resize,   dataset->short_side, dataset->fast_decode,
                                 dataset->as_stored};
    return cvy_image_load(dataset->paths[index], &fitting, image);
}

/* What the options leave open follows the first image, of those that can be read where the others are left
   out. */
static convoy_status choose_shape(const convoy_dataset_options *options, convoy_dataset *dataset) {
    dataset->channels = options->channels;
    dataset->resize = (cvy_resize_mode)options->resize;
    dataset->short_side = options->short_side;
    dataset->fast_decode = options->fast_decode;
    dataset->as_stored = options->as_stored;
    dataset->height = options->height;
    dataset->width = options->width;
    if (dataset->channels && dataset->height)
        return CONVOY_OK;
    cvy_pixels first;
    const cvy_wanted wanted = {.as_stored = dataset->as_stored};
    convoy_status status = CONVOY_INVALID;
    for (size_t i = 0; status && i < dataset->count && (i == 0 || options->skip_damaged); i++)
        status = cvy_image_read(dataset->paths[i], wanted, &first);
    if (status)
        return status;
    free(first.data);
    dataset->channels = dataset->channels ? dataset->channels : first.channels;
    if (!dataset->height) {
        dataset->height = first.height;
        dataset->width = first.width;
    }
    return CONVOY_OK;
}

/* What training learns and these images do not have is said. */
static void say_missing(const cvy_dataset_request *request, const convoy_dataset *dataset,
                        const cvy_listing *images) {
    size_t missing = 0;
    int first = 0;
    bool *found = calloc((size_t)dataset->classes, sizeof *found);
    for (size_t i = 0; found && i < images->count; i++)
        found[images->labels[i]] = true;
    for (int c = dataset->classes; found && c-- > 0;) {
        missing += !found[c];
        first = found[c] ? first : c;
    }
    free(found);
    if (missing)
        cvy_info("%s: %zu of %d classes have no %s images, such as %s", request->folder, missing,
                 dataset->classes, request->training ? "training" : "test", dataset->class_names[first]);
}

/* What was left out may have been all there was of a class to learn from. */
static convoy_status check_classes(const convoy_dataset *dataset) {
    size_t *members = calloc((size_t)dataset->classes + 1, sizeof *members);
    convoy_status status = members ? CONVOY_OK : cvy_fail_memory("the classes of a set", sizeof *members);
    for (size_t i = 0; !status && i < dataset->count; i++)
        members[dataset->labels[i]]++;
    for (int c = 0; !status && c < dataset->classes; c++)
        if (!members[c])
            status = cvy_fail(CONVOY_INVALID, "%s: no image of class %s can be read", dataset->name,
                              dataset->class_names[c]);
    free(members);
    return status;
}

convoy_status cvy_photographs_open(const cvy_dataset_request *request, cvy_listing *list,
                                   convoy_dataset *dataset) {
    const convoy_dataset_options *options = &request->options;
    if (!list->count)
        return cvy_fail(CONVOY_INVALID, "%s: no images for the %s split", request->folder,
                        request->training ? "training" : "test");
    say_missing(request, dataset, list);
    thin_out(list, options->limit);
    dataset->count = list->count;
    dataset->paths = list->paths;
    dataset->labels = list->labels;
    *list = (cvy_listing){0};
    dataset->fetch = fetch;
    convoy_status status = choose_shape(options, dataset);
    if (!status && options->whole)
        status = cvy_dataset_keep_whole(dataset, options->threads);
    const size_t before = dataset->count;
    if (!status)
        status = cvy_dataset_keep(dataset, options->memory, options->threads, options->skip_damaged);
    if (!status && dataset->count < before && request->training)
        status = check_classes(dataset);
    return status;
}
