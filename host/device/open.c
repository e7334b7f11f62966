/* Opening and closing a device: selection, fallback, traits, and a self-check before it is trusted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/log.h"
#include "base/text.h"
#include "device/drivers.h"
#include "device/opencl.h"

enum {
    PITCH_MULTIPLE = 16,
    SELF_CHECK_ITEMS = 1000,
    SELF_CHECK_STEPS = 70000,
    /* Drivers differ in which level of cache they report, and a virtual machine has but a share of it. */
    LEAST_CACHE = 16 << 20,
    MOST_CACHE = 64 << 20
};

/* Of cl_nv_device_attribute_query, which OpenCL's own header does not have. */
#define COMPUTE_CAPABILITY_MAJOR_NV 0x4000
enum { LEAST_TENSOR_CAPABILITY = 8 };

/* 0 on devices that are not NVIDIA's: they do not know the query. */
static unsigned compute_capability(const convoy_device *device) {
    cl_uint major = 0;
    if (!device->id ||
        clGetDeviceInfo(device->id, COMPUTE_CAPABILITY_MAJOR_NV, sizeof major, &major, NULL) != CL_SUCCESS)
        return 0;
    return major;
}

static void fill_traits(convoy_device *device) {
    cvy_device_traits *traits = &device->traits;
    traits->pitch_multiple = PITCH_MULTIPLE;
    traits->compute_units = device->info.compute_units > 0 ? device->info.compute_units : 1;
    traits->memory = (size_t)device->info.memory;
    traits->max_allocation = (size_t)device->info.max_allocation;
    traits->vector_width = 1;
    if (!device->id) {
        traits->host = true;
        traits->max_work_group = 1;
        traits->view_alignment = 128;
        return;
    }
    traits->cpu = !strcmp(device->info.type, "cpu");
    cl_uint width = 0, bits = 0;
    cl_ulong local = 0, cache = 0;
    clGetDeviceInfo(device->id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof width, &width, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof bits, &bits, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, sizeof cache, &cache, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof traits->max_work_group,
                    &traits->max_work_group, NULL);
    if (traits->cpu)
        traits->vector_width = width >= 16 ? 16 : width >= 8 ? 8 : 4;
    traits->local_memory = (size_t)local;
    traits->cache = cache < LEAST_CACHE ? LEAST_CACHE : cache > MOST_CACHE ? MOST_CACHE : (size_t)cache;
    traits->view_alignment = bits / 8 > 128 ? bits / 8 : 128;
    if (traits->max_work_group == 0)
        traits->max_work_group = 1;
    traits->quirks = cvy_quirks_of(&device->info, NULL);
    if (traits->quirks & CVY_QUIRK_MMA_NVIDIA && compute_capability(device) >= LEAST_TENSOR_CAPABILITY)
        traits->tensor_cores = CVY_TENSOR_NVIDIA;
}

/* Does this device compute at all? One small kernel, compared with what the host gets. It stands among
   the simple kernels, which every network needs, so it costs a start no program of its own. */
static convoy_status self_check(convoy_device *device, const cvy_listener *listener) {
    float values[SELF_CHECK_ITEMS];
    cvy_buffer *buffer = NULL;
    cvy_kernel *kernel = NULL;
    for (int i = 0; i < SELF_CHECK_ITEMS; i++)
        values[i] = (float)i;
    cvy_tell(listener, "making a buffer");
    convoy_status status = cvy_buffer_create(device, sizeof values, "the self-check", &buffer);
    if (!status)
        status = cvy_buffer_write(buffer, 0, values, sizeof values);
    cvy_tell(listener, "clBuildProgram");
    if (!status)
        status = cvy_kernel_get_simple(device, "selfcheck", "selfcheck", &kernel);
    cvy_tell(listener, "the first launch");
    if (!status)
        status = CVY_LAUNCH(kernel, cvy_items(SELF_CHECK_ITEMS), cvy_buf(buffer), cvy_float(2),
                            cvy_int(SELF_CHECK_ITEMS));
    if (!status)
        status = cvy_buffer_read(buffer, 0, values, sizeof values);
    if (!status && listener) {
        cvy_tell(listener, "clFinish");
        status = cvy_device_finish(device);
    }
    for (int i = 0; !status && i < SELF_CHECK_ITEMS; i++)
        if (values[i] != 2 * (float)i + 1)
            status = cvy_fail(CONVOY_DEVICE, "the self-check computed %g where %g is right",
                              (double)values[i], 2.0 * i + 1);
    cvy_buffer_free(buffer);
    return status;
}

/* Do long loops run to their end? On Mesa's llvmpipe they do not (CVY_QUIRK_ENDS_LOOPS). Kernels for CPUs,
   whose work-items do much each, come out wrong there; those for GPUs do not unless tensors are very large.
 */
static convoy_status check_loops(convoy_device *device) {
    uint32_t expected = 0, found = 0;
    cvy_buffer *buffer = NULL;
    cvy_kernel *kernel = NULL;
    for (int i = 0; i < SELF_CHECK_STEPS; i++)
        expected = expected * 1664525u + 1013904223u;
    convoy_status status = cvy_buffer_create(device, sizeof found, "the self-check", &buffer);
    if (!status)
        status = cvy_kernel_get_simple(device, "selfcheck", "selfcheck_loop", &kernel);
    if (!status)
        status = CVY_LAUNCH(kernel, cvy_singles(1, 1, 1), cvy_buf(buffer), cvy_uint(SELF_CHECK_STEPS));
    if (!status)
        status = cvy_buffer_read(buffer, 0, &found, sizeof found);
    if (!status && found != expected) {
        device->traits.quirks |= CVY_QUIRK_ENDS_LOOPS;
        device->traits.cpu = false;
        device->traits.vector_width = 1;
    }
    cvy_buffer_free(buffer);
    return status;
}

convoy_status cvy_open_candidate(const cvy_candidate *candidate, const cvy_listener *listener,
                                 convoy_device **out) {
    convoy_status status = CONVOY_OK;
    cl_int code = CL_SUCCESS;
    convoy_device *device = calloc(1, sizeof *device);
    if (!device)
        return cvy_fail_memory("a device", sizeof *device);
    cvy_object_open(device);
    device->info = candidate->info;
    device->info.size = sizeof device->info;
    device->platform = candidate->platform;
    device->id = candidate->id;
    fill_traits(device);
    if (device->id) {
        const char *sync = getenv("CONVOY_SYNC");
        device->wait_each = sync && strcmp(sync, "0") != 0;
        cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform,
                                              0};
        cvy_tell(listener, "clCreateContext");
        cvy_call_begins(device, "clCreateContext");
        device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
        cvy_call_is_over(device, code);
        if (code == CL_SUCCESS)
            device->queue = clCreateCommandQueue(device->context, device->id, 0, &code);
        status = code == CL_SUCCESS ? self_check(device, listener)
                                    : cvy_fail_opencl(code, "no context could be made on it");
        if (!status)
            status = check_loops(device);
        if (status)
            status = cvy_fail_in(status, "device %s (%s, %s)", device->info.id, device->info.name,
                                 device->info.platform);
    }
    if (!status)
        *out = device;
    else
        convoy_device_close(device);
    return status;
}

/* In a child first: opening it may end or hang the process. */
static convoy_status open_candidate(const cvy_candidate *candidate, convoy_device **out) {
    convoy_status status = candidate->id ? cvy_driver_try_device(&candidate->info) : CONVOY_OK;
    if (status)
        return cvy_fail_in(status, "device %s (%s, %s)", candidate->info.id, candidate->info.name,
                           candidate->info.platform);
    return cvy_open_candidate(candidate, NULL, out);
}

/* Opens the best usable device; each failure is told and the next one tried. The host never fails. */
static convoy_status open_best(cvy_candidate *list, size_t count, convoy_device **out) {
    for (;;) {
        cvy_candidate *best = NULL;
        for (size_t i = 0; i < count; i++)
            if (list[i].info.score >= 0 && (!best || list[i].info.score > best->info.score))
                best = &list[i];
        if (!best)
            return cvy_fail(CONVOY_DEVICE, "no device could be opened: %s", convoy_error_message());
        if (best->id == NULL && count == 1)
            cvy_warning("%s; computing on the host CPU, slowly", best->info.reason);
        convoy_status status = open_candidate(best, out);
        if (!status && (*out)->traits.quirks & CVY_QUIRK_ENDS_LOOPS) {
            convoy_device_close(*out);
            *out = NULL;
            status = cvy_fail(CONVOY_DEVICE, "the driver of %s (%s) ends long loops early", best->info.name,
                              best->info.platform);
        }
        if (!status || best->id == NULL)
            return status;
        cvy_warning("%s; trying the next device", convoy_error_message());
        best->info.score = -2;
    }
}

static bool matches(const convoy_device_info *info, const char *selector) {
    if (!strcmp(selector, "gpu"))
        return !strcmp(info->type, "gpu") || !strcmp(info->type, "igpu");
    if (!strcmp(selector, "cpu"))
        return !strcmp(info->type, "cpu");
    if (!strcmp(selector, "host"))
        return !strcmp(info->type, "host");
    if (selector[0] >= '0' && selector[0] <= '9' && strchr(selector, ':'))
        return !strcmp(info->id, selector);
    return cvy_text_contains(info->name, selector) || cvy_text_contains(info->platform, selector);
}

static convoy_status fail_no_match(const char *selector, const cvy_candidate *list, size_t count) {
    cvy_text found = {0};
    const char *failure = list[count - 1].failure;
    for (size_t i = 0; i < count; i++)
        cvy_text_add(&found, "%s%s (%s, %s, %s)", i ? "; " : "", list[i].info.id, list[i].info.name,
                     list[i].info.platform, list[i].info.type);
    convoy_status status = cvy_fail(
        CONVOY_DEVICE,
        "no device matches \"%s\"; there is: %s; ask for auto, gpu, cpu, host, P:D or a part of a name%s%s",
        selector, cvy_text_get(&found), *failure ? "; but " : "", failure);
    cvy_text_free(&found);
    return status;
}

convoy_status convoy_device_open(const char *selector, convoy_device **device) {
    cvy_candidate *list = NULL;
    size_t count = 0;
    convoy_status status = CVY_GIVEN_POINTER(device);
    if (status)
        return status;
    *device = NULL;
    if (!selector || !*selector)
        selector = getenv("CONVOY_DEVICE");
    if (!selector || !*selector)
        selector = "auto";
    if (!strcmp(selector, "host")) { /* without a word to any driver */
        cvy_candidate host;
        cvy_host_candidate(&host);
        return cvy_open_candidate(&host, NULL, device);
    }
    status = cvy_find_devices(&list, &count);
    if (status)
        return status;
    if (!strcmp(selector, "auto")) {
        status = open_best(list, count, device);
        goto done;
    }
    const cvy_candidate *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (matches(&list[i].info, selector) && (!best || list[i].info.score > best->info.score))
            best = &list[i];
    status = best ? open_candidate(best, device) : fail_no_match(selector, list, count);
    if (!status && (*device)->traits.quirks & CVY_QUIRK_ENDS_LOOPS)
        cvy_warning("the driver of %s (%s) ends long loops early: large layers may come out wrong on it",
                    best->info.name, best->info.platform);
done:
    free(list);
    return status;
}

convoy_status cvy_device_open_named(const char *id, const char *name, convoy_device **device) {
    *device = cvy_driver_take_device();
    convoy_status status = *device ? CONVOY_OK : convoy_device_open(id, device);
    if (status || (strcmp((*device)->info.id, id) == 0 && strcmp((*device)->info.name, name) == 0))
        return status;
    convoy_device_close(*device);
    *device = NULL;
    return cvy_fail(CONVOY_DEVICE, "device %s is not %s", id, name);
}

void convoy_device_close(convoy_device *device) {
    if (!device || !cvy_object_close(__func__, "device", device))
        return;
    if (device->transfers)
        CVY_CALL(device, clFinish, device->transfers);
    if (device->queue)
        CVY_CALL(device, clFinish, device->queue);
    while (device->close_hooks) {
        cvy_close_hook *hook = device->close_hooks;
        device->close_hooks = hook->next;
        hook->call();
        free(hook);
    }
    if (device->release_attached)
        device->release_attached(device->attached);
    cvy_programs_release(device);
    if (device->transfers)
        CVY_CALL(device, clReleaseCommandQueue, device->transfers);
    if (device->queue)
        CVY_CALL(device, clReleaseCommandQueue, device->queue);
    if (device->context)
        CVY_CALL(device, clReleaseContext, device->context);
    free(device->pending);
    free(device);
}

void cvy_device_on_close(convoy_device *device, void (*hook)(void)) {
    for (cvy_close_hook *known = device->close_hooks; known; known = known->next)
        if (known->call == hook)
            return;
    cvy_close_hook *added = malloc(sizeof *added);
    if (!added)
        return; /* a cache that is not cleared costs memory, nothing else */
    *added = (cvy_close_hook){hook, device->close_hooks};
    device->close_hooks = added;
}

void cvy_device_attach(convoy_device *device, void *data, void (*release)(void *data)) {
    device->attached = data;
    device->release_attached = release;
}

void *cvy_device_attached(const convoy_device *device) {
    return device->attached;
}

const convoy_device_info *convoy_device_get_info(const convoy_device *device) {
    return CVY_GIVEN(device) ? NULL : &device->info;
}

const cvy_device_traits *cvy_device_get_traits(const convoy_device *device) {
    return &device->traits;
}

cvy_device_counters cvy_device_get_counters(const convoy_device *device) {
    return device->counters;
}

cl_command_queue cvy_device_queue(const convoy_device *device) {
    return device->queue;
}

const char *const cvy_precision_names[] = {"float32", "tf32", "bf16", NULL};

convoy_status convoy_device_set_precision(convoy_device *device, convoy_precision precision) {
    convoy_status status = CVY_GIVEN(device);
    if (status)
        return status;
    const convoy_device_info *info = &device->info;
    if ((unsigned)precision > CONVOY_BF16)
        return cvy_fail(CONVOY_INVALID, "convoy_device_set_precision: there is no precision %d",
                        (int)precision);
    if (precision != CONVOY_FLOAT32 && device->traits.tensor_cores == CVY_TENSOR_NONE) {
        const unsigned capability = compute_capability(device);
        char found[64] = "which is not one of NVIDIA's GPUs";
        if (capability)
            snprintf(found, sizeof found, "whose compute capability is %u", capability);
        return cvy_fail(
            CONVOY_DEVICE,
            "precision %s needs tensor cores of compute capability %d.0 or newer, and there are none "
            "on %s (%s, %s), %s; leave the precision at float32",
            cvy_precision_names[precision], LEAST_TENSOR_CAPABILITY, info->name, info->id, info->platform,
            found);
    }
    device->traits.precision = precision;
    return CONVOY_OK;
}

convoy_status convoy_device_verify(convoy_device *device, int every) {
    convoy_status status = CVY_GIVEN(device);
    if (!status && every < 0)
        status =
            cvy_fail(CONVOY_INVALID, "%s: a result of every %d-th batch? 0 (none) or more", __func__, every);
    if (!status)
        device->verifies = every;
    return status;
}

int cvy_device_verifies(const convoy_device *device) {
    return device->verifies;
}
