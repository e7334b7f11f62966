/* Decoding BMP: palettes of 1, 4 and 8 bits, plain or run-length coded; 16, 24 and 32 bits, with masks or
   without (Microsoft, "Bitmap Storage"; the header of OS/2 with them). */
#include <string.h>

#include "data/image_formats.h"
#include "data/image_rows.h"

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
static convoy_status take_rows(const bitmap *map, cvy_rows *rows) {
    const size_t row = (map->width * map->bits + 31) / 32 * 4,
                 left = map->size - (size_t)(map->begin - map->file);
    if (row * map->height > left)
        return fail(map, "it is cut short");
    for (size_t i = 0; i < map->height; i++) {
        const size_t y = map->top_down ? i : map->height - 1 - i;
        uint8_t *place = cvy_rows_place(rows, y);
        for (size_t x = 0; x < map->width; x++)
            take_pixel(map, map->begin + i * row, x, place + 3 * x);
        cvy_rows_add(rows, y);
    }
    return CONVOY_OK;
}

/* Where run-length coded pixels are read and where they go, row y from below; what they leave out keeps
   colour 0. */
typedef struct run {
    const uint8_t *at, *end;
    cvy_rows *rows;
    size_t y, x;
} run;

static void start_row(const bitmap *map, const run *r) {
    uint8_t *row = cvy_rows_place(r->rows, map->height - 1 - r->y);
    paint(map, 0, row);
    cvy_pixels_spread(row, 3, map->width);
}

static void go_up(const bitmap *map, run *r, size_t count) {
    for (; count > 0 && r->y < map->height; count--) {
        cvy_rows_add(r->rows, map->height - 1 - r->y);
        if (++r->y < map->height)
            start_row(map, r);
    }
}

static void put(const bitmap *map, run *r, size_t number) {
    if (r->y < map->height && r->x < map->width)
        paint(map, number, cvy_rows_place(r->rows, map->height - 1 - r->y) + 3 * r->x);
    r->x++;
}

/* `count` numbers; of a run the first byte stands for all. */
static bool put_numbers(const bitmap *map, run *r, size_t count, bool same) {
    const size_t bytes = same             ? 1
                         : map->bits == 8 ? count
                                          : (count + 1) / 2,
                 padded = same ? 1 : (bytes + 1) / 2 * 2;
    if ((size_t)(r->end - r->at) < bytes)
        return false;
    for (size_t i = 0; i < count; i++) {
        const uint8_t byte = r->at[same ? 0 : map->bits == 8 ? i : i / 2];
        put(map, r, map->bits == 8 ? byte : i % 2 ? byte & 15u : byte >> 4);
    }
    r->at += (size_t)(r->end - r->at) < padded ? bytes : padded;
    return true;
}

/* False: the data ends early, or all of it was read (*done). */
static bool take_run(const bitmap *map, run *r, bool *done) {
    if (r->end - r->at < 2)
        return false;
    const uint8_t count = r->at[0], code = r->at[1];
    if (count) {
        r->at++;
        return put_numbers(map, r, count, true);
    }
    r->at += 2;
    if (code > 2)
        return put_numbers(map, r, code, false);
    *done = code == 1;
    if (code == 0) {
        go_up(map, r, 1);
        r->x = 0;
    } else if (code == 2 && r->end - r->at >= 2) {
        r->x += r->at[0];
        go_up(map, r, r->at[1]);
        r->at += 2;
    }
    return !*done;
}

static convoy_status take_runs(const bitmap *map, cvy_rows *rows) {
    run r = {map->begin, map->file + map->size, rows, 0, 0};
    bool done = false;
    start_row(map, &r);
    while (r.y < map->height && take_run(map, &r, &done))
        ;
    if (!done && r.y < map->height && (r.y + 1 < map->height || r.x < map->width))
        return fail(map, "it is cut short");
    go_up(map, &r, map->height);
    return CONVOY_OK;
}

convoy_status cvy_bmp_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    bitmap map = {.path = path, .file = file, .size = size};
    cvy_rows rows = {0};
    convoy_status status = read_header(&map);
    if (!status)
        status = cvy_rows_create(path, 3, map.height, map.width, 3 * map.height * map.width, wanted, pixels,
                                 &rows);
    if (!status)
        status = map.compression == RLE8 || map.compression == RLE4 ? take_runs(&map, &rows)
                                                                    : take_rows(&map, &rows);
    cvy_rows_free(&rows);
    return status;
}
