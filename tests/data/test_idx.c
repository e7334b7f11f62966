/* IDX files and sets of them. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "convoy/data.h"
#include "data/idx.h"
#include "support/images.h"
#include "support/test.h"

enum { IMAGES = 7, HEIGHT = 3, WIDTH = 5, BYTES = HEIGHT * WIDTH };

static char *folder;

static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_folder_remove(folder);
    return 0;
}

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
        cmocka_unit_test_setup_teardown(plain_and_gzipped_sets_read_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(emnist_is_turned_and_counted_from_one, setup, teardown),
        cmocka_unit_test_setup_teardown(one_of_several_sets_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_labels_begin_with_the_class, setup, teardown),
        cmocka_unit_test_setup_teardown(known_kin_have_names, setup, teardown),
        cmocka_unit_test_setup_teardown(a_limit_takes_the_first_images, setup, teardown),
        cmocka_unit_test_setup_teardown(grey_becomes_rgb_when_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(training_labels_count_the_classes, setup, teardown),
        cmocka_unit_test_setup_teardown(known_names_are_found_under_convoy_data, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_headers_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_gzip_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(images_and_labels_must_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(unreadable_files_are_io_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(no_prefix_and_no_flipped_byte_crashes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pipe_is_not_waited_for, setup, teardown),
        cmocka_unit_test(fashion_mnist_as_installed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
