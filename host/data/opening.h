/* Opening a set on a thread of its own, so that a quarter of a second of decompression passes while the
   device is opened and kernels are loaded. */
#ifndef CVY_DATA_OPENING_H
#define CVY_DATA_OPENING_H

#include "convoy/data.h"

typedef struct cvy_opening cvy_opening;

/* Starts convoy_dataset_open with copies of these arguments. Never fails: what goes wrong is told by the end.
 */
cvy_opening *cvy_opening_begin(const char *what, const char *split, const convoy_dataset_options *options);
/* Waits, frees the opening, and returns what convoy_dataset_open returned, with its message on this thread.
   Exactly one call per begin; `dataset` may be NULL where the set is no longer wanted. NULL is CONVOY_MEMORY.
 */
convoy_status cvy_opening_end(cvy_opening *opening, convoy_dataset **dataset);

#endif
