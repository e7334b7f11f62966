/* Activations, sum and product: references, and kernels/elementwise.cl. */
#include "ops/elementwise.h"

#include <math.h>
#include <string.h>

#include "ops/vector.h"

/* ---- Reference ---- */

#define LOOPS(NAME, name, torch, help, kernel_y, kernel_gx, reference_y, reference_gx)                       \
    static void name##_forward(size_t count, const float *from, float *to) {                                 \
        for (size_t i = 0; i < count; i++) {                                                                 \
            const double x = from[i];                                                                        \
            to[i] = (float)(reference_y);                                                                    \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_backward(size_t count, const float *outputs, const float *incoming, float *to) {      \
        for (size_t i = 0; i < count; i++) {                                                                 \
            const double y = outputs[i], gy = incoming[i];                                                   \
            to[i] = (float)(reference_gx);                                                                   \
        }                                                                                                    \
    }
CVY_ACTIVATIONS(LOOPS)

static const struct {
    void (*forward)(size_t count, const float *x, float *y);
    void (*backward)(size_t count, const float *y, const float *gy, float *gx);
    const char *forward_kernel, *backward_kernel;
} rows[CVY_ACTIVATION_COUNT] = {
#define ROW(NAME, name, ...)                                                                                 \
    [CVY_##NAME] = {name##_forward, name##_backward, #name "_forward", #name "_backward"},
    CVY_ACTIVATIONS(ROW)};

void cvy_activation_forward_reference(cvy_activation kind, size_t count, const float *x, float *y) {
    if (kind != CVY_IDENTITY)
        rows[kind].forward(count, x, y);
    else if (x != y)
        memcpy(y, x, count * sizeof *y);
}

void cvy_activation_backward_reference(cvy_activation kind, size_t count, const float *y, const float *gy,
                                       float *gx) {
    if (kind != CVY_IDENTITY)
        rows[kind].backward(count, y, gy, gx);
    else if (gy != gx)
        memcpy(gx, gy, count * sizeof *gx);
}

/* ---- Entry points ---- */

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
    convoy_status status = cvy_kernel_get_simple(device, rows[kind].forward_kernel, &kernel);
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
    return run_two(device, rows[kind].backward_kernel, count, y, gy, gx);
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
