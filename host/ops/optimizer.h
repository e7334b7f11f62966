/* Parameter updates, with PyTorch's definitions, over one contiguous range of floats. */
#ifndef CVY_OPS_OPTIMIZER_H
#define CVY_OPS_OPTIMIZER_H

#include "ops/op.h"

typedef enum cvy_optimizer_kind { CVY_SGD, CVY_ADAM, CVY_ADAMW } cvy_optimizer_kind;

typedef struct cvy_optimizer {
    cvy_optimizer_kind kind;
    double lr, weight_decay;
    double momentum, dampening; /* SGD */
    bool nesterov;
    double beta1, beta2, eps; /* Adam, AdamW */
} cvy_optimizer;

/* Floats of state per parameter: SGD 0 (1 with momentum), Adam 2. State lies as [state][count]. */
int cvy_optimizer_states(const cvy_optimizer *optimizer);
/* `step` counts from 1. In the first step SGD's momentum buffer becomes the gradient (no dampening), as in
 * PyTorch. */
void cvy_optimizer_step_reference(const cvy_optimizer *optimizer, uint64_t step, size_t count,
                                  float *parameters, const float *gradients, float *state);
/* state may be NULL where there is none. */
convoy_status cvy_optimizer_step(convoy_device *device, const cvy_optimizer *optimizer, uint64_t step,
                                 size_t count, cvy_buffer *parameters, cvy_buffer *gradients,
                                 cvy_buffer *state);

#endif
