/* The progress bar on a terminal: one line that is rewritten and never wraps. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "support/command.h"

extern char **environ;

enum { COLUMNS = 70 };

/* Runs the command with a terminal as stderr, and returns what it wrote there. */
static char *run_on_terminal(char *const *argv, const char *out) {
    const struct winsize size = {.ws_row = 24, .ws_col = COLUMNS};
    int master = posix_openpt(O_RDWR | O_NOCTTY), status;
    if (master < 0)
        skip(); /* no pseudo-terminals here: /dev/pts is not mounted */
    assert_int_equal(grantpt(master) || unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
    posix_spawn_file_actions_t actions;
    pid_t process;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, slave, 2);
    posix_spawn_file_actions_addclose(&actions, slave);
    posix_spawn_file_actions_addclose(&actions, master);
    assert_int_equal(posix_spawn(&process, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(slave);
    char *text = calloc(1, 1 << 20);
    size_t length = 0;
    for (ssize_t got;
         length < (1 << 20) - 1 && (got = read(master, text + length, (1 << 20) - 1 - length)) > 0;)
        length += (size_t)got;
    close(master);
    assert_int_equal(waitpid(process, &status, 0), process);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return text;
}

static void draws_one_line(void **state) {
    (void)state;
    char *folder = test_folder_create();
    const char *model = test_tiny_model(folder, "tiny.yaml",
                                        "  optimizer: {SGD: {lr: 0.1}}\n  batch_size: 20\n  epochs: 2\n");
    const char *run = test_path(folder, "run"), *out = test_path(folder, "out");
    setenv("CONVOY_DEVICE", "cpu", 0);
    char *const argv[] = {CONVOY_BINARY_DIR "/convoy",
                          "train",
                          (char *)model,
                          "--limit-train",
                          "20000",
                          "--limit-test",
                          "50",
                          "--out",
                          (char *)run,
                          NULL};
    char *text = run_on_terminal(argv, out);
    int bars = 0;
    for (const char *bar = text; (bar = strchr(bar, '\r')); bar++) {
        const char *end = strstr(bar, "\033[K");
        if (strncmp(bar + 1, "epoch ", 6) != 0 || !end)
            continue;
        bars++;
        if (end - bar - 1 >= COLUMNS)
            fail_msg("a bar of %d columns on a terminal of %d: %.*s", (int)(end - bar - 1), COLUMNS,
                     (int)(end - bar - 1), bar + 1);
        const char *percent = strstr(bar, "%|"), *count = strstr(bar, "/20000 [");
        assert_true(percent && percent < end && count && count < end && strchr(count, '<') < end);
    }
    assert_true(bars >= 1);
    assert_non_null(strstr(text, "\r\033[Kepoch 1/2  train loss ")); /* the bar makes room for lines */
    free(text);
    test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_one_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
