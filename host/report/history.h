/* metrics.csv of a run, by the names of its columns: tables of other versions have others. */
#ifndef CVY_REPORT_HISTORY_H
#define CVY_REPORT_HISTORY_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

typedef struct cvy_history {
    const char *const *names; /* [columns] */
    size_t columns, rows;
    const double *values; /* [columns][rows]; NaN where a field is empty */
    const double *epoch;  /* [rows]: epochs trained; the rows within an epoch lie between whole numbers */
    size_t damaged;       /* lines that are no rows, left out */
} cvy_history;

/* In the arena. CONVOY_IO: there is none; CONVOY_INVALID: it is no such table. No rows are no failure. */
convoy_status cvy_history_read(cvy_arena *arena, const char *path, cvy_history *history);
/* [rows]; NULL: there is no such column, or nothing in it. */
const double *cvy_history_column(const cvy_history *history, const char *name);

#endif
