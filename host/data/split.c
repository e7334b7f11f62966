/* Dividing a set in two, class by class: a validation set from training images. */
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/rng.h"
#include "data/dataset.h"

/* What goes into a part: the same fraction of each class, or every so manieth image. */
typedef struct cut {
    double fraction;
    int fold, folds; /* folds 0: by the fraction */
    uint64_t seed;
} cut;

/* Is image `i` of a class's `found`, in an order that the seed makes, in the part? A class keeps one. */
static bool is_cut(const cut *cut, size_t i, size_t found) {
    if (cut->folds)
        return i % (size_t)cut->folds == (size_t)cut->fold;
    const size_t wanted = (size_t)((double)found * cut->fraction + 0.5);
    return i < (wanted >= found ? found - 1 : wanted);
}

/* That none of the folds is empty is known before the first is taken. */
static convoy_status check_folds(const convoy_dataset *set, const cut *cut, const size_t *begins) {
    size_t largest = 0;
    for (int c = 0; c < set->classes; c++)
        largest = begins[c + 1] - begins[c] > largest ? begins[c + 1] - begins[c] : largest;
    if (cut->folds == 0 || (size_t)cut->folds <= largest)
        return CONVOY_OK;
    return cvy_fail(
        CONVOY_INVALID,
        "a part of the %zu training images of %s would be empty: each class gives its images in turn to "
        "each of the folds, and the largest has %zu; take fewer folds",
        set->count, set->name, largest);
}

static convoy_status draw(const convoy_dataset *set, const cut *cut, bool *drawn, size_t *count) {
    uint32_t *members = malloc((set->count + 1) * sizeof *members);
    uint32_t *order = malloc((set->count + 1) * sizeof *order);
    size_t *begins = malloc(((size_t)set->classes + 1) * sizeof *begins);
    *count = 0;
    if (!members || !order || !begins) {
        free(members);
        free(order);
        free(begins);
        return cvy_fail_memory("splitting a set", 2 * set->count * sizeof *members);
    }
    cvy_list_by_class(set->labels, set->count, set->classes, begins, members);
    convoy_status status = check_folds(set, cut, begins);
    for (int c = 0; c < set->classes && !status; c++) {
        const size_t found = begins[c + 1] - begins[c];
        cvy_rng rng = cvy_rng_stream(cut->seed, CVY_RNG_VALIDATION, (uint32_t)c);
        cvy_rng_shuffle(&rng, order, found);
        for (size_t i = 0; i < found; i++)
            if (is_cut(cut, i, found)) {
                drawn[members[begins[c] + order[i]]] = true;
                ++*count;
            }
    }
    free(members);
    free(order);
    free(begins);
    return status;
}

/* A set like this one with room for `count` images. */
static convoy_status create_part(const convoy_dataset *set, size_t count, convoy_dataset **out) {
    convoy_dataset *part = *out = cvy_dataset_create();
    if (!part)
        return cvy_fail_memory("a data set", sizeof *part);
    cvy_arena *arena = part->arena;
    *part = *set;
    part->arena = arena;
    part->labels = NULL; /* each its own, from here on */
    part->images = NULL;
    part->paths = NULL;
    part->extents = NULL;
    part->fill = NULL;
    if (set->patterns) {
        const size_t bytes = (size_t)set->classes * sizeof *set->patterns;
        part->patterns = memcpy(cvy_arena_alloc(arena, bytes), set->patterns, bytes);
    }
    part->name = cvy_arena_strdup(arena, set->name);
    part->source = set->source ? cvy_arena_strdup(arena, set->source) : NULL;
    cvy_dataset_name_classes(part, set->class_names, set->classes);
    convoy_status status = cvy_dataset_reserve_labels(part, count);
    if (!status && set->images)
        status = cvy_dataset_reserve_images(part);
    if (!status && set->paths && !(part->paths = calloc(count + 1, sizeof *part->paths)))
        status = cvy_fail_memory("a list of images", count * sizeof *part->paths);
    if (!status && set->extents && !(part->extents = calloc(count + 1, sizeof *part->extents)))
        status = cvy_fail_memory("the sizes of images", count * sizeof *part->extents);
    return status;
}

/* Moves what was drawn into `part`, and closes the gaps. */
static void move(convoy_dataset *set, const bool *drawn, convoy_dataset *part) {
    const size_t bytes = cvy_dataset_image_bytes(set);
    size_t ends[2] = {0, 0};
    for (size_t i = 0; i < set->count; i++) {
        convoy_dataset *to = drawn[i] ? part : set;
        const size_t at = ends[drawn[i]]++;
        to->labels[at] = set->labels[i];
        if (set->paths)
            to->paths[at] = set->paths[i];
        if (set->extents)
            memcpy(to->extents[at], set->extents[i], sizeof *to->extents);
        if (set->images && (drawn[i] || at != i))
            memcpy(to->images + at * bytes, set->images + i * bytes, bytes);
    }
    set->count = ends[0];
}

/* The caller's pixels stay as they are. */
static convoy_status own_images(convoy_dataset *set) {
    const uint8_t *theirs = set->images;
    if (!set->borrowed)
        return CONVOY_OK;
    convoy_status status = cvy_dataset_reserve_images(set);
    if (status) {
        set->images = (uint8_t *)(uintptr_t)theirs;
        return status;
    }
    memcpy(set->images, theirs, set->count * cvy_dataset_image_bytes(set));
    set->borrowed = false;
    return CONVOY_OK;
}

static convoy_status split(convoy_dataset *set, const cut *cut, convoy_dataset **part) {
    size_t count = 0;
    bool *drawn = calloc(set->count + 1, sizeof *drawn);
    convoy_status status =
        drawn ? draw(set, cut, drawn, &count) : cvy_fail_memory("splitting a set", set->count);
    if (!status && (count == 0 || count == set->count))
        status = cvy_fail(
            CONVOY_INVALID,
            "a part of the %zu training images of %s is empty: each class gives its part, rounded; take a "
            "larger one",
            set->count, set->name);
    if (!status)
        status = own_images(set);
    if (!status)
        status = create_part(set, count, part);
    if (!status)
        move(set, drawn, *part);
    free(drawn);
    if (status) {
        convoy_dataset_free(*part);
        *part = NULL;
    }
    return status;
}

static convoy_status check(const char *function, const convoy_dataset *set) {
    if (!set->classes || !set->labels)
        return cvy_fail(CONVOY_INVALID, "%s: the labels of %s are not known, by which it would be split",
                        function, set->name);
    if (!set->images && !set->paths)
        return cvy_fail(CONVOY_INVALID,
                        "%s: %s is not kept in memory and cannot be split: open it with more of it", function,
                        set->name);
    return CONVOY_OK;
}

convoy_status cvy_dataset_fold(convoy_dataset *set, int fold, int folds, uint64_t seed,
                               convoy_dataset **part) {
    const cut cut = {.fold = fold, .folds = folds, .seed = seed};
    *part = NULL;
    convoy_status status = check("folds", set);
    return status ? status : split(set, &cut, part);
}

convoy_status convoy_dataset_split(convoy_dataset *set, double fraction, uint64_t seed,
                                   convoy_dataset **part) {
    const cut cut = {.fraction = fraction, .seed = seed};
    convoy_status status = CVY_GIVEN_POINTER(part);
    if (status)
        return status;
    *part = NULL;
    status = CVY_GIVEN(set);
    if (status)
        return status;
    if (!(fraction > 0 && fraction < 1))
        return cvy_fail(CONVOY_INVALID, "%s: a part of %g is not between 0 and 1", __func__, fraction);
    status = check(__func__, set);
    return status ? status : split(set, &cut, part);
}
