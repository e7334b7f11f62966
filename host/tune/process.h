/* Measuring in a child process (base/child.h), because a driver may crash or hang on a variant. Requests are
   "<op> <pass> <shape> <variant> <nanoseconds>" with tabs between, each answered by "done <stage>" for a
   stage that is over and at last "best <nanoseconds>" or a failure. "ready" comes first of all. */
#ifndef CVY_TUNE_PROCESS_H
#define CVY_TUNE_PROCESS_H

#include "tune/measure.h"
#include "tune/tune.h"

typedef struct cvy_reply {
    cvy_stage stage; /* in which it ended */
    double seconds;
    convoy_status status;
} cvy_reply;

/* Measures one variant, in a new child where none is left from the last time: as cvy_child_hear, where late
   is a stage that took too long. Whatever ends badly ends the child. CVY_CHILD_NONE: no process could be
   started, see convoy_error_message(). */
cvy_child_event cvy_tune_process_ask(cvy_child *child, convoy_device *device, const cvy_task *task,
                                     const char *variant, const cvy_tune_options *options, cvy_reply *reply);

#endif
