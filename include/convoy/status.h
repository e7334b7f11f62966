/* What every Convoy function returns, and the message that goes with a failure.

   Three rules hold for the whole library:
   - A struct that crosses the boundary begins with its `size`. The caller sets it to sizeof the struct in
   those that it fills in and in those that it wants filled; 0 stands for the struct as version 0.2.0 has it.
   What a caller's struct is too short for is taken as 0, and is not given back. Structs that the library
   hands out may be longer than the caller knows.
   - NULL, a size that cannot be, or a call that comes too early is CONVOY_INVALID, with a message that names
     the function; functions that return no status then return 0, NULL or "". Debug builds say so of objects
     that were closed, too.
   - Different objects may be used from different threads at once. One object is used by one thread at a time,
     and with it the device and the model that it stands on; where a function allows more, its comment says
   so.
     */
#ifndef CONVOY_STATUS_H
#define CONVOY_STATUS_H

/* Symbols of the shared library. On Windows, define CONVOY_STATIC to link the static one. */
#if defined(_WIN32) && defined(CONVOY_STATIC)
#define CONVOY_API
#elif defined(_WIN32) && defined(CONVOY_BUILD)
#define CONVOY_API __declspec(dllexport)
#elif defined(_WIN32)
#define CONVOY_API __declspec(dllimport)
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
   Valid until the next failure on this thread; "" when nothing failed yet. Never NULL. Any thread. */
CONVOY_API const char *convoy_error_message(void);

/* "INVALID", "DEVICE", ...; "UNKNOWN" for a value outside the enum. Any thread. */
CONVOY_API const char *convoy_status_name(convoy_status status);

/* The exit code that the command uses for this status: 0, 1, 2, 3, 4 or 130. Any thread. */
CONVOY_API int convoy_status_exit_code(convoy_status status);

#ifdef __cplusplus
}
#endif
#endif
