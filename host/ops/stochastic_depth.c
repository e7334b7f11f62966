/* Stochastic depth: the reference, and kernels/stochastic_depth.cl, which agrees with it bit for bit. */
#include "ops/stochastic_depth.h"

#include "base/rng.h"

/* What survives is multiplied by this; at p = 1 nothing does. */
static float survivor_scale(const cvy_stochastic_depth_shape *shape) {
    return shape->p < 1 ? 1 / (1 - shape->p) : 0;
}

void cvy_stochastic_depth_reference(const cvy_stochastic_depth_shape *shape, uint32_t step, float *factors) {
    const uint32_t key[2] = {(uint32_t)shape->seed, (uint32_t)(shape->seed >> 32)};
    for (int i = 0; i < shape->pitch; i++) {
        const uint32_t image = shape->batch ? 0 : (uint32_t)i;
        uint32_t words[4];
        cvy_philox((const uint32_t[4]){0, image / 4, step, shape->purpose}, key, words);
        factors[i] =
            (float)(words[image % 4] >> 8) * (1.0f / 16777216.0f) >= shape->p ? survivor_scale(shape) : 0;
    }
}

convoy_status cvy_stochastic_depth_prepare(convoy_device *device, const cvy_stochastic_depth_shape *shape,
                                           cvy_stochastic_depth *op) {
    const cvy_product_shape product = {shape->pitch, 1, shape->features};
    *op = (cvy_stochastic_depth){.shape = *shape};
    convoy_status status = cvy_product_prepare(device, &product, &op->product);
    if (status || cvy_device_get_traits(device)->host)
        return status;
    return cvy_kernel_get_simple(device, "stochastic_depth", "image_factors", &op->factors);
}

convoy_status cvy_stochastic_depth_forward(const cvy_stochastic_depth *op, uint32_t step, cvy_buffer *x,
                                           cvy_buffer *factors, cvy_buffer *y) {
    const cvy_stochastic_depth_shape *shape = &op->shape;
    convoy_status status = CONVOY_OK;
    if (op->factors)
        status = CVY_LAUNCH(op->factors, cvy_singles((size_t)shape->pitch / 4, 1, 1), cvy_buf(factors),
                            cvy_int(shape->batch), cvy_float(shape->p), cvy_float(survivor_scale(shape)),
                            cvy_uint(step), cvy_uint(shape->purpose), cvy_uint((uint32_t)shape->seed),
                            cvy_uint((uint32_t)(shape->seed >> 32)));
    else
        cvy_stochastic_depth_reference(shape, step, cvy_buffer_host(factors));
    return status ? status : cvy_product_run(&op->product, x, factors, y);
}
