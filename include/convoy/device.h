/* Compute devices: what the machine has, and opening one. */
#ifndef CONVOY_DEVICE_H
#define CONVOY_DEVICE_H

#include <stddef.h>

#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct convoy_device convoy_device;

/* One compute device as its driver describes it. */
typedef struct convoy_device_info {
    size_t size;
    char id[16]; /* "P:D", 0-based as in clinfo; "host" for the host CPU without OpenCL */
    char name[256], platform[256], vendor[256], driver[256];
    char opencl_version[64]; /* "" for the host */
    char type[16];           /* "gpu", "igpu" (shares the host's memory), "accelerator", "cpu", "host" */
    int compute_units;
    unsigned long long memory; /* bytes */
    unsigned long long max_allocation;
    int score;        /* rank of `auto`: the highest wins */
    int chosen;       /* 1 for the one that `auto` takes */
    char reason[256]; /* why it is chosen, or why it cannot be used */
} convoy_device_info;

/* Lists every device of every platform, and the host last: (*list)[0..*count-1], freed with
   convoy_device_list_free. Does not fail when there is no OpenCL driver: then the host is the only entry. Any
   thread. */
CONVOY_API convoy_status convoy_device_list(const convoy_device_info *const **list, size_t *count);
CONVOY_API void convoy_device_list_free(const convoy_device_info *const *list); /* NULL is allowed */

/* Opens a device. `selector`: "auto", "gpu", "cpu", "host", "P:D", or a case-insensitive part of a device's
   or platform's name; NULL: $CONVOY_DEVICE, else "auto". Only "auto" falls back to the next device, with a
   warning that names the reason; any other request that cannot be met is CONVOY_DEVICE. *device is NULL
   after a failure. Any thread; devices that are opened twice have nothing in common. */
CONVOY_API convoy_status convoy_device_open(const char *selector, convoy_device **device);

/* Frees the device and its programs. Everything made on it must be freed before. NULL is allowed.
   Its thread, as everything that takes a device. */
CONVOY_API void convoy_device_close(convoy_device *device);

/* What was opened; lives as long as the device. Any thread. */
CONVOY_API const convoy_device_info *convoy_device_get_info(const convoy_device *device);

/* What the factors of convolutions are rounded to; their sums are float32 in any case. Figures: relative
   error of a factor. */
typedef enum convoy_precision {
    CONVOY_FLOAT32, /* not rounded: what frameworks compute on CPUs */
    CONVOY_TF32,    /* 2^-11, the default of PyTorch's convolutions on NVIDIA's GPUs */
    CONVOY_BF16     /* 2^-9 */
} convoy_precision;

/* For networks that are opened on the device from now on. TF32 and BF16 need tensor cores that OpenCL can
   reach, which NVIDIA's GPUs of compute capability 8.0 or newer have; on other devices they are
   CONVOY_DEVICE. Layers that have no kernel for tensor cores stay float32. */
CONVOY_API convoy_status convoy_device_set_precision(convoy_device *device, convoy_precision precision);

/* Of training and evaluation that begin from now on, one result of every `every`-th batch is
   computed once more by the host's references before it is used: each kernel of a batch takes its turn. Where
   they part, a kernel that has another variant is replaced by that, with a warning, and its result repeated;
   else the call that computes ends with CONVOY_DEVICE and says which kernel it is. Right results keep their
   bits. 0: none, as at the start; 100 costs little. CONVOY_INVALID: `every` is negative. */
CONVOY_API convoy_status convoy_device_verify(convoy_device *device, int every);

#ifdef __cplusplus
}
#endif
#endif
