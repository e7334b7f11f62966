/* The table of formats, and what a file of any of them answers. */
#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "weights/format.h"

static const size_t file_limit = (size_t)1 << 38;

static bool is_lfs_pointer(const char *bytes, size_t size) {
    static const char start[] = "version https://git-lfs";
    return size >= sizeof start - 1 && memcmp(bytes, start, sizeof start - 1) == 0;
}

static convoy_status refuse_lfs_pointer(const char *path, cvy_tensor_file *file) {
    (void)file;
    return cvy_fail(CONVOY_INVALID,
                    "%s: a pointer of Git LFS in place of the file itself: fetch that with `git lfs pull`",
                    path);
}

static const cvy_weights_format formats[] = {
    {.name = ".pth", .recognise = cvy_pth_recognise, .load = cvy_pth_load},
    {.name = "Git LFS pointer", .recognise = is_lfs_pointer, .load = refuse_lfs_pointer},
    {.name = "safetensors", .load = cvy_safetensors_load},
};

convoy_status cvy_tensor_file_load(const char *path, cvy_tensor_file **out) {
    *out = NULL;
    cvy_tensor_file *file = calloc(1, sizeof *file);
    if (!file)
        return cvy_fail_memory("a weights file", sizeof *file);
    convoy_status status = cvy_file_read(path, file_limit, &file->bytes, &file->size);
    if (!status) {
        const cvy_weights_format *format = formats;
        while (format->recognise && !format->recognise(file->bytes, file->size))
            format++;
        status = format->load(path, file);
    }
    if (status)
        cvy_tensor_file_free(file);
    else
        *out = file;
    return status;
}

void cvy_tensor_file_free(cvy_tensor_file *file) {
    if (!file)
        return;
    json_decref(file->header);
    cvy_arena_free(file->arena);
    free(file->tensors);
    free(file->floats);
    free(file->bytes);
    free(file);
}

size_t cvy_tensor_file_count(const cvy_tensor_file *file) {
    return file->count;
}

cvy_named_tensor cvy_tensor_file_get(const cvy_tensor_file *file, size_t index) {
    return file->tensors[index];
}

cvy_named_tensor cvy_tensor_file_find(const cvy_tensor_file *file, const char *name) {
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return file->tensors[i];
    return (cvy_named_tensor){0};
}

const char *cvy_tensor_file_metadata(const cvy_tensor_file *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}
