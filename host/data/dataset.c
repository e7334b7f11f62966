/* The table of dataset formats and of known names, opening a set, and what the accessors answer. */
#include "data/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/given.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/image.h"

static const cvy_dataset_format formats[] = {
    {"IDX files", cvy_idx_recognise, cvy_idx_open, false},
    {"CIFAR-10 binary batches", cvy_cifar10_recognise, cvy_cifar10_open, false},
    {"CIFAR-100 binary batches", cvy_cifar100_recognise, cvy_cifar100_open, false},
    {"lists of pictures (train.csv)", cvy_list_recognise, cvy_list_open, true},
    {"one subfolder of images per class", cvy_folder_recognise, cvy_folder_open, true},
};
enum { FORMATS = sizeof formats / sizeof *formats, LISTS = 3 /* a file is one */ };

/* Names that need no path. `folders`: what the set's own archive or torchvision calls its folder. */
typedef struct known_set {
    const char *name;
    const char *folders[4];
    const char *get;
    const char *member; /* of the folder, where it holds several sets */
} known_set;

#define EMNIST(which)                                                                                        \
    {                                                                                                        \
        "emnist-" which, {"emnist", "emnist/gzip", "EMNIST/raw", "EMNIST/raw/gzip"},                         \
            "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset there",        \
            "emnist-" which                                                                                  \
    }

#define QMNIST(which)                                                                                        \
    {                                                                                                        \
        which, {"qmnist", "QMNIST/raw"},                                                                     \
            "put its four IDX files (qmnist-train-images-idx3-ubyte.gz, qmnist-train-labels-idx2-int.gz, "   \
            "...) there",                                                                                    \
            which                                                                                            \
    }

static const known_set known_sets[] = {
    {"fashion-mnist",
     {"fashion-mnist", "FashionMNIST/raw"},
     "install it with `apt-get install dataset-fashion-mnist` (Debian, Ubuntu), or put its four IDX files "
     "there",
     NULL},
    {"mnist", {"mnist", "MNIST/raw"}, "put its four IDX files (train-images-idx3-ubyte.gz, ...) there", NULL},
    {"kmnist",
     {"kmnist", "KMNIST/raw"},
     "put its four IDX files (train-images-idx3-ubyte.gz, ...) or NumPy archives (kmnist-train-imgs.npz, "
     "...) there",
     NULL},
    QMNIST("qmnist"),
    QMNIST("qmnist-test10k"),
    QMNIST("qmnist-test50k"),
    EMNIST("balanced"),
    EMNIST("byclass"),
    EMNIST("bymerge"),
    EMNIST("digits"),
    EMNIST("letters"),
    EMNIST("mnist"),
    {"cifar10",
     {"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10", "cifar-10-batches-py"},
     "unpack cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html there",
     NULL},
    {"cifar100",
     {"cifar-100-binary", "cifar100/cifar-100-binary", "cifar100", "cifar-100-python"},
     "unpack cifar-100-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html there",
     NULL},
};
enum { KNOWN_SETS = sizeof known_sets / sizeof *known_sets };

/* ---- Finding the folder ---- */

static const known_set *find_known(const char *what) {
    for (size_t i = 0; i < KNOWN_SETS; i++)
        if (strcmp(known_sets[i].name, what) == 0)
            return &known_sets[i];
    return NULL;
}

static const cvy_dataset_format *recognise(const char *folder) {
    for (size_t i = 0; i < FORMATS; i++)
        if (formats[i].recognise(folder))
            return &formats[i];
    return NULL;
}

/* EMNIST's archive unpacks into gzip/: the folder around it is not the set. */
static bool holds(const char *folder, const known_set *known) {
    return known->member ? cvy_idx_has_member(folder, known->member) : recognise(folder) != NULL;
}

/* The first place that holds the set; otherwise says where it looked and how to get it. */
static convoy_status find_known_folder(const known_set *known, char **folder) {
    const char *const roots[] = {getenv("CONVOY_DATA"), "data", "/usr/share/datasets"};
    cvy_text looked = {0};
    for (size_t r = 0; r < sizeof roots / sizeof *roots; r++)
        for (size_t f = 0; roots[r] && *roots[r] && f < sizeof known->folders / sizeof *known->folders; f++) {
            if (!known->folders[f])
                continue;
            char *path = cvy_path_join(roots[r], known->folders[f]);
            if (cvy_folder_exists(path) && holds(path, known)) {
                *folder = path;
                cvy_text_free(&looked);
                return CONVOY_OK;
            }
            cvy_text_add(&looked, "%s%s", looked.length ? ", " : "", path);
            const convoy_status pickles = cvy_cifar_refuse_pickles(path);
            free(path);
            if (pickles) {
                cvy_text_free(&looked);
                return pickles;
            }
        }
    convoy_status status =
        cvy_fail(CONVOY_INVALID, "data set %s not found: looked for %s; %s, or give the path of its folder",
                 known->name, cvy_text_get(&looked), known->get);
    cvy_text_free(&looked);
    return status;
}

static convoy_status not_found(const char *what) {
    const char *names[KNOWN_SETS + 1] = {"synthetic"};
    cvy_text list = {0};
    for (size_t i = 0; i < KNOWN_SETS; i++) {
        names[i + 1] = known_sets[i].name;
        cvy_text_add(&list, "%s, ", known_sets[i].name);
    }
    const char *nearest = cvy_text_nearest(what, names, KNOWN_SETS + 1);
    convoy_status status = cvy_fail(
        CONVOY_INVALID, "data %s: no such folder or list, and not one of the known names (%ssynthetic)%s%s%s",
        what, cvy_text_get(&list), nearest ? "; did you mean " : "", nearest ? nearest : "",
        nearest ? "?" : "");
    cvy_text_free(&list);
    return status;
}

static convoy_status not_recognised(const char *folder) {
    char **names;
    size_t count;
    convoy_status status = cvy_cifar_refuse_pickles(folder);
    if (!status)
        status = cvy_folder_list(folder, &names, &count);
    if (status)
        return status;
    cvy_text message = {0};
    for (size_t i = 0; i < FORMATS; i++)
        cvy_text_add(&message, "%s%s", i ? ", " : "", formats[i].name);
    cvy_text_add(&message, count ? "; it holds " : "; it is empty");
    for (size_t i = 0; i < count && i < 5; i++) {
        cvy_text_add(&message, "%s", i ? ", " : "");
        cvy_text_add_visible(&message, names[i], false);
    }
    if (count > 5)
        cvy_text_add(&message, " and %zu more", count - 5);
    status = cvy_fail(CONVOY_INVALID, "%s: not recognised as a data set: expected %s", folder,
                      cvy_text_get(&message));
    cvy_text_free(&message);
    cvy_names_free(names, count);
    return status;
}

/* ---- Opening ---- */

/* "fashion-mnist" of "/usr/share/datasets/fashion-mnist/", "MNIST" of "x/MNIST/raw". */
static const char *name_of_folder(cvy_arena *arena, const char *folder) {
    char *real = realpath(folder, NULL);
    char *path = cvy_arena_strdup(arena, real ? real : folder);
    free(real);
    char *slash = strrchr(path, '/');
    if (slash && slash != path && strcmp(slash, "/raw") == 0) {
        *slash = '\0';
        slash = strrchr(path, '/');
    }
    return slash && slash[1] ? slash + 1 : path;
}

static convoy_dataset_options fill_defaults(convoy_dataset_options filled) {
    if (filled.test_fraction == 0)
        filled.test_fraction = 0.2;
    if (!filled.memory) {
        const size_t quarter = cvy_machine_memory() / 4;
        filled.memory = quarter < ((size_t)2 << 30) ? quarter : (size_t)2 << 30;
    }
    filled.threads = cvy_threads_wanted(filled.threads);
    return filled;
}

static convoy_status check_options(const convoy_dataset_options *options) {
    if (options->channels != 0 && options->channels != 1 && options->channels != 3)
        return cvy_fail(CONVOY_INVALID, "images have 1 or 3 channels, not %d", options->channels);
    if (options->height < 0 || options->width < 0 || options->height > 65535 || options->width > 65535)
        return cvy_fail(CONVOY_INVALID, "image size %d x %d is out of range", options->height,
                        options->width);
    if (!options->height != !options->width)
        return cvy_fail(CONVOY_INVALID, "an image size needs both height and width, not %d x %d",
                        options->height, options->width);
    if (options->resize > CONVOY_RESIZE_LETTERBOX || options->short_side < 0 || options->short_side > 65535)
        return cvy_fail(CONVOY_INVALID, "resize %d with a short side of %d is out of range",
                        (int)options->resize, options->short_side);
    if (options->short_side &&
        (options->resize != CONVOY_RESIZE_SHORT_SIDE || options->short_side < options->height ||
         options->short_side < options->width))
        return cvy_fail(CONVOY_INVALID, "a short side of %d does not cover an image of %d x %d",
                        options->short_side, options->height, options->width);
    if (options->whole && options->resize != CONVOY_RESIZE_SHORT_SIDE)
        return cvy_fail(CONVOY_INVALID, "photographs are kept whole where their short side is resized only");
    if (!(options->test_fraction > 0 && options->test_fraction < 1))
        return cvy_fail(CONVOY_INVALID, "test fraction %g is not between 0 and 1", options->test_fraction);
    return CONVOY_OK;
}

convoy_dataset *cvy_dataset_create(void) {
    convoy_dataset *dataset = calloc(1, sizeof *dataset);
    cvy_arena *arena = cvy_arena_create();
    if (!dataset || !arena) {
        free(dataset);
        cvy_arena_free(arena);
        return NULL;
    }
    dataset->arena = arena;
    cvy_object_open(dataset);
    return dataset;
}

/* "x/emnist-letters" where the folder x has files whose names begin so: becomes x, and returns the rest. */
static const char *take_member(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return NULL;
    *slash = '\0';
    return cvy_idx_has_member(path, slash + 1) ? slash + 1 : NULL;
}

static convoy_status find_member(const char *what, char **folder, const char **member,
                                 const cvy_dataset_format **format) {
    cvy_text path = {0};
    cvy_text_add(&path, "%s%s", strchr(what, '/') ? "" : "./", what);
    *member = path.data ? take_member(path.data) : NULL;
    *folder = path.data;
    *format = &formats[0];
    return *member ? CONVOY_OK : not_found(what);
}

/* `found` receives the folder, malloc'ed, and the format to open it with. */
static convoy_status find_folder(const char *what, char **folder, const char **member,
                                 const cvy_dataset_format **format) {
    const known_set *known = find_known(what);
    if (known) {
        *member = known->member;
        convoy_status status = find_known_folder(known, folder);
        if (status)
            return status;
    } else if (!cvy_folder_exists(what)) {
        if (!cvy_file_exists(what))
            return find_member(what, folder, member, format);
        *folder = strdup(what);
        *format = &formats[LISTS];
        return *folder ? CONVOY_OK : cvy_fail_memory("a path", strlen(what));
    } else {
        *folder = strdup(what);
    }
    if (!*folder)
        return cvy_fail_memory("a path", strlen(what));
    *format = recognise(*folder);
    return *format ? CONVOY_OK : not_recognised(*folder);
}

static convoy_status open_set(const char *what, const char *split, const convoy_dataset_options *options,
                              convoy_dataset **result) {
    char *folder = NULL;
    cvy_dataset_request request = {.training = strcmp(split, "train") == 0,
                                   .validation = strcmp(split, "val") == 0,
                                   .all = strcmp(split, "all") == 0,
                                   .options = fill_defaults(*options)};
    cvy_dataset_format synthetic = {"synthetic", NULL, cvy_synthetic_open, false};
    const cvy_dataset_format *format = &synthetic;
    convoy_dataset *dataset = cvy_dataset_create();
    convoy_status status =
        dataset ? check_options(&request.options) : cvy_fail_memory("a data set", sizeof *dataset);
    if (!status && strcmp(what, "synthetic") != 0)
        status = find_folder(what, &folder, &request.member, &format);
    if (status)
        goto done;
    const known_set *known = find_known(what);
    request.folder = folder;
    request.known = known ? known->name : NULL;
    dataset->source = cvy_arena_strdup(dataset->arena, folder ? folder : what);
    if (!known && request.member)
        dataset->name = cvy_arena_strdup(dataset->arena, request.member);
    else
        dataset->name = folder && !known ? name_of_folder(dataset->arena, folder)
                                         : cvy_arena_strdup(dataset->arena, what);
    if (request.all && !format->photographs)
        status = cvy_fail(
            CONVOY_INVALID,
            "%s: all of it cannot be read as one set: that is for photographs in folders or lists; this "
            "is %s, which has train and test",
            what, format->name);
    else
        status = format->open(&request, dataset);
    if (!status) {
        const cvy_classes classes = cvy_dataset_classes(dataset);
        status = cvy_classes_check(&classes, what);
    }
    if (!status && dataset->count > UINT32_MAX)
        status =
            cvy_fail(CONVOY_INVALID, "%s: %zu images are more than a set can have", what, dataset->count);
done:
    free(folder);
    if (!status)
        *result = dataset;
    else
        convoy_dataset_free(dataset);
    return status;
}

convoy_status convoy_dataset_open(const char *what, const char *split, const convoy_dataset_options *options,
                                  convoy_dataset **result) {
    convoy_dataset_options given;
    convoy_status status = cvy_given_pointer(__func__, "dataset", result);
    if (status)
        return status;
    *result = NULL;
    status = cvy_take_struct(__func__, "options", options, &given, sizeof given);
    if (!status && (!what || !*what || !split))
        status = cvy_fail(CONVOY_INVALID, "convoy_dataset_open: no data set named");
    if (!status && strcmp(split, "train") != 0 && strcmp(split, "test") != 0 && strcmp(split, "val") != 0 &&
        strcmp(split, "all") != 0)
        status = cvy_fail(CONVOY_INVALID, "split %s: expected train, val, test or all", split);
    return status ? status : open_set(what, split, &given, result);
}

void convoy_dataset_free(convoy_dataset *dataset) {
    if (!dataset || !cvy_object_close(__func__, "dataset", dataset))
        return;
    if (dataset->paths)
        for (size_t i = 0; i < dataset->count; i++)
            free(dataset->paths[i]);
    free(dataset->paths);
    free(dataset->labels);
    free(dataset->extents);
    if (!dataset->borrowed)
        free(dataset->images);
    cvy_fill_free(dataset->fill);
    cvy_arena_free(dataset->arena);
    free(dataset);
}

/* ---- What formats share ---- */

size_t cvy_dataset_image_bytes(const convoy_dataset *dataset) {
    return (size_t)dataset->channels * (size_t)dataset->height * (size_t)dataset->width *
           (dataset->floats ? sizeof(float) : 1);
}

convoy_status cvy_dataset_reserve_labels(convoy_dataset *dataset, size_t count) {
    dataset->count = count;
    dataset->labels = calloc(count ? count : 1, sizeof *dataset->labels);
    return dataset->labels ? CONVOY_OK
                           : cvy_fail_memory("the labels of a data set", count * sizeof *dataset->labels);
}

convoy_status cvy_dataset_reserve_images(convoy_dataset *dataset) {
    size_t bytes, each = cvy_dataset_image_bytes(dataset);
    if (__builtin_mul_overflow(dataset->count, each, &bytes))
        return cvy_fail(CONVOY_INVALID, "%zu images of %zu bytes are too many", dataset->count, each);
    dataset->images = malloc(bytes ? bytes : 1);
    return dataset->images ? CONVOY_OK : cvy_fail_memory("the images of a data set", bytes);
}

convoy_status cvy_dataset_convert(convoy_dataset *dataset, int channels) {
    if (!channels || channels == dataset->channels)
        return CONVOY_OK;
    size_t plane = (size_t)dataset->height * (size_t)dataset->width;
    size_t from_bytes = cvy_dataset_image_bytes(dataset), to_bytes = (size_t)channels * plane;
    uint8_t *from = dataset->images;
    dataset->images = NULL;
    dataset->channels = channels;
    convoy_status status = cvy_dataset_reserve_images(dataset);
    for (size_t i = 0; !status && i < dataset->count; i++) {
        const uint8_t *source = from + i * from_bytes;
        uint8_t *target = dataset->images + i * to_bytes;
        if (channels == 1)
            for (size_t p = 0; p < plane; p++)
                target[p] = cvy_luma(source[p], source[plane + p], source[2 * plane + p]);
        else
            for (int c = 0; c < channels; c++)
                memcpy(target + (size_t)c * plane, source, plane);
    }
    free(from);
    return status;
}

/* ---- Classes ---- */

void cvy_dataset_number_classes(convoy_dataset *dataset, int classes) {
    dataset->classes = classes;
    dataset->numbered = true;
    dataset->class_names = cvy_arena_alloc(dataset->arena, (size_t)classes * sizeof(char *));
    for (int i = 0; i < classes; i++)
        dataset->class_names[i] = cvy_arena_printf(dataset->arena, "%d", i);
}

void cvy_dataset_name_classes(convoy_dataset *dataset, const char *const *names, int classes) {
    dataset->classes = classes;
    dataset->class_names = cvy_arena_alloc(dataset->arena, (size_t)classes * sizeof(char *));
    for (int i = 0; i < classes; i++)
        dataset->class_names[i] = cvy_arena_strdup(dataset->arena, names[i]);
}

void cvy_list_by_class(const int32_t *labels, size_t count, int classes, size_t *begins, uint32_t *places) {
    memset(begins, 0, ((size_t)classes + 1) * sizeof *begins);
    for (size_t i = 0; i < count; i++)
        begins[labels[i] + 1]++;
    for (int c = 0; c < classes; c++)
        begins[c + 1] += begins[c];
    for (size_t i = 0; i < count; i++)
        places[begins[labels[i]]++] = (uint32_t)i;
    for (int c = classes; c > 0; c--) /* each has become where the next one begins */
        begins[c] = begins[c - 1];
    begins[0] = 0;
}

cvy_classes cvy_dataset_classes(const convoy_dataset *dataset) {
    return (cvy_classes){dataset->classes, dataset->numbered ? NULL : dataset->class_names};
}

convoy_status cvy_dataset_order_classes(convoy_dataset *dataset, const cvy_classes *wanted,
                                        const char *owner) {
    const cvy_classes given = cvy_dataset_classes(dataset);
    const size_t count = (size_t)given.count;
    if (!count) /* no labels */
        return CONVOY_OK;
    int *place = cvy_arena_alloc(dataset->arena, 2 * count * sizeof *place), *patterns = place + count;
    convoy_status status = cvy_classes_match(wanted, owner, &given, dataset->name, place);
    if (status)
        return status;
    const char **names = cvy_arena_alloc(dataset->arena, count * sizeof *names);
    bool moved = false;
    for (size_t i = 0; i < count; i++) {
        const size_t to = (size_t)place[i];
        moved = moved || to != i;
        patterns[to] = dataset->patterns ? dataset->patterns[i] : (int)i;
        names[to] =
            wanted->names ? cvy_arena_strdup(dataset->arena, wanted->names[to]) : dataset->class_names[i];
    }
    dataset->class_names = names;
    dataset->numbered = dataset->numbered && !wanted->names;
    if (!moved)
        return CONVOY_OK;
    dataset->patterns = patterns;
    for (size_t i = 0; dataset->labels && i < dataset->count; i++)
        dataset->labels[i] = place[dataset->labels[i]];
    if (dataset->fill)
        cvy_fill_reorder(dataset, place);
    cvy_info("the classes of %s are brought into the order that %s has", dataset->name, owner);
    return CONVOY_OK;
}

/* ---- Accessors ---- */

const char *convoy_dataset_name(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? "" : dataset->name;
}

size_t convoy_dataset_count(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? 0 : dataset->count;
}

int convoy_dataset_channels(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? 0 : dataset->channels;
}

int convoy_dataset_height(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? 0 : dataset->height;
}

int convoy_dataset_width(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? 0 : dataset->width;
}

int convoy_dataset_classes(const convoy_dataset *dataset) {
    return CVY_GIVEN(dataset) ? 0 : dataset->classes;
}

const char *convoy_dataset_class_name(const convoy_dataset *dataset, int index) {
    if (CVY_GIVEN(dataset))
        return "";
    return index >= 0 && index < dataset->classes ? dataset->class_names[index] : "?";
}

int convoy_dataset_label(const convoy_dataset *dataset, size_t index) {
    if (CVY_GIVEN(dataset))
        return -1;
    return dataset->classes && dataset->labels && index < dataset->count ? dataset->labels[index] : -1;
}

const char *convoy_dataset_path(const convoy_dataset *dataset, size_t index) {
    if (CVY_GIVEN(dataset))
        return "";
    return dataset->paths && index < dataset->count ? dataset->paths[index] : dataset->source;
}

convoy_status convoy_dataset_image(const convoy_dataset *dataset, size_t index, uint8_t *image) {
    convoy_status status = CVY_GIVEN(dataset);
    if (!status)
        status = CVY_GIVEN_POINTER(image);
    if (status)
        return status;
    if (index >= dataset->count)
        return cvy_fail(CONVOY_INVALID, "convoy_dataset_image: %s: there is no image %zu: it has %zu",
                        dataset->name, index, dataset->count);
    if (dataset->floats)
        return cvy_fail(CONVOY_INVALID, "convoy_dataset_image: the pixels of %s are floats, not bytes",
                        dataset->name);
    const uint32_t one = (uint32_t)index;
    int32_t label;
    return cvy_dataset_fetch(dataset, &one, 1, image, &label);
}

convoy_status cvy_dataset_fetch(const convoy_dataset *dataset, const uint32_t *indices, size_t count,
                                uint8_t *images, int32_t *labels) {
    const size_t bytes = cvy_dataset_image_bytes(dataset);
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; dataset->labels && i < count; i++)
        labels[i] = dataset->labels[indices[i]];
    if (dataset->fill)
        return cvy_dataset_fill(dataset, indices, count, images, labels);
    for (size_t i = 0; i < count && !status; i++)
        if (dataset->images)
            memcpy(images + i * bytes, dataset->images + indices[i] * bytes, bytes);
        else
            status = dataset->fetch(dataset, indices[i], images + i * bytes);
    return status;
}
