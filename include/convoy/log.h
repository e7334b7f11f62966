/* What the library has to say beside its results. It prints nothing by itself: without a sink nobody hears
   it. */
#ifndef CONVOY_LOG_H
#define CONVOY_LOG_H

#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum convoy_log_level {
    CONVOY_LOG_DEBUG,
    CONVOY_LOG_INFO,   /* notes: what is measured, what takes long */
    CONVOY_LOG_WARNING /* what a user would want to know: a device that was passed over, classes that differ
                        */
} convoy_log_level;

/* One message, without a line's end. Names of files and classes are in it as they are. */
typedef void convoy_log_sink(void *context, convoy_log_level level, const char *message);

/* Who hears the messages from now on; NULL: nobody, as at the start. The sink is called on whatever thread
   has something to say, by one thread at a time; once this has returned, the sink before it is not called any
   more. Any thread, but not out of a sink. */
CONVOY_API void convoy_log_set_sink(convoy_log_sink *sink, void *context);

/* Messages below `level` are dropped; CONVOY_LOG_INFO at the start. The environment variable
   CONVOY_LOG=debug|info|warning overrides it. Any thread. */
CONVOY_API void convoy_log_set_level(convoy_log_level level);

#ifdef __cplusplus
}
#endif
#endif
