/* Named tensors, the files that hold them, and matching them with what somebody wants by name. Weights and
   checkpoints are such files; it is others who know what the tensors mean. */
#ifndef CVY_WEIGHTS_WEIGHTS_H
#define CVY_WEIGHTS_WEIGHTS_H

#include <stddef.h>

#include "base/text.h"

#include "convoy/status.h"

typedef struct cvy_named_tensor {
    const char *name;
    const char *dtype; /* "F32", "I64", "U8" */
    size_t shape[4];
    int dimensions;
    void *data; /* host memory, row-major, little-endian */
    size_t bytes;
    const char *older; /* of what is wanted: what files of older versions call it; NULL: the same */
} cvy_named_tensor;

typedef struct cvy_tensor_file cvy_tensor_file;

/* As safetensors. Writes atomically (base/file.h). metadata: pairs of strings, NULL-terminated list key,
 * value, key, value, NULL. */
convoy_status cvy_tensor_file_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                                   const char *const *metadata);
/* In the format of the path's ending: .pth or .pt as torch.save writes it, which
   torch.load(weights_only=True) reads; anything else is safetensors. */
convoy_status cvy_tensor_file_save_as(const char *path, const cvy_named_tensor *tensors, size_t count,
                                      const char *const *metadata);
/* NULL: the ending says nothing; else "pth" or "safetensors". */
const char *cvy_tensor_file_ending(const char *path);
/* Reads a file of any known format, told apart by content. Everything that it says about itself (lengths,
   overlaps, dtypes, offsets) is checked before anything is used. */
convoy_status cvy_tensor_file_load(const char *path, cvy_tensor_file **file);
void cvy_tensor_file_free(cvy_tensor_file *file);
size_t cvy_tensor_file_count(const cvy_tensor_file *file);
cvy_named_tensor cvy_tensor_file_get(const cvy_tensor_file *file, size_t index);
/* NULL data when the name is absent. */
cvy_named_tensor cvy_tensor_file_find(const cvy_tensor_file *file, const char *name);
const char *cvy_tensor_file_metadata(const cvy_tensor_file *file, const char *key); /* NULL: absent */

/* Makes every F16, BF16 and F64 of the file an F32; F64 are rounded. */
convoy_status cvy_tensor_file_to_float(cvy_tensor_file *file);
/* Makes every tensor of floats one of `dtype`: "F32", "F16" or "BF16", rounded to nearest even.
   CONVOY_INVALID names one that has a finite value which F16 has not. */
convoy_status cvy_tensor_file_to_type(cvy_tensor_file *file, const char *path, const char *dtype);
/* CONVOY_INVALID names the first value that is NaN or infinite. */
convoy_status cvy_tensor_file_check_finite(const cvy_tensor_file *file, const char *path);
/* All of its metadata, as cvy_tensor_file_save takes it; malloc'ed, of strings that are the file's. NULL: no
 * memory. */
const char **cvy_tensor_file_pairs(const cvy_tensor_file *file);
/* What stands before every name because of how the file was made: "module." of torch's DataParallel, "model."
   of a model in another, or both; "": nothing. */
const char *cvy_tensor_file_prefix(const cvy_tensor_file *file);

/* A digest of everything: tensors by name, metadata by key. */
convoy_status cvy_tensors_digest(const cvy_named_tensor *tensors, size_t count, const char *const *metadata,
                                 char hex[33]);
/* The digest that the file should have: of all but its metadata `but`. */
convoy_status cvy_tensor_file_digest(const cvy_tensor_file *file, const char *but, char hex[33]);

/* What is wrong with a file, a line each, up to a screenful. Start with {0}. */
enum { CVY_COMPLAINTS_SHOWN = 20 };
typedef struct cvy_complaints {
    cvy_text text;
    size_t count;
} cvy_complaints;

void cvy_complain(cvy_complaints *complaints, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees them; CONVOY_INVALID, saying that `path` does not fit `what`, where there are any. */
convoy_status cvy_complaints_end(cvy_complaints *complaints, const char *path, const char *what);

/* found[i] [count] receives where `file` has the values of wanted[i], which it calls prefix + name, or prefix
   + older; NULL where it has none that fits. `differences` says what is missing, mismatched in type or shape,
   and unknown among the file's names with that prefix; `faults`, which may be the same, what is not finite.
   I64 counters may be missing, as files of old PyTorch versions have none, and may have the shape [1]. */
convoy_status cvy_tensors_match(const cvy_named_tensor *wanted, size_t count, const cvy_tensor_file *file,
                                const char *prefix, const void **found, cvy_complaints *differences,
                                cvy_complaints *faults);

#endif
