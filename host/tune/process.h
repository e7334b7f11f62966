/* Measuring in a child process (base/child.h), because a driver may crash or hang on a variant. Requests are
   "<op> <pass> <shape> <variant> <nanoseconds>" with tabs between, each answered by "done <stage>" for a
   stage that is over and at last "best <nanoseconds>" or a failure. "ready" comes first of all. */
#ifndef CVY_TUNE_PROCESS_H
#define CVY_TUNE_PROCESS_H

#include "base/child.h"
#include "tune/measure.h"

/* How one measurement ended. */
typedef enum cvy_answer {
    CVY_ANSWER_BEST,
    CVY_ANSWER_FAILED, /* by its own account: `status`, with convoy_error_message() */
    CVY_ANSWER_DIED,
    CVY_ANSWER_LATE,    /* a stage took too long */
    CVY_ANSWER_STOPPED, /* the deadline or an interruption came first */
    CVY_ANSWER_NOBODY   /* no process could be started: convoy_error_message() */
} cvy_answer;

typedef struct cvy_reply {
    cvy_stage stage; /* in which it ended */
    double seconds;
    convoy_status status;
} cvy_reply;

typedef struct cvy_patience {
    double limit, build_limit, deadline; /* as in cvy_tune_options */
    const volatile int *interrupt;
} cvy_patience;

/* Measures one variant, in a new child where none is left from the last time. Whatever ends badly ends it. */
cvy_answer cvy_tune_process_ask(cvy_child *child, convoy_device *device, const cvy_task *task,
                                const char *variant, double seconds, const cvy_patience *patience,
                                cvy_reply *reply);

#endif
