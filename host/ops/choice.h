/* What is known about the variants of an op on a device: which one measured best for a shape, and which ones
   are set aside because they failed there: for good where two child processes saw it, else for the run, as a
   driver may fail once for a reason that passes. Kept for each user in one file, <cache folder>/tuning.txt;
   read when a device is first asked about. host/tune/tune.c finds the answers, host/ops/variants.c asks for
   them.

   File: a line "convoy-tuning 2", then a line for each record: 16 hexadecimal digits that check the rest of
   the line, and the fields of cvy_choice between tabs, headed by the key of the device: a digest of its name,
   platform, driver, version and compute units, of the precision that it is asked for, of Convoy's version,
   and of the kernels of the ops that have variants. A record under another key does not count. Processes
   write beside and rename into place, one after the other. Whatever is wrong with a file or a line only loses
   it: never an error. */
#ifndef CVY_OPS_CHOICE_H
#define CVY_OPS_CHOICE_H

#include "ops/op.h"

enum { CVY_SHAPE_TEXT = 96 };

/* What a variant is chosen for, in words. */
typedef struct cvy_key {
    const char *op,
        *pass; /* the op and its pass; for a setting of a variant, its name in the place of the pass */
    char shape[CVY_SHAPE_TEXT];
} cvy_key;

/* How a variant came to run. */
typedef enum cvy_origin { CVY_GUESSED, CVY_MEASURED, CVY_FORCED } cvy_origin;

typedef enum cvy_verdict {
    CVY_BEST,     /* `variant` is the fastest: `seconds` */
    CVY_TIMED,    /* `variant` takes `seconds`; what it is to be compared with was not measured yet */
    CVY_LEFT,     /* automatic tuning spent `seconds` on `variant` and did not see it through */
    CVY_ASIDE,    /* `variant` failed as `reason` says; shape "*": it is chosen for no shape */
    CVY_ASIDE_NOW /* the same, until the device is closed: never in the file */
} cvy_verdict;

typedef struct cvy_choice {
    cvy_verdict verdict;
    const char *op, *pass, *shape, *variant;
    double seconds;
    const char *reason; /* "" unless set aside */
    const char *device; /* its name; filled in by cvy_choice_keep */
} cvy_choice;

/* The variant that measured best, unless it was set aside since; NULL: not known, or CONVOY_TUNE=0. */
const char *cvy_choice_find(convoy_device *device, const cvy_key *key);
/* What automatic tuning goes on from, whether or not answers count (CONVOY_TUNE): CVY_TIMED or CVY_LEFT of
   the variant, or CVY_BEST of the key where `variant` is NULL. NULL: nothing was measured. Valid until the
   next cvy_choice_keep or _forget. */
const cvy_choice *cvy_choice_measured(convoy_device *device, const cvy_key *key, const char *variant);
/* Why the variant is set aside, in this run or for good; NULL: it is not. */
const char *cvy_choice_aside(convoy_device *device, const cvy_key *key, const char *variant);
const char *cvy_choice_aside_for_good(convoy_device *device, const cvy_key *key, const char *variant);
/* Keeps records, in memory and on disk; what contradicts them goes. */
void cvy_choice_keep(convoy_device *device, const cvy_choice *choices, size_t count);
typedef struct cvy_aside {
    const char *variant, *reason;
    bool all_shapes; /* or for that of the key */
    bool for_good;   /* remembered by later runs: only what was seen twice, in two processes */
} cvy_aside;

/* Sets a variant aside and says so in a warning. */
void cvy_choice_set_aside(convoy_device *device, const cvy_key *key, const cvy_aside *aside);
/* Drops all that is known about a device of this name, whatever its driver was. */
void cvy_choice_forget(convoy_device *device);
/* All that counts for this device; valid until the next cvy_choice_keep or _forget. */
const cvy_choice *cvy_choice_list(convoy_device *device, size_t *count);

#endif
