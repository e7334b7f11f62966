/* What is known about the variants of an op on a device: which one measured best for a shape, and which ones
   are set aside because they failed there. Kept for each user in one file, <cache folder>/tuning.txt; read
   when a device is first asked about. host/tune/tune.c finds the answers, ops ask for them when they are
   made.

   File: a line "convoy-tuning 1", then a line for each record: 16 hexadecimal digits that check the rest of
   the line, and the fields of cvy_choice between tabs, headed by the key of the device: a digest of its name,
   platform, driver, version and compute units, of the precision that it is asked for, of Convoy's version,
   and of the kernels of the ops that have variants. A record under another key does not count. Processes
   write beside and rename into place, one after the other. Whatever is wrong with a file or a line only loses
   it: never an error. */
#ifndef CVY_OPS_CHOICE_H
#define CVY_OPS_CHOICE_H

#include "ops/op.h"

enum { CVY_SHAPE_TEXT = 96, CVY_VARIANTS_LIMIT = 32 };

/* What there is to choose a variant for. */
typedef struct cvy_task {
    const char *op, *pass; /* "conv2d", "backward_data"; static strings */
    char shape[CVY_SHAPE_TEXT];
    double flops; /* of one run */
    double work;  /* the same, or what it could do in the time of moving its bytes where that is longer */
    int uses;     /* runs in a step of the network */
} cvy_task;

/* cvy_task.work of one run. */
static inline double cvy_choice_work(double flops, double bytes) {
    const double balance = 10; /* flops in the time of a byte: CPUs' about, half of GPUs' */
    return flops > balance * bytes ? flops : balance * bytes;
}

/* How a variant came to run. */
typedef enum cvy_origin { CVY_GUESSED, CVY_MEASURED, CVY_FORCED } cvy_origin;

/* Is a variant worth measuring? */
typedef enum cvy_fit {
    CVY_FIT_LIKELY,   /* the heuristics would take it, at least where those before it fail */
    CVY_FIT_POSSIBLE, /* it runs here */
    CVY_FIT_FOREIGN   /* it runs here, but is made for another kind of device */
} cvy_fit;

typedef struct cvy_candidate_variant {
    const char *name;
    cvy_fit fit;
} cvy_candidate_variant;

typedef enum cvy_verdict {
    CVY_BEST,  /* `variant` is the fastest: `seconds` */
    CVY_TIMED, /* `variant` takes `seconds`; what it is to be compared with was not measured yet */
    CVY_LEFT,  /* automatic tuning spent `seconds` on `variant` and did not see it through */
    CVY_ASIDE  /* `variant` failed as `reason` says; shape "*": it is chosen for no shape */
} cvy_verdict;

typedef struct cvy_choice {
    cvy_verdict verdict;
    const char *op, *pass, *shape, *variant;
    double seconds;
    const char *reason; /* "" unless set aside */
    const char *device; /* its name; filled in by cvy_choice_keep */
} cvy_choice;

/* The variant that measured best, unless it was set aside since; NULL: not known, or CONVOY_TUNE=0. */
const char *cvy_choice_find(convoy_device *device, const char *op, const char *pass, const char *shape);
/* What automatic tuning goes on from, whether or not answers count (CONVOY_TUNE): CVY_TIMED or CVY_LEFT of
   the variant, or CVY_BEST of the task where `variant` is NULL. NULL: nothing was measured. Valid until the
   next cvy_choice_keep or _forget. */
const cvy_choice *cvy_choice_measured(convoy_device *device, const cvy_task *task, const char *variant);
/* Why the variant is set aside; NULL: it is not. */
const char *cvy_choice_aside(convoy_device *device, const char *op, const char *pass, const char *shape,
                             const char *variant);
/* Keeps records, in memory and on disk; what contradicts them goes. */
void cvy_choice_keep(convoy_device *device, const cvy_choice *choices, size_t count);
/* Sets a variant aside and says so. */
void cvy_choice_set_aside(convoy_device *device, const cvy_task *task, const char *shape, const char *variant,
                          const char *reason);
/* Drops all that is known about a device of this name, whatever its driver was. */
void cvy_choice_forget(convoy_device *device);
/* All that counts for this device; valid until the next cvy_choice_keep or _forget. */
const cvy_choice *cvy_choice_list(convoy_device *device, size_t *count);

#endif
