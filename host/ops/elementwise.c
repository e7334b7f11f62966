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

/* ---- Prepared op ---- */

static const char *kernel_of(cvy_elementwise_kind kind, cvy_activation activation) {
    switch (kind) {
    case CVY_ACTIVATE:
        return rows[activation].forward_kernel;
    case CVY_ACTIVATE_BACKWARD:
        return rows[activation].backward_kernel;
    case CVY_ADD:
        return "add";
    default:
        return "multiply";
    }
}

convoy_status cvy_elementwise_prepare(convoy_device *device, cvy_elementwise_kind kind,
                                      cvy_activation activation, size_t count, cvy_elementwise *op) {
    const char *function = kernel_of(kind, activation);
    *op = (cvy_elementwise){
        .kind = kind, .activation = activation, .count = count, .host = cvy_device_get_traits(device)->host};
    if (op->host || !function)
        return CONVOY_OK;
    convoy_status status = cvy_kernel_get_simple(device, "elementwise", function, &op->kernel);
    if (status)
        return status;
    size_t width = (size_t)cvy_vector_width(device);
    op->blocks = cvy_vector_blocks(device, op->kernel, (count + width - 1) / width, 1);
    return CONVOY_OK;
}

static void run_on_host(const cvy_elementwise *op, const float *a, const float *b, float *out) {
    switch (op->kind) {
    case CVY_ACTIVATE:
        cvy_activation_forward_reference(op->activation, op->count, a, out);
        break;
    case CVY_ACTIVATE_BACKWARD:
        cvy_activation_backward_reference(op->activation, op->count, a, b, out);
        break;
    case CVY_ADD:
        for (size_t i = 0; i < op->count; i++)
            out[i] = a[i] + b[i];
        break;
    case CVY_MULTIPLY:
        for (size_t i = 0; i < op->count; i++)
            out[i] = a[i] * b[i];
        break;
    }
}

convoy_status cvy_elementwise_run(const cvy_elementwise *op, cvy_buffer *a, cvy_buffer *b, cvy_buffer *out) {
    if (op->host) {
        run_on_host(op, cvy_buffer_host(a), cvy_buffer_host(b), cvy_buffer_host(out));
        return CONVOY_OK;
    }
    if (!op->kernel) { /* CVY_IDENTITY, whose gradient is b */
        cvy_buffer *from = b ? b : a;
        return from == out ? CONVOY_OK : cvy_buffer_copy(from, 0, out, 0, op->count * sizeof(float));
    }
    if (op->kind == CVY_ACTIVATE)
        return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(out), cvy_ulong(op->count),
                          cvy_uint(op->blocks.block));
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(b), cvy_buf(out), cvy_ulong(op->count),
                      cvy_uint(op->blocks.block));
}
