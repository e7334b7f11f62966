/* Variant im2col_gemm: convolution as a matrix product, on every OpenCL device. The columns matrix
   [in_channels/groups * kernel][pixels * pitch] is made for a chunk of output pixels at a time, so that the
   workspace stays bounded; with the batch innermost, a chunk's product is already a part of y. Workspace: the
   product's own scratch, then the matrix (for the bias gradient: its strips of sums, in the same place). */
#include <stdlib.h>

#include "base/integer.h"
#include "base/status.h"
#include "ops/conv2d/variant.h"
#include "ops/gemm/gemm.h"
#include "ops/sum_rows.h"

enum {
    MATRIX_BYTES =
        64 << 20 /* of a chunk: enough columns for an efficient product, little beside activations */
};

typedef struct im2col {
    cvy_conv2d_shape shape;
    cvy_conv2d_pass pass;
    int pixels;                 /* of the output */
    int chunk;                  /* pixels in all chunks but the last */
    cvy_gemm *product, *last;   /* last: of the shorter last chunk, else NULL */
    size_t matrix;              /* where the matrix starts in the workspace, in floats */
    size_t group_in, group_out; /* channels of one group */
    size_t rows;                /* of the matrix: group_in * kernel */
    cvy_kernel *im2col, *col2im, *fill;
    cvy_sum_rows bias_gradient;
} im2col;

static bool supports(const cvy_device_traits *traits, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass) {
    (void)shape;
    (void)pass;
    return !traits->host;
}

static void release(void *state) {
    im2col *p = state;
    if (!p)
        return;
    cvy_gemm_free(p->product);
    cvy_gemm_free(p->last);
    free(p);
}

/* y = weight matrix;  matrix = weight' gy;  gweight = gy matrix', each over one chunk. */
static convoy_status prepare_product(convoy_device *device, const im2col *p, int pixels, cvy_gemm **product) {
    const size_t columns = (size_t)pixels * (size_t)p->shape.pitch,
                 plane = (size_t)p->pixels * (size_t)p->shape.pitch;
    cvy_gemm_shape gemm = {
        .m = p->group_out, .n = columns, .k = p->rows, .lda = p->rows, .ldb = columns, .ldc = plane};
    if (p->pass == CVY_CONV2D_BACKWARD_DATA)
        gemm = (cvy_gemm_shape){.transpose_a = true,
                                .m = p->rows,
                                .n = columns,
                                .k = p->group_out,
                                .lda = p->rows,
                                .ldb = plane,
                                .ldc = columns};
    if (p->pass == CVY_CONV2D_BACKWARD_WEIGHTS)
        gemm = (cvy_gemm_shape){.transpose_b = true,
                                .m = p->group_out,
                                .n = p->rows,
                                .k = columns,
                                .lda = plane,
                                .ldb = columns,
                                .ldc = p->rows};
    return cvy_gemm_create(device, &gemm, NULL, product);
}

static convoy_status prepare_kernels(convoy_device *device, im2col *p) {
    const struct {
        const char *function;
        cvy_kernel **kernel;
    } wanted[] = {
        {"conv2d_im2col", &p->im2col}, {"conv2d_col2im", &p->col2im}, {"conv2d_fill_bias", &p->fill}};
    convoy_status status = cvy_sum_rows_prepare(device, (size_t)p->shape.out_channels,
                                                cvy_conv2d_outputs(&p->shape) / (size_t)p->shape.out_channels,
                                                &p->bias_gradient);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !status; i++)
        status = cvy_kernel_get(device, "conv2d/im2col_gemm", wanted[i].function, "", wanted[i].kernel);
    return status;
}

static convoy_status prepare(convoy_device *device, const cvy_conv2d_shape *shape, cvy_conv2d_pass pass,
                             void **state, size_t *workspace) {
    im2col *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a convolution", sizeof *p);
    const size_t allowed = cvy_device_get_traits(device)->max_allocation / 4;
    p->shape = *shape;
    p->pass = pass;
    p->pixels = shape->out_height * shape->out_width;
    p->group_in = (size_t)(shape->in_channels / shape->groups);
    p->group_out = (size_t)(shape->out_channels / shape->groups);
    p->rows = p->group_in * (size_t)shape->kernel[0] * (size_t)shape->kernel[1];
    const size_t pixel = p->rows * (size_t)shape->pitch * sizeof(float);
    const size_t most = max_size(1, (allowed < MATRIX_BYTES ? allowed : MATRIX_BYTES) / pixel);
    /* Chunks of about equal size. */
    const size_t chunks = ((size_t)p->pixels + most - 1) / most;
    p->chunk = (int)(((size_t)p->pixels + chunks - 1) / chunks);
    const int rest = p->pixels % p->chunk;
    convoy_status status = prepare_kernels(device, p);
    if (!status)
        status = prepare_product(device, p, p->chunk, &p->product);
    if (!status && rest)
        status = prepare_product(device, p, rest, &p->last);
    if (status) {
        release(p);
        return status;
    }
    size_t scratch = cvy_gemm_workspace(p->product);
    if (p->last)
        scratch = max_size(scratch, cvy_gemm_workspace(p->last));
    scratch = (scratch + 255) / 256 * 256; /* keeps the matrix aligned for wide loads */
    p->matrix = scratch / sizeof(float);
    *workspace = scratch + max_size((size_t)p->chunk * pixel, p->bias_gradient.scratch * sizeof(float));
    *state = p;
    return CONVOY_OK;
}

/* ---- One chunk of one group ---- */

typedef struct chunk {
    int first, pixels; /* of the output */
    size_t group;
    cvy_gemm *product;
} chunk;

static convoy_status to_matrix(const im2col *p, const chunk *c, const cvy_conv2d_buffers *b) {
    const cvy_conv2d_shape *s = &p->shape;
    const size_t p4 = (size_t)s->pitch / 4, plane = (size_t)s->in_height * (size_t)s->in_width * p4;
    const size_t planes = p->group_in * (size_t)s->kernel[0];
    return CVY_LAUNCH(p->im2col, cvy_items3(p4, (size_t)c->pixels, planes), cvy_buf(b->in),
                      cvy_buf(b->workspace), cvy_ulong(c->group * p->group_in * plane),
                      cvy_ulong(p->matrix / 4), cvy_int((int)p4), cvy_int(s->in_height), cvy_int(s->in_width),
                      cvy_int(s->out_width), cvy_int(s->kernel[0]), cvy_int(s->kernel[1]),
                      cvy_int(s->stride[0]), cvy_int(s->stride[1]), cvy_int(s->padding[0]),
                      cvy_int(s->padding[1]), cvy_int(s->dilation[0]), cvy_int(s->dilation[1]),
                      cvy_int(c->first), cvy_int(c->pixels), cvy_int((int)planes));
}

static int clamp(long value, int low, int high) {
    return value < low ? low : value > high ? high : (int)value;
}

/* The first chunk writes all of gx, zeros included; later ones add to the rows that their pixels reach. */
static convoy_status from_matrix(const im2col *p, const chunk *c, const cvy_conv2d_buffers *b) {
    const cvy_conv2d_shape *s = &p->shape;
    const size_t p4 = (size_t)s->pitch / 4, plane = (size_t)s->in_height * (size_t)s->in_width * p4;
    int first = 0, end = s->in_height;
    if (c->first) {
        const long top = (long)(c->first / s->out_width) * s->stride[0] - s->padding[0];
        const long bottom = (long)((c->first + c->pixels - 1) / s->out_width) * s->stride[0] - s->padding[0] +
                            (long)(s->kernel[0] - 1) * s->dilation[0];
        first = clamp(top, 0, s->in_height);
        end = clamp(bottom + 1, first, s->in_height);
    }
    return CVY_LAUNCH(p->col2im, cvy_items3(p4, (size_t)(end - first) * (size_t)s->in_width, p->group_in),
                      cvy_buf(b->workspace), cvy_buf(b->out), cvy_ulong(p->matrix / 4),
                      cvy_ulong(c->group * p->group_in * plane), cvy_int((int)p4), cvy_int(s->in_height),
                      cvy_int(s->in_width), cvy_int(s->out_height), cvy_int(s->out_width),
                      cvy_int(s->kernel[0]), cvy_int(s->kernel[1]), cvy_int(s->stride[0]),
                      cvy_int(s->stride[1]), cvy_int(s->padding[0]), cvy_int(s->padding[1]),
                      cvy_int(s->dilation[0]), cvy_int(s->dilation[1]), cvy_int(c->first), cvy_int(c->pixels),
                      cvy_int((int)p->group_in), cvy_int(first), cvy_int(end - first), cvy_int(c->first > 0));
}

static convoy_status run_chunk(const im2col *p, const chunk *c, const cvy_conv2d_buffers *b) {
    const size_t pitch = (size_t)p->shape.pitch, weights = c->group * p->group_out * p->rows;
    const size_t pixel = (c->group * p->group_out * (size_t)p->pixels + (size_t)c->first) * pitch;
    convoy_status status = CONVOY_OK;
    if (p->pass != CVY_CONV2D_BACKWARD_DATA)
        status = to_matrix(p, c, b);
    if (status)
        return status;
    switch (p->pass) {
    case CVY_CONV2D_FORWARD:
        return cvy_gemm_run(c->product, b->weight, weights, b->workspace, p->matrix, b->out, pixel,
                            b->bias != NULL, b->workspace);
    case CVY_CONV2D_BACKWARD_WEIGHTS:
        return cvy_gemm_run(c->product, b->gy, pixel, b->workspace, p->matrix, b->out, weights,
                            b->accumulate || c->first > 0, b->workspace);
    default:
        status = cvy_gemm_run(c->product, b->weight, weights, b->in, pixel, b->workspace, p->matrix, false,
                              b->workspace);
        return status ? status : from_matrix(p, c, b);
    }
}

static convoy_status run_bias(const im2col *p, const cvy_conv2d_buffers *b) {
    const size_t plane = (size_t)p->pixels * (size_t)p->shape.pitch / 4,
                 channels = (size_t)p->shape.out_channels;
    if (p->pass == CVY_CONV2D_FORWARD && b->bias)
        return CVY_LAUNCH(p->fill, cvy_items3(plane, channels, 1), cvy_buf(b->bias), cvy_buf(b->out),
                          cvy_ulong(plane), cvy_int((int)channels));
    return p->pass == CVY_CONV2D_BACKWARD_WEIGHTS
               ? cvy_sum_rows_run(&p->bias_gradient, b->gy, b->gbias, b->accumulate, b->workspace, p->matrix)
               : CONVOY_OK;
}

static convoy_status run(void *state, const cvy_conv2d_buffers *buffers) {
    const im2col *p = state;
    convoy_status status = run_bias(p, buffers);
    for (size_t group = 0; group < (size_t)p->shape.groups; group++)
        for (int first = 0; first < p->pixels && !status; first += p->chunk) {
            const int left = p->pixels - first;
            const chunk c = {first, left < p->chunk ? left : p->chunk, group,
                             left < p->chunk ? p->last : p->product};
            status = run_chunk(p, &c, buffers);
        }
    return status;
}

const cvy_conv2d_row cvy_conv2d_im2col_gemm = {
    .name = "im2col_gemm", .supports = supports, .prepare = prepare, .run = run, .release = release};
