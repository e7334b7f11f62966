/* Variants that are known to compute wrong values on a device with a driver: tests/matrix/known_bad.json,
   which `tools/matrix.sh page` makes of what `convoy selftest` found, built into the library. They are chosen
   only where the user forces them. */
#ifndef CVY_OPS_KNOWN_BAD_H
#define CVY_OPS_KNOWN_BAD_H

#include <stddef.h>

#include "convoy/device.h"

typedef struct cvy_known_bad {
    char platform[128], device[128], driver[128]; /* parts of the names; "": any */
    char op[32], variant[32];
    char reason[128];
} cvy_known_bad;

enum { CVY_KNOWN_BAD_LIMIT = 64 };

/* Those of a device, at most CVY_KNOWN_BAD_LIMIT. Any thread. */
size_t cvy_known_bad_of(const convoy_device_info *device, const cvy_known_bad **list);
/* The reason; NULL: nothing is known against it. */
const char *cvy_known_bad_reason(const convoy_device_info *device, const char *op, const char *variant);
/* Takes this list in place of the one that was built in; what is no list counts for nothing. For tests,
   before any thread asks. */
void cvy_known_bad_use(const char *json);

#endif
