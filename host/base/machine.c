/* Linux and glibc. */
#include "base/machine.h"

#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/integer.h"

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
