/* Running averages: reference, and kernels/average.cl. */
#include "ops/average.h"

void cvy_average_reference(double weight, size_t count, const float *values, float *averages) {
    for (size_t i = 0; i < count; i++)
        averages[i] = (float)((1 - weight) * averages[i] + weight * values[i]);
}

convoy_status cvy_average_prepare(convoy_device *device, size_t count, cvy_average *op) {
    *op = (cvy_average){.count = count};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    const size_t width = (size_t)cvy_vector_width(device);
    convoy_status status = cvy_kernel_get_simple(device, "average", "average", &op->kernel);
    if (!status)
        op->blocks = cvy_vector_blocks(device, op->kernel, (count + width - 1) / width, 1);
    return status;
}

convoy_status cvy_average_run(const cvy_average *op, double weight, cvy_buffer *values,
                              cvy_buffer *averages) {
    if (op->kernel)
        return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(values), cvy_buf(averages),
                          cvy_ulong(op->count), cvy_uint(op->blocks.block), cvy_float((float)weight));
    cvy_average_reference(weight, op->count, cvy_buffer_host(values), cvy_buffer_host(averages));
    return CONVOY_OK;
}
