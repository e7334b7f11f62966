/* What all dataset formats share: the struct behind convoy_dataset, and the row that a format adds to the
   table in dataset.c. A format fills the struct from a folder; from then on nobody asks where the images came
   from. */
#ifndef CVY_DATA_DATASET_H
#define CVY_DATA_DATASET_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "convoy/data.h"
#include "ops/gather.h"
#include "weights/classes.h"

struct convoy_dataset {
    cvy_arena *arena; /* owns name, class names and `source` */
    const char *name;
    size_t count;
    int channels, height, width;
    int classes; /* 0: no labels */
    const char **class_names;
    bool numbered;          /* they are the classes' numbers: nobody knows their names */
    int32_t *labels;        /* [count], each in 0..classes-1; 0 without labels; NULL: `fill` gives them */
    bool floats;            /* pixels are float32, not bytes */
    uint8_t *images;        /* [count][channels][height][width]; NULL: made by fetch or fill */
    bool borrowed;          /* `images` belong to the program */
    bool unfitted;          /* they are as they came: the recipe's `resize` was not applied */
    char **paths;           /* [count], a file each, malloc'ed; NULL: all from `source` */
    cvy_resize_mode resize; /* of photographs, as in cvy_fitting */
    int short_side;
    bool fast_decode, as_stored; /* of photographs, too */
    int (*extents)[2];   /* [count]: height and width of what images show, in their first rows and columns;
                            NULL: all */
    int covers[2];       /* with extents: the size that a crop has, which each of them has at least */
    const char *source;  /* the one file or folder behind it */
    uint64_t seed;       /* of synthetic images */
    const int *patterns; /* [classes], of synthetic images, where the classes were re-ordered */
    /* Writes the bytes of one image, on any thread. NULL when `images` holds them, or `fill` makes them. */
    convoy_status (*fetch)(const convoy_dataset *dataset, size_t index, uint8_t *image);
    struct cvy_fill *fill; /* the program's function, or NULL */
};

/* What a format is asked for: options with every default filled in but the image's shape. */
typedef struct cvy_dataset_request {
    const char *folder;
    const char *member; /* of a folder with several sets; NULL: it does not say */
    const char
        *known; /* the known name that stands for it, or NULL: the names of its classes are known then */
    bool training, validation, all; /* none of them: the test split */
    convoy_dataset_options options;
} cvy_dataset_request;

typedef struct cvy_dataset_format {
    const char *name;
    bool (*recognise)(const char *folder);
    /* Fills `dataset` (zeroed but for arena, name and source); what it leaves in it is freed by the caller.
     */
    convoy_status (*open)(const cvy_dataset_request *request, convoy_dataset *dataset);
    bool photographs; /* which can be read as one set, whatever their split */
} cvy_dataset_format;

bool cvy_idx_recognise(const char *folder);
convoy_status cvy_idx_open(const cvy_dataset_request *request, convoy_dataset *dataset);
/* Does a folder hold images under such names that begin with `set`? */
bool cvy_idx_has_member(const char *folder, const char *set);
/* CONVOY_INVALID where a folder holds CIFAR's batches as pickle files: says what they are. */
convoy_status cvy_cifar_refuse_pickles(const char *folder);
bool cvy_cifar10_recognise(const char *folder);
convoy_status cvy_cifar10_open(const cvy_dataset_request *request, convoy_dataset *dataset);
bool cvy_cifar100_recognise(const char *folder);
convoy_status cvy_cifar100_open(const cvy_dataset_request *request, convoy_dataset *dataset);
bool cvy_folder_recognise(const char *folder);
convoy_status cvy_folder_open(const cvy_dataset_request *request, convoy_dataset *dataset);
/* Images by class, in their order: those of class c are places[begins[c]] ... places[begins[c + 1] - 1].
   begins has classes + 1 entries, places as many as there are labels. */
void cvy_list_by_class(const int32_t *labels, size_t count, int classes, size_t *begins, uint32_t *places);
/* Takes one of `folds` parts out of the set, as equal as whole images of each class can be; all of them
   together are the set. */
convoy_status cvy_dataset_fold(convoy_dataset *set, int fold, int folds, uint64_t seed,
                               convoy_dataset **part);
/* Does a folder (not a known name) have a validation split beside its test split? */
bool cvy_folder_has_validation(const char *folder);
/* Does it have a training split with class folders? */
bool cvy_folder_has_training(const char *folder);
bool cvy_list_recognise(const char *folder);
convoy_status cvy_list_open(const cvy_dataset_request *request, convoy_dataset *dataset);
/* Does a list, or what a folder's lists name, have all three splits? */
bool cvy_list_has_validation(const char *what);
convoy_status cvy_synthetic_open(const cvy_dataset_request *request, convoy_dataset *dataset);
/* Classes 0, 1, ... of which nobody knows the names. */
void cvy_dataset_number_classes(convoy_dataset *dataset, int classes);
/* Classes of these names, which are copied. */
void cvy_dataset_name_classes(convoy_dataset *dataset, const char *const *names, int classes);
/* For the set's lifetime, unless it is re-ordered. */
cvy_classes cvy_dataset_classes(const convoy_dataset *dataset);
/* Makes class i of the set the one that `wanted` calls i: labels and names follow. CONVOY_INVALID names what
   differs, and changes nothing. `owner` has the wanted ones. */
convoy_status cvy_dataset_order_classes(convoy_dataset *dataset, const cvy_classes *wanted,
                                        const char *owner);
/* An empty set; NULL: no memory. */
convoy_dataset *cvy_dataset_create(void);
/* Pixels and labels (0 without) of images, on any thread, however the set makes them. */
convoy_status cvy_dataset_fetch(const convoy_dataset *dataset, const uint32_t *indices, size_t count,
                                uint8_t *images, int32_t *labels);
/* memory.c: the part of it that calls the program's function; and what the set has for that. */
convoy_status cvy_dataset_fill(const convoy_dataset *dataset, const uint32_t *indices, size_t count,
                               uint8_t *images, int32_t *labels);
void cvy_fill_free(struct cvy_fill *fill);
/* Class i, as `fill` gives it, is from now on place[i]. */
void cvy_fill_reorder(const convoy_dataset *dataset, const int *place);
/* Bytes of one image. */
size_t cvy_dataset_image_bytes(const convoy_dataset *dataset);
/* Sets count and allocates labels, zeroed. */
convoy_status cvy_dataset_reserve_labels(convoy_dataset *dataset, size_t count);
/* Allocates `images` for count images of the shape that is set; the contents are undefined. */
convoy_status cvy_dataset_reserve_images(convoy_dataset *dataset);
/* whole.c: instead of the images that the set would have, photographs that are not cropped. */
convoy_status cvy_dataset_keep_whole(convoy_dataset *dataset, int threads);
/* Makes all images with `fetch` on `threads` threads where they fit into `memory` bytes; otherwise leaves
   them to be made one by one. All that cannot be read are named; with `skip` they are left out, with a
   warning. */
convoy_status cvy_dataset_keep(convoy_dataset *dataset, size_t memory, int threads, bool skip);
/* Brings the images in memory to 1 or 3 channels; 0 leaves them as they are. */
convoy_status cvy_dataset_convert(convoy_dataset *dataset, int channels);

/* Is this the name of a file that should be an image? */
bool cvy_is_image_name(const char *name);

#endif
