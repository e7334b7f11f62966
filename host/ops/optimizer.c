/* SGD, Adam and AdamW: references, and kernels/optimizer.cl. */
#include "ops/optimizer.h"

#include <math.h>

#include "ops/vector.h"

int cvy_optimizer_states(const cvy_optimizer *optimizer) {
    if (optimizer->kind == CVY_SGD)
        return optimizer->momentum != 0 ? 1 : 0;
    return 2;
}

/* ---- Reference ---- */

static void sgd_reference(const cvy_optimizer *o, uint64_t step, size_t count, float *parameters,
                          const float *gradients, float *velocity) {
    for (size_t i = 0; i < count; i++) {
        double g = gradients[i] + o->weight_decay * parameters[i];
        if (o->momentum != 0) {
            double v = step == 1 ? g : o->momentum * velocity[i] + (1 - o->dampening) * g;
            velocity[i] = (float)v;
            g = o->nesterov ? g + o->momentum * v : v;
        }
        parameters[i] = (float)(parameters[i] - o->lr * g);
    }
}

static void adam_reference(const cvy_optimizer *o, uint64_t step, size_t count, float *parameters,
                           const float *gradients, float *moments) {
    double correction1 = 1 - pow(o->beta1, (double)step), correction2 = 1 - pow(o->beta2, (double)step);
    float *squares = moments + count;
    for (size_t i = 0; i < count; i++) {
        double p = parameters[i], g = gradients[i];
        if (o->kind == CVY_ADAMW)
            p *= 1 - o->lr * o->weight_decay;
        else
            g += o->weight_decay * p;
        double m = o->beta1 * moments[i] + (1 - o->beta1) * g,
               v = o->beta2 * squares[i] + (1 - o->beta2) * g * g;
        moments[i] = (float)m;
        squares[i] = (float)v;
        parameters[i] = (float)(p - o->lr / correction1 * m / (sqrt(v) / sqrt(correction2) + o->eps));
    }
}

void cvy_optimizer_step_reference(const cvy_optimizer *optimizer, uint64_t step, size_t count,
                                  float *parameters, const float *gradients, float *state) {
    if (optimizer->kind == CVY_SGD)
        sgd_reference(optimizer, step, count, parameters, gradients, state);
    else
        adam_reference(optimizer, step, count, parameters, gradients, state);
}

/* ---- Entry point ---- */

convoy_status cvy_optimizer_step(convoy_device *device, const cvy_optimizer *optimizer, uint64_t step,
                                 size_t count, cvy_buffer *parameters, cvy_buffer *gradients,
                                 cvy_buffer *state) {
    const cvy_optimizer *o = optimizer;
    if (cvy_device_get_traits(device)->host) {
        cvy_optimizer_step_reference(o, step, count, cvy_buffer_host(parameters), cvy_buffer_host(gradients),
                                     state ? cvy_buffer_host(state) : NULL);
        return CONVOY_OK;
    }
    cvy_kernel *kernel = NULL;
    convoy_status status = cvy_kernel_get_simple(device, o->kind == CVY_SGD ? "sgd" : "adam", &kernel);
    if (status != CONVOY_OK)
        return status;
    size_t width = (size_t)cvy_vector_width(device);
    cvy_blocks blocks = cvy_vector_blocks(device, kernel, (count + width - 1) / width, 1);
    if (o->kind == CVY_SGD)
        return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(parameters), cvy_buf(gradients), cvy_buf(state),
                          cvy_ulong(count), cvy_uint(blocks.block), cvy_float((float)o->lr),
                          cvy_float((float)o->weight_decay), cvy_float((float)o->momentum),
                          cvy_float((float)(1 - o->dampening)), cvy_int(o->nesterov), cvy_int(step == 1));
    bool decoupled = o->kind == CVY_ADAMW;
    double correction1 = 1 - pow(o->beta1, (double)step), correction2 = 1 - pow(o->beta2, (double)step);
    return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(parameters), cvy_buf(gradients), cvy_buf(state),
                      cvy_ulong(count), cvy_uint(blocks.block), cvy_float((float)(o->lr / correction1)),
                      cvy_float((float)(1 / sqrt(correction2))),
                      cvy_float((float)(decoupled ? 1 - o->lr * o->weight_decay : 1)),
                      cvy_float((float)(decoupled ? 0 : o->weight_decay)), cvy_float((float)o->beta1),
                      cvy_float((float)(1 - o->beta1)), cvy_float((float)o->beta2),
                      cvy_float((float)(1 - o->beta2)), cvy_float((float)o->eps));
}
