/* What commands that train have in common: the folder of a run, and the end that Ctrl-C or a terminal that
   goes away asks for. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/cli.h"

/* ---- Ctrl-C, and a terminal that goes away ---- */

static volatile int interrupt;

/* The first signal asks for an end after the step; the default action, restored by SA_RESETHAND, serves the
 * second. */
static void on_signal(int number) {
    static const char message[] = "\nfinishing the step and saving; once more to stop at once\n";
    int keep = errno;
    (void)number;
    interrupt = 1;
    if (!cli_quiet && !cli_prefix && write(STDERR_FILENO, message, sizeof message - 1) < 0)
        interrupt = 1; /* nobody is listening: the flag alone must do */
    errno = keep;
}

const volatile int *cli_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* nohup ignores it */
        sigaction(SIGHUP, &action, NULL);
    return &interrupt;
}

/* ---- the run folder ---- */

/* runs/<model>-<date>-<n> with the first n that is free; in the arena. */
convoy_status cli_new_run_folder(cli_call *call, const char *model, const char **out) {
    char date[16];
    time_t now = time(NULL);
    struct tm local;
    convoy_status status = cvy_folder_create("runs");
    if (status)
        return status;
    strftime(date, sizeof date, "%Y%m%d", localtime_r(&now, &local));
    char *name = cvy_arena_strdup(call->arena, model);
    for (char *c = name; *c; c++)
        if (*c == '/' || *c == ' ')
            *c = '_';
    for (int n = 1; n < 100000; n++) {
        const char *path = cvy_arena_printf(call->arena, "runs/%s-%s-%d", name, date, n);
        if (mkdir(path, 0777) == 0) {
            *out = path;
            return CONVOY_OK;
        }
        if (errno != EEXIST)
            return cvy_fail(CONVOY_IO, "the run folder %s cannot be made: %s. --out chooses another place",
                            path, strerror(errno));
    }
    return cvy_fail(CONVOY_IO, "runs/%s-%s-1 to -99999 all exist: give --out", name, date);
}
