/* The helper's side of checking drivers: everything here may crash or hang. */
#include <CL/cl_ext.h> /* clIcdGetPlatformIDsKHR_fn, CL_PLATFORM_NOT_FOUND_KHR */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "device/drivers.h"
#include "device/opencl.h"

static void say_step(void *parent, const char *step) {
    cvy_child_say(parent, "step\t%s", step);
}

/* The first line of the .icd file. */
static convoy_status read_icd(const char *file, char name[512]) {
    char *data = NULL;
    size_t size = 0;
    convoy_status status = cvy_file_read_regular(file, 4096, &data, &size);
    if (!status) {
        data[strcspn(data, "\r\n")] = '\0';
        snprintf(name, 512, "%s", data);
        if (!*name)
            status = cvy_fail(CONVOY_DEVICE, "it names no library");
    }
    free(data);
    return status;
}

/* What the loader does without a word where it fails. */
static convoy_status try_library(cvy_child *parent, const char *file) {
    char name[512], step[600];
    struct link_map *map = NULL;
    cl_uint count = 0;
    convoy_status status = read_icd(file, name);
    if (status)
        return status;
    snprintf(step, sizeof step, "loading %s", name);
    say_step(parent, step);
    void *library = dlopen(name, RTLD_NOW);
    if (!library)
        return cvy_fail(CONVOY_DEVICE, "its library cannot be loaded: %s", dlerror());
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0]) {
        char *path = realpath(map->l_name, NULL);
        cvy_child_say(parent, "library\t%s", path ? path : map->l_name);
        free(path);
    }
    void *(*get)(const char *) = NULL;
    clIcdGetPlatformIDsKHR_fn list = NULL;
    *(void **)&get = dlsym(library, "clGetExtensionFunctionAddress");
    if (get)
        *(void **)&list = get("clIcdGetPlatformIDsKHR");
    if (!list)
        *(void **)&list = dlsym(library, "clIcdGetPlatformIDsKHR");
    if (!list)
        return cvy_fail(CONVOY_DEVICE, "%s is no OpenCL driver: it has no clIcdGetPlatformIDsKHR", name);
    say_step(parent, "clIcdGetPlatformIDsKHR");
    const cl_int code = list(0, NULL, &count);
    if (code != CL_SUCCESS && code != CL_PLATFORM_NOT_FOUND_KHR)
        return cvy_fail_opencl(code, "clIcdGetPlatformIDsKHR fails");
    return count ? CONVOY_OK : cvy_fail(CONVOY_DEVICE, "clIcdGetPlatformIDsKHR finds no platform");
}

convoy_status cvy_driver_serve_list(cvy_child *parent, char *const *arguments) {
    cvy_candidate *list = NULL;
    size_t count = 0;
    convoy_status status = arguments[0] && *arguments[0] ? try_library(parent, arguments[0]) : CONVOY_OK;
    if (!status)
        status = cvy_list_devices(&(cvy_listener){say_step, parent}, &list, &count);
    if (!status)
        cvy_child_say(parent, "good");
    free(list);
    return status;
}

/* What this process has opened to try it stays open: the driver need not load its compiler's library of
   functions, half a second on PoCL, a second time for the next task. */
static convoy_device *opened;

convoy_device *cvy_driver_take_device(void) {
    convoy_device *taken = opened;
    opened = NULL;
    return taken;
}

convoy_status cvy_driver_serve_open(cvy_child *parent, char *const *arguments) {
    cvy_candidate *list = NULL;
    size_t count = 0, i = 0;
    const cvy_listener listener = {say_step, parent};
    convoy_status status = cvy_list_devices(&listener, &list, &count);
    while (!status && i < count &&
           (strcmp(list[i].info.id, arguments[0]) != 0 || strcmp(list[i].info.name, arguments[1]) != 0))
        i++;
    if (!status)
        status = i < count ? cvy_open_candidate(&list[i], &listener, &opened)
                           : cvy_fail(CONVOY_DEVICE, "device %s is not %s", arguments[0], arguments[1]);
    if (!status) {
        say_step(parent, "clFinish");
        status = cvy_device_finish(opened);
    }
    if (!status)
        cvy_child_say(parent, "good");
    free(list);
    return status;
}
