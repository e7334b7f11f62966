/* Bytes in an archive of NumPy's savez: a zip file of one .npy, which is a header of text and the values
   (NumPy's manual, "numpy.lib.format"). */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "data/idx.h"

#ifdef CONVOY_LIBZIP
#include <zip.h>

enum {
    MAGIC = 8,             /* with the version */
    LONGEST_HEADER = 4096, /* NumPy's takes 118 bytes */
    LARGEST_SIDE = 65535,
    LARGEST_RATIO = 1032, /* as in idx.c */
};

typedef struct reader {
    const char *path;
    zip_t *archive;
    zip_file_t *entry;
    zip_stat_t about;
    char header[LONGEST_HEADER + 1];
    size_t begin; /* of the values */
} reader;

static convoy_status bad(const reader *r, const char *reason) {
    return cvy_fail(CONVOY_INVALID, "%s: damaged, or not an archive of NumPy's savez of one array: %s",
                    r->path, reason);
}

static bool take(reader *r, void *to, size_t size) {
    size_t done = 0;
    while (done < size) {
        const zip_int64_t got = zip_fread(r->entry, (char *)to + done, size - done);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static convoy_status open_entry(reader *r) {
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    int code = 0;
    convoy_status status = cvy_file_check_regular(r->path);
    if (status)
        return status;
    r->archive = zip_open(r->path, ZIP_RDONLY, &code);
    if (!r->archive) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        status = bad(r, zip_error_strerror(&error));
        zip_error_fini(&error);
        return status;
    }
    if (zip_get_num_entries(r->archive, 0) != 1 || zip_stat_index(r->archive, 0, 0, &r->about) != 0 ||
        (r->about.valid & needed) != needed)
        return bad(r, "it does not hold one entry");
    const size_t length = strlen(r->about.name);
    if (length < 4 || strcmp(r->about.name + length - 4, ".npy") != 0)
        return bad(r, "its entry is not called .npy");
    r->entry = zip_fopen_index(r->archive, 0, 0);
    return r->entry ? CONVOY_OK : bad(r, zip_strerror(r->archive));
}

static convoy_status read_header(reader *r) {
    uint8_t start[MAGIC + 4] = {0};
    if (!take(r, start, MAGIC + 2) || memcmp(start, "\x93NUMPY", 6) != 0)
        return bad(r, "its entry is not a .npy file");
    const bool wide = start[6] > 1; /* since version 2 the length has four bytes */
    if (wide && !take(r, start + MAGIC + 2, 2))
        return bad(r, "it is cut short");
    const size_t length = (size_t)start[MAGIC] | (size_t)start[MAGIC + 1] << 8 |
                          (size_t)start[MAGIC + 2] << 16 | (size_t)start[MAGIC + 3] << 24;
    if (length > LONGEST_HEADER || !take(r, r->header, length))
        return bad(r, "its header is cut short, or far too long");
    r->header[length] = '\0';
    r->begin = MAGIC + (wide ? 4 : 2) + length;
    return CONVOY_OK;
}

/* What stands behind a key of the header, which is a Python dictionary; "": it is not there. */
static const char *find_value(const reader *r, const char *key) {
    const char *at = strstr(r->header, key);
    if (!at)
        return "";
    at += strlen(key);
    return at + strspn(at, " ");
}

/* Any number of sizes, of which the first three are kept. */
static size_t read_shape(const char *at, size_t sizes[3]) {
    size_t count = 0;
    at += *at == '(';
    while (*at >= '0' && *at <= '9') {
        char *end;
        const unsigned long long size = strtoull(at, &end, 10);
        if (count < 3)
            sizes[count] = size <= UINT32_MAX ? (size_t)size : SIZE_MAX;
        count++;
        at = end + strspn(end, ", ");
    }
    return *at == ')' ? count : 0;
}

/* Refuses what is not there, before memory is asked for. */
static convoy_status understand(reader *r, int dimensions, cvy_idx *idx) {
    size_t sizes[3] = {1, 1, 1};
    const char *type = find_value(r, "'descr':");
    if (strncmp(type, "'|u1'", 5) != 0)
        return cvy_fail(CONVOY_INVALID, "%s: numbers of type %.*s; '|u1' (bytes: numpy.uint8) are read",
                        r->path, (int)strcspn(type, ",}"), type);
    if (strncmp(find_value(r, "'fortran_order':"), "False", 5) != 0)
        return bad(r, "its array is not in the order of C");
    if (read_shape(find_value(r, "'shape':"), sizes) != (size_t)dimensions)
        return cvy_fail(CONVOY_INVALID, "%s: an array of shape %.40s instead of %s", r->path,
                        find_value(r, "'shape':"), dimensions == 3 ? "(images, height, width)" : "(labels,)");
    if (!sizes[0] || !sizes[1] || !sizes[2] || sizes[0] > UINT32_MAX || sizes[1] > LARGEST_SIDE ||
        sizes[2] > LARGEST_SIDE)
        return bad(r, "its sizes are out of range");
    const uint64_t values = (uint64_t)sizes[0] * sizes[1] * sizes[2];
    if (r->about.size < r->begin || r->about.size - r->begin != values ||
        r->about.size / LARGEST_RATIO > r->about.comp_size)
        return bad(r, "its header tells another size than it has");
    *idx = (cvy_idx){.stored = sizes[0], .height = sizes[1], .width = sizes[2]};
    return CONVOY_OK;
}

/* Reading on to the end also makes libzip check the CRC. */
static convoy_status read_values(reader *r, size_t limit, cvy_idx *idx) {
    idx->count = limit && limit < idx->stored ? limit : idx->stored;
    const size_t bytes = idx->count * idx->height * idx->width;
    char more;
    idx->data = cvy_machine_allocate(bytes, 1);
    if (!idx->data)
        return cvy_fail_memory(r->path, bytes);
    if (!take(r, idx->data, bytes) || (idx->count == idx->stored && zip_fread(r->entry, &more, 1) != 0))
        return bad(r, zip_file_strerror(r->entry));
    return CONVOY_OK;
}

convoy_status cvy_npz_read(const char *path, int dimensions, size_t limit, cvy_idx *idx) {
    reader r;
    memset(&r, 0, sizeof r);
    memset(idx, 0, sizeof *idx);
    r.path = path;
    convoy_status status = open_entry(&r);
    if (!status)
        status = read_header(&r);
    if (!status)
        status = understand(&r, dimensions, idx);
    if (!status)
        status = read_values(&r, limit, idx);
    if (r.entry)
        zip_fclose(r.entry);
    if (r.archive)
        zip_discard(r.archive);
    if (status) {
        free(idx->data);
        idx->data = NULL;
    }
    return status;
}

#else

convoy_status cvy_npz_read(const char *path, int dimensions, size_t limit, cvy_idx *idx) {
    (void)dimensions;
    (void)limit;
    memset(idx, 0, sizeof *idx);
    return cvy_fail(
        CONVOY_INVALID,
        "%s: an archive of NumPy's savez, which this build does not read, as libzip was missing when "
        "it was configured (Debian's libzip-dev)",
        path);
}

#endif
