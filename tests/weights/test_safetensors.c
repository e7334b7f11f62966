/* safetensors files: what is written can be read, and what is wrong in a file is found before anything is
 * used. */
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "model/model.h"
#include "support/test.h"

static const char path[] = "weights.safetensors";

static void written_files_are_read(void **state) {
    (void)state;
    float floats[6] = {1, 2, 3, 4, 5, 6}, scalar = 7;
    int64_t integer = -5;
    uint8_t bytes[3] = {1, 2, 3};
    const cvy_named_tensor tensors[] = {
        {"bytes", "U8", {3, 1, 1, 1}, 1, bytes, 3, NULL},
        {"a \"b\" \xC3\xA4", "F32", {2, 3, 1, 1}, 2, floats, sizeof floats, NULL},
        {"none", "F32", {0, 1, 1, 1}, 1, floats, 0, NULL},
        {"scalar", "F32", {1, 1, 1, 1}, 0, &scalar, sizeof scalar, NULL},
        {"integer", "I64", {1, 1, 1, 1}, 0, &integer, sizeof integer, NULL},
    };
    const char *const metadata[] = {"epoch", "3", "who", "me", NULL};
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_save(path, tensors, 5, metadata));
    assert_ok(cvy_tensor_file_load(path, &file));
    assert_int_equal(cvy_tensor_file_count(file), 5);
    assert_string_equal(cvy_tensor_file_metadata(file, "epoch"), "3");
    assert_null(cvy_tensor_file_metadata(file, "absent"));
    for (size_t i = 0; i < 5; i++) {
        cvy_named_tensor found = cvy_tensor_file_find(file, tensors[i].name);
        assert_non_null(found.data);
        assert_string_equal(found.dtype, tensors[i].dtype);
        assert_int_equal(found.dimensions, tensors[i].dimensions);
        assert_memory_equal(found.shape, tensors[i].shape, sizeof found.shape);
        assert_int_equal(found.bytes, tensors[i].bytes);
        assert_memory_equal(found.data, tensors[i].data, found.bytes);
    }
    assert_string_equal(cvy_tensor_file_get(file, 0).name, "integer"); /* widest first */
    assert_null(cvy_tensor_file_find(file, "absent").data);
    cvy_tensor_file_free(file);
    unlink(path);
}

static void bad_tensors_are_not_written(void **state) {
    (void)state;
    float values[2] = {0};
    cvy_named_tensor tensors[2] = {{"a", "F32", {2, 1, 1, 1}, 1, values, 8, NULL},
                                   {"a", "F32", {2, 1, 1, 1}, 1, values, 8, NULL}};
    assert_fails(cvy_tensor_file_save(path, tensors, 2, NULL), CONVOY_INVALID, "two tensors are called a");
    tensors[1].name = "b";
    tensors[1].bytes = 4;
    assert_fails(cvy_tensor_file_save(path, tensors, 2, NULL), CONVOY_INVALID, "b has 4 bytes");
    tensors[1].bytes = 8;
    tensors[1].name = "\xFF";
    assert_fails(cvy_tensor_file_save(path, tensors, 2, NULL), CONVOY_INVALID, "UTF-8");
    assert_false(cvy_file_exists(path));
}

static void write_raw(uint64_t length, const char *header, size_t header_size, size_t data) {
    char *bytes = calloc(1, 8 + header_size + data);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> (8 * i));
    memcpy(bytes + 8, header, header_size);
    assert_ok(cvy_file_write(path, bytes, 8 + header_size + data));
    free(bytes);
}

static void check_bad(const char *header, size_t data, const char *message) {
    cvy_tensor_file *file = NULL;
    write_raw(strlen(header), header, strlen(header), data);
    assert_fails(cvy_tensor_file_load(path, &file), CONVOY_INVALID, message);
    assert_null(file);
    unlink(path);
}

#define ENTRY(dtype, shape, offsets)                                                                         \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void hostile_headers_are_refused(void **state) {
    (void)state;
    const struct {
        const char *header;
        size_t data;
        const char *message;
    } bad[] = {
        {"{", 0, "header"},
        {"[]", 0, "not a JSON object"},
        {"{\"a\":1}", 0, "a: its entry must have dtype, shape and data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "its entry must have"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 4, "header"},
        {"{\"a\":" ENTRY("F99", "[1]", "[0,4]") "}", 4, "unknown dtype \"F99\""},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,8]") "}", 4, "outside the file"},
        {"{\"a\":" ENTRY("F32", "[1]", "[4,0]") "}", 4, "outside the file"},
        {"{\"a\":" ENTRY("F32", "[1]", "[-4,0]") "}", 4, "two whole numbers"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4.0]") "}", 4, "two whole numbers"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0]") "}", 4, "its entry must have"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,4]") "}", 4, "shape and its data_offsets disagree"},
        {"{\"a\":" ENTRY("F32", "[-1]", "[0,4]") "}", 4, "list of whole numbers"},
        {"{\"a\":" ENTRY("F32", "[\"1\"]", "[0,4]") "}", 4, "list of whole numbers"},
        {"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "[0,4]") "}", 4, "too large"},
        {"{\"a\":" ENTRY("F32", "[4611686018427387905]", "[0,4]") "}", 4, "disagree"},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1]", "[0,4]") "}", 4, "5 dimensions"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("F32", "[2]", "[4,12]") "}", 12, "overlap"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY("F32", "[1]", "[8,12]") "}", 12, "hole"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 8, "belong to no tensor"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "strings"},
        {"{\"__metadata__\":[]}", 0, "must be an object"},
        {"{\"a\\u0000b\":" ENTRY("F32", "[1]", "[0,4]") "}", 4, "header"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_bad(bad[i].header, bad[i].data, bad[i].message);
}

static void hostile_lengths_are_refused(void **state) {
    (void)state;
    const uint64_t lengths[] = {3, 1000, (uint64_t)1 << 40, UINT64_MAX, UINT64_MAX - 7, 100000001};
    cvy_tensor_file *file = NULL;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_raw(lengths[i], "{}", 2, 0);
        assert_fails(cvy_tensor_file_load(path, &file), CONVOY_INVALID, "its header's length is impossible");
    }
    assert_ok(cvy_file_write(path, "1234567", 7));
    assert_fails(cvy_tensor_file_load(path, &file), CONVOY_INVALID, "shorter than 8 bytes");
    unlink(path);
    assert_fails(cvy_tensor_file_load(path, &file), CONVOY_IO, path);
}

/* A file cut anywhere, or with any one bit of its header turned over, is either refused or still consistent.
 */
static void damaged_files_do_no_harm(void **state) {
    (void)state;
    float values[4] = {1, 2, 3, 4};
    const cvy_named_tensor tensors[] = {{"a", "F32", {2, 1, 1, 1}, 1, values, 8, NULL},
                                        {"b", "F32", {1, 2, 1, 1}, 2, values, 8, NULL}};
    char *bytes;
    size_t size;
    cvy_tensor_file *file = NULL;
    assert_ok(cvy_tensor_file_save(path, tensors, 2, NULL));
    assert_ok(cvy_file_read(path, 1 << 20, &bytes, &size));
    for (size_t length = 0; length < size; length++) {
        assert_ok(cvy_file_write(path, bytes, length));
        assert_int_equal(cvy_tensor_file_load(path, &file), CONVOY_INVALID);
    }
    for (size_t bit = 0; bit < (size - 16) * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        assert_ok(cvy_file_write(path, bytes, size));
        if (cvy_tensor_file_load(path, &file) == CONVOY_OK) {
            size_t sum = 0;
            for (size_t i = 0; i < cvy_tensor_file_count(file); i++)
                sum += cvy_tensor_file_get(file, i).bytes;
            assert_int_equal(sum, 16);
            cvy_tensor_file_free(file);
        }
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    }
    free(bytes);
    unlink(path);
}

/* Other writers do not pad the header: the data must be aligned all the same. */
static void unaligned_data_are_read(void **state) {
    (void)state;
    cvy_tensor_file *file = NULL;
    for (int spaces = 0; spaces < 8; spaces++) {
        char header[128];
        snprintf(header, sizeof header, "{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}%*s", spaces, "");
        write_raw(strlen(header), header, strlen(header), 4);
        assert_ok(cvy_tensor_file_load(path, &file));
        assert_int_equal((uintptr_t)cvy_tensor_file_get(file, 0).data % 4, 0);
        assert_true(*(float *)cvy_tensor_file_get(file, 0).data == 0);
        cvy_tensor_file_free(file);
    }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_are_read),      cmocka_unit_test(bad_tensors_are_not_written),
        cmocka_unit_test(hostile_headers_are_refused), cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(damaged_files_do_no_harm),    cmocka_unit_test(unaligned_data_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
