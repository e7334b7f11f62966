/* Starting, asking, watching and ending the process that measures; and what it does. */
#include "tune/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "tune/tune.h"

extern char **environ;

static const double start_limit = 60; /* seconds; a cold driver compiles its first kernel */

/* ---- Starting and ending ---- */

void cvy_tune_process_end(cvy_tune_process *process) {
    int status;
    if (process->id > 0) {
        close(process->socket);
        kill(process->id, SIGKILL); /* what hangs in a driver does not hear anything else */
        while (waitpid(process->id, &status, 0) < 0 && errno == EINTR)
            ;
    }
    *process = (cvy_tune_process){.socket = -1};
}

/* The environment with binaries not kept (losers' would fill the cache, and PoCL compiles once more to give
   one out) and no tuning within the tuning. */
static const char **make_environment(void) {
    size_t count = 0, kept = 2;
    while (environ[count])
        count++;
    const char **list = calloc(count + 3, sizeof *list);
    if (!list)
        return NULL;
    list[0] = "CONVOY_CACHE=0";
    list[1] = "CONVOY_TUNE=0";
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "CONVOY_CACHE=", 13) != 0 && strncmp(environ[i], "CONVOY_TUNE=", 12) != 0)
            list[kept++] = environ[i];
    return list;
}

/* In a process group of its own, so that Ctrl-C ends only the one that asks. */
static int spawn(const char *const *argv, int socket, pid_t *id) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    const char **environment = make_environment();
    if (!environment)
        return ENOMEM;
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
    int failed =
        posix_spawn(id, argv[0], &actions, &attributes, (char *const *)argv, (char *const *)environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return failed;
}

static bool start(cvy_tune_process *process, const char *command, convoy_device *device) {
    static const char *const precisions[] = {"float32", "tf32", "bf16"};
    const convoy_device_info *info = convoy_device_get_info(device);
    const char *precision = precisions[cvy_device_get_traits(device)->precision];
    const char *const argv[] = {command,       "measure-variants", info->id, info->name,
                                "--precision", precision,          NULL};
    int sockets[2];
    *process = (cvy_tune_process){.socket = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return false;
    const int failed = spawn(argv, sockets[1], &process->id);
    close(sockets[1]);
    if (failed) {
        close(sockets[0]);
        process->id = 0;
        cvy_debug("%s cannot be started to measure variants: %s", command, strerror(failed));
        return false;
    }
    process->socket = sockets[0];
    return true;
}

/* ---- Asking ---- */

/* Cuts off the next line that has come already. */
static bool next_line(cvy_tune_process *process, char *out) {
    char *end = memchr(process->line, '\n', process->used);
    if (!end)
        return false;
    const size_t length = (size_t)(end - process->line);
    memcpy(out, process->line, length);
    out[length] = '\0';
    process->used -= length + 1;
    memmove(process->line, end + 1, process->used);
    return true;
}

/* A line within `limit` seconds: CVY_ANSWER_BEST, or why there is none. */
static cvy_answer wait_line(cvy_tune_process *process, double limit, const cvy_patience *patience,
                            char out[sizeof process->line]) {
    const double end = cvy_seconds() + limit;
    while (!next_line(process, out)) {
        const double now = cvy_seconds();
        struct pollfd waited = {.fd = process->socket, .events = POLLIN};
        if ((patience->interrupt && *patience->interrupt) ||
            (patience->deadline > 0 && now > patience->deadline))
            return CVY_ANSWER_STOPPED;
        if (now > end)
            return CVY_ANSWER_LATE;
        if (poll(&waited, 1, 50) <= 0)
            continue;
        const size_t room = sizeof process->line - process->used;
        const ssize_t got = recv(process->socket, process->line + process->used, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return CVY_ANSWER_DIED;
        process->used += (size_t)got;
    }
    return CVY_ANSWER_BEST;
}

static bool send_request(cvy_tune_process *process, const cvy_task *task, const char *variant,
                         double seconds) {
    char request[512];
    const int length = snprintf(request, sizeof request, "%s\t%s\t%s\t%s\t%.0f\n", task->op, task->pass,
                                task->shape, variant, 1e9 * seconds);
    return send(process->socket, request, (size_t)length, MSG_NOSIGNAL) == length;
}

/* "failed\t<status>\t<message>" */
static void read_failure(char *line, cvy_reply *reply) {
    char *message = strchr(line + 7, '\t');
    reply->status = (convoy_status)strtol(line + 7, NULL, 10);
    snprintf(reply->message, sizeof reply->message, "%.*s", (int)sizeof reply->message - 1,
             message ? message + 1 : "");
}

static cvy_answer read_answers(cvy_tune_process *process, const cvy_patience *patience, cvy_reply *reply) {
    char line[sizeof process->line];
    for (;;) {
        const bool runs = reply->stage == CVY_STAGE_CHECK || reply->stage == CVY_STAGE_TIME;
        cvy_answer answer =
            wait_line(process, runs ? patience->limit : patience->build_limit, patience, line);
        if (answer != CVY_ANSWER_BEST)
            return answer;
        if (strncmp(line, "best\t", 5) == 0) {
            reply->seconds = 1e-9 * strtod(line + 5, NULL);
            return CVY_ANSWER_BEST;
        }
        if (strncmp(line, "failed\t", 7) == 0) {
            read_failure(line, reply);
            return CVY_ANSWER_FAILED;
        }
        if (strncmp(line, "done\t", 5) == 0)
            reply->stage = (cvy_stage)(strtol(line + 5, NULL, 10) + 1);
    }
}

cvy_answer cvy_tune_process_ask(cvy_tune_process *process, const char *command, convoy_device *device,
                                const cvy_task *task, const char *variant, double seconds,
                                const cvy_patience *patience, cvy_reply *reply) {
    char line[sizeof process->line];
    cvy_answer answer = CVY_ANSWER_NOBODY;
    *reply = (cvy_reply){.stage = CVY_STAGE_BUILD};
    if (process->id <= 0) {
        if (!start(process, command, device))
            return CVY_ANSWER_NOBODY;
        answer = wait_line(process, start_limit, patience, line);
        if (answer != CVY_ANSWER_BEST || strcmp(line, "ready") != 0) {
            cvy_tune_process_end(process);
            return answer == CVY_ANSWER_STOPPED ? answer : CVY_ANSWER_NOBODY;
        }
    }
    answer = send_request(process, task, variant, seconds) ? read_answers(process, patience, reply)
                                                           : CVY_ANSWER_DIED;
    /* After a failed launch nothing on that device can be trusted. */
    if (answer != CVY_ANSWER_BEST && !(answer == CVY_ANSWER_FAILED && reply->status == CONVOY_FAILED))
        cvy_tune_process_end(process);
    return answer;
}

/* ---- The other side ---- */

static bool tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool tell(const char *format, ...) {
    cvy_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add_list(&text, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] == '\n')
            text.data[i] = ' ';
    if (text.length > 512)
        text.length = 512;
    cvy_text_add(&text, "\n");
    const bool sent = send(0, text.data, text.length, MSG_NOSIGNAL) == (ssize_t)text.length;
    cvy_text_free(&text);
    return sent;
}

static void tell_stage(void *context, cvy_stage stage) {
    (void)context;
    tell("done\t%d", (int)stage);
}

static void serve(convoy_device *device, char *line) {
    char *fields[5], *rest = line;
    cvy_task task;
    double nanoseconds, best = 0;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 5; i++)
        if (!(fields[i] = strsep(&rest, "\t")))
            status = CONVOY_INVALID;
    if (status || !cvy_task_read(fields[0], fields[1], fields[2], &task) ||
        !cvy_text_to_double(fields[4], &nanoseconds)) {
        tell("failed\t%d\tno such task", (int)CONVOY_INVALID);
        return;
    }
    status = cvy_measure(device, &task, fields[3], 1e-9 * nanoseconds, tell_stage, NULL, &best);
    if (status)
        tell("failed\t%d\t%s", (int)status, convoy_error_message());
    else
        tell("best\t%.0f", 1e9 * best);
}

convoy_status cvy_tune_serve(convoy_device *device) {
    cvy_tune_process in = {.socket = 0};
    const cvy_patience forever = {0};
    char line[sizeof in.line];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* even in a launch that hangs */
    if (!tell("ready"))
        return CONVOY_OK;
    while (wait_line(&in, 1e9, &forever, line) == CVY_ANSWER_BEST)
        serve(device, line);
    return CONVOY_OK;
}
