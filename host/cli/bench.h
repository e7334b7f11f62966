/* What `convoy bench` measures (cmd_bench.c) and prints (bench_report.c); both of ranks: bench_ranks.c. */
#ifndef CVY_CLI_BENCH_H
#define CVY_CLI_BENCH_H

#include "cli/ranks.h"
#include "network/network.h"
#include "ops/peak.h"
#include "train/step.h"

enum { BENCH_PROFILED = 5 }; /* steps in the profile */

typedef struct bench_figures {
    const char *model, *device;
    int batch_size, micro_batch;        /* equal unless the batch is computed in pieces */
    double train, eval;                 /* images per second */
    unsigned long long launches, waits; /* of a training step */
    cli_memory memory;
    cvy_peak peak; /* all 0 where layers are left out */
    /* By itself, like the layers; one piece of the batch, but for the optimizer. */
    cvy_layer_timing *layers;
    size_t layer_count;
    double loss_seconds, optimizer_seconds;
    cvy_cost loss, optimizer;
    cvy_profile_row *kernels; /* of BENCH_PROFILED steps; NULL unless asked for */
    size_t kernel_count;
    const cvy_variant *with_option; /* a variant that ran a layer and has an option; NULL: none */
    const char *option;             /* its value */
} bench_figures;

/* What one step works on. */
typedef struct bench {
    convoy_device *device;
    cvy_collective *ranks; /* NULL: alone */
    convoy_network *network;
    cvy_training training;
    int batch_size, micro_batch; /* equal unless the batch is computed in pieces */
    unsigned long long step;
} bench;

/* Random images and labels on the device, for a network of micro_batch images. */
convoy_status bench_prepare(bench *b, convoy_model *model, bool training, const char *variant);
void bench_release(bench *b);
/* Training steps of several ranks, so many of them or for so many seconds in all. */
convoy_status bench_on_ranks(cli_call *call, convoy_model *model, bench *b, size_t steps, double seconds);

json_t *bench_json(const bench_figures *figures);
void bench_print(const bench_figures *figures);

#endif
