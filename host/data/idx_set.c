/* A data set in IDX files, or .npz, under MNIST's names or those of its kin: images and labels of a training
   and a test split. A folder may hold several such sets, told apart by what their files' names begin with. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/idx.h"

static const char *const fashion_names[] = {"T-shirt/top", "Trouser",    "Pullover", "Dress",
                                            "Coat",        "Sandal",     "Shirt",    "Sneaker",
                                            "Bag",         "Ankle boot", NULL};
static const char *const kana_names[] = {"o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo", NULL};

/* What is known of a public set: of a known name, or of files whose names begin with it. EMNIST's images lie
   on their side, and its letters are numbered from 1 (G. Cohen et al., "EMNIST: an extension of MNIST to
   handwritten letters"); names and order are torchvision's. */
typedef struct kin {
    const char *name;
    const char *const *names;
    const char *characters; /* where each class is one; both NULL: 10 classes, called by their numbers */
    bool transposed;
    int first; /* label */
} kin;

#define DIGITS "0123456789"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LETTERS "abcdefghijklmnopqrstuvwxyz"
static const kin kins[] = {
    {"fashion-mnist", fashion_names, NULL, false, 0},
    {"mnist", NULL, NULL, false, 0},
    {"kmnist", kana_names, NULL, false, 0},
    {"qmnist", NULL, NULL, false, 0},
    {"xnist", NULL, NULL, false, 0},
    {"emnist-balanced", NULL, DIGITS CAPITALS "abdefghnqrt", true, 0},
    {"emnist-bymerge", NULL, DIGITS CAPITALS "abdefghnqrt", true, 0},
    {"emnist-byclass", NULL, DIGITS CAPITALS LETTERS, true, 0},
    {"emnist-letters", NULL, LETTERS, true, 1},
    {"emnist-digits", NULL, NULL, true, 0},
    {"emnist-mnist", NULL, NULL, true, 0},
};

/* Sets that have the files of another: the test images from `begin` on, to `end` (0: all). As torchvision
   calls them. */
static const struct part {
    const char *name, *files;
    size_t begin, end;
} parts[] = {{"qmnist-test10k", "qmnist", 0, 10000}, {"qmnist-test50k", "qmnist", 10000, 0}};

static struct part find_part(const char *set) {
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, set) == 0)
            return parts[i];
    return (struct part){set, set, 0, 0};
}

static const kin *find_kin(const char *name) {
    if (name)
        name = find_part(name).files;
    for (size_t i = 0; name && i < sizeof kins / sizeof *kins; i++)
        if (strcmp(kins[i].name, name) == 0)
            return &kins[i];
    return NULL;
}

static int classes_of(const kin *kin) {
    int count = 0;
    while (kin->names && kin->names[count])
        count++;
    return kin->characters ? (int)strlen(kin->characters) : kin->names ? count : 10;
}

/* ---- Files ---- */

/* What a file's name says: "emnist-letters-test-images-idx3-ubyte.gz", "kmnist-test-imgs.npz". */
typedef struct meaning {
    char set[64]; /* "emnist-letters"; "": MNIST's own names */
    bool training, images;
    int dimensions; /* 0: a .npz file */
} meaning;

/* Cuts `ending` off the end of a text. */
static bool cut(char *text, const char *ending) {
    const size_t length = strlen(text), size = strlen(ending);
    if (length < size || strcmp(text + length - size, ending) != 0)
        return false;
    text[length - size] = '\0';
    return true;
}

static bool understand(const char *name, meaning *m) {
    char *text = m->set;
    if (strlen(name) >= sizeof m->set)
        return false;
    strcpy(text, name);
    const bool archive = cut(text, ".npz");
    if (!archive && !cut(text, ".gz"))
        cut(text, ".xz");
    m->dimensions = archive                   ? 0
                    : cut(text, "idx3-ubyte") ? 3
                    : cut(text, "idx1-ubyte") ? 1
                    : cut(text, "idx2-int")   ? 2
                                              : -1;
    if (m->dimensions < 0 || (!archive && !cut(text, "-") && !cut(text, ".")))
        return false;
    m->images = m->dimensions == 3 || (archive && cut(text, "-imgs"));
    if (!(archive && m->images) && !cut(text, m->images ? "-images" : "-labels"))
        return false;
    m->training = cut(text, "train");
    if (strcmp(text, "xnist") == 0) /* QMNIST's third part: NIST's digits, which nothing divides */
        return true;
    return (m->training || cut(text, "t10k") || cut(text, "test")) && (!*text || cut(text, "-"));
}

/* The file of a split, malloc'ed; NULL where there is none. */
static char *find_file(const char *folder, const char *set, bool training, bool images) {
    char **names, *path = NULL;
    size_t count;
    set = find_part(set).files;
    if (cvy_folder_list(folder, &names, &count) != CONVOY_OK)
        return NULL;
    for (size_t i = 0; i < count && !path; i++) {
        meaning m;
        if (understand(names[i], &m) && strcmp(m.set, set) == 0 && m.training == training &&
            m.images == images) {
            path = cvy_path_join(folder, names[i]);
            if (cvy_folder_exists(path)) {
                free(path);
                path = NULL;
            }
        }
    }
    cvy_names_free(names, count);
    return path;
}

bool cvy_idx_has_member(const char *folder, const char *set) {
    char *train = find_file(folder, set, true, true), *test = find_file(folder, set, false, true);
    const bool found = train || test;
    free(train);
    free(test);
    return found;
}

/* The sets that a folder holds: how many, the first of them, and a list of them as paths. */
static size_t list_sets(const char *folder, char first[64], cvy_text *list) {
    char **names;
    size_t count, found = 0;
    char last[64] = "";
    if (cvy_folder_list(folder, &names, &count) != CONVOY_OK)
        return 0;
    for (size_t i = 0; i < count; i++) {
        meaning m;
        if (!understand(names[i], &m) || !m.images || (found && strcmp(m.set, last) == 0))
            continue;
        strcpy(last, m.set);
        if (!found++)
            strcpy(first, m.set);
        cvy_text_add(list, "%s%s/%s", found > 1 ? ", " : "", folder, m.set);
    }
    cvy_names_free(names, count);
    return found;
}

bool cvy_idx_recognise(const char *folder) {
    char first[64];
    cvy_text list = {0};
    const size_t count = list_sets(folder, first, &list);
    cvy_text_free(&list);
    return count;
}

/* Which of the folder's sets is meant: the one that was asked for, MNIST's own names, or the only one. */
static convoy_status choose_set(const cvy_dataset_request *request, char set[64]) {
    cvy_text list = {0};
    convoy_status status = CONVOY_OK;
    *set = '\0';
    if (request->member && strlen(request->member) < 64)
        strcpy(set, request->member);
    else if (!cvy_idx_has_member(request->folder, "") && list_sets(request->folder, set, &list) > 1)
        status = cvy_fail(CONVOY_INVALID, "%s holds several sets; give one of %s", request->folder,
                          cvy_text_get(&list));
    cvy_text_free(&list);
    return status;
}

static convoy_status need_file(const char *folder, const char *set, bool training, bool images, char **path) {
    set = find_part(set).files;
    *path = find_file(folder, set, training, images);
    if (*path)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "%s: there is no %s%s%s-%s-idx%d-ubyte or .gz in it", folder, set,
                    *set ? "-" : "",
                    training ? "train"
                    : *set   ? "test"
                             : "t10k",
                    images ? "images" : "labels", images ? 3 : 1);
}

/* ---- Labels ---- */

/* QMNIST's are rows of 32-bit numbers, of which the first is the class (C. Yadav, L. Bottou, "Cold Case: the
   Lost MNIST Digits"). */
static convoy_status take_first_column(const char *path, cvy_idx *labels) {
    uint8_t *classes = malloc(labels->count);
    if (!classes)
        return cvy_fail_memory(path, labels->count);
    for (size_t i = 0; i < labels->count; i++) {
        const uint8_t *row = labels->data + i * labels->width;
        if (row[0] || row[1] || row[2]) {
            free(classes);
            return cvy_fail(CONVOY_INVALID, "%s: the class of image %zu is out of range: 0 to 255", path, i);
        }
        classes[i] = row[3];
    }
    free(labels->data);
    labels->data = classes;
    labels->width = 1;
    return CONVOY_OK;
}

/* The first `limit` images or labels (0: all) of a file that was found by its name. */
static convoy_status read_file(const char *path, size_t limit, cvy_idx *idx) {
    meaning m;
    const char *slash = strrchr(path, '/');
    if (!understand(slash ? slash + 1 : path, &m) || !m.dimensions)
        return cvy_npz_read(path, m.images ? 3 : 1, limit, idx);
    convoy_status status = cvy_idx_read(path, m.dimensions, limit, idx);
    return status || m.dimensions != 2 ? status : take_first_column(path, idx);
}

static int highest(const cvy_idx *labels) {
    int result = 0;
    for (size_t i = 0; i < labels->count; i++)
        result = labels->data[i] > result ? labels->data[i] : result;
    return result;
}

/* How many classes there are and what they are called is known of the known names; otherwise the training
   labels decide how many, whichever split is read. */
static convoy_status find_classes(const cvy_dataset_request *request, const char *set, const kin *kin,
                                  const cvy_idx *own, convoy_dataset *dataset) {
    int classes = request->known && kin ? classes_of(kin) : highest(own) + 1 - (kin ? kin->first : 0);
    char *path = request->known ? NULL : find_file(request->folder, set, true, false);
    if (path) {
        cvy_idx training = {0};
        convoy_status status = read_file(path, 0, &training);
        free(path);
        if (!status)
            classes = highest(&training) + 1 - (kin ? kin->first : 0);
        free(training.data);
        if (status)
            return status;
    }
    if (classes < 2)
        return cvy_fail(CONVOY_INVALID, "%s: its labels name one class; a classifier needs at least two",
                        dataset->source);
    cvy_dataset_number_classes(dataset, classes);
    const bool named = kin && (kin->names || kin->characters) && classes <= classes_of(kin);
    dataset->numbered = !named;
    for (int i = 0; named && i < classes; i++)
        dataset->class_names[i] =
            kin->names ? kin->names[i] : cvy_arena_strndup(dataset->arena, kin->characters + i, 1);
    return CONVOY_OK;
}

static convoy_status take_labels(convoy_dataset *dataset, const char *path, const cvy_idx *labels,
                                 size_t count, int first) {
    convoy_status status = cvy_dataset_reserve_labels(dataset, count);
    for (size_t i = 0; !status && i < count; i++) {
        const int label = labels->data[i] - first;
        if (label < 0 || label >= dataset->classes)
            return cvy_fail(CONVOY_INVALID,
                            "%s: label %d of image %zu is out of range: the set has %d classes%s", path,
                            labels->data[i], i, dataset->classes, first ? ", numbered from 1" : "");
        dataset->labels[i] = label;
    }
    return status;
}

/* ---- The set ---- */

static convoy_status transpose(cvy_idx *images) {
    const size_t height = images->height, width = images->width, area = height * width;
    uint8_t *copy = malloc(area);
    if (!copy)
        return cvy_fail_memory("an image", area);
    for (size_t i = 0; i < images->count; i++) {
        uint8_t *image = images->data + i * area;
        memcpy(copy, image, area);
        for (size_t y = 0; y < height; y++)
            for (size_t x = 0; x < width; x++)
                image[x * height + y] = copy[y * width + x];
    }
    free(copy);
    images->height = width;
    images->width = height;
    return CONVOY_OK;
}

static convoy_status take_part(const char *path, const struct part *part, cvy_idx *idx) {
    const size_t bytes = idx->height * idx->width, begin = part->begin;
    if (idx->count <= begin)
        return cvy_fail(CONVOY_INVALID, "%s holds %zu images, but those of %s begin behind %zu", path,
                        idx->stored, part->name, begin);
    idx->count = (part->end && part->end < idx->count ? part->end : idx->count) - begin;
    memmove(idx->data, idx->data + begin * bytes, idx->count * bytes);
    return CONVOY_OK;
}

static convoy_status read_set(const cvy_dataset_request *request, const char *set, char *paths[2],
                              cvy_idx *images, cvy_idx *labels) {
    const struct part part = find_part(request->training ? "" : set);
    const size_t limit = request->options.limit;
    convoy_status status = need_file(request->folder, set, request->training, true, &paths[0]);
    if (!status)
        status = need_file(request->folder, set, request->training, false, &paths[1]);
    if (!status)
        status = read_file(paths[1], 0, labels);
    if (!status)
        status = read_file(paths[0], limit ? part.begin + limit : part.end, images);
    if (!status && images->stored != labels->stored)
        status = cvy_fail(CONVOY_INVALID, "%s holds %zu images, but %s holds %zu labels", paths[0],
                          images->stored, paths[1], labels->stored);
    if (!status)
        status = take_part(paths[0], &part, images);
    if (!status)
        status = take_part(paths[1], &part, labels);
    return status;
}

convoy_status cvy_idx_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    char *paths[2] = {NULL, NULL}, set[64];
    cvy_idx images = {0}, labels = {0};
    convoy_status status = choose_set(request, set);
    const kin *kin = find_kin(*set || !request->known ? set : request->known);
    if (!status)
        status = read_set(request, set, paths, &images, &labels);
    if (!status)
        status = find_classes(request, set, kin, &labels, dataset);
    if (!status)
        status = take_labels(dataset, paths[1], &labels, images.count, kin ? kin->first : 0);
    if (!status && kin && kin->transposed)
        status = transpose(&images);
    if (status)
        goto done;
    dataset->channels = 1;
    dataset->height = (int)images.height;
    dataset->width = (int)images.width;
    dataset->unfitted = true;
    dataset->images = images.data;
    images.data = NULL;
    dataset->source = cvy_arena_strdup(dataset->arena, paths[0]);
    status = cvy_dataset_convert(dataset, request->options.channels);
done:
    free(images.data);
    free(labels.data);
    free(paths[0]);
    free(paths[1]);
    return status;
}
