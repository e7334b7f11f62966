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
#include "train/trace.h"
#include "train/trainer.h"

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
        .val_loss = t->position.val_loss,
        .val_accuracy = t->position.val_accuracy,
        .learning_rate = cvy_training_rate(&t->training),
    };
}

/* After the last step: where that ended an epoch and the next one has begun, the figures of the one that
 * ended. */
convoy_progress cvy_trainer_progress(const convoy_trainer *t) {
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

/* ---- one step and what is due after it ---- */

void cvy_trainer_set_rates(convoy_trainer *t, unsigned long long step) {
    const cvy_position *p = &t->position;
    const cvy_moment at = {.epoch = (unsigned long long)(p->epoch - 1),
                           .step = step,
                           .epochs = (unsigned long long)t->options.epochs,
                           .steps = (unsigned long long)t->options.epochs * t->batches,
                           .reductions = p->plateau.reductions};
    if (t->recipe->schedule.type)
        cvy_training_schedule(&t->training, &at);
}

static convoy_status take_step(convoy_trainer *t) {
    cvy_position *p = &t->position;
    size_t left = t->images - (size_t)p->images, batch = (size_t)t->options.batch_size;
    int n = (int)(left < batch ? left : batch);
    cvy_trainer_set_rates(t, p->step);
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
    if (cvy_ranks(t->collective) == 1 && explain_divergence(t, step, &found))
        cvy_debug("what made the loss NaN or infinite was not found: %s", convoy_error_message());
    status = cvy_fail(
        CONVOY_FAILED,
        "the loss became NaN or infinite in step %llu (epoch %d): training has diverged. Lower the learning "
        "rate (now %g), or start from other weights or data%s%s%s%s",
        step, epoch, cvy_training_rate(&t->training), t->saved ? "; the last good state is kept in " : "",
        t->saved ? t->checkpoint : "", found.length ? ". Traced: " : "", cvy_text_get(&found));
    cvy_text_free(&found);
    return status;
}

/* Batches of this epoch that are done. */
static size_t batch_index(const convoy_trainer *t) {
    size_t batch = (size_t)t->options.batch_size;
    return ((size_t)t->position.images + batch - 1) / batch;
}

bool cvy_trainer_epoch_is_over(const convoy_trainer *t) {
    return t->position.images >= t->images;
}

/* reports_per_epoch lines, evenly spread, the last at the end of the epoch. */
static bool report_is_due(const convoy_trainer *t) {
    size_t done = batch_index(t), reports = (size_t)t->recipe->reports_per_epoch;
    return reports && done && done * reports / t->batches > (done - 1) * reports / t->batches;
}

static bool evaluation_is_due(const convoy_trainer *t) {
    if (cvy_trainer_epoch_is_over(t))
        return true;
    return t->options.eval_every > 0 && t->evaluator && batch_index(t) % (size_t)t->options.eval_every == 0;
}

static bool checkpoint_is_due(const convoy_trainer *t) {
    int every = t->options.checkpoint_every;
    return cvy_trainer_epoch_is_over(t) || (every > 0 && t->position.step % (unsigned long long)every == 0);
}

static bool steps_are_used_up(const convoy_trainer *t) {
    return t->options.max_steps && t->position.step >= t->options.max_steps;
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
    cvy_trainer_take_position(t);
}

/* An evaluation that Ctrl-C cut short: the state is saved as it was before it, and resuming begins with it.
 */
static convoy_status save_unfinished(convoy_trainer *t, const cvy_position *before) {
    t->position = *before;
    convoy_status status = cvy_trainer_save(t);
    return status ? status : CONVOY_INTERRUPTED;
}

/* What went wrong with the next batch or with a file takes nothing of what was trained: the state is saved as
   it was after the last step. Where the device or the numbers failed there is no good state to save. */
static convoy_status save_before_failing(convoy_trainer *t, convoy_status failure) {
    const cvy_collective *c = t->collective;
    const bool others = c && (c->lost || c->failed); /* this rank and its device did nothing wrong */
    if (!t->checkpoint || (failure != CONVOY_INVALID && failure != CONVOY_IO && !others) ||
        !cvy_collective_keeps(c))
        return failure;
    char *message = strdup(convoy_error_message());
    convoy_status status = read_statistics(t);
    if (!status)
        status = cvy_rank(c) == 0 ? cvy_trainer_save(t) : cvy_trainer_save_for_rank_0(t);
    if (message)
        cvy_fail(failure, "%s%s%s", message, status ? "" : "; the state of the step before is saved in ",
                 status ? "" : t->checkpoint);
    free(message);
    return failure;
}

/* Reports, evaluations and files that are due at this position. */
static convoy_status finish_step(convoy_trainer *t) {
    cvy_position before = t->position;
    bool report = report_is_due(t), evaluation = evaluation_is_due(t), over = cvy_trainer_epoch_is_over(t);
    const bool asked =
        cvy_ranks(t->collective) > 1 ? t->collective->stop : t->options.interrupt && *t->options.interrupt;
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
        status = cvy_trainer_evaluate(t);
        if (status == CONVOY_INTERRUPTED)
            return save_unfinished(t, &before);
        if (status) {
            t->position = before;
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
    return checkpoint || t->stop ? cvy_trainer_save(t) : CONVOY_OK;
}

/* ---- the run ---- */

static bool is_done(const convoy_trainer *t) {
    return t->position.epoch > t->options.epochs || t->position.stopped || steps_are_used_up(t);
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
    const cvy_kept kept = {&t->recipe->optimizer, t->training.state, t->training.average};
    const double start = cvy_seconds();
    convoy_status status = cvy_checkpoint_open(t->checkpoint, &file);
    if (!status)
        status = cvy_checkpoint_load(t->checkpoint, file, t->network, &kept, &t->identity, &t->position);
    cvy_tensor_file_free(file);
    t->loading = 0;
    cvy_trainer_take_position(t);
    while (!status && t->position.step + 1 < step) {
        status = start_loader(t);
        if (!status)
            status = take_step(t);
        t->statistics->pending = 0;
        if (cvy_trainer_epoch_is_over(t))
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
    bool again = false;
    convoy_status status = CONVOY_OK;
    for (unsigned long long s = step > 1 ? step - 1 : step; s <= step && !status && !found->length; s++) {
        status = replay(t, s);
        if (!status && t->position.step + 1 == s) {
            const size_t left = t->images - (size_t)t->position.images, batch = (size_t)t->options.batch_size;
            status = cvy_training_trace(&t->training, t->loader, (int)(left < batch ? left : batch),
                                        t->position.step, found);
            again = s == step;
        }
    }
    if (!status && again && !found->length && !t->training.pieces)
        cvy_text_add(found, "done again, the step is finite: this device or its driver does not compute the "
                            "same values twice (`convoy selftest` checks it)");
    return status;
}

/* After a few steps, and at the end of each epoch. */
static bool speed_is_due(const convoy_trainer *t, int epoch) {
    enum { FIRST_STEPS = 3 };
    return t->unlike && !t->pieces.together && !is_done(t) &&
           (t->position.epoch != epoch || (!t->dealt && t->pieces.steps >= FIRST_STEPS));
}

static convoy_status deal(convoy_trainer *t) {
    convoy_status status = cvy_trainer_deal(t);
    return status ? status : start_loader(t);
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
        if (!status && speed_is_due(t, epoch))
            status = deal(t);
        const bool more = t->position.epoch == epoch || !is_done(t);
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
        .best_test_accuracy = t->validation ? NAN : p->best_accuracy,
        .best_epoch = p->best_epoch,
        .seconds = cvy_seconds() - t->start,
        .images_per_second = busy > 0 ? (double)(t->timed + t->statistics->timed) / busy : 0,
        .val_loss = p->val_loss,
        .val_accuracy = p->val_accuracy,
        .best_val_accuracy = t->validation ? p->best_accuracy : NAN,
        .best_value = p->best,
        .learning_rate = cvy_training_rate(&t->training),
    };
}

/* ---- the public calls ---- */

convoy_status convoy_trainer_open(convoy_model *model, convoy_device *device, convoy_dataset *train,
                                  convoy_dataset *test, const convoy_train_options *options,
                                  convoy_trainer **trainer) {
    const convoy_trainer wanted = {.model = model, .device = device, .set = train, .test = test};
    convoy_status status = CVY_GIVEN_POINTER(trainer);
    return status ? status : cvy_trainer_open(__func__, &wanted, options, trainer);
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
    const bool over = cvy_trainer_epoch_is_over(t);
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
    const convoy_progress now = cvy_trainer_progress(trainer);
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
        status = cvy_trainer_evaluate(trainer);
    if (loss)
        *loss = status ? NAN : trainer->validation ? trainer->position.val_loss : trainer->position.test_loss;
    if (accuracy)
        *accuracy = status                ? NAN
                    : trainer->validation ? trainer->position.val_accuracy
                                          : trainer->position.test_accuracy;
    return status;
}

double convoy_trainer_learning_rate(const convoy_trainer *trainer) {
    return CVY_GIVEN(trainer) ? 0 : cvy_training_rate(&trainer->training);
}

convoy_status convoy_trainer_set_learning_rate(convoy_trainer *trainer, double learning_rate) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status && !(isfinite(learning_rate) && learning_rate >= 0))
        status = cvy_fail(CONVOY_INVALID, "%s: a learning rate of %g cannot be: 0 or more", __func__,
                          learning_rate);
    if (!status && trainer->recipe->schedule.type)
        status =
            cvy_fail(CONVOY_INVALID,
                     "%s: the recipe's scheduler %s sets the learning rate: leave it out to set rates here",
                     __func__, trainer->recipe->schedule.type->name);
    for (size_t g = 0; !status && g < trainer->training.group_count; g++)
        trainer->training.groups[g].now.lr = learning_rate;
    return status;
}

convoy_status convoy_trainer_progress(const convoy_trainer *trainer, convoy_progress *progress) {
    convoy_status status = CVY_GIVEN(trainer);
    if (!status)
        status = CVY_GIVEN_POINTER(progress);
    if (status)
        return status;
    const convoy_progress now = cvy_trainer_progress(trainer);
    return cvy_give_struct(__func__, "progress", progress, &now, sizeof now);
}

convoy_status convoy_trainer_fetch(convoy_trainer *trainer) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status)
        status = note_failure(trainer, read_statistics(trainer));
    return status ? status : cvy_trainer_fetch(trainer);
}

convoy_status convoy_trainer_save(convoy_trainer *trainer) {
    convoy_status status = check_trainer(__func__, trainer);
    if (!status && !trainer->checkpoint)
        status =
            cvy_fail(CONVOY_INVALID, "%s: the trainer was opened without a run folder (`out`)", __func__);
    if (!status)
        status = note_failure(trainer, read_statistics(trainer));
    return status ? status : cvy_trainer_save(trainer);
}

/* The open trainer through all of its epochs. */
static convoy_status run(convoy_trainer *t) {
    convoy_status status = train_all(t);
    if (!status)
        status = cvy_trainer_evaluate_the_end(t);
    return status ? status : cvy_trainer_fetch(t);
}

convoy_status cvy_train(cvy_collective *collective, const convoy_trainer *wanted,
                        const convoy_train_options *options, convoy_train_result *result) {
    convoy_trainer given = *wanted;
    convoy_train_result figures = {.size = sizeof figures,
                                   .train_loss = NAN,
                                   .train_accuracy = NAN,
                                   .test_loss = NAN,
                                   .test_accuracy = NAN,
                                   .best_test_accuracy = NAN,
                                   .val_loss = NAN,
                                   .val_accuracy = NAN,
                                   .best_val_accuracy = NAN,
                                   .learning_rate = NAN,
                                   .best_value = NAN};
    convoy_trainer *t = NULL;
    given.collective = collective;
    convoy_status status = cvy_check_struct("convoy_train", "result", result);
    if (!status)
        status = cvy_trainer_open("convoy_train", &given, options, &t);
    if (!status) {
        status = run(t);
        fill_result(t, &figures);
        convoy_trainer_close(t);
    }
    cvy_give_struct("convoy_train", "result", result, &figures, sizeof figures);
    return status;
}

convoy_status convoy_train(convoy_model *model, convoy_device *device, convoy_dataset *train,
                           convoy_dataset *test, const convoy_train_options *options,
                           convoy_train_result *result) {
    const convoy_trainer wanted = {.model = model, .device = device, .set = train, .test = test};
    return cvy_train(NULL, &wanted, options, result);
}
