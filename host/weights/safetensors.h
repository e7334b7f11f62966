/* safetensors files, of weights and of checkpoints: named float32 / int64 / uint8 tensors and string
 * metadata. */
#ifndef CVY_WEIGHTS_SAFETENSORS_H
#define CVY_WEIGHTS_SAFETENSORS_H

#include <stddef.h>

#include "convoy/status.h"

typedef struct cvy_named_tensor {
    const char *name;
    const char *dtype; /* "F32", "I64", "U8" */
    size_t shape[4];
    int dimensions;
    void *data; /* host memory, row-major, little-endian */
    size_t bytes;
} cvy_named_tensor;

typedef struct cvy_tensor_file cvy_tensor_file;
/* Writes atomically (base/file.h). metadata: pairs of strings, NULL-terminated list key, value, key, value,
 * NULL. */
convoy_status cvy_tensor_file_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                                   const char *const *metadata);
/* Reads and checks the whole header (lengths, overlaps, dtypes, offsets within the file) before anything is
 * used. */
convoy_status cvy_tensor_file_load(const char *path, cvy_tensor_file **file);
void cvy_tensor_file_free(cvy_tensor_file *file);
size_t cvy_tensor_file_count(const cvy_tensor_file *file);
cvy_named_tensor cvy_tensor_file_get(const cvy_tensor_file *file, size_t index);
/* NULL data when the name is absent. */
cvy_named_tensor cvy_tensor_file_find(const cvy_tensor_file *file, const char *name);
const char *cvy_tensor_file_metadata(const cvy_tensor_file *file, const char *key); /* NULL: absent */

#endif
