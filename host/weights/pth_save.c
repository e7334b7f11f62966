/* Files as torch.save writes them: a zip archive with a pickle of a dictionary of tensors, and a storage for
   each. torch.load(weights_only=True) reads them. What Convoy knows besides lies in a record of its own,
   which PyTorch does not look at. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef CONVOY_LIBZIP
#include <zip.h>
#endif

#include "base/file.h"
#include "weights/format.h"

#ifdef CONVOY_LIBZIP

/* ---- the pickle, protocol 2 ---- */

static void put(cvy_text *to, const void *bytes, size_t count) {
    const unsigned char *c = bytes;
    for (size_t i = 0; i < count; i++)
        cvy_text_add(to, "%c", c[i]);
}

static void put_op(cvy_text *to, char op) {
    put(to, &op, 1);
}

static void put_number(cvy_text *to, uint64_t value) {
    unsigned char little[9];
    for (int i = 0; i < 9; i++)
        little[i] = i < 8 ? (unsigned char)(value >> (8 * i)) : 0;
    if (value <= INT32_MAX) {
        put_op(to, 'J');
        put(to, little, 4);
    } else {
        put(to, "\x8a\x09", 2); /* LONG1 of nine bytes, of which the last keeps it positive */
        put(to, little, 9);
    }
}

static void put_words(cvy_text *to, const char *words) {
    const uint32_t length = (uint32_t)strlen(words);
    const unsigned char little[4] = {(unsigned char)length, (unsigned char)(length >> 8),
                                     (unsigned char)(length >> 16), (unsigned char)(length >> 24)};
    put_op(to, 'X');
    put(to, little, 4);
    put(to, words, length);
}

static void put_global(cvy_text *to, const char *module_and_name) {
    const char *space = strchr(module_and_name, ' ');
    put_op(to, 'c');
    put(to, module_and_name, (size_t)(space - module_and_name));
    put_op(to, '\n');
    put(to, space + 1, strlen(space + 1));
    put_op(to, '\n');
}

/* torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), its storage being the
   persistent
   ("storage", type, key, "cpu", elements). */
static void put_tensor(cvy_text *to, const cvy_named_tensor *tensor, const char *storage_type,
                       size_t number) {
    char key[24];
    size_t elements = 1, stride = 1, strides[4];
    for (int i = tensor->dimensions; i-- > 0;) {
        strides[i] = stride;
        stride *= tensor->shape[i] ? tensor->shape[i] : 1;
        elements *= tensor->shape[i];
    }
    snprintf(key, sizeof key, "%zu", number);
    put_global(to, "torch._utils _rebuild_tensor_v2");
    put(to, "((", 2);
    put_words(to, "storage");
    put_global(to, storage_type);
    put_words(to, key);
    put_words(to, "cpu");
    put_number(to, elements);
    put(to, "tQ", 2);
    put_number(to, 0);
    for (int list = 0; list < 2; list++) {
        put_op(to, '(');
        for (int i = 0; i < tensor->dimensions; i++)
            put_number(to, list ? strides[i] : tensor->shape[i]);
        put_op(to, 't');
    }
    put_op(to, '\x89');
    put_global(to, "collections OrderedDict");
    put(to, ")RtR", 4);
}

static convoy_status print_pickle(const char *path, const cvy_named_tensor *tensors, size_t count,
                                  cvy_text *pickle) {
    put(pickle, "\x80\2}(", 4);
    for (size_t i = 0; i < count; i++) {
        const char *type = cvy_pth_storage_of(tensors[i].dtype);
        if (!type)
            return cvy_fail(CONVOY_INVALID, "%s: %s has the dtype %s, for which PyTorch has no storage", path,
                            tensors[i].name, tensors[i].dtype);
        put_words(pickle, tensors[i].name);
        put_tensor(pickle, &tensors[i], type, i);
    }
    put(pickle, "u.", 2);
    return CONVOY_OK;
}

/* A JSON object of strings; malloc'ed, NULL where there is none. */
static char *print_metadata(const char *const *metadata) {
    json_t *strings = json_object();
    for (; metadata && metadata[0]; metadata += 2)
        json_object_set_new(strings, metadata[0], json_string(metadata[1]));
    char *text = json_object_size(strings) ? json_dumps(strings, JSON_COMPACT) : NULL;
    json_decref(strings);
    return text;
}

/* ---- the archive ---- */

static convoy_status fail_zip(const char *path, const char *what) {
    return cvy_fail(CONVOY_IO, "%s: its zip archive could not be made: %s", path, what);
}

/* The bytes must stay until the archive is closed. */
static convoy_status add_entry(zip_t *archive, const char *path, const char *name, const void *bytes,
                               size_t size) {
    zip_source_t *source = zip_source_buffer(archive, size ? bytes : "", size, 0);
    const zip_int64_t at = source ? zip_file_add(archive, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (at < 0) {
        if (source)
            zip_source_free(source);
        return fail_zip(path, zip_strerror(archive));
    }
    /* As it is, and the same bytes whenever it is written. */
    if (zip_set_file_compression(archive, (zip_uint64_t)at, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_mtime(archive, (zip_uint64_t)at, 315619200, 0) != 0)
        return fail_zip(path, zip_strerror(archive));
    return CONVOY_OK;
}

static convoy_status fill_archive(zip_t *archive, const char *path, const cvy_named_tensor *tensors,
                                  size_t count, const cvy_text *pickle, const char *metadata) {
    char name[48];
    convoy_status status = add_entry(archive, path, "archive/data.pkl", pickle->data, pickle->length);
    if (!status)
        status = add_entry(archive, path, "archive/byteorder", "little", 6);
    if (!status && metadata)
        status = add_entry(archive, path, "archive/" CVY_PTH_METADATA, metadata, strlen(metadata));
    for (size_t i = 0; i < count && !status; i++) {
        snprintf(name, sizeof name, "archive/data/%zu", i);
        status = add_entry(archive, path, name, tensors[i].data, tensors[i].bytes);
    }
    return status ? status : add_entry(archive, path, "archive/version", "3\n", 2);
}

static convoy_status write_source(const char *path, zip_source_t *source) {
    char piece[1 << 14];
    cvy_writer *writer = NULL;
    zip_int64_t got = 0;
    if (zip_source_open(source) != 0)
        return fail_zip(path, zip_error_strerror(zip_source_error(source)));
    convoy_status status = cvy_writer_open(path, &writer);
    while (!status && (got = zip_source_read(source, piece, sizeof piece)) > 0)
        status = cvy_writer_write(writer, piece, (size_t)got);
    if (!status && got < 0)
        status = fail_zip(path, zip_error_strerror(zip_source_error(source)));
    zip_source_close(source);
    if (status && writer)
        cvy_writer_abandon(writer);
    return status ? status : cvy_writer_commit(writer);
}

static convoy_status save_archive(const char *path, const cvy_named_tensor *tensors, size_t count,
                                  const cvy_text *pickle, const char *metadata) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &error);
    if (source)
        zip_source_keep(source); /* for what is read after the archive is closed */
    zip_t *archive = source ? zip_open_from_source(source, ZIP_TRUNCATE, &error) : NULL;
    convoy_status status = archive ? fill_archive(archive, path, tensors, count, pickle, metadata)
                                   : fail_zip(path, zip_error_strerror(&error));
    if (archive && (status || zip_close(archive) != 0)) {
        status = status ? status : fail_zip(path, zip_strerror(archive));
        zip_discard(archive);
    }
    if (!status)
        status = write_source(path, source);
    if (source)
        zip_source_free(source);
    zip_error_fini(&error);
    return status;
}

convoy_status cvy_pth_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                           const char *const *metadata) {
    cvy_text pickle = {0};
    char *strings = print_metadata(metadata);
    convoy_status status = print_pickle(path, tensors, count, &pickle);
    if (!status)
        status = save_archive(path, tensors, count, &pickle, strings);
    cvy_text_free(&pickle);
    free(strings);
    return status;
}

#else

convoy_status cvy_pth_save(const char *path, const cvy_named_tensor *tensors, size_t count,
                           const char *const *metadata) {
    (void)tensors, (void)count, (void)metadata;
    return cvy_fail(
        CONVOY_INVALID,
        "%s: this build writes no .pth files, as libzip was missing when it was configured (Debian's "
        "libzip-dev); safetensors it does",
        path);
}

#endif
