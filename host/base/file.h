/* Files: whole reads, atomic writes (a kill at any instant leaves the old file or the new one), paths. */
#ifndef CVY_BASE_FILE_H
#define CVY_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

/* Reads a file; *data is malloc'ed and has a NUL after its last byte (not counted in *size). Fails with
   CONVOY_IO when it cannot be read, and with CONVOY_INVALID when it is larger than `limit` bytes. */
convoy_status cvy_file_read(const char *path, size_t limit, char **data, size_t *size);

/* The same of regular files alone, links to them included: where many files are read because they lie in some
   folder, a pipe is not waited for. A folder is CONVOY_IO, a pipe or a
   device CONVOY_INVALID. */
convoy_status cvy_file_read_regular(const char *path, size_t limit, char **data, size_t *size);
/* The same of a regular file that belongs to this user or to root and that not everybody may write to: what
   is kept in a cache is believed, and a cache folder may lie where others write. CONVOY_INVALID: it is not.
 */
convoy_status cvy_file_read_own(const char *path, size_t limit, char **data, size_t *size);
/* Is it one? For those who open it by other means. CONVOY_IO: it cannot be asked. */
convoy_status cvy_file_check_regular(const char *path);

/* An atomic write: everything goes to `<path>.<pid>-<n>.tmp` beside the target; commit fsyncs and renames it
   into place (and fsyncs the folder). A full disk or any other failure surfaces as CONVOY_IO and removes the
   temporary file. Exactly one of commit and abandon ends it. */
typedef struct cvy_writer cvy_writer;
convoy_status cvy_writer_open(const char *path, cvy_writer **writer);
convoy_status cvy_writer_write(cvy_writer *writer, const void *data, size_t size);
convoy_status cvy_writer_commit(cvy_writer *writer);
void cvy_writer_abandon(cvy_writer *writer);

/* Could it be written? Nothing is left behind. For those who work long before they write. */
convoy_status cvy_file_check_output(const char *path);
/* Two names of one file that is there? */
bool cvy_file_same(const char *path, const char *other);

/* cvy_writer_open + write + commit. */
convoy_status cvy_file_write(const char *path, const void *data, size_t size);

/* Adds to the end of a file and fsyncs it; the file is created where it is missing. A failure leaves it as it
   was; a kill in the middle may leave the beginning of `data`. */
convoy_status cvy_file_append(const char *path, const void *data, size_t size);

/* mkdir -p. */
convoy_status cvy_folder_create(const char *path);
/* Could it be made, with what is missing on the way to it? CONVOY_IO: no. */
convoy_status cvy_folder_check(const char *path);
bool cvy_file_exists(const char *path);
bool cvy_folder_exists(const char *path);
/* Bytes, and nanoseconds since 1970 of the last change; false, and 0 both, where it cannot be asked. */
bool cvy_file_stamp(const char *path, long long *size, long long *changed);

/* Claims a folder until the process ends or the lock is given back (-1: none): CONVOY_INVALID where somebody
   has it. *lock is -1 where the file system knows no locks. Nothing is left behind. */
convoy_status cvy_folder_lock(const char *path, int *lock);
void cvy_folder_unlock(int lock);

/* "<folder>/<name>" in malloc'ed memory. */
char *cvy_path_join(const char *folder, const char *name);

/* The per-user cache folder: $CONVOY_CACHE_DIR, else $XDG_CACHE_HOME/convoy, else $HOME/.cache/convoy;
   malloc'ed, NULL where none of the three is set. Not created. */
char *cvy_cache_folder(void);
/* One process changes a file of the cache folder at a time, which holds <cache folder>/<name> meanwhile.
   Where no lock is to be had (a folder that cannot be written to, a process stopped while it holds the lock),
   -1 or an unlocked descriptor lets the caller go on without: at worst another process's records are lost. */
int cvy_cache_lock(const char *name);
void cvy_cache_unlock(int lock);

/* Names in a folder, sorted bytewise, without "." and ".."; free each and the array with cvy_names_free. */
convoy_status cvy_folder_list(const char *path, char ***names, size_t *count);
void cvy_names_free(char **names, size_t count);

/* Seconds on a monotonic clock. */
double cvy_seconds(void);
/* Processor time of this thread, in seconds. */
double cvy_thread_seconds(void);

#endif
