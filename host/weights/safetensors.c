/* safetensors: 8 bytes little-endian length of the header, a JSON header {name: {dtype, shape,
   data_offsets}}, then the tensors' bytes without holes. Every field is checked before anything is used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "weights/format.h"

static const size_t header_limit = 100u * 1000 * 1000; /* as the format's own reader */

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {{"F32", 4},  {"I64", 8}, {"U8", 1},   {"F64", 8},     {"F16", 2},
              {"BF16", 2}, {"I8", 1},  {"I16", 2},  {"I32", 4},     {"U16", 2},
              {"U32", 4},  {"U64", 8}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

static size_t dtype_bytes(const char *name, const char **kept) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *kept = dtypes[i].name;
            return dtypes[i].bytes;
        }
    return 0;
}

/* ---- reading ---- */

static convoy_status bad(const char *path, const char *tensor, const char *what) {
    return cvy_fail(CONVOY_INVALID, "%s: not a valid safetensors file: %s%s%s", path, tensor ? tensor : "",
                    tensor ? ": " : "", what);
}

static bool to_size(const json_t *value, size_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* Reads one entry; `offset` receives its place in the data. */
static convoy_status read_entry(const char *path, const char *name, const json_t *entry, size_t data_size,
                                cvy_named_tensor *tensor, size_t *offset) {
    const json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_object(entry) || json_object_size(entry) != 3 || !json_is_string(dtype) ||
        !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return bad(path, name, "its entry must have dtype, shape and data_offsets, and nothing else");
    size_t element = dtype_bytes(json_string_value(dtype), &tensor->dtype);
    if (!element)
        return cvy_fail(CONVOY_INVALID, "%s: %s has the unknown dtype \"%s\"", path, name,
                        json_string_value(dtype));
    if (json_array_size(shape) > 4)
        return cvy_fail(CONVOY_INVALID, "%s: %s has %zu dimensions; at most 4 are supported", path, name,
                        json_array_size(shape));
    size_t count = 1, ends[2];
    for (size_t i = 0; i < 4; i++) {
        tensor->shape[i] = 1;
        if (i < json_array_size(shape) && !to_size(json_array_get(shape, i), &tensor->shape[i]))
            return bad(path, name, "its shape must be a list of whole numbers");
        if (__builtin_mul_overflow(count, tensor->shape[i], &count))
            return bad(path, name, "its shape is too large");
    }
    if (!to_size(json_array_get(offsets, 0), &ends[0]) || !to_size(json_array_get(offsets, 1), &ends[1]))
        return bad(path, name, "its data_offsets must be two whole numbers");
    if (ends[0] > ends[1] || ends[1] > data_size)
        return bad(path, name, "its data_offsets lie outside the file");
    if (__builtin_mul_overflow(count, element, &count) || count != ends[1] - ends[0])
        return bad(path, name, "its shape and its data_offsets disagree");
    tensor->name = name;
    tensor->dimensions = (int)json_array_size(shape);
    tensor->bytes = count;
    *offset = ends[0];
    return CONVOY_OK;
}

static convoy_status check_metadata(const char *path, const json_t *metadata) {
    const char *key;
    json_t *value;
    if (metadata && !json_is_object(metadata))
        return bad(path, "__metadata__", "must be an object");
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return bad(path, "__metadata__", "all its values must be strings");
    }
    return CONVOY_OK;
}

typedef struct placed {
    cvy_named_tensor tensor;
    size_t offset;
} placed;

static int compare_places(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->tensor.bytes != y->tensor.bytes) /* empty ones first */
        return x->tensor.bytes < y->tensor.bytes ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

/* In the order of their places, without holes. */
static convoy_status place_tensors(const char *path, cvy_tensor_file *file, placed *list, size_t count,
                                   char *data, size_t size) {
    size_t end = 0;
    qsort(list, count, sizeof *list, compare_places);
    file->tensors = cvy_machine_allocate(count, sizeof *file->tensors);
    if (!file->tensors)
        return cvy_fail_memory(path, count * sizeof *file->tensors);
    for (size_t i = 0; i < count; i++) {
        if (list[i].offset != end)
            return bad(path, list[i].tensor.name,
                       list[i].offset < end ? "its data overlap another tensor's"
                                            : "there is a hole before its data");
        end += list[i].tensor.bytes;
        file->tensors[i] = list[i].tensor;
        file->tensors[i].data = data + list[i].offset;
    }
    file->count = count;
    return end == size ? CONVOY_OK : bad(path, NULL, "there are bytes that belong to no tensor");
}

/* Fills file->tensors from the parsed header; `data` has `size` bytes. */
static convoy_status read_header(const char *path, cvy_tensor_file *file, char *data, size_t size) {
    const char *name;
    json_t *entry;
    size_t count = 0;
    convoy_status status = check_metadata(path, json_object_get(file->header, "__metadata__"));
    placed *list = cvy_machine_allocate(json_object_size(file->header) + 1, sizeof *list);
    if (!list)
        return cvy_fail_memory(path, json_object_size(file->header) * sizeof *list);
    json_object_foreach(file->header, name, entry) {
        if (status)
            break;
        if (strcmp(name, "__metadata__") == 0)
            continue;
        status = read_entry(path, name, entry, size, &list[count].tensor, &list[count].offset);
        count++;
    }
    if (!status)
        status = place_tensors(path, file, list, count, data, size);
    free(list);
    return status;
}

convoy_status cvy_safetensors_load(const char *path, cvy_tensor_file *file) {
    size_t size = file->size;
    uint64_t length = 0;
    json_error_t error;
    for (size_t i = 0; i < 8 && i < size; i++)
        length |= (uint64_t)(unsigned char)file->bytes[i] << (8 * i);
    if (size < 8 || length > header_limit || length > size - 8)
        return bad(path, NULL, size < 8 ? "it is shorter than 8 bytes" : "its header's length is impossible");
    file->header = json_loadb(file->bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header && json_error_code(&error) == json_error_out_of_memory)
        return cvy_fail_memory(path, length);
    if (!json_is_object(file->header))
        return bad(path, "header", file->header ? "it is not a JSON object" : error.text);
    size -= 8 + (size_t)length;
    char *data = file->bytes + 8 + length;
    if ((8 + length) % 8 != 0) { /* floats must be aligned to be read in place */
        memmove(file->bytes, data, size);
        data = file->bytes;
    }
    return read_header(path, file, data, size);
}

/* ---- writing ---- */

static json_t *entry_of(const cvy_named_tensor *tensor, size_t offset) {
    json_t *shape = json_array();
    for (int i = 0; i < tensor->dimensions; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape", shape, "data_offsets",
                     (json_int_t)offset, (json_int_t)(offset + tensor->bytes));
}

static convoy_status check_tensor(const char *path, const cvy_named_tensor *tensor) {
    const char *kept;
    size_t bytes = dtype_bytes(tensor->dtype, &kept);
    for (int i = 0; i < tensor->dimensions; i++)
        bytes *= tensor->shape[i];
    if (bytes != tensor->bytes)
        return cvy_fail(CONVOY_INVALID, "%s: %s has %zu bytes, but its shape and dtype %s need %zu", path,
                        tensor->name, tensor->bytes, tensor->dtype, bytes);
    return CONVOY_OK;
}

/* The header, and the order in which the data follow: wide elements first, so that all are aligned. */
static convoy_status plan_file(const char *path, const cvy_named_tensor *tensors, size_t count,
                               const char *const *metadata, size_t *order, char **header) {
    json_t *root = json_object(), *strings = json_object();
    convoy_status status = CONVOY_OK;
    size_t offset = 0, placed = 0;
    for (; metadata && metadata[0]; metadata += 2)
        json_object_set_new(strings, metadata[0], json_string(metadata[1]));
    if (json_object_size(strings))
        json_object_set(root, "__metadata__", strings);
    for (size_t width = 8; width && !status; width /= 2)
        for (size_t i = 0; i < count && !status; i++) {
            const char *kept;
            size_t element = dtype_bytes(tensors[i].dtype, &kept);
            if (element != width && !(element == 0 && width == 1))
                continue;
            status = check_tensor(path, &tensors[i]);
            if (!status &&
                (json_object_get(root, tensors[i].name) || strcmp(tensors[i].name, "__metadata__") == 0))
                status = cvy_fail(CONVOY_INVALID, "%s: two tensors are called %s", path, tensors[i].name);
            if (!status && json_object_set_new(root, tensors[i].name, entry_of(&tensors[i], offset)))
                status =
                    cvy_fail(CONVOY_INVALID, "%s: the name or text of a tensor is not valid UTF-8", path);
            order[placed++] = i;
            offset += tensors[i].bytes;
        }
    *header = status ? NULL : json_dumps(root, JSON_COMPACT);
    if (!status && !*header)
        status = cvy_fail_memory("the header of a weights file", 0);
    json_decref(root);
    json_decref(strings);
    return status;
}

convoy_status cvy_tensor_file_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                                   const char *const *metadata) {
    char *header = NULL;
    cvy_writer *writer = NULL;
    size_t *order = malloc((count + 1) * sizeof *order);
    if (!order)
        return cvy_fail_memory("a weights file", count * sizeof *order);
    convoy_status status = plan_file(path, tensors, count, metadata, order, &header);
    if (!status)
        status = cvy_writer_open(path, &writer);
    if (status)
        goto done;
    size_t length = strlen(header), padded = (length + 7) / 8 * 8;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(padded >> (8 * i));
    status = cvy_writer_write(writer, prefix, 8);
    if (!status)
        status = cvy_writer_write(writer, header, length);
    if (!status)
        status = cvy_writer_write(writer, "        ", padded - length);
    for (size_t i = 0; i < count && !status; i++)
        status = cvy_writer_write(writer, tensors[order[i]].data, tensors[order[i]].bytes);
    if (!status) {
        status = cvy_writer_commit(writer);
        writer = NULL;
    }
done:
    if (writer)
        cvy_writer_abandon(writer);
    free(header);
    free(order);
    return status;
}
