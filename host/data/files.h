/* Images to predict, from photographs, folders of them, and IDX files, without classes: a chunk at a
   time, so that any number of them takes the memory of one chunk. The images of a chunk have one size, the
   one with which a data set of such files hands them out: photographs that of the model's image, an IDX
   file's its own, which the loader resizes. So a network answers here what it answers in an evaluation. */
#ifndef CVY_DATA_FILES_H
#define CVY_DATA_FILES_H

#include <stdbool.h>

#include "convoy/data.h"
#include "ops/gather.h"

typedef struct cvy_files_options {
    int channels, height, width; /* of the model's image */
    cvy_resize_mode resize;      /* as in cvy_fitting */
    int short_side;
    bool fast_decode, as_stored;
    int threads; /* that decode; 0: the machine's cores, at most 4 */
    /* Hears of each file that cannot be read, or not to its end, in their order: it is left out. */
    void (*refuse)(void *context, const char *path, convoy_status status, const char *message);
    void *context;
} cvy_files_options;

typedef struct cvy_chunk {
    const convoy_dataset *set; /* until the next chunk; NULL: there are no more */
    bool indexed;              /* part of an IDX file of several images, */
    size_t first;              /* from this one on */
} cvy_chunk;

typedef struct cvy_files cvy_files;

/* Lists the files: those of folders by name, with their subfolders. */
convoy_status cvy_files_open(const char *const *paths, size_t count, const cvy_files_options *options,
                             cvy_files **files);
void cvy_files_close(cvy_files *files); /* NULL is allowed */
/* Images in all, refused ones included. */
size_t cvy_files_count(const cvy_files *files);
convoy_status cvy_files_next(cvy_files *files, cvy_chunk *chunk);

#endif
