/* The host reference of conv2d: the formula in plain loops that accumulate in double, and the variant
   "reference", which runs it on the host device. */
#include "ops/conv2d/variant.h"
#include "ops/sum_rows.h"

/* Sixteen images at a time, so that the sums of the inner loop stay in registers; forward also fewer. */

enum { LANES = 16 };

/* Input position under tap k of output `out`, or -1 where it is padding. */
static long position(int out, int k, int stride, int padding, int dilation, int size) {
    const long at = (long)out * stride - padding + (long)k * dilation;
    return at >= 0 && at < size ? at : -1;
}

static const float *pixel(const float *plane, size_t channel, int height, int width, int pitch, size_t row,
                          size_t column) {
    return plane + ((channel * (size_t)height + row) * (size_t)width + column) * (size_t)pitch;
}

static void add_scaled(double sum[LANES], double factor, const float *values, int lanes) {
    if (lanes == LANES)
        for (int n = 0; n < LANES; n++)
            sum[n] += factor * (double)values[n];
    else
        for (int n = 0; n < lanes; n++)
            sum[n] += factor * (double)values[n];
}

static double add_products(double sum, const float *a, const float *b) {
    double lane[LANES];
    for (int n = 0; n < LANES; n++)
        lane[n] = (double)a[n] * (double)b[n];
    for (int n = 0; n < LANES; n++)
        sum += lane[n];
    return sum;
}

static void store(const double sum[LANES], float *to, int lanes) {
    for (int n = 0; n < lanes; n++)
        to[n] = (float)sum[n];
}

/* The sum over one output pixel's taps, for LANES images (all, where they are fewer). */
static void forward_pixel(const cvy_conv2d_shape *s, const float *x, const float *weight, int co, int oh,
                          int ow, double sum[LANES]) {
    const int in_channels = s->in_channels / s->groups, group = co / (s->out_channels / s->groups);
    const float *w = weight + (size_t)co * (size_t)(in_channels * s->kernel[0] * s->kernel[1]);
    for (int ci = 0; ci < in_channels; ci++)
        for (int kh = 0; kh < s->kernel[0]; kh++) {
            const long ih = position(oh, kh, s->stride[0], s->padding[0], s->dilation[0], s->in_height);
            for (int kw = 0; kw < s->kernel[1]; kw++, w++) {
                const long iw = position(ow, kw, s->stride[1], s->padding[1], s->dilation[1], s->in_width);
                if (ih >= 0 && iw >= 0)
                    add_scaled(sum, *w,
                               pixel(x, (size_t)group * (size_t)in_channels + (size_t)ci, s->in_height,
                                     s->in_width, s->pitch, (size_t)ih, (size_t)iw),
                               s->pitch < LANES ? s->pitch : LANES);
            }
        }
}

void cvy_conv2d_forward_reference(const cvy_conv2d_shape *s, const float *x, const float *weight,
                                  const float *bias, float *y) {
    const int lanes = s->pitch < LANES ? s->pitch : LANES;
    for (int co = 0; co < s->out_channels; co++)
        for (int oh = 0; oh < s->out_height; oh++)
            for (int ow = 0; ow < s->out_width; ow++, y += s->pitch)
                for (int image = 0; image < s->pitch; image += LANES) {
                    double sum[LANES];
                    for (int n = 0; n < LANES; n++)
                        sum[n] = bias ? (double)bias[co] : 0;
                    forward_pixel(s, x + image, weight, co, oh, ow, sum);
                    store(sum, y + image, lanes);
                    cvy_activation_forward_reference(s->activation, NULL, (size_t)lanes, y + image,
                                                     y + image);
                }
}

/* Output whose tap k lies on input `in`, or -1. */
static long output_of(int in, int k, int stride, int padding, int dilation, int size) {
    const long at = (long)in + padding - (long)k * dilation;
    return at >= 0 && at % stride == 0 && at / stride < size ? at / stride : -1;
}

static void backward_data_pixel(const cvy_conv2d_shape *s, const float *gy, const float *weight, int ci,
                                int ih, int iw, double sum[LANES]) {
    const int in_channels = s->in_channels / s->groups, out_channels = s->out_channels / s->groups;
    const int group = ci / in_channels, taps = s->kernel[0] * s->kernel[1];
    for (int co = group * out_channels; co < (group + 1) * out_channels; co++) {
        const float *w =
            weight + ((size_t)co * (size_t)in_channels + (size_t)(ci % in_channels)) * (size_t)taps;
        for (int kh = 0; kh < s->kernel[0]; kh++) {
            const long oh = output_of(ih, kh, s->stride[0], s->padding[0], s->dilation[0], s->out_height);
            for (int kw = 0; kw < s->kernel[1]; kw++, w++) {
                const long ow = output_of(iw, kw, s->stride[1], s->padding[1], s->dilation[1], s->out_width);
                if (oh >= 0 && ow >= 0)
                    add_scaled(
                        sum, *w,
                        pixel(gy, (size_t)co, s->out_height, s->out_width, s->pitch, (size_t)oh, (size_t)ow),
                        LANES);
            }
        }
    }
}

void cvy_conv2d_backward_data_reference(const cvy_conv2d_shape *s, const float *gy, const float *weight,
                                        float *gx) {
    for (int ci = 0; ci < s->in_channels; ci++)
        for (int ih = 0; ih < s->in_height; ih++)
            for (int iw = 0; iw < s->in_width; iw++, gx += s->pitch)
                for (int image = 0; image < s->pitch; image += LANES) {
                    double sum[LANES] = {0};
                    backward_data_pixel(s, gy + image, weight, ci, ih, iw, sum);
                    store(sum, gx + image, LANES);
                }
}

static double weight_gradient(const cvy_conv2d_shape *s, const float *x, const float *gy, int co, int ci,
                              int kh, int kw) {
    double sum = 0;
    for (int oh = 0; oh < s->out_height; oh++) {
        const long ih = position(oh, kh, s->stride[0], s->padding[0], s->dilation[0], s->in_height);
        for (int ow = 0; ow < s->out_width && ih >= 0; ow++) {
            const long iw = position(ow, kw, s->stride[1], s->padding[1], s->dilation[1], s->in_width);
            if (iw < 0)
                continue;
            const float *g =
                pixel(gy, (size_t)co, s->out_height, s->out_width, s->pitch, (size_t)oh, (size_t)ow);
            const float *v =
                pixel(x, (size_t)ci, s->in_height, s->in_width, s->pitch, (size_t)ih, (size_t)iw);
            for (int image = 0; image < s->pitch; image += LANES)
                sum = add_products(sum, g + image, v + image);
        }
    }
    return sum;
}

void cvy_conv2d_backward_weights_reference(const cvy_conv2d_shape *s, const float *x, const float *gy,
                                           float *gweight, float *gbias, bool accumulate) {
    const int in_channels = s->in_channels / s->groups, out_channels = s->out_channels / s->groups;
    for (int co = 0; co < s->out_channels; co++)
        for (int ci = 0; ci < in_channels; ci++)
            for (int kh = 0; kh < s->kernel[0]; kh++)
                for (int kw = 0; kw < s->kernel[1]; kw++, gweight++) {
                    const double sum =
                        weight_gradient(s, x, gy, co, co / out_channels * in_channels + ci, kh, kw);
                    *gweight = (float)(accumulate ? (double)*gweight + sum : sum);
                }
    const size_t channels = (size_t)s->out_channels;
    if (gbias)
        cvy_sum_rows_reference(channels, cvy_conv2d_outputs(s) / channels, gy, gbias, accumulate);
}

/* ---- The row of the table ---- */

static bool supports(const cvy_job *job) {
    const cvy_conv2d_shape *s = job->shape;
    return job->traits->host && (s->pitch % LANES == 0 || job->pass == CVY_CONV2D_FORWARD);
}

static convoy_status prepare(const cvy_job *job, void *prepared, cvy_needs *needs) {
    (void)needs;
    *(cvy_job *)prepared = *job;
    return CONVOY_OK;
}

static convoy_status run(void *prepared, const void *buffers) {
    const cvy_job *job = prepared;
    const cvy_conv2d_buffers *b = buffers;
    float *const in[CVY_OP_INPUTS] = {cvy_buffer_host(b->in), cvy_buffer_host(b->gy ? b->gy : b->weight),
                                      cvy_buffer_host(b->bias)};
    float *const out[CVY_OP_OUTPUTS] = {cvy_buffer_host(b->out), cvy_buffer_host(b->gbias)};
    cvy_conv2d_op.reference(job, in, out, b->accumulate);
    return CONVOY_OK;
}

const cvy_variant cvy_conv2d_reference = {
    .name = "reference", .supports = supports, .state_size = sizeof(cvy_job), .prepare = prepare, .run = run};
