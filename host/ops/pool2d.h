/* Pooling: torch.nn.MaxPool2d, AvgPool2d and AdaptiveAvgPool2d. */
#ifndef CVY_OPS_POOL2D_H
#define CVY_OPS_POOL2D_H

#include "ops/elementwise.h"
#include "ops/op.h"

typedef enum cvy_pool2d_kind { CVY_POOL_MAX, CVY_POOL_AVERAGE, CVY_POOL_ADAPTIVE_AVERAGE } cvy_pool2d_kind;

typedef struct cvy_pool2d_shape {
    cvy_pool2d_kind kind;
    int pitch;
    int channels, in_height, in_width;
    int out_height, out_width;       /* filled in by cvy_pool2d_infer; given for the adaptive kind */
    bool relu;                       /* max only: ReLU of the output; backward takes the gradient behind it */
    cvy_activation input_activation; /* that made x: backward takes gx through it */
    int kernel[2], stride[2], padding[2], dilation[2]; /* not used by the adaptive kind; dilation: max only */
    bool ceil_mode;       /* a last window may hang over, as long as it begins inside */
    bool exclude_padding; /* average only: the mean of real pixels */
} cvy_pool2d_shape;

/* Checks (padding at most half the kernel, as PyTorch) and fills in the output size. */
convoy_status cvy_pool2d_infer(cvy_pool2d_shape *shape);

/* Of `out` windows that cover `in` rows or columns: first..last-1 of window i. */
void cvy_adaptive_window(int i, int in, int out, int *first, int *last);

/* Is there a number left over among the 256 of an index, for outputs that ReLU made 0? */
bool cvy_pool2d_takes_relu(const cvy_pool2d_shape *shape);

/* `indices` (max only, else NULL): for each output the winning position inside its window, row-major in
   kernel rows and columns; the first of equal maxima, and a NaN wins, as in PyTorch. 255 where nobody won:
   the window is all padding, or ReLU made the output 0. */
void cvy_pool2d_forward_reference(const cvy_pool2d_shape *shape, const float *x, float *y, uint8_t *indices);
/* Without input_activation. */
void cvy_pool2d_backward_reference(const cvy_pool2d_shape *shape, const float *gy, const uint8_t *indices,
                                   float *gx);

/* Windows of 2x2 with stride 2 that cover the whole input: a convolution can pool so while it stores its
   output. */
typedef struct cvy_pooling {
    enum { CVY_POOLING_NONE, CVY_POOLING_MEAN, CVY_POOLING_MAXIMUM } kind;
    bool relu; /* of the maximum */
} cvy_pooling;
cvy_pooling cvy_pool2d_pooling(const cvy_pool2d_shape *shape); /* CVY_POOLING_NONE: it has other windows */

typedef struct cvy_pool2d {
    cvy_pool2d_shape shape;
    int vectors; /* of a batch */
    bool cells;  /* windows do not overlap, on a device with kernels */
    cvy_launcher forward, backward;
    cvy_elementwise slope; /* of the activation in front, where the kernel does not take it along */
} cvy_pool2d;
convoy_status cvy_pool2d_prepare(convoy_device *device, const cvy_pool2d_shape *shape, cvy_pool2d *op);
const char *cvy_pool2d_variant(const cvy_pool2d *op);
/* Bytes of the buffer that carries the indices from forward to backward; 0 unless max. Kernels over 256
   positions are refused by cvy_pool2d_infer, so one byte per output is enough. */
size_t cvy_pool2d_indices_bytes(const cvy_pool2d *op);
cvy_cost cvy_pool2d_cost(const cvy_pool2d *op);

/* indices may be NULL when no backward follows. */
convoy_status cvy_pool2d_forward(const cvy_pool2d *op, cvy_buffer *x, cvy_buffer *y, cvy_buffer *indices);
/* x is read where there is an input_activation. */
convoy_status cvy_pool2d_backward(const cvy_pool2d *op, cvy_buffer *gy, cvy_buffer *indices, cvy_buffer *x,
                                  cvy_buffer *gx);

#endif
