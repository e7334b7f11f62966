/* What MixUp and CutMix do to a batch that is made, in place: image i of n is mixed with image i - 1, its
   partner, and the first with the last one, as torchvision's roll by one has them. */
#ifndef CVY_OPS_MIX_H
#define CVY_OPS_MIX_H

#include "base/rng.h"
#include "ops/gather.h"
#include "ops/vector.h"

/* Beside the box an image is itself. */
typedef struct cvy_mix {
    double target; /* the image's share of its target; the rest is its partner's */
    double pixels; /* its share of the pixels in the box */
    int box[4];    /* first column and row, and those behind the last */
} cvy_mix;

/* Draws from Beta(alpha, alpha), alpha > 0. */
double cvy_mix_beta(cvy_rng *rng, double alpha);
/* torchvision.transforms.v2's make_params, by random numbers of its own. */
void cvy_mix_draw_mixup(double alpha, cvy_rng *rng, const cvy_image_spec *image, cvy_mix *mix);
void cvy_mix_draw_cutmix(double alpha, cvy_rng *rng, const cvy_image_spec *image, cvy_mix *mix);

/* y [channels][height + 2 border][width + 2 border][pitch]; the border and padding columns stay as they are.
 */
void cvy_mix_reference(const cvy_image_spec *image, int pitch, int n, const cvy_mix *mix, float *y);

typedef struct cvy_mixer {
    cvy_image_spec image;
    int pitch, vectors;
    cvy_kernel *kernel; /* NULL on the host */
    size_t group_size;
} cvy_mixer;
convoy_status cvy_mixer_prepare(convoy_device *device, const cvy_image_spec *image, int pitch, cvy_mixer *op);
convoy_status cvy_mixer_run(const cvy_mixer *op, int n, const cvy_mix *mix, cvy_buffer *y);

#endif
