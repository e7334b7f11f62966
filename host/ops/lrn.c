/* Local response normalisation: the reference, and kernels/lrn.cl. */
#include "ops/lrn.h"

#include <math.h>

#include "base/integer.h"

/* ---- Reference ---- */

/* First and last channel of a window that begins `before` channels before c; `size` long. */
static void window(const cvy_lrn_shape *shape, size_t c, size_t before, size_t *first, size_t *last) {
    const size_t after = (size_t)shape->size - 1 - before;
    *first = c > before ? c - before : 0;
    *last = min_size(c + after, shape->channels - 1);
}

void cvy_lrn_forward_reference(const cvy_lrn_shape *shape, const float *x, float *y, float *base) {
    const size_t floats = shape->pixels * (size_t)shape->pitch;
    for (size_t c = 0; c < shape->channels; c++)
        for (size_t i = 0; i < floats; i++) {
            size_t first, last;
            double squares = 0;
            window(shape, c, (size_t)shape->size / 2, &first, &last);
            for (size_t w = first; w <= last; w++)
                squares += (double)x[w * floats + i] * x[w * floats + i];
            const double b = (double)shape->k + (double)shape->alpha / shape->size * squares;
            y[c * floats + i] = (float)(x[c * floats + i] * pow(b, -(double)shape->beta));
            if (base)
                base[c * floats + i] = (float)b;
        }
}

void cvy_lrn_backward_reference(const cvy_lrn_shape *shape, const float *x, const float *base,
                                const float *gy, float *gx) {
    const size_t floats = shape->pixels * (size_t)shape->pitch;
    const double beta = (double)shape->beta, scale = 2 * (double)shape->alpha * beta / shape->size;
    for (size_t c = 0; c < shape->channels; c++)
        for (size_t i = 0; i < floats; i++) {
            const size_t at = c * floats + i;
            size_t first, last;
            double sum = 0;
            window(shape, c, ((size_t)shape->size - 1) / 2, &first, &last); /* those that have c in theirs */
            for (size_t w = first; w <= last; w++)
                sum += (double)gy[w * floats + i] * x[w * floats + i] * pow(base[w * floats + i], -beta - 1);
            gx[at] = (float)(gy[at] * pow(base[at], -beta) - scale * x[at] * sum);
        }
}

/* ---- Prepared op ---- */

convoy_status cvy_lrn_prepare(convoy_device *device, const cvy_lrn_shape *shape, cvy_lrn *op) {
    const size_t pitch = (size_t)shape->pitch;
    *op = (cvy_lrn){.shape = *shape, .host = cvy_device_get_traits(device)->host};
    if (op->host)
        return CONVOY_OK;
    convoy_status status = cvy_kernel_get_pitch(device, "lrn", "lrn_forward", pitch, &op->forward);
    if (!status)
        status = cvy_kernel_get_pitch(device, "lrn", "lrn_backward", pitch, &op->backward);
    if (status)
        return status;
    op->vectors = shape->pixels * pitch / (size_t)cvy_pitch_width(device, pitch);
    op->forward_blocks = cvy_vector_blocks(device, op->forward, op->vectors, shape->channels);
    op->backward_blocks = cvy_vector_blocks(device, op->backward, op->vectors, shape->channels);
    return CONVOY_OK;
}

/* In the order of SHAPE in kernels/lrn.cl. */
#define SHAPE(op, blocks)                                                                                    \
    cvy_int((int32_t)(op)->shape.channels), cvy_ulong((op)->vectors), cvy_int((op)->shape.size),             \
        cvy_float((op)->shape.alpha / (float)(op)->shape.size), cvy_float((op)->shape.beta),                 \
        cvy_float((op)->shape.k), cvy_uint((blocks).block)

convoy_status cvy_lrn_forward(const cvy_lrn *op, cvy_buffer *x, cvy_buffer *y, cvy_buffer *base) {
    if (op->host) {
        cvy_lrn_forward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(y), cvy_buffer_host(base));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->forward, op->forward_blocks.grid, cvy_buf(x), cvy_buf(y), cvy_buf(base),
                      SHAPE(op, op->forward_blocks));
}

convoy_status cvy_lrn_backward(const cvy_lrn *op, cvy_buffer *x, cvy_buffer *base, cvy_buffer *gy,
                               cvy_buffer *gx) {
    if (op->host) {
        cvy_lrn_backward_reference(&op->shape, cvy_buffer_host(x), cvy_buffer_host(base), cvy_buffer_host(gy),
                                   cvy_buffer_host(gx));
        return CONVOY_OK;
    }
    return CVY_LAUNCH(op->backward, op->backward_blocks.grid, cvy_buf(x), cvy_buf(base), cvy_buf(gy),
                      cvy_buf(gx), SHAPE(op, op->backward_blocks));
}
