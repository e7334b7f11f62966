/* Messages for people: warnings and notes, on their way to the sink of convoy/log.h. */
#ifndef CVY_BASE_LOG_H
#define CVY_BASE_LOG_H

#include "convoy/log.h"

void cvy_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cvy_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cvy_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* As it is, without asking for memory. */
void cvy_log_plainly(convoy_log_level level, const char *message);

#endif
