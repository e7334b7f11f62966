/* Whole-file reads, atomic writes, folders and paths, on POSIX calls. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char *copy_text(const char *text) {
    char *copy = strdup(text);
    if (!copy)
        cvy_abort_memory();
    return copy;
}

static convoy_status fail_errno(const char *action, const char *path) {
    int code = errno;
    const char *hint = "";
    if (code == ENOSPC || code == EDQUOT)
        hint = "; free some space or choose another folder";
    else if (code == EFBIG)
        hint = "; raise the file size limit (ulimit -f)";
    return cvy_fail(CONVOY_IO, "cannot %s '%s': %s%s", action, path, strerror(code), hint);
}

/* ---- reading ---- */

/* Reads until the end of the file, or one byte past `limit`; regular files, pipes and /proc alike. */
static convoy_status read_all(int fd, const char *path, size_t limit, size_t expected, char **data,
                              size_t *size) {
    size_t capacity = expected + 1, used = 0;
    char *bytes = malloc(capacity + 1);
    if (!bytes)
        return cvy_fail_memory(path, capacity);
    for (;;) {
        if (used == capacity) {
            size_t larger = capacity < 4096 ? 4096 : capacity + capacity / 2;
            char *grown = realloc(bytes, larger + 1);
            if (!grown) {
                free(bytes);
                return cvy_fail_memory(path, larger);
            }
            bytes = grown;
            capacity = larger;
        }
        ssize_t got = read(fd, bytes + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            convoy_status status = fail_errno("read", path);
            free(bytes);
            return status;
        }
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > limit) {
            free(bytes);
            return cvy_fail(CONVOY_INVALID, "'%s' is larger than the %zu bytes that are allowed", path,
                            limit);
        }
    }
    bytes[used] = '\0';
    *data = bytes;
    *size = used;
    return CONVOY_OK;
}

static convoy_status check_regular(const char *path, mode_t mode) {
    if (S_ISREG(mode))
        return CONVOY_OK;
    return cvy_fail(S_ISDIR(mode) ? CONVOY_IO : CONVOY_INVALID, "cannot read '%s': it is %s, not a file",
                    path,
                    S_ISDIR(mode)    ? "a folder"
                    : S_ISFIFO(mode) ? "a pipe"
                    : S_ISSOCK(mode) ? "a socket"
                                     : "a device");
}

convoy_status cvy_file_check_regular(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? check_regular(path, info.st_mode) : fail_errno("open", path);
}

convoy_status cvy_file_read_regular(const char *path, size_t limit, char **data, size_t *size) {
    convoy_status status = cvy_file_check_regular(path);
    return status ? status : cvy_file_read(path, limit, data, size);
}

static convoy_status check_own(const char *path, const struct stat *info) {
    if (S_ISREG(info->st_mode) && (info->st_uid == geteuid() || info->st_uid == 0) &&
        !(info->st_mode & S_IWOTH))
        return CONVOY_OK;
    return cvy_fail(
        CONVOY_INVALID,
        "'%s' is not read: only a file of this user or of root, which not everybody may write to, "
        "is trusted there",
        path);
}

/* A file that must be this user's own is opened without waiting: it may be a pipe. */
static convoy_status read_file(const char *path, bool own, size_t limit, char **data, size_t *size) {
    convoy_status status = CONVOY_OK;
    struct stat info;
    size_t expected = 0;
    int fd;
    do {
        fd = open(path, O_RDONLY | O_CLOEXEC | (own ? O_NONBLOCK : 0));
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return fail_errno("open", path);
    if (fstat(fd, &info) != 0) {
        status = fail_errno("read", path);
        goto done;
    }
    if (own && (status = check_own(path, &info)))
        goto done;
    if (S_ISDIR(info.st_mode)) {
        status = cvy_fail(CONVOY_IO, "cannot read '%s': it is a folder, not a file", path);
        goto done;
    }
    if (S_ISREG(info.st_mode)) {
        if ((uintmax_t)info.st_size > limit) {
            status = cvy_fail(CONVOY_INVALID, "'%s' has %jd bytes, at most %zu are allowed", path,
                              (intmax_t)info.st_size, limit);
            goto done;
        }
        expected = (size_t)info.st_size;
    }
    status = read_all(fd, path, limit, expected, data, size);
done:
    close(fd);
    return status;
}

convoy_status cvy_file_read(const char *path, size_t limit, char **data, size_t *size) {
    return read_file(path, false, limit, data, size);
}

convoy_status cvy_file_read_own(const char *path, size_t limit, char **data, size_t *size) {
    return read_file(path, true, limit, data, size);
}

/* ---- atomic writing ---- */

enum { WRITE_BUFFER = 64 * 1024 };

struct cvy_writer {
    int fd;     /* -1 once it failed: the temporary file is gone then */
    int error;  /* errno of the first failure, 0 */
    char *path; /* the target, symbolic links resolved */
    char *temporary;
    size_t used; /* bytes of `buffer` that are not written yet */
    char buffer[WRITE_BUFFER];
};

static void free_writer(cvy_writer *writer) {
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

/* Finds what the rename would replace: a link's target, not the link, and only a regular file (never
 * /dev/null). */
static convoy_status resolve_target(const char *path, char **target, mode_t *mode) {
    struct stat info;
    *mode = 0666;
    *target = NULL;
    if (lstat(path, &info) != 0) {
        if (errno != ENOENT)
            return fail_errno("write", path);
        *target = copy_text(path);
        return CONVOY_OK;
    }
    if (S_ISLNK(info.st_mode)) {
        *target = realpath(path, NULL);
        if (!*target || stat(*target, &info) != 0) {
            convoy_status status = fail_errno("follow the symbolic link", path);
            free(*target);
            *target = NULL;
            return status;
        }
    } else {
        *target = copy_text(path);
    }
    if (!S_ISREG(info.st_mode)) {
        free(*target);
        *target = NULL;
        return cvy_fail(CONVOY_IO, "cannot write '%s': %s; name a file", path,
                        S_ISDIR(info.st_mode) ? "it is a folder" : "it is not a regular file");
    }
    *mode = info.st_mode & 0777;
    return CONVOY_OK;
}

/* Creates "<path>.<pid>-<n>.tmp". A name that exists is a leftover of a killed process with our pid: the next
 * n. */
static int create_temporary(const char *path, mode_t mode, char **name) {
    static atomic_uint serial;
    size_t length = strlen(path) + 48;
    char *temporary = malloc(length);
    if (!temporary)
        cvy_abort_memory();
    int fd;
    do {
        unsigned n = atomic_fetch_add(&serial, 1);
        snprintf(temporary, length, "%s.%ld-%u.tmp", path, (long)getpid(), n);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    } while (fd < 0 && (errno == EEXIST || errno == EINTR));
    *name = temporary;
    return fd;
}

convoy_status cvy_writer_open(const char *path, cvy_writer **writer) {
    *writer = NULL;
    cvy_writer *w = calloc(1, sizeof *w);
    if (!w)
        return cvy_fail_memory(path, sizeof *w);
    mode_t mode;
    convoy_status status = resolve_target(path, &w->path, &mode);
    if (status) {
        free_writer(w);
        return status;
    }
    w->fd = create_temporary(w->path, mode, &w->temporary);
    if (w->fd < 0) {
        status = fail_errno("create", w->path);
        free_writer(w);
        return status;
    }
    *writer = w;
    return CONVOY_OK;
}

/* The first failure ends the file: nothing of it stays on a disk that may be full. */
static convoy_status writer_failed(cvy_writer *writer, int error) {
    if (!writer->error)
        writer->error = error;
    if (writer->fd >= 0) {
        close(writer->fd);
        writer->fd = -1;
    }
    unlink(writer->temporary);
    errno = writer->error;
    return fail_errno("write", writer->path);
}

/* 0, or errno. */
static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        const ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

static convoy_status write_fully(cvy_writer *writer, const char *data, size_t size) {
    const int error = write_all(writer->fd, data, size);
    return error ? writer_failed(writer, error) : CONVOY_OK;
}

static convoy_status flush_buffer(cvy_writer *writer) {
    size_t size = writer->used;
    writer->used = 0;
    return write_fully(writer, writer->buffer, size);
}

convoy_status cvy_writer_write(cvy_writer *writer, const void *data, size_t size) {
    if (writer->error)
        return writer_failed(writer, writer->error);
    if (size > WRITE_BUFFER - writer->used) {
        convoy_status status = flush_buffer(writer);
        if (status)
            return status;
    }
    if (size > WRITE_BUFFER)
        return write_fully(writer, data, size);
    if (size > 0) {
        memcpy(writer->buffer + writer->used, data, size);
        writer->used += size;
    }
    return CONVOY_OK;
}

static int sync_file(int fd) {
    int result;
    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    return result;
}

/* Makes the rename itself durable. Some file systems cannot sync a folder: nothing more can be done there. */
static int sync_parent(const char *path) {
    char *folder = copy_text(path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0)
        return errno == EACCES ? 0 : -1; /* a folder that may be written but not read */
    int result = sync_file(fd);
    if (result != 0 && (errno == EINVAL || errno == ENOTSUP))
        result = 0;
    int code = errno;
    close(fd);
    errno = code;
    return result;
}

convoy_status cvy_writer_commit(cvy_writer *writer) {
    convoy_status status = CONVOY_OK;
    if (writer->error) {
        status = writer_failed(writer, writer->error);
        goto done;
    }
    status = flush_buffer(writer);
    if (status)
        goto done;
    if (sync_file(writer->fd) != 0) {
        status = writer_failed(writer, errno);
        goto done;
    }
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0 &&
        errno != EINTR) { /* after EINTR the descriptor is closed all the same, and was synced */
        status = writer_failed(writer, errno);
        goto done;
    }
    if (rename(writer->temporary, writer->path) != 0) {
        status = writer_failed(writer, errno);
        goto done;
    }
    if (sync_parent(writer->path) != 0)
        status = fail_errno("sync the folder of", writer->path);
done:
    free_writer(writer);
    return status;
}

void cvy_writer_abandon(cvy_writer *writer) {
    if (!writer)
        return;
    if (writer->fd >= 0) {
        close(writer->fd);
        unlink(writer->temporary);
    }
    free_writer(writer);
}

convoy_status cvy_file_check_output(const char *path) {
    cvy_writer *writer;
    convoy_status status = cvy_writer_open(path, &writer);
    if (!status)
        cvy_writer_abandon(writer);
    return status;
}

convoy_status cvy_file_write(const char *path, const void *data, size_t size) {
    cvy_writer *writer;
    convoy_status status = cvy_writer_open(path, &writer);
    if (status)
        return status;
    status = cvy_writer_write(writer, data, size);
    if (status) {
        cvy_writer_abandon(writer);
        return status;
    }
    return cvy_writer_commit(writer);
}

convoy_status cvy_file_append(const char *path, const void *data, size_t size) {
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_errno("write", path);
    const off_t before = lseek(fd, 0, SEEK_END);
    int error = before < 0 ? errno : write_all(fd, data, size);
    if (!error && sync_file(fd) != 0)
        error = errno;
    /* Where even this fails, part of `data` stays: as after a kill. */
    if (error && before >= 0 && ftruncate(fd, before) == 0)
        sync_file(fd);
    close(fd);
    errno = error;
    return error ? fail_errno("write", path) : CONVOY_OK;
}

/* ---- folders and paths ---- */

bool cvy_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool cvy_folder_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool cvy_file_stamp(const char *path, long long *size, long long *changed) {
    struct stat info;
    const bool known = stat(path, &info) == 0;
    *size = known ? (long long)info.st_size : 0;
    *changed = known ? (long long)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec : 0;
    return known;
}

bool cvy_file_same(const char *path, const char *other) {
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static convoy_status create_one_folder(const char *path) {
    if (mkdir(path, 0777) == 0)
        return CONVOY_OK;
    int code = errno;
    if (cvy_folder_exists(path))
        return CONVOY_OK; /* it was there, or another process was faster */
    errno = code;
    if (code == EEXIST)
        return cvy_fail(CONVOY_IO, "cannot create folder '%s': a file has that name", path);
    return fail_errno("create folder", path);
}

convoy_status cvy_folder_create(const char *path) {
    convoy_status status = CONVOY_OK;
    char *part = copy_text(path);
    for (char *slash = strchr(part + (part[0] == '/'), '/'); slash && !status;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (!cvy_folder_exists(part))
            status = create_one_folder(part);
        *slash = '/';
    }
    if (!status)
        status = create_one_folder(part);
    free(part);
    return status;
}

convoy_status cvy_folder_check(const char *path) {
    char *part = copy_text(path);
    convoy_status status = CONVOY_OK;
    struct stat info;
    while (*part && lstat(part, &info) != 0 &&
           (errno == ENOENT || errno == ENOTDIR)) { /* up to what is there */
        char *slash = strrchr(part, '/');
        *(slash ? slash + (slash == part && slash[1]) : part) = '\0';
    }
    const char *there = *part ? part : ".";
    if (!cvy_folder_exists(there))
        status = cvy_fail(CONVOY_IO, "cannot create folder '%s': '%s' is no folder", path, there);
    else if (access(there, W_OK | X_OK) != 0)
        status = fail_errno("write into", there);
    free(part);
    return status;
}

convoy_status cvy_folder_lock(const char *path, int *lock) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *lock = -1;
    if (fd < 0)
        return fail_errno("open folder", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *lock = fd;
        return CONVOY_OK;
    }
    const bool taken = errno == EWOULDBLOCK;
    close(fd);
    return taken ? cvy_fail(CONVOY_INVALID,
                            "another run is at work in %s: wait for its end, or choose another "
                            "folder",
                            path)
                 : CONVOY_OK;
}

void cvy_folder_unlock(int lock) {
    if (lock >= 0)
        close(lock);
}

char *cvy_path_join(const char *folder, const char *name) {
    size_t length = strlen(folder), size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (!path)
        cvy_abort_memory();
    const char *separator = length == 0 || folder[length - 1] == '/' ? "" : "/";
    snprintf(path, size, "%s%s%s", folder, separator, name);
    return path;
}

char *cvy_cache_folder(void) {
    const char *own = getenv("CONVOY_CACHE_DIR");
    if (own && *own)
        return copy_text(own);
    const char *cache = getenv("XDG_CACHE_HOME");
    if (cache && *cache == '/') /* the XDG specification: a relative path there is to be ignored */
        return cvy_path_join(cache, "convoy");
    const char *home = getenv("HOME");
    return home && *home ? cvy_path_join(home, ".cache/convoy") : NULL;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

convoy_status cvy_folder_list(const char *path, char ***names, size_t *count) {
    DIR *folder = opendir(path);
    if (!folder)
        return fail_errno("list folder", path);
    convoy_status status = CONVOY_OK;
    char **list = NULL;
    size_t used = 0, capacity = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (used == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            char **grown = realloc(list, capacity * sizeof *list);
            if (!grown) {
                status = cvy_fail_memory(path, capacity * sizeof *list);
                goto done;
            }
            list = grown;
        }
        list[used] = strdup(entry->d_name);
        if (!list[used]) {
            status = cvy_fail_memory(path, strlen(entry->d_name));
            goto done;
        }
        used++;
    }
    if (errno) {
        status = fail_errno("list folder", path);
        goto done;
    }
    if (used > 0)
        qsort(list, used, sizeof *list, compare_names);
    *names = list;
    *count = used;
done:
    if (status)
        cvy_names_free(list, used);
    closedir(folder);
    return status;
}

void cvy_names_free(char **names, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

enum { LOCK_TRIES = 1000 }; /* 10 ms apart: a holder writes one file, but a disk may be busy */

int cvy_cache_lock(const char *name) {
    const struct timespec pause = {0, 10000000};
    char *folder = cvy_cache_folder(), *path = folder ? cvy_path_join(folder, name) : NULL;
    int lock = -1;
    if (folder && !cvy_folder_create(folder))
        lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    for (int i = 0; lock >= 0 && i < LOCK_TRIES && flock(lock, LOCK_EX | LOCK_NB) != 0; i++)
        nanosleep(&pause, NULL);
    free(folder);
    free(path);
    return lock;
}

void cvy_cache_unlock(int lock) {
    if (lock >= 0)
        close(lock);
}

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double cvy_seconds(void) {
    return seconds_of(CLOCK_MONOTONIC);
}

double cvy_thread_seconds(void) {
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}
