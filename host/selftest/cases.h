/* Shapes whose edges matter: the tests of the ops and `convoy selftest` take the same. */
#ifndef CVY_SELFTEST_CASES_H
#define CVY_SELFTEST_CASES_H

#include "ops/conv2d/conv2d.h"
#include "ops/gather.h"
#include "ops/pool2d.h"

/* Images and pitch; the small pitches are for forward on CPUs, but ops need not know. */
enum { CVY_BATCH_CASES = 9 };
extern const int cvy_batch_cases[CVY_BATCH_CASES][2];

typedef struct cvy_conv2d_case {
    const char *name;
    int n; /* images; the pitch is the next multiple of 16 */
    int in, out, groups, height, width;
    int kernel[2], stride[2], padding[2], dilation[2];
    cvy_activation activation;
} cvy_conv2d_case;
extern const cvy_conv2d_case cvy_conv2d_cases[];
extern const size_t cvy_conv2d_case_count;
cvy_conv2d_shape cvy_conv2d_case_shape(const cvy_conv2d_case *c);
/* How far a variant may be off, relative to the largest value that is right, or 1. */
double cvy_conv2d_tolerance(const char *variant, int pass, convoy_precision precision);

extern const size_t cvy_gemm_cases[][3]; /* m, n, k: each with all transposes */
extern const size_t cvy_gemm_case_count;
double cvy_gemm_tolerance(const char *variant, convoy_precision precision);

extern const cvy_pool2d_shape cvy_pool2d_cases[]; /* without pitch, to be inferred */
extern const size_t cvy_pool2d_case_count;
extern const int cvy_batchnorm_cases[][3]; /* channels, height, width */
extern const size_t cvy_batchnorm_case_count;
extern const int cvy_resize_cases[][4]; /* height and width, of the input and the output */
extern const size_t cvy_resize_case_count;
extern const cvy_gather_shape cvy_gather_cases[]; /* without pitch */
extern const size_t cvy_gather_case_count;
extern const int cvy_loss_cases[]; /* classes */
extern const size_t cvy_loss_case_count;
extern const size_t
    cvy_length_cases[]; /* of elementwise ops: around the vectors of 4, 8 and 16, and past one block */
extern const size_t cvy_length_case_count;
extern const size_t cvy_update_cases[]; /* parameters of an optimizer */
extern const size_t cvy_update_case_count;
extern const float cvy_dropout_cases[]; /* probabilities */
extern const size_t cvy_dropout_case_count;

#endif
