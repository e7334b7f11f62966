/* What the tests of conv2d share beside the shapes of selftest/cases.h: the comparison of one variant with
   the host reference on one of them, all three passes. */
#ifndef CVY_TESTS_SUPPORT_CONV2D_H
#define CVY_TESTS_SUPPORT_CONV2D_H

#include "ops/conv2d/conv2d.h"
#include "selftest/cases.h"
#include "support/test.h"

typedef cvy_conv2d_case conv_case;
enum { CONV_ALL_PASSES = 7 };

/* Only the shapes that are small for the variant are in the short run. */
bool conv_skipped(const conv_case *c, const char *variant);
/* Every pass, with and without bias and accumulation. False where the variant does not run this shape on this
   device, which its refusal must say. */
bool conv_check_case(const conv_case *c, const char *variant);
/* The one of winograd's two sizes of tiles that runs shape i where images are larger than the caches only;
   the other one runs it where they are not. */
const char *conv_streamed(size_t i);
/* Each variant for GPUs, or each other one, that runs here at all, on every shape that it supports. */
void conv_check_variants(bool gpu);

/* A shape's tensors with random contents; gy is 0 in the padding columns, as every gradient is. */
typedef struct conv_tensors {
    size_t in_rows, out_rows, inputs, outputs, weights, channels;
    float *x, *weight, *bias, *gy;
} conv_tensors;

conv_tensors conv_tensors_of(const cvy_conv2d_shape *s, int n);
void conv_tensors_free(conv_tensors *t);
void conv_check_forward(cvy_conv2d *op, const cvy_conv2d_shape *s, const conv_tensors *t, int n,
                        const char *what, bool with_bias);

float *conv_zeros(size_t count);
void conv_free_buffers(cvy_buffer **buffers, size_t count);
#define FREE_BUFFERS(...)                                                                                    \
    conv_free_buffers((cvy_buffer *[]){__VA_ARGS__},                                                         \
                      sizeof((cvy_buffer *[]){__VA_ARGS__}) / sizeof(cvy_buffer *))

#endif
