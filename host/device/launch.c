/* Launches, waiting for them, and how long each kernel took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/opencl.h"

enum {
    CPU_GROUP = 64,
    GPU_GROUP = 256,
    PENDING_LIMIT = 8192,
    FLUSH_EVERY = 256 /* launches; some drivers of GPUs hold a queue back until somebody waits for it */
};

static convoy_status collect_profile(convoy_device *device);

static convoy_status set_argument(cvy_kernel *kernel, unsigned index, const cvy_arg *argument) {
    static const size_t sizes[] = {[CVY_ARG_BUFFER] = sizeof(cl_mem),
                                   [CVY_ARG_INT] = 4,
                                   [CVY_ARG_UINT] = 4,
                                   [CVY_ARG_ULONG] = 8,
                                   [CVY_ARG_FLOAT] = 4};
    const bool local = argument->kind == CVY_ARG_LOCAL, buffer = argument->kind == CVY_ARG_BUFFER;
    const cl_mem memory = buffer && argument->value.buffer ? argument->value.buffer->memory : NULL;
    const void *value = buffer ? (const void *)&memory : &argument->value;
    cl_int code =
        clSetKernelArg(kernel->handle, index, local ? argument->value.local_bytes : sizes[argument->kind],
                       local ? NULL : value);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(code, "argument %u of kernel %s in %s.cl", index, kernel->function,
                               kernel->file);
    return CONVOY_OK;
}

/* Fills in local sizes that were left open, and rounds the global sizes up to them. */
static void complete(const cvy_kernel *kernel, size_t global[3], size_t local[3]) {
    const cvy_device_traits *traits = &kernel->device->traits;
    if (kernel->required[0])
        memcpy(local, kernel->required, sizeof kernel->required);
    if (!local[0]) {
        size_t limit = traits->cpu ? CPU_GROUP : GPU_GROUP;
        if (limit > kernel->max_work_group)
            limit = kernel->max_work_group;
        while (limit > 1 && limit / 2 >= global[0])
            limit /= 2;
        local[0] = limit;
        local[1] = local[2] = 1;
    }
    for (int d = 0; d < 3; d++) {
        if (!local[d])
            local[d] = 1;
        global[d] = (global[d] + local[d] - 1) / local[d] * local[d];
    }
}

static convoy_status remember(convoy_device *device, cvy_kernel *kernel, cl_event event) {
    if (device->pending_count == device->pending_capacity) {
        size_t capacity = device->pending_capacity ? 2 * device->pending_capacity : 256;
        cvy_pending *larger = realloc(device->pending, capacity * sizeof *larger);
        if (!larger) {
            clReleaseEvent(event);
            return cvy_fail_memory("the profile", capacity * sizeof *larger);
        }
        device->pending = larger;
        device->pending_capacity = capacity;
    }
    device->pending[device->pending_count++] = (cvy_pending){event, kernel};
    return device->pending_count < PENDING_LIMIT ? CONVOY_OK : collect_profile(device);
}

static convoy_status rehearse(cvy_kernel *kernel, const cvy_grid *grid, const cvy_arg *args, size_t count) {
    convoy_device *device = kernel->device;
    for (const cvy_rehearsed *known = device->rehearsed; known; known = known->next)
        if (known->kernel == kernel && !memcmp(known->grid.local, grid->local, sizeof grid->local))
            return CONVOY_OK;
    cvy_rehearsed *new = malloc(sizeof *new + count * sizeof *args);
    if (!new)
        return cvy_fail_memory("a launch", sizeof *new);
    *new = (cvy_rehearsed){.kernel = kernel, .grid = *grid, .next = device->rehearsed, .count = count};
    memcpy(new->args, args, count * sizeof *args);
    device->rehearsed = new;
    return CONVOY_OK;
}

void cvy_rehearsal_start(convoy_device *device) {
    device->rehearses = true;
}

/* One group of them: a driver compiles for a group's size. PoCL has another form of a kernel for grids that
   are 65,535 items long, so these stay. */
static cvy_grid one_group(cvy_grid grid) {
    for (int d = 0; d < 3; d++)
        if (grid.global[d] >= 65535)
            return grid;
    memcpy(grid.global, grid.local, sizeof grid.global);
    return grid;
}

convoy_status cvy_rehearsal_end(convoy_device *device) {
    convoy_status status = CONVOY_OK;
    device->rehearses = false;
    for (cvy_rehearsed *next, *one = device->rehearsed; one; one = next) {
        next = one->next;
        if (!status)
            status = cvy_launch(one->kernel, one_group(one->grid), one->args, one->count);
        free(one);
    }
    device->rehearsed = NULL;
    return status ? status : cvy_device_finish(device);
}

convoy_status cvy_launch(cvy_kernel *kernel, cvy_grid grid, const cvy_arg *args, size_t count) {
    convoy_device *device = kernel->device;
    if (!grid.global[0] || !grid.global[1] || !grid.global[2])
        return CONVOY_OK;
    if (count != kernel->argument_count)
        return cvy_fail(CONVOY_DEVICE, "kernel %s in %s.cl takes %u arguments, %zu were given",
                        kernel->function, kernel->file, kernel->argument_count, count);
    complete(kernel, grid.global, grid.local);
    if (device->rehearses)
        return rehearse(kernel, &grid, args, count);
    for (unsigned i = 0; i < count; i++) {
        convoy_status status = set_argument(kernel, i, &args[i]);
        if (status)
            return status;
    }
    cl_event event = NULL;
    const double start = kernel->launched ? 0 : cvy_building_start(device, kernel->file);
    device->latest = kernel;
    cl_int code = CVY_CALL(device, clEnqueueNDRangeKernel, device->queue, kernel->handle, 3, NULL,
                           grid.global, grid.local, 0, NULL, device->profiling ? &event : NULL);
    if (!kernel->launched) {
        cvy_building_end(device, start);
        device->building.done++;
        kernel->launched = true;
    }
    if (code == CL_SUCCESS && device->wait_each) {
        device->counters.waits++;
        code = CVY_CALL(device, clFinish, device->queue);
    } else if (code == CL_SUCCESS && !device->traits.cpu && device->counters.launches % FLUSH_EVERY == 0)
        code = CVY_CALL(device, clFlush, device->queue);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(code, "launching %s of %s.cl over %zux%zux%zu in groups of %zux%zux%zu",
                               kernel->function, kernel->file, grid.global[0], grid.global[1], grid.global[2],
                               grid.local[0], grid.local[1], grid.local[2]);
    device->counters.launches++;
    return event ? remember(device, kernel, event) : CONVOY_OK;
}

convoy_status cvy_device_finish(convoy_device *device) {
    if (!device->queue)
        return CONVOY_OK;
    device->counters.waits++;
    cl_int code = CVY_CALL(device, clFinish, device->queue);
    return code == CL_SUCCESS
               ? CONVOY_OK
               : cvy_fail_opencl(code, "%s failed (CONVOY_SYNC=1 names the kernel)", device->info.name);
}

/* ---- Profiling ---- */

static convoy_status collect_profile(convoy_device *device) {
    convoy_status status = cvy_device_finish(device);
    for (size_t i = 0; i < device->pending_count; i++) {
        cvy_pending *pending = &device->pending[i];
        cl_ulong start = 0, end = 0;
        if (!status &&
            clGetEventProfilingInfo(pending->event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) ==
                CL_SUCCESS &&
            clGetEventProfilingInfo(pending->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) ==
                CL_SUCCESS) {
            pending->kernel->seconds += 1e-9 * (double)(end - start);
            pending->kernel->launches++;
        }
        clReleaseEvent(pending->event);
    }
    device->pending_count = 0;
    return status;
}

static convoy_status reopen_queue(convoy_device *device, bool profiling) {
    convoy_status status = cvy_device_finish(device);
    if (status)
        return status;
    cl_int code = CL_SUCCESS;
    cl_command_queue queue =
        clCreateCommandQueue(device->context, device->id, profiling ? CL_QUEUE_PROFILING_ENABLE : 0, &code);
    if (code != CL_SUCCESS)
        return cvy_fail_opencl(code, "a command queue with%s profiling", profiling ? "" : "out");
    CVY_CALL(device, clReleaseCommandQueue, device->queue);
    device->queue = queue;
    device->profiling = profiling;
    return CONVOY_OK;
}

convoy_status cvy_profile_start(convoy_device *device) {
    if (!device->queue)
        return CONVOY_OK;
    for (size_t b = 0; b < sizeof device->kernels / sizeof device->kernels[0]; b++)
        for (cvy_kernel *kernel = device->kernels[b]; kernel; kernel = kernel->next) {
            kernel->seconds = 0;
            kernel->launches = 0;
        }
    return reopen_queue(device, true);
}

static int by_time(const void *a, const void *b) {
    double x = ((const cvy_profile_row *)a)->seconds, y = ((const cvy_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

convoy_status cvy_profile_stop(convoy_device *device, cvy_profile_row **rows, size_t *count) {
    size_t used = 0, capacity = 0;
    *rows = NULL;
    *count = 0;
    if (!device->queue)
        return CONVOY_OK;
    convoy_status status = collect_profile(device);
    if (!status)
        status = reopen_queue(device, false);
    if (status)
        return status;
    const size_t buckets = sizeof device->kernels / sizeof device->kernels[0];
    for (size_t b = 0; b < buckets; b++)
        for (cvy_kernel *kernel = device->kernels[b]; kernel; kernel = kernel->next)
            capacity += kernel->launches > 0;
    cvy_profile_row *list = calloc(capacity + 1, sizeof *list);
    if (!list)
        return cvy_fail_memory("the profile", (capacity + 1) * sizeof *list);
    for (size_t b = 0; b < buckets; b++)
        for (cvy_kernel *kernel = device->kernels[b]; kernel; kernel = kernel->next) {
            if (!kernel->launches)
                continue;
            char name[sizeof list->kernel];
            snprintf(name, sizeof name, "%s:%s", kernel->file, kernel->function);
            size_t at = 0; /* the same kernel built with other options shares a row */
            while (at < used && strcmp(list[at].kernel, name) != 0)
                at++;
            if (at == used)
                memcpy(list[used++].kernel, name, sizeof name);
            list[at].launches += kernel->launches;
            list[at].seconds += kernel->seconds;
        }
    qsort(list, used, sizeof *list, by_time);
    *rows = list;
    *count = used;
    return CONVOY_OK;
}
