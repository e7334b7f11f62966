/* Dropout: the reference, and kernels/dropout.cl, which agrees with it bit for bit. */
#include "ops/dropout.h"

#include "base/rng.h"
#include "ops/vector.h"

/* What survives is multiplied by this; at p = 1 nothing does. */
static float survivor_scale(const cvy_dropout_shape *shape) {
    return shape->p < 1 ? 1 / (1 - shape->p) : 0;
}

void cvy_dropout_reference(const cvy_dropout_shape *shape, uint32_t step, const float *x, float *y) {
    const uint32_t key[2] = {(uint32_t)shape->seed, (uint32_t)(shape->seed >> 32)};
    float scale = survivor_scale(shape);
    for (size_t feature = 0; feature < shape->features; feature++)
        for (int i = 0; i < shape->pitch; i += 4) {
            uint32_t words[4];
            cvy_philox((const uint32_t[4]){(uint32_t)feature, (uint32_t)i / 4, step, shape->purpose}, key,
                       words);
            for (int k = 0; k < 4; k++) {
                size_t at = feature * (size_t)shape->pitch + (size_t)(i + k);
                y[at] = (float)(words[k] >> 8) * (1.0f / 16777216.0f) >= shape->p ? x[at] * scale : 0;
            }
        }
}

convoy_status cvy_dropout_prepare(convoy_device *device, const cvy_dropout_shape *shape, cvy_dropout *op) {
    if (!(shape->p >= 0 && shape->p <= 1))
        return cvy_fail(CONVOY_INVALID, "dropout with p = %g: use a probability from 0 to 1",
                        (double)shape->p);
    if (shape->features > UINT32_MAX)
        return cvy_fail(CONVOY_INVALID, "dropout over %zu features: at most 2^32 - 1 are supported",
                        shape->features);
    *op = (cvy_dropout){.shape = *shape};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    convoy_status status = cvy_kernel_get_simple(device, "dropout", "dropout", &op->kernel);
    if (!status)
        op->blocks = cvy_vector_blocks(device, op->kernel, shape->features * (size_t)(shape->pitch / 16), 1);
    return status;
}

convoy_status cvy_dropout_run(const cvy_dropout *op, uint32_t step, cvy_buffer *x, cvy_buffer *y) {
    const cvy_dropout_shape *shape = &op->shape;
    if (!op->kernel) {
        cvy_dropout_reference(shape, step, cvy_buffer_host(x), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    uint32_t vectors = (uint32_t)shape->pitch / 16;
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(x), cvy_buf(y),
                      cvy_ulong(shape->features * vectors), cvy_uint(vectors), cvy_uint(op->blocks.block),
                      cvy_float(shape->p), cvy_float(survivor_scale(shape)), cvy_uint(step),
                      cvy_uint(shape->purpose), cvy_uint((uint32_t)shape->seed),
                      cvy_uint((uint32_t)(shape->seed >> 32)));
}
