/* Child processes: answers, failures, crashes, hangs, memory that is refused, no helper. This program is its
   own helper. */
#include "base/child.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "support/test.h"

/* ---- Tasks ---- */

static convoy_status echo(cvy_child *parent, char *const *arguments) {
    const cvy_child_patience patience = {.limit = 60};
    cvy_child_answer answer;
    while (cvy_child_hear(parent, &patience, &answer) == CVY_CHILD_ANSWERED)
        cvy_child_say(parent, "%s%s %s", arguments[0], arguments[1], answer.line);
    return CONVOY_OK;
}

static convoy_status fails(cvy_child *parent, char *const *arguments) {
    (void)parent, (void)arguments;
    return cvy_fail(CONVOY_DEVICE, "one line\nand another");
}

static convoy_status exits(cvy_child *parent, char *const *arguments) {
    (void)parent, (void)arguments;
    _exit(3);
}

static convoy_status crashes(cvy_child *parent, char *const *arguments) {
    (void)parent, (void)arguments;
    abort();
}

static convoy_status hangs(cvy_child *parent, char *const *arguments) {
    (void)arguments;
    cvy_child_say(parent, "hanging");
    while (pause())
        ;
    return CONVOY_OK;
}

static convoy_status allocates(cvy_child *parent, char *const *arguments) {
    (void)arguments;
    const size_t bytes = (size_t)256 << 20;
    char *volatile memory = malloc(bytes);
    if (!memory)
        return cvy_fail_memory("the test", bytes);
    free(memory);
    cvy_child_say(parent, "allocated");
    return CONVOY_OK;
}

/* What it finds: where its output goes, and a variable. */
static convoy_status looks_around(cvy_child *parent, char *const *arguments) {
    char *out = realpath("/proc/self/fd/1", NULL), *err = realpath("/proc/self/fd/2", NULL);
    cvy_child_say(parent, "%s %s %s", out, err, getenv(arguments[0]));
    free(out);
    free(err);
    return CONVOY_OK;
}

static convoy_status nests(cvy_child *parent, char *const *arguments) {
    const cvy_child_patience patience = {.limit = 60};
    cvy_child_answer answer;
    cvy_child child;
    convoy_status status = cvy_child_start(&child, "hangs", NULL, NULL);
    if (!status && cvy_child_hear(&child, &patience, &answer) == CVY_CHILD_ANSWERED)
        status = hangs(parent, arguments);
    return status;
}

static const cvy_helper_task tasks[] = {
    {"echo", echo},
    {"fails", fails},
    {"exits", exits},
    {"crashes", crashes},
    {"hangs", hangs},
    {"allocates", allocates},
    {"looks_around", looks_around},
    {"nests", nests},
    {NULL, NULL},
};

/* ---- Tests ---- */

static const cvy_child_patience minute = {.limit = 60};
static cvy_child child;
static cvy_child_answer answer;

static cvy_child_event outcome_of(const char *task, const cvy_child_options *options) {
    assert_ok(cvy_child_start(&child, task, NULL, options));
    return cvy_child_hear(&child, &minute, &answer);
}

static void answers(void **state) {
    (void)state;
    const char *const arguments[] = {"a", "b", NULL};
    assert_ok(cvy_child_start(&child, "echo", arguments, NULL));
    assert_true(cvy_child_say(&child, "%d", 1));
    assert_true(cvy_child_say(&child, "two\tthree"));
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_ANSWERED);
    assert_string_equal(answer.line, "ab 1");
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_ANSWERED);
    assert_string_equal(answer.line, "ab two\tthree");
    cvy_child_end(&child);
    cvy_child_end(&child);
    assert_int_equal(child.id, 0);
}

static void long_lines_are_cut(void **state) {
    (void)state;
    const char *const arguments[] = {"", "", NULL};
    char text[2 * CVY_LINE_SIZE];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_ok(cvy_child_start(&child, "echo", arguments, NULL));
    assert_true(cvy_child_say(&child, "%s", text));
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_ANSWERED);
    assert_true(strlen(answer.line) > CVY_LINE_SIZE - 8);
    cvy_child_end(&child);
}

static void failures_come_with_their_message(void **state) {
    (void)state;
    assert_int_equal(outcome_of("fails", NULL), CVY_CHILD_FAILED);
    assert_int_equal(answer.status, CONVOY_DEVICE);
    assert_string_equal(convoy_error_message(), "one line and another");
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_DIED);
    assert_string_equal(cvy_child_ending(&child), "exit code 3");
    assert_int_equal(outcome_of("no_such_task", NULL), CVY_CHILD_FAILED);
    assert_non_null(strstr(convoy_error_message(), "no task `no_such_task`"));
    cvy_child_end(&child);
}

static void deaths_are_told_apart(void **state) {
    (void)state;
    assert_int_equal(outcome_of("exits", NULL), CVY_CHILD_DIED);
    assert_string_equal(cvy_child_ending(&child), "exit code 3");
    assert_int_equal(outcome_of("crashes", NULL), CVY_CHILD_DIED);
    assert_string_equal(cvy_child_ending(&child), "signal 6 (Aborted)");
    assert_int_equal(child.id, 0);
}

static void what_hangs_is_ended(void **state) {
    (void)state;
    const cvy_child_patience short_one = {.limit = 0.05};
    assert_int_equal(outcome_of("hangs", NULL), CVY_CHILD_ANSWERED);
    assert_int_equal(cvy_child_hear(&child, &short_one, &answer), CVY_CHILD_LATE);
    assert_int_equal(child.id, 0);
    assert_string_equal(cvy_child_ending(&child), "signal 9 (Killed)");
}

static void waiting_can_be_stopped(void **state) {
    (void)state;
    volatile int interrupt = 1;
    const cvy_child_patience interrupted = {.limit = 60, .interrupt = &interrupt};
    assert_int_equal(outcome_of("hangs", NULL), CVY_CHILD_ANSWERED);
    assert_int_equal(cvy_child_hear(&child, &interrupted, &answer), CVY_CHILD_STOPPED);
    assert_int_equal(child.id, 0);
    const cvy_child_patience over = {.limit = 60, .deadline = cvy_seconds() - 1};
    assert_int_equal(outcome_of("hangs", NULL), CVY_CHILD_ANSWERED);
    assert_int_equal(cvy_child_hear(&child, &over, &answer), CVY_CHILD_STOPPED);
    assert_int_equal(child.id, 0);
}

static void memory_is_limited(void **state) {
    (void)state;
    if (dlsym(RTLD_DEFAULT, "__asan_init"))
        skip(); /* AddressSanitizer's shadow alone is larger than any limit */
    assert_int_equal(outcome_of("allocates", &(cvy_child_options){.memory = (size_t)128 << 20}),
                     CVY_CHILD_FAILED);
    assert_int_equal(answer.status, CONVOY_MEMORY);
    cvy_child_end(&child);
    assert_int_equal(outcome_of("allocates", NULL), CVY_CHILD_ANSWERED);
    cvy_child_end(&child);
}

static void it_prints_nothing_and_has_its_environment(void **state) {
    (void)state;
    static const char *const environment[] = {"TEST_CHILD=new", NULL}, *const arguments[] = {"TEST_CHILD",
                                                                                             NULL};
    setenv("TEST_CHILD", "old", 1);
    assert_ok(
        cvy_child_start(&child, "looks_around", arguments, &(cvy_child_options){.environment = environment}));
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_ANSWERED);
    assert_string_equal(answer.line, "/dev/null /dev/null new");
    /* The same process does another task. */
    assert_true(cvy_child_go_on(&child, "echo", (const char *const[]){"a", "b", NULL}));
    assert_true(cvy_child_say(&child, "c"));
    assert_int_equal(cvy_child_hear(&child, &minute, &answer), CVY_CHILD_ANSWERED);
    assert_string_equal(answer.line, "ab c");
    cvy_child_end(&child);
}

/* A pipe that parent, child and grandchild hold open is closed once the last of them is gone. */
static void children_die_with_their_parent(void **state) {
    (void)state;
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(outcome_of("nests", NULL), CVY_CHILD_ANSWERED);
    close(ends[1]);
    struct pollfd closed = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&closed, 1, 0), 0);
    cvy_child_end(&child);
    assert_int_equal(poll(&closed, 1, 30000), 1);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

static void no_helper(void **state) {
    (void)state;
    char *before = strdup(getenv("CONVOY_HELPER"));
    setenv("CONVOY_HELPER", "/nowhere/convoy-helper", 1);
    assert_false(cvy_child_possible());
    assert_fails(cvy_child_start(&child, "echo", NULL, NULL), CONVOY_FAILED, "/nowhere/convoy-helper");
    assert_int_equal(child.id, 0);
    setenv("CONVOY_HELPER", "/dev/null", 1);
    assert_fails(cvy_child_start(&child, "echo", NULL, NULL), CONVOY_FAILED, "CONVOY_HELPER");
    unsetenv("CONVOY_HELPER"); /* the real one lies beside this program */
    assert_int_equal(outcome_of("no_such_task", NULL), CVY_CHILD_FAILED);
    assert_non_null(strstr(convoy_error_message(), "convoy-helper has no task"));
    cvy_child_end(&child);
    setenv("CONVOY_HELPER", before, 1);
    free(before);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return cvy_helper_main(tasks, argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(failures_come_with_their_message),
        cmocka_unit_test(deaths_are_told_apart),
        cmocka_unit_test(what_hangs_is_ended),
        cmocka_unit_test(waiting_can_be_stopped),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(it_prints_nothing_and_has_its_environment),
        cmocka_unit_test(children_die_with_their_parent),
        cmocka_unit_test(no_helper),
    };
    char *self = cvy_machine_code_path();
    assert_non_null(self);
    setenv("CONVOY_HELPER", self, 1);
    free(self);
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
