/* Ops that treat a tensor as a row of floats: activations, sum, mask. `count` is C*H*W*pitch. */
#ifndef CVY_OPS_ELEMENTWISE_H
#define CVY_OPS_ELEMENTWISE_H

#include "../../kernels/activations.clh"
#include "ops/vector.h"

/* None, and the rows of kernels/activations.clh: CVY_RELU and so on. */
#define CVY_ROW(NAME, ...) CVY_##NAME,
typedef enum cvy_activation { CVY_IDENTITY, CVY_ACTIVATIONS(CVY_ROW) CVY_ACTIVATION_COUNT } cvy_activation;
#undef CVY_ROW

void cvy_activation_forward_reference(cvy_activation kind, size_t count, const float *x, float *y);
/* From the output alone: relu lets NaN through and stops gradients where y <= 0. */
void cvy_activation_backward_reference(cvy_activation kind, size_t count, const float *y, const float *gy,
                                       float *gx);

typedef enum cvy_elementwise_kind {
    CVY_ACTIVATE,          /* out = activation(a) */
    CVY_ACTIVATE_BACKWARD, /* out = gx, of a = y and b = gy */
    CVY_ADD,               /* out = a + b */
    CVY_MULTIPLY           /* out = a * b: keeps the absent connections of a connection table at zero */
} cvy_elementwise_kind;

typedef struct cvy_elementwise {
    cvy_elementwise_kind kind;
    cvy_activation activation;
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
