/* CIFAR-10 and CIFAR-100 in their binary form. */
#include "base/file.h"
#include "convoy/data.h"
#include "support/folder.h"
#include "support/test.h"

enum { PIXELS = 3 * 32 * 32, PER_FILE = 3 };

static uint8_t value(int file, int record, int at) {
    return (uint8_t)(file * 101 + record * 17 + at * 3);
}

/* PER_FILE records; the class of a record is (file + record) % 10, behind `labels` - 1 coarse ones. */
static void write_batch(const char *name, int file, int labels, int extra_bytes) {
    static uint8_t data[PER_FILE * (2 + PIXELS) + 8];
    uint8_t *at = data;
    for (int r = 0; r < PER_FILE; r++) {
        if (labels == 2)
            *at++ = 77;
        *at++ = (uint8_t)((file + r) % 10);
        for (int p = 0; p < PIXELS; p++)
            *at++ = value(file, r, p);
    }
    test_write_file(folder, name, data, (size_t)(at - data) + (size_t)extra_bytes);
}

static void write_cifar10(void) {
    for (int f = 1; f <= 5; f++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", f);
        write_batch(name, f, 1, 0);
    }
    write_batch("test_batch.bin", 6, 1, 0);
}

static void cifar10_reads_all_batches_in_order(void **state) {
    (void)state;
    write_cifar10();
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 5 * PER_FILE);
    assert_int_equal(convoy_dataset_channels(set), 3);
    assert_int_equal(convoy_dataset_height(set), 32);
    assert_int_equal(convoy_dataset_width(set), 32);
    assert_int_equal(convoy_dataset_classes(set), 10);
    assert_string_equal(convoy_dataset_class_name(set, 1), "automobile");
    for (size_t i = 0; i < 5 * PER_FILE; i++) {
        uint8_t image[PIXELS];
        int file = 1 + (int)i / PER_FILE, record = (int)i % PER_FILE;
        assert_ok(convoy_dataset_image(set, i, image));
        assert_int_equal(convoy_dataset_label(set, i), (file + record) % 10);
        for (int p = 0; p < PIXELS; p++)
            assert_int_equal(image[p], value(file, record, p));
    }
    convoy_dataset_free(set);
    assert_ok(convoy_dataset_open(folder, "test", &(convoy_dataset_options){.limit = 2}, &set));
    assert_int_equal(convoy_dataset_count(set), 2);
    assert_int_equal(convoy_dataset_label(set, 1), 7);
    convoy_dataset_free(set);
}

static void a_limit_may_end_inside_a_batch(void **state) {
    (void)state;
    write_cifar10();
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.limit = PER_FILE + 1}, &set));
    assert_int_equal(convoy_dataset_count(set), PER_FILE + 1);
    assert_int_equal(convoy_dataset_label(set, PER_FILE), 2);
    convoy_dataset_free(set);
}

static void names_come_from_the_sets_file(void **state) {
    (void)state;
    write_cifar10();
    static const char names[] = "a\nb\r\nc\nd\ne\nf\ng\nh\ni\nlast one\n\n";
    test_write_file(folder, "batches.meta.txt", names, sizeof names - 1);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_string_equal(convoy_dataset_class_name(set, 1), "b");
    assert_string_equal(convoy_dataset_class_name(set, 9), "last one");
    convoy_dataset_free(set);
    test_write_file(folder, "batches.meta.txt", names, 6);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "3 class names, expected 10");
}

static void rgb_becomes_grey_when_asked(void **state) {
    (void)state;
    write_cifar10();
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "test", &(convoy_dataset_options){.channels = 1}, &set));
    assert_int_equal(convoy_dataset_channels(set), 1);
    uint8_t image[1024];
    for (int r = 0; r < PER_FILE; r++) {
        assert_ok(convoy_dataset_image(set, (size_t)r, image));
        for (int p = 0; p < 1024; p++) {
            double luma =
                0.299 * value(6, r, p) + 0.587 * value(6, r, 1024 + p) + 0.114 * value(6, r, 2048 + p);
            assert_true(fabs(image[p] - luma) <= 0.51);
        }
    }
    convoy_dataset_free(set);
}

/* Where the archive's own folder lies below $CONVOY_DATA, or below a folder of the set's name there. */
static void known_names_find_the_unpacked_archive(void **state) {
    (void)state;
    char *root = folder;
    setenv("CONVOY_DATA", root, 1);
    for (int nested = 0; nested < 2; nested++) {
        folder = cvy_path_join(root, nested ? "cifar100/cifar-100-binary" : "cifar10/cifar-10-batches-bin");
        convoy_dataset *set;
        if (nested)
            write_batch("train.bin", 1, 2, 0);
        else
            write_cifar10();
        assert_ok(convoy_dataset_open(nested ? "cifar100" : "cifar10", "train", NULL, &set));
        assert_int_equal(convoy_dataset_classes(set), nested ? 100 : 10);
        convoy_dataset_free(set);
        free(folder);
    }
    unsetenv("CONVOY_DATA");
    folder = root;
}

static void cifar100_uses_the_fine_label(void **state) {
    (void)state;
    write_batch("train.bin", 1, 2, 0);
    write_batch("test.bin", 2, 2, 0);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 100);
    assert_int_equal(convoy_dataset_count(set), PER_FILE);
    assert_int_equal(convoy_dataset_label(set, 2), 3);
    assert_string_equal(convoy_dataset_class_name(set, 99), "99");
    uint8_t image[PIXELS];
    assert_ok(convoy_dataset_image(set, 2, image));
    assert_int_equal(image[0], value(1, 2, 0));
    convoy_dataset_free(set);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    convoy_dataset *set;
    write_cifar10();
    write_batch("data_batch_3.bin", 3, 1, 1);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "data_batch_3.bin: 9220 bytes are not a whole number of records of 3073 bytes");
    test_write_file(folder, "data_batch_3.bin", "", 0);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "data_batch_3.bin: 0 bytes");
    uint8_t record[1 + PIXELS] = {10};
    test_write_file(folder, "data_batch_3.bin", record, sizeof record);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "label 10 of image 0 is out of range: the set has 10 classes");
    char path[512];
    snprintf(path, sizeof path, "%s/data_batch_3.bin", folder);
    assert_int_equal(remove(path), 0);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "data_batch_3.bin: No such file or directory; the set is incomplete");
}

/* Nothing in a file is executed: what pickle files are is said, and what to take. */
static void pickles_are_refused_by_name(void **state) {
    (void)state;
    convoy_dataset *set;
    test_write_file(folder, "data_batch_1", "\x80\x02}q", 4);
    assert_fails(
        convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
        "these are CIFAR-10's batches for Python (pickle files, which are programs); take the binary");
    test_write_file(folder, "data_batch_1", "text", 4);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID, "not recognised");
    test_write_file(folder, "cifar-100-python/train", "\x80\x02}q", 4);
    test_write_file(folder, "cifar-100-python/test", "\x80\x02}q", 4);
    setenv("CONVOY_DATA", folder, 1);
    assert_fails(convoy_dataset_open("cifar100", "train", NULL, &set), CONVOY_INVALID,
                 "cifar-100-binary.tar.gz");
    unsetenv("CONVOY_DATA");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cifar10_reads_all_batches_in_order, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_limit_may_end_inside_a_batch, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(names_come_from_the_sets_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(rgb_becomes_grey_when_asked, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(known_names_find_the_unpacked_archive, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(cifar100_uses_the_fine_label, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_files_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(pickles_are_refused_by_name, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
