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
    size_t size;
    convoy_progress_kind kind;
    int epoch, epochs;                 /* from 1 */
    unsigned long long step;           /* steps since the run began, resumed ones included */
    size_t images_done, images_total;  /* within the epoch */
    double batch_loss;                 /* of the latest batch whose figures have arrived */
    double train_loss, train_accuracy; /* running, over the epoch so far */
    double test_loss, test_accuracy;   /* of the latest evaluation */
    double seconds;                    /* since training began, resumed parts included */
    double images_per_second;          /* training only, over the epoch so far */
    double val_loss, val_accuracy;     /* of the latest evaluation of the validation set */
    double learning_rate;              /* of the latest step, of the first parameter group */
} convoy_progress;

/* Hears of it on the thread that trains, and returns whether to go on: with 0 the step is finished, the state
   saved, and the call that trains returns CONVOY_INTERRUPTED. */
typedef int convoy_progress_callback(void *context, const convoy_progress *progress);

/* All zero is a good default. */
typedef struct convoy_train_options {
    size_t size;
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
    convoy_progress_callback *progress; /* NULL: none */
    void *context;
    const volatile int *interrupt; /* set to non-zero, by a signal handler or another thread: finish the step,
                                      save, CONVOY_INTERRUPTED */
    convoy_dataset *validation; /* NULL, or what training is judged by in place of `test`: the best weights,
                                   early stopping. `test` is then evaluated once, at the end, with the best
                                   weights where there is a run folder, else with the last */
} convoy_train_options;

/* The last epoch's figures (NaN without an epoch or a test set) and the best evaluation's. */
typedef struct convoy_train_result {
    size_t size;
    int epochs;               /* finished */
    unsigned long long steps; /* resumed ones included */
    double train_loss, train_accuracy, test_loss, test_accuracy;
    double best_test_accuracy;
    int best_epoch;           /* 0: none */
    double seconds;           /* resumed parts included */
    double images_per_second; /* training only, of this call; 0 where nothing was left to do */
    double val_loss, val_accuracy, best_val_accuracy; /* NaN without a validation set; best_test_accuracy is
                                                         NaN with one */
    double learning_rate;                             /* of the last step */
    double best_value;                                /* of the recipe's monitor, in best_epoch; NaN: none */
} convoy_train_result;

/* Trains by the model's recipe; the model holds the last weights afterwards. `test` and `options` may be
   NULL. `result` may be NULL, and is also filled when training stops early.

   The run folder holds, each file but metrics.csv replaced as a whole:
   - model.yaml: network and recipe with every default filled in;
   - metrics.csv: epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_second,
   val_loss,val_accuracy,lr, a row for each evaluation (empty fields for what is not known; with a validation
   set the test set's stand in the last row alone);
   - last.safetensors and, with a validation or test set, best.safetensors (by the recipe's monitor): weights
   under PyTorch's names, averaged ones where the recipe has `ema`;
   - checkpoint.safetensors: what `resume` needs, on any device.

   CONVOY_INVALID: options, data or checkpoint do not fit the model. CONVOY_MEMORY: the message names a batch
   or micro-batch that fits. CONVOY_FAILED: the loss became NaN or infinite; the last checkpoint stays.
   CONVOY_IO: a file could not be written; the previous one stays. CONVOY_INTERRUPTED: `interrupt` was set, or
   `progress` returned 0; the state is saved.
 */
CONVOY_API convoy_status convoy_train(convoy_model *model, convoy_device *device, convoy_dataset *train,
                                      convoy_dataset *test, const convoy_train_options *options,
                                      convoy_train_result *result);

/* ---- A loop of one's own ---- */

/* What convoy_train drives: a model on its way through the epochs of a set. Model, device and sets must
   outlive it, and be used for nothing else meanwhile. */
typedef struct convoy_trainer convoy_trainer;

/* Makes everything ready for the first step, or, with `resume`, for the one that the run stands before. The
   same options as for convoy_train, and the same failures. */
CONVOY_API convoy_status convoy_trainer_open(convoy_model *model, convoy_device *device,
                                             convoy_dataset *train, convoy_dataset *test,
                                             const convoy_train_options *options, convoy_trainer **trainer);
CONVOY_API void convoy_trainer_close(convoy_trainer *trainer); /* NULL is allowed. Saves nothing */

/* One step on the next batch: forward, backward, optimizer; no evaluation, no file, no callback, which are
   the caller's affair. It does not wait for the device: figures lag behind, but for those of an epoch's last
   step. `progress` may be NULL; its kind is CONVOY_PROGRESS_STEP, or CONVOY_PROGRESS_EPOCH where that was an
   epoch's last step: the next one begins the next epoch. `epochs` of the options ends nothing here.
   CONVOY_FAILED: the loss became NaN or infinite. */
CONVOY_API convoy_status convoy_trainer_step(convoy_trainer *trainer, convoy_progress *progress);

/* All steps from here to the end of the epoch, with the reports, evaluations and files that recipe and
   options ask for. convoy_train is this until all epochs are done. CONVOY_INVALID where max_steps are done.
 */
CONVOY_API convoy_status convoy_trainer_epoch(convoy_trainer *trainer);

/* Loss and accuracy of the test set now, or of the validation set where there is one; either may be NULL.
   With a run folder, a row of metrics.csv, and best.safetensors where it is the best so far. CONVOY_INVALID
   without a test set. */
CONVOY_API convoy_status convoy_trainer_evaluate(convoy_trainer *trainer, double *loss, double *accuracy);

/* Of the steps from now on, over 0 or 0, at first the recipe's. No checkpoint holds it: a loop that changes
   it sets it again when it resumes. 0 and a message for NULL. CONVOY_INVALID to set it where the recipe has a
   scheduler, which does. */
CONVOY_API double convoy_trainer_learning_rate(const convoy_trainer *trainer);
CONVOY_API convoy_status convoy_trainer_set_learning_rate(convoy_trainer *trainer, double learning_rate);

/* Where training stands; the figures are those that have arrived. */
CONVOY_API convoy_status convoy_trainer_progress(const convoy_trainer *trainer, convoy_progress *progress);

/* Brings the weights from the device into the model. CONVOY_FAILED: one of them is NaN or infinite. */
CONVOY_API convoy_status convoy_trainer_fetch(convoy_trainer *trainer);
/* Fetches the weights, and writes last.safetensors and checkpoint.safetensors into the run folder, from which
   convoy_train or a trainer resumes. CONVOY_INVALID without a folder (`out`). */
CONVOY_API convoy_status convoy_trainer_save(convoy_trainer *trainer);

/* ---- Evaluation ---- */

typedef struct convoy_class_result {
    size_t size;
    const char *name;             /* owned by the dataset */
    double precision, recall, f1; /* 0 where undefined */
    unsigned long long support;
    double roc_auc; /* of the class against all others; NaN where one of both has no images */
} convoy_class_result;

typedef struct convoy_evaluation {
    size_t size;
    size_t images;
    double loss, accuracy;
    int class_count;
    const convoy_class_result *const *classes; /* [class_count] */
    const unsigned long long *confusion; /* [class_count][class_count]: rows true classes, columns answers */
    double top5_accuracy;                /* the right class is among the five most probable ones */
    double balanced_accuracy;            /* mean recall of the classes that have images */
    /* Means over the classes that occur or are answered; weighted by their images. */
    double macro_precision, macro_recall, macro_f1, weighted_precision, weighted_recall, weighted_f1;
    double roc_auc; /* mean over the classes, each against the rest */
} convoy_evaluation;

/* batch_size 0: the recipe's. Where the weights know the classes by name, the set's classes are brought into
   their order; CONVOY_INVALID names those that only one of both has. */
CONVOY_API convoy_status convoy_evaluate(convoy_model *model, convoy_device *device, convoy_dataset *set,
                                         int batch_size, const convoy_evaluation **evaluation);
CONVOY_API void convoy_evaluation_free(const convoy_evaluation *evaluation); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
