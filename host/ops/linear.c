/* Fully connected layer: three matrix products (gemm.h) over [features][pitch] activations, the bias added in
   the forward product and its gradient summed by a kernel of its own. */
#include <stdlib.h>

#include "base/integer.h"
#include "ops/gemm/gemm.h"
#include "ops/linear.h"
#include "ops/sum_rows.h"

enum { PASSES = 3 };

struct cvy_linear {
    cvy_linear_shape shape;
    cvy_gemm *products[PASSES]; /* NULL where the pass was not asked for */
    size_t workspace;
    cvy_sum_rows bias_gradient;
};

/* forward: y = W x; backward data: gx = W^T gy; backward weights: gW = gy x^T. */
static cvy_gemm_shape product_shape(const cvy_linear_shape *shape, cvy_linear_pass pass) {
    size_t in = shape->in_features, out = shape->out_features, pitch = (size_t)shape->pitch;
    switch (pass) {
    case CVY_LINEAR_FORWARD:
        return (cvy_gemm_shape){.m = out,
                                .n = pitch,
                                .k = in,
                                .lda = in,
                                .ldb = pitch,
                                .ldc = pitch,
                                .activation = shape->activation};
    case CVY_LINEAR_BACKWARD_DATA:
        return (cvy_gemm_shape){.transpose_a = true,
                                .m = in,
                                .n = pitch,
                                .k = out,
                                .lda = in,
                                .ldb = pitch,
                                .ldc = pitch,
                                .gradient_of = shape->input_activation};
    default:
        return (cvy_gemm_shape){
            .transpose_b = true, .m = out, .n = in, .k = pitch, .lda = pitch, .ldb = pitch, .ldc = in};
    }
}

/* ---- Preparing ---- */

static convoy_status check(const cvy_linear_shape *shape) {
    if (shape->pitch > 0 && shape->in_features && shape->out_features)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID,
                    "Linear needs at least one input, output and image; it was given %zu inputs, %zu outputs "
                    "and %d images",
                    shape->in_features, shape->out_features, shape->pitch);
}

/* A forced variant serves the products that it can run; it must run one. */
static convoy_status check_forced(const cvy_device_traits *traits, const cvy_linear_shape *shape,
                                  unsigned passes, const char *variant, const char *forced[PASSES]) {
    cvy_gemm_shape products[PASSES];
    cvy_job jobs[PASSES];
    size_t count = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        products[pass] = product_shape(shape, (cvy_linear_pass)pass);
        const cvy_job job = cvy_job_on(traits, NULL, &products[pass], 0);
        forced[pass] = cvy_forced_check(&cvy_gemm_op, variant, &job, 1) ? NULL : variant;
        if (passes >> pass & 1)
            jobs[count++] = job;
    }
    return cvy_forced_check(&cvy_gemm_op, variant, jobs, count);
}

/* Describes the products, and where `op` is one, creates them. */
static convoy_status prepare(const cvy_device_traits *traits, convoy_device *device,
                             const cvy_linear_shape *shape, unsigned passes, const char *variant,
                             cvy_linear *op, cvy_needs *needs) {
    const char *forced[PASSES];
    cvy_sum_rows bias_gradient = {0};
    *needs = (cvy_needs){0};
    convoy_status status = check(shape);
    if (!status)
        status = check_forced(traits, shape, passes, variant, forced);
    for (int pass = 0; pass < PASSES && !status; pass++) {
        const cvy_gemm_shape product = product_shape(shape, (cvy_linear_pass)pass);
        cvy_needs one = {0};
        if (!(passes >> pass & 1))
            continue;
        if (op && !(status = cvy_gemm_create(device, &product, forced[pass], &op->products[pass])))
            one.workspace = cvy_gemm_workspace(op->products[pass]);
        else if (!op)
            status = cvy_gemm_describe(traits, device, &product, forced[pass], &one);
        needs->workspace = max_size(needs->workspace, one.workspace);
    }
    if (!(passes >> CVY_LINEAR_BACKWARD_WEIGHTS & 1) || status)
        return status;
    cvy_sum_rows_plan(traits, shape->out_features, (size_t)shape->pitch, &bias_gradient);
    needs->workspace = max_size(needs->workspace, bias_gradient.scratch * sizeof(float));
    if (!op)
        return CONVOY_OK;
    op->bias_gradient = bias_gradient;
    return cvy_sum_rows_prepare(device, &op->bias_gradient);
}

convoy_status cvy_linear_describe(const cvy_device_traits *traits, convoy_device *device,
                                  const cvy_linear_shape *shape, unsigned passes, const char *variant,
                                  cvy_needs *needs) {
    return prepare(traits, device, shape, passes, variant, NULL, needs);
}

convoy_status cvy_linear_create(convoy_device *device, const cvy_linear_shape *shape, unsigned passes,
                                const char *variant, cvy_linear **op) {
    cvy_needs needs;
    cvy_linear *linear = calloc(1, sizeof *linear);
    *op = NULL;
    if (!linear)
        return cvy_fail_memory("a linear op", sizeof *linear);
    linear->shape = *shape;
    convoy_status status =
        prepare(cvy_device_get_traits(device), device, shape, passes, variant, linear, &needs);
    linear->workspace = needs.workspace;
    if (status)
        cvy_linear_free(linear);
    else
        *op = linear;
    return status;
}

void cvy_linear_free(cvy_linear *op) {
    if (!op)
        return;
    for (int pass = 0; pass < PASSES; pass++)
        cvy_gemm_free(op->products[pass]);
    free(op);
}

const char *cvy_linear_variant(const cvy_linear *op, cvy_linear_pass pass) {
    return op->products[pass] ? cvy_gemm_variant(op->products[pass]) : "none";
}

cvy_origin cvy_linear_origin(const cvy_linear *op, cvy_linear_pass pass) {
    return op->products[pass] ? cvy_gemm_origin(op->products[pass]) : CVY_GUESSED;
}

cvy_task cvy_linear_task(const cvy_linear_shape *shape, cvy_linear_pass pass) {
    const cvy_gemm_shape product = product_shape(shape, pass);
    return cvy_task_of(&cvy_gemm_op, &product, 0);
}

size_t cvy_linear_workspace(const cvy_linear *op) {
    return op->workspace;
}

cvy_cost cvy_linear_cost(const cvy_linear *op, cvy_linear_pass pass) {
    double m = (double)op->shape.out_features, k = (double)op->shape.in_features, n = op->shape.pitch;
    cvy_cost cost = {.flops = 2 * m * n * k, .bytes = sizeof(float) * (m * k + k * n + m * n)};
    if (pass != CVY_LINEAR_BACKWARD_DATA) /* the bias or its gradient */
        cost.flops += m * n;
    return cost;
}

/* ---- Running ---- */

static convoy_status run(const cvy_linear *op, cvy_linear_pass pass, const cvy_gemm_operands *operands) {
    static const char *const names[PASSES] = {"forward", "backward data", "backward weights"};
    return op->products[pass]
               ? cvy_gemm_run(op->products[pass], operands)
               : cvy_fail(CONVOY_INVALID, "Linear was not prepared for its %s pass", names[pass]);
}

convoy_status cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *workspace) {
    return run(op, CVY_LINEAR_FORWARD,
               &(cvy_gemm_operands){.a = weight, .b = x, .bias = bias, .c = y, .workspace = workspace});
}

convoy_status cvy_linear_backward_data(cvy_linear *op, cvy_buffer *gy, cvy_buffer *weight, cvy_buffer *x,
                                       cvy_buffer *gx, cvy_buffer *workspace) {
    return run(op, CVY_LINEAR_BACKWARD_DATA,
               &(cvy_gemm_operands){.a = weight, .b = gy, .made = x, .c = gx, .workspace = workspace});
}

convoy_status cvy_linear_backward_weights(cvy_linear *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gweight,
                                          cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace) {
    convoy_status status =
        run(op, CVY_LINEAR_BACKWARD_WEIGHTS,
            &(cvy_gemm_operands){
                .a = gy, .b = x, .c = gweight, .workspace = workspace, .accumulate = accumulate});
    return status ? status : cvy_sum_rows_run(&op->bias_gradient, gy, gbias, accumulate, workspace, 0);
}
