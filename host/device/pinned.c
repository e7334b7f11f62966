/* Memory of the host that a discrete GPU's driver can copy from and to without a copy of its own in between:
   of a buffer that the driver allocates there, mapped for as long as it lives. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/opencl.h"

struct cvy_pinned {
    convoy_device *device;
    cl_mem memory; /* NULL: plain memory */
    void *host;
};

/* CONVOY_PINNED=0 or 1 says it for every device with a driver. */
static bool is_wanted(const convoy_device *device) {
    const char *wish = getenv("CONVOY_PINNED");
    if (device->traits.host)
        return false;
    return wish && *wish ? strcmp(wish, "0") != 0 : strcmp(device->info.type, "gpu") == 0;
}

static void map(cvy_pinned *pinned, size_t bytes) {
    convoy_device *device = pinned->device;
    cl_int code = CL_SUCCESS;
    cvy_call_begins(device, "clEnqueueMapBuffer");
    pinned->memory =
        clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code);
    if (code == CL_SUCCESS)
        pinned->host = clEnqueueMapBuffer(device->queue, pinned->memory, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE,
                                          0, bytes, 0, NULL, NULL, &code);
    cvy_call_is_over(device, code);
    if (code == CL_SUCCESS) {
        memset(pinned->host, 0, bytes);
        cvy_debug("%zu bytes are pinned", bytes);
        return;
    }
    cvy_debug("%zu bytes cannot be pinned (%s): plain memory serves", bytes, cvy_opencl_error(code));
    if (pinned->memory)
        clReleaseMemObject(pinned->memory);
    pinned->memory = NULL;
    pinned->host = NULL;
}

convoy_status cvy_pinned_create(convoy_device *device, size_t bytes, const char *what, cvy_pinned **out) {
    cvy_pinned *pinned = *out = calloc(1, sizeof *pinned);
    if (!pinned)
        return cvy_fail_memory(what, sizeof *pinned);
    pinned->device = device;
    if (bytes && is_wanted(device))
        map(pinned, bytes);
    if (!pinned->host)
        pinned->host = calloc(1, bytes ? bytes : 1);
    return pinned->host ? CONVOY_OK : cvy_fail_memory(what, bytes);
}

void *cvy_pinned_host(const cvy_pinned *pinned) {
    return pinned->host;
}

bool cvy_pinned_is_mapped(const cvy_pinned *pinned) {
    return pinned->memory != NULL;
}

void cvy_pinned_free(cvy_pinned *pinned) {
    if (!pinned)
        return;
    if (pinned->memory) {
        clEnqueueUnmapMemObject(pinned->device->queue, pinned->memory, pinned->host, 0, NULL, NULL);
        CVY_CALL(pinned->device, clFinish, pinned->device->queue);
        CVY_CALL(pinned->device, clReleaseMemObject, pinned->memory);
    } else {
        free(pinned->host);
    }
    free(pinned);
}
