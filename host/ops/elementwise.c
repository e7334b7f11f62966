/* Activations, sum and product: references, and kernels/elementwise.cl. */
#include "ops/elementwise.h"

#include <math.h>

#include "ops/vector.h"

/* ---- Reference ---- */

void cvy_activation_forward_reference(cvy_activation kind, size_t count, const float *x, float *y) {
    for (size_t i = 0; i < count; i++) {
        double v = x[i];
        switch (kind) {
        case CVY_IDENTITY:
            y[i] = x[i];
            break;
        case CVY_RELU:
            y[i] = v <= 0 ? 0 : x[i];
            break;
        case CVY_SIGMOID:
            y[i] = (float)(1 / (1 + exp(-v)));
            break;
        case CVY_TANH:
            y[i] = (float)tanh(v);
            break;
        case CVY_SCALED_TANH:
            y[i] = (float)(1.7159 * tanh(v * 2 / 3));
            break;
        }
    }
}

void cvy_activation_backward_reference(cvy_activation kind, size_t count, const float *y, const float *gy,
                                       float *gx) {
    for (size_t i = 0; i < count; i++) {
        double v = y[i], g = gy[i];
        switch (kind) {
        case CVY_IDENTITY:
            gx[i] = gy[i];
            break;
        case CVY_RELU:
            gx[i] = v <= 0 ? 0 : gy[i];
            break;
        case CVY_SIGMOID:
            gx[i] = (float)(g * (1 - v) * v);
            break;
        case CVY_TANH:
            gx[i] = (float)(g * (1 - v * v));
            break;
        case CVY_SCALED_TANH: /* A S (1 - tanh^2) with tanh = y / A */
            gx[i] = (float)(g * 2 / 3 * (1.7159 - v * v / 1.7159));
            break;
        }
    }
}

/* ---- Entry points ---- */

static const char *const forward_kernels[] = {NULL, "relu_forward", "sigmoid_forward", "tanh_forward",
                                              "scaled_tanh_forward"};
static const char *const backward_kernels[] = {NULL, "relu_backward", "sigmoid_backward", "tanh_backward",
                                               "scaled_tanh_backward"};

static convoy_status copy(cvy_buffer *from, cvy_buffer *to, size_t count) {
    return from == to ? CONVOY_OK : cvy_buffer_copy(from, 0, to, 0, count * sizeof(float));
}

convoy_status cvy_activation_forward(convoy_device *device, cvy_activation kind, size_t count, cvy_buffer *x,
                                     cvy_buffer *y) {
    if (cvy_device_get_traits(device)->host) {
        cvy_activation_forward_reference(kind, count, cvy_buffer_host(x), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    if (kind == CVY_IDENTITY)
        return copy(x, y, count);
    cvy_kernel *kernel = NULL;
    convoy_status status = cvy_kernel_get_simple(device, forward_kernels[kind], &kernel);
    if (status != CONVOY_OK)
        return status;
    size_t width = (size_t)cvy_vector_width(device);
    cvy_blocks blocks = cvy_vector_blocks(device, kernel, (count + width - 1) / width, 1);
    return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(x), cvy_buf(y), cvy_ulong(count), cvy_uint(blocks.block));
}

/* Launches a kernel of two inputs, one output. */
static convoy_status run_two(convoy_device *device, const char *function, size_t count, cvy_buffer *a,
                             cvy_buffer *b, cvy_buffer *out) {
    cvy_kernel *kernel = NULL;
    convoy_status status = cvy_kernel_get_simple(device, function, &kernel);
    if (status != CONVOY_OK)
        return status;
    size_t width = (size_t)cvy_vector_width(device);
    cvy_blocks blocks = cvy_vector_blocks(device, kernel, (count + width - 1) / width, 1);
    return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(a), cvy_buf(b), cvy_buf(out), cvy_ulong(count),
                      cvy_uint(blocks.block));
}

convoy_status cvy_activation_backward(convoy_device *device, cvy_activation kind, size_t count, cvy_buffer *y,
                                      cvy_buffer *gy, cvy_buffer *gx) {
    if (cvy_device_get_traits(device)->host) {
        cvy_activation_backward_reference(kind, count, cvy_buffer_host(y), cvy_buffer_host(gy),
                                          cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    if (kind == CVY_IDENTITY)
        return copy(gy, gx, count);
    return run_two(device, backward_kernels[kind], count, y, gy, gx);
}

convoy_status cvy_add(convoy_device *device, size_t count, cvy_buffer *a, cvy_buffer *b, cvy_buffer *sum) {
    if (cvy_device_get_traits(device)->host) {
        const float *from = cvy_buffer_host(a), *other = cvy_buffer_host(b);
        float *to = cvy_buffer_host(sum);
        for (size_t i = 0; i < count; i++)
            to[i] = from[i] + other[i];
        return CONVOY_OK;
    }
    return run_two(device, "add", count, a, b, sum);
}

convoy_status cvy_multiply(convoy_device *device, size_t count, cvy_buffer *a, cvy_buffer *b, cvy_buffer *y) {
    if (cvy_device_get_traits(device)->host) {
        const float *from = cvy_buffer_host(a), *other = cvy_buffer_host(b);
        float *to = cvy_buffer_host(y);
        for (size_t i = 0; i < count; i++)
            to[i] = from[i] * other[i];
        return CONVOY_OK;
    }
    return run_two(device, "multiply", count, a, b, y);
}
