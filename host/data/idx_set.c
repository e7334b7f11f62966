/* A data set in IDX files under MNIST's names: images and labels of a training and a test split. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/idx.h"

static const char *const fashion_names[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                            "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
enum { MNIST_CLASSES = 10 };

/* The file of a split under any of its usual names, malloc'ed; NULL where there is none. */
static char *find_file(const char *folder, bool training, bool images) {
    static const char *const endings[] = {"-idx%d-ubyte", "-idx%d-ubyte.gz", ".idx%d-ubyte",
                                          ".idx%d-ubyte.gz"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        cvy_text name = {0};
        cvy_text_add(&name, "%s-%s", training ? "train" : "t10k", images ? "images" : "labels");
        const char *split = strstr(endings[i], "%d");
        cvy_text_add(&name, "%.*s%d%s", (int)(split - endings[i]), endings[i], images ? 3 : 1, split + 2);
        char *path = cvy_path_join(folder, cvy_text_get(&name));
        cvy_text_free(&name);
        if (cvy_file_exists(path))
            return path;
        free(path);
    }
    return NULL;
}

bool cvy_idx_recognise(const char *folder) {
    char *train = find_file(folder, true, true), *test = find_file(folder, false, true);
    bool found = train || test;
    free(train);
    free(test);
    return found;
}

static convoy_status need_file(const char *folder, bool training, bool images, char **path) {
    *path = find_file(folder, training, images);
    if (*path)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "%s: there is no %s-%s-idx%d-ubyte or .gz in it", folder,
                    training ? "train" : "t10k", images ? "images" : "labels", images ? 3 : 1);
}

static int highest(const cvy_idx *labels) {
    int result = 0;
    for (size_t i = 0; i < labels->count; i++)
        result = labels->data[i] > result ? labels->data[i] : result;
    return result;
}

/* How many classes there are and what they are called is known of the known names; otherwise the training
   labels decide how many, whichever split is read. */
static convoy_status find_classes(const cvy_dataset_request *request, const cvy_idx *own,
                                  convoy_dataset *dataset) {
    if (request->known) {
        cvy_dataset_number_classes(dataset, MNIST_CLASSES);
        dataset->numbered = strcmp(request->known, "fashion-mnist") != 0;
        for (int i = 0; !dataset->numbered && i < MNIST_CLASSES; i++)
            dataset->class_names[i] = fashion_names[i];
        return CONVOY_OK;
    }
    int top = highest(own);
    char *path = find_file(request->folder, true, false);
    if (path) {
        cvy_idx training;
        convoy_status status = cvy_idx_read(path, 1, 0, &training);
        free(path);
        if (status)
            return status;
        top = highest(&training);
        free(training.data);
    }
    cvy_dataset_number_classes(dataset, top + 1);
    return CONVOY_OK;
}

static convoy_status take_labels(convoy_dataset *dataset, const char *path, const cvy_idx *labels,
                                 size_t count) {
    convoy_status status = cvy_dataset_reserve_labels(dataset, count);
    for (size_t i = 0; !status && i < count; i++) {
        if (labels->data[i] >= dataset->classes)
            return cvy_fail(CONVOY_INVALID,
                            "%s: label %d of image %zu is out of range: the set has %d classes", path,
                            labels->data[i], i, dataset->classes);
        dataset->labels[i] = labels->data[i];
    }
    return status;
}

convoy_status cvy_idx_open(const cvy_dataset_request *request, convoy_dataset *dataset) {
    char *image_path = NULL, *label_path = NULL;
    cvy_idx images = {0}, labels = {0};
    convoy_status status = need_file(request->folder, request->training, true, &image_path);
    if (!status)
        status = need_file(request->folder, request->training, false, &label_path);
    if (!status)
        status = cvy_idx_read(label_path, 1, 0, &labels);
    if (!status)
        status = cvy_idx_read(image_path, 3, request->options.limit, &images);
    if (!status && images.stored != labels.stored)
        status = cvy_fail(CONVOY_INVALID, "%s holds %zu images, but %s holds %zu labels", image_path,
                          images.stored, label_path, labels.stored);
    if (!status)
        status = find_classes(request, &labels, dataset);
    if (!status)
        status = take_labels(dataset, label_path, &labels, images.count);
    if (status)
        goto done;
    dataset->channels = 1;
    dataset->height = (int)images.height;
    dataset->width = (int)images.width;
    dataset->images = images.data;
    images.data = NULL;
    dataset->source = cvy_arena_strdup(dataset->arena, image_path);
    status = cvy_dataset_convert(dataset, request->options.channels);
done:
    free(images.data);
    free(labels.data);
    free(image_path);
    free(label_path);
    return status;
}
