/* Which compute devices the machine has, and which of them `auto` takes. */
#include <CL/cl_ext.h> /* CL_PLATFORM_NOT_FOUND_KHR */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/log.h"
#include "base/machine.h"
#include "device/drivers.h"
#include "device/opencl.h"

/* OpenCL strings come with no promise of termination or tidiness. */
static void get_text(cl_int (*get)(void *, cl_uint, size_t, void *, size_t *), void *object, cl_uint name,
                     char *out, size_t size) {
    size_t length = 0;
    char *text = NULL;
    out[0] = 0;
    if (get(object, name, 0, NULL, &length) != CL_SUCCESS || length == 0 || !(text = calloc(1, length + 1)))
        return;
    if (get(object, name, length, text, NULL) == CL_SUCCESS) {
        char *start = text + strspn(text, " \t\n");
        size_t end = strlen(start);
        while (end && strchr(" \t\n", start[end - 1]))
            end--;
        snprintf(out, size, "%.*s", (int)end, start);
    }
    free(text);
}

static cl_int platform_info(void *object, cl_uint name, size_t size, void *value, size_t *length) {
    return clGetPlatformInfo(object, name, size, value, length);
}

static cl_int device_info(void *object, cl_uint name, size_t size, void *value, size_t *length) {
    return clGetDeviceInfo(object, name, size, value, length);
}

static void rank(convoy_device_info *info, cl_device_type type, bool unified) {
    /* Types are bit sets, and a device may set several: the first that fits here counts. */
    static const struct {
        cl_device_type bit;
        const char *name;
        int score;
    } types[] = {
        {CL_DEVICE_TYPE_GPU, "gpu", 4000},
        {CL_DEVICE_TYPE_ACCELERATOR, "accelerator", 2000},
        {CL_DEVICE_TYPE_CPU, "cpu", 1000},
    };
    const char *name = "accelerator";
    int score = 2000;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (type & types[i].bit) {
            name = types[i].name;
            score = types[i].score;
            break;
        }
    if (!strcmp(name, "gpu") && unified) {
        name = "igpu";
        score = 3000;
    }
    const char *note;
    const unsigned quirks = cvy_quirks_of(info, &note);
    if (quirks & CVY_QUIRK_IS_CPU)
        name = "cpu";
    if (quirks & CVY_QUIRK_ON_REQUEST)
        score = -1;
    snprintf(info->reason, sizeof info->reason, "%s", note ? note : name);
    snprintf(info->type, sizeof info->type, "%s", name);
    int units = info->compute_units < 400 ? info->compute_units : 400;
    info->score = score + (score > 0 ? units : 0);
}

static void describe(cvy_candidate *candidate, cl_uint platform_index, cl_uint device_index) {
    convoy_device_info *info = &candidate->info;
    cl_device_id id = candidate->id;
    cl_device_type type = 0;
    cl_uint units = 0;
    cl_ulong memory = 0, allocation = 0;
    cl_bool unified = CL_FALSE, available = CL_FALSE, compiler = CL_FALSE;
    snprintf(info->id, sizeof info->id, "%u:%u", platform_index, device_index);
    get_text(device_info, id, CL_DEVICE_NAME, info->name, sizeof info->name);
    get_text(platform_info, candidate->platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform);
    get_text(device_info, id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    get_text(device_info, id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    get_text(device_info, id, CL_DEVICE_VERSION, info->opencl_version, sizeof info->opencl_version);
    clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    clGetDeviceInfo(id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    clGetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    clGetDeviceInfo(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof allocation, &allocation, NULL);
    clGetDeviceInfo(id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    clGetDeviceInfo(id, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
    clGetDeviceInfo(id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    info->compute_units = (int)units;
    info->memory = memory;
    info->max_allocation = allocation;
    rank(info, type, unified);
    if (!available || !compiler) {
        info->score = -2;
        snprintf(info->reason, sizeof info->reason, "%s",
                 available ? "its driver has no compiler" : "its driver says that it is not available");
    }
}

/* A device that ended or hung a child process is not for `auto`. */
static void mark_bad(convoy_device_info *info) {
    char reason[sizeof info->reason - 16];
    cvy_driver_device_reason(info, reason, sizeof reason);
    if (*reason) {
        info->score = -2;
        snprintf(info->reason, sizeof info->reason, "its driver %s", reason);
    }
}

static void describe_host(convoy_device_info *info) {
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "host");
    snprintf(info->type, sizeof info->type, "host");
    snprintf(info->name, sizeof info->name, "Host CPU without OpenCL");
    snprintf(info->platform, sizeof info->platform, "Convoy");
    snprintf(info->vendor, sizeof info->vendor, "Convoy");
    snprintf(info->driver, sizeof info->driver, "reference");
    snprintf(info->reason, sizeof info->reason, "the last resort: plain loops on one core");
    info->compute_units = 1;
    info->memory = cvy_machine_memory();
    info->max_allocation = info->memory;
}

/* Why there is nothing but the host. A driver is only asked for where there is none. */
static void explain_none(const char *failure, convoy_device_info *info) {
    const cvy_driver *aside;
    const size_t bad = cvy_drivers_aside(&aside);
    if (*failure)
        snprintf(info->reason, sizeof info->reason, "no device of OpenCL's can be listed");
    else if (bad)
        snprintf(info->reason, sizeof info->reason, "no driver shows a device; %.80s: %.140s", aside->file,
                 aside->reason);
    else if (cvy_drivers_good())
        snprintf(info->reason, sizeof info->reason, "the OpenCL drivers that are installed show no device");
    else
        snprintf(info->reason, sizeof info->reason,
                 "no OpenCL driver shows a device: install one for the GPU, or "
                 "pocl-opencl-icd for the CPU");
}

/* Marks the entry that `auto` takes, in words. */
static void choose(cvy_candidate *list, size_t count) {
    size_t best = count - 1; /* the host */
    for (size_t i = 0; i < count; i++)
        if (list[i].info.score > list[best].info.score)
            best = i;
    convoy_device_info *info = &list[best].info;
    info->chosen = 1;
    if (count == 1) {
        explain_none(list->failure, info);
        return;
    }
    char kind[sizeof info->reason];
    snprintf(kind, sizeof kind, "%s", info->reason);
    snprintf(info->reason, sizeof info->reason, "best of %zu: %.200s", count, kind);
}

/* Devices as they are found, with room for one more. */
typedef struct listing {
    cvy_candidate *found;
    size_t used, capacity;
    char failure[sizeof((cvy_candidate *)0)->failure];
    const cvy_listener *listener;
} listing;

static convoy_status reserve(listing *l) {
    if (l->used + 2 <= l->capacity)
        return CONVOY_OK;
    const size_t more = l->capacity ? 2 * l->capacity : 8;
    cvy_candidate *larger = realloc(l->found, more * sizeof *larger);
    if (!larger)
        return cvy_fail_memory("the list of devices", more * sizeof *larger);
    l->found = larger;
    l->capacity = more;
    return CONVOY_OK;
}

/* `nothing`: the code by which a driver says that it has none. Any other one is a failure. */
static bool answered(listing *l, const char *call, const char *of, cl_int code, cl_int nothing) {
    char failure[sizeof l->failure];
    if (code != CL_SUCCESS && code != nothing) {
        snprintf(failure, sizeof failure, "%s%s fails with %s (%d)", call, of, cvy_opencl_error(code),
                 (int)code);
        cvy_warning("%s: what its driver has is not listed; is it installed and set up completely?", failure);
        if (!l->failure[0])
            memcpy(l->failure, failure, sizeof failure);
    }
    return code == CL_SUCCESS;
}

static convoy_status list_platform(listing *l, cl_platform_id platform, cl_uint index) {
    cl_device_id ids[64];
    cl_uint count = 0;
    char of[96], name[64];
    char step[128];
    convoy_status status = CONVOY_OK;
    get_text(platform_info, platform, CL_PLATFORM_NAME, name, sizeof name);
    snprintf(of, sizeof of, " of platform %u (%s)", index, name);
    snprintf(step, sizeof step, "clGetDeviceIDs of platform %s", name);
    cvy_tell(l->listener, step);
    cvy_call_begins(NULL, step);
    const cl_int code = cvy_call_is_over(NULL, clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 64, ids, &count));
    if (!answered(l, "clGetDeviceIDs", of, code, CL_DEVICE_NOT_FOUND))
        return CONVOY_OK;
    for (cl_uint d = 0; d < count && d < 64 && !(status = reserve(l)); d++) {
        cvy_candidate *candidate = &l->found[l->used++];
        *candidate = (cvy_candidate){.platform = platform, .id = ids[d]};
        describe(candidate, index, d);
    }
    return status;
}

static convoy_status list_platforms(listing *l) {
    cl_uint count = 0;
    convoy_status status = CONVOY_OK;
    cvy_tell(l->listener, "clGetPlatformIDs");
    const cl_int code = CVY_CALL(NULL, clGetPlatformIDs, 0, NULL, &count);
    if (!answered(l, "clGetPlatformIDs", "", code, CL_PLATFORM_NOT_FOUND_KHR))
        return CONVOY_OK;
    cl_platform_id *platforms = calloc(count + 1, sizeof(cl_platform_id));
    if (!platforms)
        return cvy_fail_memory("the list of devices", (count + 1) * sizeof(cl_platform_id));
    if (count && answered(l, "clGetPlatformIDs", "", clGetPlatformIDs(count, platforms, NULL),
                          CL_PLATFORM_NOT_FOUND_KHR))
        for (cl_uint p = 0; p < count && !status; p++)
            status = list_platform(l, platforms[p], p);
    free(platforms);
    return status;
}

void cvy_host_candidate(cvy_candidate *host) {
    *host = (cvy_candidate){.id = NULL};
    describe_host(&host->info);
}

/* `listener` NULL: drivers are checked, and not called where they must not be. */
static convoy_status list_all(const cvy_listener *listener, cvy_candidate **list, size_t *count) {
    listing l = {.listener = listener};
    const bool usable = listener || cvy_drivers_check();
    convoy_status status = usable ? list_platforms(&l) : CONVOY_OK;
    if (!status)
        status = reserve(&l);
    if (status) {
        free(l.found);
        return status;
    }
    for (size_t i = 0; !listener && i < l.used; i++)
        mark_bad(&l.found[i].info);
    cvy_candidate *host = &l.found[l.used++];
    cvy_host_candidate(host);
    memcpy(host->failure, l.failure, sizeof host->failure);
    choose(l.found, l.used);
    *list = l.found;
    *count = l.used;
    return CONVOY_OK;
}

convoy_status cvy_list_devices(const cvy_listener *listener, cvy_candidate **list, size_t *count) {
    return list_all(listener, list, count);
}

/* One thread at a time: PoCL starts itself in the first call for its devices, and another thread's would see
   it half started. */
convoy_status cvy_find_devices(cvy_candidate **list, size_t *count) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    convoy_status status = list_all(NULL, list, count);
    pthread_mutex_unlock(&lock);
    return status;
}

/* One block: the pointers, and behind them what they point to. */
convoy_status convoy_device_list(const convoy_device_info *const **list, size_t *count) {
    cvy_candidate *found = NULL;
    size_t found_count = 0;
    convoy_status status = CVY_GIVEN_POINTER(list);
    if (!status)
        status = CVY_GIVEN_POINTER(count);
    if (status)
        return status;
    *list = NULL;
    *count = 0;
    status = cvy_find_devices(&found, &found_count);
    if (status)
        return status;
    const size_t bytes = found_count * (sizeof(convoy_device_info *) + sizeof(convoy_device_info));
    const convoy_device_info **pointers = malloc(bytes);
    if (!pointers) {
        status = cvy_fail_memory("the list of devices", bytes);
        goto done;
    }
    convoy_device_info *infos = (convoy_device_info *)(pointers + found_count);
    for (size_t i = 0; i < found_count; i++) {
        infos[i] = found[i].info;
        infos[i].size = sizeof infos[i];
        pointers[i] = &infos[i];
    }
    *list = pointers;
    *count = found_count;
done:
    free(found);
    return status;
}

void convoy_device_list_free(const convoy_device_info *const *list) {
    free((void *)list);
}
