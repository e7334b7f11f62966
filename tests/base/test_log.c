/* Levels, the sink, CONVOY_LOG, and that nothing is printed without a sink. Each case is a process of its
   own: the environment is read once. */
#include "support/test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

static void collect(void *context, convoy_log_level level, const char *message) {
    cvy_text_add(context, "%d:%s;", (int)level, message);
}

static void say_everything(void) {
    cvy_debug("d%d", 1);
    cvy_info("i%d", 2);
    cvy_warning("w%d", 3);
}

/* What a process prints to stdout and stderr that runs `body` with CONVOY_LOG=level (NULL: unset). */
static void run(const char *level, void (*body)(void), char *printed, size_t size) {
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_ends[1], STDOUT_FILENO);
        dup2(pipe_ends[1], STDERR_FILENO);
        level ? setenv("CONVOY_LOG", level, 1) : unsetenv("CONVOY_LOG");
        body();
        fflush(NULL);
        _exit(0);
    }
    close(pipe_ends[1]);
    size_t used = 0;
    for (ssize_t got; (got = read(pipe_ends[0], printed + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    printed[used] = '\0';
    close(pipe_ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void print(void *context, convoy_log_level level, const char *message) {
    (void)context;
    printf("%d:%s;", (int)level, message);
}

static void say_to_print(void) {
    convoy_log_set_sink(print, NULL);
    say_everything();
}

static void say_at_warning(void) {
    convoy_log_set_level(CONVOY_LOG_WARNING);
    say_to_print();
}

static void say_at_debug(void) {
    convoy_log_set_level(CONVOY_LOG_DEBUG);
    say_to_print();
}

static void say_to_sink(void) {
    cvy_text seen = {0};
    convoy_log_set_level(CONVOY_LOG_DEBUG);
    convoy_log_set_sink(collect, &seen);
    say_everything();
    convoy_log_set_sink(NULL, NULL);
    printf("%s\n", cvy_text_get(&seen));
    fflush(stdout);
    cvy_warning("nobody hears this");
    cvy_text_free(&seen);
}

static void without_a_sink_nothing_is_printed(void **state) {
    (void)state;
    char printed[256];
    run("debug", say_everything, printed, sizeof printed);
    assert_string_equal(printed, "");
}

static void default_level_is_info(void **state) {
    (void)state;
    char printed[256];
    run(NULL, say_to_print, printed, sizeof printed);
    assert_string_equal(printed, "1:i2;2:w3;");
}

static void level_drops_what_is_below(void **state) {
    (void)state;
    char printed[256];
    run(NULL, say_at_warning, printed, sizeof printed);
    assert_string_equal(printed, "2:w3;");
    run(NULL, say_at_debug, printed, sizeof printed);
    assert_string_equal(printed, "0:d1;1:i2;2:w3;");
}

static void environment_overrides_the_level(void **state) {
    (void)state;
    char printed[256];
    run("Debug", say_at_warning, printed, sizeof printed);
    assert_string_equal(printed, "0:d1;1:i2;2:w3;");
    run("warning", say_at_debug, printed, sizeof printed);
    assert_string_equal(printed, "2:w3;");
    run("nonsense", say_to_print, printed, sizeof printed);
    assert_string_equal(printed, "1:i2;2:w3;");
}

static void a_sink_gets_level_and_message(void **state) {
    (void)state;
    char printed[256];
    run(NULL, say_to_sink, printed, sizeof printed);
    assert_string_equal(printed, "0:d1;1:i2;2:w3;\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_sink_nothing_is_printed),
        cmocka_unit_test(default_level_is_info),
        cmocka_unit_test(level_drops_what_is_below),
        cmocka_unit_test(environment_overrides_the_level),
        cmocka_unit_test(a_sink_gets_level_and_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
