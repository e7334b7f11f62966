/* Data: labelled images from files, from a program's own memory, or from a function that makes them. */
#ifndef CONVOY_DATA_H
#define CONVOY_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A set of images, each [channels][height][width], and their classes. Any number of threads may read it; but
   training and evaluation bring its classes into the order that the weights know, so that one run at a time
   may use it. */
typedef struct convoy_dataset convoy_dataset;

/* How photographs are brought to the wanted size. */
typedef enum convoy_resize {
    CONVOY_RESIZE_SHORT_SIDE, /* the short side is resized, the centre cropped */
    CONVOY_RESIZE_SQUASH,     /* each side for itself */
    CONVOY_RESIZE_LETTERBOX   /* the long side is resized; zeros around */
} convoy_resize;

/* All zero is a good default. */
typedef struct convoy_dataset_options {
    size_t size;
    /* Wanted: 1 (grey) or 3 (RGB), converted as needed; 0: as stored. */
    int channels;
    /* Size to which photographs are resized (short side) and cropped (centre), and of synthetic images; 0: as
       the first image is stored (28x28 for synthetic ones). IDX and CIFAR sets keep their own size, and are
       brought to the model's on the device, as its recipe's `resize` says. */
    int height, width;
    /* Of each class, for folders without train/ and test/ or val/; 0: 0.2. */
    double test_fraction;
    /* Of that split, and of synthetic images. */
    uint64_t seed;
    /* At most so many images: the first ones, or evenly spread over a folder; 0: all. */
    size_t limit;
    /* Bytes of decoded photographs or synthetic images to keep in host memory; a larger set is decoded anew
       each time; 0: a quarter of the machine's memory, at most 2 GiB. */
    size_t memory;
    /* That decode at opening; 0: the machine's cores, at most 4. Never changes the result. */
    int threads;
    /* Per split; 0: 1024 for training, 256 for testing. */
    size_t synthetic_images;
    int synthetic_classes; /* 0: 10 */
    convoy_resize resize;
    /* With CONVOY_RESIZE_SHORT_SIDE: pixels of the short side before the crop, at least `height` and `width`;
       0: as few as possible. */
    int short_side;
    /* 1: keep what the crop would cut off, up to twice the short side, for training with `augment`, which
       crops anew in each epoch. Images then have the size of the highest and the widest, and zeros to the
       right and below. */
    int whole;
    /* 1: decode JPEG images at a half, quarter or eighth of their size where that covers what is wanted, and
       grey ones from their brightness: faster, but not the pixels that other formats give. */
    int fast_decode;
    int skip_damaged;     /* 1: leave out photographs that cannot be read, with a warning */
    int rounded_by_class; /* 1: test_fraction is rounded in each class for itself, as 0.1 did; 0: of the
                             whole, and shared out by the largest remainders */
    int as_stored;        /* 1: do not turn photographs as their EXIF data says */
} convoy_dataset_options;

/* Opens one split ("train", "test", or "val": what training is judged by; the test split where there is no
   val/) of a set. `what` is a known name ("fashion-mnist", "mnist", "kmnist", "qmnist", "emnist-letters",
   ..., "cifar10", "cifar100"), looked for under $CONVOY_DATA, data/ and /usr/share/datasets; or "synthetic":
   images that are made up, learnable, and the same on every machine; or a folder, recognised by what it
   holds: IDX files (train-images-idx3-ubyte, ..., plain or gzipped; of several sets in it one is
   "FOLDER/emnist-letters"), CIFAR-10 or CIFAR-100 in its binary form, or one subfolder of photographs per
   class, either below train/ and test/ (or val/, valid/ or validation/) or split here by test_fraction;
   or a CSV, TSV or text file of paths and classes, or a folder with train.csv. Of
   photographs "all" is one set of all there are.

   `options` may be NULL. CONVOY_INVALID: nothing there, not recognised, or bad contents; CONVOY_IO: not
   readable; CONVOY_MEMORY. The message names the file and what was found in it. Any thread. */
CONVOY_API convoy_status convoy_dataset_open(const char *what, const char *split,
                                             const convoy_dataset_options *options, convoy_dataset **dataset);

/* Takes `fraction` of each class's images out of `set` into *part, drawn by `seed`: a validation set. What
   training stands on must not be open. CONVOY_INVALID: nothing would be in it, or the set's function makes
   its images. */
CONVOY_API convoy_status convoy_dataset_split(convoy_dataset *set, double fraction, uint64_t seed,
                                              convoy_dataset **part);

/* ---- A program's own images ---- */

typedef enum convoy_pixel {
    CONVOY_PIXEL_BYTE, /* uint8_t; networks see pixel / 255, normalised by the recipe's mean and std */
    CONVOY_PIXEL_FLOAT /* float, finite; networks see (pixel - mean) / std: 0..1 stands for bytes 0..255 */
} convoy_pixel;

/* What the images are. */
typedef struct convoy_images {
    size_t size;
    const char *name; /* for messages; NULL: "memory" */
    size_t count;
    int channels, height, width; /* 1 to 4 channels. Of another size than the model's: resized on the
                                    device as the recipe's `resize` says */
    convoy_pixel pixel;
    const void *pixels;    /* [count][channels][height][width]; NULL where a function makes them */
    const int32_t *labels; /* [count], each in 0..classes-1; copied. NULL: none, or the function gives them */
    int classes;           /* 0: the highest label + 1; without labels: nothing to learn */
    const char *const *class_names; /* [classes], each once; copied. NULL: their numbers */
    int borrow; /* 1: `pixels` is not copied, and must stay as it is while the set is open */
} convoy_images;

/* A set of images that the program has in memory. CONVOY_INVALID: a label out of range, a pixel that is not
   finite, a name twice; CONVOY_MEMORY. Any thread. */
CONVOY_API convoy_status convoy_dataset_from_memory(const convoy_images *images, convoy_dataset **dataset);

/* Makes the images indices[0..count-1] of the set, each 0..images.count-1: pixels [count][channels][height]
   [width], and labels [count] where images.labels is NULL. An image must be the same whenever it is asked
   for, unless it is meant to differ from epoch to epoch. Anything but CONVOY_OK ends what asked for it with
   that status. Called on threads of the library, while the device computes, by one of them at a time, for as
   many images as remain of a batch. */
typedef convoy_status convoy_fill(void *context, const uint32_t *indices, size_t count, void *pixels,
                                  int32_t *labels);

/* A set of images.count images that `fill` makes batch by batch; images.pixels must be NULL. Where the
   function gives the labels, images.classes says how many classes there are. Any thread. */
CONVOY_API convoy_status convoy_dataset_from_function(const convoy_images *images, convoy_fill *fill,
                                                      void *context, convoy_dataset **dataset);

/* ---- Asking a set: any thread ---- */

CONVOY_API void convoy_dataset_free(convoy_dataset *dataset); /* NULL is allowed */

/* "fashion-mnist", "synthetic", or the folder's own name. Strings live as long as the set. */
CONVOY_API const char *convoy_dataset_name(const convoy_dataset *dataset);
CONVOY_API size_t convoy_dataset_count(const convoy_dataset *dataset);
CONVOY_API int convoy_dataset_channels(const convoy_dataset *dataset);
CONVOY_API int convoy_dataset_height(const convoy_dataset *dataset);
CONVOY_API int convoy_dataset_width(const convoy_dataset *dataset);

/* How many classes there are (0 without labels), and what class `index` is called. IDX files do not say how
   many: the highest training label + 1; nor what they are called, so that each is called by its number, but
   for the known name fashion-mnist. Where weights know the classes by name, convoy_train and convoy_evaluate
   bring the set's into their order. */
CONVOY_API int convoy_dataset_classes(const convoy_dataset *dataset);
CONVOY_API const char *convoy_dataset_class_name(const convoy_dataset *dataset, int index);

/* The class of image `index`; -1 without labels, and where a function gives them. */
CONVOY_API int convoy_dataset_label(const convoy_dataset *dataset, size_t index);
/* The file that image `index` came from; "synthetic" for synthetic ones. */
CONVOY_API const char *convoy_dataset_path(const convoy_dataset *dataset, size_t index);
/* Writes the bytes of image `index`, [channels][height][width]. Decodes it where the set is not held in
   memory. CONVOY_INVALID: a set of floats. */
CONVOY_API convoy_status convoy_dataset_image(const convoy_dataset *dataset, size_t index, uint8_t *image);

/* Decodes one file (JPEG, PNG, WebP, BMP, TIFF, PPM, PGM, the first image of a GIF) into image
   [channels][height][width]: it is turned as its EXIF data says, the short side is resized to fit, the centre
   cropped. channels is 1 (grey) or 3 (RGB). Transparency is ignored, as torchvision does. CONVOY_INVALID:
   none of these, damaged, or too large (tools/docs/models.md); CONVOY_IO: not readable. Any thread. */
CONVOY_API convoy_status convoy_image_load(const char *path, int channels, int height, int width,
                                           uint8_t *image);

#ifdef __cplusplus
}
#endif
#endif
