/* Linux and glibc. */
#include "base/machine.h"

#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/integer.h"

extern char **environ;

size_t cvy_machine_memory(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX / 2;
}

void *cvy_machine_allocate(size_t count, size_t size) {
    const size_t bytes = mul_size(count, size);
    return bytes > cvy_machine_memory() ? NULL : calloc(bytes ? bytes : 1, 1);
}

int cvy_machine_cores(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        return CPU_COUNT(&allowed);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN); /* more than the set can name */
    return cores > 0 ? (int)cores : 1;
}

char *cvy_machine_code_path(void) {
    static const char here = 0;
    struct link_map *map = NULL;
    Dl_info info;
    /* The program itself has no name in the linker's list. */
    if (!dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_name[0])
        return realpath("/proc/self/exe", NULL);
    return realpath(map->l_name, NULL);
}

char *cvy_machine_find(const char *name, cvy_text *tried) {
    static const char *const places[] = {".", "../libexec/convoy", "../../libexec/convoy"};
    char *folder = cvy_machine_code_path(), *found = NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        *slash = '\0';
    for (size_t i = 0; slash && !found && i < sizeof places / sizeof *places; i++) {
        char *place = i ? cvy_path_join(folder, places[i]) : strdup(folder);
        char *path = place ? cvy_path_join(place, name) : NULL;
        cvy_text_add(tried, "%s%s", i ? ", " : "", path ? path : name);
        if (path && access(path, R_OK) == 0)
            found = path;
        else
            free(path);
        free(place);
    }
    free(folder);
    return found;
}

void *cvy_machine_load(const char *path, const char *symbol, char *failure, size_t room) {
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL), *found = library ? dlsym(library, symbol) : NULL;
    if (!found)
        snprintf(failure, room, "%s", dlerror());
    return found;
}

void cvy_machine_name(char *name, size_t room) {
    if (gethostname(name, room) != 0)
        snprintf(name, room, "localhost");
    name[room - 1] = '\0';
}

void cvy_machine_pause(double seconds) {
    const struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    if (seconds > 0)
        nanosleep(&pause, NULL);
    else
        sched_yield();
}

static bool has_prefix(const char *word, const char *const *prefixes) {
    for (; *prefixes; prefixes++)
        if (strncmp(word, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

void cvy_machine_describe(cvy_hash *hash, const char *const *prefixes) {
    static const char *const folders[] = {"/sys/devices/system", "/proc/self", "/dev/dri", "/dev/nvidia0",
                                          "/dev/kfd"};
    char start[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file && !fgets(start, sizeof start, file))
        start[0] = '\0';
    if (file)
        fclose(file);
    cvy_hash_add_text(hash, start);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        cvy_hash_add_text(hash, access(folders[i], R_OK) == 0 ? "1" : "0");
    for (char **variable = environ; variable && *variable; variable++)
        if (has_prefix(*variable, prefixes))
            cvy_hash_add_text(hash, *variable);
}
