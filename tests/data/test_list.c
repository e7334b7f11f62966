/* Photographs that CSV and list files name. */
#include <png.h>

#include "base/file.h"
#include "base/log.h"
#include "convoy/data.h"
#include "data/dataset.h"
#include "support/images.h"
#include "support/run.h"

static char *folder;
static char warned[512];

static void hear(void *context, convoy_log_level level, const char *message) {
    (void)context;
    if (level == CONVOY_LOG_WARNING)
        snprintf(warned, sizeof warned, "%s", message);
}

/* pictures/<i>.png of value 10 * i, for i from 0 to 9. */
static int setup(void **state) {
    (void)state;
    folder = test_folder_create();
    convoy_log_set_sink(hear, NULL);
    for (int i = 0; i < 10; i++) {
        uint8_t pixels[16];
        char name[32];
        memset(pixels, 10 * i, sizeof pixels);
        snprintf(name, sizeof name, "pictures/%d.png", i);
        test_write_png(folder, name, 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    test_folder_remove(folder);
    convoy_log_set_sink(NULL, NULL);
    return 0;
}

/* "<class name>:<value / 10> ..." of a split. */
static const char *contents(const char *what, const char *split) {
    static char text[512];
    convoy_dataset *set;
    size_t length = 0;
    assert_ok(convoy_dataset_open(test_path(folder, what), split, NULL, &set));
    *text = '\0';
    for (size_t i = 0; i < convoy_dataset_count(set); i++) {
        uint8_t image[16];
        assert_ok(convoy_dataset_image(set, i, image));
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%s:%d", i ? " " : "",
                             convoy_dataset_class_name(set, convoy_dataset_label(set, i)), image[0] / 10);
    }
    convoy_dataset_free(set);
    return text;
}

static void expect_failure(const char *list, const char *split, const char *part) {
    convoy_dataset *set;
    test_write(folder, "bad.csv", list);
    assert_fails(convoy_dataset_open(test_path(folder, "bad.csv"), split, NULL, &set), CONVOY_INVALID, part);
}

/* Columns in any order, quotations, a byte order mark, Windows' line ends, empty lines. */
static void csv_with_a_header(void **state) {
    (void)state;
    test_write(folder, "x.csv",
               "\xef\xbb\xbfid,Label,\"File\",split\r\n"
               "1,\"cat, small\",pictures/3.png,train\r\n\r\n"
               "2,\"the \"\"dog\"\"\", pictures/1.png ,Training\r\n"
               "3,\"cat, small\",pictures/4.png,valid\n"
               "4,\"cat, small\",pictures/5.png,test");
    assert_string_equal(contents("x.csv", "train"), "cat, small:3 the \"dog\":1");
    assert_string_equal(contents("x.csv", "val"), "cat, small:4");
    assert_string_equal(contents("x.csv", "test"), "cat, small:5");
    assert_string_equal(contents("x.csv", "all"), "cat, small:3 the \"dog\":1 cat, small:4 cat, small:5");
    assert_true(cvy_list_has_validation(test_path(folder, "x.csv")));
    test_write(folder, "y.csv", "file;label\npictures/3.png;\"cat; small\"\npictures/1.png;a, b\n");
    assert_string_equal(contents("y.csv", "all"), "cat; small:3 a, b:1");
}

/* A path and a class's number on each line, as Caffe's lists; paths may have spaces. */
static void lists_without_a_header(void **state) {
    (void)state;
    const uint8_t pixels[16] = {70};
    test_write_png(folder, "a picture.png", 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    test_write(folder, "x.txt", "pictures/2.png 0\na picture.png 12\n");
    assert_string_equal(contents("x.txt", "all"), "0:2 12:7"); /* by number: as many as the highest says */
    test_write(folder, "x.lst", "pictures/2.png\t10\npictures/1.png\t9\n");
    assert_string_equal(contents("x.lst", "all"), "10:2 9:1");
    test_write(folder, "y.csv", "pictures/2.png,b\npictures/1.png,a\npictures/0.png,10\n");
    assert_string_equal(contents("y.csv", "all"), "b:2 a:1 10:0");
}

/* One list, without splits, is divided as a folder is. */
static void one_list_is_divided(void **state) {
    (void)state;
    char list[512] = "path,class\n";
    for (int i = 0; i < 10; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "pictures/%d.png,%c\n", i,
                 i < 5 ? 'a' : 'b');
    test_write(folder, "x.csv", list);
    convoy_dataset *set;
    bool seen[10] = {false};
    const char *const splits[] = {"train", "test"};
    for (int s = 0; s < 2; s++) {
        assert_ok(convoy_dataset_open(test_path(folder, "x.csv"), splits[s], NULL, &set));
        assert_int_equal(convoy_dataset_count(set), s ? 2 : 8);
        for (size_t i = 0; i < convoy_dataset_count(set); i++) {
            const int number = strrchr(convoy_dataset_path(set, i), '/')[1] - '0';
            assert_false(seen[number]);
            seen[number] = true;
            assert_int_equal(convoy_dataset_label(set, i), number >= 5);
        }
        convoy_dataset_free(set);
    }
    expect_failure("path,class\npictures/0.png,a\npictures/1.png,b\n", "test",
                   "bad.csv: no images for the test split: no class has more than one image");
    assert_non_null(strstr(convoy_error_message(), "evaluate all of them (--split all)"));
}

/* A folder with train.csv and test.csv; pictures may lie in a folder that is called as the list. */
static void a_folder_of_lists(void **state) {
    (void)state;
    uint8_t pixels[16] = {90};
    test_write_png(folder, "train/9.png", 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    test_write(folder, "train.csv", "image,label\n9.png,b\npictures/1.png,a\n");
    test_write(folder, "test.csv", "image,label\npictures/2.png,b\n");
    char *whole = folder;
    assert_string_equal(contents("", "train"), "b:9 a:1");
    assert_string_equal(contents("", "test"), "b:2");
    assert_string_equal(contents("train.csv", "test"), "b:2"); /* its neighbour */
    assert_false(cvy_list_has_validation(whole));
    test_write(folder, "val.csv", "image,label\npictures/3.png,a\n");
    assert_string_equal(contents("", "val"), "a:3");
    assert_true(cvy_list_has_validation(whole));
}

/* Where, and what. */
static void bad_lists_are_refused_by_line_and_column(void **state) {
    (void)state;
    expect_failure("", "train", "bad.csv: this list is empty");
    expect_failure("name,age\nx,1\n", "train",
                   "bad.csv:1:1: a picture and its class are expected, or a header");
    expect_failure("path,label\npictures/1.png\n", "train", "bad.csv:2: 1 columns, where the header has 2");
    expect_failure("path,label\npictures/1.png,a\npictures/2.png,\n", "train",
                   "bad.csv:3:16: the class is missing");
    expect_failure("path,label\npictures/1.png,\"a\n", "train", "bad.csv:2:16: this quotation has no end");
    expect_failure("path,label\n\"pictures/1.png\"x,a\n", "train",
                   "bad.csv:2:17: after a quotation a field ends");
    expect_failure("path,label,split\npictures/1.png,a,dev\n", "train",
                   "bad.csv:2:18: split `dev`: expected train, val or test");
    expect_failure("path,label\npictures/1.png,a\n", "train", "1 class; a classifier needs at least two");
    const char *const split = "path,label,split\npictures/1.png,0,train\npictures/2.png,1,train\n"
                              "pictures/3.png,2,test\n";
    expect_failure(split, "test", "bad.csv:4:16: class 2 is out of range: the training images have 0 to 1");
    expect_failure(
        "path,label,split\npictures/1.png,a,train\npictures/2.png,b,train\npictures/3.png,c,test\n", "test",
        "bad.csv:4:16: there is no class c among the training images");
    expect_failure("path,label,split\npictures/1.png,a,test\npictures/2.png,b,test\n", "train",
                   "it lists pictures to test with, but none to train with");
    expect_failure("path,label\npictures/1.png,a\npictures/2.png,b\n", "test",
                   "bad.csv: no images for the test split");
    convoy_dataset *set;
    test_write_file(folder, "x.bin", "a\0b", 3);
    assert_fails(convoy_dataset_open(test_path(folder, "x.bin"), "train", NULL, &set), CONVOY_INVALID,
                 "x.bin: neither a folder nor a list of pictures: it is no text");
}

/* All of them in one run; or they are left out, and counted. */
static void missing_pictures_are_named(void **state) {
    (void)state;
    const char *const list =
        "path,label\npictures/1.png,a\npictures/11.png,a\npictures/2.png,b\nelsewhere.png,b\n";
    convoy_dataset *set;
    expect_failure(list, "all", "bad.csv: missing pictures: 2 (--skip-damaged leaves them out)");
    assert_non_null(strstr(convoy_error_message(), "bad.csv:3: there is no picture pictures/11.png"));
    assert_non_null(strstr(convoy_error_message(), "bad.csv:5: there is no picture elsewhere.png"));
    assert_ok(convoy_dataset_open(test_path(folder, "bad.csv"), "all",
                                  &(convoy_dataset_options){.skip_damaged = 1}, &set));
    assert_int_equal(convoy_dataset_count(set), 2);
    assert_non_null(strstr(warned, "missing pictures, which are left out: 2"));
    convoy_dataset_free(set);
}

/* Once for a set, where its two classes are told; not for files of one name beside two lists. */
static void repeats_are_warned_of(void **state) {
    (void)state;
    const uint8_t pixels[16] = {90};
    test_write(folder, "x.csv",
               "path,label\npictures/1.png,a\npictures/2.png,b\npictures/3.png,b\npictures/1.png,a\n"
               "pictures/2.png,a\npictures/4.png,a\n");
    *warned = '\0';
    contents("x.csv", "test");
    assert_string_equal(warned, "");
    contents("x.csv", "train");
    assert_non_null(strstr(warned, "listed again: 2, such as pictures/2.png as b in "));
    assert_non_null(strstr(warned, "x.csv:3 and as a in "));
    assert_non_null(strstr(warned, "x.csv:6;"));
    test_write_png(folder, "train/9.png", 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    test_write_png(folder, "test/9.png", 4, 4, PNG_COLOR_TYPE_GRAY, 8, 0, pixels);
    test_write(folder, "train.csv", "image,label\n9.png,b\npictures/1.png,a\n");
    test_write(folder, "test.csv", "image,label\n9.png,b\n");
    *warned = '\0';
    contents("train.csv", "train");
    assert_string_equal(warned, "");
    test_write(folder, "test.csv", "image,label\npictures/1.png,a\n");
    contents("train.csv", "train");
    assert_non_null(strstr(warned, "test.csv:2"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(csv_with_a_header, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_without_a_header, setup, teardown),
        cmocka_unit_test_setup_teardown(one_list_is_divided, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_of_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_lists_are_refused_by_line_and_column, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_pictures_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(repeats_are_warned_of, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
