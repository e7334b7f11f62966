/* The one interface between Convoy and a compute device: buffers, kernels, launches. The host device is plain
   memory and has no kernels: ops run their host reference on it. One thread uses a device at a time; launches
   run in order. */
#ifndef CVY_DEVICE_DEVICE_H
#define CVY_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "convoy/device.h"
#include "device/quirks.h"

typedef struct cvy_buffer cvy_buffer;
typedef struct cvy_kernel cvy_kernel;

/* How kernels multiply matrices in hardware (kernels/mma.clh). */
typedef enum cvy_tensor_cores {
    CVY_TENSOR_NONE,
    CVY_TENSOR_NVIDIA,  /* mma.sync of compute capability 8.0 on */
    CVY_TENSOR_EMULATED /* set by tests: the same through local memory, on any device */
} cvy_tensor_cores;

/* What kernels are chosen by. */
typedef struct cvy_device_traits {
    bool host;          /* no OpenCL: buffers are host memory, there are no kernels */
    bool cpu;           /* an OpenCL device that is a CPU: work-groups of one item, wide vectors */
    unsigned quirks;    /* of its driver; with CVY_QUIRK_ENDS_LOOPS `cpu` is false, whatever the device is */
    int vector_width;   /* floats that one native vector holds: 16 (AVX-512), 8 (AVX2), 4; 1 on GPUs */
    int pitch_multiple; /* the batch pitch is a multiple of this: 16 */
    int compute_units;
    size_t max_work_group; /* of the device; a kernel may allow less */
    size_t local_memory;   /* bytes */
    size_t cache;          /* bytes of a CPU's last level of cache; tensors that are larger stream */
    size_t max_allocation; /* bytes in one buffer */
    size_t memory;         /* bytes in all */
    size_t view_alignment; /* bytes; offsets of views are multiples of it */
    cvy_tensor_cores tensor_cores;
    convoy_precision precision; /* asked for; other than CONVOY_FLOAT32 only with tensor cores */
} cvy_device_traits;

const cvy_device_traits *cvy_device_get_traits(const convoy_device *device);
/* Device `id` as another process knows it: CONVOY_DEVICE where that is no longer the one of this name. */
convoy_status cvy_device_open_named(const char *id, const char *name, convoy_device **device);
int cvy_device_verifies(const convoy_device *device); /* what convoy_device_verify was given */
/* "float32", "tf32", "bf16": in the order of convoy_precision, NULL-terminated. */
extern const char *const cvy_precision_names[];

/* Waits for everything launched so far; reports what went wrong in it. */
convoy_status cvy_device_finish(convoy_device *device);
/* From now on a thread looks on, for all devices, until the process ends: where a call does not come back in
   so many seconds, a warning names it and the kernel that was launched last. */
convoy_status cvy_calls_watch(double seconds);
/* Launches since the device was opened; how often the host waited for all of them (a finish, a blocking read
   or write; never on the host device); bytes allocated now and at most. */
typedef struct cvy_device_counters {
    unsigned long long launches, waits;
    size_t bytes, peak_bytes;
} cvy_device_counters;
cvy_device_counters cvy_device_get_counters(const convoy_device *device);

/* What a floor above keeps for as long as the device is open (ops/choice.c does); `release` is called with it
   when the device closes. One at a time: a second one replaces the first without releasing it. */
void cvy_device_attach(convoy_device *device, void *data, void (*release)(void *data));
void *cvy_device_attached(const convoy_device *device); /* NULL: nothing */

/* ---- Buffers ---- */

/* `bytes` may be 0 (then the buffer must not be used in a launch). `what` names it in the message when it
   does not fit (CONVOY_MEMORY). New memory is zeroed. */
convoy_status cvy_buffer_create(convoy_device *device, size_t bytes, const char *what, cvy_buffer **buffer);
/* What a buffer of so many bytes takes. */
size_t cvy_buffer_footprint(size_t bytes);

/* A buffer to come, in words that a plan understands and its constructor uses: so many bytes, or so many for
   each column of a network's batch axis, image that the network takes at once, or image of a whole batch. */
typedef enum cvy_growth { CVY_FIXED_SIZE, CVY_PER_COLUMN, CVY_PER_PIECE, CVY_PER_BATCH } cvy_growth;
typedef struct cvy_size {
    const char *what;
    size_t bytes;
    cvy_growth growth;
} cvy_size;
typedef struct cvy_sizes {
    cvy_size list[48];
    size_t count;
} cvy_sizes;
void cvy_sizes_add(cvy_sizes *sizes, cvy_size size);
/* `count` columns or images; 1 where it is fixed. */
convoy_status cvy_size_create(convoy_device *device, const cvy_size *size, size_t count, cvy_buffer **buffer);

/* A window into a buffer: `offset` must be a multiple of view_alignment. Views share the parent's memory and
   are freed before it; a view of a view is not allowed. */
convoy_status cvy_buffer_view(cvy_buffer *parent, size_t offset, size_t bytes, cvy_buffer **view);
void cvy_buffer_free(cvy_buffer *buffer); /* NULL is allowed */

size_t cvy_buffer_bytes(const cvy_buffer *buffer);
/* The memory itself on the host device; NULL on others, and of NULL. */
void *cvy_buffer_host(const cvy_buffer *buffer);

/* Blocking transfers, in order with launches. */
convoy_status cvy_buffer_write(cvy_buffer *buffer, size_t offset, const void *data, size_t bytes);
convoy_status cvy_buffer_read(cvy_buffer *buffer, size_t offset, void *data, size_t bytes);
/* In order with launches, not waited for. */
convoy_status cvy_buffer_copy(cvy_buffer *from, size_t from_offset, cvy_buffer *to, size_t to_offset,
                              size_t bytes);

/* ---- Transfers beside the launches ---- */

/* Non-blocking writes and reads of host memory on a queue of their own. Launches and transfers do not wait
   for each other except where they are told to; the host device copies at once. */
typedef struct cvy_transfer cvy_transfer;
convoy_status cvy_transfer_create(convoy_device *device, cvy_transfer **transfer);
void cvy_transfer_free(cvy_transfer *transfer); /* waits for what is under way; NULL is allowed */

/* Transfers that start from now on wait for what was launched so far: for those that read or write the
   buffers. Ask for it right behind the last of them, or they wait for more than they must. */
convoy_status cvy_transfer_after_launches(cvy_transfer *transfer);
/* `data` must stay as it is until cvy_transfer_finish or _free. */
convoy_status cvy_transfer_start(cvy_transfer *transfer, cvy_buffer *buffer, size_t offset, const void *data,
                                 size_t bytes);
/* The same from the device into `data`. */
convoy_status cvy_transfer_fetch(cvy_transfer *transfer, cvy_buffer *buffer, size_t offset, void *data,
                                 size_t bytes);
/* What is launched from now on waits for the transfers that were started. */
convoy_status cvy_transfer_before_launches(cvy_transfer *transfer);
/* The host waits for the transfers, not for launches behind them; reports what went wrong in the last. */
convoy_status cvy_transfer_finish(cvy_transfer *transfer);

/* Zeroed memory of the host for transfers, from and to which a discrete GPU copies by itself; for other
   devices, and where its driver has none, plain memory. CONVOY_PINNED=0 or 1 decides for all with a driver.
   Freed before the device, when no transfer is under way. */
typedef struct cvy_pinned cvy_pinned;
convoy_status cvy_pinned_create(convoy_device *device, size_t bytes, const char *what, cvy_pinned **pinned);
void *cvy_pinned_host(const cvy_pinned *pinned);
bool cvy_pinned_is_mapped(const cvy_pinned *pinned);
void cvy_pinned_free(cvy_pinned *pinned); /* NULL is allowed */

/* ---- Kernels ---- */

/* A macro that a kernel is built with. */
typedef struct cvy_option {
    const char *name;
    long long value;
} cvy_option;
/* For the last arguments but one: CVY_OPTIONS({"PITCH", 32}, {"VW", 16}). */
#define CVY_OPTIONS(...)                                                                                     \
    (const cvy_option[]){__VA_ARGS__}, sizeof((const cvy_option[]){__VA_ARGS__}) / sizeof(cvy_option)

/* kernels/<file>.cl built with these options: once per device and options, from memory, the binary cache or
   the source. Owned by the device. CONVOY_DEVICE: the build failed, and the message carries its log, or the
   file does not mention an option. Never call it on the host device. */
convoy_status cvy_kernel_build(convoy_device *device, const char *file, const char *function,
                               const cvy_option *options, size_t count, cvy_kernel **kernel);
/* Several kernels of a file: CVY_KERNELS({"conv2d_split", &split}, {"conv2d_columns", &columns}). */
typedef struct cvy_kernel_wanted {
    const char *function; /* NULL ends a list */
    cvy_kernel **kernel;
} cvy_kernel_wanted;
#define CVY_KERNELS(...) ((const cvy_kernel_wanted[]){__VA_ARGS__, {NULL, NULL}})
convoy_status cvy_kernels_build(convoy_device *device, const char *file, const cvy_option *options,
                                size_t count, const cvy_kernel_wanted *wanted);
/* The same with the options as text: "-DPITCH=32 -DVW=16", "" for none. */
convoy_status cvy_kernel_get(convoy_device *device, const char *file, const char *function,
                             const char *options, cvy_kernel **kernel);
/* Hashes what every kernel is made of: those of the library, or what $CONVOY_KERNEL_DIR has in their place.
 */
convoy_status cvy_kernel_sources(cvy_hash *hash);
/* A simple kernel, of kernels/<file>.cl, built for vectors of cvy_vector_width(): in the one program of
 * kernels/simple.cl where that includes the file, else in one of its own. */
convoy_status cvy_kernel_get_simple(convoy_device *device, const char *file, const char *function,
                                    cvy_kernel **kernel);
/* Floats in the vectors of the simple kernels: 16, 8 or 4. Divides every batch pitch. */
static inline int cvy_vector_width_of(const cvy_device_traits *traits) {
    return traits->vector_width > 1 ? traits->vector_width : 4;
}
int cvy_vector_width(const convoy_device *device);
/* What a driver is about to compile: a program that is built, or a kernel that is launched for the first
   time, since some compile no sooner. */
typedef struct cvy_building {
    const char *file;
    size_t done, all; /* kernels: launched before, asked for so far */
    double seconds;   /* that compiling has taken since the device was opened */
    double slowest;   /* of one, of this thread's processor time: what comes from a cache takes none, on a
                         busy machine too */
} cvy_building;
const cvy_building *cvy_device_building(const convoy_device *device);
/* `observer` is told each time, until it is replaced; NULL: nobody. */
void cvy_device_observe_building(convoy_device *device,
                                 void (*observer)(void *context, const cvy_building *building),
                                 void *context);
/* Digest of the kernel files that begin with one of the words of `prefixes` (NULL-terminated) and of all that
   kernels include: answers that were found with other kernels do not count. */
void cvy_kernels_digest(const char *const *prefixes, char hex[33]);
/* CL_KERNEL_WORK_GROUP_SIZE. */
size_t cvy_kernel_max_work_group(const cvy_kernel *kernel);

/* ---- Launches ---- */

typedef struct cvy_arg {
    enum { CVY_ARG_BUFFER, CVY_ARG_INT, CVY_ARG_UINT, CVY_ARG_ULONG, CVY_ARG_FLOAT, CVY_ARG_LOCAL } kind;
    union {
        const cvy_buffer *buffer;
        int32_t i;
        uint32_t u;
        uint64_t ul;
        float f;
        size_t local_bytes;
    } value;
} cvy_arg;

/* Arguments in the kernel's order, each by its type in the kernel: global pointer, int, uint, ulong, float,
   local pointer. A NULL buffer is passed as a null pointer. */
static inline cvy_arg cvy_buf(const cvy_buffer *buffer) {
    return (cvy_arg){CVY_ARG_BUFFER, {.buffer = buffer}};
}
static inline cvy_arg cvy_int(int32_t value) {
    return (cvy_arg){CVY_ARG_INT, {.i = value}};
}
static inline cvy_arg cvy_uint(uint32_t value) {
    return (cvy_arg){CVY_ARG_UINT, {.u = value}};
}
static inline cvy_arg cvy_ulong(uint64_t value) {
    return (cvy_arg){CVY_ARG_ULONG, {.ul = value}};
}
static inline cvy_arg cvy_float(float value) {
    return (cvy_arg){CVY_ARG_FLOAT, {.f = value}};
}
static inline cvy_arg cvy_local(size_t bytes) {
    return (cvy_arg){CVY_ARG_LOCAL, {.local_bytes = bytes}};
}

/* How many work-items, and in which groups. Unused dimensions are 1; a local size of 0 is chosen by the
   launch (the kernel's reqd_work_group_size, else up to 64 along x on a CPU and 256 on a GPU). The global
   size is rounded up to a multiple of the local size, so kernels check their index against their count. */
typedef struct cvy_grid {
    size_t global[3], local[3];
} cvy_grid;

static inline cvy_grid cvy_items(size_t x) {
    return (cvy_grid){{x, 1, 1}, {0, 0, 0}};
}
static inline cvy_grid cvy_items3(size_t x, size_t y, size_t z) {
    return (cvy_grid){{x, y, z}, {0, 0, 0}};
}
/* Work-groups of one item each: how CPU kernels spread over cores. */
static inline cvy_grid cvy_singles(size_t x, size_t y, size_t z) {
    return (cvy_grid){{x, y, z}, {1, 1, 1}};
}

/* CVY_LAUNCH(kernel, cvy_items(count), cvy_buf(x), cvy_buf(y), cvy_ulong(count)). The number of arguments and
   their sizes are checked against the kernel. A launch with an empty grid does nothing. */
convoy_status cvy_launch(cvy_kernel *kernel, cvy_grid grid, const cvy_arg *args, size_t count);
#define CVY_LAUNCH(kernel, grid, ...)                                                                        \
    cvy_launch((kernel), (grid), (const cvy_arg[]){__VA_ARGS__},                                             \
               sizeof((const cvy_arg[]){__VA_ARGS__}) / sizeof(cvy_arg))

/* From the start on launches are noted and not made; the end makes the first one of each kernel, of one
   work-group where that is enough, from the last of them to the first. What they compute is of no use, but
   the driver has compiled what they ran. */
void cvy_rehearsal_start(convoy_device *device);
convoy_status cvy_rehearsal_end(convoy_device *device);

/* ---- Profiling ---- */

/* Per-kernel time, off by default. Switching it on reopens the queue with profiling. */
typedef struct cvy_profile_row {
    char kernel[96]; /* "file:function" */
    unsigned long long launches;
    double seconds;
} cvy_profile_row;
convoy_status cvy_profile_start(convoy_device *device);
/* Rows by falling time, malloc'ed; switches profiling off. */
convoy_status cvy_profile_stop(convoy_device *device, cvy_profile_row **rows, size_t *count);

#endif
