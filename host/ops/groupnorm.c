/* Normalisation within each image: the reference, and kernels/groupnorm.cl. */
#include "ops/groupnorm.h"

#include <math.h>

#include "base/integer.h"

/* A set's values: `length` of them, `inner` pixels apart; each channel has `rows` in a row. Of groups, a set
   is all there is between two others; of pixels, the sets lie side by side. */
typedef struct layout {
    size_t outer, length, inner, rows;
} layout;

static layout layout_of(const cvy_groupnorm_shape *s) {
    if (s->groups == 0)
        return (layout){1, s->channels, s->pixels, 1};
    return (layout){s->groups, s->channels / s->groups * s->pixels, 1, s->pixels};
}

size_t cvy_groupnorm_sets(const cvy_groupnorm_shape *shape) {
    const layout l = layout_of(shape);
    return l.outer * l.inner;
}

/* ---- Reference ---- */

/* Calls for each set of each image: `at` is its first value, [set] its number. */
#define FOR_EACH_SET(shape, l)                                                                               \
    for (size_t set = 0, pitch = (size_t)(shape)->pitch; set < (l).outer * (l).inner * pitch; set++)

static size_t first_of(const layout *l, size_t set, size_t pitch) {
    const size_t o = set / pitch / l->inner, i = set / pitch % l->inner;
    return (o * l->length * l->inner + i) * pitch + set % pitch;
}

void cvy_groupnorm_forward_reference(const cvy_groupnorm_shape *shape, const cvy_groupnorm_values *v) {
    const layout l = layout_of(shape);
    FOR_EACH_SET(shape, l) {
        const size_t first = first_of(&l, set, pitch), step = l.inner * pitch;
        const size_t channel = set / pitch / l.inner * (l.length / l.rows);
        double mean = 0, squares = 0;
        for (size_t r = 0; r < l.length; r++)
            mean += v->x[first + r * step];
        mean /= (double)l.length;
        for (size_t r = 0; r < l.length; r++)
            squares += pow(v->x[first + r * step] - mean, 2);
        const double invstd = 1 / sqrt(squares / (double)l.length + (double)shape->eps);
        for (size_t r = 0; r < l.length; r++) {
            const size_t c = channel + r / l.rows;
            const double w = v->weight ? v->weight[c] : 1, b = v->bias ? v->bias[c] : 0;
            v->y[first + r * step] = (float)((v->x[first + r * step] - mean) * invstd * w + b);
        }
        v->mean[set] = (float)mean;
        v->invstd[set] = (float)invstd;
    }
}

static void parameters_reference(const cvy_groupnorm_shape *shape, bool accumulate,
                                 const cvy_groupnorm_values *v) {
    const size_t pitch = (size_t)shape->pitch,
                 per_group = shape->groups ? shape->channels / shape->groups : 1;
    for (size_t c = 0; c < shape->channels; c++) {
        double products = 0, sum = 0;
        for (size_t p = 0; p < shape->pixels; p++)
            for (size_t i = 0; i < pitch; i++) {
                const size_t at = (c * shape->pixels + p) * pitch + i;
                const size_t set = (shape->groups ? c / per_group : p) * pitch + i;
                products += v->gy[at] * ((double)v->x[at] - v->mean[set]) * v->invstd[set];
                sum += v->gy[at];
            }
        if (v->gweight)
            v->gweight[c] = (float)products + (accumulate ? v->gweight[c] : 0);
        if (v->gbias)
            v->gbias[c] = (float)sum + (accumulate ? v->gbias[c] : 0);
    }
}

void cvy_groupnorm_backward_reference(const cvy_groupnorm_shape *shape, bool accumulate,
                                      const cvy_groupnorm_values *v) {
    const layout l = layout_of(shape);
    parameters_reference(shape, accumulate, v); /* before gx, which may be gy */
    if (!v->gx)
        return;
    FOR_EACH_SET(shape, l) {
        const size_t first = first_of(&l, set, pitch), step = l.inner * pitch;
        const size_t channel = set / pitch / l.inner * (l.length / l.rows);
        const double mean = v->mean[set], invstd = v->invstd[set];
        double sum = 0, products = 0;
        for (size_t r = 0; r < l.length; r++) {
            const double w = v->weight ? v->weight[channel + r / l.rows] : 1;
            sum += w * v->gy[first + r * step];
            products += w * v->gy[first + r * step] * (v->x[first + r * step] - mean) * invstd;
        }
        sum /= (double)l.length;
        products /= (double)l.length;
        for (size_t r = 0; r < l.length; r++) {
            const size_t at = first + r * step;
            const double w = v->weight ? v->weight[channel + r / l.rows] : 1;
            v->gx[at] = (float)(invstd * (w * v->gy[at] - sum - (v->x[at] - mean) * invstd * products));
        }
    }
}

/* ---- Prepared op ---- */

/* The products of each channel's lanes stand in front of what their sums need. */
static size_t products_floats(const cvy_groupnorm_shape *s) {
    return s->channels * (size_t)s->pitch;
}

static void plan_sums(const cvy_device_traits *traits, const cvy_groupnorm_shape *s, cvy_sum_rows *gweight,
                      cvy_sum_rows *gbias) {
    cvy_sum_rows_plan(traits, s->channels, (size_t)s->pitch, gweight);
    cvy_sum_rows_plan(traits, s->channels, s->pixels * (size_t)s->pitch, gbias);
}

size_t cvy_groupnorm_workspace(const cvy_device_traits *traits, const cvy_groupnorm_shape *shape) {
    cvy_sum_rows gweight = {0}, gbias = {0};
    if (traits->host)
        return 0;
    plan_sums(traits, shape, &gweight, &gbias);
    return (products_floats(shape) + max_size(gweight.scratch, gbias.scratch)) * sizeof(float);
}

static convoy_status prepare_backward(convoy_device *device, cvy_groupnorm *op, size_t across, size_t outer) {
    const cvy_groupnorm_shape *s = &op->shape;
    plan_sums(cvy_device_get_traits(device), s, &op->gweight, &op->gbias);
    convoy_status status =
        cvy_kernel_get_pitch(device, "groupnorm", "groupnorm_backward", (size_t)s->pitch, &op->backward);
    if (!status)
        status =
            cvy_kernel_get_pitch(device, "groupnorm", "groupnorm_products", (size_t)s->pitch, &op->products);
    if (!status)
        status = cvy_sum_rows_prepare(device, &op->gweight);
    if (!status)
        status = cvy_sum_rows_prepare(device, &op->gbias);
    if (status)
        return status;
    op->backward_blocks = cvy_vector_blocks(device, op->backward, across, outer);
    op->products_grid =
        cvy_groups(cvy_group_size(device, op->products, (size_t)op->vectors), 1, s->channels, 1);
    return CONVOY_OK;
}

convoy_status cvy_groupnorm_prepare(convoy_device *device, const cvy_groupnorm_shape *shape, bool training,
                                    cvy_groupnorm *op) {
    const layout l = layout_of(shape);
    *op = (cvy_groupnorm){.shape = *shape, .host = cvy_device_get_traits(device)->host};
    if (op->host)
        return CONVOY_OK;
    op->vectors = shape->pitch / cvy_pitch_width(device, (size_t)shape->pitch);
    const size_t across = l.inner * (size_t)op->vectors;
    convoy_status status =
        cvy_kernel_get_pitch(device, "groupnorm", "groupnorm_forward", (size_t)shape->pitch, &op->forward);
    if (status)
        return status;
    op->forward_blocks = cvy_vector_blocks(device, op->forward, across, l.outer);
    return training ? prepare_backward(device, op, across, l.outer) : CONVOY_OK;
}

static cvy_groupnorm_values host_values(const cvy_groupnorm_buffers *b) {
    return (cvy_groupnorm_values){.x = cvy_buffer_host(b->x),
                                  .weight = cvy_buffer_host(b->weight),
                                  .bias = cvy_buffer_host(b->bias),
                                  .gy = cvy_buffer_host(b->gy),
                                  .y = cvy_buffer_host(b->y),
                                  .mean = cvy_buffer_host(b->mean),
                                  .invstd = cvy_buffer_host(b->invstd),
                                  .gx = cvy_buffer_host(b->gx),
                                  .gweight = cvy_buffer_host(b->gweight),
                                  .gbias = cvy_buffer_host(b->gbias)};
}

/* In the order of LAYOUT in kernels/groupnorm.cl. */
#define LAYOUT(op, l)                                                                                        \
    cvy_ulong((l).length / (l).rows), cvy_ulong((l).rows), cvy_ulong((l).inner *(size_t)(op)->vectors)

convoy_status cvy_groupnorm_forward(const cvy_groupnorm *op, const cvy_groupnorm_buffers *b) {
    const layout l = layout_of(&op->shape);
    if (op->host) {
        const cvy_groupnorm_values v = host_values(b);
        cvy_groupnorm_forward_reference(&op->shape, &v);
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward, op->forward_blocks.grid, cvy_buf(b->x), cvy_buf(b->weight),
                      cvy_buf(b->bias), cvy_float(op->shape.eps), cvy_buf(b->y), cvy_buf(b->mean),
                      cvy_buf(b->invstd), LAYOUT(op, l), cvy_uint(op->forward_blocks.block));
}

/* Before gx, which may be gy. */
static convoy_status launch_parameters(const cvy_groupnorm *op, bool accumulate,
                                       const cvy_groupnorm_buffers *b) {
    const cvy_groupnorm_shape *s = &op->shape;
    const size_t scratch = products_floats(s);
    convoy_status status = CONVOY_OK;
    if (b->gweight)
        status =
            CVY_LAUNCH(op->products, op->products_grid, cvy_buf(b->x), cvy_buf(b->gy), cvy_buf(b->mean),
                       cvy_buf(b->invstd), cvy_buf(b->workspace), cvy_ulong(s->pixels),
                       cvy_ulong(s->groups ? s->channels / s->groups : 0), cvy_uint((uint32_t)op->vectors));
    if (!status && b->gweight)
        status = cvy_sum_rows_run(&op->gweight, b->workspace, b->gweight, accumulate, b->workspace, scratch);
    return status ? status : cvy_sum_rows_run(&op->gbias, b->gy, b->gbias, accumulate, b->workspace, scratch);
}

convoy_status cvy_groupnorm_backward(const cvy_groupnorm *op, bool accumulate,
                                     const cvy_groupnorm_buffers *b) {
    const layout l = layout_of(&op->shape);
    if (op->host) {
        const cvy_groupnorm_values v = host_values(b);
        cvy_groupnorm_backward_reference(&op->shape, accumulate, &v);
        return CONVOY_OK;
    }
    convoy_status status = launch_parameters(op, accumulate, b);
    if (status || !b->gx)
        return status;
    return CVY_LAUNCH(op->backward, op->backward_blocks.grid, cvy_buf(b->x), cvy_buf(b->gy),
                      cvy_buf(b->weight), cvy_buf(b->mean), cvy_buf(b->invstd), cvy_buf(b->gx), LAYOUT(op, l),
                      cvy_uint(op->backward_blocks.block));
}
