/* Adaptive maxima: the reference, and kernels/adaptive_max.cl. */
#include "ops/adaptive_max.h"

#include <math.h>
#include <string.h>

#include "ops/pool2d.h"

/* ---- Reference ---- */

static size_t in_at(const cvy_adaptive_max_shape *s, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, s->in_height, s->in_width, s->pitch);
}

static size_t out_at(const cvy_adaptive_max_shape *s, int channel, int row, int column) {
    return cvy_pixel_at(channel, row, column, s->out_height, s->out_width, s->pitch);
}

/* The winner's place in the plane `x`, of one channel of one image. */
static int32_t winner_of(const cvy_adaptive_max_shape *s, const float *x, int row, int column) {
    int top, bottom, left, right;
    cvy_adaptive_window(row, s->in_height, s->out_height, &top, &bottom);
    cvy_adaptive_window(column, s->in_width, s->out_width, &left, &right);
    int32_t winner = top * s->in_width + left;
    for (int r = top; r < bottom; r++)
        for (int c = left; c < right; c++) {
            const float value = x[in_at(s, 0, r, c)];
            if (value > x[(size_t)winner * (size_t)s->pitch] || isnan(value))
                winner = r * s->in_width + c;
        }
    return winner;
}

void cvy_adaptive_max_forward_reference(const cvy_adaptive_max_shape *s, const float *x, float *y,
                                        int32_t *indices) {
    for (int channel = 0; channel < s->channels; channel++)
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++)
                for (int i = 0; i < s->pitch; i++) {
                    const float *plane = x + in_at(s, channel, 0, 0) + i;
                    const size_t at = out_at(s, channel, row, column) + (size_t)i;
                    const int32_t winner = winner_of(s, plane, row, column);
                    y[at] = plane[(size_t)winner * (size_t)s->pitch];
                    if (indices)
                        indices[at] = winner;
                }
}

void cvy_adaptive_max_backward_reference(const cvy_adaptive_max_shape *s, const float *gy,
                                         const int32_t *indices, float *gx) {
    memset(gx, 0, in_at(s, s->channels, 0, 0) * sizeof(float));
    for (int channel = 0; channel < s->channels; channel++)
        for (size_t at = out_at(s, channel, 0, 0); at < out_at(s, channel + 1, 0, 0); at++)
            gx[in_at(s, channel, 0, 0) + (size_t)indices[at] * (size_t)s->pitch + at % (size_t)s->pitch] +=
                gy[at];
}

/* ---- Prepared op ---- */

convoy_status cvy_adaptive_max_prepare(convoy_device *device, const cvy_adaptive_max_shape *s,
                                       cvy_adaptive_max *op) {
    *op = (cvy_adaptive_max){.shape = *s};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    op->vectors = s->pitch / cvy_pitch_width(device, (size_t)s->pitch);
    convoy_status status = cvy_launcher_prepare(device, "adaptive_max", "adaptive_max_forward", s->pitch,
                                                s->out_width, s->out_height, s->channels, &op->forward);
    return status ? status
                  : cvy_launcher_prepare(device, "adaptive_max", "adaptive_max_backward", s->pitch,
                                         s->in_width, s->in_height, s->channels, &op->backward);
}

/* In the order of SHAPE in kernels/adaptive_max.cl. */
#define SHAPE(op)                                                                                            \
    cvy_int((op)->vectors), cvy_int((op)->shape.in_height), cvy_int((op)->shape.in_width),                   \
        cvy_int((op)->shape.out_height), cvy_int((op)->shape.out_width)

convoy_status cvy_adaptive_max_forward(const cvy_adaptive_max *op, cvy_buffer *x, cvy_buffer *y,
                                       cvy_buffer *indices) {
    if (!op->forward.kernel) {
        cvy_adaptive_max_forward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(y),
                                           cvy_buffer_host(indices));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward.kernel, op->forward.grid, cvy_buf(x), cvy_buf(y), cvy_buf(indices),
                      SHAPE(op));
}

convoy_status cvy_adaptive_max_backward(const cvy_adaptive_max *op, cvy_buffer *gy, cvy_buffer *indices,
                                        cvy_buffer *gx) {
    if (!op->backward.kernel) {
        cvy_adaptive_max_backward_reference(&op->shape, cvy_buffer_host(gy), cvy_buffer_host(indices),
                                            cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->backward.kernel, op->backward.grid, cvy_buf(gy), cvy_buf(indices), cvy_buf(gx),
                      SHAPE(op));
}
