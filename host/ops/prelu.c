/* PReLU: the reference, and kernels/prelu.cl. */
#include "ops/prelu.h"

/* ---- Reference ---- */

static size_t map_floats(const cvy_prelu_shape *shape) {
    return shape->pixels * (size_t)shape->pitch;
}

/* of = values where x is above 0, else the slope times values. */
static void bend(const cvy_prelu_shape *shape, const float *x, const float *slopes, const float *values,
                 float *of) {
    const size_t floats = map_floats(shape);
    for (size_t i = 0; i < shape->channels * floats; i++)
        of[i] = x[i] > 0 ? values[i] : slopes[shape->shared ? 0 : i / floats] * values[i];
}

void cvy_prelu_forward_reference(const cvy_prelu_shape *shape, const float *x, const float *slopes,
                                 float *y) {
    bend(shape, x, slopes, x, y);
}

void cvy_prelu_backward_reference(const cvy_prelu_shape *shape, const float *x, const float *slopes,
                                  const float *gy, float *gx) {
    bend(shape, x, slopes, gy, gx);
}

void cvy_prelu_slopes_reference(const cvy_prelu_shape *shape, const float *x, const float *gy, float *gslopes,
                                bool accumulate) {
    const size_t rows = shape->shared ? 1 : shape->channels;
    const size_t floats = shape->channels * map_floats(shape) / rows;
    for (size_t row = 0; row < rows; row++) {
        double sum = accumulate ? (double)gslopes[row] : 0;
        for (size_t i = row * floats; i < (row + 1) * floats; i++)
            sum += x[i] > 0 ? 0 : (double)x[i] * gy[i];
        gslopes[row] = (float)sum;
    }
}

/* ---- Prepared op ---- */

/* Sums of each channel's lanes stand in front of what their own sum needs. */
static size_t lanes_of(const cvy_prelu_shape *shape) {
    return shape->channels * (size_t)shape->pitch;
}

static void plan_sums(const cvy_device_traits *traits, const cvy_prelu_shape *shape, cvy_sum_rows *sums) {
    const size_t rows = shape->shared ? 1 : shape->channels;
    cvy_sum_rows_plan(traits, rows, lanes_of(shape) / rows, sums);
}

size_t cvy_prelu_workspace(const cvy_device_traits *traits, const cvy_prelu_shape *shape) {
    cvy_sum_rows sums = {0};
    if (traits->host)
        return 0;
    plan_sums(traits, shape, &sums);
    return (lanes_of(shape) + sums.scratch) * sizeof(float);
}

static convoy_status prepare_training(convoy_device *device, const cvy_device_traits *traits, cvy_prelu *op) {
    const size_t pitch = (size_t)op->shape.pitch;
    convoy_status status = cvy_kernel_get_pitch(device, "prelu", "prelu_backward", pitch, &op->backward);
    if (!status)
        status = cvy_kernel_get_pitch(device, "prelu", "prelu_slopes", pitch, &op->slopes);
    if (status)
        return status;
    op->backward_blocks = cvy_vector_blocks(device, op->backward, op->vectors, op->shape.channels);
    op->slopes_grid = cvy_groups(cvy_group_size(device, op->slopes, op->vectors / op->shape.pixels), 1,
                                 op->shape.channels, 1);
    plan_sums(traits, &op->shape, &op->sums);
    return cvy_sum_rows_prepare(device, &op->sums);
}

convoy_status cvy_prelu_prepare(convoy_device *device, const cvy_prelu_shape *shape, bool training,
                                cvy_prelu *op) {
    const cvy_device_traits *traits = cvy_device_get_traits(device);
    const size_t pitch = (size_t)shape->pitch;
    *op = (cvy_prelu){.shape = *shape};
    if (traits->host)
        return CONVOY_OK;
    convoy_status status = cvy_kernel_get_pitch(device, "prelu", "prelu_forward", pitch, &op->forward);
    if (status)
        return status;
    op->vectors = shape->pixels * pitch / (size_t)cvy_pitch_width(device, pitch);
    op->forward_blocks = cvy_vector_blocks(device, op->forward, op->vectors, shape->channels);
    return training ? prepare_training(device, traits, op) : CONVOY_OK;
}

convoy_status cvy_prelu_forward(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *slopes, cvy_buffer *y) {
    if (!op->forward) {
        cvy_prelu_forward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(slopes),
                                    cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward, op->forward_blocks.grid, cvy_buf(x), cvy_buf(slopes),
                      cvy_int(op->shape.shared), cvy_buf(y), cvy_ulong(op->vectors),
                      cvy_uint(op->forward_blocks.block));
}

convoy_status cvy_prelu_backward(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *slopes, cvy_buffer *gy,
                                 cvy_buffer *gx) {
    if (!op->backward) {
        cvy_prelu_backward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(slopes),
                                     cvy_buffer_host(gy), cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->backward, op->backward_blocks.grid, cvy_buf(x), cvy_buf(slopes),
                      cvy_int(op->shape.shared), cvy_buf(gy), cvy_buf(gx), cvy_ulong(op->vectors),
                      cvy_uint(op->backward_blocks.block));
}

convoy_status cvy_prelu_slopes(const cvy_prelu *op, cvy_buffer *x, cvy_buffer *gy, cvy_buffer *gslopes,
                               bool accumulate, cvy_buffer *workspace) {
    if (!gslopes)
        return CONVOY_OK;
    if (!op->slopes) {
        cvy_prelu_slopes_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(gy),
                                   cvy_buffer_host(gslopes), accumulate);
        return CONVOY_OK;
    }
    convoy_status status =
        CVY_LAUNCH(op->slopes, op->slopes_grid, cvy_buf(x), cvy_buf(gy), cvy_buf(workspace),
                   cvy_ulong(op->shape.pixels), cvy_uint((uint32_t)(op->vectors / op->shape.pixels)));
    return status
               ? status
               : cvy_sum_rows_run(&op->sums, workspace, gslopes, accumulate, workspace, lanes_of(&op->shape));
}
