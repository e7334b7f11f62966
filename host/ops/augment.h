/* Augmentation: what stands in a recipe's `augment` list, with the names, arguments and definitions of
   torchvision.transforms. What a list draws for an image comes to one affine map, one colour matrix and one
   box, so that an image is sampled once, in the launch that makes the batch: in place of ops/gather.h, with
   the same images, labels, normalisation and border. */
#ifndef CVY_OPS_AUGMENT_H
#define CVY_OPS_AUGMENT_H

#include "base/params.h"
#include "base/rng.h"
#include "ops/gather.h"
#include "ops/mix.h"
#include "ops/tone.h"

/* ---- Transforms: transforms.c ---- */

/* The arguments of all transforms; each reads those that its `params` name. */
typedef struct cvy_transform {
    const struct cvy_transform_type *type;
    double p;
    int size[2], padding, padding_mode; /* height, width; 0: the model's image */
    double degrees[2], translate[2], shear[2], scale[2], ratio[2];
    double brightness[2], contrast[2], saturation[2], hue[2];
    int interpolation;
    bool antialias;
    double fill, value;
    double alpha;
    int num_ops, magnitude, num_magnitude_bins; /* num_ops 0: one of any magnitude */
} cvy_transform;

typedef struct cvy_transforms {
    cvy_transform *list;
    size_t count;
} cvy_transforms;

enum { CVY_MOST_STEPS = 8 }; /* of all of a list for an image */
enum { CVY_NEAREST, CVY_BILINEAR };
enum { CVY_PAD_CONSTANT, CVY_PAD_EDGE, CVY_PAD_REFLECT, CVY_PAD_SYMMETRIC };
enum { CVY_FOLD_NONE, CVY_FOLD_EDGE, CVY_FOLD_MIRROR };

/* What a list needs of the kernel, and the size of the picture behind the transforms that were looked at. */
typedef struct cvy_frame {
    int channels, height, width;
    double longer; /* how many times as high and as wide a picture may be, where they have sizes of their own;
                      or 1 */
    bool smooth;   /* one of them interpolates */
    double shrink; /* most pixels that are mixed to one, along a side; 1: no more than two neighbours are */
    int fold;      /* CVY_FOLD_...: what one of them shows beside the picture, of the picture itself */
    bool fills;    /* one of them can look beside the picture: */
    double fill;   /* there is this level, of 0..255 */
    bool colours;  /* one of them changes colours, */
    bool contrasts; /* looking at the image's mean, */
    bool hues;      /* in two steps, with a change of hue between them, */
    bool fill_last; /* and not those of the fill, which comes later */
    bool erases;    /* the last one covers a box: */
    double erased;  /* with this level */
    int steps;      /* on bytes (tone.h), of an image, at most */
    bool mixes;     /* and the very last one mixes images of a batch */
} cvy_frame;

/* ---- What is drawn for one image: look.c ---- */

/* An edge of a picture, beyond which lies the fill: its pixels' own border, and how many pixels of the first
   picture make one there, over which they fade into the fill. */
typedef struct cvy_edge {
    double at, step;
} cvy_edge;

/* How an image is looked at. Column x and row y count from the centre of the first pixel. */
typedef struct cvy_look {
    int height, width; /* of the picture so far */
    double place[6];   /* pixel (x, y) of it lies at column [0] x + [1] y + [2] and row [3] x + [4] y + [5] of
                          the first picture */
    bool turned;       /* rows of it are no longer rows or columns of the first */
    double blur[2];    /* pixels of the first picture that are mixed to one, across and down */
    cvy_edge inside[4]; /* left, top, right, bottom of what may be seen of the first picture */
    double shown[4];    /* and of the part of the picture so far that may show anything */
    double fold[4];     /* and where a first picture that was padded with itself ends, beyond which it begins
                           again; then `inside` is of what it became, */
    double box[4];      /* and this of what it was: first column and row, last ones */
    int channels;
    double colour[3][3]; /* a pixel's channels are those of the first picture's, multiplied by this, */
    double pivot[3][3];  /* and its mean, by this */
    double hue;          /* what a hue was moved by, of -0.5..0.5 of a whole turn, */
    double early_colour[3][3], early_pivot[3][3]; /* behind these, and before those */
    int erased[4];                      /* first column and row, and last ones, of what is covered */
    bool coloured;                      /* something changed colours */
    cvy_tone steps[CVY_MOST_STEPS + 1]; /* behind all of it, but for what is erased */
    int step_count;
} cvy_look;

/* What torchvision's functional.affine takes: degrees clockwise, columns and rows, a factor, degrees. */
typedef struct cvy_turn {
    double angle, translate[2], scale, shear[2];
} cvy_turn;

void cvy_look_begin(cvy_look *look, int channels, int height, int width);
void cvy_look_flip(cvy_look *look, bool across, bool down); /* left and right; top and bottom */
/* May reach beyond the picture. */
void cvy_look_crop(cvy_look *look, int top, int left, int height, int width);
/* Surrounds a picture that nothing was filled beside with itself: CVY_PAD_EDGE, _REFLECT or _SYMMETRIC. Once
   at most. */
void cvy_look_pad(cvy_look *look, int padding, int mode);
/* Mixes the pixels that become one, if `antialias`. */
void cvy_look_resize(cvy_look *look, int height, int width, bool antialias);
void cvy_look_turn(cvy_look *look, const cvy_turn *turn);
void cvy_turn_map(const cvy_turn *turn, int height, int width, double map[6]);
/* Pixel (x, y) is (map[0] x + map[1] y + map[2], map[3] x + ...) of the picture so far. */
void cvy_look_map(cvy_look *look, const double map[6]);
/* Blends with black; with the mean of its grey, which is taken over all of the first picture; and with its
   grey. Images of one channel are grey. */
void cvy_look_brighten(cvy_look *look, double factor);
void cvy_look_contrast(cvy_look *look, double factor);
void cvy_look_saturate(cvy_look *look, double factor);
/* Turns the hue, by at most half a turn either way. Once at most; contrast behind it takes the mean to turn
   as a pixel of that colour would. */
void cvy_look_hue(cvy_look *look, double turn);
/* The last of all. */
void cvy_look_erase(cvy_look *look, int top, int left, int height, int width);

/* A map in whole numbers, for places that are cut off to pixels; returns their binary digits. */
int cvy_map_words(const double map[6], int height, int width, int32_t words[6]);

/* ---- RandAugment and TrivialAugmentWide: autoaugment.c ---- */

convoy_status cvy_autoaugment_check(const cvy_transform *transform, cvy_frame *frame);
void cvy_autoaugment_draw_rand(const cvy_transform *transform, cvy_rng *rng, cvy_look *look);
void cvy_autoaugment_draw_trivial(const cvy_transform *transform, cvy_rng *rng, cvy_look *look);

/* ---- The table of transforms ---- */

typedef struct cvy_transform_type {
    const char *name;        /* as in torchvision.transforms */
    const cvy_param *params; /* of a cvy_transform */
    /* Arguments that do not go together, or not with the picture: CONVOY_INVALID. Else what becomes of it. */
    convoy_status (*check)(const cvy_transform *transform, cvy_frame *frame);
    void (*draw)(const cvy_transform *transform, cvy_rng *rng, cvy_look *look);
    bool mirrors; /* may change what a digit or a letter is */
    /* Of those that mix images of a batch, which have no other draw. */
    void (*draw_mix)(double alpha, cvy_rng *rng, const cvy_image_spec *image, cvy_mix *mix);
} cvy_transform_type;

/* Every type; ends with a row whose name is NULL. */
extern const cvy_transform_type cvy_transform_types[];
/* NULL: none is called so. */
const cvy_transform_type *cvy_transform_type_find(const char *name);

/* Follows a picture through the list to the model's image: CONVOY_INVALID where `at` (count: behind the last)
   cannot be. `frame` begins as the first picture. */
convoy_status cvy_transforms_check(const cvy_transforms *transforms, int height, int width, cvy_frame *frame,
                                   size_t *at);
/* How many of the list change images one by one: all, or all but the last. */
size_t cvy_transforms_of_images(const cvy_transforms *transforms);
/* Does the list mix images of a batch? What it draws, then, for those that begin at place `begin` of the
   order of an epoch. */
bool cvy_transforms_mix(const cvy_transforms *transforms);
void cvy_transforms_draw_mix(const cvy_transforms *transforms, uint64_t seed, uint32_t epoch, size_t begin,
                             const cvy_image_spec *image, cvy_mix *mix);
/* What the list draws for image `index` of a set in an epoch: a function of these and the seed. The picture
   begins as height x width, and ends with the size of `image`, of which it keeps the centre. */
void cvy_transforms_draw(const cvy_transforms *transforms, uint64_t seed, uint32_t epoch, uint32_t index,
                         int height, int width, const cvy_image_spec *image, cvy_look *look);

/* ---- The op: augment.c ---- */

/* What is sampled. */
typedef struct cvy_augment_shape {
    cvy_gather_shape gather;
    cvy_frame frame;
} cvy_augment_shape;

/* What the list begins with: images of the size of the model's, as in an evaluation; or, where they are whole
   photographs, each its own, of at least `covers` (NULL: they are not). CONVOY_INVALID: they cannot. */
convoy_status cvy_augment_describe(const cvy_gather_shape *gather, const cvy_transforms *transforms,
                                   const int *covers, cvy_augment_shape *shape);

/* The mean of each channel of an image of the set, of 0..1, which `contrasts` asks for; of so many of its
   rows and columns. */
void cvy_augment_means(const cvy_gather_shape *gather, const void *image, int height, int width,
                       float *means);

/* Looks as the kernel reads them, words [cvy_look_words()][room]: this one is column `at`. */
size_t cvy_look_words(const cvy_augment_shape *shape);
/* Where its steps on bytes begin, and what they are taken on. */
size_t cvy_look_step_word(const cvy_augment_shape *shape);
cvy_tone_shape cvy_augment_steps(const cvy_augment_shape *shape);
void cvy_look_pack(const cvy_augment_shape *shape, const cvy_look *look, int32_t *words, size_t room,
                   size_t at);

/* What a batch is made of. `looks` [words][room]: those of its images begin at `look_offset`. */
typedef struct cvy_augment_operands {
    int n;
    cvy_buffer *images, *all_labels, *indices;
    cvy_buffer *means; /* [image][channels]; NULL where nothing asks for them */
    size_t index_offset;
    cvy_buffer *looks;
    size_t room, look_offset;
    cvy_buffer *y, *labels;
} cvy_augment_operands;

/* The same in memory; `indices` and `looks` point at those of the first image. */
typedef struct cvy_augment_source {
    const void *images;
    const int32_t *all_labels;
    const uint32_t *indices;
    const float *means;
    const int32_t *looks;
    size_t room;
} cvy_augment_source;
/* As cvy_gather_reference. */
void cvy_augment_reference(const cvy_augment_shape *shape, int n, const cvy_augment_source *from, float *y,
                           int32_t *labels);
typedef struct cvy_augment cvy_augment;
convoy_status cvy_augment_create(convoy_device *device, const cvy_augment_shape *shape, cvy_augment **op);
void cvy_augment_free(cvy_augment *op); /* NULL is allowed */
/* Adds the buffers that it will make. */
void cvy_augment_sizes(const cvy_device_traits *traits, const cvy_augment_shape *shape, cvy_sizes *sizes);
convoy_status cvy_augment_run(cvy_augment *op, const cvy_augment_operands *on);

#endif
