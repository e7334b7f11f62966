/* The process that measures, seen from the one that asks. They talk over a socket in lines of words between
   tabs: "<op> <pass> <shape> <variant> <seconds>" is answered by "done <stage>" for each stage that is over
   and at last "best <nanoseconds>" or "failed <status> <message>". "ready" comes first of all. */
#ifndef CVY_TUNE_PROCESS_H
#define CVY_TUNE_PROCESS_H

#include <sys/types.h>

#include "tune/measure.h"

typedef struct cvy_tune_process {
    pid_t id;   /* 0: none runs */
    int socket; /* -1 */
    char line[1024];
    size_t used;
} cvy_tune_process;

/* How one measurement ended. */
typedef enum cvy_answer {
    CVY_ANSWER_BEST,
    CVY_ANSWER_FAILED, /* by its own account: `status` and `message` */
    CVY_ANSWER_DIED,
    CVY_ANSWER_LATE,    /* a stage took too long */
    CVY_ANSWER_STOPPED, /* the deadline or an interruption came first */
    CVY_ANSWER_NOBODY   /* no process could be started */
} cvy_answer;

typedef struct cvy_reply {
    cvy_stage stage; /* in which it ended */
    double seconds;
    convoy_status status;
    char message[256];
} cvy_reply;

typedef struct cvy_patience {
    double limit, build_limit, deadline; /* as in cvy_tune_options */
    const volatile int *interrupt;
} cvy_patience;

/* Measures one variant, in a new process where none is left from the last time. Whatever ends badly ends the
   process. */
cvy_answer cvy_tune_process_ask(cvy_tune_process *process, const char *command, convoy_device *device,
                                const cvy_task *task, const char *variant, double seconds,
                                const cvy_patience *patience, cvy_reply *reply);
void cvy_tune_process_end(cvy_tune_process *process);

#endif
