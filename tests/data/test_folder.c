/* Photographs in class folders. */
#include <png.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "convoy/data.h"
#include "data/dataset.h"
#include "support/images.h"
#include "support/test.h"

enum { SIDE = 4 };

static char *folder;
static int warnings;
static char last_warning[512];

static void sink(void *context, convoy_log_level level, const char *message) {
    (void)context;
    if (level == CONVOY_LOG_WARNING)
        warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", message);
}

static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    warnings = 0;
    convoy_log_set_sink(sink, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_folder_remove(folder);
    convoy_log_set_sink(NULL, NULL);
    return 0;
}

/* A flat grey image of this value. */
static void write_image(const char *name, int value) {
    uint8_t data[SIDE * SIDE];
    memset(data, value, sizeof data);
    test_write_png(folder, name, SIDE, SIDE, PNG_COLOR_TYPE_GRAY, 8, 0, data);
}

/* <prefix><class>/<i>.png for each class, its value 10 * (class + 1) + i. */
static void write_classes(const char *prefix, const char *const *classes, int class_count, int images) {
    for (int c = 0; c < class_count; c++)
        for (int i = 0; i < images; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s/%d.png", prefix, classes[c], i);
            write_image(name, 10 * (c + 1) + i);
        }
}

static const char *const animals[] = {"ape", "bee", "cat"};

static int value_of(const convoy_dataset *set, size_t index) {
    uint8_t image[3 * 64];
    assert_ok(convoy_dataset_image(set, index, image));
    return image[0];
}

/* ---- Splits ---- */

static void train_and_test_folders_are_the_splits(void **state) {
    (void)state;
    const char *const others[] = {"test/", "val/"}; /* test/ goes first where there are both */
    for (int o = 1; o >= 0; o--) {
        convoy_dataset *set;
        write_classes("train/", animals, 3, 4);
        write_classes(others[o], animals + 1, 2, 2 - o);
        assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
        assert_int_equal(convoy_dataset_count(set), 12);
        assert_int_equal(convoy_dataset_classes(set), 3);
        assert_string_equal(convoy_dataset_class_name(set, 2), "cat");
        assert_int_equal(convoy_dataset_channels(set), 1);
        assert_int_equal(convoy_dataset_height(set), SIDE);
        for (size_t i = 0; i < 12; i++) {
            assert_int_equal(convoy_dataset_label(set, i), i / 4);
            assert_int_equal(value_of(set, i), 10 * (i / 4 + 1) + i % 4);
        }
        assert_non_null(strstr(convoy_dataset_path(set, 5), "/train/bee/1.png"));
        convoy_dataset_free(set);
        assert_ok(convoy_dataset_open(folder, "test", NULL, &set));
        assert_int_equal(convoy_dataset_count(set), 2 * (2 - o));
        assert_int_equal(convoy_dataset_classes(set), 3);
        assert_int_equal(convoy_dataset_label(set, 0), 1); /* classes are the training folder's */
        convoy_dataset_free(set);
    }
    assert_int_equal(warnings, 0);
}

static size_t count_of(const char *split) {
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, split, NULL, &set));
    const size_t count = convoy_dataset_count(set);
    convoy_dataset_free(set);
    return count;
}

static void training_is_judged_by_validation(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 4);
    write_classes("test/", animals, 3, 2);
    assert_int_equal(count_of("val"), 6); /* there is nothing better */
    write_classes("val/", animals, 3, 3);
    assert_int_equal(count_of("val"), 9);
    assert_int_equal(count_of("test"), 6);
    assert_true(cvy_folder_has_validation(folder));
}

static void validation_has_other_names(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 4);
    write_classes("validation/", animals, 3, 3);
    assert_int_equal(count_of("val"), 9);
    assert_int_equal(count_of("test"), 9); /* there is nothing else */
    assert_false(cvy_folder_has_validation(folder));
    write_classes("test/", animals, 3, 2);
    assert_int_equal(count_of("test"), 6);
    assert_int_equal(count_of("val"), 9);
    write_classes("valid/", animals, 3, 1); /* the shorter name goes first */
    assert_int_equal(count_of("val"), 3);
}

/* As Kaggle's sets have them. */
static void splits_have_other_names_in_any_case(void **state) {
    (void)state;
    write_classes("Training/", animals, 3, 4);
    write_classes("Testing/", animals, 3, 2);
    assert_int_equal(count_of("train"), 12);
    assert_int_equal(count_of("test"), 6);
    assert_int_equal(count_of("all"), 18);
    write_classes("VALID/", animals, 3, 1);
    assert_true(cvy_folder_has_validation(folder));
    assert_int_equal(count_of("val"), 3);
    assert_int_equal(count_of("all"), 21);
}

/* What has no class folders in it is no split, and may be a class. */
static void a_class_may_be_called_train(void **state) {
    (void)state;
    const char *const vehicles[] = {"car", "test", "train"};
    convoy_dataset *set;
    write_classes("", vehicles, 3, 4);
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_string_equal(convoy_dataset_class_name(set, 2), "train");
    convoy_dataset_free(set);
}

/* A folder to test with, alone: by its own split, or as one set. */
static void held_out_folders_are_read_whole(void **state) {
    (void)state;
    convoy_dataset *set;
    write_classes("test/", animals, 3, 2);
    assert_int_equal(count_of("test"), 6);
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID,
                 "there is test/ to test with, but no train/");
    char *test = cvy_path_join(folder, "test"), *whole = folder;
    folder = test;
    assert_int_equal(count_of("all"), 6);
    assert_int_equal(count_of("test"),
                     3); /* ceil(6 / 5) shared out, but none of a class of two is left out */
    folder = whole;
    free(test);
    assert_fails(convoy_dataset_open("synthetic", "all", NULL, &set), CONVOY_INVALID,
                 "that is for photographs in folders or lists; this is synthetic");
}

static void expect_failure(const char *part) {
    convoy_dataset *set;
    assert_fails(convoy_dataset_open(folder, "train", NULL, &set), CONVOY_INVALID, part);
    assert_null(set);
}

/* A class's images are those in its folder and in all below it, by folder and then by name. */
static void folders_in_a_class_belong_to_it(void **state) {
    (void)state;
    const char *const names[] = {
        "test/ape/0.png", "train/ape/9.png",     "train/ape/b/0.png",         "train/ape/b-c/1.png",
        "test/bee/0.png", "train/ape/b/x/2.png", "train/bee/only/below/3.png"};
    const int values[] = {9, 0, 1, 2, 3}; /* b, b-c, b/x: '-' comes before '/' */
    convoy_dataset *set;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        write_image(names[i], strrchr(names[i], '/')[1] - '0');
    write_image("train/ape/.hidden/7.png", 7);
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(value_of(set, i), values[i]);
        assert_int_equal(convoy_dataset_label(set, i), i == 4);
    }
    convoy_dataset_free(set);
    assert_int_equal(warnings, 0);
    char *link = cvy_path_join(folder, "train/bee/loop");
    assert_int_equal(symlink(".", link), 0);
    free(link);
    expect_failure("is one a link to its parent?");
}

/* Runs that began in the data's own folder are no class; a class may be called as theirs is. */
static void our_own_runs_are_no_class(void **state) {
    (void)state;
    static const char *const classes[] = {"jumps", "runs"};
    convoy_dataset *set;
    write_classes("", animals, 2, 4);
    const char *const runs[] = {"runs/m-1/model.yaml", "runs/m-1/metrics.csv", "out/model.yaml",
                                "out/metrics.csv"};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        test_write_file(folder, runs[i], "x", 1);
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_classes(set), 2);
    convoy_dataset_free(set);
    write_classes("sports/", classes, 2, 4);
    char *sports = cvy_path_join(folder, "sports");
    assert_ok(convoy_dataset_open(sports, "train", NULL, &set));
    assert_string_equal(convoy_dataset_class_name(set, 1), "runs");
    convoy_dataset_free(set);
    free(sports);
}

static void open_both(const convoy_dataset_options *options, convoy_dataset *sets[2]) {
    assert_ok(convoy_dataset_open(folder, "train", options, &sets[0]));
    assert_ok(convoy_dataset_open(folder, "test", options, &sets[1]));
}

static void close_both(convoy_dataset *sets[2]) {
    convoy_dataset_free(sets[0]);
    convoy_dataset_free(sets[1]);
}

/* Bit v is set where an image of value v is in the set. */
static uint64_t values_in(const convoy_dataset *set) {
    uint64_t bits = 0;
    for (size_t i = 0; i < convoy_dataset_count(set); i++)
        bits |= (uint64_t)1 << value_of(set, i);
    return bits;
}

static void a_single_tree_is_split_by_the_seed(void **state) {
    (void)state;
    convoy_dataset *sets[2], *again[2];
    write_classes("", animals, 3, 9);
    convoy_dataset_options options = {.test_fraction = 0.33, .seed = 5};
    open_both(&options, sets);
    assert_int_equal(convoy_dataset_count(sets[0]), 18);
    assert_int_equal(convoy_dataset_count(sets[1]), 9);
    uint64_t train = values_in(sets[0]), test = values_in(sets[1]);
    assert_true((train & test) == 0);
    for (int c = 0; c < 3; c++) /* three of nine of each class */
        assert_int_equal(__builtin_popcountll(test >> (10 * (c + 1)) & 0x1ff), 3);
    open_both(&options, again);
    assert_true(values_in(again[0]) == train && values_in(again[1]) == test);
    close_both(again);
    options.seed = 6;
    open_both(&options, again);
    assert_true(values_in(again[1]) != test);
    close_both(again);
    close_both(sets);
}

static void small_classes_keep_one_for_each_split(void **state) {
    (void)state;
    convoy_dataset *sets[2];
    write_classes("", animals, 2, 2);
    open_both(NULL, sets);
    assert_int_equal(convoy_dataset_count(sets[0]), 2);
    assert_int_equal(convoy_dataset_count(sets[1]), 2);
    close_both(sets);
}

/* scikit-learn's train_test_split(stratify=) holds out ceil(0.2 * 18) = 4 of 12 and 6 images, 3 and 1, where
   rounding by class would make it 2 and 1; and ceil(0.3 * 10) = 3 of 5, 3 and 2, one of each. */
static void the_split_is_rounded_as_a_whole(void **state) {
    (void)state;
    static const struct {
        int members[3];
        double fraction;
        int by_class;
        size_t held[3];
    } cases[] = {{{12, 6, 0}, 0.2, 0, {3, 1, 0}}, {{12, 6, 0}, 0.2, 1, {2, 1, 0}},
                 {{5, 3, 2}, 0.3, 0, {1, 1, 1}},  {{5, 5, 5}, 0.2, 0, {1, 1, 1}},
                 {{7, 9, 4}, 0.25, 0, {2, 2, 1}}, {{7, 9, 4}, 0.9, 0, {6, 8, 3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const convoy_dataset_options options = {.test_fraction = cases[i].fraction,
                                                .rounded_by_class = cases[i].by_class};
        convoy_dataset *sets[2];
        size_t held[3] = {0}, kept[3] = {0};
        char *whole = folder, name[8];
        snprintf(name, sizeof name, "%zu", i);
        folder = cvy_path_join(whole, name);
        for (int c = 0; c < 3; c++)
            write_classes("", animals + c, cases[i].members[c] > 0, cases[i].members[c]);
        open_both(&options, sets);
        for (size_t k = 0; k < convoy_dataset_count(sets[0]); k++)
            kept[convoy_dataset_label(sets[0], k)]++;
        for (size_t k = 0; k < convoy_dataset_count(sets[1]); k++)
            held[convoy_dataset_label(sets[1], k)]++;
        close_both(sets);
        for (int c = 0; c < 3; c++) {
            assert_int_equal(held[c], cases[i].held[c]);
            assert_int_equal(held[c] + kept[c], cases[i].members[c]);
        }
        free(folder);
        folder = whole;
    }
}

/* Debian's tuxpaint-stamps-default, as torchvision 0.29's ImageFolder reads it. */
static void tux_paints_stamps_are_read_as_image_folder_does(void **state) {
    (void)state;
    static const char *const stamps = "/usr/share/tuxpaint/stamps";
    static const size_t counts[] = {146, 19, 67, 13, 34, 5, 9, 3, 6, 39, 63, 16, 12, 247, 79, 38};
    const convoy_dataset_options options = {.height = 8, .width = 8, .channels = 3, .memory = 1};
    convoy_dataset *set;
    size_t found[16] = {0};
    if (!cvy_folder_exists(stamps))
        skip();
    assert_ok(convoy_dataset_open(stamps, "all", &options, &set));
    assert_int_equal(convoy_dataset_classes(set), 16);
    assert_int_equal(convoy_dataset_count(set), 796);
    assert_string_equal(convoy_dataset_class_name(set, 7), "naturalforces");
    for (size_t i = 0; i < 796; i++)
        found[convoy_dataset_label(set, i)]++;
    assert_memory_equal(found, counts, sizeof counts);
    convoy_dataset_free(set);
}

/* What a set knows of each photograph goes with it. */
static void a_part_keeps_the_sizes_of_its_photographs(void **state) {
    (void)state;
    uint8_t data[8 * 8] = {0};
    const convoy_dataset_options options = {
        .height = 2, .width = 2, .short_side = 4, .whole = 1, .channels = 1};
    convoy_dataset *set, *part;
    for (int i = 0; i < 8; i++)
        for (int c = 0; c < 2; c++) {
            char name[32];
            snprintf(name, sizeof name, "train/%s/%d.png", animals[c], i);
            test_write_png(folder, name, 4, i % 2 ? 8 : 6, PNG_COLOR_TYPE_GRAY, 8, 0, data);
        }
    write_classes("test/", animals, 2, 1);
    assert_ok(convoy_dataset_open(folder, "train", &options, &set));
    assert_ok(convoy_dataset_split(set, 0.4, 3, &part));
    const convoy_dataset *const both[] = {set, part};
    for (int s = 0; s < 2; s++) {
        assert_int_equal(both[s]->covers[0], 2);
        for (size_t i = 0; i < both[s]->count; i++) {
            const int number = strrchr(both[s]->paths[i], '/')[1] - '0';
            assert_int_equal(both[s]->extents[i][0], 4);
            assert_int_equal(both[s]->extents[i][1], number % 2 ? 8 : 6);
        }
    }
    convoy_dataset_free(set);
    convoy_dataset_free(part);
}

static void a_limit_spreads_over_the_classes(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 8);
    write_classes("test/", animals, 3, 2);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.limit = 6}, &set));
    assert_int_equal(convoy_dataset_count(set), 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(convoy_dataset_label(set, i), i / 2);
    convoy_dataset_free(set);
}

/* ---- Shapes and memory ---- */

static void images_are_brought_to_the_wanted_shape(void **state) {
    (void)state;
    uint8_t data[8 * 6 * 3];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(50 + i % 3 * 50);
    write_classes("", animals, 3, 3);
    test_write_jpeg(folder, "ape/0.JPEG", 8, 6, 3, 0, data);
    convoy_dataset_options options = {.channels = 3, .height = 8, .width = 8};
    convoy_dataset *kept, *streamed;
    assert_ok(convoy_dataset_open(folder, "train", &options, &kept));
    options.memory = 1;
    options.threads = 3;
    assert_ok(convoy_dataset_open(folder, "train", &options, &streamed));
    assert_int_equal(convoy_dataset_count(streamed), convoy_dataset_count(kept));
    for (size_t i = 0; i < convoy_dataset_count(kept); i++) {
        uint8_t a[3 * 64], b[3 * 64];
        assert_ok(convoy_dataset_image(kept, i, a));
        assert_ok(convoy_dataset_image(streamed, i, b));
        assert_memory_equal(a, b, sizeof a);
        bool jpeg = strstr(convoy_dataset_path(kept, i), ".JPEG") != NULL;
        if (jpeg) {
            assert_in_range(a[0], 46, 54);
            assert_in_range(a[191], 146, 154);
        } else {
            assert_int_equal(a[0], a[191]);
        }
    }
    convoy_dataset_free(kept);
    convoy_dataset_free(streamed);
}

/* ---- Bad folders ---- */

static void bad_folders_are_refused(void **state) {
    (void)state;
    write_classes("", animals, 1, 3);
    expect_failure("1 class folder; a classifier needs at least two");
    test_write_file(folder, "bee/.hidden.png", "", 0);
    expect_failure("/bee: no images in this class's folder");
    write_classes("", animals, 2, 3);
    test_write_file(folder, "bee/9.jpg", "", 0);
    convoy_dataset *set;
    convoy_dataset_options options = {.test_fraction = 0.01};
    bool in_train = convoy_dataset_open(folder, "train", &options, &set) != CONVOY_OK;
    if (!in_train) {
        convoy_dataset_free(set);
        assert_int_equal(convoy_dataset_open(folder, "test", &options, &set), CONVOY_INVALID);
    }
    assert_non_null(strstr(convoy_error_message(), "bee/9.jpg: the file is empty"));
}

static void a_test_class_must_be_a_training_class(void **state) {
    (void)state;
    const char *const dog[] = {"dog"};
    write_classes("train/", animals, 3, 2);
    write_classes("test/", dog, 1, 2);
    convoy_dataset *set;
    assert_fails(convoy_dataset_open(folder, "test", NULL, &set), CONVOY_INVALID,
                 "there is no class dog among the training images");
}

static void other_files_are_skipped_with_one_warning(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 2);
    write_classes("test/", animals, 3, 2);
    test_write_file(folder, "train/ape/notes.txt", "x", 1);
    test_write_file(folder, "train/cat/Thumbs.db", "x", 1);
    test_write_file(folder, "train/cat/.DS_Store", "x", 1);
    test_write_file(folder, "train/readme.md", "x", 1);
    convoy_dataset *set;
    assert_ok(convoy_dataset_open(folder, "train", NULL, &set));
    assert_int_equal(convoy_dataset_count(set), 6);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(last_warning, "skipped 2 files that are no images, such as"));
    convoy_dataset_free(set);
}

static void a_tree_that_is_split_here_warns_once(void **state) {
    (void)state;
    convoy_dataset *sets[2];
    write_classes("", animals, 3, 4);
    test_write_file(folder, "ape/notes.txt", "x", 1);
    open_both(NULL, sets);
    close_both(sets);
    assert_int_equal(warnings, 1);
}

/* The first damaged file in the order of the set is the one reported, however many threads decode. */
static void all_damaged_files_are_named_at_once(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 4);
    write_classes("test/", animals, 3, 1);
    test_write_file(folder, "train/ape/0.png", "RIFF....WEBPVP8 ", 16);
    test_write_file(folder, "train/cat/3.png", "GIF89a", 6);
    convoy_dataset *set;
    const convoy_dataset_options options = {.channels = 1, .height = 4, .width = 4};
    assert_fails(convoy_dataset_open(folder, "train", &options, &set), CONVOY_INVALID,
                 "2 images cannot be read");
    assert_non_null(strstr(convoy_error_message(), "ape/0.png: damaged WebP image"));
    assert_non_null(strstr(convoy_error_message(), "cat/3.png: damaged GIF image"));
}

/* Left out and counted, in memory or streamed, whole photographs or cropped ones. */
static void damaged_files_can_be_left_out(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 4);
    write_classes("test/", animals, 3, 1);
    test_write_file(folder, "train/ape/0.png", "x", 1);
    test_write_file(folder, "train/cat/3.png", "GIF89a", 6);
    for (int way = 0; way < 4; way++) {
        const convoy_dataset_options options = {
            .skip_damaged = 1, .memory = way % 2, .whole = way / 2, .threads = 2};
        convoy_dataset *set;
        warnings = 0;
        assert_ok(convoy_dataset_open(folder, "train", &options, &set));
        assert_int_equal(warnings, 1);
        assert_non_null(strstr(last_warning, "2 of 12 images cannot be read and are left out:"));
        assert_non_null(strstr(last_warning, "cat/3.png: damaged GIF"));
        assert_int_equal(convoy_dataset_count(set), 10);
        for (size_t i = 0; i < 10; i++) {
            const size_t at = i + 1; /* in the list with the first one */
            assert_int_equal(convoy_dataset_label(set, i), at / 4);
            assert_int_equal(value_of(set, i), 10 * (at / 4 + 1) + at % 4);
        }
        convoy_dataset_free(set);
    }
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "train/bee/%d.png", i);
        test_write_file(folder, name, "x", 1);
    }
    convoy_dataset *set;
    assert_fails(convoy_dataset_open(folder, "train", &(convoy_dataset_options){.skip_damaged = 1}, &set),
                 CONVOY_INVALID, "no image of class bee can be read");
}

static void the_first_damaged_file_is_reported(void **state) {
    (void)state;
    write_classes("train/", animals, 3, 9);
    write_classes("test/", animals, 3, 1);
    test_write_file(folder, "train/bee/2.png", "x", 1);
    test_write_file(folder, "train/bee/3.png", "x", 1);
    test_write_file(folder, "train/cat/7.png", "x", 1);
    for (int threads = 1; threads <= 4; threads++) {
        convoy_dataset *set;
        assert_fails(
            convoy_dataset_open(folder, "train", &(convoy_dataset_options){.threads = threads}, &set),
            CONVOY_INVALID, "train/bee/2.png: not an image");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(train_and_test_folders_are_the_splits, setup, teardown),
        cmocka_unit_test_setup_teardown(training_is_judged_by_validation, setup, teardown),
        cmocka_unit_test_setup_teardown(validation_has_other_names, setup, teardown),
        cmocka_unit_test_setup_teardown(splits_have_other_names_in_any_case, setup, teardown),
        cmocka_unit_test_setup_teardown(a_class_may_be_called_train, setup, teardown),
        cmocka_unit_test_setup_teardown(held_out_folders_are_read_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(the_split_is_rounded_as_a_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_files_can_be_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(tux_paints_stamps_are_read_as_image_folder_does, setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_keeps_the_sizes_of_its_photographs, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_in_a_class_belong_to_it, setup, teardown),
        cmocka_unit_test_setup_teardown(our_own_runs_are_no_class, setup, teardown),
        cmocka_unit_test_setup_teardown(a_single_tree_is_split_by_the_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(small_classes_keep_one_for_each_split, setup, teardown),
        cmocka_unit_test_setup_teardown(a_limit_spreads_over_the_classes, setup, teardown),
        cmocka_unit_test_setup_teardown(images_are_brought_to_the_wanted_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_folders_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_test_class_must_be_a_training_class, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_skipped_with_one_warning, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tree_that_is_split_here_warns_once, setup, teardown),
        cmocka_unit_test_setup_teardown(all_damaged_files_are_named_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_damaged_file_is_reported, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
