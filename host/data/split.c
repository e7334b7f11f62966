/* Dividing a set in two, class by class: a validation set from training images. */
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/rng.h"
#include "data/dataset.h"

/* Which images go into the part: of each class the same fraction, drawn by the seed; a class keeps one. */
static convoy_status draw(const convoy_dataset *set, double fraction, uint64_t seed, bool *drawn,
                          size_t *count) {
    uint32_t *members = malloc((set->count + 1) * sizeof *members);
    uint32_t *order = malloc((set->count + 1) * sizeof *order);
    *count = 0;
    if (!members || !order) {
        free(members);
        free(order);
        return cvy_fail_memory("splitting a set", 2 * set->count * sizeof *members);
    }
    for (int c = 0; c < set->classes; c++) {
        size_t found = 0;
        for (size_t i = 0; i < set->count; i++)
            if (set->labels[i] == c)
                members[found++] = (uint32_t)i;
        size_t wanted = (size_t)((double)found * fraction + 0.5);
        wanted = wanted >= found && found ? found - 1 : wanted;
        cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_VALIDATION, (uint32_t)c);
        cvy_rng_shuffle(&rng, order, found);
        for (size_t i = 0; i < wanted; i++)
            drawn[members[order[i]]] = true;
        *count += wanted;
    }
    free(members);
    free(order);
    return CONVOY_OK;
}

/* A set like this one with room for `count` images. */
static convoy_status create_part(const convoy_dataset *set, size_t count, convoy_dataset **out) {
    convoy_dataset *part = *out = cvy_dataset_create();
    if (!part)
        return cvy_fail_memory("a data set", sizeof *part);
    part->name = cvy_arena_strdup(part->arena, set->name);
    part->source = set->source ? cvy_arena_strdup(part->arena, set->source) : NULL;
    part->channels = set->channels;
    part->height = set->height;
    part->width = set->width;
    part->classes = set->classes;
    part->numbered = set->numbered;
    part->floats = set->floats;
    part->fetch = set->fetch;
    part->class_names = cvy_arena_alloc(part->arena, ((size_t)set->classes + 1) * sizeof *part->class_names);
    for (int c = 0; c < set->classes; c++)
        part->class_names[c] = cvy_arena_strdup(part->arena, set->class_names[c]);
    convoy_status status = cvy_dataset_reserve_labels(part, count);
    if (!status && set->images)
        status = cvy_dataset_reserve_images(part);
    if (!status && set->paths && !(part->paths = calloc(count + 1, sizeof *part->paths)))
        status = cvy_fail_memory("a list of images", count * sizeof *part->paths);
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

static convoy_status split(convoy_dataset *set, double fraction, uint64_t seed, convoy_dataset **part) {
    size_t count = 0;
    bool *drawn = calloc(set->count + 1, sizeof *drawn);
    convoy_status status =
        drawn ? draw(set, fraction, seed, drawn, &count) : cvy_fail_memory("splitting a set", set->count);
    if (!status && count == 0)
        status = cvy_fail(
            CONVOY_INVALID,
            "a validation part of %g of the %zu training images of %s is empty: each class gives its "
            "part, rounded; take a larger one",
            fraction, set->count, set->name);
    if (!status)
        status = own_images(set);
    if (!status)
        status = create_part(set, count, part);
    if (!status)
        move(set, drawn, *part);
    free(drawn);
    return status;
}

convoy_status convoy_dataset_split(convoy_dataset *set, double fraction, uint64_t seed,
                                   convoy_dataset **part) {
    convoy_status status = CVY_GIVEN_POINTER(part);
    if (status)
        return status;
    *part = NULL;
    status = CVY_GIVEN(set);
    if (status)
        return status;
    if (!(fraction > 0 && fraction < 1))
        return cvy_fail(CONVOY_INVALID, "%s: a part of %g is not between 0 and 1", __func__, fraction);
    if (!set->classes || !set->labels)
        return cvy_fail(CONVOY_INVALID, "%s: the labels of %s are not known, by which it would be split",
                        __func__, set->name);
    if (!set->images && !set->paths)
        return cvy_fail(CONVOY_INVALID,
                        "%s: %s is not kept in memory and cannot be split: open it with more of it", __func__,
                        set->name);
    status = split(set, fraction, seed, part);
    if (status) {
        convoy_dataset_free(*part);
        *part = NULL;
    }
    return status;
}
