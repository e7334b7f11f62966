/* CIFAR-10 and CIFAR-100 in their binary form (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
   Images"): records of the label (CIFAR-100: the coarse one, then the fine one, which is used) and 3 x 32 x
   32 bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "data/dataset.h"

enum { CHANNELS = 3, SIDE = 32, PIXELS = CHANNELS * SIDE * SIDE, MOST_BATCHES = 5 };

typedef struct layout {
    int classes, labels_per_record; /* the last label of a record is the class */
    const char *train[MOST_BATCHES], *test;
    const char *names_file;
    const char *const *names; /* where the file is missing; NULL: numbers */
} layout;

static const char *const cifar10_names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                            "dog",      "frog",       "horse", "ship", "truck"};
static const layout cifar10 = {
    10,
    1,
    {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
    "test_batch.bin",
    "batches.meta.txt",
    cifar10_names};
static const layout cifar100 = {100, 2, {"train.bin"}, "test.bin", "fine_label_names.txt", NULL};

static bool has_file(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name);
    bool found = cvy_file_exists(path);
    free(path);
    return found;
}

bool cvy_cifar10_recognise(const char *folder) {
    return has_file(folder, cifar10.train[0]) || has_file(folder, cifar10.test);
}

bool cvy_cifar100_recognise(const char *folder) {
    return has_file(folder, cifar100.train[0]) || has_file(folder, cifar100.test);
}

static bool is_pickle(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name);
    FILE *file = cvy_file_check_regular(path) ? NULL : fopen(path, "rb");
    const bool found = file && getc(file) == 0x80; /* the opcode PROTO */
    if (file)
        fclose(file);
    free(path);
    return found;
}

convoy_status cvy_cifar_refuse_pickles(const char *folder) {
    const bool ten = is_pickle(folder, "data_batch_1") || is_pickle(folder, "test_batch");
    if (!ten && !(is_pickle(folder, "train") && is_pickle(folder, "test")))
        return CONVOY_OK;
    return cvy_fail(
        CONVOY_INVALID,
        "%s: these are CIFAR-%s's batches for Python (pickle files, which are programs); take the binary "
        "version, cifar-%s-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
        folder, ten ? "10" : "100", ten ? "10" : "100");
}

/* ---- Class names ---- */

static convoy_status read_names(const layout *layout, const char *path, convoy_dataset *dataset) {
    char *text;
    size_t size;
    convoy_status status = cvy_file_read_regular(path, 1 << 20, &text, &size);
    if (status)
        return status;
    int found = 0;
    char *rest = text;
    for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        if (found < layout->classes)
            dataset->class_names[found] = cvy_arena_strdup(dataset->arena, line);
        found++;
    }
    free(text);
    dataset->numbered = false;
    if (found != layout->classes)
        return cvy_fail(CONVOY_INVALID, "%s: %d class names, expected %d", path, found, layout->classes);
    return CONVOY_OK;
}

static convoy_status name_classes(const layout *layout, const char *folder, convoy_dataset *dataset) {
    cvy_dataset_number_classes(dataset, layout->classes);
    for (int i = 0; layout->names && i < layout->classes; i++)
        dataset->class_names[i] = layout->names[i];
    dataset->numbered = !layout->names;
    if (!has_file(folder, layout->names_file))
        return CONVOY_OK;
    char *path = cvy_path_join(folder, layout->names_file);
    convoy_status status = read_names(layout, path, dataset);
    free(path);
    return status;
}

/* ---- Records ---- */

static convoy_status count_records(const layout *layout, const char *path, size_t *count) {
    struct stat info;
    if (stat(path, &info) != 0)
        return cvy_fail(errno == ENOENT ? CONVOY_INVALID : CONVOY_IO, "%s: %s; the set is incomplete", path,
                        strerror(errno));
    size_t record = (size_t)layout->labels_per_record + PIXELS, size = (size_t)info.st_size;
    if (size == 0 || size % record != 0)
        return cvy_fail(CONVOY_INVALID, "%s: %zu bytes are not a whole number of records of %zu bytes", path,
                        size, record);
    *count = size / record;
    return CONVOY_OK;
}

/* Reads `count` records to images first... of the set. */
static convoy_status read_records(const layout *layout, const char *path, size_t first, size_t count,
                                  convoy_dataset *dataset) {
    uint8_t labels[2] = {0};
    const size_t label_bytes = (size_t)layout->labels_per_record;
    convoy_status status = cvy_file_check_regular(path);
    FILE *file = status ? NULL : fopen(path, "rb");
    if (!file)
        return status ? status : cvy_fail(CONVOY_IO, "%s: %s", path, strerror(errno));
    for (size_t i = 0; !status && i < count; i++) {
        if (fread(labels, 1, label_bytes, file) != label_bytes ||
            fread(dataset->images + (first + i) * PIXELS, 1, PIXELS, file) != PIXELS) {
            status = cvy_fail(CONVOY_IO, "%s: record %zu cannot be read: %s", path, i,
                              ferror(file) ? strerror(errno) : "the file became shorter");
        } else if (labels[label_bytes - 1] >= layout->classes) {
            status =
                cvy_fail(CONVOY_INVALID, "%s: label %d of image %zu is out of range: the set has %d classes",
                         path, labels[label_bytes - 1], i, layout->classes);
        }
        dataset->labels[first + i] = labels[label_bytes - 1];
    }
    fclose(file);
    return status;
}

static convoy_status cifar_open(const layout *layout, const cvy_dataset_request *request,
                                convoy_dataset *dataset) {
    const char *const *files = request->training ? layout->train : &layout->test;
    size_t file_count = 0, total = 0, counts[MOST_BATCHES];
    char *paths[MOST_BATCHES] = {NULL};
    convoy_status status = name_classes(layout, request->folder, dataset);
    for (; !status && file_count < (request->training ? MOST_BATCHES : 1) && files[file_count];
         file_count++) {
        paths[file_count] = cvy_path_join(request->folder, files[file_count]);
        status = count_records(layout, paths[file_count], &counts[file_count]);
        total += !status ? counts[file_count] : 0;
    }
    if (status)
        goto done;
    if (request->options.limit && total > request->options.limit)
        total = request->options.limit;
    dataset->channels = CHANNELS;
    dataset->height = dataset->width = SIDE;
    dataset->unfitted = true;
    status = cvy_dataset_reserve_labels(dataset, total);
    if (!status)
        status = cvy_dataset_reserve_images(dataset);
    for (size_t f = 0, first = 0; !status && f < file_count && first < total; f++) {
        size_t count = counts[f] < total - first ? counts[f] : total - first;
        status = read_records(layout, paths[f], first, count, dataset);
        first += count;
    }
    if (!status)
        status = cvy_dataset_convert(dataset, request->options.channels);
done:
    for (size_t f = 0; f < MOST_BATCHES; f++)
        free(paths[f]);
    return status;
}

convoy_status cvy_cifar10_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    return cifar_open(&cifar10, request, dataset);
}

convoy_status cvy_cifar100_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    return cifar_open(&cifar100, request, dataset);
}
