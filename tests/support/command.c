/* The helpers of command.h. */
#include "support/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

extern char **environ;

static test_output latest;
static char *folder; /* of the output files */

static pid_t spawn(const char *out, const char *err, const char *const *arguments) {
    const char *argv[64] = {CONVOY_BINARY_DIR "/convoy"};
    const char *device = getenv("CONVOY_TEST_DEVICE");
    posix_spawn_file_actions_t actions;
    pid_t process;
    for (int i = 0; arguments[i]; i++) {
        assert_true(i + 2 < 64);
        argv[i + 1] = arguments[i];
    }
    setenv("CONVOY_DEVICE", device ? device : "cpu", 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int failed = posix_spawn(&process, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        fail_msg("%s cannot be started: %s", argv[0], strerror(failed));
    return process;
}

static int code_of(int status) {
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int test_wait(pid_t process) {
    int status;
    while (waitpid(process, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return code_of(status);
}

static void forget(void) {
    free(latest.out);
    free(latest.err);
    json_decref(latest.json);
    latest = (test_output){0};
}

void test_run_free(void) {
    forget();
    if (folder)
        test_folder_remove(folder);
    folder = NULL;
}

const test_output *test_run(const char *const *arguments) {
    size_t size;
    if (!folder)
        folder = test_folder_create();
    const char *out = test_path(folder, "out"), *err = test_path(folder, "err");
    forget();
    latest.code = test_wait(spawn(out, err, arguments));
    latest.out = test_read_text(out, &size);
    latest.err = test_read_text(err, NULL);
    latest.json = json_loadb(latest.out, size, 0, NULL);
    return &latest;
}

pid_t test_start(const char *err, const char *const *arguments) {
    return spawn("/dev/null", err, arguments);
}

void test_wait_for(pid_t process, const char *path, const char *text) {
    const struct timespec pause = {0, 2000000};
    for (double start = cvy_seconds(); cvy_seconds() - start < 60;) {
        char *found = cvy_file_exists(path) ? test_read_text(path, NULL) : NULL;
        bool there = found && strstr(found, text);
        int status;
        if (!there && waitpid(process, &status, WNOHANG) == process)
            fail_msg("ended with %d before \"%s\" was seen: %s", code_of(status), text, found ? found : "");
        free(found);
        if (there)
            return;
        nanosleep(&pause, NULL);
    }
    kill(process, SIGKILL);
    fail_msg("\"%s\" was not seen within a minute", text);
}

void test_keys(const json_t *object, const char *keys) {
    assert_true(json_is_object(object));
    size_t count = 0;
    char *copy = strdup(keys), *rest = copy, *key;
    while ((key = strsep(&rest, " "))) {
        if (!json_object_get(object, key))
            fail_msg("the key \"%s\" is missing", key);
        count++;
    }
    free(copy);
    if (json_object_size(object) != count)
        fail_msg("there are %zu keys, wanted are: %s", json_object_size(object), keys);
}
