/* One variant measured on one device, in this process: is it right, and how fast is it? The process is one
   that may die of it (see tune.h). */
#ifndef CVY_TUNE_MEASURE_H
#define CVY_TUNE_MEASURE_H

#include "ops/variants.h"

/* The steps of a measurement, each of which may fail, crash or hang on a bad driver. */
typedef enum cvy_stage {
    CVY_STAGE_BUILD, /* for a small shape with the same kernel, stride, padding and dilation */
    CVY_STAGE_FIRST, /* run that: some drivers compile only now */
    CVY_STAGE_CHECK, /* again, and compare with the host reference: CONVOY_FAILED where they differ */
    CVY_STAGE_BUILD_REAL,
    CVY_STAGE_FIRST_REAL,
    CVY_STAGE_TIME,
    CVY_STAGE_DONE
} cvy_stage;

/* Takes all steps, those of the small shape once in a process; `done` hears of each that is over. *best:
   seconds of the fastest of several runs, which take about `seconds` in all, or of one that takes far longer.
 */
convoy_status cvy_measure(convoy_device *device, const cvy_task *task, const char *variant, double seconds,
                          void (*done)(void *context, cvy_stage stage), void *context, double *best);

/* Compares the variant with the reference on this very shape, where it may add also that: *error is the
   largest difference over the largest value that is right (or 1). CONVOY_FAILED: it is above `tolerance`. */
convoy_status cvy_measure_check(convoy_device *device, const cvy_task *task, const char *variant,
                                double tolerance, double *error);

/* Uniform in [-1, 1), a function of stream and place; malloc'ed, NULL without memory. */
float *cvy_random_floats(size_t count, uint32_t stream);
/* The same for two arrays; *error only grows. NaN never passes. */
convoy_status cvy_compare(const float *actual, const float *expected, size_t count, double tolerance,
                          double *error);

#endif
