/* The bias gradient of a convolution (kernels/conv2d_bias.cl). */
#include <stdio.h>

#include "base/integer.h"
#include "ops/conv2d_bias.h"

enum {
    GPU_ITEMS = 64,     /* of a work-group */
    GPU_GROUPS = 32,    /* for each compute unit: work-items enough to wait for memory all at once */
    CPU_GROUPS = 4,     /* so that one slow core does not hold up the rest */
    LEAST_VECTORS = 4,  /* of a work-item, or the second step costs more than it gains */
    MOST_VECTORS = 4096 /* longer sums lose accuracy */
};

convoy_status cvy_conv2d_bias_prepare(convoy_device *device, const cvy_conv2d_shape *shape,
                                      cvy_conv2d_bias *bias) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const size_t vector = (size_t)cvy_vector_width(device), channels = (size_t)shape->out_channels;
    const size_t length =
        (size_t)shape->out_height * (size_t)shape->out_width * (size_t)shape->pitch / vector;
    const size_t items = traits->cpu ? 1 : GPU_ITEMS;
    const size_t groups = (size_t)traits->compute_units * (traits->cpu ? CPU_GROUPS : GPU_GROUPS);
    const size_t wanted = max_size(min_size(groups / channels, length / (items * LEAST_VECTORS)),
                                   length / (items * MOST_VECTORS));
    /* Whole vectors of strips, for the second step. */
    const size_t strips = wanted > 1 ? ceil_div_size(wanted, vector) * vector : 1;
    *bias = (cvy_conv2d_bias){.length = length,
                              .channels = channels,
                              .strips = strips,
                              .vector = vector,
                              .items = items,
                              .scratch = strips > 1 ? strips * channels : 0};
    char options[64];
    snprintf(options, sizeof options, "-DVW=%zu -DITEMS=%zu", vector, items);
    return cvy_kernel_get(device, "conv2d_bias", "conv2d_sum_rows", options, &bias->kernel);
}

/* Sums of the channels' rows of `length` vectors, in `strips` each. */
static convoy_status sum(const cvy_conv2d_bias *bias, cvy_buffer *rows, size_t offset, size_t length,
                         size_t strips, cvy_buffer *sums, size_t sums_offset, bool accumulate) {
    const cvy_grid grid = {{strips * bias->items, bias->channels, 1}, {bias->items, 1, 1}};
    return CVY_LAUNCH(bias->kernel, grid, cvy_buf(rows), cvy_ulong(offset), cvy_ulong(length),
                      cvy_ulong(ceil_div_size(length, strips)), cvy_buf(sums), cvy_ulong(sums_offset),
                      cvy_int(accumulate));
}

convoy_status cvy_conv2d_bias_run(const cvy_conv2d_bias *bias, const cvy_conv2d_buffers *b, size_t offset) {
    if (!b->gbias)
        return CONVOY_OK;
    if (bias->strips == 1)
        return sum(bias, b->gy, 0, bias->length, 1, b->gbias, 0, b->accumulate);
    convoy_status status = sum(bias, b->gy, 0, bias->length, bias->strips, b->workspace, offset, false);
    if (!status)
        status = sum(bias, b->workspace, offset, bias->strips / bias->vector, 1, b->gbias, 0, b->accumulate);
    return status;
}
