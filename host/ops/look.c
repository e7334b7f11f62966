/* How the transforms that were drawn for an image come together: each maps the pixels of the picture that it
   makes to the picture that it takes, and the maps are multiplied. As long as no picture is turned, all of
   them are upright rectangles of the first, so that what lies beside one of them is known there (`inside`);
   from then on it is known in the latest (`shown`). Only between two turns is it lost: a picture that is
   turned twice shows what the first turn moved outside. */
#include <math.h>
#include <string.h>

#include "ops/augment.h"

static const double far = 1e9;

static void show_all(cvy_look *look) {
    look->shown[0] = look->shown[1] = -far;
    look->shown[2] = look->shown[3] = far;
}

void cvy_look_begin(cvy_look *look, int channels, int height, int width) {
    *look = (cvy_look){.height = height,
                       .width = width,
                       .place = {1, 0, 0, 0, 1, 0},
                       .blur = {1, 1},
                       .channels = channels,
                       .colour = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
                       .early_colour = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
                       .erased = {0, 0, -1, -1},
                       .fold = {-0.5, -0.5, width - 0.5, height - 0.5},
                       .box = {-0.5, -0.5, width - 0.5, height - 0.5},
                       .inside = {{-0.5, 1}, {-0.5, 1}, {width - 0.5, 1}, {height - 0.5, 1}}};
    show_all(look);
}

static void tighten(cvy_edge edges[4], int axis, double from, double to, double step) {
    cvy_edge *low = &edges[axis], *high = &edges[axis + 2];
    if (fmin(from, to) > low->at)
        *low = (cvy_edge){fmin(from, to), step};
    if (fmax(from, to) < high->at)
        *high = (cvy_edge){fmax(from, to), step};
}

/* What lies beside the picture so far is gone. */
static void keep_inside(cvy_look *look) {
    const double *p = look->place, right = look->width - 0.5, bottom = look->height - 0.5;
    if (look->turned) {
        look->shown[0] = fmax(look->shown[0], -0.5);
        look->shown[1] = fmax(look->shown[1], -0.5);
        look->shown[2] = fmin(look->shown[2], right);
        look->shown[3] = fmin(look->shown[3], bottom);
        return;
    }
    tighten(look->inside, 0, p[2] - 0.5 * p[0], p[2] + right * p[0], fabs(p[0]));
    tighten(look->inside, 1, p[5] - 0.5 * p[4], p[5] + bottom * p[4], fabs(p[4]));
}

/* The next picture: (x, y) of it is (map[0] x + map[1] y + map[2], ...) of the one so far. */
static void follow(cvy_look *look, const double map[6]) {
    double place[6];
    for (int i = 0; i < 6; i += 3) {
        const double *row = &look->place[i];
        place[i] = row[0] * map[0] + row[1] * map[3];
        place[i + 1] = row[0] * map[1] + row[1] * map[4];
        place[i + 2] = row[0] * map[2] + row[1] * map[5] + row[2];
    }
    for (int i = 0; i < 6; i++)
        look->place[i] = place[i];
}

/* The same where rows stay rows: column scale x + shift. */
static void follow_upright(cvy_look *look, const double scale[2], const double shift[2]) {
    follow(look, (const double[6]){scale[0], 0, shift[0], 0, scale[1], shift[1]});
    for (int axis = 0; axis < 2; axis++) {
        const double a = (look->shown[axis] - shift[axis]) / scale[axis],
                     b = (look->shown[axis + 2] - shift[axis]) / scale[axis];
        look->shown[axis] = fmin(a, b);
        look->shown[axis + 2] = fmax(a, b);
    }
}

void cvy_look_flip(cvy_look *look, bool across, bool down) {
    follow_upright(look, (const double[2]){across ? -1 : 1, down ? -1 : 1},
                   (const double[2]){across ? look->width - 1 : 0, down ? look->height - 1 : 0});
}

void cvy_look_crop(cvy_look *look, int top, int left, int height, int width) {
    keep_inside(look);
    follow_upright(look, (const double[2]){1, 1}, (const double[2]){left, top});
    look->height = height;
    look->width = width;
}

/* All that lies beside the picture is in it, so that nothing is left to fill. */
void cvy_look_pad(cvy_look *look, int padding, int mode) {
    const double half = mode == CVY_PAD_SYMMETRIC ? 0.5 : 0;
    const int size[2] = {look->width, look->height};
    keep_inside(look);
    for (int axis = 0; axis < 2; axis++) {
        const double scale = look->place[4 * axis], first = look->place[2 + 3 * axis] - half * scale,
                     last = first + (size[axis] - 1 + 2 * half) * scale;
        look->fold[axis] = fmin(first, last);
        look->fold[axis + 2] = fmax(first, last);
        look->box[axis] = look->inside[axis].at;
        look->box[axis + 2] = look->inside[axis + 2].at;
        look->inside[axis] = (cvy_edge){-far, 1};
        look->inside[axis + 2] = (cvy_edge){far, 1};
    }
    follow_upright(look, (const double[2]){1, 1}, (const double[2]){-padding, -padding});
    look->width += 2 * padding;
    look->height += 2 * padding;
}

void cvy_look_resize(cvy_look *look, int height, int width, bool antialias) {
    const double scale[2] = {(double)look->width / width, (double)look->height / height};
    follow_upright(look, scale, (const double[2]){0.5 * scale[0] - 0.5, 0.5 * scale[1] - 0.5});
    look->height = height;
    look->width = width;
    for (int axis = 0; axis < 2 && antialias; axis++)
        look->blur[axis] *= scale[axis];
    keep_inside(look); /* an enlarged picture ends with its last pixels, which do not fade */
}

/* The inverse of translate * rotate * shear * scale about the centre, torchvision's
   _get_inverse_affine_matrix. */
void cvy_turn_map(const cvy_turn *turn, int height, int width, double map[6]) {
    const double radians = acos(-1.0) / 180, angle = turn->angle * radians, sx = turn->shear[0] * radians,
                 sy = turn->shear[1] * radians;
    const double a = cos(angle - sy) / cos(sy), b = -a * tan(sx) - sin(angle), c = sin(angle - sy) / cos(sy),
                 d = -c * tan(sx) + cos(angle);
    const double cx = (width - 1) / 2.0, cy = (height - 1) / 2.0;
    const double x = -cx - turn->translate[0], y = -cy - turn->translate[1];
    map[0] = d / turn->scale;
    map[1] = -b / turn->scale;
    map[3] = -c / turn->scale;
    map[4] = a / turn->scale;
    map[2] = map[0] * x + map[1] * y + cx;
    map[5] = map[3] * x + map[4] * y + cy;
}

void cvy_look_map(cvy_look *look, const double map[6]) {
    keep_inside(look);
    follow(look, map);
    look->turned = true;
    show_all(look);
}

void cvy_look_turn(cvy_look *look, const cvy_turn *turn) {
    double map[6];
    cvy_turn_map(turn, look->height, look->width, map);
    cvy_look_map(look, map);
}

/* ---- Colours ---- */

/* The grey of a pixel, ITU-R BT.601 as torchvision rounds it. */
static const double luma[3] = {0.2989, 0.587, 0.114};

static double weight(const cvy_look *look, int channel) {
    return look->channels == 1 ? channel == 0 : luma[channel];
}

/* factor times the pixel, and the rest its grey, or the mean's. */
static void blend(cvy_look *look, double factor, bool with_mean) {
    look->coloured = true;
    double grey[3] = {0}, grey_pivot[3] = {0};
    for (int j = 0; j < 3; j++)
        for (int c = 0; c < 3; c++) {
            grey[j] += weight(look, c) * look->colour[c][j];
            grey_pivot[j] += weight(look, c) * look->pivot[c][j];
        }
    for (int c = 0; c < 3; c++)
        for (int j = 0; j < 3; j++) {
            look->colour[c][j] = factor * look->colour[c][j] + (with_mean ? 0 : (1 - factor) * grey[j]);
            look->pivot[c][j] =
                factor * look->pivot[c][j] + (1 - factor) * (grey_pivot[j] + (with_mean ? grey[j] : 0));
        }
}

void cvy_look_brighten(cvy_look *look, double factor) {
    look->coloured = true;
    for (int c = 0; c < 3; c++)
        for (int j = 0; j < 3; j++) {
            look->colour[c][j] *= factor;
            look->pivot[c][j] *= factor;
        }
}

void cvy_look_contrast(cvy_look *look, double factor) {
    blend(look, factor, true);
}

void cvy_look_saturate(cvy_look *look, double factor) {
    if (look->channels == 3)
        blend(look, factor, false);
}

void cvy_look_hue(cvy_look *look, double turn) {
    static const double same[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    if (look->channels != 3)
        return;
    memcpy(look->early_colour, look->colour, sizeof look->colour);
    memcpy(look->early_pivot, look->pivot, sizeof look->pivot);
    memcpy(look->colour, same, sizeof same);
    memset(look->pivot, 0, sizeof look->pivot);
    look->hue = turn;
    look->coloured = true;
}

void cvy_look_erase(cvy_look *look, int top, int left, int height, int width) {
    const int box[4] = {left, top, left + width - 1, top + height - 1};
    memcpy(look->erased, box, sizeof box);
}
