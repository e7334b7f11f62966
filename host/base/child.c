/* Finding the helper, starting it, talking with it, ending it; and the main function of helpers. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"

extern char **environ;

static const char failed[] = "failed\t"; /* begins a line "failed <status> <message>" */

/* ---- Finding the helper ---- */

/* malloc'ed; NULL: there is none, and `tried` tells where it was looked for. */
static char *find_helper(cvy_text *tried) {
    const char *wish = getenv("CONVOY_HELPER");
    if (wish && *wish) {
        cvy_text_add(tried, "$CONVOY_HELPER, which is %s", wish);
        return access(wish, X_OK) == 0 ? strdup(wish) : NULL;
    }
    return cvy_machine_find("convoy-helper", tried);
}

bool cvy_child_possible(void) {
    cvy_text tried = {0};
    char *helper = find_helper(&tried);
    cvy_text_free(&tried);
    free(helper);
    return helper;
}

/* ---- Starting and ending ---- */

static bool is_replaced(const char *variable, const char *const *changes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strncmp(variable, changes[i], strcspn(changes[i], "=") + 1) == 0)
            return true;
    return false;
}

static const char **make_environment(const char *const *changes) {
    size_t count = 0, changed = 0, used;
    while (environ && environ[count])
        count++;
    while (changes && changes[changed])
        changed++;
    const char **list = calloc(count + changed + 1, sizeof *list);
    if (!list)
        return NULL;
    for (used = 0; used < changed; used++)
        list[used] = changes[used];
    for (size_t i = 0; i < count; i++)
        if (!is_replaced(environ[i], changes, changed))
            list[used++] = environ[i];
    return list;
}

/* "<helper> <task> <memory> <arguments...>" */
static const char **make_command(const char *helper, const char *task, const char *memory,
                                 const char *const *arguments) {
    size_t count = 0;
    while (arguments && arguments[count])
        count++;
    const char **list = calloc(count + 4, sizeof *list);
    if (!list)
        return NULL;
    list[0] = helper;
    list[1] = task;
    list[2] = memory;
    for (size_t i = 0; i < count; i++)
        list[3 + i] = arguments[i];
    return list;
}

/* In a process group of its own, so that Ctrl-C ends only the one that asks. */
static int spawn(const char *const *argv, const char *const *environment, int socket, pid_t *id) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, socket, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    const int code =
        posix_spawn(id, argv[0], &actions, &attributes, (char *const *)argv, (char *const *)environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

convoy_status cvy_child_start(cvy_child *child, const char *task, const char *const *arguments,
                              const cvy_child_options *options) {
    const cvy_child_options plain = {0}, *o = options ? options : &plain;
    convoy_status status = CONVOY_OK;
    int sockets[2] = {-1, -1}, code = 0;
    const char **argv = NULL, **environment = NULL;
    char memory[24];
    cvy_text tried = {0};
    *child = (cvy_child){0};
    snprintf(memory, sizeof memory, "%zu", o->memory);
    char *helper = find_helper(&tried);
    if (!helper) {
        status = cvy_fail(CONVOY_FAILED,
                          "convoy-helper, in which %s runs, was not found; looked for: %s; $CONVOY_HELPER "
                          "can name it",
                          task, cvy_text_get(&tried));
        goto done;
    }
    argv = make_command(helper, task, memory, arguments);
    environment = make_environment(o->environment);
    if (!argv || !environment) {
        status = cvy_fail_memory("starting a process", sizeof *argv);
        goto done;
    }
    code = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) ? errno : 0;
    if (!code)
        code = spawn(argv, environment, sockets[1], &child->id);
    if (code) {
        child->id = 0;
        status = cvy_fail(CONVOY_FAILED, "%s cannot be started: %s", helper, strerror(code));
        goto done;
    }
    child->socket = sockets[0];
    sockets[0] = -1;
done:
    for (int i = 0; i < 2; i++)
        if (sockets[i] >= 0)
            close(sockets[i]);
    cvy_text_free(&tried);
    free(environment);
    free(argv);
    free(helper);
    return status;
}

convoy_status cvy_child_fork(cvy_child *child, bool *inside) {
    int sockets[2] = {-1, -1};
    const pid_t parent = getpid();
    *child = (cvy_child){0};
    *inside = false;
    fflush(NULL); /* what waits in a buffer is written once */
    const bool paired = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0;
    const pid_t id = paired ? fork() : -1;
    if (id < 0) {
        const int reason = errno;
        for (int i = 0; i < 2 && paired; i++)
            close(sockets[i]);
        return cvy_fail(CONVOY_FAILED, "a process cannot be started: %s", strerror(reason));
    }
    *inside = id == 0;
    child->id = id;
    child->socket = sockets[*inside];
    close(sockets[!*inside]);
    if (*inside) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            raise(SIGKILL); /* it has died meanwhile */
    }
    return CONVOY_OK;
}

void cvy_child_end(cvy_child *child) {
    if (child->id <= 0)
        return;
    close(child->socket);
    /* What hangs in a driver hears nothing else. One that is dying already keeps its own ending. */
    kill(child->id, SIGKILL);
    while (waitpid(child->id, &child->ending, 0) < 0 && errno == EINTR)
        ;
    child->id = 0;
    child->used = 0;
}

const char *cvy_child_ending(const cvy_child *child) {
    static _Thread_local char text[96];
    if (WIFSIGNALED(child->ending))
        snprintf(text, sizeof text, "signal %d (%s)", WTERMSIG(child->ending),
                 strsignal(WTERMSIG(child->ending)));
    else
        snprintf(text, sizeof text, "exit code %d", WEXITSTATUS(child->ending));
    return text;
}

/* ---- Talking ---- */

bool cvy_child_say(cvy_child *child, const char *format, ...) {
    char line[CVY_LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return false;
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    return send(child->socket, line, (size_t)length, MSG_NOSIGNAL) == length;
}

void cvy_child_say_failure(cvy_child *parent, convoy_status status) {
    char message[512];
    snprintf(message, sizeof message, "%s", convoy_error_message());
    for (char *c = message; (c = strchr(c, '\n'));)
        *c = ' ';
    cvy_child_say(parent, "%s%d\t%s", failed, (int)status, message);
}

bool cvy_child_go_on(cvy_child *child, const char *task, const char *const *arguments) {
    cvy_text line = {0};
    cvy_text_add(&line, "%s", task);
    for (size_t i = 0; arguments[i]; i++)
        cvy_text_add(&line, "\t%s", arguments[i]);
    const bool said = line.length < CVY_LINE_SIZE - 1 && cvy_child_say(child, "%s", cvy_text_get(&line));
    cvy_text_free(&line);
    return said;
}

/* Cuts off the next line that has come already. */
static bool next_line(cvy_child *child, char *out) {
    char *end = memchr(child->buffer, '\n', child->used);
    if (!end)
        return false;
    const size_t length = (size_t)(end - child->buffer);
    memcpy(out, child->buffer, length);
    out[length] = '\0';
    child->used -= length + 1;
    memmove(child->buffer, end + 1, child->used);
    return true;
}

static cvy_child_event read_line(cvy_child *child, const cvy_child_patience *patience, char *out) {
    const double end = cvy_seconds() + patience->limit;
    while (!next_line(child, out)) {
        const double now = cvy_seconds();
        struct pollfd waited = {.fd = child->socket, .events = POLLIN};
        if ((patience->interrupt && *patience->interrupt) ||
            (patience->deadline > 0 && now > patience->deadline))
            return CVY_CHILD_STOPPED;
        if (now > end)
            return CVY_CHILD_LATE;
        if (poll(&waited, 1, 50) <= 0)
            continue;
        const size_t room = sizeof child->buffer - child->used; /* none: no line of ours is so long */
        const ssize_t got = recv(child->socket, child->buffer + child->used, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return CVY_CHILD_DIED;
        child->used += (size_t)got;
    }
    return CVY_CHILD_ANSWERED;
}

cvy_child_event cvy_child_hear(cvy_child *child, const cvy_child_patience *patience,
                               cvy_child_answer *answer) {
    const size_t word = sizeof failed - 1;
    cvy_child_event event = read_line(child, patience, answer->line);
    answer->status = CONVOY_OK;
    if (event != CVY_CHILD_ANSWERED)
        cvy_child_end(child);
    else if (strncmp(answer->line, failed, word) == 0) {
        const char *message = strchr(answer->line + word, '\t');
        answer->status = (convoy_status)strtol(answer->line + word, NULL, 10);
        cvy_fail(answer->status, "%s", message ? message + 1 : "");
        return CVY_CHILD_FAILED;
    }
    return event;
}

/* ---- The helper's side ---- */

static void limit_resource(__rlimit_resource_t resource, rlim_t most) {
    const struct rlimit limit = {most, most};
    setrlimit(resource, &limit); /* more than this process may have already: that limit holds */
}

static convoy_status run_task(const cvy_helper_task *tasks, cvy_child *parent, const char *name,
                              char *const *arguments) {
    while (tasks->name && strcmp(tasks->name, name) != 0)
        tasks++;
    return tasks->name
               ? tasks->run(parent, arguments)
               : cvy_fail(CONVOY_INVALID, "convoy-helper has no task `%s`: is it of another version?", name);
}

enum { WORDS = 16 };

/* The next task and its arguments, NULL-terminated. False: the parent wants no more. */
static bool hear_task(cvy_child *parent, cvy_child_answer *answer, char *words[WORDS + 1]) {
    const cvy_child_patience forever = {.limit = INFINITY};
    if (cvy_child_hear(parent, &forever, answer) != CVY_CHILD_ANSWERED)
        return false;
    char *rest = answer->line;
    memset(words, 0, (WORDS + 1) * sizeof *words);
    for (size_t i = 0; i < WORDS && rest; i++)
        words[i] = strsep(&rest, "\t");
    return true;
}

int cvy_helper_main(const cvy_helper_task *tasks, int argc, char **argv) {
    cvy_child parent = {0};
    cvy_child_answer answer;
    char *words[WORDS + 1];
    long long memory = 0;
    if (argc < 3 || !cvy_text_to_long(argv[2], &memory)) {
        fputs("convoy-helper is started by Convoy itself, for work that may crash\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* even in a launch that hangs */
    limit_resource(RLIMIT_CORE, 0);
    if (memory > 0)
        limit_resource(RLIMIT_DATA, (rlim_t)memory);
    convoy_status status = run_task(tasks, &parent, argv[1], argv + 3);
    while (!status && hear_task(&parent, &answer, words))
        status = run_task(tasks, &parent, words[0], words + 1);
    if (status)
        cvy_child_say_failure(&parent, status);
    return convoy_status_exit_code(status);
}
