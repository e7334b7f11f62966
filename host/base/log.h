/* Messages for people: warnings and notes. They go to stderr unless the program sets its own sink. */
#ifndef CVY_BASE_LOG_H
#define CVY_BASE_LOG_H

typedef enum cvy_log_level { CVY_LOG_DEBUG, CVY_LOG_INFO, CVY_LOG_WARNING } cvy_log_level;

typedef void cvy_log_sink(void *context, cvy_log_level level, const char *message);

/* NULL sink: back to stderr. Set it once, before threads start. */
void cvy_log_set_sink(cvy_log_sink *sink, void *context);
/* Messages below `level` are dropped. Default CVY_LOG_INFO; CONVOY_LOG=debug|info|warning overrides. */
void cvy_log_set_level(cvy_log_level level);

void cvy_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cvy_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cvy_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
