/* What every Convoy function returns, and the message that goes with a failure. */
#ifndef CONVOY_STATUS_H
#define CONVOY_STATUS_H

#if defined(_WIN32)
#define CONVOY_API
#else
#define CONVOY_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* name, exit code of the command, meaning */
#define CONVOY_STATUS_MAP(XX)                                                                                \
    XX(OK, 0, "success")                                                                                     \
    XX(FAILED, 1, "the run failed")                                                                          \
    XX(IO, 1, "a file could not be read or written")                                                         \
    XX(INVALID, 2, "bad argument, model, data or weights")                                                   \
    XX(DEVICE, 3, "device not available or failed")                                                          \
    XX(MEMORY, 4, "out of memory")                                                                           \
    XX(INTERRUPTED, 130, "interrupted")

typedef enum convoy_status {
#define CONVOY_STATUS_ENUM(name, exit_code, meaning) CONVOY_##name,
    CONVOY_STATUS_MAP(CONVOY_STATUS_ENUM)
#undef CONVOY_STATUS_ENUM
} convoy_status;

/* The message of the last failure on this thread: what was asked, what was found, what to do.
   Valid until the next failure on this thread; "" when nothing failed yet. Never NULL. */
CONVOY_API const char *convoy_error_message(void);

/* "INVALID", "DEVICE", ...; "UNKNOWN" for a value outside the enum. */
CONVOY_API const char *convoy_status_name(convoy_status status);

/* The exit code that the command uses for this status: 0, 1, 2, 3, 4 or 130. */
CONVOY_API int convoy_status_exit_code(convoy_status status);

#ifdef __cplusplus
}
#endif
#endif
