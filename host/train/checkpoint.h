/* checkpoint.safetensors: all that a run needs to go on to the same bits, on any device. Tensors:
   "model.<name>" for the state dict, and the optimizer's state under PyTorch's names per trainable tensor
   ("momentum_buffer.<name>", or "exp_avg.<name>" and "exp_avg_sq.<name>"), and "ema.<name>". Scalars are
   strings in the file's metadata, doubles as hexadecimal floats: exact, and readable. Random numbers are
   functions of (seed, step), so there is no generator to save. */
#ifndef CVY_TRAIN_CHECKPOINT_H
#define CVY_TRAIN_CHECKPOINT_H

#include "model/model.h"
#include "network/network.h"

/* Where a run stands. */
typedef struct cvy_position {
    int epoch;                 /* the one in progress, from 1; epochs + 1 when all are done */
    unsigned long long step;   /* optimizer steps so far */
    unsigned long long images; /* of this epoch, already trained on */
    bool unfinished_step;      /* the reports and evaluation that are due after `step` were not completed */
    double loss_sum;           /* over the images of this epoch */
    unsigned long long correct;
    double batch_loss;
    double test_loss, test_accuracy;               /* latest evaluation, NaN before the first */
    double epoch_train_loss, epoch_train_accuracy; /* of the last finished epoch, NaN before */
    double val_loss, val_accuracy;                 /* the same of a validation set */
    double best, best_accuracy; /* of the monitor, and the accuracy there; NaN before the first evaluation */
    int best_epoch;
    cvy_plateau plateau; /* of ReduceLROnPlateau */
    double stop_best;    /* of early stopping, and epochs since */
    unsigned waiting;
    bool stopped;   /* early stopping ended the run */
    double seconds; /* since training began */
} cvy_position;

/* What must be the same when a run goes on. */
typedef struct cvy_identity {
    const char *model; /* cvy_model_print, without the lines that may differ */
    unsigned long long seed, train_images;
    int batch_size, micro_batch; /* equal where the batch is computed whole */
    unsigned pieces;
    bool shuffle;
    unsigned long long length; /* epochs or steps of the run where its schedule follows them; else 0 */
} cvy_identity;

/* What is kept beside the model's own values, with its optimizer; each may be NULL. */
typedef struct cvy_kept {
    const cvy_optimizer *optimizer;
    cvy_buffer *state;   /* [group][states][count] */
    cvy_buffer *average; /* of the parameters: "ema.<name>" */
} cvy_kept;

/* cvy_model_print without the recipe lines that do not change what a step computes (epochs, data,
   reports_per_epoch, eval_every, early_stopping) and without batch_size, micro_batch and pieces, which
   options may override; malloc'ed. Where two are compared, recipe keys at their default do not count: a run
   goes on in a version that knows more of them. */
char *cvy_identity_model(const convoy_model *model);

/* Reads the parameters from the device into the model. CONVOY_FAILED when one of them is NaN or infinite:
   what diverged is never written over what did not. */
convoy_status cvy_checkpoint_fetch(convoy_network *network, unsigned long long step);

/* Writes the model's values, as fetched, and what is kept beside them, read from the device. */
convoy_status cvy_checkpoint_save(const char *path, convoy_network *network, const cvy_kept *kept,
                                  const cvy_identity *identity, const cvy_position *position);

/* Reads a checkpoint and compares it with its digest. */
convoy_status cvy_checkpoint_open(const char *path, cvy_tensor_file **file);
/* The other way, from the file at `path`. Everything is checked before anything is changed: CONVOY_INVALID
   names what differs from this run. */
convoy_status cvy_checkpoint_load(const char *path, const cvy_tensor_file *file, convoy_network *network,
                                  const cvy_kept *kept, const cvy_identity *identity, cvy_position *position);
/* What the classes are called, into the model. */
convoy_status cvy_checkpoint_classes(const char *path, const cvy_tensor_file *file, convoy_model *model);

/* Into how many pieces the run cuts a batch; 1 of files that do not say it. */
unsigned cvy_checkpoint_pieces(const cvy_tensor_file *file);

/* Only the step, for the question whether a folder holds a run that has begun; 0 when there is no checkpoint.
 */
convoy_status cvy_checkpoint_step(const char *path, unsigned long long *step);

#endif
