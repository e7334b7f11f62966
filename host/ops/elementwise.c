/* Activations, sum and product: references, and kernels/elementwise.cl. */
#include "ops/elementwise.h"

#include <math.h>
#include <string.h>

#include "ops/vector.h"

/* ---- Reference ---- */

#define LOOPS(name, reference_y, reference_gx)                                                               \
    static void name##_forward(const cvy_activation_parameters *p, size_t count, const float *in,            \
                               float *out) {                                                                 \
        const double a = p->a, b = p->b;                                                                     \
        for (size_t i = 0; i < count; i++) {                                                                 \
            const double x = in[i];                                                                          \
            out[i] = (float)(reference_y);                                                                   \
        }                                                                                                    \
        (void)a, (void)b;                                                                                    \
    }                                                                                                        \
    static void name##_backward(const cvy_activation_parameters *p, size_t count, const float *values,       \
                                const float *incoming, float *out) {                                         \
        const double a = p->a, b = p->b;                                                                     \
        for (size_t i = 0; i < count; i++) {                                                                 \
            const double x = values[i], y = x, gy = incoming[i];                                             \
            out[i] = (float)(reference_gx);                                                                  \
            (void)x, (void)y;                                                                                \
        }                                                                                                    \
        (void)a, (void)b;                                                                                    \
    }
#define COMMON_LOOPS(NAME, name, torch, help, kernel_y, kernel_gx, reference_y, reference_gx)                \
    LOOPS(name, reference_y, reference_gx)
#define FURTHER_LOOPS(NAME, name, torch, help, from, kernel_y, kernel_gx, reference_y, reference_gx)         \
    LOOPS(name, reference_y, reference_gx)
CVY_ACTIVATIONS(COMMON_LOOPS)
CVY_FURTHER_ACTIVATIONS(FURTHER_LOOPS)

static const struct {
    void (*forward)(const cvy_activation_parameters *p, size_t count, const float *x, float *y);
    void (*backward)(const cvy_activation_parameters *p, size_t count, const float *values, const float *gy,
                     float *gx);
    const char *forward_kernel, *backward_kernel;
} rows[CVY_ACTIVATION_COUNT] = {
#define COMMON_ROW(NAME, name, ...)                                                                          \
    [CVY_##NAME] = {name##_forward, name##_backward, #name "_forward", #name "_backward"},
#define FURTHER_ROW(NAME, name, ...)                                                                         \
    [CVY_##NAME] = {name##_forward, name##_backward, "activation_forward", "activation_backward"},
    CVY_ACTIVATIONS(COMMON_ROW) CVY_FURTHER_ACTIVATIONS(FURTHER_ROW)};
_Static_assert(CVY_FIRST_FURTHER == CVY_SCALED_TANH + 1, "CVY_FIRST_FURTHER is the number of the first one");

static const cvy_activation_parameters no_parameters = {0};

void cvy_activation_forward_reference(cvy_activation kind, const cvy_activation_parameters *parameters,
                                      size_t count, const float *x, float *y) {
    if (kind != CVY_IDENTITY)
        rows[kind].forward(parameters ? parameters : &no_parameters, count, x, y);
    else if (x != y)
        memcpy(y, x, count * sizeof *y);
}

void cvy_activation_backward_reference(cvy_activation kind, const cvy_activation_parameters *parameters,
                                       size_t count, const float *values, const float *gy, float *gx) {
    if (kind != CVY_IDENTITY)
        rows[kind].backward(parameters ? parameters : &no_parameters, count, values, gy, gx);
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
    const bool further =
        (kind == CVY_ACTIVATE || kind == CVY_ACTIVATE_BACKWARD) && activation >= CVY_FIRST_FURTHER;
    convoy_status status =
        further ? cvy_kernel_build(device, "activation", function,
                                   CVY_OPTIONS({"ACTIVATION", activation}, {"VW", cvy_vector_width(device)}),
                                   &op->kernel)
                : cvy_kernel_get_simple(device, "elementwise", function, &op->kernel);
    if (status)
        return status;
    size_t width = (size_t)cvy_vector_width(device);
    op->blocks = cvy_vector_blocks(device, op->kernel, (count + width - 1) / width, 1);
    return CONVOY_OK;
}

static void run_on_host(const cvy_elementwise *op, const float *a, const float *b, float *out) {
    switch (op->kind) {
    case CVY_ACTIVATE:
        cvy_activation_forward_reference(op->activation, &op->parameters, op->count, a, out);
        break;
    case CVY_ACTIVATE_BACKWARD:
        cvy_activation_backward_reference(op->activation, &op->parameters, op->count, a, b, out);
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

static convoy_status run_further(const cvy_elementwise *op, cvy_buffer *a, cvy_buffer *b, cvy_buffer *out) {
    if (op->kind == CVY_ACTIVATE)
        return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(out), cvy_ulong(op->count),
                          cvy_uint(op->blocks.block), cvy_float(op->parameters.a),
                          cvy_float(op->parameters.b));
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(b), cvy_buf(out), cvy_ulong(op->count),
                      cvy_uint(op->blocks.block), cvy_float(op->parameters.a), cvy_float(op->parameters.b));
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
    const bool activates = op->kind == CVY_ACTIVATE || op->kind == CVY_ACTIVATE_BACKWARD;
    if (activates && op->activation >= CVY_FIRST_FURTHER)
        return run_further(op, a, b, out);
    if (op->kind == CVY_ACTIVATE)
        return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(out), cvy_ulong(op->count),
                          cvy_uint(op->blocks.block));
    return CVY_LAUNCH(op->kernel, op->blocks.grid, cvy_buf(a), cvy_buf(b), cvy_buf(out), cvy_ulong(op->count),
                      cvy_uint(op->blocks.block));
}
