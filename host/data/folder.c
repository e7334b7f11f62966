/* Photographs in folders: one subfolder per class, below train/ and test/ or val/, or split here. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "data/image.h"

enum { MOST_NESTED = 32 }; /* folders below a class's */

/* The images that were found, in the order of classes and names. */
typedef struct listing {
    char **paths;
    int32_t *labels;
    size_t count, capacity;
    bool split;     /* one tree for both splits, divided here */
    size_t skipped; /* files that are not images, and one of them */
    char *skipped_path;
} listing;

static void listing_free(listing *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    free(list->labels);
    free(list->skipped_path);
}

/* The list owns `path` from now on. */
static convoy_status listing_add(listing *list, char *path, int label) {
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

bool cvy_is_image_name(const char *name) {
    static const char *const endings[] = {".png", ".jpg", ".jpeg"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

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

/* Which of a class's files, sorted by name, belong to the test set when the folder is split here: a draw that
   depends on the seed, the class and how many there are. Both splits get one where there are two. */
static bool *draw_test(size_t count, double fraction, uint64_t seed, int class) {
    bool *test = calloc(count ? count : 1, sizeof *test);
    uint32_t *order = malloc((count ? count : 1) * sizeof *order);
    size_t chosen = (size_t)((double)count * fraction + 0.5);
    chosen = count < 2 ? 0 : chosen < 1 ? 1 : chosen > count - 1 ? count - 1 : chosen;
    if (test && order) {
        cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_SPLIT, (uint32_t) class);
        cvy_rng_shuffle(&rng, order, count);
        for (size_t i = 0; i < chosen; i++)
            test[order[i]] = true;
    } else {
        free(test);
        test = NULL;
    }
    free(order);
    return test;
}

static void note_skipped(listing *list, const char *path) {
    list->skipped++;
    if (!list->skipped_path)
        list->skipped_path = strdup(path);
}

/* Adds the images in a class's folder and in all below it. */
static convoy_status collect(const char *folder, int label, int depth, listing *images) {
    char **names;
    size_t count;
    if (depth > MOST_NESTED)
        return cvy_fail(CONVOY_INVALID,
                        "%s: more than %d folders in one another; is one a link to its parent?", folder,
                        MOST_NESTED);
    convoy_status status = cvy_folder_list(folder, &names, &count);
    if (status)
        return status;
    for (size_t i = 0; !status && i < count; i++) {
        char *path = names[i][0] == '.' ? NULL : cvy_path_join(folder, names[i]);
        const bool nested = path && cvy_folder_exists(path);
        if (path && !nested && cvy_is_image_name(names[i])) {
            status = listing_add(images, path, label);
            path = NULL;
        }
        if (nested)
            status = collect(path, label, depth + 1, images);
        else if (path)
            note_skipped(images, path);
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

/* Adds a class's images; with `split` only those of the wanted split. *found counts the images of both. */
static convoy_status list_class(const char *folder, int label, bool split, const cvy_dataset_request *request,
                                listing *list, size_t *found) {
    const size_t first = list->count;
    convoy_status status = collect(folder, label, 0, list);
    if (status)
        return status;
    char **images = list->paths + first;
    *found = list->count - first;
    bool *test = draw_test(*found, request->options.test_fraction, request->options.seed, label);
    if (!test)
        return cvy_fail_memory("splitting a folder", *found);
    if (*found)
        qsort(images, *found, sizeof *images, by_folder);
    list->count = first;
    for (size_t i = 0; i < *found; i++)
        if (!split || test[i] == !request->training)
            list->paths[list->count++] = images[i];
        else
            free(images[i]);
    free(test);
    return CONVOY_OK;
}

static int find_class(char *const *classes, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(classes[i], name) == 0)
            return (int)i;
    return -1;
}

/* The images below `folder`, whose subfolders are classes. Without `split` (the folder is one split of two) a
   class may have no images in the test set. */
static convoy_status list_images(const char *folder, bool split, const cvy_dataset_request *request,
                                 char *const *classes, size_t class_count, listing *list) {
    char **names;
    size_t count;
    convoy_status status = list_subfolders(folder, &names, &count);
    if (status)
        return status;
    for (size_t i = 0; !status && i < count; i++) {
        int label = find_class(classes, class_count, names[i]);
        size_t found = 0;
        char *path = cvy_path_join(folder, names[i]);
        if (label < 0)
            status = cvy_fail(CONVOY_INVALID, "%s: there is no class %s among the training images", path,
                              names[i]);
        else
            status = list_class(path, label, split, request, list, &found);
        if (!status && !found && (split || request->training))
            status = cvy_fail(CONVOY_INVALID, "%s: no PNG or JPEG images in this class's folder", path);
        free(path);
    }
    cvy_names_free(names, count);
    return status;
}

/* ---- The set ---- */

static char *subfolder(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name);
    if (cvy_folder_exists(path))
        return path;
    free(path);
    return NULL;
}

/* The folder of a split, and what it is called: test, or what validation sets are called. */
static char *split_folder(const char *folder, bool validation, const char **name) {
    static const char *const validations[] = {"val", "valid", "validation"};
    char *path = NULL;
    for (size_t i = 0; validation && !path && i < sizeof validations / sizeof *validations; i++)
        path = subfolder(folder, *name = validations[i]);
    if (!validation)
        path = subfolder(folder, *name = "test");
    return path;
}

bool cvy_folder_has_validation(const char *folder) {
    const char *name;
    char *paths[3] = {subfolder(folder, "train"), split_folder(folder, false, &name),
                      split_folder(folder, true, &name)};
    const bool all = paths[0] && paths[1] && paths[2];
    for (int i = 0; i < 3; i++)
        free(paths[i]);
    return all;
}

/* With a limit, evenly spread over the list, so that every class keeps its share. */
static void thin_out(listing *list, size_t limit) {
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

static convoy_status list_split(const cvy_dataset_request *request, convoy_dataset *dataset, listing *list) {
    const char *name = "";
    char *train = subfolder(request->folder, "train"), *test = NULL;
    if (train)
        test = split_folder(request->folder, request->validation, &name);
    if (train && !test && (test = split_folder(request->folder, !request->validation, &name)) &&
        !request->validation && !request->training)
        cvy_info("%s: there is no test/; %s/ is the test set", request->folder, name);
    if (test && request->validation && cvy_folder_has_validation(request->folder))
        cvy_info("%s: %s/ judges the training, test/ is left for its end", request->folder, name);
    const char *root = train ? train : request->folder;
    bool split = list->split = !(train && test);
    char **classes;
    size_t count;
    convoy_status status = list_subfolders(root, &classes, &count);
    if (status)
        goto done;
    if (count < 2)
        status = cvy_fail(CONVOY_INVALID,
                          "%s: %zu class folder%s; a classifier needs at least two (one subfolder of "
                          "images per class)",
                          root, count, count == 1 ? "" : "s");
    dataset->classes = (int)count;
    dataset->class_names = cvy_arena_alloc(dataset->arena, (count ? count : 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++)
        dataset->class_names[i] = cvy_arena_strdup(dataset->arena, classes[i]);
    if (!status)
        status = list_images(split || request->training ? root : test, split, request, classes, count, list);
    cvy_names_free(classes, count);
done:
    free(train);
    free(test);
    return status;
}

static convoy_status fetch(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    const cvy_fitting fitting = {dataset->channels, dataset->height, dataset->width, dataset->resize,
                                 dataset->short_side};
    return cvy_image_load(dataset->paths[index], &fitting, image);
}

/* What the options leave open follows the first image. */
static convoy_status choose_shape(const convoy_dataset_options *options, convoy_dataset *dataset) {
    dataset->channels = options->channels;
    dataset->resize = (cvy_resize_mode)options->resize;
    dataset->short_side = options->short_side;
    dataset->height = options->height;
    dataset->width = options->width;
    if (dataset->channels && dataset->height)
        return CONVOY_OK;
    cvy_pixels first;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): thin_out keeps paths[0] */
    convoy_status status = cvy_image_read(dataset->paths[0], (cvy_wanted){0}, &first);
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

convoy_status cvy_folder_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    listing list = {0};
    convoy_status status = list_split(request, dataset, &list);
    if (!status && !list.count)
        status = cvy_fail(CONVOY_INVALID, "%s: no images for the %s split", request->folder,
                          request->training ? "training" : "test");
    if (status)
        goto done;
    if (list.skipped && (request->training || !list.split)) /* not twice for one tree */
        cvy_warning("%s: skipped %zu files that are not PNG or JPEG, such as %s", request->folder,
                    list.skipped, list.skipped_path);
    thin_out(&list, request->options.limit);
    dataset->count = list.count;
    dataset->paths = list.paths;
    dataset->labels = list.labels;
    list = (listing){.skipped_path = list.skipped_path};
    dataset->fetch = fetch;
    status = choose_shape(&request->options, dataset);
    if (!status && request->options.whole)
        status = cvy_dataset_keep_whole(dataset, request->options.threads);
    if (!status)
        status = cvy_dataset_keep(dataset, request->options.memory, request->options.threads);
done:
    listing_free(&list);
    return status;
}
