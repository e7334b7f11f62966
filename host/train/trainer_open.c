/* Making a trainer ready: options, initial weights, the run folder, what is on the device, and the position
   to begin at. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/given.h"
#include "base/log.h"
#include "base/status.h"
#include "train/handshake.h"

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

/* What the recipe asks for, and these sets cannot give. */
static convoy_status check_recipe(const convoy_trainer *t) {
    const cvy_recipe *r = t->recipe;
    if (!t->set->labels && (r->class_weights || r->sampler))
        return cvy_fail(
            CONVOY_INVALID,
            "%s: its function gives the labels, but class_weights and a balanced sampler need them "
            "before training",
            convoy_dataset_name(t->set));
    if (r->sampler && (t->options.no_shuffle || !r->shuffle))
        return cvy_fail(CONVOY_INVALID,
                        "a balanced sampler draws images at random: it cannot keep the set's own "
                        "order");
    if (t->test || t->validation)
        return CONVOY_OK;
    if (r->early_stopping.patience)
        return cvy_fail(CONVOY_INVALID, "early_stopping needs a validation or test set to be judged by");
    if (cvy_schedule_is_plateau(&r->schedule))
        return cvy_fail(CONVOY_INVALID, "ReduceLROnPlateau needs a validation or test set to be judged by");
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
    if (!status && t->validation)
        status = cvy_dataset_order_classes(t->validation, &classes, "the training set");
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
    if (t->options.resume && cvy_rank(t->collective) > 0)
        return cvy_checkpoint_open(t->checkpoint, &t->resumed);
    if (cvy_rank(t->collective) > 0)
        return CONVOY_OK;
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

/* A batch that is one piece on one rank is computed as it always was. */
static bool has_pieces(const convoy_trainer *t) {
    return t->pieces.count > 1 || cvy_ranks(t->collective) > 1;
}

/* Do batch-norms take the statistics of all pieces? Then these are for all to run at the same time, and are
   not dealt out by speed. */
static bool is_together(const convoy_trainer *t) {
    return has_pieces(t) && cvy_together_wanted(t->model);
}

static bool deals(const convoy_trainer *t) {
    return t->unlike && !is_together(t);
}

/* A batch-norm sees at least so many images. */
static int least_seen(const convoy_trainer *t) {
    const int batch = t->options.batch_size;
    return cvy_together_wanted(t->model)
               ? cvy_pieces_least(t->images, batch, batch, batch)
               : cvy_pieces_least(t->images, batch, cvy_pieces_images(batch, t->pieces.count),
                                  t->options.micro_batch);
}

/* Into how many pieces: the recipe says it, else the run that goes on, else the number of ranks. */
static convoy_status choose_pieces(convoy_trainer *t) {
    const int ranks = cvy_ranks(t->collective), batch = t->options.batch_size;
    int wanted = t->recipe->pieces;
    if (!wanted && t->resumed)
        wanted = (int)cvy_checkpoint_pieces(t->resumed);
    convoy_status status = ranks > 1 ? cvy_handshake_devices(t, &t->unlike) : CONVOY_OK;
    if (status)
        return status;
    const bool together = cvy_together_wanted(t->model);
    const unsigned count = t->pieces.count = t->unlike && !together
                                                 ? cvy_pieces_wanted_unlike(wanted, ranks, batch)
                                                 : cvy_pieces_wanted(wanted, ranks);
    if (count > CVY_MOST_PIECES)
        return cvy_fail(CONVOY_INVALID, "%u pieces of a batch are more than %d", count, CVY_MOST_PIECES);
    const int images = cvy_pieces_images(batch, count);
    if (t->options.micro_batch > images)
        t->options.micro_batch = images;
    if (together && t->options.micro_batch < images)
        return cvy_fail(CONVOY_INVALID,
                        "sync_batch_norm: batch-norms are to see the whole batch, and a micro-batch of %d "
                        "images is a part of a piece of %d: leave out --micro-batch; more ranks have fewer "
                        "images each",
                        t->options.micro_batch, images);
    if (!has_pieces(t))
        return CONVOY_OK;
    cvy_model_set_pieces(t->model, (int)count); /* the run's model.yaml has it */
    const char *norm = cvy_model_lonely_norm(t->model);
    if (norm && least_seen(t) == 1)
        return cvy_fail(
            CONVOY_INVALID,
            "layer %s, a batch-norm, would see one value of a channel in a piece of one image: %zu "
            "images in batches of %d and pieces of %d come to that. Choose another batch size, fewer "
            "pieces, or --limit-train",
            norm, t->images, batch, images);
    if (count < (unsigned)ranks)
        cvy_warning("%d ranks have nothing to do: the run cuts its batches into %u pieces",
                    ranks - (int)count, count);
    if (cvy_rank(t->collective) == 0)
        cvy_info("a batch of %d is cut into %u pieces of %d images, for %d rank%s", batch, count, images,
                 ranks, ranks == 1 ? "" : "s");
    return CONVOY_OK;
}

/* What chooses the best weights; NULL: nothing. */
static const convoy_dataset *judged_by(const convoy_trainer *t) {
    return t->validation ? t->validation : t->test;
}

/* Do the monitors need each image's answer? */
static bool wants_answers(const convoy_trainer *t) {
    const cvy_schedule *schedule = &t->recipe->schedule;
    return t->recipe->monitor > CVY_MONITOR_LOSS ||
           (cvy_schedule_is_plateau(schedule) && schedule->monitor > CVY_MONITOR_LOSS);
}

static convoy_status weigh_classes(const convoy_trainer *t, float *weights) {
    const size_t classes = (size_t)convoy_model_classes(t->model);
    size_t *images = calloc(classes, sizeof *images);
    if (!images)
        return cvy_fail_memory("class weights", classes * sizeof *images);
    for (size_t i = 0; i < t->images; i++)
        images[t->set->labels[i]]++;
    convoy_status status =
        cvy_model_class_weights(t->model, (const char *const *)t->set->class_names, images, weights);
    free(images);
    return status;
}

static void list_beside(const convoy_trainer *t, cvy_sizes *beside) {
    const int pitch = cvy_network_pitch_of(cvy_device_get_traits(t->device), t->options.micro_batch, true);
    cvy_training_sizes(t->device, pitch, beside);
    cvy_feed_sizes(t->model, t->device, t->set, &t->recipe->augment, CVY_PER_BATCH, beside);
    if (has_pieces(t)) {
        const int ranks = cvy_ranks(t->collective);
        const cvy_memory each =
            cvy_model_memory(t->model, cvy_device_get_traits(t->device), t->options.micro_batch, true);
        cvy_pieces_sizes(t->pieces.count, ranks, deals(t), each.gradients, beside);
        if (is_together(t))
            cvy_together_sizes(cvy_pieces_most_own(t->pieces.count, ranks, false), &each, beside);
    }
    if (judged_by(t))
        cvy_evaluator_sizes(t->model, t->device, judged_by(t), pitch, wants_answers(t), beside);
    if (t->validation && t->test)
        cvy_evaluator_sizes(t->model, t->device, t->test, pitch, false, beside);
}

static convoy_status create_evaluators(convoy_trainer *t) {
    convoy_status status = CONVOY_OK;
    if (judged_by(t))
        status = cvy_evaluator_create(t->network, t->device, judged_by(t), wants_answers(t), &t->evaluator);
    if (!status && t->validation && t->test)
        status = cvy_evaluator_create(t->network, t->device, t->test, false, &t->final);
    if (!status && t->evaluator)
        status = cvy_evaluator_share(t->evaluator, t->collective);
    if (!status && t->final)
        status = cvy_evaluator_share(t->final, t->collective);
    return status;
}

/* Training with what the recipe makes of the set's classes. */
static convoy_status create_training(convoy_trainer *t, const cvy_network_options *options) {
    const size_t classes = (size_t)convoy_model_classes(t->model);
    float *weights = NULL;
    convoy_status status = CONVOY_OK;
    if (t->recipe->class_weights) {
        weights = malloc(classes * sizeof *weights);
        status =
            weights ? weigh_classes(t, weights) : cvy_fail_memory("class weights", classes * sizeof *weights);
    }
    if (!status)
        status =
            cvy_training_create_weighted(t->network, t->device, t->options.batch_size, weights, &t->training);
    free(weights);
    if (status || !has_pieces(t))
        return status;
    t->training.pieces = &t->pieces;
    status = cvy_pieces_create(t->network, t->device, t->collective, t->pieces.count, t->options.batch_size,
                               deals(t), &t->pieces);
    return status || !options->shares ? status : cvy_pieces_join(&t->pieces, &t->training, options);
}

static convoy_status create_loader(convoy_trainer *t, bool shuffle) {
    cvy_feed_options options = {.piece = cvy_network_batch_size(t->network),
                                .batch_size = t->options.batch_size,
                                .pitch = cvy_network_pitch(t->network),
                                .shuffle = shuffle,
                                .seed = t->options.seed,
                                .augment = &t->recipe->augment};
    if (has_pieces(t))
        cvy_pieces_share(&t->pieces, options.batch_size, &options.first, &options.share);
    return cvy_feed_open(t->model, t->device, t->set, &options, &t->loader);
}

/* The loader gives a rank its own images only. */
convoy_status cvy_trainer_deal(convoy_trainer *t) {
    bool changed = false;
    t->dealt = true;
    convoy_status status = cvy_pieces_deal_again(&t->pieces, &changed);
    if (status || !changed)
        return status;
    cvy_loader_free(t->loader);
    t->loader = NULL;
    t->loading = 0;
    return create_loader(t, t->identity.shuffle);
}

static convoy_status build(convoy_trainer *t) {
    cvy_sizes beside = {0};
    const cvy_network_options options = {.batch_size = t->options.micro_batch,
                                         .whole_batch = t->options.batch_size,
                                         .training = true,
                                         .shares = is_together(t),
                                         .as_before = t->options.resume || cvy_rank(t->collective) > 0,
                                         .seed = t->options.seed,
                                         .variant = t->options.variant,
                                         .beside = &beside};
    list_beside(t, &beside);
    bool shuffle = t->recipe->shuffle && !t->options.no_shuffle;
    convoy_status status =
        cvy_network_create_on_ranks(t->collective, t->model, t->device, &options, &t->network);
    if (!status)
        status = create_training(t, &options);
    if (!status)
        status = create_loader(t, shuffle);
    if (!status)
        status = create_evaluators(t);
    if (status)
        return status;
    t->batches = cvy_loader_batches(t->loader);
    t->identity = (cvy_identity){.model = t->model_text,
                                 .seed = t->options.seed,
                                 .train_images = t->images,
                                 .batch_size = t->options.batch_size,
                                 .micro_batch = t->options.micro_batch,
                                 .pieces = t->pieces.count,
                                 .shuffle = shuffle};
    if (cvy_schedule_follows_length(&t->recipe->schedule))
        t->identity.length = (unsigned long long)t->options.epochs;
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
                                 .best_accuracy = NAN,
                                 .best = NAN,
                                 .val_loss = NAN,
                                 .val_accuracy = NAN,
                                 .stop_best = NAN};
    const cvy_kept kept = {&t->recipe->optimizer, t->training.state, t->training.average};
    if (t->options.resume)
        status =
            cvy_checkpoint_load(t->checkpoint, t->resumed, t->network, &kept, &t->identity, &t->position);
    else
        status = cvy_training_start_average(&t->training);
    cvy_tensor_file_free(t->resumed);
    t->resumed = NULL;
    if (!status && cvy_ranks(t->collective) > 1)
        status = cvy_handshake(t, &t->unlike);
    if (status)
        return status;
    if (t->unlike)
        cvy_warning(
            "the ranks compute on devices that are not alike: they agree to rounding, not to the bit, and "
            "take rank 0's weights at each evaluation, from which each tensor of theirs may differ by %g of "
            "its norm",
            cvy_unlike_tolerance);
    t->saved = t->options.resume;
    t->told = t->position.unfinished_step;
    if (t->told)
        cvy_trainer_set_rates(t, t->position.step - 1);
    t->start = cvy_seconds() - t->position.seconds;
    cvy_trainer_take_position(t);
    if (!t->folder.path)
        return CONVOY_OK;
    bool unfinished = t->position.unfinished_step; /* its row comes again */
    status = cvy_run_folder_start_metrics(&t->folder, t->options.resume, t->position.step - unfinished);
    if (!status && !t->options.resume) {
        char *text = cvy_model_print(t->model);
        status = cvy_run_folder_save_text(&t->folder, "model.yaml", text);
        free(text);
        if (!status)
            status = cvy_trainer_save(t);
    }
    return status;
}

static convoy_status open_all(convoy_trainer *t) {
    convoy_status status = check_options(t);
    if (!status)
        status = cvy_feed_check(t->model, t->set);
    if (!status && t->test)
        status = cvy_feed_check(t->model, t->test);
    if (!status && t->validation)
        status = cvy_feed_check(t->model, t->validation);
    if (!status)
        status = check_recipe(t);
    if (!status)
        status = open_folder(t);
    if (!status)
        status = initial_weights(t);
    if (!status)
        status = order_classes(t);
    if (!status)
        status = choose_pieces(t);
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

convoy_status cvy_trainer_open(const char *function, const convoy_trainer *wanted,
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
    t->validation = t->options.validation;
    if (!status && t->validation)
        status = cvy_given_object(function, "options.validation", t->validation);
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

void convoy_trainer_close(convoy_trainer *t) {
    if (!t || !cvy_object_close(__func__, "trainer", t))
        return;
    cvy_evaluator_free(t->evaluator);
    cvy_evaluator_free(t->final);
    cvy_loader_free(t->loader);
    cvy_training_free(&t->training);
    cvy_pieces_free(&t->pieces);
    convoy_network_close(t->network);
    cvy_run_folder_close(&t->folder);
    cvy_tensor_file_free(t->resumed);
    free(t->checkpoint);
    free(t->model_text);
    free(t);
}
