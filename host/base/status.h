/* How code below the command reports a failure: `return cvy_fail(CONVOY_INVALID, "...", ...)`. */
#ifndef CVY_BASE_STATUS_H
#define CVY_BASE_STATUS_H

#include "convoy/status.h"

/* Sets this thread's message and returns `status`, so that a failure is one statement. Arguments may point
   into the present message. A message over 64 KiB (build logs) loses its middle, never its beginning or end.
   errno is kept. */
convoy_status cvy_fail(convoy_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<format>: " before this thread's message (where it happened) and returns `status` unchanged. */
convoy_status cvy_fail_in(convoy_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* CONVOY_MEMORY with a message naming what did not fit in host memory. */
convoy_status cvy_fail_memory(const char *what, unsigned long long bytes);

/* Who ends the process instead, as the command does with its exit code. */
void cvy_set_memory_handler(void (*handler)(void));
/* Ends the process with a word to the log: for the few kilobytes (names, shapes, messages) whose loss no
   caller could handle better. Never for tensors, files or anything whose size comes from outside. */
_Noreturn void cvy_abort_memory(void);

#endif
