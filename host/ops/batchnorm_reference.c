/* Batch normalisation as its formulas read, in host memory. */
#include <math.h>

#include "ops/batchnorm.h"

/* The gradient in front of the activation, where its input is y. */
static double pass(const cvy_batchnorm_shape *shape, double y, float gy) {
    float value = (float)y;
    if (!(CVY_ACTIVATIONS_FROM_INPUT >> shape->activation & 1))
        cvy_activation_forward_reference(shape->activation, NULL, 1, &value, &value);
    cvy_activation_backward_reference(shape->activation, NULL, 1, &value, &gy, &gy);
    return gy;
}

static void normalise(const cvy_batchnorm_shape *shape, int channel, double mean, double invstd,
                      const cvy_batchnorm_values *v) {
    double scale = v->weight ? invstd * v->weight[channel] : invstd, shift = v->bias ? v->bias[channel] : 0;
    float *y = v->y + cvy_batchnorm_at(shape, channel);
    const size_t count = cvy_batchnorm_at(shape, 1);
    for (size_t i = 0; i < count; i++)
        y[i] = (float)((v->x[cvy_batchnorm_at(shape, channel) + i] - mean) * scale + shift);
    cvy_activation_forward_reference(shape->activation, NULL, count, y, y);
}

/* Mean and sum of squared deviations from it. */
static void find_moments(const cvy_batchnorm_shape *shape, int n, int channel, const float *x,
                         double moments[2]) {
    const size_t pitch = (size_t)shape->pitch;
    const float *from = x + cvy_batchnorm_at(shape, channel);
    double sum = 0, squares = 0;
    for (size_t p = 0; p < cvy_batchnorm_pixels(shape); p++)
        for (int i = 0; i < n; i++)
            sum += from[p * pitch + (size_t)i];
    const double mean = sum / ((double)n * (double)cvy_batchnorm_pixels(shape));
    for (size_t p = 0; p < cvy_batchnorm_pixels(shape); p++)
        for (int i = 0; i < n; i++)
            squares += (from[p * pitch + (size_t)i] - mean) * (from[p * pitch + (size_t)i] - mean);
    moments[0] = mean;
    moments[1] = squares;
}

void cvy_batchnorm_forward_training_reference(const cvy_batchnorm_shape *shape, int n,
                                              const cvy_batchnorm_values *v) {
    double count = (double)n * (double)cvy_batchnorm_pixels(shape);
    for (int c = 0; c < shape->channels; c++) {
        double moments[2];
        find_moments(shape, n, c, v->x, moments);
        const double mean = moments[0], squares = moments[1], invstd = 1 / sqrt(squares / count + shape->eps);
        normalise(shape, c, mean, invstd, v);
        v->saved_mean[c] = (float)mean;
        v->saved_invstd[c] = (float)invstd;
        if (v->running_mean)
            v->running_mean[c] = (float)((1 - shape->momentum) * v->running_mean[c] + shape->momentum * mean);
        if (v->running_var)
            v->running_var[c] =
                (float)((1 - shape->momentum) * v->running_var[c] + shape->momentum * squares / (count - 1));
    }
}

void cvy_batchnorm_forward_eval_reference(const cvy_batchnorm_shape *shape, const cvy_batchnorm_values *v) {
    for (int c = 0; c < shape->channels; c++)
        normalise(shape, c, v->running_mean[c], 1 / sqrt((double)v->running_var[c] + shape->eps), v);
}

void cvy_batchnorm_keep_reference(const cvy_batchnorm_shape *shape, const cvy_batchnorm_values *v) {
    for (int c = 0; c < shape->channels; c++) {
        v->saved_mean[c] = v->running_mean[c];
        v->saved_invstd[c] = (float)(1 / sqrt((double)v->running_var[c] + shape->eps));
    }
}

/* Sums of gy, in front of the activation, and of gy * (x - mean); and what they are the gradients of. */
static void sum_gradients(const cvy_batchnorm_shape *shape, int n, int c, bool accumulate,
                          const cvy_batchnorm_values *v, double sums[2]) {
    const size_t pitch = (size_t)shape->pitch, start = cvy_batchnorm_at(shape, c);
    const double mean = v->saved_mean[c], invstd = v->saved_invstd[c], shift = v->bias ? v->bias[c] : 0;
    const double factor = v->weight ? invstd * v->weight[c] : invstd;
    double sum = 0, product = 0;
    for (size_t p = 0; p < cvy_batchnorm_pixels(shape); p++)
        for (size_t at = start + p * pitch; at < start + p * pitch + (size_t)n; at++) {
            double g = pass(shape, (v->x[at] - mean) * factor + shift, v->gy[at]);
            sum += g;
            product += g * (v->x[at] - mean);
        }
    if (v->gweight)
        v->gweight[c] = (float)(product * invstd + (accumulate ? v->gweight[c] : 0));
    if (v->gbias)
        v->gbias[c] = (float)(sum + (accumulate ? v->gbias[c] : 0));
    sums[0] = sum;
    sums[1] = product;
}

/* By the sums over `count` values. */
static void find_gradient(const cvy_batchnorm_shape *shape, int n, int c, const double sums[2], double count,
                          const cvy_batchnorm_values *v) {
    const size_t pitch = (size_t)shape->pitch, start = cvy_batchnorm_at(shape, c);
    const double mean = v->saved_mean[c], invstd = v->saved_invstd[c], shift = v->bias ? v->bias[c] : 0;
    const double factor = v->weight ? invstd * v->weight[c] : invstd;
    for (size_t p = 0; p < cvy_batchnorm_pixels(shape); p++)
        for (size_t i = 0; i < pitch; i++) {
            size_t at = start + p * pitch + i;
            double g = pass(shape, (v->x[at] - mean) * factor + shift, v->gy[at]);
            g -= sums[0] / count + (v->x[at] - mean) * invstd * invstd * sums[1] / count;
            v->gx[at] = i < (size_t)n ? (float)(g * factor) : 0;
        }
}

void cvy_batchnorm_backward_reference(const cvy_batchnorm_shape *shape, int n, bool accumulate,
                                      const cvy_batchnorm_values *v) {
    for (int c = 0; c < shape->channels; c++) {
        double sums[2];
        sum_gradients(shape, n, c, accumulate, v, sums);
        find_gradient(shape, n, c, sums, cvy_batchnorm_count(shape, n), v);
    }
}

void cvy_fold_reference(const cvy_fold *op, size_t row, const cvy_folding_values *of,
                        const cvy_batchnorm_values *v) {
    for (int c = 0; c < op->channels; c++) {
        double scale = (v->weight ? v->weight[c] : 1) / sqrt((double)v->running_var[c] + op->eps);
        for (size_t i = (size_t)c * row; i < (size_t)(c + 1) * row; i++)
            of->folded_weight[i] = (float)(of->weight[i] * scale);
        double level = of->bias ? of->bias[c] : 0;
        of->folded_bias[c] = (float)((level - v->running_mean[c]) * scale + (v->bias ? v->bias[c] : 0));
    }
}

void cvy_batchnorm_moments_reference(const cvy_batchnorm_shape *shape, int n, const float *x, double *pairs) {
    for (int c = 0; c < shape->channels; c++)
        find_moments(shape, n, c, x, pairs + 2 * c);
}

void cvy_batchnorm_sums_reference(const cvy_batchnorm_shape *shape, int n, bool accumulate,
                                  const cvy_batchnorm_values *v, double *pairs) {
    for (int c = 0; c < shape->channels; c++)
        sum_gradients(shape, n, c, accumulate, v, pairs + 2 * c);
}

void cvy_batchnorm_gradient_reference(const cvy_batchnorm_shape *shape, int n, const double *sums,
                                      double count, const cvy_batchnorm_values *v) {
    for (int c = 0; c < shape->channels; c++)
        find_gradient(shape, n, c, sums + 2 * c, count, v);
}

/* Chan, Golub, LeVeque, as kernels/batchnorm.cl has it. */
void cvy_batchnorm_join(bool backward, const double *pairs, const double *counts, size_t pieces,
                        size_t channels, double *joined) {
    for (size_t c = 0; c < channels; c++) {
        double count = 0, first = 0, second = 0;
        for (size_t p = 0; p < pieces; p++) {
            const double *pair = pairs + 2 * (p * channels + c), delta = pair[0] - first;
            if (backward) {
                first += pair[0];
                second += pair[1];
            } else if (counts[p] > 0) {
                const double share = counts[p] / (count + counts[p]);
                first += delta * share;
                second += pair[1] + delta * delta * count * share;
                count += counts[p];
            }
        }
        joined[2 * c] = first;
        joined[2 * c + 1] = second;
    }
}
