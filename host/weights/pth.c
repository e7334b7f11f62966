/* Files of torch.save: a pickle that says what tensors there are, and the storages that hold their values. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef CONVOY_LIBZIP
#include <zip.h>
#include <zlib.h>
#endif

#include "base/machine.h"
#include "weights/format.h"
#include "weights/pickle.h"

static const struct {
    const char *global, *dtype;
    size_t bytes;
} storage_types[] = {{"torch FloatStorage", "F32", 4}, {"torch DoubleStorage", "F64", 8},
                     {"torch HalfStorage", "F16", 2},  {"torch BFloat16Storage", "BF16", 2},
                     {"torch LongStorage", "I64", 8},  {"torch IntStorage", "I32", 4},
                     {"torch ShortStorage", "I16", 2}, {"torch CharStorage", "I8", 1},
                     {"torch ByteStorage", "U8", 1},   {"torch BoolStorage", "BOOL", 1}};

const char *cvy_pth_storage_of(const char *dtype) {
    for (size_t i = 0; i < sizeof storage_types / sizeof *storage_types; i++)
        if (strcmp(storage_types[i].dtype, dtype) == 0)
            return storage_types[i].global;
    return NULL;
}

/* Where the values of a storage are; *bytes are there until the next call. */
typedef struct source {
    convoy_status (*find)(struct source *source, const char *path, const char *key, size_t size,
                          const char **bytes);
    void *archive;
    const char *prefix; /* of names in the archive */
    const char *key;    /* of the storage that was found last, and which is in `buffer` */
    char *buffer;
    const char *bytes; /* legacy: what follows the pickles */
    size_t size;
    const cvy_pickled *keys;
    cvy_arena *arena;
} source;

static convoy_status bad(const char *path, const char *name, const char *what) {
    return cvy_fail(CONVOY_INVALID, "%s: not a valid file of torch.save: %s%s%s", path, name ? name : "",
                    name ? ": " : "", what);
}

bool cvy_pth_recognise(const char *bytes, size_t size) {
    /* Neither is the length of a header that safetensors may have: the archive's ninth byte is no brace, the
       other's too long. */
    return (size > 8 && memcmp(bytes, "PK\3\4", 4) == 0 && bytes[8] != '{') ||
           (size >= 4 && memcmp(bytes, "\x80\2\x8a\n", 4) == 0);
}

/* ---- the state dict in what a file holds ---- */

static const cvy_pickled *value_of(const cvy_pickled *dictionary, const char *key) {
    for (size_t i = 0; i < dictionary->count; i += 2)
        if (dictionary->items[i]->kind == CVY_PICKLED_TEXT && strcmp(dictionary->items[i]->text, key) == 0)
            return dictionary->items[i + 1];
    return NULL;
}

static size_t count_tensors(const cvy_pickled *dictionary) {
    size_t count = 0;
    for (size_t i = 0; dictionary->kind == CVY_PICKLED_DICTIONARY && i < dictionary->count; i += 2)
        count += dictionary->items[i]->kind == CVY_PICKLED_TEXT &&
                 dictionary->items[i + 1]->kind == CVY_PICKLED_TENSOR;
    return count;
}

/* What is called so in a checkpoint, where that is a dictionary; NULL: nothing is. */
static const cvy_pickled *wrapped_in(const cvy_pickled *root) {
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "ema", "model_ema"};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && root->kind == CVY_PICKLED_DICTIONARY; i++) {
        const cvy_pickled *inner = value_of(root, wrappers[i]);
        if (inner && inner->kind == CVY_PICKLED_DICTIONARY)
            return inner;
    }
    return NULL;
}

/* The dictionary of tensors itself, or within a wrapper or two, beside which there may be tensors too, as the
   best accuracy so far; NULL: there is none. */
static const cvy_pickled *find_state(const cvy_pickled *root) {
    const cvy_pickled *inner = wrapped_in(root);
    for (int depth = 0; depth < 2 && inner; depth++, inner = wrapped_in(root))
        root = inner;
    return count_tensors(root) ? root : NULL;
}

/* ---- tensors ---- */

/* Checks shape, strides and offset of a tensor against its storage, and that against the size of the file. */
static convoy_status read_tensor(const char *path, const char *name, const cvy_pickled *value, size_t most,
                                 cvy_named_tensor *tensor, size_t *element) {
    const cvy_pickled *storage = value->items[0], *shape = value->items[2], *strides = value->items[3];
    size_t count = 1, type = 0, last = 0, types = sizeof storage_types / sizeof *storage_types;
    while (type < types && strcmp(storage_types[type].global, storage->items[0]->text) != 0)
        type++;
    if (type == types || storage->number < 0 || value->items[1]->number < 0)
        return bad(path, name, "its storage makes no sense");
    if (shape->count > 4)
        return cvy_fail(CONVOY_INVALID, "%s: %s has %zu dimensions; at most 4 are supported", path, name,
                        shape->count);
    *tensor = (cvy_named_tensor){.name = name,
                                 .dtype = storage_types[type].dtype,
                                 .shape = {1, 1, 1, 1},
                                 .dimensions = (int)shape->count};
    for (size_t i = 0; i < shape->count; i++) {
        long long size = shape->items[i]->number, stride = strides->items[i]->number;
        size_t reach;
        if (size < 0 || stride < 0 || __builtin_mul_overflow(count, (size_t)size, &count) ||
            __builtin_mul_overflow((size_t)(size ? size - 1 : 0), (size_t)stride, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return bad(path, name, "its shape makes no sense");
        tensor->shape[i] = (size_t)size;
    }
    *element = storage_types[type].bytes;
    if (__builtin_add_overflow(last, (size_t)value->items[1]->number, &last) ||
        (count && last >= (size_t)storage->number) || count > (size_t)storage->number ||
        __builtin_mul_overflow((size_t)storage->number, *element, &last))
        return bad(path, name, "it does not lie within its storage");
    if (last > most)
        return bad(path, name, "its storage is larger than the file");
    tensor->bytes = count * *element;
    return CONVOY_OK;
}

/* Row-major, whatever the strides. */
static void copy_tensor(const cvy_pickled *value, const cvy_named_tensor *tensor, size_t element,
                        const char *storage, char *to) {
    size_t strides[4] = {0}, i[4];
    for (size_t d = 0; d < value->items[3]->count; d++)
        strides[d] = (size_t)value->items[3]->items[d]->number;
    const char *from = storage + (size_t)value->items[1]->number * element;
    const size_t *n = tensor->shape;
    for (i[0] = 0; i[0] < n[0]; i[0]++)
        for (i[1] = 0; i[1] < n[1]; i[1]++)
            for (i[2] = 0; i[2] < n[2]; i[2]++)
                for (i[3] = 0; i[3] < n[3]; i[3]++, to += element)
                    memcpy(to,
                           from + element * (i[0] * strides[0] + i[1] * strides[1] + i[2] * strides[2] +
                                             i[3] * strides[3]),
                           element);
}

/* Puts the tensors of `state` into the file, in place of its bytes. */
static convoy_status take_tensors(const char *path, cvy_tensor_file *file, const cvy_pickled *state,
                                  source *source) {
    size_t total = 0, at = 0, element, room = count_tensors(state);
    char *data = NULL;
    convoy_status status = CONVOY_OK;
    file->tensors = cvy_machine_allocate(room, sizeof *file->tensors);
    const cvy_pickled **values = cvy_arena_alloc(source->arena, room * sizeof *values);
    if (!file->tensors)
        return cvy_fail_memory(path, room * sizeof *file->tensors);
    for (size_t i = 0; i < state->count && !status; i += 2) {
        if (state->items[i]->kind != CVY_PICKLED_TEXT || state->items[i + 1]->kind != CVY_PICKLED_TENSOR)
            continue;
        values[file->count] = state->items[i + 1];
        cvy_named_tensor *tensor = &file->tensors[file->count++];
        status = read_tensor(path, state->items[i]->text, state->items[i + 1], file->size, tensor, &element);
        if (!status && __builtin_add_overflow(total, (tensor->bytes + 7) / 8 * 8, &total))
            status = bad(path, tensor->name, "it is too large");
    }
    if (!status && !(data = cvy_machine_allocate(total + 1, 1)))
        status = cvy_fail_memory(path, total);
    for (size_t i = 0; i < file->count && !status; i++) {
        const cvy_pickled *storage = values[i]->items[0];
        const char *bytes = NULL;
        status = read_tensor(path, file->tensors[i].name, values[i], file->size, &file->tensors[i], &element);
        if (!status)
            status = source->find(source, path, storage->text, (size_t)storage->number * element, &bytes);
        if (status)
            break;
        file->tensors[i].data = data + at;
        copy_tensor(values[i], &file->tensors[i], element, bytes, data + at);
        at += (file->tensors[i].bytes + 7) / 8 * 8;
    }
    free(file->bytes);
    file->bytes = data;
    return status;
}

static convoy_status take_state(const char *path, cvy_tensor_file *file, const cvy_pickled *root,
                                source *source) {
    const cvy_pickled *state = find_state(root);
    return state
               ? take_tensors(path, file, state, source)
               : cvy_fail(
                     CONVOY_INVALID,
                     "%s: a file of torch.save without a state dict: it must be a dictionary of tensors, or "
                     "have one as state_dict, model or ema",
                     path);
}

/* ---- zip ---- */

#ifdef CONVOY_LIBZIP

/* Of what was read, against the archive's; libzip compares them only where it reads on to an entry's end.
   torch.save writes 0 where it was told to compute none. */
static bool is_intact(const zip_stat_t *about, const char *bytes) {
    return !about->crc || crc32_z(0, (const unsigned char *)bytes, (size_t)about->size) == about->crc;
}

/* Reads an entry that is stored as it is, as torch.save does; malloc'ed. */
static convoy_status read_entry(zip_t *archive, const char *path, const char *name, char **bytes,
                                size_t *size) {
    zip_stat_t about;
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_CRC;
    *bytes = NULL;
    if (zip_stat(archive, name, 0, &about) != 0 || (about.valid & needed) != needed)
        return bad(path, name, "the archive has no such entry");
    if (about.comp_method != ZIP_CM_STORE)
        return bad(path, name, "it is compressed, which torch.save does not do");
    if (about.size != about.comp_size)
        return bad(path, name, "its two sizes differ, though it is stored as it is");
    *size = (size_t)about.size;
    *bytes = cvy_machine_allocate(*size + 1, 1);
    if (!*bytes)
        return cvy_fail_memory(path, *size);
    zip_file_t *entry = zip_fopen(archive, name, 0);
    bool whole = entry && zip_fread(entry, *bytes, *size) == (zip_int64_t)*size;
    if (entry)
        zip_fclose(entry);
    if (whole && is_intact(&about, *bytes))
        return CONVOY_OK;
    free(*bytes);
    *bytes = NULL;
    return bad(path, name,
               whole ? "its bytes are damaged, as its checksum says; copy or save the file once more"
                     : "it cannot be read");
}

static convoy_status find_in_archive(source *source, const char *path, const char *key, size_t size,
                                     const char **bytes) {
    size_t found = size;
    convoy_status status = CONVOY_OK;
    if (!source->key || strcmp(source->key, key) != 0) {
        free(source->buffer);
        source->key = NULL;
        status = read_entry(source->archive, path,
                            cvy_arena_printf(source->arena, "%sdata/%s", source->prefix, key),
                            &source->buffer, &source->size);
    }
    if (status)
        return status;
    source->key = key;
    found = source->size;
    *bytes = source->buffer;
    return found == size ? CONVOY_OK : bad(path, key, "the storage has another size than the pickle says");
}

/* "archive/" of "archive/data.pkl"; NULL: no entry is called so. */
static const char *find_prefix(cvy_arena *arena, zip_t *archive) {
    static const char name[] = "data.pkl";
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); i++) {
        const char *entry = zip_get_name(archive, (zip_uint64_t)i, 0);
        const size_t length = entry ? strlen(entry) : 0;
        if (length >= sizeof name - 1 && strcmp(entry + length - (sizeof name - 1), name) == 0 &&
            (length == sizeof name - 1 || entry[length - sizeof name] == '/'))
            return cvy_arena_strndup(arena, entry, length - (sizeof name - 1));
    }
    return NULL;
}

/* What Convoy itself wrote beside the tensors; PyTorch's files have none. */
static convoy_status read_metadata(const char *path, cvy_tensor_file *file, const source *source) {
    const char *name = cvy_arena_printf(source->arena, "%s" CVY_PTH_METADATA, source->prefix), *key;
    char *text = NULL;
    size_t size = 0;
    if (zip_name_locate(source->archive, name, 0) < 0)
        return CONVOY_OK;
    convoy_status status = read_entry(source->archive, path, name, &text, &size);
    if (status)
        return status;
    json_t *strings = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL), *value;
    free(text);
    file->header = json_object();
    json_object_set_new(file->header, "__metadata__", strings);
    if (!json_is_object(strings))
        return bad(path, name, "it is not a JSON object");
    json_object_foreach(strings, key, value) {
        if (!json_is_string(value))
            return bad(path, name, "all its values must be strings");
    }
    return CONVOY_OK;
}

static convoy_status read_archive(const char *path, cvy_tensor_file *file, source *source) {
    char *text = NULL, *order = NULL;
    size_t size = 0, used;
    cvy_pickled *root = NULL, *storages;
    source->prefix = find_prefix(source->arena, source->archive);
    if (!source->prefix)
        return bad(path, NULL, "a zip archive without data.pkl");
    const char *name = cvy_arena_printf(source->arena, "%sbyteorder", source->prefix);
    convoy_status status = CONVOY_OK;
    if (zip_name_locate(source->archive, name, 0) >= 0)
        status = read_entry(source->archive, path, name, &order, &size);
    if (!status && order && (size != 6 || memcmp(order, "little", 6) != 0))
        status = bad(path, NULL, "its numbers are not little-endian");
    if (!status)
        status = read_entry(source->archive, path,
                            cvy_arena_printf(source->arena, "%sdata.pkl", source->prefix), &text, &size);
    if (!status)
        status = cvy_unpickle(source->arena, path, text, size, &used, &root, &storages);
    if (!status)
        status = take_state(path, file, root, source);
    if (!status)
        status = read_metadata(path, file, source);
    free(text);
    free(order);
    return status;
}

static convoy_status load_archive(const char *path, cvy_tensor_file *file) {
    zip_error_t error;
    zip_error_init(&error);
    source source = {.find = find_in_archive, .arena = file->arena};
    char *content = file->bytes; /* stays until the archive is closed */
    zip_source_t *bytes = zip_source_buffer_create(content, file->size, 0, &error);
    zip_t *archive = bytes ? zip_open_from_source(bytes, ZIP_RDONLY | ZIP_CHECKCONS, &error) : NULL;
    convoy_status status;
    file->bytes = NULL;
    source.archive = archive;
    if (archive) {
        status = read_archive(path, file, &source);
        zip_discard(archive);
    } else {
        status = bad(path, "zip", zip_error_strerror(&error));
        if (bytes)
            zip_source_free(bytes);
    }
    zip_error_fini(&error);
    free(source.buffer);
    free(content);
    return status;
}

#else

static convoy_status load_archive(const char *path, cvy_tensor_file *file) {
    (void)file;
    return cvy_fail(
        CONVOY_INVALID,
        "%s: a zip archive of PyTorch's torch.save, which this build does not read, as libzip was "
        "missing when it was configured (Debian's libzip-dev). Or convert it in Python: "
        "safetensors.torch.save_file(torch.load(\"w.pth\", weights_only=True), \"w.safetensors\")",
        path);
}

#endif

/* ---- legacy ---- */

static int compare_keys(const void *a, const void *b) {
    return strcmp((*(const cvy_pickled *const *)a)->text, (*(const cvy_pickled *const *)b)->text);
}

static void sort_by_key(cvy_pickled *list) {
    if (list->count)
        qsort(list->items, list->count, sizeof(cvy_pickled *), compare_keys);
}

/* The place in a sorted list of a value with this text; NULL: there is none. */
static cvy_pickled **find_key(const cvy_pickled *list, const cvy_pickled *key) {
    return key->kind == CVY_PICKLED_TEXT && list->count
               ? bsearch(&key, list->items, list->count, sizeof key, compare_keys)
               : NULL;
}

/* Behind the pickles, for each key in their order: the number of elements in 8 bytes, and the elements. Keeps
   in each key's number where these begin. */
static convoy_status index_storages(const char *path, source *source, cvy_pickled *storages,
                                    cvy_pickled *keys) {
    size_t at = 0;
    sort_by_key(storages);
    for (size_t k = 0; k < keys->count; k++) {
        cvy_pickled *key = keys->items[k], **storage = find_key(storages, key);
        size_t type = 0, size, types = sizeof storage_types / sizeof *storage_types;
        while (storage && type < types && strcmp(storage_types[type].global, (*storage)->items[0]->text) != 0)
            type++;
        if (!storage || type == types)
            return bad(path, NULL, "its list of storages has one that no tensor uses");
        uint64_t count = 0;
        for (size_t b = 0; b < 8 && source->size - at >= 8; b++)
            count |= (uint64_t)(unsigned char)source->bytes[at + b] << (8 * b);
        if (source->size - at < 8 || (*storage)->number < 0 || count != (uint64_t)(*storage)->number ||
            __builtin_mul_overflow((size_t)count, storage_types[type].bytes, &size) ||
            size > source->size - at - 8)
            return bad(path, key->text, "its values are cut short");
        key->number = (long long)at + 8;
        at += 8 + size;
    }
    sort_by_key(keys);
    source->keys = keys;
    return CONVOY_OK;
}

static convoy_status find_behind(source *source, const char *path, const char *key, size_t size,
                                 const char **bytes) {
    const cvy_pickled wanted = {.kind = CVY_PICKLED_TEXT, .text = key};
    cvy_pickled *const *found = find_key(source->keys, &wanted);
    if (!found || size > source->size - (size_t)(*found)->number)
        return bad(path, key, "the file has no such storage");
    *bytes = source->bytes + (*found)->number;
    return CONVOY_OK;
}

/* Five pickles: a number, the protocol's, the machine, the state dict, the storages' keys. */
static convoy_status load_legacy(const char *path, cvy_tensor_file *file) {
    cvy_pickled *parts[5], *storages[5];
    size_t at = 0, used;
    char *content = file->bytes;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 5 && !status; i++, at += used) {
        used = 0;
        status =
            cvy_unpickle(file->arena, path, content + at, file->size - at, &used, &parts[i], &storages[i]);
    }
    if (status)
        return status;
    const cvy_pickled *order =
        parts[2]->kind == CVY_PICKLED_DICTIONARY ? value_of(parts[2], "little_endian") : NULL;
    if (!order || order->number != 1 || parts[4]->kind != CVY_PICKLED_SEQUENCE)
        return bad(path, NULL, "its numbers are not little-endian, or it has no list of storages");
    source source = {
        .find = find_behind, .bytes = content + at, .size = file->size - at, .arena = file->arena};
    status = index_storages(path, &source, storages[3], parts[4]);
    file->bytes = NULL;
    if (!status)
        status = take_state(path, file, parts[3], &source);
    free(content);
    return status;
}

convoy_status cvy_pth_load(const char *path, cvy_tensor_file *file) {
    file->arena = cvy_arena_create();
    if (!file->arena)
        return cvy_fail_memory(path, file->size);
    return memcmp(file->bytes, "PK", 2) == 0 ? load_archive(path, file) : load_legacy(path, file);
}
