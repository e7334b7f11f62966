/* What a network needs of the device's memory: where its parameters lie, the sum by part, and whether that
   fits. */
#include <stdio.h>
#include <string.h>

#include "base/integer.h"
#include "network/inside.h"

/* Tensors start at multiples of this in the parameter buffer, whatever the device, so that optimizer states
   fit any device. No OpenCL device wants more (CL_DEVICE_MEM_BASE_ADDR_ALIGN is at most 512 bytes in
   practice). */
enum { TENSOR_ALIGNMENT = 1024 };

/* Small batches that are only evaluated get by with the next power of two on CPUs, where 16 images would cost
   as much as 16 times one. */
static int small_pitch_of(int batch_size) {
    int pitch = 1;
    while (pitch < batch_size)
        pitch *= 2;
    return pitch;
}

static int pitch_step(const cvy_device_traits *traits) {
    return traits->pitch_multiple > 0 ? traits->pitch_multiple : 16;
}

int cvy_network_pitch_of(const cvy_device_traits *traits, int batch_size, bool training) {
    const bool few = !training && batch_size < 16;
    return few && (traits->cpu || traits->host)
               ? small_pitch_of(batch_size)
               : (int)round_up((size_t)batch_size, (size_t)pitch_step(traits));
}

/* Parts of the buffer: groups, then these. */
enum { PART_FROZEN = CVY_GROUPS, PART_REST, PART_MASKS, PARTS };

static int part_of(const convoy_model *model, const cvy_model_tensor *tensor) {
    if (!cvy_tensor_has_gradient(model, tensor))
        return PART_REST;
    return tensor->frozen ? PART_FROZEN : tensor->group;
}

cvy_layout cvy_network_lay_out(const convoy_model *model, const cvy_device_traits *traits,
                               cvy_tensor_place *places) {
    const size_t alignment = round_up(max_size(traits->view_alignment, 1), TENSOR_ALIGNMENT);
    cvy_layout layout = {0};
    size_t at = 0;
    for (int part = 0; part < PARTS; part++) {
        const size_t begin = at;
        for (size_t t = 0; t < model->tensor_count && (part >= PART_FROZEN || part < (int)model->group_count);
             t++) {
            const cvy_model_tensor *tensor = &model->tensors[t];
            if (part == PART_MASKS ? !tensor->about->mask : part_of(model, tensor) != part)
                continue;
            if (places && part < PART_MASKS)
                places[t] = (cvy_tensor_place){at / sizeof(float), SIZE_MAX};
            else if (places)
                places[t].mask_offset = at / sizeof(float);
            at += round_up(tensor->count * sizeof(float), alignment);
        }
        if (part < CVY_GROUPS) {
            layout.groups[part] = (cvy_range){begin / sizeof(float), (at - begin) / sizeof(float)};
            layout.learnt = at / sizeof(float);
        }
        if (part <= PART_FROZEN)
            layout.gradients = at / sizeof(float);
    }
    layout.bytes = at;
    return layout;
}

/* ---- the sum ---- */

static int whole_batch(const cvy_network_options *options) {
    return options->whole_batch ? options->whole_batch : options->batch_size;
}

static size_t bytes_beside(const convoy_network *network) {
    const cvy_network_options *options = &network->options;
    const size_t counts[] = {[CVY_FIXED_SIZE] = 1,
                             [CVY_PER_COLUMN] = (size_t)network->pitch,
                             [CVY_PER_PIECE] = (size_t)options->batch_size,
                             [CVY_PER_BATCH] = (size_t)whole_batch(options)};
    size_t bytes = 0;
    for (size_t i = 0; options->beside && i < options->beside->count; i++) {
        const cvy_size *size = &options->beside->list[i];
        bytes += cvy_buffer_footprint(counts[size->growth] * size->bytes);
    }
    return bytes;
}

size_t cvy_memory_total(const cvy_memory *parts) {
    return parts->parameters + parts->gradients + parts->optimizer + parts->activations + parts->workspace +
           parts->data;
}

cvy_memory cvy_network_memory(const convoy_network *network) {
    const bool training = network->options.training;
    const cvy_recipe *recipe = &network->model->recipe;
    const int copies = cvy_optimizer_states(&recipe->optimizer) + (recipe->ema > 0);
    return (cvy_memory){.parameters = network->layout.bytes,
                        .gradients = training ? network->layout.gradients * sizeof(float) : 0,
                        .optimizer = training ? network->layout.learnt * (size_t)copies * sizeof(float) : 0,
                        .activations = cvy_plan_bytes(network->plan),
                        .workspace = cvy_buffer_footprint(network->workspace_bytes),
                        .data = bytes_beside(network)};
}

cvy_memory cvy_model_memory(const convoy_model *model, const cvy_device_traits *traits, int batch_size,
                            bool training) {
    const cvy_network_options options = {.batch_size = batch_size, .training = training};
    convoy_network *network = NULL;
    cvy_memory parts = {0};
    convoy_status status = cvy_network_begin((convoy_model *)model, traits, NULL, &options, &network);
    if (!status && !cvy_network_describe(network))
        parts = cvy_network_memory(network);
    convoy_network_close(network);
    return parts;
}

/* ---- does it fit? ---- */

static bool fits(const convoy_network *network) {
    const cvy_memory parts = cvy_network_memory(network);
    return cvy_memory_total(&parts) <= network->traits->memory &&
           max_size(parts.parameters, parts.workspace) <= network->traits->max_allocation;
}

/* Would a network of this pitch fit, with batches as they are or `small`? */
static bool would_fit(const convoy_network *network, int pitch, bool small) {
    cvy_network_options options = network->options;
    convoy_network *other = NULL;
    options.whole_batch = small ? pitch : whole_batch(&network->options);
    options.batch_size = pitch;
    convoy_status status =
        cvy_network_begin(network->model, network->traits, network->device, &options, &other);
    if (!status)
        status = cvy_network_describe(other);
    const bool would = !status && fits(other);
    convoy_network_close(other);
    return would;
}

/* The largest such pitch below the network's; 0: none. */
static int fitting_pitch(const convoy_network *network, bool small) {
    int step = pitch_step(network->traits), low = 0, high = network->pitch / step;
    while (low + 1 < high) { /* low fits (0: nothing known to), high does not */
        int middle = low + (high - low) / 2;
        if (would_fit(network, middle * step, small))
            low = middle;
        else
            high = middle;
    }
    return low * step;
}

static convoy_status fail_too_large(const convoy_network *network, const char *need) {
    const cvy_device_traits *traits = network->traits;
    const int batch = fitting_pitch(network, true);
    const int piece = network->options.training ? fitting_pitch(network, false) : 0;
    const char *name = convoy_device_get_info(network->device)->name;
    char keep_batch[96] = "", advice[192];
    if (piece)
        snprintf(keep_batch, sizeof keep_batch,
                 ", and so would a micro-batch of %d (--micro-batch %d), which keeps the batch", piece,
                 piece);
    if (batch)
        snprintf(advice, sizeof advice, "; a batch size of %d would fit%s", batch, keep_batch);
    else
        snprintf(advice, sizeof advice, ", and not even a batch of %d fits", pitch_step(traits));
    return cvy_fail(CONVOY_MEMORY,
                    "%s with batches of %d needs %s; %s has %.1f MB, at most %.1f MB in one piece%s",
                    network->model->name, network->options.batch_size, need, name,
                    (double)traits->memory / 1e6, (double)traits->max_allocation / 1e6, advice);
}

convoy_status cvy_network_check_fit(const convoy_network *network, convoy_status planned) {
    const cvy_device_traits *traits = network->traits;
    char text[64];
    if (planned)
        return planned == CONVOY_MEMORY ? fail_too_large(network, "a tensor larger than the device allows")
                                        : planned;
    const cvy_memory parts = cvy_network_memory(network);
    if (parts.parameters > traits->max_allocation)
        return cvy_fail(CONVOY_MEMORY,
                        "the parameters of %s need %.1f MB in one piece, but %s allows %.1f MB",
                        network->model->name, (double)parts.parameters / 1e6,
                        convoy_device_get_info(network->device)->name, (double)traits->max_allocation / 1e6);
    snprintf(text, sizeof text, "%.1f MB", (double)cvy_memory_total(&parts) / 1e6);
    return fits(network) ? CONVOY_OK : fail_too_large(network, text);
}
