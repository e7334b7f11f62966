/* Text files that list pictures and their classes: CSV (RFC 4180), TSV, or a path, a space and a class on
   each line. */
#ifndef CVY_DATA_LIST_ROWS_H
#define CVY_DATA_LIST_ROWS_H

#include <stddef.h>

#include "data/photographs.h"

typedef struct cvy_row {
    const char *list;    /* the file that has it, */
    size_t line, column; /* and where its class stands */
    const char *picture, *class;
    cvy_split split; /* CVY_NO_SPLIT: it does not say */
} cvy_row;

typedef struct cvy_rows {
    cvy_row *rows; /* malloc'ed */
    size_t count, capacity;
} cvy_rows;

/* Adds the rows of a file, all of one split unless a column says which; texts are the arena's. CONVOY_INVALID
   names file, line and column of what cannot be. */
convoy_status cvy_rows_read(const char *path, cvy_split split, cvy_arena *arena, cvy_rows *rows);

#endif
