/* Training and evaluation. */
#ifndef CONVOY_TRAIN_H
#define CONVOY_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "convoy/data.h"
#include "convoy/device.h"
#include "convoy/model.h"
#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a running training tells. Losses are means per image, accuracies fractions of 1. */
typedef struct convoy_progress {
    enum {
        CONVOY_PROGRESS_STEP,   /* after a batch; the running figures may lag a few steps behind */
        CONVOY_PROGRESS_REPORT, /* one of the recipe's reports within an epoch */
        CONVOY_PROGRESS_TEST,   /* the test set was evaluated within an epoch */
        CONVOY_PROGRESS_EPOCH   /* an epoch and its evaluation are done */
    } kind;
    int epoch, epochs;                 /* from 1 */
    unsigned long long step;           /* steps since the run began, resumed ones included */
    size_t images_done, images_total;  /* within the epoch */
    double batch_loss;                 /* of the latest batch whose figures have arrived */
    double train_loss, train_accuracy; /* running, over the epoch so far */
    double test_loss, test_accuracy;   /* of the latest evaluation; NaN before the first */
    double seconds;                    /* since training began */
    double images_per_second;          /* training only, over the epoch so far */
} convoy_progress;

typedef struct convoy_train_options {
    int epochs, batch_size; /* 0: the recipe's */
    uint64_t seed;
    const char *out;  /* run folder, created; NULL: nothing is written */
    const char *init; /* weights to start from (safetensors); NULL: initialised from the seed */
    int resume;       /* continue from out/checkpoint.safetensors */
    int no_shuffle;
    int eval_every;               /* steps between evaluations; 0: the recipe's */
    int checkpoint_every;         /* steps between checkpoints within an epoch; 0: at epochs only */
    unsigned long long max_steps; /* stop after so many; 0: no limit */
    const char *variant;          /* forces kernel variants: "conv2d=im2col_gemm" */
    void (*progress)(void *context, const convoy_progress *progress);
    void *context;
    const volatile int
        *interrupt; /* set to non-zero by a signal handler: finish the step, save, CONVOY_INTERRUPTED */
} convoy_train_options;

typedef struct convoy_train_result {
    int epochs;
    unsigned long long steps;
    double train_loss, train_accuracy, test_loss, test_accuracy; /* of the last epoch */
    double best_test_accuracy;
    int best_epoch;
    double seconds, images_per_second;
} convoy_train_result;

/* Trains by the model's recipe; the model holds the last weights afterwards. `test` may be NULL.
   CONVOY_FAILED when the loss becomes NaN or infinite: the checkpoint of the last good state stays. `options`
   may be NULL. */
CONVOY_API convoy_status convoy_train(convoy_model *model, convoy_device *device, convoy_dataset *train,
                                      convoy_dataset *test, const convoy_train_options *options,
                                      convoy_train_result *result);

typedef struct convoy_class_result {
    const char *name;             /* owned by the dataset */
    double precision, recall, f1; /* 0 where undefined */
    unsigned long long support;
} convoy_class_result;

typedef struct convoy_evaluation {
    size_t images;
    double loss, accuracy;
    int class_count;
    convoy_class_result *classes;  /* [class_count] */
    unsigned long long *confusion; /* [class_count][class_count]: rows true classes, columns answers */
} convoy_evaluation;

/* batch_size 0: the recipe's. */
CONVOY_API convoy_status convoy_evaluate(convoy_model *model, convoy_device *device, convoy_dataset *set,
                                         int batch_size, convoy_evaluation **evaluation);
CONVOY_API void convoy_evaluation_free(convoy_evaluation *evaluation); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
