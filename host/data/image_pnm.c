/* Decoding PGM and PPM: grey or colours, raw or plain (numbers as text), of 8 or 16 bits (Netpbm's manual,
   "pgm" and "ppm"). */
#include <math.h>

#include "data/image_formats.h"
#include "data/image_rows.h"

enum { HIGHEST = 65535, LONGEST_SIDE = 100 * 1000 * 1000 };

typedef struct netpbm {
    const char *path;
    const uint8_t *at, *end;
    uint32_t height, width, white;
    bool plain;
    uint8_t scaled[HIGHEST + 1]; /* to 8 bits: of 0 to white, and white of what is above */
} netpbm;

static convoy_status fail(const netpbm *map, const char *reason) {
    return cvy_fail(CONVOY_INVALID, "%s: damaged PPM or PGM image: %s", map->path, reason);
}

static bool is_space(int c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next character; a comment is the end of its line. -1: there is none. */
static int next(netpbm *map) {
    if (map->at == map->end)
        return -1;
    if (*map->at != '#')
        return *map->at++;
    while (map->at < map->end && *map->at != '\n' && *map->at != '\r')
        map->at++;
    map->at += map->at < map->end;
    return '\n';
}

/* A number, and the one white space behind it; false: there is none, or it is above `most`. */
static bool take_number(netpbm *map, uint32_t most, uint32_t *number) {
    int c = next(map);
    while (is_space(c))
        c = next(map);
    if (c < '0' || c > '9')
        return false;
    for (*number = 0; c >= '0' && c <= '9' && *number <= most; c = next(map))
        *number = 10 * *number + (uint32_t)(c - '0');
    return *number <= most && (c < 0 || is_space(c));
}

static convoy_status read_header(netpbm *map) {
    if (map->end - map->at < 3 || (!is_space(map->at[2]) && map->at[2] != '#'))
        return fail(map, "its header is cut short");
    map->plain = map->at[1] == '2' || map->at[1] == '3';
    map->at += 2;
    if (!take_number(map, LONGEST_SIDE, &map->width) || !take_number(map, LONGEST_SIDE, &map->height))
        return fail(map, "its header tells no size");
    if (!take_number(map, HIGHEST, &map->white) || !map->white)
        return fail(map, "its header tells no brightest value of 1 to 65535");
    return CONVOY_OK;
}

/* As Pillow rounds. */
static void fill_scaled(netpbm *map) {
    for (uint32_t i = 0; i <= (map->white < 256 ? 255 : HIGHEST); i++)
        map->scaled[i] = i < map->white ? (uint8_t)nearbyint((double)i / map->white * 255) : 255;
}

static convoy_status take_plain(netpbm *map, size_t count, uint8_t *data) {
    for (size_t i = 0; i < count; i++) {
        uint32_t value;
        if (!take_number(map, map->white, &value))
            return fail(map, "a value is missing, or brighter than the brightest");
        data[i] = map->scaled[value];
    }
    return CONVOY_OK;
}

static void take_raw(netpbm *map, size_t count, uint8_t *data) {
    const uint8_t *at = map->at;
    if (map->white < 256)
        for (size_t i = 0; i < count; i++)
            data[i] = map->scaled[at[i]];
    else
        for (size_t i = 0; i < count; i++)
            data[i] = map->scaled[at[2 * i] << 8 | at[2 * i + 1]];
    map->at += map->white < 256 ? count : 2 * count;
}

static convoy_status decode(netpbm *map, int channels, cvy_wanted wanted, cvy_pixels *pixels,
                            cvy_rows *rows) {
    convoy_status status = read_header(map);
    if (!status)
        status = cvy_rows_create(map->path, channels, map->height, map->width,
                                 (size_t)channels * map->height * map->width, wanted, pixels, rows);
    if (status)
        return status;
    /* Plain values have a digit, and a space between them. */
    const size_t count = (size_t)map->height * map->width * (size_t)channels,
                 least = map->plain         ? 2 * count - 1
                         : map->white < 256 ? count
                                            : 2 * count;
    if (least > (size_t)(map->end - map->at))
        return fail(map, "it is cut short");
    fill_scaled(map);
    for (size_t y = 0; !status && y < map->height; y++) {
        uint8_t *row = cvy_rows_place(rows, y);
        if (map->plain)
            status = take_plain(map, count / map->height, row);
        else
            take_raw(map, count / map->height, row);
        cvy_rows_add(rows, y);
    }
    return status;
}

convoy_status cvy_pnm_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                             cvy_pixels *pixels) {
    netpbm map;
    map.path = path;
    map.at = file;
    map.end = file + size;
    cvy_rows rows = {0};
    convoy_status status = decode(&map, file[1] == '3' || file[1] == '6' ? 3 : 1, wanted, pixels, &rows);
    cvy_rows_free(&rows);
    return status;
}
