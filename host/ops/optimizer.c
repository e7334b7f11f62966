/* The optimizers: parameters, references, and kernels/optimizer.cl. */
#include "ops/optimizer.h"

#include <math.h>
#include <string.h>

/* ---- SGD ---- */

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

static convoy_status sgd_launch(const cvy_optimizer *o, cvy_kernel *kernel, cvy_blocks blocks,
                                const cvy_optimizer_operands *on) {
    return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(on->parameters), cvy_buf(on->gradients),
                      cvy_buf(on->state), cvy_ulong(on->count), cvy_uint(blocks.block),
                      cvy_float((float)o->lr), cvy_float((float)o->weight_decay),
                      cvy_float((float)o->momentum), cvy_float((float)(1 - o->dampening)),
                      cvy_int(o->nesterov), cvy_int(on->step == 1));
}

static int sgd_states(const cvy_optimizer *o) {
    return o->momentum != 0 ? 1 : 0;
}

static convoy_status sgd_check(const cvy_optimizer *o) {
    if (o->nesterov && (o->momentum == 0 || o->dampening != 0))
        return cvy_fail(CONVOY_INVALID, "SGD: `nesterov` needs a momentum above 0 and no dampening");
    return CONVOY_OK;
}

/* ---- Adam and AdamW ---- */

static void adam_reference(const cvy_optimizer *o, uint64_t step, size_t count, float *parameters,
                           const float *gradients, float *moments) {
    double correction1 = 1 - pow(o->betas[0], (double)step), correction2 = 1 - pow(o->betas[1], (double)step);
    float *squares = moments + count;
    for (size_t i = 0; i < count; i++) {
        double p = parameters[i], g = gradients[i];
        if (o->type->decoupled)
            p *= 1 - o->lr * o->weight_decay;
        else
            g += o->weight_decay * p;
        double m = o->betas[0] * moments[i] + (1 - o->betas[0]) * g,
               v = o->betas[1] * squares[i] + (1 - o->betas[1]) * g * g;
        moments[i] = (float)m;
        squares[i] = (float)v;
        parameters[i] = (float)(p - o->lr / correction1 * m / (sqrt(v) / sqrt(correction2) + o->eps));
    }
}

static convoy_status adam_launch(const cvy_optimizer *o, cvy_kernel *kernel, cvy_blocks blocks,
                                 const cvy_optimizer_operands *on) {
    double correction1 = 1 - pow(o->betas[0], (double)on->step),
           correction2 = 1 - pow(o->betas[1], (double)on->step);
    bool decoupled = o->type->decoupled;
    return CVY_LAUNCH(kernel, blocks.grid, cvy_buf(on->parameters), cvy_buf(on->gradients),
                      cvy_buf(on->state), cvy_ulong(on->count), cvy_uint(blocks.block),
                      cvy_float((float)(o->lr / correction1)), cvy_float((float)(1 / sqrt(correction2))),
                      cvy_float((float)(decoupled ? 1 - o->lr * o->weight_decay : 1)),
                      cvy_float((float)(decoupled ? 0 : o->weight_decay)), cvy_float((float)o->betas[0]),
                      cvy_float((float)(1 - o->betas[0])), cvy_float((float)o->betas[1]),
                      cvy_float((float)(1 - o->betas[1])), cvy_float((float)o->eps));
}

static int adam_states(const cvy_optimizer *o) {
    (void)o;
    return 2;
}

/* ---- The table ---- */

#define NUMBER(key, default, most, text)                                                                     \
    CVY_PARAM(cvy_optimizer, key, CVY_FLOAT, .fallback = default, .maximum = most, .help = text)
#define LR(default) NUMBER(lr, default, 1e6, "learning rate")
#define WEIGHT_DECAY(default) NUMBER(weight_decay, default, 1e6, "L2 penalty")

static const cvy_param sgd_params[] = {
    LR(NULL),
    NUMBER(momentum, "0", 1, "of the gradient's running sum"),
    NUMBER(dampening, "0", 1, "of the gradient in that sum"),
    CVY_PARAM(cvy_optimizer, nesterov, CVY_BOOL, .fallback = "false", .help = "Nesterov's momentum"),
    WEIGHT_DECAY("0"),
    CVY_PARAM_END,
};

/* Both betas below 1. */
#define ADAM_PARAMS(decay)                                                                                   \
    LR("0.001"),                                                                                             \
        CVY_PARAM(cvy_optimizer, betas, CVY_NUMBERS, .fallback = "[0.9, 0.999]", .maximum = 0.999999999,     \
                  .help = "decay of both moments"),                                                          \
        NUMBER(eps, "1e-8", 1, "added to the denominator"), WEIGHT_DECAY(decay), CVY_PARAM_END
static const cvy_param adam_params[] = {ADAM_PARAMS("0")}, adamw_params[] = {ADAM_PARAMS("0.01")};

const cvy_optimizer_type cvy_optimizer_types[] = {
    {.name = "SGD",
     .params = sgd_params,
     .states = {"momentum_buffer"},
     .state_count = sgd_states,
     .check = sgd_check,
     .reference = sgd_reference,
     .kernel = "sgd",
     .launch = sgd_launch},
    {.name = "Adam",
     .params = adam_params,
     .states = {"exp_avg", "exp_avg_sq"},
     .state_count = adam_states,
     .reference = adam_reference,
     .kernel = "adam",
     .launch = adam_launch},
    {.name = "AdamW",
     .params = adamw_params,
     .states = {"exp_avg", "exp_avg_sq"},
     .state_count = adam_states,
     .reference = adam_reference,
     .decoupled = true,
     .kernel = "adam",
     .launch = adam_launch},
    {.name = NULL},
};

const cvy_optimizer_type *cvy_optimizer_type_find(const char *name) {
    for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name; type++)
        if (!strcmp(type->name, name))
            return type;
    return NULL;
}

/* ---- Entry points ---- */

int cvy_optimizer_states(const cvy_optimizer *optimizer) {
    return optimizer->type->state_count(optimizer);
}

void cvy_optimizer_step_reference(const cvy_optimizer *optimizer, uint64_t step, size_t count,
                                  float *parameters, const float *gradients, float *state) {
    optimizer->type->reference(optimizer, step, count, parameters, gradients, state);
}

convoy_status cvy_update_prepare(convoy_device *device, const cvy_optimizer *optimizer, size_t count,
                                 cvy_update *op) {
    *op = (cvy_update){.optimizer = optimizer, .count = count};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    const size_t width = (size_t)cvy_vector_width(device);
    convoy_status status = cvy_kernel_get_simple(device, "optimizer", optimizer->type->kernel, &op->kernel);
    if (!status)
        op->blocks = cvy_vector_blocks(device, op->kernel, (count + width - 1) / width, 1);
    return status;
}

convoy_status cvy_update_run(const cvy_update *op, uint64_t step, cvy_buffer *parameters,
                             cvy_buffer *gradients, cvy_buffer *state) {
    if (op->kernel)
        return op->optimizer->type->launch(
            op->optimizer, op->kernel, op->blocks,
            &(cvy_optimizer_operands){step, op->count, parameters, gradients, state});
    cvy_optimizer_step_reference(op->optimizer, step, op->count, cvy_buffer_host(parameters),
                                 cvy_buffer_host(gradients), cvy_buffer_host(state));
    return CONVOY_OK;
}
