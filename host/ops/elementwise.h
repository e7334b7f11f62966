/* Ops that treat a tensor as a row of floats: activations, sum, mask. `count` is C*H*W*pitch. */
#ifndef CVY_OPS_ELEMENTWISE_H
#define CVY_OPS_ELEMENTWISE_H

#include "../../kernels/activations.clh"
#include "ops/vector.h"

/* None, and the rows of kernels/activations.clh: CVY_RELU and so on. */
#define CVY_ROW(NAME, ...) CVY_##NAME,
typedef enum cvy_activation {
    CVY_IDENTITY,
    CVY_ACTIVATIONS(CVY_ROW) CVY_FURTHER_ACTIVATIONS(CVY_ROW) CVY_ACTIVATION_COUNT
} cvy_activation;
#undef CVY_ROW

/* As sets of 1 << cvy_activation. Those that any kernel may find out at a launch; */
enum { CVY_COMMON_ACTIVATIONS = (1 << CVY_FIRST_FURTHER) - 1 };
#define CVY_ROW(NAME, ...) | 1 << CVY_##NAME
/* those without parameters, which a kernel may be built for (ACTIVATION); */
enum { CVY_BUILT_IN_ACTIVATIONS = CVY_COMMON_ACTIVATIONS CVY_PLAIN_ACTIVATIONS(CVY_ROW) | 1 << CVY_GELU };
#undef CVY_ROW
/* and those whose gradient needs their input. */
enum { CVY_FROM_OUTPUT = 0, CVY_FROM_INPUT = 1 };
#define CVY_ROW(NAME, name, torch, help, from, ...) | CVY_##from << CVY_##NAME
enum { CVY_ACTIVATIONS_FROM_INPUT = 0 CVY_FURTHER_ACTIVATIONS(CVY_ROW) };
#undef CVY_ROW

/* The parameters that a row of CVY_SHAPED_ACTIVATIONS calls a and b; NULL: none. */
typedef struct cvy_activation_parameters {
    float a, b;
} cvy_activation_parameters;

void cvy_activation_forward_reference(cvy_activation kind, const cvy_activation_parameters *parameters,
                                      size_t count, const float *x, float *y);
/* `values`: the output, or the input of CVY_ACTIVATIONS_FROM_INPUT. NaN passes; ReLU stops gradients where
   y <= 0. */
void cvy_activation_backward_reference(cvy_activation kind, const cvy_activation_parameters *parameters,
                                       size_t count, const float *values, const float *gy, float *gx);

typedef enum cvy_elementwise_kind {
    CVY_ACTIVATE,          /* out = activation(a) */
    CVY_ACTIVATE_BACKWARD, /* out = gx, of a = y, or x of CVY_ACTIVATIONS_FROM_INPUT, and b = gy */
    CVY_ADD,               /* out = a + b */
    CVY_MULTIPLY           /* out = a * b: keeps the absent connections of a connection table at zero */
} cvy_elementwise_kind;

typedef struct cvy_elementwise {
    cvy_elementwise_kind kind;
    cvy_activation activation;
    cvy_activation_parameters parameters; /* to be set after the preparation */
    size_t count;
    bool host;
    cvy_kernel *kernel; /* NULL on the host, and for CVY_IDENTITY */
    cvy_blocks blocks;
} cvy_elementwise;

/* `activation` counts for the first two kinds. */
convoy_status cvy_elementwise_prepare(convoy_device *device, cvy_elementwise_kind kind,
                                      cvy_activation activation, size_t count, cvy_elementwise *op);
/* `out` may be a or b. b is NULL for CVY_ACTIVATE. */
convoy_status cvy_elementwise_run(const cvy_elementwise *op, cvy_buffer *a, cvy_buffer *b, cvy_buffer *out);

#endif
