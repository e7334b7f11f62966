/* The trainer behind convoy_train and behind loops of one's own. One batch walks loader -> forward -> loss
   and its gradient -> backward -> optimizer, all launched without waiting; what comes back is the ring of
   statistics. What is due after a step (reports, evaluations, files) is a function of the position in the run
   alone, so that a resumed run does the same at the same steps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/given.h"
#include "base/log.h"
#include "base/status.h"
#include "data/dataset.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/run_folder.h"
#include "train/step.h"
#include "train/trace.h"

struct convoy_trainer {
    convoy_model *model;
    convoy_device *device;
    convoy_dataset *set, *test; /* test: NULL for none */
    const cvy_recipe *recipe;
    convoy_train_options options; /* every 0 that means "the recipe's" is filled in */
    convoy_network *network;
    cvy_loader *loader;
    cvy_training training;
    cvy_statistics *statistics; /* the training's, of the epoch in progress */
    cvy_evaluator *evaluator;   /* NULL without a test set */
    cvy_run_folder folder;      /* path NULL: nothing is written */
    char *checkpoint;           /* its path, or NULL */
    cvy_tensor_file *resumed;   /* the checkpoint to go on from, until it is read */
    char *model_text;
    cvy_identity identity;
    cvy_position position;
    size_t batches, images; /* in an epoch */
    int loading;            /* the epoch whose batches the loader gives from here on; 0: none */
    bool saved;             /* a checkpoint of this run exists */
    bool wants_stop;        /* the caller's callback said so */
    bool stop;              /* that, or Ctrl-C, was heard, and the state is saved */
    bool broken;            /* the device or the numbers failed: there is nothing to go on from */
    double epoch_rate;      /* images per second of the epoch before */
    bool told; /* a resumed run begins with a step that the caller heard of: only its evaluation is missing */
    double start; /* cvy_seconds() minus the seconds of earlier parts */
    double busy;  /* seconds of training in finished epochs of this call, and their images */
    size_t timed;
};

/* ---- what the caller hears ---- */

static convoy_progress progress_now(const convoy_trainer *t) {
    const cvy_statistics *s = t->statistics;
    return (convoy_progress){
        .size = sizeof(convoy_progress),
        .kind = CONVOY_PROGRESS_STEP,
        .epoch = t->position.epoch,
        .epochs = t->options.epochs,
        .step = t->position.step,
        .images_done = (size_t)t->position.images,
        .images_total = t->images,
        .batch_loss = s->batch_loss,
        .train_loss = cvy_statistics_loss(s),
        .train_accuracy = cvy_statistics_accuracy(s),
        .test_loss = t->position.test_loss,
        .test_accuracy = t->position.test_accuracy,
        .seconds = cvy_seconds() - t->start,
        .images_per_second = cvy_statistics_rate(s),
    };
}

/* After the last step: where that ended an epoch and the next one has begun, the figures of the one that
 * ended. */
static convoy_progress progress_after_step(const convoy_trainer *t) {
    const cvy_position *p = &t->position;
    convoy_progress progress = progress_now(t);
    if (p->images > 0 || p->epoch == 1)
        return progress;
    progress.kind = CONVOY_PROGRESS_EPOCH;
    progress.epoch = p->epoch - 1;
    progress.images_done = t->images;
    progress.batch_loss = p->batch_loss;
    progress.train_loss = p->epoch_train_loss;
    progress.train_accuracy = p->epoch_train_accuracy;
    progress.images_per_second = t->epoch_rate;
    return progress;
}

static void tell(convoy_trainer *t, convoy_progress_kind kind) {
    if (!t->options.progress)
        return;
    convoy_progress progress = progress_now(t);
    progress.kind = kind;
    if (!t->options.progress(t->options.context, &progress))
        t->wants_stop = true;
}

/* ---- files ---- */

/* The sums of the epoch live in the statistics while it runs and in the position while it is saved. */
static void position_from_statistics(convoy_trainer *t) {
    t->position.loss_sum = t->statistics->loss_sum;
    t->position.correct = t->statistics->correct;
    t->position.batch_loss = t->statistics->batch_loss;
    t->position.seconds = cvy_seconds() - t->start;
}

static void statistics_from_position(convoy_trainer *t) {
    cvy_statistics_reset(t->statistics);
    t->statistics->loss_sum = t->position.loss_sum;
    t->statistics->correct = t->position.correct;
    t->statistics->images = t->position.images;
    t->statistics->batch_loss = t->position.batch_loss;
}

/* last.safetensors first: when the checkpoint is there, everything that belongs to it is. */
static convoy_status save(convoy_trainer *t) {
    if (!t->checkpoint)
        return CONVOY_OK;
    position_from_statistics(t);
    convoy_status status = cvy_checkpoint_fetch(t->network, t->position.step);
    if (!status)
        status = cvy_run_folder_save_weights(&t->folder, "last.safetensors", t->model);
    if (!status)
        status = cvy_checkpoint_save(t->checkpoint, t->network, &t->training.optimizer, t->training.state,
                                     &t->identity, &t->position);
    t->saved = t->saved || !status;
    cvy_statistics_resume_clock(t->statistics);
    return status;
}

static convoy_status save_best(convoy_trainer *t) {
    if (!t->folder.path)
        return CONVOY_OK;
    convoy_status status = cvy_checkpoint_fetch(t->network, t->position.step);
    return status ? status : cvy_run_folder_save_weights(&t->folder, "best.safetensors", t->model);
}

/* ---- one step and what is due after it ---- */

static convoy_status take_step(convoy_trainer *t) {
    cvy_position *p = &t->position;
    size_t left = t->images - (size_t)p->images, batch = (size_t)t->options.batch_size;
    int n = (int)(left < batch ? left : batch);
    convoy_status status = cvy_training_step(&t->training, t->loader, n, p->step);
    if (status)
        return status;
    p->step++;
    p->images += (unsigned long long)n;
    p->unfinished_step = true;
    return CONVOY_OK;
}

static convoy_status explain_divergence(convoy_trainer *t, unsigned long long step, cvy_text *found);

static convoy_status read_statistics(convoy_trainer *t) {
    convoy_status status = cvy_statistics_read(t->statistics);
    if (status || !t->statistics->first_bad)
        return status;
    /* The bad batch is among those just read: count back from the last. */
    unsigned long long step = t->position.step - (t->statistics->read - t->statistics->first_bad);
    const int epoch = t->position.epoch;
    cvy_text found = {0};
    if (explain_divergence(t, step, &found))
        cvy_debug("what made the loss NaN or infinite was not found: %s", convoy_error_message());
    status = cvy_fail(
        CONVOY_FAILED,
        "the loss became NaN or infinite in step %llu (epoch %d): training has diverged. Lower the learning "
        "rate (now %g), or start from other weights or data%s%s%s%s",
        step, epoch, t->training.optimizer.lr, t->saved ? "; the last good state is kept in " : "",
        t->saved ? t->checkpoint : "", found.length ? ". Traced: " : "", cvy_text_get(&found));
    cvy_text_free(&found);
    return status;
}

/* Batches of this epoch that are done. */
static size_t batch_index(const convoy_trainer *t) {
    size_t batch = (size_t)t->options.batch_size;
    return ((size_t)t->position.images + batch - 1) / batch;
}

static bool epoch_is_over(const convoy_trainer *t) {
    return t->position.images >= t->images;
}

/* reports_per_epoch lines, evenly spread, the last at the end of the epoch. */
static bool report_is_due(const convoy_trainer *t) {
    size_t done = batch_index(t), reports = (size_t)t->recipe->reports_per_epoch;
    return reports && done && done * reports / t->batches > (done - 1) * reports / t->batches;
}

static bool evaluation_is_due(const convoy_trainer *t) {
    if (epoch_is_over(t))
        return true;
    return t->options.eval_every > 0 && t->evaluator && batch_index(t) % (size_t)t->options.eval_every == 0;
}

static bool checkpoint_is_due(const convoy_trainer *t) {
    int every = t->options.checkpoint_every;
    return epoch_is_over(t) || (every > 0 && t->position.step % (unsigned long long)every == 0);
}

static bool steps_are_used_up(const convoy_trainer *t) {
    return t->options.max_steps && t->position.step >= t->options.max_steps;
}

/* The test set, the best weights, a row of metrics.csv. */
static convoy_status evaluate(convoy_trainer *t) {
    cvy_position *p = &t->position;
    convoy_status status = CONVOY_OK;
    const convoy_progress before = progress_after_step(t);
    if (t->evaluator) {
        status = cvy_evaluator_run(t->evaluator, t->options.interrupt, &p->test_loss, &p->test_accuracy);
        if (!status && (isnan(p->best_accuracy) || p->test_accuracy > p->best_accuracy)) {
            p->best_accuracy = p->test_accuracy;
            p->best_epoch = before.epoch;
            status = save_best(t);
        }
    }
    if (!status && t->folder.path) {
        const convoy_progress progress = progress_after_step(t);
        status = cvy_run_folder_add_metrics(&t->folder, &progress);
    }
    cvy_statistics_resume_clock(t->statistics);
    return status;
}

static void begin_next_epoch(convoy_trainer *t) {
    cvy_position *p = &t->position;
    p->epoch_train_loss = cvy_statistics_loss(t->statistics);
    p->epoch_train_accuracy = cvy_statistics_accuracy(t->statistics);
    t->epoch_rate = cvy_statistics_rate(t->statistics);
    t->busy += t->statistics->busy;
    t->timed += t->statistics->timed;
    p->batch_loss = t->statistics->batch_loss;
    p->epoch++;
    p->images = 0;
    p->loss_sum = 0;
    p->correct = 0;
    statistics_from_position(t);
}

/* An evaluation that Ctrl-C cut short: the state is saved as it was before it, and resuming begins with it.
 */
static convoy_status save_unfinished(convoy_trainer *t, const cvy_position *before) {
    t->position.test_loss = before->test_loss;
    t->position.test_accuracy = before->test_accuracy;
    convoy_status status = save(t);
    return status ? status : CONVOY_INTERRUPTED;
}

/* What went wrong with the next batch or with a file takes nothing of what was trained: the state is saved as
   it was after the last step. Where the device or the numbers failed there is no good state to save. */
static convoy_status save_before_failing(convoy_trainer *t, convoy_status failure) {
    if (!t->checkpoint || (failure != CONVOY_INVALID && failure != CONVOY_IO))
        return failure;
    char *message = strdup(convoy_error_message());
    convoy_status status = read_statistics(t);
    if (!status)
        status = save(t);
    if (message)
        cvy_fail(failure, "%s%s%s", message, status ? "" : "; the state of the step before is saved in ",
                 status ? "" : t->checkpoint);
    free(message);
    return failure;
}

/* Reports, evaluations and files that are due at this position. */
static convoy_status finish_step(convoy_trainer *t) {
    cvy_position before = t->position;
    bool report = report_is_due(t), evaluation = evaluation_is_due(t), over = epoch_is_over(t);
    const bool asked = t->options.interrupt && *t->options.interrupt;
    bool checkpoint = asked || steps_are_used_up(t) || checkpoint_is_due(t);
    convoy_status status = CONVOY_OK;
    if (report || evaluation || checkpoint || cvy_statistics_due(t->statistics))
        status = read_statistics(t);
    if (status)
        return status;
    if (!t->told)
        tell(t, CONVOY_PROGRESS_STEP);
    if (!t->told && report)
        tell(t, CONVOY_PROGRESS_REPORT);
    t->told = false;
    if (evaluation) {
        status = evaluate(t);
        if (status == CONVOY_INTERRUPTED)
            return save_unfinished(t, &before);
        if (status) {
            t->position.test_loss = before.test_loss;
            t->position.test_accuracy = before.test_accuracy;
            return save_before_failing(t, status);
        }
        tell(t, over ? CONVOY_PROGRESS_EPOCH : CONVOY_PROGRESS_TEST);
    }
    t->position.unfinished_step = false;
    if (t->wants_stop && !checkpoint && (status = read_statistics(t)))
        return status;
    if (over)
        begin_next_epoch(t);
    t->stop = asked || t->wants_stop;
    return checkpoint || t->stop ? save(t) : CONVOY_OK;
}

/* ---- the run ---- */

static bool is_done(const convoy_trainer *t) {
    return t->position.epoch > t->options.epochs || steps_are_used_up(t);
}

static convoy_status fail_interrupted(const convoy_trainer *t) {
    return cvy_fail(CONVOY_INTERRUPTED, "%s after step %llu, in epoch %d of %d%s%s",
                    t->wants_stop ? "stopped by the program" : "interrupted", t->position.step,
                    t->position.epoch, t->options.epochs, t->checkpoint ? "; the state is saved in " : "",
                    t->checkpoint ? t->checkpoint : "");
}

/* The loader gives the batches from the position on. */
static convoy_status start_loader(convoy_trainer *t) {
    if (t->loading == t->position.epoch)
        return CONVOY_OK;
    convoy_status status = cvy_loader_start(t->loader, (uint32_t)t->position.epoch, batch_index(t));
    t->loading = status ? 0 : t->position.epoch;
    return status;
}

/* ---- tracing ---- */

/* Steps that are done again to come to the one that is asked about take no longer than this, in seconds. */
static const double replay_limit = 120;

/* From the latest checkpoint, before the one step of number `step` (from 1): the same bits as the first time.
 */
static convoy_status replay(convoy_trainer *t, unsigned long long step) {
    cvy_tensor_file *file = NULL;
    const double start = cvy_seconds();
    convoy_status status = cvy_checkpoint_open(t->checkpoint, &file);
    if (!status)
        status = cvy_checkpoint_load(t->checkpoint, file, t->network, &t->training.optimizer,
                                     t->training.state, &t->identity, &t->position);
    cvy_tensor_file_free(file);
    t->loading = 0;
    statistics_from_position(t);
    while (!status && t->position.step + 1 < step) {
        status = start_loader(t);
        if (!status)
            status = take_step(t);
        t->statistics->pending = 0;
        if (epoch_is_over(t))
            begin_next_epoch(t);
        if ((t->options.interrupt && *t->options.interrupt) || cvy_seconds() - start > replay_limit)
            status = cvy_fail(CONVOY_INTERRUPTED, "it lies too far behind the latest checkpoint");
    }
    return status ? status : start_loader(t);
}

/* The step before first: what it did to the parameters shows only in the next one's loss. Afterwards the
   trainer is where nothing can go on from. */
static convoy_status explain_divergence(convoy_trainer *t, unsigned long long step, cvy_text *found) {
    if (!t->saved || !t->checkpoint)
        return CONVOY_OK;
    convoy_status status = CONVOY_OK;
    for (unsigned long long s = step > 1 ? step - 1 : step; s <= step && !status && !found->length; s++) {
        status = replay(t, s);
        if (!status && t->position.step + 1 == s) {
            const size_t left = t->images - (size_t)t->position.images, batch = (size_t)t->options.batch_size;
            status = cvy_training_trace(&t->training, t->loader, (int)(left < batch ? left : batch),
                                        t->position.step, found);
        }
    }
    return status;
}

/* From the position to the end of its epoch. */
static convoy_status train_epoch(convoy_trainer *t) {
    int epoch = t->position.epoch;
    convoy_status status = start_loader(t);
    cvy_statistics_resume_clock(t->statistics);
    while (!status && t->position.epoch == epoch) {
        if (!t->position.unfinished_step && (status = take_step(t)))
            return save_before_failing(t, status);
        if (!status)
            status = finish_step(t);
        const bool more = t->position.epoch == epoch || t->position.epoch <= t->options.epochs;
        if (!status && t->stop && more && !steps_are_used_up(t))
            status = CONVOY_INTERRUPTED;
        if (steps_are_used_up(t))
            break;
    }
    return status;
}

static convoy_status train_all(convoy_trainer *t) {
    convoy_status status = CONVOY_OK;
    tell(t, CONVOY_PROGRESS_START);
    while (!status && !is_done(t))
        status = t->wants_stop ? CONVOY_INTERRUPTED : train_epoch(t);
    return status == CONVOY_INTERRUPTED ? fail_interrupted(t) : status;
}

/* ---- setting up ---- */

static convoy_status check_options(const convoy_trainer *t) {
    const convoy_train_options *o = &t->options;
    if (o->resume && !o->out)
        return cvy_fail(CONVOY_INVALID, "resume needs the folder of the run that it continues (`out`)");
    if (o->resume && (o->init || o->keep_weights))
        return cvy_fail(CONVOY_INVALID,
                        "resume continues with the weights of the run: leave out the initial weights");
    if (o->init_strict && !o->init)
        return cvy_fail(CONVOY_INVALID,
                        "strict initial weights (`init_strict`) need a file of them (`init`)");
    if (o->init && o->keep_weights)
        return cvy_fail(CONVOY_INVALID, "initial weights come from a file or from the model, not from both");
    if (o->epochs < 1 || o->batch_size < 1 || o->micro_batch < 1 || o->checkpoint_every < 0 ||
        o->eval_every < -1)
        return cvy_fail(
            CONVOY_INVALID,
            "epochs (%d), batch size (%d) and micro-batch (%d) must be at least 1, steps between evaluations "
            "(%d) and checkpoints (%d) not negative",
            o->epochs, o->batch_size, o->micro_batch, o->eval_every, o->checkpoint_every);
    if (convoy_dataset_classes(t->set) == 0)
        return cvy_fail(CONVOY_INVALID, "%s has no labels: nothing to learn from",
                        convoy_dataset_name(t->set));
    return CONVOY_OK;
}

static void fill_options(convoy_trainer *t) {
    if (t->options.epochs == 0)
        t->options.epochs = t->recipe->epochs;
    if (t->options.batch_size == 0)
        t->options.batch_size = t->recipe->batch_size;
    if (t->options.micro_batch == 0)
        t->options.micro_batch = t->recipe->micro_batch;
    if (t->options.micro_batch == 0 || t->options.micro_batch > t->options.batch_size)
        t->options.micro_batch = t->options.batch_size;
    if (t->options.eval_every == 0)
        t->options.eval_every = t->recipe->eval_every;
}

static convoy_status initial_weights(convoy_trainer *t) {
    cvy_tensor_file *file = NULL;
    if (t->options.keep_weights)
        return CONVOY_OK;
    if (t->options.resume)
        return cvy_checkpoint_classes(t->checkpoint, t->resumed, t->model);
    convoy_status status = convoy_model_initialise(t->model, t->options.seed);
    if (status || !t->options.init)
        return status;
    status = cvy_tensor_file_load(t->options.init, &file);
    if (!status)
        status = cvy_model_take_weights(t->model, file, t->options.init,
                                        t->options.init_strict ? CVY_WEIGHTS_BEGIN : CVY_WEIGHTS_KEEP);
    cvy_tensor_file_free(file);
    return status;
}

/* The sets' classes in the order in which the weights know them. Weights of other classes are a beginning
   too, but not of a run that goes on. */
static convoy_status order_classes(convoy_trainer *t) {
    const cvy_classes known = cvy_model_classes(t->model);
    const char *owner = t->options.resume ? t->checkpoint : t->options.init ? t->options.init : "the model";
    convoy_status status = known.count ? cvy_dataset_order_classes(t->set, &known, owner) : CONVOY_OK;
    if (status == CONVOY_INVALID && !t->options.resume) {
        cvy_warning("%s. Every output begins with the weights of another class", convoy_error_message());
        status = CONVOY_OK;
    }
    const cvy_classes classes = cvy_dataset_classes(t->set);
    if (!status && t->test)
        status = cvy_dataset_order_classes(t->test, &classes, "the training set");
    if (!status)
        cvy_model_set_classes(t->model, &classes);
    return status;
}

/* A folder is taken when its run has begun: a checkpoint of step 0 protects nothing. */
static convoy_status open_folder(convoy_trainer *t) {
    unsigned long long step = 0;
    convoy_status status = CONVOY_OK;
    if (!t->options.out)
        return CONVOY_OK;
    t->checkpoint = cvy_path_join(t->options.out, "checkpoint.safetensors");
    if (t->options.resume && !cvy_file_exists(t->checkpoint))
        return cvy_fail(CONVOY_INVALID, "cannot resume: there is no %s. Start the run without resume",
                        t->checkpoint);
    status = cvy_run_folder_open(t->options.out, &t->folder);
    if (!status && t->options.resume)
        status = cvy_checkpoint_open(t->checkpoint, &t->resumed);
    else if (!status)
        status = cvy_checkpoint_step(t->checkpoint, &step);
    if (!status && step)
        status =
            cvy_fail(CONVOY_INVALID,
                     "%s already holds a run of %llu steps: resume it, choose another folder, or delete it",
                     t->options.out, step);
    return status;
}

static void list_beside(const convoy_trainer *t, cvy_sizes *beside) {
    const int pitch = cvy_network_pitch_of(cvy_device_get_traits(t->device), t->options.micro_batch, true);
    cvy_training_sizes(t->device, pitch, beside);
    cvy_feed_sizes(t->model, t->device, t->set, CVY_PER_BATCH, beside);
    if (t->test)
        cvy_evaluator_sizes(t->model, t->device, t->test, pitch, false, beside);
}

static convoy_status build(convoy_trainer *t) {
    cvy_sizes beside = {0};
    const cvy_network_options options = {.batch_size = t->options.micro_batch,
                                         .whole_batch = t->options.batch_size,
                                         .training = true,
                                         .as_before = t->options.resume,
                                         .seed = t->options.seed,
                                         .variant = t->options.variant,
                                         .beside = &beside};
    list_beside(t, &beside);
    bool shuffle = t->recipe->shuffle && !t->options.no_shuffle;
    convoy_status status = cvy_network_create(t->model, t->device, &options, &t->network);
    if (status)
        return status;
    status = cvy_training_create(t->network, t->device, t->options.batch_size, &t->training);
    if (!status)
        status = cvy_feed_create(t->network, t->device, t->set, t->options.batch_size, shuffle,
                                 t->options.seed, &t->loader);
    if (!status && t->test)
        status = cvy_evaluator_create(t->network, t->device, t->test, false, &t->evaluator);
    if (status)
        return status;
    t->batches = cvy_loader_batches(t->loader);
    t->identity = (cvy_identity){.model = t->model_text,
                                 .seed = t->options.seed,
                                 .train_images = t->images,
                                 .batch_size = t->options.batch_size,
                                 .micro_batch = t->options.micro_batch,
                                 .shuffle = shuffle};
    return CONVOY_OK;
}

/* The position to begin at, and the folder's first files. */
static convoy_status begin(convoy_trainer *t) {
    convoy_status status = CONVOY_OK;
    t->position = (cvy_position){.epoch = 1,
                                 .batch_loss = NAN,
                                 .test_loss = NAN,
                                 .test_accuracy = NAN,
                                 .epoch_train_loss = NAN,
                                 .epoch_train_accuracy = NAN,
                                 .best_accuracy = NAN};
    if (t->options.resume)
        status = cvy_checkpoint_load(t->checkpoint, t->resumed, t->network, &t->training.optimizer,
                                     t->training.state, &t->identity, &t->position);
    cvy_tensor_file_free(t->resumed);
    t->resumed = NULL;
    if (status)
        return status;
    t->saved = t->options.resume;
    t->told = t->position.unfinished_step;
    t->start = cvy_seconds() - t->position.seconds;
    statistics_from_position(t);
    if (!t->folder.path)
        return CONVOY_OK;
    bool unfinished = t->position.unfinished_step; /* its row comes again */
    status = cvy_run_folder_start_metrics(&t->folder, t->options.resume, t->position.step - unfinished);
    if (!status && !t->options.resume) {
        char *text = cvy_model_print(t->model);
        status = cvy_run_folder_save_text(&t->folder, "model.yaml", text);
        free(text);
        if (!status)
            status = save(t);
    }
    return status;
}

static void fill_result(const convoy_trainer *t, convoy_train_result *result) {
    const cvy_position *p = &t->position;
    double busy = t->busy + t->statistics->busy;
    bool within = p->images > 0; /* stopped within an epoch: its running figures are the latest */
    *result = (convoy_train_result){
        .size = sizeof *result,
        .epochs = p->epoch - 1,
        .steps = p->step,
        .train_loss = within ? cvy_statistics_loss(t->statistics) : p->epoch_train_loss,
        .train_accuracy = within ? cvy_statistics_accuracy(t->statistics) : p->epoch_train_accuracy,
        .test_loss = p->test_loss,
        .test_accuracy = p->test_accuracy,
        .best_test_accuracy = p->best_accuracy,
        .best_epoch = p->best_epoch,
        .seconds = cvy_seconds() - t->start,
        .images_per_second = busy > 0 ? (double)(t->timed + t->statistics->timed) / busy : 0,
    };
}

/* Where max_steps ended a run within an epoch: its figures of that moment, for the result alone. */
static convoy_status evaluate_the_end(convoy_trainer *t) {
    if (!t->evaluator || t->position.images == 0)
        return CONVOY_OK;
    cvy_position *p = &t->position;
    return cvy_evaluator_run(t->evaluator, t->options.interrupt, &p->test_loss, &p->test_accuracy);
}

/* ---- the public calls ---- */

static convoy_status open_all(convoy_trainer *t) {
    convoy_status status = check_options(t);
    if (!status)
        status = cvy_feed_check(t->model, t->set);
    if (!status && t->test)
        status = cvy_feed_check(t->model, t->test);
    if (!status)
        status = open_folder(t);
    if (!status)
        status = initial_weights(t);
    if (!status)
        status = order_classes(t);
    if (status)
        return status;
    t->model_text = cvy_identity_model(t->model);
    status = build(t);
    return status ? status : begin(t);
}

static convoy_status check_given(const char *function, const convoy_model *model, const convoy_device *device,
                                 const convoy_dataset *train, const convoy_dataset *test) {
    convoy_status status = cvy_given_object(function, "model", model);
    if (!status)
        status = cvy_given_object(function, "device", device);
    if (!status)
        status = cvy_given_object(function, "train", train);
    return !status && test ? cvy_given_object(function, "test", test) : status;
}

static convoy_status open_trainer(const char *function, const convoy_trainer *wanted,
                                  const convoy_train_options *options, convoy_trainer **out) {
    *out = NULL;
    convoy_status status = check_given(function, wanted->model, wanted->device, wanted->set, wanted->test);
    if (status)
        return status;
    convoy_trainer *t = malloc(sizeof *t);
    if (!t)
        return cvy_fail_memory("a trainer", sizeof *t);
    *t = *wanted;
    t->recipe = cvy_model_recipe(t->model);
    t->images = convoy_dataset_count(t->set);
    t->statistics = &t->training.statistics;
    cvy_object_open(t);
    status = cvy_take_struct(function, "options", options, &t->options, sizeof t->options);
    if (!status) {
        fill_options(t);
        status = open_all(t);
    }
    t->options.out = t->options.init = t->options.variant = NULL; /* the caller's text need not live on */
    if (status)
        convoy_trainer_close(t);
    else
        *out = t;
    return status;
}

convoy_status convoy_trainer_open(convoy_model *model, convoy_device *device, convoy_dataset *train,
                                  convoy_dataset *test, const convoy_train_options *options,
                                  convoy_trainer **trainer) {
    const convoy_trainer wanted = {.model = model, .device = device, .set = train, .test = test};
    convoy_status status = CVY_GIVEN_POINTER(trainer);
    return status ? status : open_trainer(__func__, &wanted, options, trainer);
}

void convoy_trainer_close(convoy_trainer *t) {
    if (!t || !cvy_object_close(__func__, "trainer", t))
        return;
    cvy_evaluator_free(t->evaluator);
    cvy_loader_free(t->loader);
    cvy_training_free(&t->training);
    convoy_network_close(t->network);
    cvy_run_folder_close(&t->folder);
    cvy_tensor_file_free(t->resumed);
    free(t->checkpoint);
    free(t->model_text);
    free(t);
}

/* One that is open, and can go on. */
static convoy_status check_trainer(const char *function, const convoy_trainer *trainer) {
    convoy_status status = cvy_given_object(function, "trainer", trainer);
    if (!status && trainer->broken)
        status = cvy_fail(
            CONVOY_FAILED,
            "%s: this trainer failed before, and there is nothing to go on from: close it, and begin or "
            "resume with another one",
            function);
    return status;
}

/* What only a batch or a file is to blame for can be tried again. */
static convoy_status note_failure(convoy_trainer *t, convoy_status status) {
    if (status)
        t->loading = 0;
    if (status == CONVOY_FAILED || status == CONVOY_DEVICE || status == CONVOY_MEMORY)
        t->broken = true;
    return status;
}

static convoy_status step_alone(convoy_trainer *t) {
    convoy_status status = start_loader(t);
    t->position.unfinished_step = false; /* what was due after it is the caller's affair */
    if (!status)
        status = take_step(t);
    if (status)
        return status;
    t->position.unfinished_step = false;
    const bool over = epoch_is_over(t);
    if (over || cvy_statistics_due(t->statistics))
        status = read_statistics(t);
    if (!status && over)
        begin_next_epoch(t);
    return status;
}

convoy_status convoy_trainer_step(convoy_trainer *trainer, convoy_progress *progress) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status)
        status = cvy_check_struct(__func__, "progress", progress);
    if (status)
        return status;
    status = note_failure(trainer, step_alone(trainer));
    if (status || !progress)
        return status;
    const convoy_progress now = progress_after_step(trainer);
    return cvy_give_struct(__func__, "progress", progress, &now, sizeof now);
}

convoy_status convoy_trainer_epoch(convoy_trainer *trainer) {
    convoy_status status = check_trainer(__func__, trainer);
    if (status)
        return status;
    if (steps_are_used_up(trainer))
        return cvy_fail(CONVOY_INVALID, "%s: the %llu steps that max_steps allows are done", __func__,
                        trainer->options.max_steps);
    trainer->wants_stop = false;
    status = note_failure(trainer, train_epoch(trainer));
    return status == CONVOY_INTERRUPTED ? fail_interrupted(trainer) : status;
}

convoy_status convoy_trainer_evaluate(convoy_trainer *trainer, double *loss, double *accuracy) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status && !trainer->evaluator)
        status = cvy_fail(CONVOY_INVALID, "%s: the trainer was opened without a test set", __func__);
    if (!status)
        status = note_failure(trainer, read_statistics(trainer));
    if (!status)
        status = evaluate(trainer);
    if (loss)
        *loss = status ? NAN : trainer->position.test_loss;
    if (accuracy)
        *accuracy = status ? NAN : trainer->position.test_accuracy;
    return status;
}

double convoy_trainer_learning_rate(const convoy_trainer *trainer) {
    return CVY_GIVEN(trainer) ? 0 : trainer->training.optimizer.lr;
}

convoy_status convoy_trainer_set_learning_rate(convoy_trainer *trainer, double learning_rate) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status && !(isfinite(learning_rate) && learning_rate >= 0))
        status = cvy_fail(CONVOY_INVALID, "%s: a learning rate of %g cannot be: 0 or more", __func__,
                          learning_rate);
    if (!status)
        trainer->training.optimizer.lr = learning_rate;
    return status;
}

convoy_status convoy_trainer_progress(const convoy_trainer *trainer, convoy_progress *progress) {
    convoy_status status = CVY_GIVEN(trainer);
    if (!status)
        status = CVY_GIVEN_POINTER(progress);
    if (status)
        return status;
    const convoy_progress now = progress_after_step(trainer);
    return cvy_give_struct(__func__, "progress", progress, &now, sizeof now);
}

convoy_status convoy_trainer_fetch(convoy_trainer *trainer) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status)
        status = note_failure(trainer, read_statistics(trainer));
    return status ? status : cvy_checkpoint_fetch(trainer->network, trainer->position.step);
}

convoy_status convoy_trainer_save(convoy_trainer *trainer) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status && !trainer->checkpoint)
        status =
            cvy_fail(CONVOY_INVALID, "%s: the trainer was opened without a run folder (`out`)", __func__);
    if (!status)
        status = note_failure(trainer, read_statistics(trainer));
    return status ? status : save(trainer);
}

/* The open trainer through all of its epochs. */
static convoy_status run(convoy_trainer *t) {
    convoy_status status = train_all(t);
    if (!status)
        status = evaluate_the_end(t);
    return status ? status : cvy_checkpoint_fetch(t->network, t->position.step);
}

convoy_status convoy_train(convoy_model *model, convoy_device *device, convoy_dataset *train,
                           convoy_dataset *test, const convoy_train_options *options,
                           convoy_train_result *result) {
    const convoy_trainer wanted = {.model = model, .device = device, .set = train, .test = test};
    convoy_train_result figures = {.size = sizeof figures,
                                   .train_loss = NAN,
                                   .train_accuracy = NAN,
                                   .test_loss = NAN,
                                   .test_accuracy = NAN,
                                   .best_test_accuracy = NAN};
    convoy_trainer *t = NULL;
    convoy_status status = cvy_check_struct(__func__, "result", result);
    if (status)
        return status;
    status = open_trainer(__func__, &wanted, options, &t);
    if (!status) {
        status = run(t);
        fill_result(t, &figures);
        convoy_trainer_close(t);
    }
    cvy_give_struct(__func__, "result", result, &figures, sizeof figures);
    return status;
}
