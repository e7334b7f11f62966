/* The inside of convoy_trainer: trainer.c drives it through its epochs, trainer_open.c makes it ready,
   judge.c evaluates, chooses the best weights and writes what is kept. */
#ifndef CVY_TRAIN_TRAINER_H
#define CVY_TRAIN_TRAINER_H

#include "data/dataset.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/run_folder.h"
#include "train/step.h"

struct convoy_trainer {
    convoy_model *model;
    convoy_device *device;
    convoy_dataset *set, *validation, *test; /* the last two: NULL for none */
    const cvy_recipe *recipe;
    convoy_train_options options; /* every 0 that means "the recipe's" is filled in */
    convoy_network *network;
    cvy_loader *loader;
    cvy_training training;
    cvy_collective *collective; /* the ranks that train together; NULL: this process is alone */
    bool unlike;                /* they are not on devices that give the same bits */
    bool dealt;                 /* their pieces were dealt out by speed once */
    cvy_pieces pieces;          /* of a batch, where there is more than one; `count` always */
    cvy_statistics *statistics; /* the training's, of the epoch in progress */
    cvy_evaluator *evaluator;   /* of the validation set, else of the test set; NULL: of none */
    cvy_evaluator *final;       /* of the test set where there is a validation set */
    cvy_run_folder folder;      /* path NULL: nothing is written; of ranks only one has it */
    char *checkpoint;           /* its path, or NULL */
    cvy_tensor_file *resumed;   /* the checkpoint to go on from, until it is read */
    char *model_text;
    cvy_identity identity;
    cvy_position position;
    size_t batches, images; /* in an epoch */
    int loading;            /* the epoch whose batches the loader gives from here on; 0: none */
    bool saved;             /* a checkpoint of this run exists */
    bool evaluated;         /* in this process */
    bool wants_stop;        /* the caller's callback said so */
    bool stop;              /* that, or Ctrl-C, was heard, and the state is saved */
    bool broken;            /* the device or the numbers failed: there is nothing to go on from */
    double epoch_rate;      /* images per second of the epoch before */
    int watched;            /* the last epoch that early stopping and ReduceLROnPlateau have heard of */
    bool told; /* a resumed run begins with a step that the caller heard of: only its evaluation is missing */
    double start; /* cvy_seconds() minus the seconds of earlier parts */
    double busy;  /* seconds of training in finished epochs of this call, and their images */
    size_t timed;
};

/* ---- trainer.c ---- */

/* After the last step: where that ended an epoch and the next one has begun, the figures of the one that
   ended. */
convoy_progress cvy_trainer_progress(const convoy_trainer *t);
bool cvy_trainer_epoch_is_over(const convoy_trainer *t);
/* The settings of this step of the epoch in progress; without a schedule they may be the caller's. */
void cvy_trainer_set_rates(convoy_trainer *t, unsigned long long step);

/* convoy_train of one of several ranks, which all call it alike; only rank 0 writes into options->out. */
convoy_status cvy_train(cvy_collective *collective, const convoy_trainer *wanted,
                        const convoy_train_options *options, convoy_train_result *result);

/* ---- trainer_open.c ---- */

/* `wanted` has model, device and sets. */
convoy_status cvy_trainer_open(const char *function, const convoy_trainer *wanted,
                               const convoy_train_options *options, convoy_trainer **trainer);

/* Where ranks are not alike: deals their pieces out by the speed that was measured so far. Between steps. */
convoy_status cvy_trainer_deal(convoy_trainer *t);

/* ---- judge.c ---- */

/* How far a tensor of ranks on unlike devices may be from rank 0's, over its norm. */
extern const double cvy_unlike_tolerance;

/* The sums of the epoch live in the statistics while it runs and in the position while it is saved. */
void cvy_trainer_take_position(convoy_trainer *t);
/* Weights and checkpoint, where this rank keeps them. */
convoy_status cvy_trainer_save(convoy_trainer *t);
/* The checkpoint alone, where rank 0 was lost and this one has what it had. */
convoy_status cvy_trainer_save_for_rank_0(convoy_trainer *t);
/* The weights that the run has come to, into the model. */
convoy_status cvy_trainer_fetch(convoy_trainer *t);
/* An evaluation: figures, the best weights, whether to stop, a row of metrics.csv. */
convoy_status cvy_trainer_evaluate(convoy_trainer *t);
/* Only figures, of a run that ends within an epoch. */
convoy_status cvy_trainer_evaluate_the_end(convoy_trainer *t);
/* Does the epoch that is over end the run? */
bool cvy_trainer_is_last_epoch(const convoy_trainer *t);

#endif
