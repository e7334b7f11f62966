/* Messages for people: to the sink that the program set, or to nobody. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>

#include "base/text.h"

/* Held while the sink is called, so that it hears one thread at a time and is not called once it was
   replaced. Recursive: a sink may use the library, which may have something to say. */
static pthread_mutex_t lock;
static convoy_log_sink *current_sink;
static void *current_context;
static atomic_bool heard; /* is there a sink? */
static atomic_int current_level = CONVOY_LOG_INFO;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int environment_level = -1; /* of CONVOY_LOG; -1: not set, or no level's name */

static const char *const level_names[] = {"debug", "info", "warning"};

static void start(void) {
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    const char *wanted = getenv("CONVOY_LOG");
    if (!wanted)
        return;
    for (int level = CONVOY_LOG_DEBUG; level <= CONVOY_LOG_WARNING; level++)
        if (strcasecmp(wanted, level_names[level]) == 0)
            environment_level = level;
}

static bool wanted(convoy_log_level level) {
    pthread_once(&once, start);
    int lowest = environment_level >= 0 ? environment_level : atomic_load(&current_level);
    return atomic_load(&heard) && (int)level >= lowest;
}

void convoy_log_set_sink(convoy_log_sink *sink, void *context) {
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    current_sink = sink;
    current_context = context;
    atomic_store(&heard, sink != NULL);
    pthread_mutex_unlock(&lock);
}

void convoy_log_set_level(convoy_log_level level) {
    atomic_store(&current_level, (int)level);
}

static void tell(convoy_log_level level, const char *message) {
    pthread_mutex_lock(&lock);
    if (current_sink)
        current_sink(current_context, level, message);
    pthread_mutex_unlock(&lock);
}

void cvy_log_plainly(convoy_log_level level, const char *message) {
    if (wanted(level))
        tell(level, message);
}

static void emit(convoy_log_level level, const char *format, va_list arguments) {
    if (!wanted(level))
        return;
    cvy_text message = {0};
    cvy_text_add_list(&message, format, arguments);
    tell(level, cvy_text_get(&message));
    cvy_text_free(&message);
}

void cvy_debug(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CONVOY_LOG_DEBUG, format, arguments);
    va_end(arguments);
}

void cvy_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CONVOY_LOG_INFO, format, arguments);
    va_end(arguments);
}

void cvy_warning(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    emit(CONVOY_LOG_WARNING, format, arguments);
    va_end(arguments);
}
