/* Formats are told apart by content, and names are matched with what is wanted. */
#include "weights/weights.h"

#include "base/file.h"
#include "support/run.h"

static void other_formats_are_named(void **state) {
    (void)state;
    char *folder = test_folder_create();
    const struct {
        const char *name, *bytes, *message;
    } cases[] = {{"zip.pth", "PK\3\4 and so on", "torch.save"},
                 {"old.pth", "\x80\2\x8a\nl\xfc\x9c", "cut short"},
                 {"code.pth", "\x80\2\x8a\n1234567890.\x80\2cposix\nsystem\n", "`posix.system`, and nothing"},
                 {"opcode.pth", "\x80\2\x8a\n1234567890.i", "the opcode 0x69"},
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

/* What tests/weights/record_pth.py wrote: a transposed matrix, a double and a counter. */
static void files_of_torch_save_are_read(void **state) {
    (void)state;
    static const char *const names[] = {"archive.pth", "legacy.pth"};
    static const float w[] = {0, 3, 1, 4, 2, 5};
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        cvy_tensor_file *file;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/weights/%s", CONVOY_SOURCE_DIR, names[i]);
        convoy_status status = cvy_tensor_file_load(path, &file);
        if (status && strstr(convoy_error_message(), "libzip"))
            continue; /* a build without */
        assert_ok(status);
        assert_int_equal(cvy_tensor_file_count(file), 3);
        const cvy_named_tensor matrix = cvy_tensor_file_find(file, "w"),
                               number = cvy_tensor_file_find(file, "b"),
                               counter = cvy_tensor_file_find(file, "n");
        assert_string_equal(matrix.dtype, "F32");
        assert_int_equal(matrix.shape[0], 3);
        assert_int_equal(matrix.shape[1], 2);
        assert_memory_equal(matrix.data, w, sizeof w);
        assert_string_equal(number.dtype, "F64");
        assert_true(*(double *)number.data == 0.5);
        assert_int_equal(counter.dimensions, 0);
        assert_true(*(int64_t *)counter.data == 7);
        cvy_tensor_file_free(file);
    }
}

/* Every beginning of a file, and the file with any byte changed, is refused or read, never more. */
static void damaged_files_of_torch_save_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"archive.pth", "legacy.pth"};
    char *folder = test_folder_create();
    const char *path = test_path(folder, "damaged.pth");
    for (size_t i = 0; i < 2; i++) {
        char source[512], *bytes;
        size_t size;
        cvy_tensor_file *file;
        snprintf(source, sizeof source, "%s/tests/fuzz/corpus/weights/%s", CONVOY_SOURCE_DIR, names[i]);
        assert_ok(cvy_file_read(source, 1 << 20, &bytes, &size));
        for (size_t length = 4; length < size; length += 3) {
            assert_ok(cvy_file_write(path, bytes, length));
            assert_int_equal(cvy_tensor_file_load(path, &file), CONVOY_INVALID);
        }
        for (size_t at = 4; at < size; at++) {
            bytes[at] ^= (char)(at * 37 | 1);
            assert_ok(cvy_file_write(path, bytes, size));
            convoy_status status = cvy_tensor_file_load(path, &file);
            assert_true(status == CONVOY_OK || status == CONVOY_INVALID || status == CONVOY_MEMORY);
            cvy_tensor_file_free(file);
            bytes[at] ^= (char)(at * 37 | 1);
        }
        free(bytes);
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
        wanted[i] = (cvy_named_tensor){names[i], "F32", {1, 1, 1, 1}, 1, &value, sizeof value, NULL};
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
    assert_ok(cvy_tensors_match(wanted, COUNT, file, "x.", found, &complaints, &complaints));
    assert_true(found[0] && *(const float *)found[0] == 3 && !found[1]);
    assert_int_equal(complaints.count, COUNT - 1);
    assert_fails(cvy_complaints_end(&complaints, path, "a test"), CONVOY_INVALID,
                 "w.safetensors does not fit a test; 49 tensors are wrong:\n  missing layer01.weight");
    assert_non_null(strstr(convoy_error_message(), "layer20.weight\n  ..."));
    assert_null(strstr(convoy_error_message(), "layer21.weight"));
    complaints = (cvy_complaints){0};
    assert_ok(cvy_tensors_match(wanted, 1, file, "x.", found, &complaints, &complaints));
    assert_ok(cvy_complaints_end(&complaints, path, "a test"));
    cvy_tensor_file_free(file);
    test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_formats_are_named), cmocka_unit_test(files_of_torch_save_are_read),
        cmocka_unit_test(damaged_files_of_torch_save_are_refused),
        cmocka_unit_test(no_length_of_a_header_is_another_format), cmocka_unit_test(a_screenful_is_listed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
