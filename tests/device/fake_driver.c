/* An OpenCL driver that goes wrong where $FAKE_DRIVER says, for tests/device/test_drivers.c: a module of its
   own, which the ICD loader loads. It has one GPU, which computes what the self-check asks for and nothing
   else. */
#include <CL/cl_icd.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct _cl_icd_dispatch table;

/* Of every type: the loader reads the first member alone. */
typedef struct object {
    struct _cl_icd_dispatch *dispatch;
    char name[32]; /* of a kernel */
    void *buffer;  /* a kernel's first argument */
    float factor;
    uint32_t steps;
    unsigned char data[]; /* of a buffer */
} object;
static object platform = {.dispatch = &table}, device = {.dispatch = &table};

static int is(const char *mode) {
    const char *wish = getenv("FAKE_DRIVER");
    return wish && strcmp(wish, mode) == 0;
}
static void hang_if(const char *mode) {
    while (is(mode))
        pause();
}
/* $FAKE_DRIVER: "abort in <call>", "crash in <call>", "hang in <call>". */
static void go_wrong_in(const char *call) {
    static const char *const ways[] = {"abort in ", "crash in ", "hang in "};
    const char *wish = getenv("FAKE_DRIVER");
    for (int way = 0; wish && way < 3; way++) {
        const size_t length = strlen(ways[way]);
        if (strncmp(wish, ways[way], length) != 0 || strcmp(wish + length, call) != 0)
            continue;
        if (way == 0)
            abort();
        if (way == 1) {
            signal(SIGSEGV, SIG_DFL); /* a sanitizer has one */
            raise(SIGSEGV);
        }
        hang_if(wish);
    }
}

__attribute__((constructor)) static void load(void) {
    Dl_info self;
    if (is("abort at load"))
        abort();
    if (is("abort as bad.so") && dladdr(&table, &self) && strstr(self.dli_fname, "/bad.so"))
        abort();
}

static object *make(const char *name, size_t bytes) {
    object *made = calloc(1, sizeof *made + bytes);
    made->dispatch = &table;
    strncpy(made->name, name, sizeof made->name - 1);
    return made;
}
#define MAKE(type, bytes)                                                                                    \
    if (code)                                                                                                \
        *code = CL_SUCCESS;                                                                                  \
    return (type)make("", bytes)

static cl_int give(const void *value, size_t bytes, size_t size, void *out, size_t *length) {
    if (length)
        *length = bytes;
    if (out && size >= bytes)
        memcpy(out, value, bytes);
    return CL_SUCCESS;
}

static cl_int platform_info(cl_platform_id p, cl_platform_info what, size_t size, void *out, size_t *length) {
    (void)p;
    const char *text = what == CL_PLATFORM_ICD_SUFFIX_KHR ? "FAKE"
                       : what == CL_PLATFORM_EXTENSIONS   ? "cl_khr_icd"
                       : what == CL_PLATFORM_VERSION      ? "OpenCL 1.2 fake"
                       : what == CL_PLATFORM_PROFILE      ? "FULL_PROFILE"
                                                          : "Fake platform";
    return give(text, strlen(text) + 1, size, out, length);
}

static cl_int device_ids(cl_platform_id p, cl_device_type type, cl_uint room, cl_device_id *ids,
                         cl_uint *count) {
    (void)p, (void)type;
    go_wrong_in("clGetDeviceIDs");
    if (is("fail in clGetDeviceIDs"))
        return CL_OUT_OF_HOST_MEMORY;
    if (count)
        *count = 1;
    if (ids && room)
        *ids = (cl_device_id)&device;
    return CL_SUCCESS;
}

static cl_int device_info(cl_device_id d, cl_device_info what, size_t size, void *out, size_t *length) {
    (void)d;
    cl_ulong number = 0;
    switch (what) {
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
    case CL_DRIVER_VERSION:
        return give("Fake GPU", 9, size, out, length);
    case CL_DEVICE_VERSION:
        return give("OpenCL 1.2 fake", 16, size, out, length);
    case CL_DEVICE_TYPE:
        number = CL_DEVICE_TYPE_GPU;
        break;
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
        number = CL_TRUE;
        break;
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        number = 4;
        break;
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        number = 1 << 30;
        break;
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
        number = 1024;
        break;
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        number = 256;
        break;
    case CL_DEVICE_LOCAL_MEM_SIZE:
        number = 32 << 10;
        break;
    default:
        if (size > sizeof number)
            return CL_INVALID_VALUE;
    }
    return give(&number, size < sizeof number ? size : sizeof number, size, out, length); /* little-endian */
}

static cl_context create_context(const cl_context_properties *a, cl_uint b, const cl_device_id *c,
                                 void(CL_CALLBACK *d)(const char *, const void *, size_t, void *), void *e,
                                 cl_int *code) {
    (void)a, (void)b, (void)c, (void)d, (void)e;
    MAKE(cl_context, 0);
}
static cl_command_queue create_queue(cl_context a, cl_device_id b, cl_command_queue_properties c,
                                     cl_int *code) {
    (void)a, (void)b, (void)c;
    MAKE(cl_command_queue, 0);
}
static cl_mem create_buffer(cl_context a, cl_mem_flags b, size_t c, void *d, cl_int *code) {
    (void)a, (void)b, (void)d;
    MAKE(cl_mem, c);
}
/* With memory of its own. */
static cl_mem create_sub_buffer(cl_mem a, cl_mem_flags b, cl_buffer_create_type c, const void *region,
                                cl_int *code) {
    (void)a, (void)b, (void)c;
    MAKE(cl_mem, ((const cl_buffer_region *)region)->size);
}
static cl_program create_program(cl_context a, cl_uint b, const char **c, const size_t *d, cl_int *code) {
    (void)a, (void)b, (void)c, (void)d;
    MAKE(cl_program, 0);
}
static cl_kernel create_kernel(cl_program a, const char *name, cl_int *code) {
    (void)a;
    *code = CL_SUCCESS;
    return (cl_kernel)make(name, 0);
}
static cl_int build(cl_program a, cl_uint b, const cl_device_id *c, const char *d,
                    void(CL_CALLBACK *e)(cl_program, void *), void *f) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    static int builds;
    go_wrong_in("clBuildProgram");
    if (++builds > 1)
        hang_if("hang in the second clBuildProgram");
    return CL_SUCCESS;
}
static cl_int kernel_info(cl_kernel k, cl_kernel_info what, size_t size, void *out, size_t *length) {
    (void)what; /* the number of arguments */
    const char *name = ((object *)k)->name;
    const cl_uint count = strcmp(name, "selfcheck") == 0 ? 3 : strcmp(name, "selfcheck_loop") == 0 ? 2 : 5;
    return give(&count, sizeof count, size, out, length);
}
static cl_int work_group_info(cl_kernel k, cl_device_id d, cl_kernel_work_group_info what, size_t size,
                              void *out, size_t *length) {
    (void)k, (void)d;
    const size_t most = 256, required[3] = {0, 0, 0};
    return what == CL_KERNEL_WORK_GROUP_SIZE ? give(&most, sizeof most, size, out, length)
                                             : give(required, sizeof required, size, out, length);
}
static cl_int set_arg(cl_kernel k, cl_uint i, size_t size, const void *value) {
    object *kernel = (object *)k;
    if (i == 0 && size == sizeof kernel->buffer)
        memcpy(&kernel->buffer, value, size);
    else if (i == 1 && size == sizeof kernel->factor) {
        memcpy(&kernel->factor, value, size);
        memcpy(&kernel->steps, value, size);
    }
    return CL_SUCCESS;
}
static cl_int launch(cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g,
                     const size_t *l, cl_uint n, const cl_event *w, cl_event *e) {
    (void)q, (void)d, (void)o, (void)g, (void)l, (void)n, (void)w, (void)e;
    object *kernel = (object *)k, *buffer = kernel->buffer;
    float *x = (float *)(void *)buffer->data;
    uint32_t value = 0;
    if (strcmp(kernel->name, "selfcheck") == 0) {
        for (int i = 0; i < 1000; i++)
            x[i] = x[i] * kernel->factor + 1;
        return CL_SUCCESS;
    }
    if (strcmp(kernel->name, "selfcheck_loop") != 0) {
        go_wrong_in("launches");
        return CL_SUCCESS; /* and nothing is computed */
    }
    for (uint32_t i = 0; i < kernel->steps; i++)
        value = value * 1664525u + 1013904223u;
    memcpy(buffer->data, &value, sizeof value);
    return CL_SUCCESS;
}
static cl_int read_buffer(cl_command_queue q, cl_mem m, cl_bool b, size_t offset, size_t size, void *out,
                          cl_uint n, const cl_event *w, cl_event *e) {
    (void)q, (void)b, (void)n, (void)w, (void)e;
    memcpy(out, ((object *)m)->data + offset, size);
    return CL_SUCCESS;
}
static cl_int write_buffer(cl_command_queue q, cl_mem m, cl_bool b, size_t offset, size_t size,
                           const void *from, cl_uint n, const cl_event *w, cl_event *e) {
    (void)q, (void)b, (void)n, (void)w, (void)e;
    memcpy(((object *)m)->data + offset, from, size);
    return CL_SUCCESS;
}
static cl_int fill_buffer(cl_command_queue q, cl_mem m, const void *pattern, size_t length, size_t offset,
                          size_t size, cl_uint n, const cl_event *w, cl_event *e) {
    (void)q, (void)pattern, (void)length, (void)n, (void)w, (void)e; /* zeros */
    memset(((object *)m)->data + offset, 0, size);
    return CL_SUCCESS;
}
static cl_int program_info(cl_program p, cl_program_info what, size_t size, void *out, size_t *length) {
    (void)p, (void)what, (void)size, (void)out, (void)length;
    return CL_INVALID_VALUE; /* no binary to keep */
}
static cl_int finish(cl_command_queue q) {
    (void)q;
    go_wrong_in("clFinish");
    return CL_SUCCESS;
}
static cl_int flush(cl_command_queue q) {
    (void)q;
    return CL_SUCCESS;
}
#define RELEASE(name, type)                                                                                  \
    static cl_int name(type it) {                                                                            \
        free(it);                                                                                            \
        return CL_SUCCESS;                                                                                   \
    }
RELEASE(release_context, cl_context)
RELEASE(release_queue, cl_command_queue)
RELEASE(release_buffer, cl_mem)
RELEASE(release_program, cl_program)
RELEASE(release_kernel, cl_kernel)

static cl_int list_platforms(cl_uint room, cl_platform_id *ids, cl_uint *count) {
    go_wrong_in("clIcdGetPlatformIDsKHR"); /* what the loader's clGetPlatformIDs calls */
    if (is("fail in clIcdGetPlatformIDsKHR"))
        return CL_OUT_OF_HOST_MEMORY;
    table = (struct _cl_icd_dispatch){.clGetPlatformInfo = platform_info,
                                      .clGetDeviceIDs = device_ids,
                                      .clGetDeviceInfo = device_info,
                                      .clCreateContext = create_context,
                                      .clReleaseContext = release_context,
                                      .clCreateCommandQueue = create_queue,
                                      .clReleaseCommandQueue = release_queue,
                                      .clCreateBuffer = create_buffer,
                                      .clCreateSubBuffer = create_sub_buffer,
                                      .clReleaseMemObject = release_buffer,
                                      .clCreateProgramWithSource = create_program,
                                      .clReleaseProgram = release_program,
                                      .clBuildProgram = build,
                                      .clCreateKernel = create_kernel,
                                      .clReleaseKernel = release_kernel,
                                      .clGetKernelInfo = kernel_info,
                                      .clGetKernelWorkGroupInfo = work_group_info,
                                      .clSetKernelArg = set_arg,
                                      .clEnqueueNDRangeKernel = launch,
                                      .clEnqueueReadBuffer = read_buffer,
                                      .clEnqueueWriteBuffer = write_buffer,
                                      .clEnqueueFillBuffer = fill_buffer,
                                      .clGetProgramInfo = program_info,
                                      .clFlush = flush,
                                      .clFinish = finish};
    if (count)
        *count = 1;
    if (ids && room)
        *ids = (cl_platform_id)&platform;
    return CL_SUCCESS;
}

__attribute__((visibility("default"))) void *clGetExtensionFunctionAddress(const char *name) {
    void *call = NULL;
    cl_int (*list)(cl_uint, cl_platform_id *, cl_uint *) = list_platforms;
    cl_int (*info)(cl_platform_id, cl_platform_info, size_t, void *, size_t *) = platform_info;
    if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0)
        memcpy(&call, &list, sizeof call);
    if (strcmp(name, "clGetPlatformInfo") == 0)
        memcpy(&call, &info, sizeof call);
    return call;
}
