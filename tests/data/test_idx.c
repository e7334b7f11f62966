/* IDX files and sets of them. */
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "convoy/data.h"
#include "data/idx.h"
#include "support/folder.h"
#include "support/test.h"

enum { IMAGES = 7, HEIGHT = 3, WIDTH = 5, BYTES = HEIGHT * WIDTH };

static uint8_t pixel(size_t at) {
    return (uint8_t)(at * 37 + 11);
}

/* A set of IMAGES images; `ending` is "" or ".gz". */
static void write_split(const char *split, const char *ending, const uint8_t labels[IMAGES]) {
    uint8_t pixels[IMAGES * BYTES];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = pixel(i);
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", split, ending);
    test_write_idx(folder, name, 3, (uint32_t[]){IMAGES, HEIGHT, WIDTH}, pixels);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", split, ending);
    test_write_idx(folder, name, 1, (uint32_t[]){IMAGES}, labels);
}

static const uint8_t digits[IMAGES] = {3, 1, 4, 1, 5, 9, 2};

static void check_images(const convoy_dataset *set) {
    for (size_t i = 0; i < convoy_dataset_count(set); i++) {
        uint8_t image[BYTES];
        assert_ok(convoy_dataset_image(set, i, image));
        for (size_t p = 0; p < BYTES; p++)
            assert_int_equal(image[p], pixel(i * BYTES + p));
        assert_int_equal(convoy_dataset_label(set, i), digits[i]);
    }
}

static void plain_and_gzipped_sets_read_alike(void **state) {
    (void)state;
    write_split("train", "", digits);
    write_split("t10k", ".gz", digits);
    const char *const splits[] = {"train", "test"};
    for (int s = 0; s < 2; s++) {
        convoy_dataset *set;
        assert_ok(convoy_dataset_open(folder, splits[s], NULL, &set));
        assert_int_equal(convoy_dataset_count(set), IMAGES);
        assert_int_equal(convoy_dataset_channels(set), 1);
        assert_int_equal(convoy_dataset_height(set), HEIGHT);
        assert_int_equal(convoy_dataset_width(set), WIDTH);
        assert_int_equal(convoy_dataset_classes(set), 10);
        assert_string_equal(convoy_dataset_class_name(set, 9), "9");
        assert_string_equal(convoy_dataset_class_name(set, 10), "?");
        assert_string_equal(convoy_dataset_name(set), strrchr(folder, '/') + 1);
        assert_non_null(strstr(convoy_dataset_path(set, 0), s ? "t10k-images" : "train-images"));
        assert_int_equal(convoy_dataset_label(set, IMAGES), -1);
        check_images(set);
        uint8_t image[BYTES];
        assert_fails(convoy_dataset_image(set, IMAGES, image), CONVOY_INVALID, "there is no image 7");
        convoy_dataset_free(set);
    }
}

/* ---- MNIST's kin ---- */

/* Files of EMNIST's set under its names: as write_split's pixels, and labels from 1 on. */
static void write_letters(const char *which, const char *split, const uint8_t labels[IMAGES]) {
    uint8_t pixels[IMAGES * BYTES];
    char name[128];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = pixel(i);
    snprintf(name, sizeof name, "emnist-%s-%s-images-idx3-ubyte.gz", which, split);
    test_write_idx(folder, name, 3, (uint32_t[]){IMAGES, HEIGHT, WIDTH}, pixels);
    snprintf(name, sizeof name, "emnist-%s-%s-labels-idx1-ubyte.gz", which, split);
    test_write_idx(folder, name, 1, (uint32_t[]){IMAGES}, labels);
}

static convoy_status open_member(const char *member, const char *split, convoy_dataset **set) {
    char *path = cvy_path_join(folder, member);
    const convoy_status status = convoy_dataset_open(path, split, NULL, set);
    free(path);
    return status;
}

/* Images stand upright, and the letters' labels begin with 1. */
static void emnist_is_turned_and_counted_from_one(void **state) {
    (void)state;
    convoy_dataset *set;
    uint8_t image[BYTES];
    const uint8_t training[IMAGES] = {1, 2, 3, 26, 5, 6, 7};
    write_letters("letters", "train", training);
    write_letters("letters", "test", digits);
    assert_ok(convoy_dataset_open(folder, "test", NULL, &set)); /* the only set there is */
    assert_int_equal(convoy_dataset_classes(set), 26);
    assert_string_equal(convoy_dataset_class_name(set, 25), "z");
    assert_int_equal(convoy_dataset_height(set), WIDTH);
    assert_int_equal(convoy_dataset_width(set), HEIGHT);
    assert_int_equal(convoy_dataset_label(set, 5), digits[5] - 1);
    assert_ok(convoy_dataset_image(set, 1, image));
    for (size_t y = 0; y < WIDTH; y++)
        for (size_t x = 0; x < HEIGHT; x++)
            assert_int_equal(image[y * HEIGHT + x], pixel(BYTES + x * WIDTH + y));
    convoy_dataset_free(set);
    write_letters("letters", "test", (const uint8_t[IMAGES]){1, 0, 1, 1, 1, 1, 1});
    assert_fails(convoy_dataset_open(folder, "test", NULL, &set), CONVOY_INVALID,
                 "label 0 of image 1 is out of range: the set has 26 classes, numbered from 1");
}

/* EMNIST's archive has its six sets in one folder. */
static void one_of_several_sets_is_named(void **state) {
    (void)state;
    convoy_dataset *set;
    write_letters("balanced", "train", digits);
    write_letters("digits", "train", digits);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "holds several sets; give one of ");
    assert_non_null(strstr(convoy_error_message(), "/emnist-balanced, "));
    assert_ok(open_member("emnist-balanced", "train", &set));
    assert_string_equal(convoy_dataset_name(set), "emnist-balanced");
    assert_int_equal(convoy_dataset_label(set, 0), digits[0]);
    convoy_dataset_free(set);
    assert_fails(open_member("emnist-balanced", "test", &set), CONVOY_INVALID,
                 "there is no emnist-balanced-test-images-idx3-ubyte or .gz in it");
    assert_fails(open_member("emnist-letters", "train", &set), CONVOY_INVALID, "no such folder");
}

/* QMNIST's labels are rows of eight numbers, of which the first is the class. */
static void rows_of_labels_begin_with_the_class(void **state) {
    (void)state;
    uint8_t pixels[IMAGES * BYTES] = {0}, rows[16 + IMAGES * 32] = {0, 0, 12, 2, 0, 0, 0, IMAGES, 0, 0, 0, 8};
    for (size_t i = 0; i < IMAGES; i++) {
        rows[12 + i * 32 + 3] = digits[i];
        rows[12 + i * 32 + 7] = 99; /* who wrote it */
    }
    test_write_idx(folder, "qmnist-test-images-idx3-ubyte", 3, (uint32_t[]){IMAGES, HEIGHT, WIDTH}, pixels);
    test_write_gzip(folder, "qmnist-test-labels-idx2-int.gz", rows, 12 + IMAGES * 32);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "test", NULL, &set));
    for (size_t i = 0; i < IMAGES; i++)
        assert_int_equal(convoy_dataset_label(set, i), digits[i]);
    convoy_dataset_free(set);
    rows[12 + 2 * 32] = 1;
    test_write_gzip(folder, "qmnist-test-labels-idx2-int.gz", rows, 12 + IMAGES * 32);
    assert_fails(convoy_dataset_open(folder, "test", NULL, &set), CONVOY_INVALID,
                 "the class of image 2 is out of range");
}

/* Rows of labels and images of `count` images, those of class c blank but for a first pixel of c. */
static void write_rows(const char *images, const char *labels, uint32_t count) {
    uint8_t *pixels = calloc(count, BYTES), *rows = calloc(12 + (size_t)count * 32, 1);
    memcpy(rows, "\0\0\x0c\x02\0\0", 6);
    rows[6] = (uint8_t)(count >> 8);
    rows[7] = (uint8_t)count;
    rows[11] = 8;
    for (size_t i = 0; i < count; i++)
        pixels[i * BYTES] = rows[12 + i * 32 + 3] = (uint8_t)(i % 10 + i / 10000);
    test_write_idx(folder, images, 3, (uint32_t[]){count, HEIGHT, WIDTH}, pixels);
    test_write_file(folder, labels, rows, 12 + (size_t)count * 32);
    free(pixels);
    free(rows);
}

static void check_part(const char *name, size_t limit, size_t count, int first) {
    convoy_dataset *set;
    uint8_t image[BYTES];
    assert_ok(convoy_dataset_open(name, "test", &(convoy_dataset_options){.limit = limit}, &set));
    assert_int_equal(convoy_dataset_count(set), count);
    assert_int_equal(convoy_dataset_classes(set), 10);
    for (size_t i = 0; i < 2; i++) {
        assert_ok(convoy_dataset_image(set, i, image));
        assert_int_equal(convoy_dataset_label(set, i), first + (int)i);
        assert_int_equal(image[0], first + (int)i);
    }
    convoy_dataset_free(set);
}

static void parts_of_qmnist(void **state) {
    (void)state;
    convoy_dataset *set;
    char *root = folder;
    setenv("CONVOY_DATA", root, 1);
    folder = cvy_path_join(root, "QMNIST/raw");
    write_rows("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int", 10007);
    write_rows("xnist-images-idx3-ubyte.gz", "xnist-labels-idx2-int", 12);
    check_part("qmnist", 0, 10007, 0);
    check_part("qmnist-test10k", 0, 10000, 0);
    check_part("qmnist-test10k", 3, 3, 0);
    check_part("qmnist-test50k", 0, 7, 1);
    check_part("qmnist-test50k", 3, 3, 1);
    char *other = cvy_path_join(folder, "xnist");
    check_part(other, 0, 12, 0);
    assert_fails(convoy_dataset_open(other, "train", NULL, &set), CONVOY_INVALID,
                 "there is no xnist-train-images");
    free(other);
    write_rows("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int", 10000);
    assert_fails(convoy_dataset_open("qmnist-test50k", "test", NULL, &set), CONVOY_INVALID,
                 "holds 10000 images, but those of qmnist-test50k begin behind 10000");
    char *path = cvy_path_join(folder, "xnist-images-idx3-ubyte.gz");
    assert_int_equal(unlink(path), 0);
    free(path);
    test_write_file(folder, "xnist-images-idx3-ubyte.xz", "\xfd\x37zXZ\0\0\4", 8);
    other = cvy_path_join(folder, "xnist");
    assert_fails(convoy_dataset_open(other, "test", NULL, &set), CONVOY_INVALID, "unpack it: xz -d ");
    free(other);
    unsetenv("CONVOY_DATA");
    free(folder);
    folder = root;
}

/* ---- NumPy's archives ---- */

static bool lacks_libzip(convoy_status status) {
    return status && strstr(convoy_error_message(), "libzip");
}

/* Such as NumPy wrote them (tools/record_npz.py), packed and not. */
static void archives_of_numpy(void **state) {
    (void)state;
    for (int s = 0; s < 2; s++) {
        convoy_dataset *set;
        convoy_status status =
            convoy_dataset_open(CONVOY_SOURCE_DIR "/tests/fuzz/corpus/idx", s ? "test" : "train", NULL, &set);
        if (lacks_libzip(status))
            skip();
        assert_ok(status);
        assert_int_equal(convoy_dataset_count(set), IMAGES);
        assert_int_equal(convoy_dataset_height(set), HEIGHT);
        assert_int_equal(convoy_dataset_width(set), WIDTH);
        assert_string_equal(convoy_dataset_class_name(set, 9), "wo");
        check_images(set);
        convoy_dataset_free(set);
    }
}

static size_t put_little(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
    return bytes;
}

/* A zip file of one entry that is stored as it is: `header` behind NumPy's magic, and `count` values. */
static void write_npz(const char *entry, const char *header, size_t count) {
    const uint32_t length = (uint32_t)strlen(header), name = (uint32_t)strlen(entry),
                   size = 10 + length + (uint32_t)count;
    uint8_t file[1000], fields[26], content[500] = "\x93NUMPY\1";
    size_t at = 0;
    put_little(content + 8, length, 2);
    memcpy(content + 10, header, length);
    for (size_t i = 0; i < count; i++)
        content[10 + length + i] = pixel(i);
    memset(fields, 0, sizeof fields);
    put_little(fields, 20, 2);
    put_little(fields + 8, 0x21, 4); /* a date that can be */
    put_little(fields + 10, (uint32_t)crc32(0, content, size), 4);
    put_little(fields + 14, size, 4);
    put_little(fields + 18, size, 4);
    put_little(fields + 22, name, 2);
    for (int central = 0; central < 2; central++) {
        const size_t begin = at;
        at += put_little(file + at, central ? 0x02014b50 : 0x04034b50, 4);
        at += central ? put_little(file + at, 20, 2) : 0;
        memcpy(file + at, fields, sizeof fields);
        at += sizeof fields;
        at += central ? put_little(file + at, 0, 8) + put_little(file + at + 8, 0, 6) : 0;
        memcpy(file + at, entry, name);
        at += name;
        if (!central) {
            memcpy(file + at, content, size);
            at += size;
            continue;
        }
        const size_t end = at;
        at += put_little(file + at, 0x06054b50, 4) + put_little(file + at + 4, 0, 4);
        at += put_little(file + at, 1, 2) + put_little(file + at + 2, 1, 2);
        at += put_little(file + at, (uint32_t)(end - begin), 4);
        at += put_little(file + at, (uint32_t)begin, 4) + put_little(file + at + 4, 0, 2);
    }
    test_write_file(folder, "x.npz", file, at);
}

static void what_no_archive_of_images_is_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *entry, *header;
        size_t count;
        const char *message;
    } cases[] = {
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 5), }\n", 30, NULL},
        {"a.txt", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 5), }\n", 30,
         "is not called .npy"},
        {"a.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3, 5), }\n", 30,
         "numbers of type '<i8'; '|u1' (bytes: numpy.uint8) are read"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 5), }\n", 30,
         "not in the order of C"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (30,), }\n", 30,
         "an array of shape (30,), }"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 5, 1), }\n", 30,
         "instead of (images, height, width)"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 5), }\n", 29,
         "tells another size"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 3, 5), }\n", 0, "out of range"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 65535, 65535), }\n", 0,
         "out of range"},
        {"a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967295, 65535, 65535), }\n", 9,
         "tells another size"},
        {"a.npy", "{}", 0, "numbers of type ;"}};
    char *path = cvy_path_join(folder, "x.npz");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_idx idx;
        write_npz(cases[i].entry, cases[i].header, cases[i].count);
        const convoy_status status = cvy_npz_read(path, 3, 0, &idx);
        if (lacks_libzip(status)) {
            free(path);
            skip();
        }
        if (cases[i].message) {
            assert_fails(status, CONVOY_INVALID, cases[i].message);
            continue;
        }
        assert_ok(status);
        for (size_t p = 0; p < 30; p++)
            assert_int_equal(idx.data[p], pixel(p));
        free(idx.data);
    }
    cvy_idx idx;
    size_t size;
    uint8_t *file = test_read_file(folder, "x.npz", &size);
    test_write_file(folder, "x.npz", file, size / 2);
    assert_fails(cvy_npz_read(path, 3, 0, &idx), CONVOY_INVALID,
                 "x.npz: damaged, or not an archive of NumPy's");
    write_npz(cases[0].entry, cases[0].header, cases[0].count);
    free(file);
    file = test_read_file(folder, "x.npz", &size);
    file[35 + 10 + 63 + 20] ^= 1; /* a pixel: the CRC tells */
    test_write_file(folder, "x.npz", file, size);
    assert_fails(cvy_npz_read(path, 3, 0, &idx), CONVOY_INVALID, "CRC");
    free(file);
    free(path);
}

/* What classes are called is known of a known name. */
static void known_kin_have_names(void **state) {
    (void)state;
    convoy_dataset *set;
    setenv("CONVOY_DATA", folder, 1);
    write_split("KMNIST/raw/train", "", digits);
    write_letters("x", "train", digits); /* of no known set */
    assert_ok(convoy_dataset_open("kmnist", "train", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 10);
    assert_string_equal(convoy_dataset_class_name(set, 9), "wo");
    convoy_dataset_free(set);
    char *raw = folder;
    folder = cvy_path_join(raw, "emnist/gzip"); /* as the archive unpacks in emnist */
    write_letters("byclass", "train", digits);
    free(folder);
    folder = raw;
    assert_ok(convoy_dataset_open("emnist-byclass", "train", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 62);
    assert_string_equal(convoy_dataset_class_name(set, 10), "A");
    assert_string_equal(convoy_dataset_class_name(set, 61), "z");
    convoy_dataset_free(set);
    unsetenv("CONVOY_DATA");
}

static void a_limit_takes_the_first_images(void **state) {
    (void)state;
    write_split("train", ".gz", digits);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.limit = 4}, &set));
    assert_int_equal(convoy_dataset_count(set), 4);
    check_images(set);
    convoy_dataset_free(set);
}

static void grey_becomes_rgb_when_asked(void **state) {
    (void)state;
    write_split("train", "", digits);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.channels = 3}, &set));
    assert_int_equal(convoy_dataset_channels(set), 3);
    uint8_t image[3 * BYTES];
    assert_ok(convoy_dataset_image(set, 2, image));
    for (size_t p = 0; p < 3 * BYTES; p++)
        assert_int_equal(image[p], pixel(2 * BYTES + p % BYTES));
    convoy_dataset_free(set);
}

static void training_labels_count_the_classes(void **state) {
    (void)state;
    const uint8_t letters[IMAGES] = {0, 25, 3, 4, 5, 6, 7};
    write_split("train", "", letters);
    write_split("t10k", "", digits);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "test", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 26);
    convoy_dataset_free(set);
    const uint8_t bits[IMAGES] = {0, 1, 1, 0, 0, 1, 1};
    write_split("train", "", bits);
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 2);
    convoy_dataset_free(set);
    write_split("train", "", letters);
    const uint8_t more[IMAGES] = {0, 26, 3, 4, 5, 6, 7};
    write_split("t10k", "", more);
    assert_fails(convoy_dataset_open(folder, "test", NULL, &set), CONVOY_INVALID,
                 "label 26 of image 1 is out of range");
    const uint8_t same[IMAGES] = {0};
    write_split("train", "", same);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "its labels name one class; a classifier needs at least two");
}

static void known_names_are_found_under_convoy_data(void **state) {
    (void)state;
    char *root = folder;
    setenv("CONVOY_DATA", root, 1);
    folder = cvy_path_join(root, "FashionMNIST/raw");
    write_split("train", ".gz", digits);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open("fashion-mnist", "train", NULL, &set));
    assert_string_equal(convoy_dataset_name(set), "fashion-mnist");
    assert_string_equal(convoy_dataset_class_name(set, 0), "T-shirt/top");
    assert_string_equal(convoy_dataset_class_name(set, 9), "Ankle boot");
    assert_int_equal(convoy_dataset_count(set), IMAGES);
    convoy_dataset_free(set);
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set)); /* by path: named by the folder above raw */
    assert_string_equal(convoy_dataset_name(set), "FashionMNIST");
    assert_string_equal(convoy_dataset_class_name(set, 5),
                        "5"); /* a folder's name says nothing of its classes */
    convoy_dataset_free(set);
    const uint8_t bad[IMAGES] = {0, 1, 10, 3, 4, 5, 6};
    write_split("train", ".gz", bad);
    assert_fails(convoy_dataset_open("fashion-mnist", "train", NULL, &set), CONVOY_INVALID,
                 "label 10 of image 2 is out of range");
    unsetenv("CONVOY_DATA");
    free(folder);
    folder = root;
}

/* ---- Bad files ---- */

static void write_images(const uint8_t *file, size_t size) {
    test_write_file(folder, "train-images-idx3-ubyte", file, size);
    test_write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){IMAGES}, digits);
}

static void expect_failure(convoy_status status, const char *part) {
    convoy_dataset *set = (convoy_dataset *)folder;
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), status, part);
    assert_null(set);
}

static void bad_headers_are_refused(void **state) {
    (void)state;
    write_images((const uint8_t *)"", 0);
    expect_failure(CONVOY_INVALID, "truncated: 4 bytes expected here, 0 found");
    write_images((const uint8_t *)"\0\0\x08\x01\0\0\0\x07", 8);
    expect_failure(CONVOY_INVALID, "it starts with 00 00 08 01 instead of 00 00 08 03");
    write_images((const uint8_t *)"\0\0\x0d\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x05", 17);
    expect_failure(CONVOY_INVALID, "not an IDX file of images");
    write_images((const uint8_t *)"\0\0\x08\x03\0\0", 6);
    expect_failure(CONVOY_INVALID, "truncated");
    write_images((const uint8_t *)"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x1c\0\0\0\x1c", 16);
    expect_failure(CONVOY_INVALID, "4294967295 entries of 28 x 28 bytes, but the file has only 16 bytes");
    write_images((const uint8_t *)"\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    expect_failure(CONVOY_INVALID, "entries of 4294967295 x 4294967295, which is out of range");
    write_images((const uint8_t *)"\0\0\x08\x03\xff\xff\xff\xff\0\0\xff\xff\0\0\xff\xff", 16);
    expect_failure(CONVOY_INVALID, "truncated or damaged");
    write_images((const uint8_t *)"\0\0\x08\x03\0\0\0\0\0\0\0\x01\0\0\0\x01", 16);
    expect_failure(CONVOY_INVALID, "holds no images");
    write_images((const uint8_t *)"\0\0\x08\x03\0\0\0\x01\0\0\0\0\0\0\0\x01", 16);
    expect_failure(CONVOY_INVALID, "out of range");
    write_images((const uint8_t *)"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\x01\x05\x06", 18);
    expect_failure(CONVOY_INVALID, "more data than its header says");
}

static void damaged_gzip_is_refused(void **state) {
    (void)state;
    write_split("train", ".gz", digits);
    size_t size;
    uint8_t *file = test_read_file(folder, "train-images-idx3-ubyte.gz", &size);
    test_write_file(folder, "train-images-idx3-ubyte.gz", file, size - 9);
    expect_failure(CONVOY_INVALID, "truncated");
    test_write_file(folder, "train-images-idx3-ubyte.gz", file, size - 1); /* in the length after the CRC */
    expect_failure(CONVOY_INVALID, "train-images-idx3-ubyte.gz: truncated");
    file[size - 6] ^= 1; /* the CRC */
    test_write_file(folder, "train-images-idx3-ubyte.gz", file, size);
    expect_failure(CONVOY_INVALID, "damaged gzip data");
    free(file);
}

static void images_and_labels_must_agree(void **state) {
    (void)state;
    write_split("train", "", digits);
    test_write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){6}, digits);
    expect_failure(CONVOY_INVALID, "holds 7 images, but");
    char *labels = cvy_path_join(folder, "train-labels-idx1-ubyte");
    assert_int_equal(unlink(labels), 0);
    free(labels);
    expect_failure(CONVOY_INVALID, "there is no train-labels-idx1-ubyte");
    convoy_dataset *set;
    assert_fails(convoy_dataset_open(folder, "test", NULL, &set), CONVOY_INVALID,
                 "there is no t10k-images-idx3-ubyte");
}

static void unreadable_files_are_io_errors(void **state) {
    (void)state;
    cvy_idx idx;
    assert_fails(cvy_idx_read("/nonexistent/file", 3, 0, &idx), CONVOY_IO,
                 "/nonexistent/file': No such file");
    assert_fails(cvy_idx_read(folder, 3, 0, &idx), CONVOY_IO, "it is a folder");
}

static void a_pipe_is_not_waited_for(void **state) {
    (void)state;
    char *path = cvy_path_join(folder, "train-images-idx3-ubyte");
    convoy_dataset *set;
    assert_int_equal(mkfifo(path, 0600), 0);
    test_write_idx(folder, "train-labels-idx1-ubyte", 1, (uint32_t[]){6}, digits);
    assert_false(cvy_idx_is_images(path));
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID, "it is a pipe");
    free(path);
}

/* Whatever a file holds, reading it ends with images or a message; run under AddressSanitizer this means
 * something. */
static void no_prefix_and_no_flipped_byte_crashes(void **state) {
    (void)state;
    write_split("train", ".gz", digits);
    size_t size, accepted = 0;
    uint8_t *file = test_read_file(folder, "train-images-idx3-ubyte.gz", &size);
    char *path = cvy_path_join(folder, "x.gz");
    cvy_idx idx;
    for (size_t length = 0; length < size; length++) {
        test_write_file(folder, "x.gz", file, length);
        assert_int_not_equal(cvy_idx_read(path, 3, 0, &idx), CONVOY_OK);
        assert_null(idx.data);
    }
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit += 3) {
            file[at] ^= (uint8_t)(1 << bit);
            test_write_file(folder, "x.gz", file, size);
            if (cvy_idx_read(path, 3, 0, &idx) == CONVOY_OK) {
                accepted++; /* a flip in the time stamp or the like */
                for (size_t i = 0; i < IMAGES * BYTES; i++)
                    assert_int_equal(idx.data[i], pixel(i));
                free(idx.data);
            }
            file[at] ^= (uint8_t)(1 << bit);
        }
    assert_true(accepted < size);
    free(path);
    free(file);
}

static void fashion_mnist_as_installed(void **state) {
    (void)state;
    convoy_dataset *set;
    if (!cvy_folder_exists("/usr/share/datasets/fashion-mnist"))
        skip();
    assert_ok(convoy_dataset_open("fashion-mnist", "test", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 10000);
    assert_int_equal(convoy_dataset_height(set), 28);
    int per_class[10] = {0};
    for (size_t i = 0; i < 10000; i++)
        per_class[convoy_dataset_label(set, i)]++;
    for (int c = 0; c < 10; c++)
        assert_int_equal(per_class[c], 1000);
    assert_string_equal(convoy_dataset_class_name(set, convoy_dataset_label(set, 0)), "Ankle boot");
    convoy_dataset_free(set);
    assert_ok(convoy_dataset_open("/usr/share/datasets/fashion-mnist/", "train", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 60000);
    assert_string_equal(convoy_dataset_name(set), "fashion-mnist");
    assert_string_equal(convoy_dataset_class_name(set, 8), "8");
    convoy_dataset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_and_gzipped_sets_read_alike, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(emnist_is_turned_and_counted_from_one, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(one_of_several_sets_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(rows_of_labels_begin_with_the_class, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(parts_of_qmnist, make_folder, remove_folder),
        cmocka_unit_test(archives_of_numpy),
        cmocka_unit_test_setup_teardown(what_no_archive_of_images_is_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(known_kin_have_names, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_limit_takes_the_first_images, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(grey_becomes_rgb_when_asked, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(training_labels_count_the_classes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(known_names_are_found_under_convoy_data, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_headers_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(damaged_gzip_is_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(images_and_labels_must_agree, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(unreadable_files_are_io_errors, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(no_prefix_and_no_flipped_byte_crashes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_pipe_is_not_waited_for, make_folder, remove_folder),
        cmocka_unit_test(fashion_mnist_as_installed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
