/* Event files, which TensorBoard shows: records of three message types, each behind a length and followed by
   a checksum (TensorFlow's record format and event.proto, written by hand). */
#ifndef CVY_REPORT_EVENTS_H
#define CVY_REPORT_EVENTS_H

#include <stdint.h>

#include "report/history.h"

/* CRC-32C (Castagnoli), as RFC 3720 has it. */
uint32_t cvy_crc32c(const void *data, size_t size);

/* A new file of the run's folder: *path, malloc'ed. `step`: after which the run goes on; what an earlier file
   has from later steps is forgotten by its reader. `now`: seconds since 1970. */
convoy_status cvy_events_create(const char *folder, uint64_t step, double now, char **path);
/* Adds the figures of the rows from `first` on; `start`: when the run began, in seconds since 1970. */
convoy_status cvy_events_add(const char *path, const cvy_history *history, size_t first, double start);

#endif
