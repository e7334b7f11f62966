/* Work on several threads: everything is done once, and the failure that is told never depends on a race. */
#include "base/threads.h"

#include <stdatomic.h>
#include <time.h>

#include "convoy/log.h"
#include "support/test.h"

enum { COUNT = 1000 };

typedef struct job {
    atomic_int calls[COUNT];
    size_t bad; /* fails, and every one behind it that is begun; COUNT: none */
} job;

static convoy_status do_one(void *context, size_t index) {
    job *j = context;
    j->calls[index]++;
    return index < j->bad ? CONVOY_OK : cvy_fail(CONVOY_IO, "number %zu", index);
}

static void everything_once(void **state) {
    (void)state;
    const int threads[] = {0, 1, 2, 7, 1000};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        static job j;
        j = (job){.bad = COUNT};
        assert_ok(cvy_parallel("counting", COUNT, threads[t], do_one, &j));
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(j.calls[i], 1);
    }
    assert_ok(cvy_parallel("nothing", 0, 4, do_one, NULL));
}

static void first_failure_is_told(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        static job j;
        j = (job){.bad = 20};
        assert_fails(cvy_parallel("counting", COUNT, 4, do_one, &j), CONVOY_IO, "number 20");
    }
}

static char told[128];

static void hear(void *context, convoy_log_level level, const char *message) {
    (void)context, (void)level;
    snprintf(told, sizeof told, "%s", message);
}

static convoy_status wait_a_while(void *context, size_t index) {
    (void)context, (void)index;
    nanosleep(&(struct timespec){.tv_nsec = 400 * 1000 * 1000}, NULL);
    return CONVOY_OK;
}

/* After a second. */
static void long_work_says_how_far_it_is(void **state) {
    (void)state;
    convoy_log_set_sink(hear, NULL);
    assert_ok(cvy_parallel("waiting", 2, 1, wait_a_while, NULL));
    assert_string_equal(told, "");
    assert_ok(cvy_parallel("waiting", 4, 1, wait_a_while, NULL));
    convoy_log_set_sink(NULL, NULL);
    assert_string_equal(told, "waiting: 3 of 4");
}

static void failures_by_place(void **state) {
    (void)state;
    cvy_failure failure = {0};
    assert_ok(cvy_failure_tell(&failure));
    cvy_failure_note(&failure, 5, cvy_fail(CONVOY_IO, "five"));
    cvy_failure_note(&failure, 7, cvy_fail(CONVOY_INVALID, "seven"));
    cvy_failure_note(&failure, 3, cvy_fail(CONVOY_MEMORY, "three"));
    cvy_fail(CONVOY_FAILED, "another");
    assert_fails(cvy_failure_tell(&failure), CONVOY_MEMORY, "three");
    cvy_failure_clear(&failure);
    assert_ok(cvy_failure_tell(&failure));
}

static void count_up(void *context) {
    ++*(atomic_int *)context;
}

static void groups(void **state) {
    (void)state;
    atomic_int count = 0;
    cvy_threads threads;
    cvy_threads_start(&threads, 5, count_up, &count);
    const int started = threads.count;
    cvy_threads_join(&threads);
    assert_int_equal(started, 5);
    assert_int_equal(count, 5);
    assert_int_equal(cvy_threads_wanted(9), 9);
    assert_in_range(cvy_threads_wanted(0), 1, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_once),
        cmocka_unit_test(first_failure_is_told),
        cmocka_unit_test(long_work_says_how_far_it_is),
        cmocka_unit_test(failures_by_place),
        cmocka_unit_test(groups),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
