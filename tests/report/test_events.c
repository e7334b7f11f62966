/* Event files byte for byte as TensorBoard's own writer makes them (tools/record_events.py). */
#include "support/run.h"
#include "support/test.h"

#include <unistd.h>

#include "report/events.h"

#define DATA CONVOY_SOURCE_DIR "/tests/report/data"

static void checksums_are_castagnolis(void **state) {
    (void)state;
    unsigned char bytes[32] = {0};
    assert_int_equal(cvy_crc32c("", 0), 0);
    assert_int_equal(cvy_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(cvy_crc32c(bytes, 32), 0x8a9136aa); /* these three are RFC 3720's, B.4 */
    memset(bytes, 255, 32);
    assert_int_equal(cvy_crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(cvy_crc32c(bytes, 32), 0x46dd794e);
}

static void files_are_tensorboards(void **state) {
    (void)state;
    char *folder = test_folder_create();
    cvy_arena *arena = cvy_arena_create();
    cvy_history history;
    size_t size, offset = 0;
    char *expected = test_read_text(DATA "/events.bin", &size);
    assert_ok(cvy_history_read(arena, DATA "/metrics.csv", &history));
    for (uint64_t after = 0; after <= 600; after += 600) {
        char *path;
        size_t length;
        assert_ok(cvy_events_create(folder, after, 1.7e9, &path));
        assert_non_null(strstr(path, "/events.out.tfevents.1700000000."));
        assert_ok(cvy_events_add(path, &history, after / 100, 1.7e9)); /* 100 steps an epoch */
        char *written = test_read_text(path, &length);
        assert_true(offset + length <= size);
        assert_memory_equal(written, expected + offset, length);
        offset += length;
        assert_int_equal(unlink(path), 0);
        free(written);
        free(path);
    }
    assert_int_equal(offset, size);
    free(expected);
    cvy_arena_free(arena);
    test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_castagnolis),
        cmocka_unit_test(files_are_tensorboards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
