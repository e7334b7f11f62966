/* Parameter updates, with PyTorch's definitions, over one contiguous range of floats. */
#ifndef CVY_OPS_OPTIMIZER_H
#define CVY_OPS_OPTIMIZER_H

#include "base/params.h"
#include "ops/vector.h"

/* The settings of all types; each reads those that its `params` name. */
typedef struct cvy_optimizer {
    const struct cvy_optimizer_type *type;
    double lr, weight_decay;
    double momentum, dampening;
    bool nesterov;
    double betas[2], eps;
} cvy_optimizer;

enum { CVY_OPTIMIZER_STATES = 2 };

/* What one step works on. State lies as [state][count]. */
typedef struct cvy_optimizer_operands {
    uint64_t step; /* from 1 on */
    size_t count;
    cvy_buffer *parameters, *gradients, *state; /* NULL where there is no state */
} cvy_optimizer_operands;

typedef struct cvy_optimizer_type {
    const char *name;                         /* as in torch.optim */
    const cvy_param *params;                  /* of a cvy_optimizer */
    const char *states[CVY_OPTIMIZER_STATES]; /* names as in PyTorch's state dict */
    int (*state_count)(const cvy_optimizer *o);
    convoy_status (*check)(const cvy_optimizer *o); /* settings that do not go together; NULL: all do */
    void (*reference)(const cvy_optimizer *o, uint64_t step, size_t count, float *parameters,
                      const float *gradients, float *state);
    bool decoupled; /* weight decay scales the parameters, instead of entering the gradient */
    const char *kernel;
    convoy_status (*launch)(const cvy_optimizer *o, cvy_kernel *kernel, cvy_blocks blocks,
                            const cvy_optimizer_operands *operands);
} cvy_optimizer_type;

/* Every type; ends with a row whose name is NULL. */
extern const cvy_optimizer_type cvy_optimizer_types[];
/* Of a recipe that names none. */
#define CVY_OPTIMIZER_DEFAULT "Adam"
/* NULL when there is none of that name. */
const cvy_optimizer_type *cvy_optimizer_type_find(const char *name);

/* Floats of state per parameter. */
int cvy_optimizer_states(const cvy_optimizer *optimizer);
/* `step` counts from 1. In the first step SGD's momentum buffer becomes the gradient (no dampening), as in
 * PyTorch. */
void cvy_optimizer_step_reference(const cvy_optimizer *optimizer, uint64_t step, size_t count,
                                  float *parameters, const float *gradients, float *state);

/* A step over `count` parameters, prepared. */
typedef struct cvy_update {
    const cvy_optimizer *optimizer; /* lives on; its numbers may change from step to step */
    size_t count;
    cvy_kernel *kernel; /* NULL on the host */
    cvy_blocks blocks;
} cvy_update;
convoy_status cvy_update_prepare(convoy_device *device, const cvy_optimizer *optimizer, size_t count,
                                 cvy_update *op);
/* state may be NULL where there is none. */
convoy_status cvy_update_run(const cvy_update *op, uint64_t step, cvy_buffer *parameters,
                             cvy_buffer *gradients, cvy_buffer *state);

#endif
