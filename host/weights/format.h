/* What the formats of weight files share: the struct behind cvy_tensor_file, and the row that a format adds
   to the table in weights.c. */
#ifndef CVY_WEIGHTS_FORMAT_H
#define CVY_WEIGHTS_FORMAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "weights/weights.h"

struct cvy_tensor_file {
    char *bytes; /* the whole file */
    size_t size;
    cvy_named_tensor *tensors; /* by their place in the file */
    size_t count;
    char *floats;     /* what cvy_tensor_file_to_float made */
    cvy_arena *arena; /* of names, in formats that make them; else NULL */
    json_t *header;   /* of which the tensors' names are; its "__metadata__" holds strings */
};

typedef struct cvy_weights_format {
    const char *name;
    bool (*recognise)(const char *bytes, size_t size); /* NULL: whatever no other format wants */
    /* Fills in what the bytes say; they may be moved. */
    convoy_status (*load)(const char *path, cvy_tensor_file *file);
} cvy_weights_format;

convoy_status cvy_safetensors_load(const char *path, cvy_tensor_file *file);

/* What torch.save writes: a zip archive, or, before PyTorch 1.6, a row of pickles and numbers. */
bool cvy_pth_recognise(const char *bytes, size_t size);
convoy_status cvy_pth_load(const char *path, cvy_tensor_file *file);
/* As a zip archive; what cvy_tensor_file_save says holds. */
convoy_status cvy_pth_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                           const char *const *metadata);
/* "torch FloatStorage" of "F32"; NULL: torch has none. */
const char *cvy_pth_storage_of(const char *dtype);
/* The record beside data.pkl that has Convoy's metadata, a JSON object of strings. */
#define CVY_PTH_METADATA "convoy.json"

#endif
