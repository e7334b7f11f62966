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

/* When a running training tells something. */
typedef enum convoy_progress_kind {
    CONVOY_PROGRESS_START,  /* everything is ready, before the first step; a resumed run tells where it stands
                             */
    CONVOY_PROGRESS_STEP,   /* after a batch; the running figures may lag a few steps behind */
    CONVOY_PROGRESS_REPORT, /* one of the recipe's reports within an epoch */
    CONVOY_PROGRESS_TEST,   /* the test set was evaluated within an epoch */
    CONVOY_PROGRESS_EPOCH   /* an epoch and its evaluation are done */
} convoy_progress_kind;

/* What it tells. Losses are means per image, accuracies fractions of 1; what is not known yet (no figures
   arrived, no evaluation so far, no test set) is NaN. */
typedef struct convoy_progress {
    convoy_progress_kind kind;
    int epoch, epochs;                 /* from 1 */
    unsigned long long step;           /* steps since the run began, resumed ones included */
    size_t images_done, images_total;  /* within the epoch */
    double batch_loss;                 /* of the latest batch whose figures have arrived */
    double train_loss, train_accuracy; /* running, over the epoch so far */
    double test_loss, test_accuracy;   /* of the latest evaluation */
    double seconds;                    /* since training began, resumed parts included */
    double images_per_second;          /* training only, over the epoch so far */
} convoy_progress;

/* All zero is a good default. */
typedef struct convoy_train_options {
    int epochs, batch_size; /* 0: the recipe's */
    int micro_batch; /* compute a batch in pieces of so many images, to save memory; their gradients add up to
                        the batch's, and so do loss and accuracy. Batch-norm takes its statistics from each
                        piece, as in PyTorch's gradient accumulation. 0: the recipe's, which by default is
                        the whole batch */
    uint64_t seed;   /* of the initial weights, the order of the images and dropout */
    const char *out; /* run folder, created; NULL: nothing is written. A folder that holds another run is
                        CONVOY_INVALID */
    const char *init; /* weights to start from (safetensors); NULL: initialised from the seed. What fits is
                         kept, the rest begins from the seed, and a note says which; nothing that fits is
                         CONVOY_INVALID. The sets' classes are brought into their order; where they are
                         others, a warning says so */
    int init_strict;  /* every tensor of `init` must fit */
    int keep_weights; /* start from the values that the model holds; `init` must be NULL */
    int resume;       /* continue from out/checkpoint.safetensors, to the same bits as if the run had never
                         stopped. Model, recipe, batch size, micro-batch, seed and data must be those
                         of the run; `epochs` may grow */
    int no_shuffle;   /* the set's own order in every epoch */
    int eval_every;   /* steps within an epoch between evaluations of `test`; 0: the recipe's; -1: only at
                         the end of an epoch. Each epoch ends with one */
    int checkpoint_every; /* steps between checkpoints within an epoch; 0: at the end of epochs only */
    unsigned long long
        max_steps;       /* stop after so many, resumed ones included; 0: no limit. The result then has an
                            evaluation of that moment; the run's files do not, so that it can go on */
    const char *variant; /* forces kernel variants: "conv2d=im2col_gemm"; NULL: chosen by measurement */
    void (*progress)(void *context, const convoy_progress *progress); /* called on this thread; NULL: none */
    void *context;
    const volatile int
        *interrupt; /* set to non-zero by a signal handler: finish the step, save, CONVOY_INTERRUPTED */
} convoy_train_options;

/* The last epoch's figures (NaN without an epoch or a test set) and the best evaluation's. */
typedef struct convoy_train_result {
    int epochs;               /* finished */
    unsigned long long steps; /* resumed ones included */
    double train_loss, train_accuracy, test_loss, test_accuracy;
    double best_test_accuracy;
    int best_epoch;           /* 0: none */
    double seconds;           /* resumed parts included */
    double images_per_second; /* training only, of this call; 0 where nothing was left to do */
} convoy_train_result;

/* Trains by the model's recipe; the model holds the last weights afterwards. `test` and `options` may be
   NULL. `result` may be NULL, and is also filled when training stops early.

   The run folder holds, each file but metrics.csv replaced as a whole:
   - model.yaml: network and recipe with every default filled in;
   - metrics.csv: epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second, a
   row for each evaluation (empty fields for what is not known);
   - last.safetensors and, with a test set, best.safetensors (by test accuracy): weights under PyTorch's
   names;
   - checkpoint.safetensors: what `resume` needs, on any device.

   CONVOY_INVALID: options, data or checkpoint do not fit the model. CONVOY_MEMORY: the message names a batch
   or micro-batch that fits. CONVOY_FAILED: the loss became NaN or infinite; the last checkpoint stays.
   CONVOY_IO: a file could not be written; the previous one stays. CONVOY_INTERRUPTED: `interrupt` was set;
   the state is saved.
 */
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

/* batch_size 0: the recipe's. Where the weights know the classes by name, the set's classes are brought into
   their order; CONVOY_INVALID names those that only one of both has. */
CONVOY_API convoy_status convoy_evaluate(convoy_model *model, convoy_device *device, convoy_dataset *set,
                                         int batch_size, convoy_evaluation **evaluation);
CONVOY_API void convoy_evaluation_free(convoy_evaluation *evaluation); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
