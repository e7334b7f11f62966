/* A training step and an evaluation on two devices, value by value: which one makes the first that
   differs? */
#ifndef CVY_TRAIN_DIFF_H
#define CVY_TRAIN_DIFF_H

#include "convoy/data.h"
#include "network/network.h"

/* A value that both made, in the order of the step. */
typedef struct cvy_diff_row {
    const char *pass;     /* "data", "forward", "loss", "backward", "update", "evaluation" */
    char layer[96];       /* its name, or "" */
    char what[64];        /* "output", "gradient of weight" */
    const char *type;     /* "Conv2d" */
    char variants[2][96]; /* "" where there is no choice */
    double difference;    /* the largest, relative to the largest value on the first device, or to a size of
                                  what it sums up, where that is larger; infinite where one
                             of them is not finite */
    bool parted;
} cvy_diff_row;

typedef struct cvy_diff {
    cvy_diff_row *rows;
    size_t count;
    size_t first; /* that parted; `count`: none */
} cvy_diff;

typedef struct cvy_diff_options {
    int batch_size;
    uint64_t seed;
    double tolerance;
    const char *variant; /* as cvy_network_options.variant, where a device has it: one of both must */
} cvy_diff_options;

/* The first step on the first batch of the set. The second device is given each value that the first one made
   in place of its own, so that a difference stands in the row that makes it. Freed by cvy_diff_free, after a
   failure too. */
convoy_status cvy_diff_run(convoy_model *model, convoy_device *const devices[2], const convoy_dataset *set,
                           const cvy_diff_options *options, cvy_diff *diff);
void cvy_diff_free(cvy_diff *diff);

#endif
