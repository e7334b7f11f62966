/* IDX files (Y. LeCun, "The MNIST database"): a big-endian header of two zero bytes, a type, the number of
   dimensions and one 32-bit size each, then the values. Unsigned bytes are read, and rows of
   32-bit numbers; gzip is recognised by its magic. */
#ifndef CVY_DATA_IDX_H
#define CVY_DATA_IDX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct cvy_idx {
    size_t stored;        /* images or labels in the file */
    size_t count;         /* read: stored, or the limit */
    size_t height, width; /* 1 for labels; of rows the width counts bytes */
    uint8_t *data;        /* [count][height][width], malloc'ed */
} cvy_idx;

/* Reads the first `limit` entries (0: all) of a file of labels (dimensions 1), rows of 32-bit numbers (2) or
   images (3). When all are read the end of the file is checked too. */
convoy_status cvy_idx_read(const char *path, int dimensions, size_t limit, cvy_idx *idx);

/* The same of a .npz file, NumPy's archive of one array: labels or images. */
convoy_status cvy_npz_read(const char *path, int dimensions, size_t limit, cvy_idx *idx);

/* The same of an IDX file, some at a time. */
typedef struct cvy_idx_stream {
    const char *path;
    void *file;    /* zlib's; NULL: not open */
    cvy_idx about; /* without data */
    size_t done;   /* entries that were read */
} cvy_idx_stream;

convoy_status cvy_idx_start(const char *path, int dimensions, cvy_idx_stream *stream);
/* The next `count` entries, which there are. */
convoy_status cvy_idx_next(cvy_idx_stream *stream, size_t count, uint8_t *data);
void cvy_idx_end(cvy_idx_stream *stream); /* a zeroed one is allowed */

/* Does the file start like an IDX file of images, plain or gzipped? */
bool cvy_idx_is_images(const char *path);

#endif
