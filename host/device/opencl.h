/* The inside of the device floor: what OpenCL objects stand behind a device, a buffer and a kernel. Only
   host/device and the CLBlast variant of gemm include it. */
#ifndef CVY_DEVICE_OPENCL_H
#define CVY_DEVICE_OPENCL_H

#include <CL/cl.h>
#include <stdatomic.h>

#include "base/file.h"
#include "device/device.h"

typedef struct cvy_program cvy_program;

/* A launch whose time is not yet known. */
typedef struct cvy_pending {
    cl_event event;
    cvy_kernel *kernel;
} cvy_pending;

typedef struct cvy_close_hook {
    void (*call)(void);
    struct cvy_close_hook *next;
} cvy_close_hook;

/* The first launch of a kernel in groups of one size. */
typedef struct cvy_rehearsed {
    cvy_kernel *kernel;
    cvy_grid grid;
    struct cvy_rehearsed *next;
    size_t count;
    cvy_arg args[];
} cvy_rehearsed;

struct convoy_device {
    convoy_device_info info;
    cvy_device_traits traits;
    cvy_device_counters counters;
    int verifies; /* convoy_device_verify */
    /* All below is NULL on the host device. */
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    cl_command_queue transfers; /* of uploads (transfer.c); NULL before the first */
    cvy_program *programs;      /* list */
    cvy_kernel *kernels[256];   /* hash table of lists, keyed by file, function and options */
    cvy_building building;
    double building_processor;                                     /* seconds, when the latest one began */
    void (*observer)(void *context, const cvy_building *building); /* may be NULL */
    void *observer_context;
    cvy_close_hook *close_hooks;
    void *attached; /* cvy_device_attach */
    void (*release_attached)(void *data);
    bool wait_each; /* CONVOY_SYNC=1: wait after each launch, so that a fault names its kernel */
    bool rehearses;
    cvy_rehearsed *rehearsed; /* list, the last one first */
    bool profiling;
    cvy_pending *pending;
    size_t pending_count, pending_capacity;
    const cvy_kernel *latest; /* launched last; NULL: none */
};

struct cvy_buffer {
    convoy_device *device;
    cvy_buffer *parent; /* NULL unless a view */
    size_t bytes;
    cl_mem memory; /* NULL on the host device */
    char *host;    /* NULL on others */
};

struct cvy_kernel {
    convoy_device *device;
    cl_kernel handle;
    char *file, *function, *options;
    unsigned argument_count;
    size_t max_work_group;
    size_t required[3]; /* reqd_work_group_size; 0 where free */
    bool launched;
    double seconds; /* profiled */
    unsigned long long launches;
    cvy_kernel *next;
};

/* Around each call from which a bad driver may not come back. */
void cvy_call_begins(const convoy_device *device, const char *call); /* `device` NULL: before there is one */
cl_int cvy_call_is_over(const convoy_device *device, cl_int code);   /* `code` */
#define CVY_CALL(device, call, ...)                                                                          \
    cvy_call_is_over(device, (cvy_call_begins(device, #call), call(__VA_ARGS__)))

/* CONVOY_INVALID unless the bytes at `offset` lie in the buffer. */
convoy_status cvy_buffer_check_range(const cvy_buffer *buffer, size_t offset, size_t bytes);
cl_mem cvy_buffer_memory(const cvy_buffer *buffer);
cl_command_queue cvy_device_queue(const convoy_device *device);

/* "CL_OUT_OF_RESOURCES"; "unknown OpenCL error" for a code outside the table. */
const char *cvy_opencl_error(cl_int code);
/* CONVOY_MEMORY for the codes of exhausted memory, CONVOY_DEVICE for the rest; the message ends with the
 * code's name. */
convoy_status cvy_fail_opencl(cl_int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Calls `hook` once when this device closes, before its context is released (CLBlast's cache). A hook that is
   already there is not added again. */
void cvy_device_on_close(convoy_device *device, void (*hook)(void));

/* find.c: the candidates behind convoy_device_list, with their OpenCL ids. */
typedef struct cvy_candidate {
    convoy_device_info info;
    cl_platform_id platform;
    cl_device_id id; /* NULL: the host */
    /* Of the host: why drivers may have more devices than are listed, "" where all of them answered. */
    char failure[160];
} cvy_candidate;
/* *list is malloc'ed and ends with the host; one entry is marked as chosen. Drivers are checked before
   (drivers.h). */
convoy_status cvy_find_devices(cvy_candidate **list, size_t *count);
/* Hears which call comes next, of those in which drivers crash or hang; {0}: nobody does. */
typedef struct cvy_listener {
    void (*tell)(void *context, const char *step);
    void *context;
} cvy_listener;
static inline void cvy_tell(const cvy_listener *listener, const char *step) {
    if (listener && listener->tell)
        listener->tell(listener->context, step);
}
/* The same without a check. */
convoy_status cvy_list_devices(const cvy_listener *listener, cvy_candidate **list, size_t *count);
/* open.c: opens it without trying it in a child first. */
convoy_status cvy_open_candidate(const cvy_candidate *candidate, const cvy_listener *listener,
                                 convoy_device **device);
/* The host, without asking any driver. */
void cvy_host_candidate(cvy_candidate *host);

/* options.c: CONVOY_DEVICE where `options` define a name that `source`, the expanded file, does not mention.
 */
convoy_status cvy_options_check(const char *file, const char *source, const char *options);

/* program.c */
/* Around all that may compile: the first tells the observer and returns the time, which the second is given.
 */
double cvy_building_start(convoy_device *device, const char *file);
void cvy_building_end(convoy_device *device, double start);
void cvy_programs_release(convoy_device *device);

#endif
