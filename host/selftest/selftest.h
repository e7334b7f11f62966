/* Does a driver compute what it should? Every variant of every op and every simple op against its reference,
   over the shapes of the tests (cases.h), training steps against PyTorch's losses, the same bits twice, the
   largest buffer, and how fast five networks train: `convoy selftest`. It runs in children (base/child.h),
   which a driver may take along; what one of them does not survive is a failure of the case at hand, and the
   next one goes on behind it. */
#ifndef CVY_SELFTEST_SELFTEST_H
#define CVY_SELFTEST_SELFTEST_H

#include "base/child.h"
#include "convoy/device.h"

typedef enum cvy_selftest_level {
    CVY_SELFTEST_QUICK,  /* two shapes for each variant that the device would choose from, few of the simple
                            ops */
    CVY_SELFTEST_NORMAL, /* all shapes, for those variants */
    CVY_SELFTEST_FULL    /* for those made for other kinds of devices, too */
} cvy_selftest_level;

enum { CVY_SELFTEST_PARTS = 64, CVY_SELFTEST_FAILURES = 8 };

typedef struct cvy_selftest_failure {
    char name[128]; /* of the case */
    char reason[320];
} cvy_selftest_failure;

typedef struct cvy_selftest_part {
    char name[48]; /* "conv2d:tile_gpu", "pool2d", "train:lenet", "bench:lenet" */
    int cases, passed;
    double error;  /* the largest, relative; 0 where there is none to tell */
    double figure; /* of a bench: training images per second; else 0 */
    double seconds;
    int failed; /* cases; the first of them: */
    cvy_selftest_failure failures[CVY_SELFTEST_FAILURES];
} cvy_selftest_part;

typedef struct cvy_selftest_options {
    cvy_selftest_level level;
    const char *only; /* a part's name or its beginning; NULL: all */
    double limit;     /* seconds for one case, with building its kernels */
    int jobs;         /* children at once, but for figures */
    const volatile int *interrupt;
    /* After each part, from any thread, one at a time. */
    void (*done)(void *context, const cvy_selftest_part *part);
    void *context;
} cvy_selftest_options;

typedef struct cvy_selftest_result {
    cvy_selftest_part parts[CVY_SELFTEST_PARTS];
    size_t count;
    int cases, passed; /* of all */
    double error, seconds;
} cvy_selftest_result;

/* CONVOY_DEVICE: no child could open the device. Cases that fail are no failure of the call. */
convoy_status cvy_selftest_run(const convoy_device_info *device, const cvy_selftest_options *options,
                               cvy_selftest_result *result);

/* The helper's task: a device's id and its name. */
convoy_status cvy_selftest_serve(cvy_child *parent, char *const *arguments);

/* ---- The kinds of parts, on a device of this process ---- */

/* One case of a part. *error only grows. CONVOY_FAILED: wrong values. */
typedef struct cvy_selftest_case {
    char name[128];
    convoy_status status;
    double error, figure;
} cvy_selftest_case;

/* A part as the child knows it. */
typedef struct cvy_selftest_job {
    char name[48];
    size_t cases; /* that are counted through; those that do not run here are skipped */
    int patience; /* times the limit of a case that one of these has: whole networks build many kernels */
    /* False: case `i` is none. Else its name is filled in first, and `tell`, which is called with it, before
       all that may go wrong. */
    bool (*run)(const struct cvy_selftest_job *job, convoy_device *device, size_t i, cvy_selftest_case *out);
    const void *about[2]; /* of the kind's own: an op and its variant, a row of a table */
    cvy_selftest_level level;
    void (*tell)(void *context, const char *name);
    void *context;
} cvy_selftest_job;

/* Adds the kind's parts; at most CVY_SELFTEST_PARTS in all. */
void cvy_selftest_variants(convoy_device *device, cvy_selftest_level level, cvy_selftest_job *jobs,
                           size_t *count);
void cvy_selftest_simple_ops(cvy_selftest_level level, cvy_selftest_job *jobs, size_t *count);
void cvy_selftest_networks(convoy_device *device, cvy_selftest_level level, cvy_selftest_job *jobs,
                           size_t *count);

#endif
