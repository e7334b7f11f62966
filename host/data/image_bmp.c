/* Decoding BMP: palettes of 1, 4 and 8 bits, plain or run-length coded; 16, 24 and 32 bits, with masks or
   without (Microsoft, "Bitmap Storage"; the header of OS/2 with them). */
#include <string.h>

#include "data/image_formats.h"

enum { FILE_HEADER = 14, OS2_HEADER = 12, INFO_HEADER = 40, RLE8 = 1, RLE4 = 2, MASKS = 3, ALPHA_MASKS = 6 };

typedef struct bitmap {
    const char *path;
    const uint8_t *file;
    size_t size;
    size_t header, height, width;
    bool top_down;
    unsigned bits, compression;
    const uint8_t *palette; /* of `colours` entries of `entry` bytes: blue, green, red */
    size_t colours, entry;
    uint32_t masks[3];    /* red, green, blue, of 16 and 32 bits */
    const uint8_t *begin; /* of the pixels */
} bitmap;

static uint32_t little(const uint8_t *at, int bytes) {
    uint32_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static convoy_status fail(const bitmap *map, const char *reason) {
    return cvy_fail(CONVOY_INVALID, "%s: damaged BMP image, or of an unknown kind: %s", map->path, reason);
}

static convoy_status read_size(bitmap *map) {
    if (map->size < FILE_HEADER + OS2_HEADER)
        return fail(map, "its header is cut short");
    const uint8_t *header = map->file + FILE_HEADER;
    map->header = little(header, 4);
    if (map->header == OS2_HEADER) {
        map->width = little(header + 4, 2);
        map->height = little(header + 6, 2);
        map->bits = little(header + 10, 2);
        return CONVOY_OK;
    }
    if (map->header < INFO_HEADER || map->header > 124 || map->size < FILE_HEADER + map->header)
        return fail(map, "the size of its header is none that is known");
    const int32_t width = (int32_t)little(header + 4, 4), height = (int32_t)little(header + 8, 4);
    map->top_down = height < 0;
    map->width = width > 0 ? (size_t)width : 0;
    map->height = height < 0 ? (size_t) - (int64_t)height : (size_t)height;
    map->bits = little(header + 14, 2);
    map->compression = little(header + 16, 4);
    return CONVOY_OK;
}

/* Where three masks stand, and what they are without. */
static convoy_status read_masks(bitmap *map) {
    static const uint32_t of_16[] = {0x7c00, 0x3e0, 0x1f}, of_32[] = {0xff0000, 0xff00, 0xff};
    memcpy(map->masks, map->bits == 16 ? of_16 : of_32, sizeof map->masks);
    if (map->compression != MASKS && map->compression != ALPHA_MASKS)
        return CONVOY_OK;
    if (map->size < FILE_HEADER + INFO_HEADER + 12)
        return fail(map, "its masks are cut short");
    for (size_t c = 0; c < 3; c++)
        map->masks[c] = little(map->file + FILE_HEADER + INFO_HEADER + 4 * c, 4);
    return CONVOY_OK;
}

static convoy_status read_header(bitmap *map) {
    convoy_status status = read_size(map);
    if (status)
        return status;
    const unsigned coded = map->compression == RLE8 ? 8 : map->compression == RLE4 ? 4 : 0;
    const bool masked = map->compression == MASKS || map->compression == ALPHA_MASKS;
    if ((map->compression && !coded && !masked) || (coded && (map->bits != coded || map->top_down)) ||
        (masked && map->bits != 16 && map->bits != 32))
        return fail(map, "its compression is none that is known");
    if (map->bits != 1 && map->bits != 4 && map->bits != 8 && map->bits != 16 && map->bits != 24 &&
        map->bits != 32)
        return fail(map, "its pixels have a number of bits that no BMP has");
    size_t end = FILE_HEADER + map->header + (masked && map->header == INFO_HEADER ? 12 : 0);
    if (map->bits <= 8) {
        const size_t stated = map->header == OS2_HEADER ? 0 : little(map->file + FILE_HEADER + 32, 4),
                     most = (size_t)1 << map->bits;
        map->entry = map->header == OS2_HEADER ? 3 : 4;
        map->colours = stated && stated < most ? stated : most;
        map->palette = map->file + end;
        end += map->colours * map->entry;
    }
    const size_t begin = little(map->file + 10, 4);
    if (end > map->size || begin > map->size)
        return fail(map, "it is cut short");
    map->begin = map->file + begin;
    return map->bits >= 16 ? read_masks(map) : CONVOY_OK;
}

/* ---- Pixels ---- */

static uint8_t *place(const bitmap *map, const cvy_pixels *pixels, size_t y, size_t x) {
    return pixels->data + 3 * ((map->top_down ? y : map->height - 1 - y) * map->width + x);
}

/* A number that the palette does not have is black. */
static void paint(const bitmap *map, size_t number, uint8_t *pixel) {
    for (size_t c = 0; c < 3; c++)
        pixel[c] = number < map->colours ? map->palette[number * map->entry + 2 - c] : 0;
}

static uint8_t masked(uint32_t word, uint32_t mask) {
    if (!mask)
        return 0;
    const int shift = __builtin_ctz(mask);
    return (uint8_t)((uint64_t)((word & mask) >> shift) * 255 / (mask >> shift));
}

static void take_pixel(const bitmap *map, const uint8_t *row, size_t x, uint8_t *pixel) {
    if (map->bits <= 8) {
        const size_t bit = x * map->bits;
        paint(map, (size_t)row[bit / 8] >> (8 - map->bits - bit % 8) & ((1u << map->bits) - 1), pixel);
        return;
    }
    const uint32_t word = little(row + x * (map->bits / 8), (int)map->bits / 8);
    for (size_t c = 0; c < 3; c++)
        pixel[c] = masked(word, map->masks[c]);
}

/* Rows are padded to four bytes, the lowest first. */
static convoy_status take_rows(const bitmap *map, cvy_pixels *pixels) {
    const size_t row = (map->width * map->bits + 31) / 32 * 4,
                 left = map->size - (size_t)(map->begin - map->file);
    if (row * map->height > left)
        return fail(map, "it is cut short");
    for (size_t y = 0; y < map->height; y++)
        for (size_t x = 0; x < map->width; x++)
            take_pixel(map, map->begin + y * row, x, place(map, pixels, y, x));
    return CONVOY_OK;
}

/* Where run-length coded pixels are read and where they go; what they leave out keeps colour 0. */
typedef struct run {
    const uint8_t *at, *end;
    size_t y, x;
} run;

static void put(const bitmap *map, cvy_pixels *pixels, run *r, size_t number) {
    if (r->y < map->height && r->x < map->width)
        paint(map, number, place(map, pixels, r->y, r->x));
    r->x++;
}

/* `count` numbers; of a run the first byte stands for all. */
static bool put_numbers(const bitmap *map, cvy_pixels *pixels, run *r, size_t count, bool same) {
    const size_t bytes = same             ? 1
                         : map->bits == 8 ? count
                                          : (count + 1) / 2,
                 padded = same ? 1 : (bytes + 1) / 2 * 2;
    if ((size_t)(r->end - r->at) < bytes)
        return false;
    for (size_t i = 0; i < count; i++) {
        const uint8_t byte = r->at[same ? 0 : map->bits == 8 ? i : i / 2];
        put(map, pixels, r, map->bits == 8 ? byte : i % 2 ? byte & 15u : byte >> 4);
    }
    r->at += (size_t)(r->end - r->at) < padded ? bytes : padded;
    return true;
}

/* False: the data ends early, or all of it was read (*done). */
static bool take_run(const bitmap *map, cvy_pixels *pixels, run *r, bool *done) {
    if (r->end - r->at < 2)
        return false;
    const uint8_t count = r->at[0], code = r->at[1];
    if (count) {
        r->at++;
        return put_numbers(map, pixels, r, count, true);
    }
    r->at += 2;
    if (code > 2)
        return put_numbers(map, pixels, r, code, false);
    *done = code == 1;
    if (code == 0) {
        r->y++;
        r->x = 0;
    } else if (code == 2 && r->end - r->at >= 2) {
        r->x += r->at[0];
        r->y += r->at[1];
        r->at += 2;
    }
    return !*done;
}

static convoy_status take_runs(const bitmap *map, cvy_pixels *pixels) {
    run r = {map->begin, map->file + map->size, 0, 0};
    bool done = false;
    paint(map, 0, pixels->data);
    cvy_pixels_spread(pixels);
    while (r.y < map->height && take_run(map, pixels, &r, &done))
        ;
    return done || r.y >= map->height || (r.y + 1 == map->height && r.x >= map->width)
               ? CONVOY_OK
               : fail(map, "it is cut short");
}

convoy_status cvy_bmp_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    (void)wanted;
    bitmap map = {.path = path, .file = file, .size = size};
    convoy_status status = read_header(&map);
    if (!status)
        status = cvy_pixels_create(path, 3, map.height, map.width, pixels);
    if (status)
        return status;
    return map.compression == RLE8 || map.compression == RLE4 ? take_runs(&map, pixels)
                                                              : take_rows(&map, pixels);
}
