/* What a network needs of the device's memory: where its parameters lie, its plan of activations, the sum by
   part, and whether that fits. */
#include <stdio.h>
#include <string.h>

#include "base/integer.h"
#include "network/inside.h"

/* Tensors start at multiples of this in the parameter buffer, whatever the device, so that optimizer states
   fit any device. No OpenCL device wants more (CL_DEVICE_MEM_BASE_ADDR_ALIGN is at most 512 bytes in
   practice). */
enum { TENSOR_ALIGNMENT = 1024 };

static size_t tensor_alignment(const cvy_device_traits *traits) {
    size_t alignment = traits ? traits->view_alignment : 0;
    return alignment > TENSOR_ALIGNMENT ? round_up(alignment, TENSOR_ALIGNMENT) : TENSOR_ALIGNMENT;
}

/* Small batches that are only evaluated get by with the next power of two on CPUs, where 16 images would cost
   as much as 16 times one. */
static int small_pitch_of(int batch_size) {
    int pitch = 1;
    while (pitch < batch_size)
        pitch *= 2;
    return pitch;
}

static int pitch_of(int batch_size, int multiple) {
    return (int)round_up((size_t)batch_size, (size_t)(multiple > 0 ? multiple : 16));
}

int cvy_network_pitch_of(const convoy_device *device, int batch_size, bool training) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const bool few = !training && batch_size < 16;
    return few && (traits->cpu || traits->host) ? small_pitch_of(batch_size)
                                                : pitch_of(batch_size, traits->pitch_multiple);
}

/* Trainable tensors first, then statistics and fixed weights, then masks. `places` may be NULL. Returns
   bytes; *trainable receives the floats of the first part. */
static size_t lay_out(const convoy_model *model, size_t alignment, cvy_tensor_place *places,
                      size_t *trainable) {
    size_t at = 0;
    for (int part = 0; part < 3; part++) {
        for (size_t t = 0; t < model->tensor_count; t++) {
            const cvy_model_tensor *tensor = &model->tensors[t];
            bool learnt = tensor->about->role == CVY_TRAINABLE;
            if (part == 2 ? !tensor->about->mask : learnt != (part == 0))
                continue;
            if (places && part < 2)
                places[t] = (cvy_tensor_place){at / sizeof(float), SIZE_MAX};
            else if (places)
                places[t].mask_offset = at / sizeof(float);
            at += round_up(tensor->count * sizeof(float), alignment);
        }
        if (part == 0)
            *trainable = at / sizeof(float);
    }
    return at;
}

/* ---- the sum ---- */

/* `parameters` bytes, of which `trainable` floats are learnt. */
static cvy_memory parts_of(const convoy_model *model, size_t parameters, size_t trainable,
                           const cvy_plan *plan) {
    cvy_memory parts = {.parameters = parameters, .activations = cvy_plan_bytes(plan)};
    if (plan->training) {
        parts.gradients = trainable * sizeof(float);
        parts.optimizer = parts.gradients * (size_t)cvy_optimizer_states(&model->recipe.optimizer);
    }
    return parts;
}

size_t cvy_memory_total(const cvy_memory *parts) {
    return parts->parameters + parts->gradients + parts->optimizer + parts->activations + parts->workspace +
           parts->data;
}

cvy_memory cvy_network_memory(const convoy_network *network) {
    cvy_memory parts =
        parts_of(network->model, network->parameter_bytes, network->parameter_count, network->plan);
    parts.workspace = cvy_buffer_footprint(network->workspace_bytes);
    parts.data = network->data_bytes;
    return parts;
}

cvy_memory cvy_model_memory(const convoy_model *model, int batch_size, bool training) {
    cvy_plan *plan;
    size_t trainable, bytes = lay_out(model, tensor_alignment(NULL), NULL, &trainable);
    if (cvy_plan_create(model, pitch_of(batch_size, 16), training, 128, SIZE_MAX / 2, &plan))
        return (cvy_memory){0};
    cvy_memory parts = parts_of(model, bytes, trainable, plan);
    cvy_plan_free(plan);
    return parts;
}

/* ---- does it fit? ---- */

static size_t bytes_beside(const convoy_network *network, int piece, bool small) {
    const cvy_network_options *options = &network->options;
    return options->beside ? options->beside(options->beside_context, piece, small) : 0;
}

/* Would a network of this pitch fit, with batches as they are or `small`? The workspace grows with it. */
static bool would_fit(const convoy_network *network, const cvy_device_traits *traits, int pitch, bool small) {
    cvy_plan *plan;
    if (cvy_plan_create(network->model, pitch, network->options.training, traits->view_alignment,
                        traits->max_allocation, &plan))
        return false;
    cvy_memory parts = parts_of(network->model, network->parameter_bytes, network->parameter_count, plan);
    parts.workspace = network->workspace_bytes / (size_t)network->pitch * (size_t)pitch;
    parts.data = bytes_beside(network, pitch, small);
    cvy_plan_free(plan);
    return cvy_memory_total(&parts) <= traits->memory && parts.workspace <= traits->max_allocation;
}

/* The largest such pitch below the network's; 0: none. */
static int fitting_pitch(const convoy_network *network, const cvy_device_traits *traits, bool small) {
    int step = traits->pitch_multiple > 0 ? traits->pitch_multiple : 16, low = 0,
        high = network->pitch / step;
    while (low + 1 < high) { /* low fits (0: nothing known to), high does not */
        int middle = low + (high - low) / 2;
        if (would_fit(network, traits, middle * step, small))
            low = middle;
        else
            high = middle;
    }
    return low * step;
}

static convoy_status fail_too_large(const convoy_network *network, const cvy_device_traits *traits,
                                    const char *need) {
    const int batch = fitting_pitch(network, traits, true);
    const int piece = network->options.training ? fitting_pitch(network, traits, false) : 0;
    const char *name = convoy_device_get_info(network->device)->name;
    char keep_batch[96] = "", advice[192];
    if (piece)
        snprintf(keep_batch, sizeof keep_batch,
                 ", and so would a micro-batch of %d (--micro-batch %d), which keeps the batch", piece,
                 piece);
    if (batch)
        snprintf(advice, sizeof advice, "; a batch size of %d would fit%s", batch, keep_batch);
    else
        snprintf(advice, sizeof advice, ", and not even a batch of %d fits",
                 traits->pitch_multiple > 0 ? traits->pitch_multiple : 16);
    return cvy_fail(CONVOY_MEMORY,
                    "%s with batches of %d needs %s; %s has %.1f MB, at most %.1f MB in one piece%s",
                    network->model->name, network->options.batch_size, need, name,
                    (double)traits->memory / 1e6, (double)traits->max_allocation / 1e6, advice);
}

convoy_status cvy_network_check_fit(const convoy_network *network) {
    const cvy_device_traits *traits = cvy_device_get_traits(network->device);
    cvy_memory parts = cvy_network_memory(network);
    size_t need = cvy_memory_total(&parts);
    size_t piece = parts.parameters > parts.workspace ? parts.parameters : parts.workspace;
    char text[64];
    if (parts.parameters > traits->max_allocation)
        return cvy_fail(CONVOY_MEMORY,
                        "the parameters of %s need %.1f MB in one piece, but %s allows %.1f MB",
                        network->model->name, (double)parts.parameters / 1e6,
                        convoy_device_get_info(network->device)->name, (double)traits->max_allocation / 1e6);
    if (need <= traits->memory && piece <= traits->max_allocation)
        return CONVOY_OK;
    snprintf(text, sizeof text, "%.1f MB", (double)need / 1e6);
    return fail_too_large(network, traits, text);
}

convoy_status cvy_network_plan_memory(convoy_network *network) {
    const cvy_device_traits *traits = cvy_device_get_traits(network->device);
    network->pitch =
        cvy_network_pitch_of(network->device, network->options.batch_size, network->options.training);
    network->data_bytes = bytes_beside(network, network->options.batch_size, false);
    network->parameter_bytes =
        lay_out(network->model, tensor_alignment(traits), network->tensors, &network->parameter_count);
    convoy_status status = cvy_plan_create(network->model, network->pitch, network->options.training,
                                           traits->view_alignment, traits->max_allocation, &network->plan);
    if (status == CONVOY_MEMORY)
        return fail_too_large(network, traits, "a tensor larger than the device allows");
    return status ? status : cvy_network_check_fit(network);
}
