/* Reading IDX files. */
#include "data/idx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/file.h"
#include "base/machine.h"

enum {
    TYPE_UNSIGNED_BYTE = 8,
    TYPE_INT = 12,
    LARGEST_SIDE = 65535,
    /* Deflate never shrinks data by more than 1032:1 (its longest match over its shortest code). */
    LARGEST_RATIO = 1032,
};

static convoy_status read_failure(gzFile file, const char *path, size_t wanted, size_t got) {
    int code = Z_OK;
    const char *reason = gzerror(file, &code);
    if (code == Z_ERRNO)
        return cvy_fail(CONVOY_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (code == Z_OK || code == Z_BUF_ERROR)
        return cvy_fail(CONVOY_INVALID,
                        "%s: truncated: %zu bytes expected here, %zu found; fetch the file again", path,
                        wanted, got);
    return cvy_fail(CONVOY_INVALID, "%s: damaged gzip data (%s); fetch the file again", path, reason);
}

static convoy_status read_exactly(gzFile file, const char *path, uint8_t *data, size_t size) {
    size_t got = 0;
    while (got < size) {
        size_t piece = size - got < (1u << 30) ? size - got : (1u << 30);
        int count = gzread(file, data + got, (unsigned)piece);
        if (count <= 0)
            return read_failure(file, path, size, got);
        got += (size_t)count;
    }
    return CONVOY_OK;
}

/* Reading on to the end also makes zlib check the CRC. */
static convoy_status check_end(gzFile file, const char *path) {
    uint8_t more;
    int count = gzread(file, &more, 1);
    int code = Z_OK;
    gzerror(file, &code);
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
        return read_failure(file, path, 1, 0);
    if (count > 0)
        return cvy_fail(CONVOY_INVALID, "%s: more data than its header says", path);
    return CONVOY_OK;
}

static size_t big_endian(const uint8_t *bytes) {
    return (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
}

static convoy_status read_header(gzFile file, const char *path, int dimensions, cvy_idx *idx) {
    uint8_t header[4 + 3 * 4];
    convoy_status status = read_exactly(file, path, header, 4);
    if (status)
        return status;
    if (memcmp(header,
               "\xfd"
               "7zX",
               4) == 0)
        return cvy_fail(CONVOY_INVALID, "%s: packed with xz, which is not read; unpack it: xz -d %s", path,
                        path);
    const unsigned type = dimensions == 2 ? TYPE_INT : TYPE_UNSIGNED_BYTE;
    if (header[0] || header[1] || header[2] != type || header[3] != dimensions)
        return cvy_fail(
            CONVOY_INVALID,
            "%s: not an IDX file of %s: it starts with %02x %02x %02x %02x instead of 00 00 %02x %02x", path,
            dimensions == 3 ? "images" : "labels", header[0], header[1], header[2], header[3], type,
            (unsigned)dimensions);
    status = read_exactly(file, path, header + 4, 4 * (size_t)dimensions);
    if (status)
        return status;
    idx->stored = big_endian(header + 4);
    idx->height = dimensions == 3 ? big_endian(header + 8) : 1;
    idx->width = dimensions == 3 ? big_endian(header + 12) : dimensions == 2 ? 4 * big_endian(header + 8) : 1;
    if (idx->stored == 0)
        return cvy_fail(CONVOY_INVALID, "%s: its header says that it holds no %s", path,
                        dimensions == 3 ? "images" : "labels");
    if (!idx->height || !idx->width || idx->height > LARGEST_SIDE || idx->width > LARGEST_SIDE)
        return cvy_fail(CONVOY_INVALID, "%s: its header says entries of %zu x %zu, which is out of range",
                        path, idx->height, idx->width);
    return CONVOY_OK;
}

/* Refuses a header that promises more than the file can hold, before memory is asked for. Neither product can
   overflow: sides have 16 bits and counts 32, together 64. */
static convoy_status check_size(gzFile file, const char *path, const cvy_idx *idx) {
    struct stat info;
    if (stat(path, &info) != 0)
        return cvy_fail(CONVOY_IO, "%s: %s", path, strerror(errno));
    size_t wanted = idx->stored * idx->height * idx->width;
    size_t most = (size_t)info.st_size * (gzdirect(file) ? 1 : LARGEST_RATIO);
    if (wanted > most)
        return cvy_fail(
            CONVOY_INVALID,
            "%s: truncated or damaged: its header says %zu entries of %zu x %zu bytes, but the file has "
            "only %lld bytes",
            path, idx->stored, idx->height, idx->width, (long long)info.st_size);
    return CONVOY_OK;
}

convoy_status cvy_idx_start(const char *path, int dimensions, cvy_idx_stream *stream) {
    convoy_status status = cvy_file_check_regular(path);
    *stream = (cvy_idx_stream){.path = path, .file = status ? NULL : gzopen(path, "rb")};
    if (!stream->file)
        return status ? status
                      : cvy_fail(CONVOY_IO, "%s: %s", path, errno ? strerror(errno) : "out of memory");
    gzbuffer(stream->file, 1 << 17);
    status = read_header(stream->file, path, dimensions, &stream->about);
    if (!status)
        status = check_size(stream->file, path, &stream->about);
    if (status)
        cvy_idx_end(stream);
    return status;
}

convoy_status cvy_idx_next(cvy_idx_stream *stream, size_t count, uint8_t *data) {
    const cvy_idx *about = &stream->about;
    convoy_status status =
        read_exactly(stream->file, stream->path, data, count * about->height * about->width);
    stream->done += count;
    return status || stream->done < about->stored ? status : check_end(stream->file, stream->path);
}

void cvy_idx_end(cvy_idx_stream *stream) {
    if (stream->file)
        gzclose(stream->file);
    stream->file = NULL;
}

convoy_status cvy_idx_read(const char *path, int dimensions, size_t limit, cvy_idx *idx) {
    cvy_idx_stream stream;
    memset(idx, 0, sizeof *idx);
    convoy_status status = cvy_idx_start(path, dimensions, &stream);
    if (status)
        return status;
    *idx = stream.about;
    idx->count = limit && limit < idx->stored ? limit : idx->stored;
    size_t bytes = idx->count * idx->height * idx->width;
    idx->data = cvy_machine_allocate(bytes, 1);
    status = idx->data ? cvy_idx_next(&stream, idx->count, idx->data) : cvy_fail_memory(path, bytes);
    cvy_idx_end(&stream);
    if (status) {
        free(idx->data);
        idx->data = NULL;
    }
    return status;
}

bool cvy_idx_is_images(const char *path) {
    static const uint8_t magic[4] = {0, 0, TYPE_UNSIGNED_BYTE, 3};
    uint8_t start[4];
    gzFile file = cvy_file_check_regular(path) ? NULL : gzopen(path, "rb");
    bool found = file && gzread(file, start, 4) == 4 && memcmp(start, magic, 4) == 0;
    if (file)
        gzclose(file);
    return found;
}
