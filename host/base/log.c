/* Messages for people. One call is one write to stderr, so that lines of several threads do not mix. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static cvy_log_sink *current_sink;
static void *current_context;
static atomic_int current_level = CVY_LOG_INFO;

static pthread_once_t environment_once = PTHREAD_ONCE_INIT;
static int environment_level = -1; /* of CONVOY_LOG; -1: not set, or no level's name */

static const char *const level_names[] = {"debug", "info", "warning"};

static void read_environment(void) {
    const char *wanted = getenv("CONVOY_LOG");
    if (!wanted)
        return;
    for (int level = CVY_LOG_DEBUG; level <= CVY_LOG_WARNING; level++)
        if (strcasecmp(wanted, level_names[level]) == 0)
            environment_level = level;
}

static bool wanted(cvy_log_level level) {
    pthread_once(&environment_once, read_environment);
    int lowest = environment_level >= 0 ? environment_level : atomic_load(&current_level);
    return (int)level >= lowest;
}

void cvy_log_set_sink(cvy_log_sink *sink, void *context) {
    current_sink = sink;
    current_context = context;
}

void cvy_log_set_level(cvy_log_level level) {
    atomic_store(&current_level, (int)level);
}

static void emit(cvy_log_level level, const char *format, va_list arguments) {
    if (!wanted(level))
        return;
    cvy_text message = {0};
    cvy_text_add_list(&message, format, arguments);
    if (current_sink) {
        current_sink(current_context, level, cvy_text_get(&message));
    } else {
        cvy_text line = {0};
        cvy_text_add(&line, "%s%s", level == CVY_LOG_INFO ? "" : level_names[level],
                     level == CVY_LOG_INFO ? "" : ": ");
        cvy_text_add_visible(&line, cvy_text_get(&message), true);
        fprintf(stderr, "%s\n", cvy_text_get(&line));
        cvy_text_free(&line);
    }
    cvy_text_free(&message);
}

void cvy_debug(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CVY_LOG_DEBUG, format, arguments);
    va_end(arguments);
}

void cvy_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CVY_LOG_INFO, format, arguments);
    va_end(arguments);
}

void cvy_warning(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CVY_LOG_WARNING, format, arguments);
    va_end(arguments);
}
