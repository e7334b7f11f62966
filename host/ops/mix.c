/* MixUp and CutMix: draws, reference, and kernels/mix.cl. */
#include "ops/mix.h"

#include <math.h>

/* ---- Draws ---- */

/* In (0, 1]. */
static double positive(cvy_rng *rng) {
    return 1 - (double)cvy_rng_uniform(rng);
}

/* The logarithm of a number of Gamma(shape, 1): Marsaglia and Tsang, "A simple method for generating gamma
   variables" (2000), with their power of a uniform number below 1. Small shapes give numbers that no double
   holds. */
static double log_gamma_draw(cvy_rng *rng, double shape) {
    const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d);
    const double boost = shape < 1 ? log(positive(rng)) / shape : 0;
    for (;;) {
        const double x = (double)cvy_rng_normal(rng), root = 1 + c * x, v = root * root * root;
        const double u = positive(rng);
        if (root > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return log(d * v) + boost;
    }
}

double cvy_mix_beta(cvy_rng *rng, double alpha) {
    const double a = log_gamma_draw(rng, alpha), b = log_gamma_draw(rng, alpha);
    return 1 / (1 + exp(b - a));
}

void cvy_mix_draw_mixup(double alpha, cvy_rng *rng, const cvy_image_spec *image, cvy_mix *mix) {
    mix->target = mix->pixels = cvy_mix_beta(rng, alpha);
    mix->box[0] = mix->box[1] = 0;
    mix->box[2] = image->width;
    mix->box[3] = image->height;
}

/* Around a pixel, a part of the picture's shape; what of it lies in the picture is the partner's. */
void cvy_mix_draw_cutmix(double alpha, cvy_rng *rng, const cvy_image_spec *image, cvy_mix *mix) {
    const double radius = 0.5 * sqrt(1 - cvy_mix_beta(rng, alpha));
    const int size[2] = {image->width, image->height};
    for (int axis = 0; axis < 2; axis++) {
        const int middle = (int)cvy_rng_below(rng, (uint32_t)size[axis]), half = (int)(radius * size[axis]);
        mix->box[axis] = middle > half ? middle - half : 0;
        mix->box[axis + 2] = middle + half < size[axis] ? middle + half : size[axis];
    }
    const double area = (double)(mix->box[2] - mix->box[0]) * (mix->box[3] - mix->box[1]);
    mix->target = 1 - area / ((double)size[0] * size[1]);
    mix->pixels = 0;
}

/* ---- Reference ---- */

void cvy_mix_reference(const cvy_image_spec *image, int pitch, int n, const cvy_mix *mix, float *y) {
    const int width = image->width + 2 * image->border, height = image->height + 2 * image->border;
    for (int c = 0; c < image->channels; c++)
        for (int row = mix->box[1]; row < mix->box[3]; row++)
            for (int column = mix->box[0]; column < mix->box[2]; column++) {
                const int at = (c * height + row + image->border) * width + column + image->border;
                float *pixel = y + (size_t)at * (size_t)pitch;
                const double last = pixel[n - 1];
                for (int i = n - 1; i >= 0; i--) {
                    const double partner = i ? pixel[i - 1] : last;
                    pixel[i] = (float)(mix->pixels * pixel[i] + (1 - mix->pixels) * partner);
                }
            }
}

/* ---- Prepared op ---- */

convoy_status cvy_mixer_prepare(convoy_device *device, const cvy_image_spec *image, int pitch,
                                cvy_mixer *op) {
    *op = (cvy_mixer){.image = *image, .pitch = pitch};
    if (cvy_device_get_traits(device)->host)
        return CONVOY_OK;
    op->vectors = pitch / cvy_pitch_width(device, (size_t)pitch);
    convoy_status status = cvy_kernel_get_pitch(device, "mix", "mix_batch", (size_t)pitch, &op->kernel);
    if (!status)
        op->group_size = cvy_group_size(device, op->kernel, (size_t)op->vectors);
    return status;
}

convoy_status cvy_mixer_run(const cvy_mixer *op, int n, const cvy_mix *mix, cvy_buffer *y) {
    const cvy_image_spec *image = &op->image;
    const int columns = mix->box[2] - mix->box[0], rows = mix->box[3] - mix->box[1];
    if (!op->kernel) {
        cvy_mix_reference(image, op->pitch, n, mix, cvy_buffer_host(y));
        return CONVOY_OK;
    }
    if (columns < 1 || rows < 1)
        return CONVOY_OK;
    const cvy_grid grid = cvy_groups(op->group_size, (size_t)columns, (size_t)rows, (size_t)image->channels);
    return CVY_LAUNCH(op->kernel, grid, cvy_buf(y), cvy_int(n), cvy_int(op->vectors),
                      cvy_int(image->height + 2 * image->border), cvy_int(image->width + 2 * image->border),
                      cvy_int(mix->box[0] + image->border), cvy_int(mix->box[1] + image->border),
                      cvy_float((float)mix->pixels), cvy_float((float)(1 - mix->pixels)));
}
