/* Photographs over the limit, which are made smaller as they are read. */
#include <png.h>
#include <zlib.h>

#include "base/file.h"
#include "base/integer.h"
#include "convoy/data.h"
#include "data/image_formats.h"
#include "support/folder.h"
#include "support/test.h"

#define CORPUS CONVOY_SOURCE_DIR "/tests/fuzz/corpus/image"

static bool is_among(const char *name, const char *names) {
    const char *found = strstr(names, name);
    return found && found[strlen(name)] == ' ';
}

/* Each pixel is the mean of four, of fewer at the right and below. */
static void expect_means(const char *name, const cvy_pixels *whole, const cvy_pixels *small, int tolerance) {
    const size_t height = (size_t)whole->height, width = (size_t)whole->width,
                 channels = (size_t)whole->channels, columns = (width + 1) / 2;
    assert_int_equal(small->channels, whole->channels);
    for (size_t i = 0; i < (height + 1) / 2 * columns * channels; i++) {
        const size_t top = i / channels / columns * 2, left = i / channels % columns * 2,
                     bottom = min_size(top + 2, height), right = min_size(left + 2, width);
        unsigned sum = 0, count = 0;
        for (size_t y = top; y < bottom; y++)
            for (size_t x = left; x < right; x++, count++)
                sum += whole->data[(y * width + x) * channels + i % channels];
        const int expected = (int)((sum + count / 2) / count);
        if (abs(small->data[i] - expected) > tolerance)
            fail_msg("%s: byte %zu is %d, expected %d", name, i, small->data[i], expected);
    }
}

/* The files whose pixels data/test_image compares with Pillow's, with a limit of half their pixels. */
static void try_smaller(const char *name) {
    const cvy_wanted smaller = {.height = 2, .width = 3, .most_pixels = 18, .as_stored = true};
    const bool whole =
                   strstr(name, ".gif") || is_among(name, "lossless.webp rgba.webp turned.webp frames.webp "),
               lossy = is_among(name, "lossy.webp turned_6.jpg ");
    size_t size;
    uint8_t *file = test_read_file(CORPUS, name, &size);
    cvy_pixels full, small;
    const convoy_status status = cvy_image_decode(name, file, size, (cvy_wanted){.as_stored = true}, &full);
    if (status && strstr(convoy_error_message(), "was built without")) {
        print_message("not tested: %s\n", convoy_error_message());
    } else if (full.height * full.width == 35) { /* the others are of other tests */
        assert_int_equal(status, CONVOY_OK);
        assert_ok(cvy_image_decode(name, file, size, smaller, &small));
        if (small.height != (whole ? full.height : 3) || small.width != (whole ? full.width : 4))
            fail_msg("%s is %d x %d", name, small.height, small.width);
        if (!whole)
            expect_means(name, &full, &small, lossy ? 10 : 0); /* libwebp spreads the last column over all */
        free(small.data);
    }
    free(full.data);
    free(file);
}

static void every_format_is_reduced_whose_rows_come_one_by_one(void **state) {
    (void)state;
    char **names;
    size_t count;
    assert_ok(cvy_folder_list(CORPUS, &names, &count));
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++) {
        try_smaller(names[i]);
        free(names[i]);
    }
    free(names);
}

/* What is over the limit is read at a scale that is not, where that is enough. */
static void a_very_large_jpeg_is_reduced(void **state) {
    (void)state;
    enum { HIGH = 1600, WIDE = 65500 };
    uint8_t *data = calloc(HIGH, WIDE), image[2 * 80];
    test_write_jpeg(folder, "x.jpg", HIGH, WIDE, 1, 0, data);
    free(data);
    memset(image, 1, sizeof image);
    char *path = cvy_path_join(folder, "x.jpg");
    assert_ok(convoy_image_load(path, 1, 2, 80, image));
    for (size_t i = 0; i < sizeof image; i++)
        assert_int_equal(image[i], 0);
    cvy_pixels pixels;
    assert_fails(cvy_image_read(path, (cvy_wanted){0}, &pixels), CONVOY_INVALID,
                 "65500 x 1600 pixels; at most 100 megapixels");
    free(path);
}

/* The same of PNG, whose rows are averaged as they come, against all pixels and the one resampler. */
static void a_very_large_png_is_reduced(void **state) {
    (void)state;
    enum { HIGH = 1605, WIDE = 65501, PITCH = (WIDE + 7) / 8, ROWS = 4, COLUMNS = 80 };
    uint8_t *data = calloc(HIGH, PITCH), *rows = malloc((size_t)HIGH * WIDE), image[3 * ROWS * COLUMNS],
            expected[3 * ROWS * COLUMNS];
    for (size_t y = 0; y < HIGH; y++)
        for (size_t x = 0; x < WIDE; x++) {
            const bool light =
                (x * 8191 + y * y * 13) % 65536 < (x + 20 * y) % 65536; /* denser to the right */
            data[y * PITCH + x / 8] |= (uint8_t)(light << (7 - x % 8));
            rows[y * WIDE + x] = light ? 255 : 0;
        }
    test_write_png(folder, "x.png", HIGH, WIDE, PNG_COLOR_TYPE_GRAY, 1, 0, data);
    const cvy_pixels pixels = {.channels = 1, .height = HIGH, .width = WIDE, .data = rows};
    const cvy_fitting fitting = {.channels = 3, .height = ROWS, .width = COLUMNS};
    char *path = cvy_path_join(folder, "x.png");
    assert_ok(cvy_image_load(path, &fitting, image));
    assert_ok(cvy_image_bring(&pixels, &fitting, expected));
    for (size_t i = 0; i < sizeof image; i++)
        assert_in_range(image[i] + 2 - expected[i], 0, 4);
    assert_true(expected[COLUMNS - 1] > expected[0] + 50); /* which a blank picture would not show */
    free(rows);
    cvy_pixels read;
    assert_ok(cvy_image_read(path, (cvy_wanted){.height = 802, .width = 32750}, &read));
    assert_int_equal(read.height, 803);
    assert_int_equal(read.width, 32751);
    for (size_t y = 0; y < 3; y++) /* means of four, and of two at the right */
        for (size_t x = 0; x < 32751; x++) {
            unsigned sum = 0, count = 0;
            for (size_t i = 2 * x; i < 2 * x + 2 && i < WIDE; i++)
                for (size_t j = 2 * y; j < 2 * y + 2; j++, count++)
                    sum += data[j * PITCH + i / 8] >> (7 - i % 8) & 1 ? 255 : 0;
            assert_int_equal(read.data[y * 32751 + x], (sum + count / 2) / count);
        }
    free(read.data);
    assert_fails(cvy_image_read(path, (cvy_wanted){.height = 803, .width = 9}, &read), CONVOY_INVALID,
                 "65501 x 1605 pixels; at most 100 megapixels");
    assert_fails(cvy_image_read(path, (cvy_wanted){0}, &read), CONVOY_INVALID,
                 "at most 100 megapixels are read, and sides of at most 65535: make it smaller");
    size_t size;
    uint8_t *file = test_read_file(folder, "x.png", &size);
    file[28] = 1; /* interlaced, it says */
    const uint32_t sum = (uint32_t)crc32(0, file + 12, 17);
    memcpy(file + 29,
           (const uint8_t[]){(uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8), (uint8_t)sum},
           4);
    test_write_file(folder, "x.png", file, size);
    assert_fails(cvy_image_load(path, &(cvy_fitting){.channels = 1, .height = 4, .width = 80}, image),
                 CONVOY_INVALID, "65501 x 1605 pixels; at most 100 megapixels");
    free(file);
    free(path);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_reduced_whose_rows_come_one_by_one),
        cmocka_unit_test_setup_teardown(a_very_large_jpeg_is_reduced, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_very_large_png_is_reduced, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
