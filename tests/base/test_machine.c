/* What the operating system says about the machine. */
#include "base/machine.h"

#include <sched.h>

#include "support/test.h"

static void memory_is_what_the_system_says(void **state) {
    (void)state;
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "MemTotal: %llu kB", &kib), 1);
    fclose(file);
    assert_int_equal(cvy_machine_memory(), 1024 * kib);
}

static void cores_are_those_it_may_run_on(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(cvy_machine_cores(), CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cvy_machine_cores(), 1);
    sched_setaffinity(0, sizeof before, &before);
}

static void code_lies_in_this_program(void **state) {
    (void)state;
    char *path = cvy_machine_code_path();
    assert_non_null(path);
    assert_string_equal(path, CONVOY_BINARY_DIR "/base_test_machine");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_the_system_says),
        cmocka_unit_test(cores_are_those_it_may_run_on),
        cmocka_unit_test(code_lies_in_this_program),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
