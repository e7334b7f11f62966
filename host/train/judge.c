/* What a run comes to: evaluations, the best weights and early stopping, and the files that keep them. With a
   validation set the choice is made there, and the test set is looked at once, when all is chosen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "train/trainer.h"

/* ---- files ---- */

static void position_from_statistics(convoy_trainer *t) {
    t->position.loss_sum = t->statistics->loss_sum;
    t->position.correct = t->statistics->correct;
    t->position.batch_loss = t->statistics->batch_loss;
    t->position.seconds = cvy_seconds() - t->start;
}

void cvy_trainer_take_position(convoy_trainer *t) {
    cvy_statistics_reset(t->statistics);
    t->statistics->loss_sum = t->position.loss_sum;
    t->statistics->correct = t->position.correct;
    t->statistics->images = t->position.images;
    t->statistics->batch_loss = t->position.batch_loss;
}

/* With an average it is what is evaluated, answered with and kept. */
convoy_status cvy_trainer_fetch(convoy_trainer *t) {
    convoy_status status = cvy_training_show_average(&t->training, true);
    if (!status)
        status = cvy_checkpoint_fetch(t->network, t->position.step);
    convoy_status back = cvy_training_show_average(&t->training, false);
    return status ? status : back;
}

static cvy_kept kept(const convoy_trainer *t) {
    return (cvy_kept){&t->recipe->optimizer, t->training.state, t->training.average};
}

/* last.safetensors first: when the checkpoint is there, everything that belongs to it is. */
convoy_status cvy_trainer_save(convoy_trainer *t) {
    if (!t->folder.path)
        return CONVOY_OK;
    position_from_statistics(t);
    convoy_status status = cvy_trainer_fetch(t);
    if (!status)
        status = cvy_run_folder_save_weights(&t->folder, "last.safetensors", t->model);
    if (!status && t->training.average) /* the model holds it; what it is of goes on */
        status = cvy_checkpoint_fetch(t->network, t->position.step);
    const cvy_kept state = kept(t);
    if (!status)
        status = cvy_checkpoint_save(t->checkpoint, t->network, &state, &t->identity, &t->position);
    t->saved = t->saved || !status;
    cvy_statistics_resume_clock(t->statistics);
    return status;
}

convoy_status cvy_trainer_save_for_rank_0(convoy_trainer *t) {
    const cvy_kept state = kept(t);
    position_from_statistics(t);
    convoy_status status = cvy_checkpoint_fetch(t->network, t->position.step);
    return status ? status
                  : cvy_checkpoint_save(t->checkpoint, t->network, &state, &t->identity, &t->position);
}

static convoy_status save_best(convoy_trainer *t) {
    if (!t->folder.path)
        return CONVOY_OK;
    convoy_status status = cvy_trainer_fetch(t);
    return status ? status : cvy_run_folder_save_weights(&t->folder, "best.safetensors", t->model);
}

/* ---- weights of all ranks ---- */

/* Every value of the model, to be put back. */
static convoy_status copy_state(const convoy_model *model, char **copy, bool back) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0, bytes = 0;
    convoy_status status = cvy_model_state(model, &tensors, &count);
    for (size_t i = 0; i < count && !status; i++)
        bytes += tensors[i].bytes;
    if (!status && !back && !(*copy = malloc(bytes ? bytes : 1)))
        status = cvy_fail_memory("the last weights", bytes);
    bytes = 0;
    for (size_t i = 0; i < count && !status; bytes += tensors[i++].bytes)
        if (back)
            memcpy(tensors[i].data, *copy + bytes, tensors[i].bytes);
        else
            memcpy(*copy + bytes, tensors[i].data, tensors[i].bytes);
    free(tensors);
    return status;
}

/* Rank 0's values of the model, on all devices. */
static convoy_status share_model(convoy_trainer *t, convoy_status own) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0;
    convoy_status status = cvy_model_state(t->model, &tensors, &count);
    own = own ? own : status;
    for (size_t i = 0; i < count && !status; i++, own = CONVOY_OK)
        status = cvy_collective_broadcast(t->collective, "weights", own, tensors[i].data, tensors[i].bytes);
    free(tensors);
    return status ? status : cvy_network_upload(t->network);
}

const double cvy_unlike_tolerance = 1e-4;

/* Of the model's values from what they were, tensor by tensor. */
static convoy_status check_distance(const convoy_trainer *t, const char *before) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0;
    convoy_status status = cvy_model_state(t->model, &tensors, &count);
    for (size_t i = 0; i < count && !status; before += tensors[i++].bytes) {
        const float *now = tensors[i].data;
        double distance = 0, norm = 0;
        for (size_t k = 0; strcmp(tensors[i].dtype, "F32") == 0 && k < tensors[i].bytes / sizeof *now; k++) {
            float was;
            memcpy(&was, before + k * sizeof was, sizeof was);
            distance += ((double)now[k] - was) * ((double)now[k] - was);
            norm += (double)now[k] * now[k];
        }
        if (!(sqrt(distance) <= cvy_unlike_tolerance * sqrt(norm) + 1e-12))
            status = cvy_fail(CONVOY_FAILED,
                              "%s is %.1e of its norm away from rank 0's, and %g is allowed: one of the "
                              "devices computes wrongly (`convoy selftest` finds out which)",
                              tensors[i].name, sqrt(distance / norm), cvy_unlike_tolerance);
    }
    free(tensors);
    return status;
}

/* On devices that are not alike, weights drift apart by rounding, and by no more than that. */
static convoy_status meet_again(convoy_trainer *t) {
    char *before = NULL;
    if (!t->unlike)
        return CONVOY_OK;
    convoy_status status = cvy_checkpoint_fetch(t->network, t->position.step);
    if (!status)
        status = copy_state(t->model, &before, false);
    status = share_model(t, status);
    if (!status)
        status = cvy_collective_agree(t->collective, "distance", check_distance(t, before));
    free(before);
    return status;
}

/* ---- one evaluation ---- */

static convoy_status run_evaluator(convoy_trainer *t, cvy_evaluator *evaluator, double *loss,
                                   double *accuracy) {
    convoy_status status = cvy_training_show_average(&t->training, true);
    if (t->collective)
        t->collective->patient = !t->evaluated;
    if (!status)
        status = cvy_evaluator_run(evaluator, t->options.interrupt, loss, accuracy);
    t->evaluated = true;
    if (t->collective)
        t->collective->patient = false;
    convoy_status back = cvy_training_show_average(&t->training, false);
    return status ? status : back;
}

static convoy_status run_judge(convoy_trainer *t) {
    cvy_position *p = &t->position;
    return t->validation ? run_evaluator(t, t->evaluator, &p->val_loss, &p->val_accuracy)
                         : run_evaluator(t, t->evaluator, &p->test_loss, &p->test_accuracy);
}

/* Of the evaluation that was just run. */
static convoy_status monitored(const convoy_trainer *t, int monitor, double *value) {
    const cvy_position *p = &t->position;
    if (monitor == CVY_MONITOR_LOSS)
        *value = t->validation ? p->val_loss : p->test_loss;
    else if (monitor == CVY_MONITOR_ACCURACY)
        *value = t->validation ? p->val_accuracy : p->test_accuracy;
    else
        return cvy_evaluator_monitor(t->evaluator, monitor, value);
    return CONVOY_OK;
}

static bool is_better(int monitor, double value, double best, double by) {
    if (isnan(best))
        return !isnan(value);
    return cvy_monitor_is_least(monitor) ? value < best - by : value > best + by;
}

static convoy_status choose_best(convoy_trainer *t, int epoch, double value) {
    cvy_position *p = &t->position;
    if (!is_better(t->recipe->monitor, value, p->best, 0))
        return CONVOY_OK;
    p->best = value;
    p->best_accuracy = t->validation ? p->val_accuracy : p->test_accuracy;
    p->best_epoch = epoch;
    return save_best(t);
}

/* After an epoch. */
static void watch(convoy_trainer *t, double value) {
    const cvy_early_stopping *early = &t->recipe->early_stopping;
    cvy_position *p = &t->position;
    if (early->patience == 0)
        return;
    if (is_better(t->recipe->monitor, value, p->stop_best, early->min_delta)) {
        p->stop_best = value;
        p->waiting = 0;
        return;
    }
    p->waiting++;
    p->stopped = p->waiting >= (unsigned)early->patience;
}

static const char *name_of(int monitor, char name[32]) {
    const char *at = CVY_MONITORS;
    for (; monitor > 0; monitor--)
        at = strchr(at, '|') + 1;
    snprintf(name, 32, "%.*s", (int)strcspn(at, "|"), at);
    return name;
}

static void say_stopped(const convoy_trainer *t) {
    char name[32];
    if (t->position.stopped)
        cvy_info("early stopping after epoch %d: %s is not better than in epoch %d by more than %g since %u "
                 "epochs",
                 cvy_trainer_progress(t).epoch, name_of(t->recipe->monitor, name), t->position.best_epoch,
                 t->recipe->early_stopping.min_delta, t->position.waiting);
}

static convoy_status judge(convoy_trainer *t, int epoch) {
    const cvy_position *p = &t->position;
    const bool over =
        cvy_trainer_epoch_is_over(t) || (p->images == 0 && p->epoch > 1); /* a loop of one's own */
    double value = NAN, plateau = NAN;
    convoy_status status = run_judge(t);
    if (!status)
        status = monitored(t, t->recipe->monitor, &value);
    if (!status && cvy_schedule_is_plateau(&t->recipe->schedule))
        status = monitored(t, t->recipe->schedule.monitor, &plateau);
    if (!status)
        status = choose_best(t, epoch, value);
    if (status || !over || t->watched == epoch)
        return status;
    t->watched = epoch;
    watch(t, value);
    if (cvy_schedule_is_plateau(&t->recipe->schedule))
        cvy_plateau_note(&t->recipe->schedule, plateau, &t->position.plateau);
    return CONVOY_OK;
}

/* ---- the test set, once ---- */

bool cvy_trainer_is_last_epoch(const convoy_trainer *t) {
    return cvy_trainer_epoch_is_over(t) && (t->position.epoch >= t->options.epochs || t->position.stopped);
}

static convoy_status load_best(convoy_trainer *t) {
    char *path = cvy_run_folder_path(&t->folder, "best.safetensors");
    cvy_tensor_file *file = NULL;
    convoy_status status = cvy_tensor_file_load(path, &file);
    if (!status)
        status = cvy_model_set_state(t->model, file, path, "");
    if (!status)
        status = cvy_network_upload(t->network);
    cvy_tensor_file_free(file);
    free(path);
    return status;
}

/* With the best weights, where there is a folder that keeps them; the last ones come back. */
static convoy_status test_best(convoy_trainer *t) {
    cvy_position *p = &t->position;
    char *last = NULL;
    convoy_status status = cvy_checkpoint_fetch(t->network, p->step);
    if (!status)
        status = copy_state(t->model, &last, false);
    if (status) {
        free(last);
        return status;
    }
    status = cvy_rank(t->collective) == 0 ? load_best(t) : CONVOY_OK;
    if (cvy_ranks(t->collective) > 1)
        status = share_model(t, status);
    if (!status)
        status = cvy_evaluator_run(t->final, t->options.interrupt, &p->test_loss, &p->test_accuracy);
    convoy_status back = copy_state(t->model, &last, true);
    if (!back)
        back = cvy_network_upload(t->network);
    free(last);
    return status ? status : back;
}

static convoy_status run_final(convoy_trainer *t) {
    if (!t->final)
        return CONVOY_OK;
    if (t->checkpoint && t->position.best_epoch)
        return test_best(t);
    return run_evaluator(t, t->final, &t->position.test_loss, &t->position.test_accuracy);
}

/* ---- what is due ---- */

convoy_status cvy_trainer_evaluate(convoy_trainer *t) {
    const int epoch = cvy_trainer_progress(t).epoch;
    convoy_status status = meet_again(t);
    if (!status && t->evaluator)
        status = judge(t, epoch);
    const bool last = cvy_trainer_is_last_epoch(t);
    if (!status && last)
        status = run_final(t);
    if (!status && last)
        say_stopped(t);
    if (!status && t->folder.path) {
        const convoy_progress progress = cvy_trainer_progress(t);
        status = cvy_run_folder_add_metrics(&t->folder, &progress);
    }
    cvy_statistics_resume_clock(t->statistics);
    return status;
}

/* Of that moment; the test set waits for the end where there is a validation set. */
convoy_status cvy_trainer_evaluate_the_end(convoy_trainer *t) {
    return t->evaluator && t->position.images ? run_judge(t) : CONVOY_OK;
}
