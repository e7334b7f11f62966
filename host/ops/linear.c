/* Fully connected layer: three matrix products (gemm.h) over [features][pitch] activations, the bias added in
   the forward product and its gradient summed by a kernel of its own. */
#include <stdlib.h>
#include <string.h>

#include "ops/gemm/gemm.h"
#include "ops/linear.h"
#include "ops/sum_rows.h"

enum { PASSES = 3 };

struct cvy_linear {
    convoy_device *device;
    cvy_linear_shape shape;
    cvy_gemm *products[PASSES]; /* NULL where the pass was not asked for */
    cvy_sum_rows bias_gradient; /* not on the host device */
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

/* ---- Reference ---- */

void cvy_linear_forward_reference(const cvy_linear_shape *shape, const float *x, const float *weight,
                                  const float *bias, float *y) {
    cvy_gemm_shape product = product_shape(shape, CVY_LINEAR_FORWARD);
    for (size_t i = 0; bias && i < product.m; i++)
        for (size_t j = 0; j < product.n; j++)
            y[i * product.n + j] = bias[i];
    cvy_gemm_reference(&product, weight, x, y, bias != NULL);
    cvy_activation_forward_reference(shape->activation, product.m * product.n, y, y);
}

void cvy_linear_backward_data_reference(const cvy_linear_shape *shape, const float *gy, const float *weight,
                                        float *gx) {
    cvy_gemm_shape product = product_shape(shape, CVY_LINEAR_BACKWARD_DATA);
    cvy_gemm_reference(&product, weight, gy, gx, false);
}

void cvy_linear_backward_weights_reference(const cvy_linear_shape *shape, const float *x, const float *gy,
                                           float *gweight, float *gbias, bool accumulate) {
    cvy_gemm_shape product = product_shape(shape, CVY_LINEAR_BACKWARD_WEIGHTS);
    cvy_gemm_reference(&product, gy, x, gweight, accumulate);
    for (size_t i = 0; gbias && i < product.m; i++) {
        double sum = accumulate ? gbias[i] : 0;
        for (size_t j = 0; j < product.k; j++)
            sum += gy[i * product.k + j];
        gbias[i] = (float)sum;
    }
}

/* ---- Preparing ---- */

static bool runs(convoy_device *device, const cvy_gemm_shape *product, const char *variant) {
    cvy_candidate_variant candidates[CVY_VARIANTS_LIMIT];
    const size_t count = cvy_gemm_candidates(device, product, candidates);
    for (size_t i = 0; i < count; i++)
        if (strcmp(candidates[i].name, variant) == 0)
            return true;
    return false;
}

/* A forced variant serves the products that it can run; where it can run none, gemm says so. */
static convoy_status prepare_products(cvy_linear *op, unsigned passes, const char *variant) {
    cvy_gemm_shape products[PASSES];
    bool serves[PASSES] = {false}, any = false;
    convoy_status status = CONVOY_OK;
    for (int pass = 0; pass < PASSES; pass++) {
        products[pass] = product_shape(&op->shape, (cvy_linear_pass)pass);
        serves[pass] = variant && passes & 1u << pass && runs(op->device, &products[pass], variant);
        any |= serves[pass];
    }
    for (int pass = 0; pass < PASSES && !status; pass++)
        if (passes & 1u << pass)
            status = cvy_gemm_create(op->device, &products[pass], serves[pass] || !any ? variant : NULL,
                                     &op->products[pass]);
    return status;
}

convoy_status cvy_linear_create(convoy_device *device, const cvy_linear_shape *shape, unsigned passes,
                                const char *variant, cvy_linear **op) {
    *op = NULL;
    if (shape->pitch <= 0 || !shape->in_features || !shape->out_features)
        return cvy_fail(
            CONVOY_INVALID,
            "Linear needs at least one input, output and image; it was given %zu inputs, %zu outputs "
            "and %d images",
            shape->in_features, shape->out_features, shape->pitch);
    cvy_linear *linear = calloc(1, sizeof(*linear));
    if (!linear)
        return cvy_fail_memory("a linear op", sizeof(*linear));
    linear->device = device;
    linear->shape = *shape;
    convoy_status status = prepare_products(linear, passes, variant);
    if (!status && passes & 1u << CVY_LINEAR_BACKWARD_WEIGHTS && !cvy_device_get_traits(device)->host)
        status =
            cvy_sum_rows_prepare(device, shape->out_features, (size_t)shape->pitch, &linear->bias_gradient);
    if (status) {
        cvy_linear_free(linear);
        return status;
    }
    *op = linear;
    return CONVOY_OK;
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
    return cvy_gemm_task(&product);
}

size_t cvy_linear_workspace(const cvy_linear *op) {
    size_t most = op->bias_gradient.scratch * sizeof(float);
    for (int pass = 0; pass < PASSES; pass++) {
        size_t bytes = op->products[pass] ? cvy_gemm_workspace(op->products[pass]) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

cvy_cost cvy_linear_cost(const cvy_linear *op, cvy_linear_pass pass) {
    double m = (double)op->shape.out_features, k = (double)op->shape.in_features, n = op->shape.pitch;
    cvy_cost cost = {.flops = 2 * m * n * k, .bytes = sizeof(float) * (m * k + k * n + m * n)};
    if (pass != CVY_LINEAR_BACKWARD_DATA) /* the bias or its gradient */
        cost.flops += m * n;
    return cost;
}

/* ---- Running ---- */

static convoy_status product_of(const cvy_linear *op, cvy_linear_pass pass, cvy_gemm **product) {
    static const char *const names[PASSES] = {"forward", "backward data", "backward weights"};
    *product = op->products[pass];
    if (!*product)
        return cvy_fail(CONVOY_INVALID, "Linear was not prepared for its %s pass", names[pass]);
    return CONVOY_OK;
}

convoy_status cvy_linear_forward(cvy_linear *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *bias,
                                 cvy_buffer *y, cvy_buffer *workspace) {
    cvy_gemm *product = NULL;
    convoy_status status = product_of(op, CVY_LINEAR_FORWARD, &product);
    if (!status)
        status = cvy_gemm_run_bias(product, weight, 0, x, 0, bias, y, 0, false, workspace);
    return status;
}

convoy_status cvy_linear_backward_data(cvy_linear *op, cvy_buffer *gy, cvy_buffer *weight, cvy_buffer *x,
                                       cvy_buffer *gx, cvy_buffer *workspace) {
    cvy_gemm *product = NULL;
    convoy_status status = product_of(op, CVY_LINEAR_BACKWARD_DATA, &product);
    if (!status)
        status = cvy_gemm_run_gradient(product, weight, gy, x, gx, workspace);
    return status;
}

convoy_status cvy_linear_backward_weights(cvy_linear *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gweight,
                                          cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace) {
    cvy_gemm *product = NULL;
    convoy_status status = product_of(op, CVY_LINEAR_BACKWARD_WEIGHTS, &product);
    if (status)
        return status;
    if (cvy_device_get_traits(op->device)->host) {
        cvy_linear_backward_weights_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(gy),
                                              cvy_buffer_host(gweight), gbias ? cvy_buffer_host(gbias) : NULL,
                                              accumulate);
        return CONVOY_OK;
    }
    status = cvy_gemm_run(product, gy, 0, x, 0, gweight, 0, accumulate, workspace);
    return status ? status : cvy_sum_rows_run(&op->bias_gradient, gy, gbias, accumulate, workspace, 0);
}
