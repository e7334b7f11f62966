/* What is common to all sets: names, recognition, options, synthetic images, files to predict. */
#include <png.h>

#include "base/file.h"
#include "base/hash.h"
#include "convoy/data.h"
#include "support/images.h"
#include "support/test.h"

static char *folder;

static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unsetenv("CONVOY_DATA");
    test_folder_remove(folder);
    return 0;
}

static void missing_sets_say_where_they_were_looked_for(void **state) {
    (void)state;
    convoy_dataset *set;
    setenv("CONVOY_DATA", folder, 1);
    assert_fails(convoy_dataset_open("mnist", "train", NULL, &set), CONVOY_INVALID,
                 "data set mnist not found: looked for");
    assert_non_null(strstr(convoy_error_message(), folder));
    assert_non_null(strstr(convoy_error_message(), "data/mnist"));
    assert_non_null(strstr(convoy_error_message(), "/usr/share/datasets/mnist"));
    assert_non_null(strstr(convoy_error_message(), "train-images-idx3-ubyte.gz"));
    if (!cvy_folder_exists("/usr/share/datasets/fashion-mnist"))
        assert_fails(convoy_dataset_open("fashion-mnist", "train", NULL, &set), CONVOY_INVALID,
                     "apt-get install dataset-fashion-mnist");
    assert_fails(convoy_dataset_open("fashion-mnits", "train", NULL, &set), CONVOY_INVALID,
                 "no such folder or list, and not one of the known names (fashion-mnist, mnist, kmnist, "
                 "qmnist, qmnist-test10k, qmnist-test50k, "
                 "emnist-balanced, emnist-byclass, emnist-bymerge, emnist-digits, emnist-letters, "
                 "emnist-mnist, cifar10, cifar100, synthetic); did you mean fashion-mnist?");
    assert_null(set);
}

static void unrecognised_folders_say_what_they_hold(void **state) {
    (void)state;
    convoy_dataset *set;
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID, "it is empty");
    for (int i = 0; i < 7; i++) {
        char name[16];
        snprintf(name, sizeof name, "%c.txt", 'a' + i);
        test_write_file(folder, name, "x", 1);
    }
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "it holds a.txt, b.txt, c.txt, d.txt, e.txt and 2 more");
    assert_non_null(strstr(convoy_error_message(), "one subfolder of images per class"));
    char *file = cvy_path_join(folder, "a.txt");
    assert_fails(convoy_dataset_open(file, "train", NULL, &set), CONVOY_INVALID,
                 "a.txt:1:1: a picture and its class are expected, or a header");
    free(file);
}

static void bad_arguments(void **state) {
    (void)state;
    convoy_dataset *set;
    const struct {
        convoy_dataset_options options;
        const char *part;
    } cases[] = {
        {{.channels = 2}, "images have 1 or 3 channels, not 2"},
        {{.height = -1, .width = 4}, "image size -1 x 4 is out of range"},
        {{.height = 4}, "needs both height and width"},
        {{.test_fraction = 1}, "test fraction 1 is not between 0 and 1"},
        {{.test_fraction = NAN}, "is not between 0 and 1"},
        {{.synthetic_classes = 1}, "1 classes are out of range"},
        {{.synthetic_classes = -3}, "-3 classes are out of range"},
        {{.synthetic_images = (size_t)1 << 40}, "images are too many"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(convoy_dataset_open("synthetic", "train", &cases[i].options, &set), CONVOY_INVALID,
                     cases[i].part);
    assert_fails(convoy_dataset_open("synthetic", "dev", NULL, &set), CONVOY_INVALID,
                 "split dev: expected train, val, test or all");
    assert_fails(convoy_dataset_open("", "train", NULL, &set), CONVOY_INVALID, "no data set named");
    assert_fails(convoy_dataset_open(NULL, "train", NULL, &set), CONVOY_INVALID, "no data set named");
    convoy_dataset_free(NULL);
}

/* ---- Synthetic ---- */

static void hash_set(const convoy_dataset_options *options, const char *split, char hex[33]) {
    convoy_dataset *set;
    assert_ok(convoy_dataset_open("synthetic", split, options, &set));
    size_t bytes = (size_t)convoy_dataset_channels(set) * (size_t)convoy_dataset_height(set) *
                   (size_t)convoy_dataset_width(set);
    uint8_t *image = malloc(bytes);
    cvy_hash *hash = cvy_hash_create();
    for (size_t i = 0; i < convoy_dataset_count(set); i++) {
        assert_ok(convoy_dataset_image(set, i, image));
        cvy_hash_add(hash, image, bytes);
        uint8_t label = (uint8_t)convoy_dataset_label(set, i);
        cvy_hash_add(hash, &label, sizeof label);
    }
    cvy_hash_finish(hash, hex);
    free(image);
    convoy_dataset_free(set);
}

static void synthetic_images_are_the_same_everywhere(void **state) {
    (void)state;
    char a[33], b[33];
    convoy_dataset_options options = {.synthetic_images = 20};
    hash_set(&options, "train", a);
    assert_string_equal(a,
                        "c820d611ad58dc4c6c36330554bc50ad"); /* recorded: must never change, on any machine */
    options.threads = 3;
    hash_set(&options, "train", b);
    assert_string_equal(a, b);
    options.memory = 1; /* nothing is kept: each image is made when asked for */
    hash_set(&options, "train", b);
    assert_string_equal(a, b);
    hash_set(&options, "test", b);
    assert_string_not_equal(a, b);
    options.seed = 1;
    hash_set(&options, "train", b);
    assert_string_not_equal(a, b);
}

static void synthetic_shapes_and_classes(void **state) {
    (void)state;
    convoy_dataset *set;
    assert_ok(convoy_dataset_open("synthetic", "train", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 1024);
    assert_int_equal(convoy_dataset_height(set), 28);
    assert_string_equal(convoy_dataset_name(set), "synthetic");
    assert_string_equal(convoy_dataset_path(set, 3), "synthetic");
    convoy_dataset_free(set);
    assert_ok(convoy_dataset_open("synthetic", "test", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 256);
    convoy_dataset_free(set);
    convoy_dataset_options options = {
        .channels = 3, .height = 5, .width = 9, .synthetic_images = 40, .synthetic_classes = 4, .limit = 30};
    assert_ok(convoy_dataset_open("synthetic", "train", &options, &set));
    assert_int_equal(convoy_dataset_count(set), 30);
    assert_int_equal(convoy_dataset_channels(set), 3);
    assert_int_equal(convoy_dataset_width(set), 9);
    assert_int_equal(convoy_dataset_classes(set), 4);
    int labels[4] = {0};
    for (size_t i = 0; i < 30; i++)
        labels[convoy_dataset_label(set, i)]++;
    for (int c = 0; c < 4; c++)
        assert_in_range(labels[c], 1, 10);
    convoy_dataset_free(set);
}

/* An image is nearer to the training mean of its own class than to others' most of the time. */
static void synthetic_classes_can_be_learnt(void **state) {
    (void)state;
    enum { BYTES = 28 * 28, CLASSES = 10 };
    static double means[CLASSES][BYTES];
    convoy_dataset *train, *test;
    uint8_t image[BYTES];
    int per_class[CLASSES] = {0}, right = 0;
    assert_ok(convoy_dataset_open("synthetic", "train", NULL, &train));
    assert_ok(convoy_dataset_open("synthetic", "test", NULL, &test));
    for (size_t i = 0; i < convoy_dataset_count(train); i++) {
        int label = convoy_dataset_label(train, i);
        assert_ok(convoy_dataset_image(train, i, image));
        per_class[label]++;
        for (int p = 0; p < BYTES; p++)
            means[label][p] += image[p];
    }
    for (size_t i = 0; i < convoy_dataset_count(test); i++) {
        double nearest = INFINITY;
        int answer = -1;
        assert_ok(convoy_dataset_image(test, i, image));
        for (int c = 0; c < CLASSES; c++) {
            double distance = 0;
            for (int p = 0; p < BYTES; p++)
                distance += pow(image[p] - means[c][p] / per_class[c], 2);
            if (distance < nearest) {
                nearest = distance;
                answer = c;
            }
        }
        right += answer == convoy_dataset_label(test, i);
    }
    assert_true(right > 0.8 * (double)convoy_dataset_count(test));
    convoy_dataset_free(train);
    convoy_dataset_free(test);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(missing_sets_say_where_they_were_looked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(unrecognised_folders_say_what_they_hold, setup, teardown),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(synthetic_images_are_the_same_everywhere),
        cmocka_unit_test(synthetic_shapes_and_classes),
        cmocka_unit_test(synthetic_classes_can_be_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
