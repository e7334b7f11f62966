/* The transforms: their arguments, and what they draw. Each follows torchvision's get_params, whose
   distributions it draws from by random numbers of its own. */
#include <math.h>
#include <string.h>

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
    frame->fill_last = frame->colours;
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

/* What padding shows of the picture itself is looked up in the first one, once. */
static convoy_status check_fold(const cvy_transform *t, cvy_frame *frame) {
    static const char *const modes[] = {"constant", "edge", "reflect", "symmetric"};
    const char *mode = modes[t->padding_mode];
    const int side = frame->height < frame->width ? frame->height : frame->width,
              most = t->padding_mode == CVY_PAD_REFLECT ? side - 1 : side;
    if (t->padding_mode != CVY_PAD_EDGE && t->padding > most)
        return cvy_fail(
            CONVOY_INVALID,
            "`padding` of %d with `padding_mode: %s`: a picture of %dx%d has at most %d to mirror",
            t->padding, mode, frame->height, frame->width, most);
    if (frame->fold)
        return cvy_fail(
            CONVOY_INVALID,
            "`padding_mode: %s`, but a transform before it pads with the picture too: one of a list "
            "can",
            mode);
    if (frame->fills)
        return cvy_fail(
            CONVOY_INVALID,
            "`padding_mode: %s` behind a transform that shows `fill` beside the picture: put it before "
            "that",
            mode);
    frame->fold = t->padding_mode == CVY_PAD_EDGE ? CVY_FOLD_EDGE : CVY_FOLD_MIRROR;
    return CONVOY_OK;
}

static convoy_status check_crop(const cvy_transform *t, cvy_frame *frame) {
    const int height = frame->height + 2 * t->padding, width = frame->width + 2 * t->padding;
    if (t->size[0] > height || t->size[1] > width)
        return cvy_fail(
            CONVOY_INVALID,
            "a crop of %dx%d is larger than the picture, %dx%d%s: give a smaller `size` or more `padding`",
            t->size[0], t->size[1], height, width, t->padding ? " with its padding" : "");
    convoy_status status = !t->padding       ? CONVOY_OK
                           : t->padding_mode ? check_fold(t, frame)
                                             : fill_with(t, frame);
    frame->height = t->size[0];
    frame->width = t->size[1];
    frame->longer = 1;
    return status;
}

static void draw_crop(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    const int top = whole(rng, look->height + 2 * t->padding - t->size[0]) - t->padding,
              left = whole(rng, look->width + 2 * t->padding - t->size[1]) - t->padding;
    if (t->padding && t->padding_mode) {
        cvy_look_pad(look, t->padding, t->padding_mode);
        cvy_look_crop(look, top + t->padding, left + t->padding, t->size[0], t->size[1]);
    } else
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

/* ---- RandomResizedCrop and RandomErasing ---- */

static convoy_status check_area(const cvy_transform *t) {
    if (t->scale[0] > t->scale[1] || t->ratio[0] > t->ratio[1])
        return cvy_fail(CONVOY_INVALID,
                        "`scale` [%g, %g] and `ratio` [%g, %g] are ranges: the lower end comes first",
                        t->scale[0], t->scale[1], t->ratio[0], t->ratio[1]);
    return CONVOY_OK;
}

static convoy_status check_resized_crop(const cvy_transform *t, cvy_frame *frame) {
    convoy_status status = check_area(t);
    frame->smooth = frame->smooth || t->interpolation == CVY_BILINEAR;
    if (!status && t->interpolation == CVY_BILINEAR && t->antialias)
        frame->shrink *= fmax(
            1, frame->longer * fmax((double)frame->height / t->size[0], (double)frame->width / t->size[1]));
    if (!status && frame->shrink > 16)
        status = cvy_fail(
            CONVOY_INVALID,
            "a picture of %dx%d, of which %dx%d is made, shrinks to less than 1/16: give a larger `size`",
            frame->height, frame->width, t->size[0], t->size[1]);
    frame->height = t->size[0];
    frame->width = t->size[1];
    frame->longer = 1;
    return status;
}

/* A part of the picture: an area of `scale` of its own, and so much wider than high. */
static void draw_area(const cvy_transform *t, cvy_rng *rng, const cvy_look *look, int part[2]) {
    const double area = (double)look->height * look->width * uniform(rng, t->scale[0], t->scale[1]),
                 aspect = exp(uniform(rng, log(t->ratio[0]), log(t->ratio[1])));
    part[0] = (int)nearbyint(sqrt(area / aspect));
    part[1] = (int)nearbyint(sqrt(area * aspect));
}

enum { ATTEMPTS = 10 };

static void draw_resized_crop(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    const double ratio = (double)look->width / look->height;
    int part[2], top = -1, left = 0;
    for (int i = 0; i < ATTEMPTS && top < 0; i++) {
        draw_area(t, rng, look, part);
        if (part[0] < 1 || part[1] < 1 || part[0] > look->height || part[1] > look->width)
            continue;
        top = whole(rng, look->height - part[0]);
        left = whole(rng, look->width - part[1]);
    }
    if (top < 0) { /* the centre, as large as `ratio` allows */
        part[0] = look->height;
        part[1] = look->width;
        if (ratio < t->ratio[0])
            part[0] = (int)nearbyint(look->width / t->ratio[0]);
        else if (ratio > t->ratio[1])
            part[1] = (int)nearbyint(look->height * t->ratio[1]);
        top = (look->height - part[0]) / 2;
        left = (look->width - part[1]) / 2;
    }
    cvy_look_crop(look, top, left, part[0], part[1]);
    cvy_look_resize(look, t->size[0], t->size[1], t->antialias && t->interpolation == CVY_BILINEAR);
}

static convoy_status check_erasing(const cvy_transform *t, cvy_frame *frame) {
    frame->erases = true;
    frame->erased = t->value;
    return check_area(t);
}

/* torchvision takes the ratio the other way round here: height to width. */
static void draw_erasing(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    if (!happens(rng, t->p))
        return;
    for (int i = 0; i < ATTEMPTS; i++) {
        int part[2];
        draw_area(t, rng, look, part);
        const int height = part[1], width = part[0];
        if (height >= look->height || width >= look->width)
            continue;
        const int top = whole(rng, look->height - height);
        cvy_look_erase(look, top, whole(rng, look->width - width), height, width);
        return;
    }
}

/* ---- ColorJitter and RandomGrayscale ---- */

/* 0 stands for none. */
static bool given(const double range[2]) {
    return range[0] != 0 || !isnan(range[1]);
}

static convoy_status check_colours(const cvy_transform *t, cvy_frame *frame) {
    const double *const ranges[] = {t->brightness, t->contrast, t->saturation};
    if (frame->channels != 1 && frame->channels != 3)
        return cvy_fail(CONVOY_INVALID, "images of %d channels have no colours: it is for 1 or 3",
                        frame->channels);
    for (int i = 0; i < 3; i++)
        if (ranges[i][0] < 0)
            return cvy_fail(CONVOY_INVALID, "a factor of %g: they must not be below 0", ranges[i][0]);
    frame->colours = true;
    frame->fill_last = false;
    frame->contrasts = frame->contrasts || given(t->contrast);
    return CONVOY_OK;
}

static convoy_status check_jitter(const cvy_transform *t, cvy_frame *frame) {
    if (isnan(t->hue[1]) && t->hue[0] < 0)
        return cvy_fail(CONVOY_INVALID, "`hue` of %g: one number must not be below 0; two are a range",
                        t->hue[0]);
    if (frame->hues && given(t->hue))
        return cvy_fail(CONVOY_INVALID,
                        "`hue`, but a transform before it changes hues too: one of a list can");
    frame->hues = frame->hues || (given(t->hue) && frame->channels == 3);
    return check_colours(t, frame);
}

/* b: a factor of 1 - b, but at least 0, to 1 + b. */
static double factor(cvy_rng *rng, const double range[2]) {
    double ends[2];
    about(range, 1, ends);
    return uniform(rng, fmax(ends[0], 0), ends[1]);
}

static void draw_jitter(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    static void (*const apply[3])(cvy_look *, double) = {cvy_look_brighten, cvy_look_contrast,
                                                         cvy_look_saturate};
    const double *const ranges[3] = {t->brightness, t->contrast, t->saturation};
    const uint32_t count = given(t->hue) ? 4 : 3;
    uint32_t order[4];
    double turns[2];
    about(t->hue, 0, turns);
    cvy_rng_shuffle(rng, order, count);
    for (uint32_t i = 0; i < count; i++)
        if (order[i] == 3)
            cvy_look_hue(look, uniform(rng, turns[0], turns[1]));
        else if (given(ranges[order[i]]))
            apply[order[i]](look, factor(rng, ranges[order[i]]));
}

static void draw_grayscale(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    if (happens(rng, t->p))
        cvy_look_saturate(look, 0);
}

/* ---- RandAugment, TrivialAugmentWide, MixUp and CutMix ---- */

static convoy_status check_autoaugment(const cvy_transform *t, cvy_frame *frame) {
    convoy_status status = cvy_autoaugment_check(t, frame);
    return status ? status : fill_with(t, frame);
}

static convoy_status check_mix(const cvy_transform *t, cvy_frame *frame) {
    frame->mixes = true;
    return t->alpha > 0 ? CONVOY_OK : cvy_fail(CONVOY_INVALID, "`alpha` of %g: it must be above 0", t->alpha);
}

/* ---- The table ---- */

#define PARAM(field, kind, default, ...)                                                                     \
    CVY_PARAM(cvy_transform, field, kind, .fallback = default, __VA_ARGS__)
#define P(default) PARAM(p, CVY_FLOAT, default, .maximum = 1, .help = "how likely it is")
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

static const cvy_param flip_params[] = {P("0.5"), CVY_PARAM_END};
static const cvy_param crop_params[] = {
    SIZE,
    PARAM(padding, CVY_INT, "0", .maximum = 1 << 12, .help = "pixels around the picture"),
    PARAM(padding_mode, CVY_CHOICE, "constant", .choices = "constant|edge|reflect|symmetric",
          .help =
              "what they show: `fill`, the picture's last pixels, or the picture mirrored without or with "
              "those"),
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

#define AREA(text, low_ratio_high_ratio, of)                                                                 \
    PARAM(scale, CVY_NUMBERS, text, .minimum = 0, .maximum = 1,                                              \
          .help = "range of its area, of the picture's"),                                                    \
        PARAM(ratio, CVY_NUMBERS, low_ratio_high_ratio, .minimum = 0.01, .maximum = 100, .help = of)
static const cvy_param resized_crop_params[] = {
    SIZE,
    AREA("[0.08, 1]", "[0.75, 1.3333333333333333]", "range of its width to its height"),
    INTERPOLATION("bilinear"),
    PARAM(antialias, CVY_BOOL, "true", .help = "mixes all pixels that become one"),
    CVY_PARAM_END,
};
#define FACTOR(field, of)                                                                                    \
    PARAM(field, CVY_RANGE, "0", .maximum = 100, .help = of ": b for factors of 1 - b to 1 + b, or a range")
static const cvy_param jitter_params[] = {
    FACTOR(brightness, "blends with black"),
    FACTOR(contrast, "blends with the mean of the picture's grey"),
    FACTOR(saturation, "blends with its grey"),
    PARAM(hue, CVY_RANGE, "0", .minimum = -0.5, .maximum = 0.5,
          .help = "turns it, by parts of a whole turn: a number h for -h..h, or a range"),
    CVY_PARAM_END,
};
static const cvy_param grayscale_params[] = {P("0.1"), CVY_PARAM_END};
static const cvy_param erasing_params[] = {
    P("0.5"),
    AREA("[0.02, 0.33]", "[0.3, 3.3]", "range of its height to its width"),
    PARAM(value, CVY_FLOAT, "0", .maximum = 255, .help = "level that it has, of 0..255"),
    CVY_PARAM_END,
};
#define BINS                                                                                                 \
    PARAM(num_magnitude_bins, CVY_INT, "31", .minimum = 2, .maximum = 1 << 16, .help = "steps of strength")
static const cvy_param rand_params[] = {
    PARAM(num_ops, CVY_INT, "2", .minimum = 1, .maximum = CVY_MOST_STEPS, .help = "operations on each image"),
    PARAM(magnitude, CVY_INT, "9", .maximum = 1 << 16, .help = "how strong they are"),
    BINS,
    FILL,
    CVY_PARAM_END,
};
static const cvy_param trivial_params[] = {BINS, FILL, CVY_PARAM_END};
static const cvy_param mix_params[] = {
    PARAM(alpha, CVY_FLOAT, "1", .maximum = 1e6,
          .help =
              "of the beta distribution that shares are drawn from: small ones leave images nearly whole"),
    CVY_PARAM_END,
};

const cvy_transform_type cvy_transform_types[] = {
    {"RandomHorizontalFlip", flip_params, NULL, draw_horizontal_flip, true, NULL},
    {"RandomVerticalFlip", flip_params, NULL, draw_vertical_flip, true, NULL},
    {"RandomCrop", crop_params, check_crop, draw_crop, false, NULL},
    {"RandomRotation", rotation_params, check_turn, draw_rotation, false, NULL},
    {"RandomAffine", affine_params, check_turn, draw_affine, false, NULL},
    {"RandomResizedCrop", resized_crop_params, check_resized_crop, draw_resized_crop, false, NULL},
    {"ColorJitter", jitter_params, check_jitter, draw_jitter, false, NULL},
    {"RandomGrayscale", grayscale_params, check_colours, draw_grayscale, false, NULL},
    {"RandomErasing", erasing_params, check_erasing, draw_erasing, false, NULL},
    {"RandAugment", rand_params, check_autoaugment, cvy_autoaugment_draw_rand, false, NULL},
    {"TrivialAugmentWide", trivial_params, check_autoaugment, cvy_autoaugment_draw_trivial, false, NULL},
    {"MixUp", mix_params, check_mix, NULL, false, cvy_mix_draw_mixup},
    {"CutMix", mix_params, check_mix, NULL, false, cvy_mix_draw_cutmix},
    {.name = NULL},
};

const cvy_transform_type *cvy_transform_type_find(const char *name) {
    for (const cvy_transform_type *type = cvy_transform_types; type->name; type++)
        if (strcmp(type->name, name) == 0)
            return type;
    return NULL;
}

/* ---- Lists ---- */

static bool behind_steps(const cvy_transform_type *type) {
    return type->check == check_autoaugment || type->check == check_erasing || type->check == check_mix;
}

convoy_status cvy_transforms_check(const cvy_transforms *transforms, int height, int width, cvy_frame *frame,
                                   size_t *at) {
    for (*at = 0; *at < transforms->count; ++*at) {
        const cvy_transform *t = &transforms->list[*at];
        convoy_status status = CONVOY_OK;
        if (frame->mixes)
            status = cvy_fail(CONVOY_INVALID,
                              "MixUp or CutMix comes last, and one of a list can: it mixes batches");
        else if (frame->steps && !behind_steps(t->type))
            status =
                cvy_fail(CONVOY_INVALID, "only RandomErasing, MixUp and CutMix come behind RandAugment and "
                                         "TrivialAugmentWide: put it before them");
        else if (frame->erases && !t->type->draw_mix)
            status =
                cvy_fail(CONVOY_INVALID, "RandomErasing comes last: what it covers is not moved or coloured");
        else if (t->type->check)
            status = t->type->check(t, frame);
        if (status)
            return status;
    }
    if (frame->height >= height && frame->width >= width)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "the pictures become %dx%d, but the model takes %dx%d: crop to that size",
                    frame->height, frame->width, height, width);
}

bool cvy_transforms_mix(const cvy_transforms *transforms) {
    return transforms->count && transforms->list[transforms->count - 1].type->draw_mix;
}

size_t cvy_transforms_of_images(const cvy_transforms *transforms) {
    return transforms->count - cvy_transforms_mix(transforms);
}

void cvy_transforms_draw_mix(const cvy_transforms *transforms, uint64_t seed, uint32_t epoch, size_t begin,
                             const cvy_image_spec *image, cvy_mix *mix) {
    const cvy_transform *t = &transforms->list[transforms->count - 1];
    cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_MIX, epoch);
    rng.block = (uint64_t)begin << 32;
    t->type->draw_mix(t->alpha, &rng, image, mix);
}

/* torchvision's CenterCrop. */
static void crop_centre(cvy_look *look, const cvy_image_spec *image) {
    if (look->height != image->height || look->width != image->width)
        cvy_look_crop(look, (int)nearbyint((look->height - image->height) / 2.0),
                      (int)nearbyint((look->width - image->width) / 2.0), image->height, image->width);
}

void cvy_transforms_draw(const cvy_transforms *transforms, uint64_t seed, uint32_t epoch, uint32_t index,
                         int height, int width, const cvy_image_spec *image, cvy_look *look) {
    cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_AUGMENT, epoch);
    rng.block = (uint64_t)index << 32;
    cvy_look_begin(look, image->channels, height, width);
    for (size_t i = 0; i < cvy_transforms_of_images(transforms); i++) {
        const cvy_transform_type *type = transforms->list[i].type;
        if (type->check == check_autoaugment)
            crop_centre(look, image);
        type->draw(&transforms->list[i], &rng, look);
    }
    crop_centre(look, image);
}
