/* Child processes: what may crash, hang or eat memory is done where it takes nobody along.

   A child is the program `convoy-helper`, which has a table of tasks. It is $CONVOY_HELPER, else lies beside
   the file that holds this code (in a build folder), else in ../libexec/convoy or ../../libexec/convoy from
   there (lib/ and lib/<machine>/ of an installation). Parent and child talk over a socket, which is the
   child's descriptor 0, in lines of text; a child prints nothing. It dies with its parent, and Ctrl-C on the
   terminal ends only the parent. One thread uses a child at a time. */
#ifndef CVY_BASE_CHILD_H
#define CVY_BASE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

enum { CVY_LINE_SIZE = 1024 };

/* Either end: for the child, the parent. {0} is none. */
typedef struct cvy_child {
    pid_t id; /* 0: none runs */
    int socket;
    char buffer[CVY_LINE_SIZE]; /* what came and was not read yet */
    size_t used;
    int ending; /* as waitpid tells it, after CVY_CHILD_DIED */
} cvy_child;

typedef struct cvy_child_options {
    size_t memory;                  /* bytes of data that it may have; 0: any number */
    const char *const *environment; /* "NAME=value"s that it has in place of this process's, then NULL */
} cvy_child_options;

/* What waiting for a line came to. After all but the first two the child has been ended. */
typedef enum cvy_child_event {
    CVY_CHILD_ANSWERED, /* `line` */
    CVY_CHILD_FAILED,   /* by its own account: `status`, with convoy_error_message() */
    CVY_CHILD_DIED,     /* or exited: cvy_child_ending says how */
    CVY_CHILD_LATE,     /* nothing came in time */
    CVY_CHILD_STOPPED,  /* the deadline or an interruption came first */
    CVY_CHILD_NONE      /* for callers: there was none to wait for */
} cvy_child_event;

typedef struct cvy_child_patience {
    double limit;                  /* seconds for one line */
    double deadline;               /* for all together, on the clock of cvy_seconds(); 0: none */
    const volatile int *interrupt; /* non-zero: stop waiting; NULL: never */
} cvy_child_patience;

typedef struct cvy_child_answer {
    char line[CVY_LINE_SIZE]; /* without its end */
    convoy_status status;
} cvy_child_answer;

/* Is there a helper to start? */
bool cvy_child_possible(void);
/* Starts `task` with a NULL-terminated list of arguments. `options` may be NULL. CONVOY_FAILED where there is
   no helper, with the places where it was looked for. */
convoy_status cvy_child_start(cvy_child *child, const char *task, const char *const *arguments,
                              const cvy_child_options *options);
/* Starts a child that is this program itself, from here on: `inside` tells it from the parent, and `child` is
   the other one for both. It has this one's memory and standard output, so nothing that a fork loses may be
   there: threads, a driver. It ends by _exit, dies with its parent, and Ctrl-C ends only the parent. */
convoy_status cvy_child_fork(cvy_child *child, bool *inside);
/* Sends a line; what the format makes is cut to fit and must not hold a line's end. False: nobody hears it.
 */
bool cvy_child_say(cvy_child *child, const char *format, ...) __attribute__((format(printf, 2, 3)));
cvy_child_event cvy_child_hear(cvy_child *child, const cvy_child_patience *patience,
                               cvy_child_answer *answer);
/* Has a child that has done its task begin another one, in the same process: what a driver has loaded is
   there. False: nobody hears it. */
bool cvy_child_go_on(cvy_child *child, const char *task, const char *const *arguments);
/* "signal 11 (Segmentation fault)" or "exit code 3"; valid until the next call on this thread. */
const char *cvy_child_ending(const cvy_child *child);
/* Ends it, whatever it is doing. None running is allowed. */
void cvy_child_end(cvy_child *child);

/* ---- The helper's side ---- */

/* A task says what it has to say to its parent and returns when that says no more. A failure is told to the
   parent, and ends the helper; after another ending it waits for the next task. */
typedef struct cvy_helper_task {
    const char *name; /* NULL ends a table */
    convoy_status (*run)(cvy_child *parent, char *const *arguments);
} cvy_helper_task;

/* Tells the parent of this thread's latest failure, which has this status. */
void cvy_child_say_failure(cvy_child *parent, convoy_status status);
/* The main function of a helper: runs what the command line asks for, and returns the exit code. */
int cvy_helper_main(const cvy_helper_task *tasks, int argc, char **argv);

#endif
