/* Formats are told apart by content, and names are matched with what is wanted. */
#include "weights/weights.h"

#include <math.h>
#include <zlib.h>

#include "base/file.h"
#include "support/run.h"

/* What a file of the old container begins with, and a tensor of 65535 values in it. */
#define LEGACY "\x80\2\x8a\n1234567890."
#define LITTLE "K\1.}\x8c\x0dlittle_endian\x88s."
#define FOUR "\x88\x88\x88\x88"
#define SIXTEEN FOUR FOUR FOUR FOUR
#define TENSOR(shape, strides)                                                                               \
    "ctorch._utils\n_rebuild_tensor_v2\n(("                                                                  \
    "\x8c\7storagectorch\nFloatStorage\n\x8c\1a\x8c\3cpuM\xff\xfftQ\x89" shape strides "\x89}tR"

static void other_formats_are_named(void **state) {
    (void)state;
    char *folder = test_folder_create();
    const struct {
        const char *name, *bytes, *message;
    } cases[] = {
        {"zip.pth", "PK\3\4 and so on", "torch.save"},
        {"old.pth", "\x80\2\x8a\nl\xfc\x9c", "cut short"},
        {"code.pth", "\x80\2\x8a\n1234567890.\x80\2cposix\nsystem\n", "`posix.system`, and nothing"},
        {"type.pth", LEGACY "ctorch\nComplexFloatStorage\n", "not known here, torch.ComplexFloatStorage"},
        {"none.pth", LEGACY LITTLE "}.].", "a file of torch.save without a state dict"},
        {"large.pth", LEGACY LITTLE "}\x8c\1w" TENSOR("M\xff\xff\x85", "K\1\x85") "s.].",
         "w: its storage is larger than the file"},
        {"shape.pth",
         LEGACY LITTLE TENSOR("(" SIXTEEN SIXTEEN SIXTEEN SIXTEEN "\x88t",
                              "(" SIXTEEN SIXTEEN SIXTEEN SIXTEEN "\x88t"),
         "_rebuild_tensor_v2 with arguments that are not known"},
        {"opcode.pth", "\x80\2\x8a\n1234567890.i", "the opcode 0x69"},
        {"lfs", "version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"},
        {"w.index.json", "{\"weight_map\": {\"a\": \"1-of-2\", \"b\": \"2-of-2\"}}",
         "the index of weights in 2 files, 1-of-2 and so on"},
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

/* A checkpoint in the old container: between the storages of its state dict are those of its optimizer. */
static void other_storages_are_passed_over(void **state) {
    (void)state;
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_load(CONVOY_SOURCE_DIR "/tests/fuzz/corpus/legacy/checkpoint.pth", &file));
    assert_int_equal(cvy_tensor_file_count(file), 7);
    const cvy_named_tensor weight = cvy_tensor_file_find(file, "0.weight"),
                           variance = cvy_tensor_file_find(file, "1.running_var"),
                           counter = cvy_tensor_file_find(file, "1.num_batches_tracked");
    assert_int_equal(weight.shape[1], 2);
    assert_true(fabsf(((float *)weight.data)[0] + 0.005293981f) < 1e-8f);
    assert_true(fabsf(((float *)weight.data)[1] - 0.379322886f) < 1e-7f);
    assert_true(*(float *)variance.data == 0.9f);
    assert_true(*(int64_t *)counter.data == 1);
    cvy_tensor_file_free(file);
}

/* By their endings, with all that they have; what PyTorch makes of them is for tools/compare_torchvision.py.
 */
static void files_are_written_by_their_ending(void **state) {
    (void)state;
    static const char *const names[] = {"w.pth", "w.pt", "w.safetensors", "w"};
    const char *const metadata[] = {"class_names", "[\"a\", \"\xc3\xa4\"]", "format", "pt", NULL};
    float w[] = {1, -2, 3, 4, 5, 6};
    int64_t n = (int64_t)1 << 40;
    const cvy_named_tensor tensors[] = {{"layer.weight", "F32", {3, 2, 1, 1}, 2, w, sizeof w, NULL},
                                        {"layer.count", "I64", {1, 1, 1, 1}, 0, &n, sizeof n, NULL},
                                        {"empty", "F32", {0, 2, 1, 1}, 2, w, 0, NULL}};
    char *folder = test_folder_create();
    for (size_t i = 0; i < 4; i++) {
        const char *path = test_path(folder, names[i]);
        cvy_tensor_file *file;
        char *bytes;
        size_t size;
        convoy_status status = cvy_tensor_file_save_as(path, tensors, 3, metadata);
        if (status && i < 2 && strstr(convoy_error_message(), "libzip"))
            continue; /* a build without */
        assert_ok(status);
        assert_ok(cvy_file_read(path, 1 << 20, &bytes, &size));
        assert_true((memcmp(bytes, "PK", 2) == 0) == (i < 2));
        free(bytes);
        assert_ok(cvy_tensor_file_load(path, &file));
        assert_int_equal(cvy_tensor_file_count(file), 3);
        const cvy_named_tensor weight = cvy_tensor_file_find(file, "layer.weight"),
                               count = cvy_tensor_file_find(file, "layer.count");
        assert_int_equal(weight.shape[0], 3);
        assert_memory_equal(weight.data, w, sizeof w);
        assert_true(*(const int64_t *)count.data == n && count.dimensions == 0);
        assert_int_equal(cvy_tensor_file_find(file, "empty").bytes, 0);
        assert_string_equal(cvy_tensor_file_metadata(file, "class_names"), metadata[1]);
        const char **pairs = cvy_tensor_file_pairs(file);
        assert_true(pairs[3] && !pairs[4]);
        free(pairs);
        cvy_tensor_file_free(file);
    }
    const cvy_named_tensor odd = {"odd", "U64", {1, 1, 1, 1}, 1, &n, sizeof n, NULL};
    convoy_status status = cvy_tensor_file_save_as(test_path(folder, "odd.pth"), &odd, 1, NULL);
    assert_true(status == CONVOY_INVALID);
    assert_null(cvy_tensor_file_ending("w.bin"));
    assert_string_equal(cvy_tensor_file_ending("a.pth/w.safetensors"), "safetensors");
    test_folder_remove(folder);
}

/* Overwrites each place of `size` bytes that are `from`, and returns how many there were. */
static int replace_all(char *bytes, size_t length, const void *from, const void *to, size_t size) {
    int count = 0;
    for (char *at = bytes; at + size <= bytes + length; at++)
        if (memcmp(at, from, size) == 0) {
            memcpy(at, to, size);
            count++;
        }
    return count;
}

/* By the archive's checksum, unless that is 0: torch.serialization.set_crc32_options(False) has none
 * computed. */
static void a_flipped_bit_is_noticed(void **state) {
    (void)state;
    float w[] = {1, -2, 3, 4};
    const float flipped[] = {1, -2, 3, -4};
    const uint32_t sum = (uint32_t)crc32(0, (const unsigned char *)w, sizeof w), none = 0;
    const cvy_named_tensor tensor = {"w", "F32", {4, 1, 1, 1}, 1, w, sizeof w, NULL};
    char *folder = test_folder_create(), *bytes;
    const char *path = test_path(folder, "w.pth");
    cvy_tensor_file *file;
    size_t size;
    convoy_status status = cvy_tensor_file_save_as(path, &tensor, 1, NULL);
    if (status && strstr(convoy_error_message(), "libzip")) { /* a build without */
        test_folder_remove(folder);
        return;
    }
    assert_ok(status);
    assert_ok(cvy_file_read(path, 1 << 20, &bytes, &size));
    assert_int_equal(replace_all(bytes, size, w, flipped, sizeof w), 1);
    assert_ok(cvy_file_write(path, bytes, size));
    assert_fails(cvy_tensor_file_load(path, &file), CONVOY_INVALID,
                 "data/0: its bytes are damaged, as its checksum says");
    assert_int_equal(replace_all(bytes, size, &sum, &none, sizeof sum),
                     2); /* of the entry, and of the list */
    assert_ok(cvy_file_write(path, bytes, size));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_memory_equal(cvy_tensor_file_find(file, "w").data, flipped, sizeof flipped);
    cvy_tensor_file_free(file);
    free(bytes);
    test_folder_remove(folder);
}

/* Ties, subnormal numbers and ends, as torch's .half() and .bfloat16() have them. */
static void floats_are_rounded(void **state) {
    (void)state;
    static const float values[] = {1,         -0.0f,    65504,      65519,    0x1.002p0f,   0x1.006p0f,
                                   0x1p-24f,  0x1p-25f, 0x1.8p-25f, 0x3p-25f, 0x1.ffep-15f, 0x1.01p0f,
                                   0x1.03p0f, INFINITY, 3e38f};
    static const uint16_t f16[] = {0x3c00, 0x8000, 0x7bff, 0x7bff, 0x3c00, 0x3c02, 1,
                                   0,      1,      2,      0x400,  0x3c04, 0x3c0c, 0x7c00};
    static const uint16_t bf16[] = {0x3f80, 0x8000, 0x4780, 0x4780, 0x3f80, 0x3f80, 0x3380, 0x3300,
                                    0x3340, 0x33c0, 0x3880, 0x3f80, 0x3f82, 0x7f80, 0x7f62};
    enum { ALL = sizeof values / sizeof *values, FEW = sizeof f16 / sizeof *f16 };
    char *folder = test_folder_create();
    const char *path = test_path(folder, "w.safetensors");
    for (int brain = 0; brain < 2; brain++) {
        const size_t count = brain ? ALL : FEW;
        const cvy_named_tensor tensor = {
            "w", "F32", {count, 1, 1, 1}, 1, (void *)values, count * sizeof *values, NULL};
        cvy_tensor_file *file;
        assert_ok(cvy_tensor_file_save(path, &tensor, 1, NULL));
        assert_ok(cvy_tensor_file_load(path, &file));
        assert_ok(cvy_tensor_file_to_type(file, path, brain ? "BF16" : "F16"));
        const cvy_named_tensor halves = cvy_tensor_file_find(file, "w");
        assert_string_equal(halves.dtype, brain ? "BF16" : "F16");
        assert_memory_equal(halves.data, brain ? bf16 : f16, count * sizeof *f16);
        cvy_tensor_file_free(file);
    }
    const cvy_named_tensor tensor = {"w", "F32", {ALL, 1, 1, 1}, 1, (void *)values, sizeof values, NULL};
    cvy_tensor_file *file;
    assert_ok(cvy_tensor_file_save(path, &tensor, 1, NULL));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_fails(cvy_tensor_file_to_type(file, path, "F16"), CONVOY_INVALID,
                 "w has the value 3e+38, which is more than F16");
    cvy_tensor_file_free(file);
    test_folder_remove(folder);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_are_written_by_their_ending),
                                       cmocka_unit_test(a_flipped_bit_is_noticed),
                                       cmocka_unit_test(floats_are_rounded),
                                       cmocka_unit_test(other_formats_are_named),
                                       cmocka_unit_test(files_of_torch_save_are_read),
                                       cmocka_unit_test(other_storages_are_passed_over),
                                       cmocka_unit_test(damaged_files_of_torch_save_are_refused),
                                       cmocka_unit_test(no_length_of_a_header_is_another_format),
                                       cmocka_unit_test(a_screenful_is_listed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
