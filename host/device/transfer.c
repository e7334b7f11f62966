/* Transfers beside the launches: a second queue, tied to the first by events only. The two wait for each
   other on the device; the host waits for neither until it wants its memory back. */
#include <stdlib.h>

#include "device/opencl.h"

struct cvy_transfer {
    convoy_device *device;
    cl_event before; /* launches that transfers must not overtake; NULL: none */
    cl_event done;   /* the last transfer's; NULL: none is under way */
};

static void replace(cl_event *event, cl_event by) {
    if (*event)
        clReleaseEvent(*event);
    *event = by;
}

convoy_status cvy_transfer_create(convoy_device *device, cvy_transfer **result) {
    cl_int code = CL_SUCCESS;
    *result = NULL;
    if (!device->traits.host && !device->transfers)
        device->transfers = clCreateCommandQueue(device->context, device->id, 0, &code);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(code, "a command queue for transfers");
    cvy_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return cvy_fail_memory("a transfer", sizeof *transfer);
    transfer->device = device;
    *result = transfer;
    return CONVOY_OK;
}

void cvy_transfer_free(cvy_transfer *transfer) {
    if (!transfer)
        return;
    if (transfer->done)
        CVY_CALL(transfer->device, clWaitForEvents, 1, &transfer->done);
    replace(&transfer->done, NULL);
    replace(&transfer->before, NULL);
    free(transfer);
}

convoy_status cvy_transfer_after_launches(cvy_transfer *transfer) {
    convoy_device *device = transfer->device;
    if (device->traits.host)
        return CONVOY_OK;
    cl_event launched = NULL;
    cl_int code = CVY_CALL(device, clEnqueueMarkerWithWaitList, device->queue, 0, NULL, &launched);
    if (code == CL_SUCCESS)
        code = CVY_CALL(device, clFlush, device->queue); /* another queue's wait does not submit it */
    if (code == CL_SUCCESS) {
        replace(&transfer->before, launched);
        return CONVOY_OK;
    }
    if (launched)
        clReleaseEvent(launched);
    return cvy_fail_opencl(code, "letting a transfer wait for launches");
}

/* On the queue, with the event that tells when it is over. */
static convoy_status enqueue(cvy_transfer *transfer, bool fetches, cvy_buffer *buffer, size_t offset,
                             void *data, size_t bytes) {
    convoy_device *device = transfer->device;
    const cl_uint waits = transfer->before ? 1 : 0;
    const cl_event *before = transfer->before ? &transfer->before : NULL;
    cl_event done = NULL;
    convoy_status status = cvy_buffer_check_range(buffer, offset, bytes);
    if (status)
        return status;
    cl_int code = fetches ? CVY_CALL(device, clEnqueueReadBuffer, device->transfers, buffer->memory, CL_FALSE,
                                     offset, bytes, data, waits, before, &done)
                          : CVY_CALL(device, clEnqueueWriteBuffer, device->transfers, buffer->memory,
                                     CL_FALSE, offset, bytes, data, waits, before, &done);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(
            code, fetches ? "reading %zu bytes from the device" : "uploading %zu bytes to the device", bytes);
    replace(&transfer->done, done);
    code = CVY_CALL(device, clFlush, device->transfers);
    return code == CL_SUCCESS ? CONVOY_OK : cvy_fail_opencl(code, "%s failed", device->info.name);
}

convoy_status cvy_transfer_start(cvy_transfer *transfer, cvy_buffer *buffer, size_t offset, const void *data,
                                 size_t bytes) {
    if (transfer->device->traits.host || bytes == 0)
        return cvy_buffer_write(buffer, offset, data, bytes);
    return enqueue(transfer, false, buffer, offset, (void *)(uintptr_t)data, bytes);
}

convoy_status cvy_transfer_fetch(cvy_transfer *transfer, cvy_buffer *buffer, size_t offset, void *data,
                                 size_t bytes) {
    if (transfer->device->traits.host || bytes == 0)
        return cvy_buffer_read(buffer, offset, data, bytes);
    return enqueue(transfer, true, buffer, offset, data, bytes);
}

convoy_status cvy_transfer_before_launches(cvy_transfer *transfer) {
    if (!transfer->done)
        return CONVOY_OK;
    cl_int code = CVY_CALL(transfer->device, clEnqueueBarrierWithWaitList, transfer->device->queue, 1,
                           &transfer->done, NULL);
    return code == CL_SUCCESS ? CONVOY_OK : cvy_fail_opencl(code, "letting launches wait for a transfer");
}

convoy_status cvy_transfer_finish(cvy_transfer *transfer) {
    if (!transfer->done)
        return CONVOY_OK;
    cl_int code = CVY_CALL(transfer->device, clWaitForEvents, 1, &transfer->done);
    replace(&transfer->done, NULL);
    return code == CL_SUCCESS ? CONVOY_OK
                              : cvy_fail_opencl(code, "a transfer of %s failed", transfer->device->info.name);
}
