/* Preloaded into `convoy` (not into its children): the n-th call of one kind fails, as drivers, disks and
   memory do; or calls do not come back for a while.

     FAULT_KIND   opencl: calls of the OpenCL library, with CL_OUT_OF_RESOURCES;
                  hang: of the same calls the first one of each name, and the first one behind n launches, is
                  held until Convoy's watchdog has looked often enough;
                  system: calls of Convoy's own code for files, with ENOSPC, EIO or EACCES;
                  memory: allocations of Convoy's own code
     FAULT_CALL   n, from 1; 0: none fails
     FAULT_NOTE   a file that in the end holds the number of calls and the name of the one that failed */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef enum kind { NONE, OPENCL, SYSTEM, MEMORY, HANG } kind;
enum { NAMES = 64 };

static kind wanted;
static long call_number, calls;
static const char *failed = "";
static size_t code_begin, code_end; /* of the program */

/* The program itself comes first. */
static int find_code(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            code_begin = info->dlpi_addr + part->p_vaddr;
            code_end = code_begin + part->p_memsz;
        }
    }
    return 1;
}

__attribute__((constructor)) static void start(void) {
    static const char *const kinds[] = {"", "opencl", "system", "memory", "hang"};
    char path[512];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    const char *kind = getenv("FAULT_KIND"), *call = getenv("FAULT_CALL"), *name;
    path[length > 0 ? length : 0] = '\0';
    name = strrchr(path, '/');
    if (!kind || !call || !name || strcmp(name, "/convoy") != 0)
        return;
    dl_iterate_phdr(find_code, NULL);
    call_number = atol(call);
    for (int k = OPENCL; k <= HANG; k++)
        if (strcmp(kind, kinds[k]) == 0)
            wanted = (enum kind)k;
}

/* Through its address: ISO C has no way from an object's to a function's. */
#define REAL(name)                                                                                           \
    static __typeof__(&name) real;                                                                           \
    if (!real)                                                                                               \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

/* The watchdog's, between its looks: a call is told of in the fifth, or the sixth. */
static int looks;
int nanosleep(const struct timespec *time, struct timespec *rest) {
    REAL(nanosleep);
    __atomic_add_fetch(&looks, 1, __ATOMIC_SEQ_CST);
    return real(time, rest);
}

/* Calls come from the command's one thread. */
static void may_hang(const char *name) {
    static struct {
        const char *name;
        int held;
    } names[NAMES];
    static long launches;
    int i = 0;
    while (i < NAMES - 1 && names[i].name && names[i].name != name)
        i++;
    names[i].name = name;
    launches += strcmp(name, "clEnqueueNDRangeKernel") == 0;
    if (names[i].held > (launches > call_number))
        return;
    names[i].held = 1 + (launches > call_number);
    const int before = __atomic_load_n(&looks, __ATOMIC_SEQ_CST);
    for (int ms = 0; ms < 2000 && __atomic_load_n(&looks, __ATOMIC_SEQ_CST) < before + 8; ms++)
        usleep(1000);
}

static int fails(kind of, const char *name, const void *caller) {
    const size_t at = (size_t)caller;
    if (of == OPENCL && wanted == HANG)
        may_hang(name);
    if (of != wanted || (of != OPENCL && (at < code_begin || at >= code_end)))
        return 0;
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) != call_number)
        return 0;
    failed = name;
    return 1;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_NOTE");
    FILE *file = wanted && path ? fopen(path, "w") : NULL;
    wanted = NONE;
    if (file) {
        fprintf(file, "%ld %s\n", calls, failed);
        fclose(file);
    }
}

/* ---- Allocations ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

#define REFUSE(name)                                                                                         \
    if (fails(MEMORY, name, __builtin_return_address(0))) {                                                  \
        errno = ENOMEM;                                                                                      \
        return NULL;                                                                                         \
    }

void *malloc(size_t size) {
    REFUSE("malloc")
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    REFUSE("calloc")
    return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
    REFUSE("realloc")
    return __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    REFUSE("aligned_alloc")
    return __libc_memalign(alignment, size);
}
char *strdup(const char *text) {
    REFUSE("strdup")
    const size_t size = strlen(text) + 1;
    char *copy = __libc_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

/* ---- Files ---- */

#define FAIL(name, code, result)                                                                             \
    if (fails(SYSTEM, name, __builtin_return_address(0))) {                                                  \
        errno = code;                                                                                        \
        return result;                                                                                       \
    }

static mode_t mode_of(int flags, va_list list) {
    return flags & O_CREAT ? (mode_t)va_arg(list, int) : 0;
}
#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...) {                                                             \
        REAL(name);                                                                                          \
        va_list list;                                                                                        \
        va_start(list, flags);                                                                               \
        const mode_t mode = mode_of(flags, list);                                                            \
        va_end(list);                                                                                        \
        FAIL(#name, flags &O_CREAT ? ENOSPC : EACCES, -1)                                                    \
        return real(path, flags, mode);                                                                      \
    }
OPEN(open)
OPEN(open64)

#define CALL(type, name, parameters, arguments, code, result)                                                \
    type name parameters {                                                                                   \
        REAL(name);                                                                                          \
        FAIL(#name, code, result)                                                                            \
        return real arguments;                                                                               \
    }
CALL(ssize_t, read, (int file, void *data, size_t size), (file, data, size), EIO, -1)
CALL(ssize_t, write, (int file, const void *data, size_t size), (file, data, size), ENOSPC, -1)
CALL(int, fsync, (int file), (file), EIO, -1)
CALL(int, rename, (const char *from, const char *to), (from, to), EIO, -1)
CALL(int, unlink, (const char *path), (path), EACCES, -1)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), ENOSPC, -1)
CALL(int, ftruncate, (int file, off_t size), (file, size), EIO, -1)
CALL(int, flock, (int file, int how), (file, how), ENOLCK, -1)
CALL(off_t, lseek, (int file, off_t to, int from), (file, to, from), EIO, -1)
CALL(DIR *, opendir, (const char *path), (path), EACCES, NULL)
CALL(char *, realpath, (const char *path, char *out), (path, out), EACCES, NULL)
CALL(FILE *, fopen, (const char *path, const char *how), (path, how), EACCES, NULL)
CALL(int, stat, (const char *path, struct stat *about), (path, about), EACCES, -1)
CALL(int, fstat, (int file, struct stat *about), (file, about), EIO, -1)

/* A file is closed, even where that fails. */
int close(int file) {
    REAL(close);
    const int result = real(file);
    FAIL("close", EIO, -1)
    return result;
}

/* ---- OpenCL ---- */

#define FAULT fails(OPENCL, __func__, NULL)
#define STATUS(name, parameters, arguments)                                                                  \
    cl_int name parameters {                                                                                 \
        REAL(name);                                                                                          \
        return FAULT ? CL_OUT_OF_RESOURCES : real arguments;                                                 \
    }
/* What frees and waits has done so even where it fails. */
#define AFTER(name, parameters, arguments)                                                                   \
    cl_int name parameters {                                                                                 \
        REAL(name);                                                                                          \
        const cl_int code = real arguments;                                                                  \
        return FAULT ? CL_OUT_OF_RESOURCES : code;                                                           \
    }
#define CREATE(type, name, parameters, arguments)                                                            \
    type name parameters {                                                                                   \
        REAL(name);                                                                                          \
        if (!FAULT)                                                                                          \
            return real arguments;                                                                           \
        if (code)                                                                                            \
            *code = CL_OUT_OF_RESOURCES;                                                                     \
        return NULL;                                                                                         \
    }

STATUS(clGetPlatformIDs, (cl_uint most, cl_platform_id *list, cl_uint *count), (most, list, count))
STATUS(clGetPlatformInfo, (cl_platform_id of, cl_platform_info what, size_t room, void *value, size_t *size),
       (of, what, room, value, size))
STATUS(clGetDeviceIDs,
       (cl_platform_id of, cl_device_type type, cl_uint most, cl_device_id *list, cl_uint *count),
       (of, type, most, list, count))
STATUS(clGetDeviceInfo, (cl_device_id of, cl_device_info what, size_t room, void *value, size_t *size),
       (of, what, room, value, size))
CREATE(cl_context, clCreateContext,
       (const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
        void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *data, cl_int *code),
       (properties, count, devices, notify, data, code))
CREATE(cl_command_queue, clCreateCommandQueue,
       (cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *code),
       (context, device, properties, code))
CREATE(cl_mem, clCreateBuffer,
       (cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *code),
       (context, flags, size, host, code))
CREATE(cl_mem, clCreateSubBuffer,
       (cl_mem of, cl_mem_flags flags, cl_buffer_create_type type, const void *info, cl_int *code),
       (of, flags, type, info, code))
CREATE(cl_program, clCreateProgramWithSource,
       (cl_context context, cl_uint count, const char **text, const size_t *lengths, cl_int *code),
       (context, count, text, lengths, code))
STATUS(clBuildProgram,
       (cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
        void(CL_CALLBACK *notify)(cl_program, void *), void *data),
       (program, count, devices, options, notify, data))
STATUS(clGetProgramBuildInfo,
       (cl_program of, cl_device_id device, cl_program_build_info what, size_t room, void *value,
        size_t *size),
       (of, device, what, room, value, size))
CREATE(cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *code), (program, name, code))
STATUS(clGetKernelInfo, (cl_kernel of, cl_kernel_info what, size_t room, void *value, size_t *size),
       (of, what, room, value, size))
STATUS(clGetKernelWorkGroupInfo,
       (cl_kernel of, cl_device_id device, cl_kernel_work_group_info what, size_t room, void *value,
        size_t *size),
       (of, device, what, room, value, size))
STATUS(clSetKernelArg, (cl_kernel kernel, cl_uint index, size_t size, const void *value),
       (kernel, index, size, value))
STATUS(clEnqueueNDRangeKernel,
       (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
        const size_t *global, const size_t *local, cl_uint count, const cl_event *list, cl_event *event),
       (queue, kernel, dimensions, offset, global, local, count, list, event))
STATUS(clEnqueueWriteBuffer,
       (cl_command_queue queue, cl_mem buffer, cl_bool waits, size_t offset, size_t size, const void *data,
        cl_uint count, const cl_event *list, cl_event *event),
       (queue, buffer, waits, offset, size, data, count, list, event))
STATUS(clEnqueueReadBuffer,
       (cl_command_queue queue, cl_mem buffer, cl_bool waits, size_t offset, size_t size, void *data,
        cl_uint count, const cl_event *list, cl_event *event),
       (queue, buffer, waits, offset, size, data, count, list, event))
STATUS(clEnqueueCopyBuffer,
       (cl_command_queue queue, cl_mem from, cl_mem to, size_t at, size_t there, size_t size, cl_uint count,
        const cl_event *list, cl_event *event),
       (queue, from, to, at, there, size, count, list, event))
STATUS(clEnqueueFillBuffer,
       (cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size, size_t offset,
        size_t size, cl_uint count, const cl_event *list, cl_event *event),
       (queue, buffer, pattern, pattern_size, offset, size, count, list, event))
STATUS(clEnqueueMarkerWithWaitList,
       (cl_command_queue queue, cl_uint count, const cl_event *list, cl_event *event),
       (queue, count, list, event))
STATUS(clEnqueueBarrierWithWaitList,
       (cl_command_queue queue, cl_uint count, const cl_event *list, cl_event *event),
       (queue, count, list, event))
AFTER(clFinish, (cl_command_queue queue), (queue))
AFTER(clFlush, (cl_command_queue queue), (queue))
AFTER(clWaitForEvents, (cl_uint count, const cl_event *list), (count, list))
AFTER(clReleaseMemObject, (cl_mem buffer), (buffer))
AFTER(clReleaseKernel, (cl_kernel kernel), (kernel))
AFTER(clReleaseProgram, (cl_program program), (program))
AFTER(clReleaseCommandQueue, (cl_command_queue queue), (queue))
AFTER(clReleaseContext, (cl_context context), (context))
AFTER(clReleaseEvent, (cl_event event), (event))
