/* Every file of tests/fuzz/corpus/, whole, cut short, and with bytes changed, through its parser: nothing
   crashes. What fuzzing finds becomes a file there. */
#include "fuzz/targets.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "support/test.h"

enum { CUTS = 16, FLIPS = 64 };

static void run_changed(const fuzz_target *target, const char *data, size_t size) {
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    target->run(copy, size);
    for (size_t i = 0; i < CUTS && size; i++)
        target->run(copy, size * i / CUTS);
    for (size_t i = 0; i < FLIPS && i < size; i++) {
        const size_t at = size < FLIPS ? i : size * i / FLIPS;
        copy[at] = (uint8_t)(copy[at] ^ (1u << i % 8));
        target->run(copy, size);
        memcpy(copy, data, size);
    }
    free(copy);
}

static void replay(void **state) {
    const fuzz_target *target = *state;
    char *root = cvy_path_join(CONVOY_SOURCE_DIR, "tests/fuzz/corpus"),
         *folder = cvy_path_join(root, target->name);
    char **names = NULL;
    size_t count = 0;
    assert_ok(cvy_folder_list(folder, &names, &count));
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        char *path = cvy_path_join(folder, names[i]), *data = NULL;
        size_t size = 0;
        assert_ok(cvy_file_read(path, 1 << 16, &data, &size));
        run_changed(target, data, size);
        free(data);
        free(path);
    }
    cvy_names_free(names, count);
    free(folder);
    free(root);
}

int main(void) {
    struct CMUnitTest tests[16] = {0};
    size_t count = 0;
    unsetenv("CONVOY_TUNE");
    if (!fuzz_begin())
        return 1;
    for (; fuzz_targets[count].name; count++)
        tests[count] = (struct CMUnitTest){.name = fuzz_targets[count].name,
                                           .test_func = replay,
                                           .initial_state = (void *)&fuzz_targets[count]};
    const int failed = _cmocka_run_group_tests("corpora", tests, count, NULL, NULL);
    fuzz_end();
    return failed;
}
