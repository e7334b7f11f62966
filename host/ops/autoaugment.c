/* RandAugment and TrivialAugmentWide: torchvision's operations, as often and as strong. Those that move a
   picture become part of the look as long as nothing has changed colours or levels before them; all others
   are steps behind it (tone.h). */
#include <math.h>
#include <string.h>

#include "ops/augment.h"

/* In torchvision's order. */
typedef enum operation {
    IDENTITY,
    SHEAR_X,
    SHEAR_Y,
    TRANSLATE_X,
    TRANSLATE_Y,
    ROTATE,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    SHARPNESS,
    POSTERIZE,
    SOLARIZE,
    AUTO_CONTRAST,
    EQUALIZE,
    OPERATIONS
} operation;

convoy_status cvy_autoaugment_check(const cvy_transform *t, cvy_frame *frame) {
    if (frame->channels != 1 && frame->channels != 3)
        return cvy_fail(CONVOY_INVALID, "images of %d channels have no colours: it is for 1 or 3",
                        frame->channels);
    if (t->num_ops && t->magnitude >= t->num_magnitude_bins)
        return cvy_fail(CONVOY_INVALID, "`magnitude` of %d: with `num_magnitude_bins` of %d it is at most %d",
                        t->magnitude, t->num_magnitude_bins, t->num_magnitude_bins - 1);
    frame->steps += t->num_ops ? t->num_ops : 1;
    if (frame->steps > CVY_MOST_STEPS)
        return cvy_fail(CONVOY_INVALID, "%d operations on an image: %d are the most", frame->steps,
                        CVY_MOST_STEPS);
    return CONVOY_OK;
}

/* A step that takes one number. */
static void add_step(cvy_look *look, int kind, int32_t word) {
    look->steps[look->step_count++] = (cvy_tone){{kind, word}};
}

static void add_factor(cvy_look *look, int kind, double factor) {
    const float single = (float)factor;
    int32_t word;
    memcpy(&word, &single, sizeof word);
    add_step(look, kind, word);
}

/* Where nothing comes between, one sampling does both. */
static void move(cvy_look *look, const double map[6]) {
    if (!look->step_count && !look->coloured) {
        cvy_look_map(look, map);
        return;
    }
    cvy_tone *step = &look->steps[look->step_count++];
    *step = (cvy_tone){{CVY_TONE_MAP}};
    step->words[7] = cvy_map_words(map, look->height, look->width, &step->words[1]);
}

/* torchvision shears about the corner of the picture, which lies half a pixel before the centre of the first.
 */
static void move_by(operation what, double magnitude, cvy_look *look) {
    double map[6] = {1, 0, 0, 0, 1, 0};
    if (what == SHEAR_X) {
        map[1] = magnitude;
        map[2] = 0.5 * magnitude;
    } else if (what == SHEAR_Y) {
        map[3] = magnitude;
        map[5] = 0.5 * magnitude;
    } else if (what == ROTATE)
        cvy_turn_map(&(cvy_turn){.angle = -magnitude, .scale = 1}, look->height, look->width, map);
    else
        map[what == TRANSLATE_X ? 2 : 5] = -trunc(magnitude);
    move(look, map);
}

static void apply(operation what, double magnitude, cvy_look *look) {
    switch (what) {
    case IDENTITY:
    case OPERATIONS:
        break;
    case BRIGHTNESS:
        add_factor(look, CVY_TONE_BRIGHTEN, 1 + magnitude);
        break;
    case COLOR:
        if (look->channels == 3)
            add_factor(look, CVY_TONE_SATURATE, 1 + magnitude);
        break;
    case CONTRAST:
        add_factor(look, CVY_TONE_CONTRAST, 1 + magnitude);
        break;
    case SHARPNESS:
        add_factor(look, CVY_TONE_SHARPEN, 1 + magnitude);
        break;
    case POSTERIZE:
        add_step(look, CVY_TONE_POSTERIZE, 256 - (1 << (8 - (int)magnitude)));
        break;
    case SOLARIZE:
        add_step(look, CVY_TONE_SOLARIZE, (int32_t)ceil(255 * magnitude));
        break;
    case AUTO_CONTRAST:
        add_step(look, CVY_TONE_AUTOCONTRAST, 0);
        break;
    case EQUALIZE:
        add_step(look, CVY_TONE_EQUALIZE, 0);
        break;
    default:
        move_by(what, magnitude, look);
    }
}

/* How strong an operation is in the last bin, and how many bits it takes off. */
typedef struct strengths {
    double shear, translate[2], degrees, factor;
    int bits;
} strengths;

/* One operation of `strength`, of 0..1. */
static void draw_operation(const strengths *most, double strength, operation what, cvy_rng *rng,
                           cvy_look *look) {
    static const bool is_signed[OPERATIONS] = {
        [SHEAR_X] = true,    [SHEAR_Y] = true, [TRANSLATE_X] = true, [TRANSLATE_Y] = true, [ROTATE] = true,
        [BRIGHTNESS] = true, [COLOR] = true,   [CONTRAST] = true,    [SHARPNESS] = true};
    const double values[OPERATIONS] = {
        [SHEAR_X] = most->shear * strength,
        [SHEAR_Y] = most->shear * strength,
        [TRANSLATE_X] = most->translate[0] * strength,
        [TRANSLATE_Y] = most->translate[1] * strength,
        [ROTATE] = most->degrees * strength,
        [BRIGHTNESS] = most->factor * strength,
        [COLOR] = most->factor * strength,
        [CONTRAST] = most->factor * strength,
        [SHARPNESS] = most->factor * strength,
        [POSTERIZE] = 8 - nearbyint(most->bits * strength),
        [SOLARIZE] = 1 - strength,
    };
    const bool turned = is_signed[what] && cvy_rng_uniform(rng) < 0.5f;
    apply(what, turned ? -values[what] : values[what], look);
}

void cvy_autoaugment_draw_rand(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    const strengths most = {.shear = 0.3,
                            .translate = {150.0 / 331 * look->width, 150.0 / 331 * look->height},
                            .degrees = 30,
                            .factor = 0.9,
                            .bits = 4};
    const double strength = (double)t->magnitude / (t->num_magnitude_bins - 1);
    for (int i = 0; i < t->num_ops; i++)
        draw_operation(&most, strength, (operation)cvy_rng_below(rng, OPERATIONS), rng, look);
}

void cvy_autoaugment_draw_trivial(const cvy_transform *t, cvy_rng *rng, cvy_look *look) {
    static const strengths most = {
        .shear = 0.99, .translate = {32, 32}, .degrees = 135, .factor = 0.99, .bits = 6};
    const operation what = (operation)cvy_rng_below(rng, OPERATIONS);
    const uint32_t bin = cvy_rng_below(rng, (uint32_t)t->num_magnitude_bins);
    draw_operation(&most, bin / (t->num_magnitude_bins - 1.0), what, rng, look);
}
