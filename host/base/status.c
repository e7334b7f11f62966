/* The failure message of each thread. It lives in a heap block under a pthread key, not in a thread-local
   array: a program that embeds the library should not pay 64 KiB of thread-local storage per thread for build
   logs. */
#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "convoy/version.h"

enum { MESSAGE_LIMIT = 64 * 1024 };

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t message_key;
static int key_failed = 1;

static void create_key(void) {
    /* free() itself is the destructor, so that threads may outlive an unloaded library. */
    key_failed = pthread_key_create(&message_key, free);
}

static char *current_message(void) {
    pthread_once(&key_once, create_key);
    return key_failed ? NULL : pthread_getspecific(message_key);
}

/* Copies `message` (at most MESSAGE_LIMIT bytes) into the thread's block, which is made at the first failure
   and never moves: a pointer from convoy_error_message() may go stale, but never dangles while its thread
   lives. */
static void set_message(const char *message) {
    char *block = current_message();
    if (!block) {
        block = malloc(MESSAGE_LIMIT + 1);
        if (!block || key_failed || pthread_setspecific(message_key, block) != 0) {
            free(block);
            return;
        }
    }
    memmove(block, message, strlen(message) + 1);
}

/* The start of the UTF-8 character at `position`: at most 3 bytes back, whatever the bytes are. */
static size_t utf8_start(const char *text, size_t position) {
    for (int i = 0; i < 3 && ((unsigned char)text[position] & 0xC0) == 0x80; i++)
        position--;
    return position;
}

/* Keeps the first and the last half of an over-long message, in place. */
static void cut_middle(char *message, size_t length) {
    char mark[64];
    size_t head = utf8_start(message, MESSAGE_LIMIT / 2);
    size_t tail = utf8_start(message, length - MESSAGE_LIMIT / 2 + sizeof mark);
    int mark_length = snprintf(mark, sizeof mark, "\n[... %zu bytes left out ...]\n", tail - head);
    memcpy(message + head, mark, (size_t)mark_length);
    memmove(message + head + mark_length, message + tail, length - tail + 1);
}

/* "<format>" and, where `rest` is not NULL, ": <rest>"; malloc'ed, NULL when memory is out. */
static char *format_message(const char *format, va_list arguments, const char *rest) {
    va_list copy;
    va_copy(copy, arguments);
    int measured = vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    size_t front =
        measured > 0 ? (size_t)measured : 0; /* < 0: a wide character that the locale cannot show */
    size_t back = rest ? strlen(rest) : 0;
    char *message = malloc(front + back + 3);
    if (!message)
        return NULL;
    if (front > 0)
        vsnprintf(message, front + 1, format, arguments);
    else
        message[0] = '\0';
    size_t length = front;
    if (rest) {
        memcpy(message + front, ": ", 2);
        memcpy(message + front + 2, rest, back + 1);
        length += 2 + back;
    }
    if (length > MESSAGE_LIMIT)
        cut_middle(message, length);
    return message;
}

const char *convoy_error_message(void) {
    const char *message = current_message();
    return message ? message : "";
}

/* Out of memory, the message that there is, or the format alone, says more than nothing. */
static void fail(const char *format, va_list arguments, const char *rest) {
    const int saved_errno = errno;
    char *message = format_message(format, arguments, rest);
    set_message(message ? message : rest ? rest : format);
    free(message);
    errno = saved_errno;
}

convoy_status cvy_fail(convoy_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(format, arguments, NULL);
    va_end(arguments);
    return status;
}

convoy_status cvy_fail_in(convoy_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(format, arguments, convoy_error_message());
    va_end(arguments);
    return status;
}

convoy_status cvy_fail_memory(const char *what, unsigned long long bytes) {
    return cvy_fail(CONVOY_MEMORY,
                    "out of host memory: %s needs %llu bytes (%.1f MiB); use a smaller batch or free memory",
                    what, bytes, (double)bytes / (1024.0 * 1024.0));
}

static void (*memory_handler)(void);

void cvy_set_memory_handler(void (*handler)(void)) {
    memory_handler = handler;
}

void cvy_abort_memory(void) {
    if (memory_handler)
        memory_handler();
    cvy_log_plainly(CONVOY_LOG_WARNING, "out of host memory");
    abort();
}

const char *convoy_status_name(convoy_status status) {
    switch (status) {
#define NAME_CASE(name, exit_code, meaning)                                                                  \
    case CONVOY_##name:                                                                                      \
        return #name;
        CONVOY_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "UNKNOWN";
}

int convoy_status_exit_code(convoy_status status) {
    switch (status) {
#define EXIT_CASE(name, exit_code, meaning)                                                                  \
    case CONVOY_##name:                                                                                      \
        return exit_code;
        CONVOY_STATUS_MAP(EXIT_CASE)
#undef EXIT_CASE
    }
    return 1;
}

const char *convoy_version(void) {
    return CONVOY_VERSION;
}
