/* The bias gradient of a convolution (kernels/conv2d_im2col.cl, conv2d_sum_*). */
#include "ops/conv2d_bias.h"

/* Enough for all work-items of a device; the second step reads them all. */
enum { CPU_STRIPS = 64, GPU_STRIPS = 256 };

convoy_status cvy_conv2d_bias_prepare(convoy_device *device, const cvy_conv2d_shape *shape,
                                      cvy_conv2d_bias *bias) {
    *bias = (cvy_conv2d_bias){.plane = (size_t)shape->out_height * (size_t)shape->out_width *
                                       (size_t)shape->pitch / 4,
                              .out_channels = (size_t)shape->out_channels,
                              .count = cvy_device_get_traits(device)->cpu ? CPU_STRIPS : GPU_STRIPS};
    bias->scratch = bias->out_channels * (size_t)bias->count;
    convoy_status status = cvy_kernel_get(device, "conv2d_im2col", "conv2d_sum_strips", "", &bias->strips);
    if (!status)
        status = cvy_kernel_get(device, "conv2d_im2col", "conv2d_sum_channels", "", &bias->channels);
    return status;
}

convoy_status cvy_conv2d_bias_run(const cvy_conv2d_bias *bias, const cvy_conv2d_buffers *buffers,
                                  size_t offset) {
    if (!buffers->gbias)
        return CONVOY_OK;
    convoy_status status =
        CVY_LAUNCH(bias->strips, cvy_items3((size_t)bias->count, bias->out_channels, 1), cvy_buf(buffers->gy),
                   cvy_buf(buffers->workspace), cvy_ulong(offset), cvy_ulong(bias->plane),
                   cvy_int(bias->count), cvy_int((int)bias->out_channels));
    if (!status)
        status = CVY_LAUNCH(bias->channels, cvy_items(bias->out_channels), cvy_buf(buffers->workspace),
                            cvy_buf(buffers->gbias), cvy_ulong(offset), cvy_int(bias->count),
                            cvy_int((int)bias->out_channels), cvy_int(buffers->accumulate));
    return status;
}
