/* Device memory: buffers, views into them, and transfers. */
#include <stdlib.h>
#include <string.h>

#include "device/opencl.h"

/* Whole cache lines, so that a vector at the end of a tensor never touches a neighbour. */
enum { GRANULE = 64 };

static double mib(size_t bytes) {
    return (double)bytes / (1024.0 * 1024.0);
}

size_t cvy_buffer_footprint(size_t bytes) {
    return bytes <= SIZE_MAX - GRANULE ? (bytes + GRANULE - 1) / GRANULE * GRANULE : bytes;
}

void cvy_sizes_add(cvy_sizes *sizes, cvy_size size) {
    sizes->list[sizes->count++] = size;
}

convoy_status cvy_size_create(convoy_device *device, const cvy_size *size, size_t count,
                              cvy_buffer **buffer) {
    return cvy_buffer_create(device, count * size->bytes, size->what, buffer);
}

convoy_status cvy_buffer_create(convoy_device *device, size_t bytes, const char *what, cvy_buffer **out) {
    const cvy_device_traits *traits = &device->traits;
    size_t rounded = cvy_buffer_footprint(bytes);
    cl_int code = CL_SUCCESS;
    if (rounded > traits->max_allocation)
        return cvy_fail(CONVOY_MEMORY, "%s needs %.1f MiB in one buffer, and %s allows %.1f MiB at most",
                        what, mib(rounded), device->info.name, mib(traits->max_allocation));
    if (rounded > traits->memory || device->counters.bytes > traits->memory - rounded)
        return cvy_fail(CONVOY_MEMORY, "%s needs %.1f MiB, but %.1f of the %.1f MiB of %s are in use", what,
                        mib(rounded), mib(device->counters.bytes), mib(traits->memory), device->info.name);
    cvy_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return cvy_fail_memory(what, sizeof *buffer);
    buffer->device = device;
    buffer->bytes = bytes;
    if (traits->host) {
        buffer->host = aligned_alloc(128, (rounded + 127) / 128 * 128 + 128);
        if (!buffer->host) {
            free(buffer);
            return cvy_fail_memory(what, rounded);
        }
        memset(buffer->host, 0, (rounded + 127) / 128 * 128 + 128);
    } else if (rounded) {
        static const cl_uint zero = 0;
        cvy_call_begins(device, "clCreateBuffer");
        buffer->memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE, rounded, NULL, &code);
        cvy_call_is_over(device, code);
        if (code == CL_SUCCESS)
            code = CVY_CALL(device, clEnqueueFillBuffer, device->queue, buffer->memory, &zero, sizeof zero, 0,
                            rounded, 0, NULL, NULL);
        if (code != CL_SUCCESS) {
            if (buffer->memory)
                clReleaseMemObject(buffer->memory);
            free(buffer);
            return cvy_fail_opencl(code, "%s: %.1f MiB on %s", what, mib(rounded), device->info.name);
        }
    }
    device->counters.bytes += rounded;
    if (device->counters.bytes > device->counters.peak_bytes)
        device->counters.peak_bytes = device->counters.bytes;
    *out = buffer;
    return CONVOY_OK;
}

convoy_status cvy_buffer_view(cvy_buffer *parent, size_t offset, size_t bytes, cvy_buffer **view) {
    convoy_device *device = parent->device;
    cl_int code = CL_SUCCESS;
    if (parent->parent || offset % device->traits.view_alignment || offset > parent->bytes ||
        bytes > parent->bytes - offset)
        return cvy_fail(CONVOY_INVALID,
                        "a view of %zu bytes at %zu does not lie in a buffer of %zu (alignment %zu)", bytes,
                        offset, parent->bytes, device->traits.view_alignment);
    cvy_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return cvy_fail_memory("a view", sizeof *buffer);
    *buffer = (cvy_buffer){.device = device, .parent = parent, .bytes = bytes};
    if (parent->host)
        buffer->host = parent->host + offset;
    else if (bytes) {
        cl_buffer_region region = {offset, bytes};
        buffer->memory = clCreateSubBuffer(parent->memory, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION,
                                           &region, &code);
        if (code != CL_SUCCESS) {
            free(buffer);
            return cvy_fail_opencl(code, "a view of %zu bytes at %zu", bytes, offset);
        }
    }
    *view = buffer;
    return CONVOY_OK;
}

void cvy_buffer_free(cvy_buffer *buffer) {
    if (!buffer)
        return;
    if (buffer->memory)
        CVY_CALL(buffer->device, clReleaseMemObject, buffer->memory);
    if (!buffer->parent) {
        free(buffer->host);
        buffer->device->counters.bytes -= (buffer->bytes + GRANULE - 1) / GRANULE * GRANULE;
    }
    free(buffer);
}

size_t cvy_buffer_bytes(const cvy_buffer *buffer) {
    return buffer->bytes;
}

void *cvy_buffer_host(const cvy_buffer *buffer) {
    return buffer ? buffer->host : NULL;
}

cl_mem cvy_buffer_memory(const cvy_buffer *buffer) {
    return buffer->memory;
}

convoy_status cvy_buffer_check_range(const cvy_buffer *buffer, size_t offset, size_t bytes) {
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return cvy_fail(CONVOY_INVALID, "%zu bytes at %zu do not lie in a buffer of %zu", bytes, offset,
                        buffer->bytes);
    return CONVOY_OK;
}

convoy_status cvy_buffer_write(cvy_buffer *buffer, size_t offset, const void *data, size_t bytes) {
    convoy_status status = cvy_buffer_check_range(buffer, offset, bytes);
    if (status || bytes == 0)
        return status;
    if (buffer->host) {
        memcpy(buffer->host + offset, data, bytes);
        return CONVOY_OK;
    }
    buffer->device->counters.waits++;
    cl_int code = CVY_CALL(buffer->device, clEnqueueWriteBuffer, buffer->device->queue, buffer->memory,
                           CL_TRUE, offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? CONVOY_OK : cvy_fail_opencl(code, "writing %zu bytes to the device", bytes);
}

convoy_status cvy_buffer_read(cvy_buffer *buffer, size_t offset, void *data, size_t bytes) {
    convoy_status status = cvy_buffer_check_range(buffer, offset, bytes);
    if (status || bytes == 0)
        return status;
    if (buffer->host) {
        memcpy(data, buffer->host + offset, bytes);
        return CONVOY_OK;
    }
    buffer->device->counters.waits++;
    cl_int code = CVY_CALL(buffer->device, clEnqueueReadBuffer, buffer->device->queue, buffer->memory,
                           CL_TRUE, offset, bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? CONVOY_OK : cvy_fail_opencl(code, "reading %zu bytes from the device", bytes);
}

convoy_status cvy_buffer_copy(cvy_buffer *from, size_t from_offset, cvy_buffer *to, size_t to_offset,
                              size_t bytes) {
    convoy_status status = cvy_buffer_check_range(from, from_offset, bytes);
    if (!status)
        status = cvy_buffer_check_range(to, to_offset, bytes);
    if (status || bytes == 0)
        return status;
    if (from->host) {
        memmove(to->host + to_offset, from->host + from_offset, bytes);
        return CONVOY_OK;
    }
    cl_int code = CVY_CALL(from->device, clEnqueueCopyBuffer, from->device->queue, from->memory, to->memory,
                           from_offset, to_offset, bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? CONVOY_OK : cvy_fail_opencl(code, "copying %zu bytes on the device", bytes);
}
