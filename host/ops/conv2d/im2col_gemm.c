/* Variant im2col_gemm: convolution as a matrix product, on every OpenCL device. The columns matrix
   [in_channels/groups * kernel][pixels * pitch] is made for a chunk of output pixels at a time, so that the
   workspace stays bounded; with the batch innermost, a chunk's product is already a part of y. Workspace: the
   product's own scratch, then the matrix (for the bias gradient: its strips of sums, in the same place).

   A kernel of one pixel that skips none is a product as it is: x, or gx, lies there as its columns matrix. */
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
    size_t pixels;            /* of the output */
    size_t chunk;             /* pixels in all chunks but the last */
    cvy_gemm *product, *last; /* last: of the shorter last chunk, else NULL */
    bool plain;               /* x or gx is the matrix, and there is a single chunk */
    bool whole;    /* the product of a pass is one: it adds the bias and ends with the activation */
    size_t matrix; /* where the matrix starts in the workspace, in floats */
    size_t group_in, group_out; /* channels of one group */
    size_t rows;                /* of the matrix: group_in * kernel */
    cvy_kernel *im2col, *col2im, *fill;
    cvy_sum_rows bias_gradient;
    cvy_elementwise activation;
} im2col;

static bool is_plain(const cvy_conv2d_shape *s) {
    return s->kernel[0] == 1 && s->kernel[1] == 1 && s->stride[0] == 1 && s->stride[1] == 1 &&
           s->padding[0] == 0 && s->padding[1] == 0;
}

static bool supports(const cvy_job *job) {
    return !job->traits->host && cvy_conv2d_has_many_images(job->shape);
}

static void release(void *state) {
    im2col *p = state;
    cvy_gemm_free(p->product);
    cvy_gemm_free(p->last);
}

/* y = weight matrix;  matrix = weight' gy;  gweight = gy matrix', each over one chunk. */
static cvy_gemm_shape product_of(const im2col *p, size_t pixels) {
    const size_t columns = pixels * (size_t)p->shape.pitch, plane = p->pixels * (size_t)p->shape.pitch;
    cvy_gemm_shape gemm = {
        .m = p->group_out, .n = columns, .k = p->rows, .lda = p->rows, .ldb = columns, .ldc = plane};
    if (p->pass == CVY_CONV2D_FORWARD && p->whole)
        gemm.activation = p->shape.activation;
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
    return gemm;
}

/* The products, described or made ready; `scratch`: what they need of the workspace. */
static convoy_status prepare_products(const cvy_job *job, im2col *p, size_t *scratch) {
    cvy_gemm **const ops[] = {&p->product, &p->last};
    const size_t pixels[] = {p->chunk, p->pixels % p->chunk};
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 2 && pixels[i] && !status; i++) {
        const cvy_gemm_shape shape = product_of(p, pixels[i]);
        cvy_needs needs = {0};
        status = job->describes ? cvy_gemm_describe(job->traits, job->device, &shape, NULL, &needs)
                                : cvy_gemm_create(job->device, &shape, NULL, ops[i]);
        if (!status && !job->describes)
            needs.workspace = cvy_gemm_workspace(*ops[i]);
        *scratch = max_size(*scratch, needs.workspace);
    }
    return status;
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    im2col *p = prepared;
    const cvy_conv2d_shape *s = job->shape;
    p->shape = *s;
    p->pass = (cvy_conv2d_pass)job->pass;
    p->pixels = (size_t)s->out_height * (size_t)s->out_width;
    p->group_in = (size_t)(s->in_channels / s->groups);
    p->group_out = (size_t)(s->out_channels / s->groups);
    p->rows = p->group_in * (size_t)s->kernel[0] * (size_t)s->kernel[1];
    const size_t pixel = p->rows * (size_t)s->pitch * sizeof(float);
    const size_t most = max_size(1, min_size(job->traits->max_allocation / 4, MATRIX_BYTES) / pixel);
    /* Chunks of about equal size. */
    p->plain = is_plain(s);
    p->chunk = p->plain ? p->pixels : ceil_div_size(p->pixels, ceil_div_size(p->pixels, most));
    p->whole = p->chunk == p->pixels && s->groups == 1;
    cvy_sum_rows_plan(job->traits, (size_t)s->out_channels, cvy_conv2d_outputs(s) / (size_t)s->out_channels,
                      &p->bias_gradient);
    size_t scratch = 0;
    convoy_status status = prepare_products(job, p, &scratch);
    p->matrix = round_up(scratch, 256) / sizeof(float); /* keeps it aligned for wide loads */
    needs->workspace = p->matrix * sizeof(float) +
                       max_size(p->plain ? 0 : p->chunk * pixel, p->bias_gradient.scratch * sizeof(float));
    if (job->describes || status)
        return status;
    status = cvy_sum_rows_prepare(job->device, &p->bias_gradient);
    if (!status)
        status = cvy_elementwise_prepare(job->device, CVY_ACTIVATE, s->activation, cvy_conv2d_outputs(s),
                                         &p->activation);
    return status
               ? status
               : cvy_kernels_build(job->device, "conv2d/im2col_gemm", NULL, 0,
                                   CVY_KERNELS({"conv2d_im2col", &p->im2col}, {"conv2d_col2im", &p->col2im},
                                               {"conv2d_fill_bias", &p->fill}));
}

/* ---- One chunk of one group ---- */

typedef struct chunk {
    size_t first, pixels; /* of the output */
    size_t group;
    cvy_gemm *product;
} chunk;

static convoy_status to_matrix(const im2col *p, const chunk *c, const cvy_conv2d_buffers *b) {
    const cvy_conv2d_shape *s = &p->shape;
    const size_t p4 = (size_t)s->pitch / 4, plane = (size_t)s->in_height * (size_t)s->in_width * p4;
    const size_t planes = p->group_in * (size_t)s->kernel[0];
    return CVY_LAUNCH(p->im2col, cvy_items3(p4, c->pixels, planes), cvy_buf(b->in), cvy_buf(b->workspace),
                      cvy_ulong(c->group * p->group_in * plane), cvy_ulong(p->matrix / 4), cvy_int((int)p4),
                      cvy_int(s->in_height), cvy_int(s->in_width), cvy_int(s->out_width),
                      cvy_int(s->kernel[0]), cvy_int(s->kernel[1]), cvy_int(s->stride[0]),
                      cvy_int(s->stride[1]), cvy_int(s->padding[0]), cvy_int(s->padding[1]),
                      cvy_int(s->dilation[0]), cvy_int(s->dilation[1]), cvy_int((int)c->first),
                      cvy_int((int)c->pixels), cvy_int((int)planes));
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
        const size_t width = (size_t)s->out_width;
        const long top = (long)(c->first / width) * s->stride[0] - s->padding[0];
        const long bottom = (long)((c->first + c->pixels - 1) / width) * s->stride[0] - s->padding[0] +
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
                      cvy_int(s->dilation[0]), cvy_int(s->dilation[1]), cvy_int((int)c->first),
                      cvy_int((int)c->pixels), cvy_int((int)p->group_in), cvy_int(first),
                      cvy_int(end - first), cvy_int(c->first > 0));
}

static convoy_status run_chunk(const im2col *p, const chunk *c, const cvy_conv2d_buffers *b) {
    const size_t pitch = (size_t)p->shape.pitch, weights = c->group * p->group_out * p->rows;
    const size_t pixel = (c->group * p->group_out * p->pixels + c->first) * pitch;
    const bool data = p->pass == CVY_CONV2D_BACKWARD_DATA;
    cvy_buffer *matrix = p->plain ? data ? b->out : b->in : b->workspace;
    const size_t at = p->plain ? c->group * p->group_in * p->pixels * pitch : p->matrix;
    convoy_status status = CONVOY_OK;
    if (!data && !p->plain)
        status = to_matrix(p, c, b);
    if (status)
        return status;
    const cvy_gemm_operands operands[3] = {
        [CVY_CONV2D_FORWARD] = {.a = b->weight,
                                .a_offset = weights,
                                .b = matrix,
                                .b_offset = at,
                                .bias = p->whole ? b->bias : NULL,
                                .c = b->out,
                                .c_offset = pixel,
                                .accumulate = b->bias && !p->whole,
                                .workspace = b->workspace},
        [CVY_CONV2D_BACKWARD_DATA] = {.a = b->weight,
                                      .a_offset = weights,
                                      .b = b->in,
                                      .b_offset = pixel,
                                      .c = matrix,
                                      .c_offset = at,
                                      .workspace = b->workspace},
        [CVY_CONV2D_BACKWARD_WEIGHTS] = {.a = b->gy,
                                         .a_offset = pixel,
                                         .b = matrix,
                                         .b_offset = at,
                                         .c = b->out,
                                         .c_offset = weights,
                                         .accumulate = b->accumulate || c->first > 0,
                                         .workspace = b->workspace}};
    status = cvy_gemm_run(c->product, &operands[p->pass]);
    return status || !data || p->plain ? status : from_matrix(p, c, b);
}

static convoy_status run_bias(const im2col *p, const cvy_conv2d_buffers *b) {
    const size_t plane = p->pixels * (size_t)p->shape.pitch / 4, channels = (size_t)p->shape.out_channels;
    if (p->pass == CVY_CONV2D_FORWARD && b->bias && !p->whole)
        return CVY_LAUNCH(p->fill, cvy_items3(plane, channels, 1), cvy_buf(b->bias), cvy_buf(b->out),
                          cvy_ulong(plane), cvy_int((int)channels));
    return p->pass == CVY_CONV2D_BACKWARD_WEIGHTS
               ? cvy_sum_rows_run(&p->bias_gradient, b->gy, b->gbias, b->accumulate, b->workspace, p->matrix)
               : CONVOY_OK;
}

static convoy_status run(void *state, const void *buffers) {
    const im2col *p = state;
    const cvy_conv2d_buffers *b = buffers;
    convoy_status status = run_bias(p, b);
    for (size_t group = 0; group < (size_t)p->shape.groups; group++)
        for (size_t first = 0; first < p->pixels && !status; first += p->chunk) {
            const size_t left = p->pixels - first;
            const chunk c = {first, min_size(left, p->chunk), group, left < p->chunk ? p->last : p->product};
            status = run_chunk(p, &c, b);
        }
    return status || p->pass != CVY_CONV2D_FORWARD || p->whole
               ? status
               : cvy_elementwise_run(&p->activation, b->out, NULL, b->out);
}

const cvy_variant cvy_conv2d_im2col_gemm = {.name = "im2col_gemm",
                                            .supports = supports,
                                            .state_size = sizeof(im2col),
                                            .prepare = prepare,
                                            .run = run,
                                            .release = release};
