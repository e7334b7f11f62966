/* Formats are told apart by content, and names are matched with what is wanted. */
#include "weights/weights.h"

#include "support/run.h"

static void other_formats_are_named(void **state) {
    (void)state;
    char *folder = test_folder_create();
    const struct {
        const char *name, *bytes, *message;
    } cases[] = {{"zip.pth", "PK\3\4 and so on", "torch.save"},
                 {"old.pth", "\x80\2\x8a\nl\xfc\x9c", "torch.save"},
                 {"lfs", "version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"},
                 {"short", "abc", "shorter than 8 bytes"},
                 {"other", "something else", "its header's length is impossible"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cvy_tensor_file *file;
        const char *path = test_write(folder, cases[i].name, cases[i].bytes);
        assert_fails(cvy_tensor_file_load(path, &file), CONVOY_INVALID, cases[i].message);
        assert_non_null(strstr(convoy_error_message(), cases[i].name));
        assert_null(file);
    }
    test_folder_remove(folder);
}

/* Headers of 512 to 767 bytes, whose length begins as a pickle may, are read. */
static void no_length_of_a_header_is_another_format(void **state) {
    (void)state;
    char *folder = test_folder_create(), name[400];
    const char *path = test_path(folder, "w.safetensors");
    float value = 3;
    for (size_t length = 1; length < sizeof name; length += 4) {
        cvy_tensor_file *file;
        memset(name, 'n', length);
        name[length] = '\0';
        const cvy_named_tensor tensors[] = {{name, "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL},
                                            {"second", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL},
                                            {"third", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL},
                                            {"fourth", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL}};
        assert_ok(cvy_tensor_file_save(path, tensors, 4, NULL));
        assert_ok(cvy_tensor_file_load(path, &file));
        assert_non_null(cvy_tensor_file_find(file, name).data);
        cvy_tensor_file_free(file);
    }
    test_folder_remove(folder);
}

/* Fifty tensors, all but one missing: a screenful is listed, all are counted. */
static void a_screenful_is_listed(void **state) {
    (void)state;
    enum { COUNT = 50 };
    char *folder = test_folder_create(), names[COUNT][24];
    float value = 3;
    cvy_named_tensor wanted[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "layer%02d.weight", i);
        wanted[i] = (cvy_named_tensor){names[i], "F32", {1, 1, 1, 1}, 1, &value, sizeof value};
    }
    const cvy_named_tensor given[] = {
        {"x.layer00.weight", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL},
        {"y", "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL}};
    const char *path = test_path(folder, "w.safetensors");
    const void *found[COUNT];
    cvy_tensor_file *file;
    cvy_complaints complaints = {0};
    assert_ok(cvy_tensor_file_save(path, given, 2, NULL));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_ok(cvy_tensors_match(wanted, COUNT, file, "x.", found, &complaints));
    assert_true(found[0] && *(const float *)found[0] == 3 && !found[1]);
    assert_int_equal(complaints.count, COUNT - 1);
    assert_fails(cvy_complaints_end(&complaints, path, "a test"), CONVOY_INVALID,
                 "w.safetensors does not fit a test; 49 tensors are wrong:\n  missing layer01.weight");
    assert_non_null(strstr(convoy_error_message(), "layer20.weight\n  ..."));
    assert_null(strstr(convoy_error_message(), "layer21.weight"));
    complaints = (cvy_complaints){0};
    assert_ok(cvy_tensors_match(wanted, 1, file, "x.", found, &complaints));
    assert_ok(cvy_complaints_end(&complaints, path, "a test"));
    cvy_tensor_file_free(file);
    test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_formats_are_named),
                                       cmocka_unit_test(no_length_of_a_header_is_another_format),
                                       cmocka_unit_test(a_screenful_is_listed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
