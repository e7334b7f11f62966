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

/* Of a model in several files: which tensor is in which. */
static bool is_shard_index(const char *bytes, size_t size) {
    return size > 1 && bytes[0] == '{' && memmem(bytes, size, "\"weight_map\"", 12);
}

static convoy_status refuse_shard_index(const char *path, cvy_tensor_file *file) {
    const char *part;
    json_t *index = json_loadb(file->bytes, file->size, 0, NULL), *value;
    json_t *map = json_object_get(index, "weight_map"), *parts = json_object();
    json_object_foreach(map, part, value) {
        if (json_is_string(value))
            json_object_set_new(parts, json_string_value(value), json_true());
    }
    const char *first = json_object_iter_key(json_object_iter(parts));
    convoy_status status = cvy_fail(
        CONVOY_INVALID,
        "%s: the index of weights in %zu files, %s and so on, which are not read together: join them, in "
        "Python with {k: v for f in files for k, v in safetensors.torch.load_file(f).items()}",
        path, json_object_size(parts), first ? first : "none");
    json_decref(parts);
    json_decref(index);
    return status;
}

static const cvy_weights_format formats[] = {
    {.name = ".pth", .recognise = cvy_pth_recognise, .load = cvy_pth_load},
    {.name = "Git LFS pointer", .recognise = is_lfs_pointer, .load = refuse_lfs_pointer},
    {.name = "index of shards", .recognise = is_shard_index, .load = refuse_shard_index},
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

const char *cvy_tensor_file_ending(const char *path) {
    static const struct {
        const char *ending, *format;
    } rows[] = {{".pth", "pth"}, {".pt", "pth"}, {".safetensors", "safetensors"}};
    const size_t length = strlen(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const size_t own = strlen(rows[i].ending);
        if (length > own && strcmp(path + length - own, rows[i].ending) == 0)
            return rows[i].format;
    }
    return NULL;
}

convoy_status cvy_tensor_file_save_as(const char *path, const cvy_named_tensor *tensors, size_t count,
                                      const char *const *metadata) {
    const char *format = cvy_tensor_file_ending(path);
    return format && strcmp(format, "pth") == 0 ? cvy_pth_save(path, tensors, count, metadata)
                                                : cvy_tensor_file_save(path, tensors, count, metadata);
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

const char **cvy_tensor_file_pairs(const cvy_tensor_file *file) {
    const char *key;
    json_t *metadata = json_object_get(file->header, "__metadata__"), *value;
    const char **pairs = malloc((2 * json_object_size(metadata) + 1) * sizeof *pairs);
    size_t count = 0;
    json_object_foreach(metadata, key, value) {
        if (!pairs)
            break;
        pairs[count++] = key;
        pairs[count++] = json_string_value(value);
    }
    if (pairs)
        pairs[count] = NULL;
    return pairs;
}
