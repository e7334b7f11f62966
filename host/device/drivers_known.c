/* What is known about drivers from earlier processes: <cache folder>/drivers.txt. A line "convoy-drivers 1",
   then a line for each answer, its fields between tabs: key, verdict, when it was found (seconds since 1970),
   the library with its size and date of change, the reason. Written beside and renamed into place; of two
   processes that write at once one answer is lost and found again. Whatever is wrong with a file or a line
   only loses it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "convoy.h"
#include "device/drivers.h"

#define HEADER "convoy-drivers 1"
enum { FIELDS = 7, LINES_LIMIT = 256, FILE_LIMIT = 1 << 20, BAD_SECONDS = 3600 };

/* Of the variables that drivers and their loader read. */
static const char *const prefixes[] = {"OCL_",  "OPENCL_", "POCL_", "RUSTICL_", "MESA_", "GALLIUM_", "LP_",
                                       "CUDA_", "NVIDIA_", "GPU_",  "ROCR_",    "HSA_",  "HIP_",     "AMD_",
                                       "CL_",   "IGC_",    "ZE_",   "ONEAPI_",  "LD_",   NULL};

void cvy_driver_key(const char *const *words, char key[33]) {
    cvy_hash *hash = cvy_hash_create();
    cvy_hash_add_text(hash, CONVOY_VERSION);
    cvy_machine_describe(hash, prefixes);
    for (; *words; words++)
        cvy_hash_add_text(hash, *words);
    cvy_hash_finish(hash, key);
}

static char *file_path(void) {
    char *folder = cvy_cache_folder();
    char *path = folder && !cvy_folder_create(folder) ? cvy_path_join(folder, "drivers.txt") : NULL;
    free(folder);
    return path;
}

/* Its text, without the header; "" where there is none. malloc'ed. */
static char *read_lines(const char *path) {
    char *data = NULL;
    size_t size = 0;
    const size_t header = sizeof HEADER;
    if (!path || !cvy_file_exists(path) || cvy_file_read_own(path, FILE_LIMIT, &data, &size) ||
        strncmp(data, HEADER "\n", header) != 0) {
        free(data);
        return calloc(1, 1);
    }
    memmove(data, data + header, size - header + 1);
    return data;
}

/* Cuts a line up; false: it is damaged. */
static bool read_line(char *line, cvy_driver_answer *answer, long long *found, char stamp[64]) {
    char *fields[FIELDS];
    long long verdict;
    for (int i = 0; i < FIELDS; i++)
        if (!(fields[i] = strsep(&line, "\t")))
            return false;
    if (strlen(fields[0]) != 32 || !cvy_text_to_long(fields[1], &verdict) || verdict < CVY_DRIVER_GOOD ||
        verdict > CVY_DRIVER_DANGEROUS || !cvy_text_to_long(fields[2], found))
        return false;
    answer->verdict = (cvy_driver_verdict)verdict;
    snprintf(answer->key, sizeof answer->key, "%s", fields[0]);
    snprintf(answer->library, sizeof answer->library, "%s", fields[3]);
    snprintf(stamp, 64, "%s\t%s", fields[4], fields[5]);
    snprintf(answer->reason, sizeof answer->reason, "%s", fields[6]);
    return true;
}

static void stamp_of(const char *library, char stamp[64]) {
    long long size = 0, changed = 0;
    if (*library)
        cvy_file_stamp(library, &size, &changed);
    snprintf(stamp, 64, "%lld\t%lld", size, changed);
}

static bool holds(const cvy_driver_answer *answer, long long found, const char *stamp) {
    char now[64];
    const long long age = (long long)time(NULL) - found;
    stamp_of(answer->library, now);
    return strcmp(now, stamp) == 0 && (answer->verdict == CVY_DRIVER_GOOD || (age >= 0 && age < BAD_SECONDS));
}

bool cvy_driver_recall(const char *key, cvy_driver_answer *answer) {
    char *path = file_path(), *lines = read_lines(path), *rest = lines, *line, stamp[64];
    long long found;
    bool known = false;
    while (!known && rest && (line = strsep(&rest, "\n")))
        known = strncmp(line, key, 32) == 0 && read_line(line, answer, &found, stamp) &&
                holds(answer, found, stamp);
    free(lines);
    free(path);
    return known;
}

/* Tabs and line ends would end a field. */
static void add_field(cvy_text *text, const char *word) {
    const size_t from = text->length;
    cvy_text_add(text, "%s", word);
    for (size_t i = from; i < text->length; i++)
        if ((unsigned char)text->data[i] < ' ')
            text->data[i] = ' ';
}

void cvy_driver_remember(const cvy_driver_answer *answer) {
    const int lock = cvy_cache_lock("drivers.lock");
    char *path = file_path(), *lines = read_lines(path), *rest = lines, *line, stamp[64];
    cvy_text text = {0};
    stamp_of(answer->library, stamp);
    cvy_text_add(&text, HEADER "\n%s\t%d\t%lld\t", answer->key, (int)answer->verdict, (long long)time(NULL));
    add_field(&text, answer->library);
    cvy_text_add(&text, "\t%s\t", stamp);
    add_field(&text, answer->reason);
    cvy_text_add(&text, "\n");
    for (int i = 1; i < LINES_LIMIT && rest && (line = strsep(&rest, "\n"));)
        if (*line && strncmp(line, answer->key, 32) != 0) {
            cvy_text_add(&text, "%s\n", line);
            i++;
        }
    if (path && cvy_file_write(path, text.data, text.length))
        cvy_debug("what was found out about drivers is not kept: %s", convoy_error_message());
    cvy_text_free(&text);
    free(lines);
    free(path);
    cvy_cache_unlock(lock);
}

void cvy_driver_forget_all(void) {
    char *path = file_path();
    if (path)
        remove(path);
    free(path);
}
