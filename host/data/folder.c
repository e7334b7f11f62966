/* Photographs in folders: one subfolder per class, below train/ and test/ or val/ or what else these are
   called, or divided here. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "data/photographs.h"

enum { MOST_NESTED = 32 }; /* folders below a class's */

/* The images that were found, in the order of classes and names; files that are no images, and one of them.
 */
typedef struct search {
    cvy_listing images;
    size_t skipped;
    char *skipped_path;
    double said_at; /* cvy_seconds() of the last word about the listing; 0: not begun */
} search;

/* ---- Class folders ---- */

static bool holds(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name);
    bool found = cvy_file_exists(path);
    free(path);
    return found;
}

static bool is_run(const char *folder) {
    return holds(folder, "model.yaml") && holds(folder, "metrics.csv");
}

/* Is it the folder of a run of ours, or the one that such folders are made in? A class may be called runs,
 * too. */
static bool is_our_own(const char *folder, const char *name) {
    char **names;
    size_t count;
    if (is_run(folder))
        return true;
    if (strcmp(name, "runs") != 0 || cvy_folder_list(folder, &names, &count) != CONVOY_OK)
        return false;
    bool own = count == 0;
    for (size_t i = 0; i < count && !own; i++) {
        char *path = cvy_path_join(folder, names[i]);
        own = is_run(path);
        free(path);
    }
    cvy_names_free(names, count);
    return own;
}

/* Keeps the names of subfolders that are not hidden. */
static convoy_status list_subfolders(const char *folder, char ***names, size_t *count) {
    convoy_status status = cvy_folder_list(folder, names, count);
    size_t kept = 0;
    for (size_t i = 0; !status && i < *count; i++) {
        char *name = (*names)[i], *path = cvy_path_join(folder, name);
        if (name[0] != '.' && cvy_folder_exists(path) && !is_our_own(path, name))
            (*names)[kept++] = name;
        else
            free(name);
        free(path);
    }
    if (!status)
        *count = kept;
    return status;
}

bool cvy_folder_recognise(const char *folder) {
    char **names;
    size_t count;
    if (list_subfolders(folder, &names, &count))
        return false;
    cvy_names_free(names, count);
    return count > 0;
}

static void note_skipped(search *found, const char *path) {
    found->skipped++;
    if (!found->skipped_path)
        found->skipped_path = strdup(path);
}

/* After a second, and then every third, so that a slow disk is not taken for a hang. */
static void tell_progress(search *found, const char *folder) {
    const double now = cvy_seconds();
    if (!found->said_at)
        found->said_at = now - 2;
    if (now - found->said_at <= 3)
        return;
    found->said_at = now;
    cvy_info("listing images: %zu so far, now in %s", found->images.count, folder);
}

/* Adds the images in a class's folder and in all below it. */
static convoy_status collect(const char *folder, int label, int depth, search *found) {
    char **names;
    size_t count;
    if (depth > MOST_NESTED)
        return cvy_fail(CONVOY_INVALID,
                        "%s: more than %d folders in one another; is one a link to its parent?", folder,
                        MOST_NESTED);
    convoy_status status = cvy_folder_list(folder, &names, &count);
    if (status)
        return status;
    tell_progress(found, folder);
    for (size_t i = 0; !status && i < count; i++) {
        char *path = names[i][0] == '.' ? NULL : cvy_path_join(folder, names[i]);
        const bool nested = path && cvy_folder_exists(path);
        if (path && !nested && cvy_is_image_name(names[i])) {
            status = cvy_listing_add(&found->images, path, label);
            path = NULL;
        }
        if (nested)
            status = collect(path, label, depth + 1, found);
        else if (path)
            note_skipped(found, path);
        free(path);
    }
    cvy_names_free(names, count);
    return status;
}

/* By folder, then by name: the order of torchvision's ImageFolder. */
static int by_folder(const void *a, const void *b) {
    const char *paths[2] = {*(char *const *)a, *(char *const *)b};
    const size_t lengths[2] = {(size_t)(strrchr(paths[0], '/') - paths[0]),
                               (size_t)(strrchr(paths[1], '/') - paths[1])};
    const int order = strncmp(paths[0], paths[1], lengths[0] < lengths[1] ? lengths[0] : lengths[1]);
    if (order || lengths[0] == lengths[1])
        return order ? order : strcmp(paths[0] + lengths[0], paths[1] + lengths[1]);
    return lengths[0] < lengths[1] ? -1 : 1;
}

static int find_class(char *const *classes, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(classes[i], name) == 0)
            return (int)i;
    return -1;
}

/* Adds the images below `root`, whose subfolders are classes; to test with, a class may have none. */
static convoy_status list_images(const char *root, bool training, char *const *classes, size_t class_count,
                                 search *found) {
    char **names;
    size_t count;
    convoy_status status = list_subfolders(root, &names, &count);
    if (status)
        return status;
    for (size_t i = 0; !status && i < count; i++) {
        const size_t before = found->images.count;
        const int label = find_class(classes, class_count, names[i]);
        char *path = cvy_path_join(root, names[i]);
        if (label < 0)
            status = cvy_fail(CONVOY_INVALID, "%s: there is no class %s among the training images", path,
                              names[i]);
        else
            status = collect(path, label, 0, found);
        const size_t added = found->images.count - before;
        if (!status && added)
            qsort(found->images.paths + before, added, sizeof *found->images.paths, by_folder);
        if (!status && !added && training)
            status = cvy_fail(CONVOY_INVALID, "%s: no images in this class's folder", path);
        free(path);
    }
    cvy_names_free(names, count);
    return status;
}

/* ---- Layouts ---- */

/* The splits that a folder has: their names, malloc'ed, NULL where it has none. `others`: subfolders beside
   them. */
typedef struct layout {
    char *names[CVY_NO_SPLIT];
    size_t others;
} layout;

static void layout_free(layout *layout) {
    for (int s = 0; s < CVY_NO_SPLIT; s++)
        free(layout->names[s]);
}

/* A split has folders of classes in it; a class may be called train. */
static bool has_subfolders(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name), **names;
    size_t count = 0;
    if (list_subfolders(path, &names, &count) == CONVOY_OK)
        cvy_names_free(names, count);
    free(path);
    return count > 0;
}

static const char *find_split(char *const *names, size_t count, int split) {
    for (size_t n = 0; n < CVY_SPLIT_NAMES && cvy_split_names[split][n]; n++) {
        for (size_t i = 0; i < count; i++)
            if (strcmp(names[i], cvy_split_names[split][n]) == 0)
                return names[i];
        for (size_t i = 0; i < count; i++)
            if (strcasecmp(names[i], cvy_split_names[split][n]) == 0)
                return names[i];
    }
    return NULL;
}

static convoy_status find_layout(const char *folder, layout *found) {
    char **names;
    size_t count;
    *found = (layout){0};
    convoy_status status = list_subfolders(folder, &names, &count);
    if (status)
        return status;
    size_t splits = 0;
    for (int s = 0; s < CVY_NO_SPLIT; s++) {
        const char *name = find_split(names, count, s);
        if (name && has_subfolders(folder, name)) {
            found->names[s] = strdup(name);
            splits++;
        }
    }
    found->others = count - splits;
    cvy_names_free(names, count);
    return CONVOY_OK;
}

bool cvy_folder_has_training(const char *folder) {
    layout found;
    if (find_layout(folder, &found))
        return false;
    const bool training = found.names[CVY_TRAIN];
    layout_free(&found);
    return training;
}

bool cvy_folder_has_validation(const char *folder) {
    layout found;
    if (find_layout(folder, &found))
        return false;
    const bool all = found.names[CVY_TRAIN] && found.names[CVY_TEST] && found.names[CVY_VAL];
    layout_free(&found);
    return all;
}

/* Which of the splits is read; CVY_NO_SPLIT: the folder itself, which is divided here or is one set. */
static convoy_status choose_split(const cvy_dataset_request *request, const layout *layout, int *split) {
    char *const *names = layout->names;
    const int judges[2] = {request->validation ? CVY_VAL : CVY_TEST,
                           request->validation ? CVY_TEST : CVY_VAL};
    const int judge = names[judges[0]] ? judges[0] : names[judges[1]] ? judges[1] : CVY_NO_SPLIT;
    const bool held_out = !names[CVY_TRAIN] && !layout->others; /* nothing but folders to test with */
    *split = CVY_NO_SPLIT;
    if (held_out && request->training && judge != CVY_NO_SPLIT)
        return cvy_fail(CONVOY_INVALID, "%s: there is %s/ to test with, but no train/", request->folder,
                        names[judge]);
    if (!request->all && (held_out || (names[CVY_TRAIN] && judge != CVY_NO_SPLIT)))
        *split = request->training ? CVY_TRAIN : judge;
    return CONVOY_OK;
}

/* Where classes are named, and how the images that are read divide. */
typedef struct place {
    char *root;  /* of the classes, malloc'ed */
    char *tests; /* of other images than the root's, malloc'ed; NULL: its own */
    bool split;  /* they are divided here */
} place;

static convoy_status choose_place(const cvy_dataset_request *request, const layout *layout, place *place) {
    int split;
    convoy_status status = choose_split(request, layout, &split);
    const char *train = layout->names[CVY_TRAIN], *name = split == CVY_NO_SPLIT ? NULL : layout->names[split];
    if (status)
        return status;
    if (request->validation && train && layout->names[CVY_TEST] && layout->names[CVY_VAL])
        cvy_info("%s: %s/ judges the training, %s/ is left for its end", request->folder,
                 layout->names[CVY_VAL], layout->names[CVY_TEST]);
    else if (name)
        cvy_info("%s: %s images are those of %s/", request->folder,
                 request->training     ? "training"
                 : request->validation ? "validation"
                                       : "test",
                 name);
    if (!train && name)
        train = name;
    else if (name && !request->training)
        place->tests = cvy_path_join(request->folder, name);
    place->root = train ? cvy_path_join(request->folder, train) : strdup(request->folder);
    place->split = !name && !request->all;
    return place->root ? CONVOY_OK : cvy_fail_memory("a path", strlen(request->folder));
}

/* ---- The set ---- */

static convoy_status name_classes(const char *root, char *const *classes, size_t count,
                                  convoy_dataset *dataset) {
    if (count < 2)
        return cvy_fail(CONVOY_INVALID,
                        "%s: %zu class folder%s; a classifier needs at least two (one subfolder of "
                        "images per class)",
                        root, count, count == 1 ? "" : "s");
    cvy_dataset_name_classes(dataset, (const char *const *)classes, (int)count);
    return CONVOY_OK;
}

/* With "all", the images of every split that there is. */
static convoy_status list_all(const cvy_dataset_request *request, const layout *layout, const place *place,
                              char *const *classes, size_t count, search *found) {
    convoy_status status = list_images(place->root, true, classes, count, found);
    for (int s = CVY_TEST; s < CVY_NO_SPLIT && !status && layout->names[CVY_TRAIN]; s++) {
        char *path = layout->names[s] ? cvy_path_join(request->folder, layout->names[s]) : NULL;
        if (path)
            status = list_images(path, false, classes, count, found);
        free(path);
    }
    if (!status)
        cvy_info("%s: all %zu images are read", request->folder, found->images.count);
    return status;
}

static convoy_status list_place(const cvy_dataset_request *request, const layout *layout, const place *place,
                                convoy_dataset *dataset, search *found) {
    char **classes;
    size_t count;
    convoy_status status = list_subfolders(place->root, &classes, &count);
    if (status)
        return status;
    status = name_classes(place->root, classes, count, dataset);
    if (!status && request->all)
        status = list_all(request, layout, place, classes, count, found);
    else if (!status)
        status = list_images(place->tests ? place->tests : place->root, !place->tests, classes, count, found);
    cvy_names_free(classes, count);
    if (!status && found->skipped && (request->training || !place->split)) /* not twice for one tree */
        cvy_warning("%s: skipped %zu files that are no images, such as %s", request->folder, found->skipped,
                    found->skipped_path);
    if (!status && place->split)
        status = cvy_listing_split(&found->images, dataset->classes, request);
    return status;
}

convoy_status cvy_folder_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    search found = {0};
    layout layout;
    place place = {0};
    convoy_status status = find_layout(request->folder, &layout);
    if (!status)
        status = choose_place(request, &layout, &place);
    if (!status)
        status = list_place(request, &layout, &place, dataset, &found);
    if (!status)
        status = cvy_photographs_open(request, &found.images, dataset);
    cvy_listing_free(&found.images);
    free(found.skipped_path);
    free(place.root);
    free(place.tests);
    layout_free(&layout);
    return status;
}
