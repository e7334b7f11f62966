/* LeNet-5's subsampling and radial-basis units: references, and kernels/lenet5.cl. */
#include "ops/lenet5.h"

#include "ops/vector.h"

static const char *const file = "lenet5";

/* ---- Subsampling: reference ---- */

static size_t in_at(const cvy_subsample_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->in_height, shape->in_width, shape->pitch);
}

static size_t out_at(const cvy_subsample_shape *shape, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, shape->in_height / shape->kernel,
                        shape->in_width / shape->kernel, shape->pitch);
}

/* Sum of the window of output (row, column); x starts at the image. */
static double window_sum(const cvy_subsample_shape *shape, const float *x, int channel, int row, int column) {
    double sum = 0;
    for (int r = 0; r < shape->kernel; r++)
        for (int c = 0; c < shape->kernel; c++)
            sum += x[in_at(shape, channel, row * shape->kernel + r, column * shape->kernel + c)];
    return sum;
}

void cvy_subsample_forward_reference(const cvy_subsample_shape *shape, const float *x, const float *weight,
                                     const float *bias, float *y) {
    for (int channel = 0; channel < shape->channels; channel++)
        for (int row = 0; row < shape->in_height / shape->kernel; row++)
            for (int column = 0; column < shape->in_width / shape->kernel; column++)
                for (int i = 0; i < shape->pitch; i++)
                    y[out_at(shape, channel, row, column) + (size_t)i] =
                        (float)(weight[channel] * window_sum(shape, x + i, channel, row, column) +
                                bias[channel]);
}

void cvy_subsample_backward_reference(const cvy_subsample_shape *shape, const float *x, const float *gy,
                                      const float *weight, float *gx, float *gweight, float *gbias,
                                      bool accumulate) {
    int out_height = shape->in_height / shape->kernel, out_width = shape->in_width / shape->kernel;
    for (int channel = 0; channel < shape->channels; channel++) {
        double product = 0, sum = 0;
        for (int row = 0; row < out_height; row++)
            for (int column = 0; column < out_width; column++)
                for (int i = 0; i < shape->pitch; i++) {
                    float g = gy[out_at(shape, channel, row, column) + (size_t)i];
                    product += g * window_sum(shape, x + i, channel, row, column);
                    sum += g;
                }
        gweight[channel] = (float)(product + (accumulate ? gweight[channel] : 0));
        gbias[channel] = (float)(sum + (accumulate ? gbias[channel] : 0));
        for (int r = 0; gx && r < shape->in_height; r++)
            for (int c = 0; c < shape->in_width; c++)
                for (int i = 0; i < shape->pitch; i++) {
                    int row = r / shape->kernel, column = c / shape->kernel;
                    gx[in_at(shape, channel, r, c) + (size_t)i] =
                        row < out_height && column < out_width
                            ? weight[channel] * gy[out_at(shape, channel, row, column) + (size_t)i]
                            : 0;
                }
    }
}

/* ---- Subsampling: prepared op ---- */

convoy_status cvy_subsample_prepare(convoy_device *device, const cvy_subsample_shape *shape,
                                    cvy_subsample *op) {
    *op = (cvy_subsample){.shape = *shape};
    if (shape->channels < 1 || shape->kernel < 1 || shape->in_height < shape->kernel ||
        shape->in_width < shape->kernel)
        return cvy_fail(CONVOY_INVALID,
                        "subsampling %dx%dx%d in windows of %d: no window fits; use a smaller kernel",
                        shape->channels, shape->in_height, shape->in_width, shape->kernel);
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    const int rows = shape->in_height / shape->kernel, columns = shape->in_width / shape->kernel;
    op->vectors = shape->pitch / cvy_pitch_width(device, (size_t)shape->pitch);
    convoy_status status = cvy_launcher_prepare(device, file, "subsample_forward", shape->pitch, columns,
                                                rows, shape->channels, &op->forward);
    if (!status) /* also rows that do not fill a window: their gradient is 0 */
        status = cvy_launcher_prepare(device, file, "subsample_backward", shape->pitch, columns,
                                      (shape->in_height + shape->kernel - 1) / shape->kernel, shape->channels,
                                      &op->backward);
    return status ? status
                  : cvy_kernel_get_pitch(device, file, "subsample_finish", (size_t)shape->pitch, &op->finish);
}

/* Two floats for each channel and row of windows. */
size_t cvy_subsample_workspace(const cvy_device_traits *traits, const cvy_subsample_shape *shape) {
    return traits->host
               ? 0
               : 2 * sizeof(float) * (size_t)shape->channels * (size_t)(shape->in_height / shape->kernel);
}

convoy_status cvy_subsample_forward(const cvy_subsample *op, cvy_buffer *x, cvy_buffer *weight,
                                    cvy_buffer *bias, cvy_buffer *y) {
    const cvy_subsample_shape *shape = &op->shape;
    if (!op->forward.kernel) {
        cvy_subsample_forward_reference(shape, cvy_buffer_host(x), cvy_buffer_host(weight),
                                        cvy_buffer_host(bias), cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward.kernel, op->forward.grid, cvy_buf(x), cvy_buf(weight), cvy_buf(bias),
                      cvy_buf(y), cvy_int(op->vectors), cvy_int(shape->in_height), cvy_int(shape->in_width),
                      cvy_int(shape->kernel));
}

convoy_status cvy_subsample_backward(const cvy_subsample *op, cvy_buffer *x, cvy_buffer *gy,
                                     cvy_buffer *weight, cvy_buffer *gx, cvy_buffer *gweight,
                                     cvy_buffer *gbias, bool accumulate, cvy_buffer *workspace) {
    const cvy_subsample_shape *shape = &op->shape;
    const cvy_launcher *launch = &op->backward;
    if (!launch->kernel) {
        cvy_subsample_backward_reference(shape, cvy_buffer_host(x), cvy_buffer_host(gy),
                                         cvy_buffer_host(weight), cvy_buffer_host(gx),
                                         cvy_buffer_host(gweight), cvy_buffer_host(gbias), accumulate);
        return CONVOY_OK;
    }
    convoy_status status = CVY_LAUNCH(
        launch->kernel, launch->grid, cvy_buf(x), cvy_buf(gy), cvy_buf(weight), cvy_buf(gx),
        cvy_buf(workspace), cvy_int(op->vectors), cvy_int(shape->in_height), cvy_int(shape->in_width),
        cvy_int(shape->kernel), cvy_local(2 * sizeof(float) * launch->grid.local[0]));
    if (status)
        return status;
    return CVY_LAUNCH(op->finish, cvy_items((size_t)shape->channels), cvy_buf(workspace),
                      cvy_int(shape->channels), cvy_int(shape->in_height / shape->kernel), cvy_buf(gweight),
                      cvy_buf(gbias), cvy_int(accumulate));
}

/* ---- Radial-basis units ---- */

void cvy_rbf_forward_reference(const cvy_rbf_shape *shape, const float *x, const float *weight, float *y) {
    size_t pitch = (size_t)shape->pitch, features = (size_t)shape->features;
    for (size_t unit = 0; unit < (size_t)shape->units; unit++)
        for (size_t i = 0; i < pitch; i++) {
            double sum = 0;
            for (size_t j = 0; j < features; j++) {
                double distance = (double)x[j * pitch + i] - weight[unit * features + j];
                sum += distance * distance;
            }
            y[unit * pitch + i] = (float)sum;
        }
}

void cvy_rbf_backward_reference(const cvy_rbf_shape *shape, const float *x, const float *weight,
                                const float *gy, float *gx) {
    size_t pitch = (size_t)shape->pitch, features = (size_t)shape->features;
    for (size_t j = 0; j < features; j++)
        for (size_t i = 0; i < pitch; i++) {
            double sum = 0;
            for (size_t unit = 0; unit < (size_t)shape->units; unit++)
                sum += 2 * ((double)x[j * pitch + i] - weight[unit * features + j]) * gy[unit * pitch + i];
            gx[j * pitch + i] = (float)sum;
        }
}

static convoy_status prepare_rbf(convoy_device *device, const char *function, const cvy_rbf *op, int rows,
                                 cvy_launcher *launch) {
    convoy_status status =
        cvy_kernel_get_pitch(device, file, function, (size_t)op->shape.pitch, &launch->kernel);
    if (status)
        return status;
    size_t vectors = (size_t)op->vectors, size = cvy_group_size(device, launch->kernel, vectors);
    launch->grid = cvy_groups(size, (vectors + size - 1) / size, (size_t)rows, 1);
    return CONVOY_OK;
}

convoy_status cvy_rbf_prepare(convoy_device *device, const cvy_rbf_shape *shape, cvy_rbf *op) {
    *op = (cvy_rbf){.shape = *shape};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    op->vectors = shape->pitch / cvy_pitch_width(device, (size_t)shape->pitch);
    convoy_status status = prepare_rbf(device, "rbf_forward", op, shape->units, &op->forward);
    return status ? status : prepare_rbf(device, "rbf_backward", op, shape->features, &op->backward);
}

convoy_status cvy_rbf_forward(const cvy_rbf *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *y) {
    if (!op->forward.kernel) {
        cvy_rbf_forward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(weight),
                                  cvy_buffer_host(y));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward.kernel, op->forward.grid, cvy_buf(x), cvy_buf(weight), cvy_buf(y),
                      cvy_int(op->vectors), cvy_int(op->shape.features));
}

convoy_status cvy_rbf_backward(const cvy_rbf *op, cvy_buffer *x, cvy_buffer *weight, cvy_buffer *gy,
                               cvy_buffer *gx) {
    if (!op->backward.kernel) {
        cvy_rbf_backward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(weight),
                                   cvy_buffer_host(gy), cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->backward.kernel, op->backward.grid, cvy_buf(x), cvy_buf(weight), cvy_buf(gy),
                      cvy_buf(gx), cvy_int(op->vectors), cvy_int(op->shape.features),
                      cvy_int(op->shape.units));
}
