/* The cache of built programs: it is used, whatever is wrong with an entry only costs a build, and nothing is
   left to do at the end. */
#include "support/test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char folder[] = "/tmp/convoy-cache-XXXXXX";
static char *programs;

/* Builds the self-check's program. */
static convoy_device *open_device(void) {
    convoy_device *device = NULL;
    const char *selector = getenv("CONVOY_TEST_DEVICE");
    assert_ok(convoy_device_open(selector ? selector : "cpu", &device));
    return device;
}

static void open_once(void) {
    convoy_device_close(open_device());
}

static size_t count_entries(void) {
    char **names = NULL;
    size_t count = 0;
    if (cvy_folder_list(programs, &names, &count))
        return 0;
    cvy_names_free(names, count);
    return count;
}

/* The path of the only entry. */
static char *entry(void) {
    char **names = NULL;
    size_t count = 0;
    assert_ok(cvy_folder_list(programs, &names, &count));
    assert_int_equal(count, 1);
    char *path = cvy_path_join(programs, names[0]);
    cvy_names_free(names, count);
    return path;
}

static void damage_and_reopen(const char *what, size_t keep, int flip) {
    char *path = entry(), *good = NULL, *again = NULL;
    size_t size = 0, size_again = 0;
    assert_ok(cvy_file_read(path, SIZE_MAX / 2, &good, &size));
    assert_true(size > 40);
    if (flip)
        good[size / 2] ^= 0x55;
    assert_ok(cvy_file_write(path, good, keep < size ? keep : size));
    open_once();
    assert_ok(cvy_file_read(path, SIZE_MAX / 2, &again, &size_again));
    if (flip)
        good[size / 2] ^= 0x55;
    if (size_again <= 40 || (keep >= size && size_again == size && again[size / 2] != good[size / 2]))
        fail_msg("%s: the entry was not written again", what);
    free(good);
    free(again);
    free(path);
}

static int setup(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    programs = cvy_path_join(folder, "programs");
    setenv("CONVOY_CACHE_DIR", folder, 1);
    setenv("CONVOY_CACHE", "1", 1);
    open_once();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char *path = entry();
    remove(path);
    remove(programs);
    remove(folder);
    free(path);
    free(programs);
    return 0;
}

static void test_truncated_entry_is_rebuilt(void **state) {
    (void)state;
    damage_and_reopen("empty", 0, 0);
    damage_and_reopen("half a header", 20, 0);
    damage_and_reopen("header only", 40, 0);
}

static void test_corrupt_entry_is_rebuilt(void **state) {
    (void)state;
    damage_and_reopen("flipped byte", SIZE_MAX, 1);
}

static void test_good_entry_is_kept(void **state) {
    (void)state;
    char *path = entry(), *before = NULL, *after = NULL;
    size_t size = 0, size_after = 0;
    assert_ok(cvy_file_read(path, SIZE_MAX / 2, &before, &size));
    open_once();
    assert_ok(cvy_file_read(path, SIZE_MAX / 2, &after, &size_after));
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    free(path);
}

static void test_processes_share_the_folder(void **state) {
    (void)state;
    char *path = entry();
    remove(path);
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) { /* drivers do not survive a fork: a fresh image of this program */
            execl("/proc/self/exe", "test_program_cache", "open", (char *)NULL);
            _exit(127);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status = -1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    free(path);
    free(entry()); /* exactly one file, no temporary ones */
}

static void test_entries_are_written_before_the_device_closes(void **state) {
    (void)state;
    char *path = entry();
    remove(path);
    convoy_device *device = open_device();
    const bool written = cvy_file_exists(path);
    convoy_device_close(device);
    assert_true(written);
    free(path);
}

/* To get a program out of such a driver may take longer than the run did. */
static void test_a_driver_with_a_cache_keeps_its_programs(void **state) {
    (void)state;
    char *path = entry();
    remove(path);
    unsetenv("CONVOY_CACHE");
    convoy_device *device = open_device();
    const bool keeps = cvy_device_get_traits(device)->quirks & (CVY_QUIRK_OWN_CACHE | CVY_QUIRK_INTERPRETS);
    convoy_device_close(device);
    const size_t entries = count_entries();
    setenv("CONVOY_CACHE", "1", 1);
    open_once();
    assert_int_equal(entries, keeps ? 0 : 1);
    free(path);
}

static void test_unwritable_folder_is_not_fatal(void **state) {
    (void)state;
    setenv("CONVOY_CACHE_DIR", "/proc/no-such-folder", 1);
    open_once();
    setenv("CONVOY_CACHE_DIR", folder, 1);
}

/* With an argument: one of the processes that share the folder. */
int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        convoy_device *device = NULL;
        const char *selector = getenv("CONVOY_TEST_DEVICE");
        convoy_status status = convoy_device_open(selector ? selector : "cpu", &device);
        if (status == CONVOY_OK)
            convoy_device_close(device);
        return status == CONVOY_OK ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_entry_is_rebuilt),
        cmocka_unit_test(test_corrupt_entry_is_rebuilt),
        cmocka_unit_test(test_good_entry_is_kept),
        cmocka_unit_test(test_processes_share_the_folder),
        cmocka_unit_test(test_entries_are_written_before_the_device_closes),
        cmocka_unit_test(test_a_driver_with_a_cache_keeps_its_programs),
        cmocka_unit_test(test_unwritable_folder_is_not_fatal),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
