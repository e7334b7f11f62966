/* The transforms: their arguments, and what they draw. Each follows torchvision's get_params, whose
   distributions it draws from by random numbers of its own. */
#include <math.h>

#include "ops/augment.h"

static double uniform(cvy_rng *rng, double low, double high) {
    return low + (high - low) * (double)cvy_rng_uniform(rng);
}

static bool happens(cvy_rng *rng, double p) {
    return (double)cvy_rng_uniform(rng) < p;
}

/* A whole number of 0..most. */
static int whole(cvy_rng *rng, int most) {
    return (int)cvy_rng_below(rng, (uint32_t)most + 1);
}

/* A range of which only one number was given: `middle` +- that. */
static void about(const double range[2], double middle, double out[2]) {
    const bool one = isnan(range[1]);
    out[0] = one ? middle - range[0] : range[0];
    out[1] = one ? middle + range[0] : range[1];
}

/* One fill for all of a list: the image is sampled once. */
static convoy_status fill_with(const cvy_transform *t, cvy_frame *frame) {
    if (frame->fills && frame->fill != t->fill)
        return cvy_fail(CONVOY_INVALID,
                        "`fill` is %g, but a transform before it has %g: give all the same one", t->fill,
                        frame->fill);
    frame->fills = true;
    frame->fill = t->fill;
    return CONVOY_OK;
}

/* ---- Flips ---- */

static void draw_horizontal_flip(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    cvy_look_flip(look, happens(rng, t->p), false);
}

static void draw_vertical_flip(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    cvy_look_flip(look, false, happens(rng, t->p));
}

/* ---- RandomCrop ---- */

static convoy_status check_crop(const cvy_transform *t, cvy_frame *frame) {
    const int height = frame->height + 2 * t->padding, width = frame->width + 2 * t->padding;
    if (t->size[0] > height || t->size[1] > width)
        return cvy_fail(
            CONVOY_INVALID,
            "a crop of %dx%d is larger than the picture, %dx%d%s: give a smaller `size` or more `padding`",
            t->size[0], t->size[1], height, width, t->padding ? " with its padding" : "");
    frame->height = t->size[0];
    frame->width = t->size[1];
    return t->padding ? fill_with(t, frame) : CONVOY_OK;
}

static void draw_crop(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    const int top = whole(rng, look->height + 2 * t->padding - t->size[0]) - t->padding,
              left = whole(rng, look->width + 2 * t->padding - t->size[1]) - t->padding;
    cvy_look_crop(look, top, left, t->size[0], t->size[1]);
}

/* ---- RandomRotation and RandomAffine ---- */

static convoy_status check_turn(const cvy_transform *t, cvy_frame *frame) {
    if (isnan(t->degrees[1]) && t->degrees[0] < 0)
        return cvy_fail(CONVOY_INVALID, "`degrees` of %g: one number must not be below 0; two are a range",
                        t->degrees[0]);
    frame->smooth = frame->smooth || t->interpolation == CVY_BILINEAR;
    return fill_with(t, frame);
}

static void draw_rotation(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    double degrees[2];
    about(t->degrees, 0, degrees);
    /* functional.rotate turns counter-clockwise. */
    cvy_look_turn(look, &(cvy_turn){.angle = -uniform(rng, degrees[0], degrees[1]), .scale = 1});
}

static void draw_affine(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    double degrees[2], shear[2];
    cvy_turn turn = {.scale = 1};
    about(t->degrees, 0, degrees);
    about(t->shear, 0, shear);
    turn.angle = uniform(rng, degrees[0], degrees[1]);
    const double most[2] = {t->translate[0] * look->width, t->translate[1] * look->height};
    for (int axis = 0; axis < 2; axis++)
        turn.translate[axis] = nearbyint(uniform(rng, -most[axis], most[axis]));
    turn.scale = uniform(rng, t->scale[0], t->scale[1]);
    turn.shear[0] = uniform(rng, shear[0], shear[1]);
    cvy_look_turn(look, &turn);
}

/* ---- The table ---- */

#define PARAM(field, kind, default, ...)                                                                     \
    CVY_PARAM(cvy_transform, field, kind, .fallback = default, __VA_ARGS__)
#define P PARAM(p, CVY_FLOAT, "0.5", .maximum = 1, .help = "how likely it is")
#define SIZE                                                                                                 \
    PARAM(size, CVY_PAIR, "", .minimum = 1, .maximum = 1 << 14,                                              \
          .help = "of what is left; default: the model's image")
#define FILL                                                                                                 \
    PARAM(fill, CVY_FLOAT, "0", .maximum = 255, .help = "level of what lies beside the picture, of 0..255")
#define DEGREES                                                                                              \
    PARAM(degrees, CVY_RANGE, NULL, .minimum = -360, .maximum = 360,                                         \
          .help = "a number d for -d..d, or a range")
#define INTERPOLATION(default)                                                                               \
    PARAM(interpolation, CVY_CHOICE, default, .choices = "nearest|bilinear",                                 \
          .help = "of the pixels; one that is bilinear makes the whole list so")

static const cvy_param flip_params[] = {P, CVY_PARAM_END};
static const cvy_param crop_params[] = {
    SIZE,
    PARAM(padding, CVY_INT, "0", .maximum = 1 << 12, .help = "pixels of `fill` around the picture"),
    FILL,
    CVY_PARAM_END,
};
static const cvy_param rotation_params[] = {DEGREES, INTERPOLATION("nearest"), FILL, CVY_PARAM_END};
static const cvy_param affine_params[] = {
    DEGREES,
    PARAM(translate, CVY_NUMBERS, "[0, 0]", .maximum = 1,
          .help = "most of the width and of the height that it moves"),
    PARAM(scale, CVY_NUMBERS, "[1, 1]", .minimum = 0.01, .maximum = 100, .help = "a range of factors"),
    PARAM(shear, CVY_RANGE, "0", .minimum = -80, .maximum = 80,
          .help = "degrees along x: a number d for -d..d, or a range"),
    INTERPOLATION("nearest"),
    FILL,
    CVY_PARAM_END,
};

const cvy_transform_type cvy_transform_types[] = {
    {"RandomHorizontalFlip", flip_params, NULL, draw_horizontal_flip, true},
    {"RandomVerticalFlip", flip_params, NULL, draw_vertical_flip, true},
    {"RandomCrop", crop_params, check_crop, draw_crop, false},
    {"RandomRotation", rotation_params, check_turn, draw_rotation, false},
    {"RandomAffine", affine_params, check_turn, draw_affine, false},
    {.name = NULL},
};

/* ---- Lists ---- */

convoy_status cvy_transforms_check(const cvy_transforms *transforms, int height, int width, cvy_frame *frame,
                                   size_t *at) {
    for (*at = 0; *at < transforms->count; ++*at) {
        const cvy_transform *t = &transforms->list[*at];
        convoy_status status = t->type->check ? t->type->check(t, frame) : CONVOY_OK;
        if (status)
            return status;
    }
    if (frame->height >= height && frame->width >= width)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "the pictures become %dx%d, but the model takes %dx%d: crop to that size",
                    frame->height, frame->width, height, width);
}

void cvy_transforms_draw(const cvy_transforms *transforms, uint64_t seed, uint32_t epoch, uint32_t index,
                         int height, int width, const cvy_image_spec *image, cvy_look *look) {
    cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_AUGMENT, epoch);
    rng.block = (uint64_t)index << 32;
    cvy_look_begin(look, height, width);
    for (size_t i = 0; i < transforms->count; i++)
        transforms->list[i].type->draw(&transforms->list[i], &rng, look);
    /* torchvision's CenterCrop. */
    if (look->height != image->height || look->width != image->width)
        cvy_look_crop(look, (int)nearbyint((look->height - image->height) / 2.0),
                      (int)nearbyint((look->width - image->width) / 2.0), image->height, image->width);
}
