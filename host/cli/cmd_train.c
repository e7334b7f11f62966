/* convoy train MODEL: trains by the model's recipe and the options that override it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/ranks.h"
#include "model/model.h"
#include "report/canvas.h"
#include "report/run.h"
#include "train/trainer.h"

typedef struct options {
    cli_common common;
    const char *data, *lr, *optimizer, *out, *init, *devices;
    int epochs, batch_size, micro_batch, pieces, mpi, eval_every, checkpoint_every;
    long long seed, limit_train, limit_test, max_steps;
    double test_fraction, val_fraction;
    bool resume, no_shuffle, init_strict, no_pictures, tensorboard, report;
} options;

#define MANY 9e18

static const cvy_param params[] = {
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL, CLI_DATA_TEXT},
    CLI_ROW_DEVICE,
    CLI_ROW_DEVICES,
    CLI_ROW_MPI,
    CLI_ROW_PRECISION,
    {"epochs", CVY_INT, offsetof(options, epochs), "", 1, 1 << 20, NULL,
     "passes over the training set; default: the recipe's"},
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images per step; default: the recipe's"},
    {"micro-batch", CVY_INT, offsetof(options, micro_batch), "", 1, 1 << 20, NULL,
     "compute a batch in pieces of so many images, to save memory: gradients add up, batch-norm sees a piece "
     "at a time; default: the recipe's"},
    {"pieces", CVY_INT, offsetof(options, pieces), "", 1, 4096, NULL,
     "of a batch, for ranks to compute: same pieces, same bits; default: the recipe's"},
    {"lr", CVY_TEXT, offsetof(options, lr), "", 0, 0, NULL, "learning rate; default: the recipe's"},
    {"optimizer", CVY_TEXT, offsetof(options, optimizer), "", 0, 0, NULL,
     "SGD, Adam, AdamW, or with parameters: '{SGD: {lr: 0.1, momentum: 0.9}}'"},
    {"seed", CVY_SIZE, offsetof(options, seed), "0", 0, MANY, NULL, "of initial weights, order and dropout"},
    {"out", CVY_TEXT, offsetof(options, out), "", 0, 0, NULL, "run folder; default: runs/<model>-<date>-<n>"},
    {"init", CVY_TEXT, offsetof(options, init), "", 0, 0, NULL,
     "weights to start from (safetensors or .pth): what fits is kept, the rest begins anew"},
    {"init-strict", CVY_FLAG, offsetof(options, init_strict), "", 0, 0, NULL, "all of --init must fit"},
    {"resume", CVY_FLAG, offsetof(options, resume), "", 0, 0, NULL,
     "continue the run in --out, to the same bits"},
    {"limit-train", CVY_SIZE, offsetof(options, limit_train), "", 1, MANY, NULL,
     "use only so many training images"},
    {"limit-test", CVY_SIZE, offsetof(options, limit_test), "", 1, MANY, NULL,
     "use only so many test images"},
    {"test-fraction", CVY_FLOAT, offsetof(options, test_fraction), "", 0.001, 0.999, NULL,
     "of a folder without train/ and test/; default: the recipe's"},
    {"val-fraction", CVY_FLOAT, offsetof(options, val_fraction), "", 0, 0.999, NULL,
     "of the training images, to choose the best weights by; the test set is then used once, at the end; "
     "default: the recipe's"},
    {"no-shuffle", CVY_FLAG, offsetof(options, no_shuffle), "", 0, 0, NULL, "keep the set's own order"},
    {"eval-every", CVY_INT, offsetof(options, eval_every), "", 0, 1 << 30, NULL,
     "steps between evaluations; 0: once an epoch; default: the recipe's"},
    {"checkpoint-every", CVY_INT, offsetof(options, checkpoint_every), "", 0, 1 << 30, NULL,
     "steps between checkpoints; 0: once an epoch"},
    {"no-pictures", CVY_FLAG, offsetof(options, no_pictures), "", 0, 0, NULL,
     "write no curves.png into the run folder"},
    {"report", CVY_FLAG, offsetof(options, report), "", 0, 0, NULL,
     "at the end, write report.html into the run folder, as `convoy report` does"},
    {"tensorboard", CVY_FLAG, offsetof(options, tensorboard), "", 0, 0, NULL,
     "write an event file into the run folder, which TensorBoard shows"},
    {"max-steps", CVY_SIZE, offsetof(options, max_steps), "", 1, MANY, NULL, "stop after so many steps"},
    CLI_ROW_VERIFY,
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SKIP_DAMAGED,
    CLI_ROW_SET,
    CLI_ROW_VARIANT,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

static void print_quoted(cvy_text *text, const char *word) {
    if (*word &&
        !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%")]) {
        cvy_text_add(text, " %s", word);
        return;
    }
    cvy_text visible = {0};
    cvy_text_add_visible(&visible, word, false);
    bool plain = strcmp(cvy_text_get(&visible), word) == 0;
    cvy_text_free(&visible);
    if (!plain) { /* bytes that no screen shows, as the shell writes them */
        cvy_text_add(text, " $'");
        for (const char *c = word; *c; c++)
            if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
                cvy_text_add(text, "\\x%02X", (unsigned char)*c);
            else
                cvy_text_add(text, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
        cvy_text_add(text, "'");
        return;
    }
    cvy_text_add(text, " '");
    for (const char *c = word; *c; c++)
        cvy_text_add(text, *c == '\'' ? "'\\''" : "%c", *c);
    cvy_text_add(text, "'");
}

/* The command line; `resumed`: the one that goes on where this one stopped. --init belongs to the beginning
   only. */
static void print_command(const cli_call *call, const char *out, bool resumed, cvy_text *text) {
    const options *o = call->options;
    cvy_text_add(text, "%s", call->argv[0]);
    for (int i = 1; i < call->argc; i++)
        if (resumed && strcmp(call->argv[i], "--init") == 0)
            i++;
        else if (!resumed ||
                 (strncmp(call->argv[i], "--init=", 7) != 0 && strcmp(call->argv[i], "--init-strict") != 0 &&
                  strcmp(call->argv[i], "--resume") != 0))
            print_quoted(text, call->argv[i]);
    if (!o->out) {
        cvy_text_add(text, " --out");
        print_quoted(text, out);
    }
    if (resumed)
        cvy_text_add(text, " --resume");
}

static void say_how_to_resume(const cli_call *call, const char *out) {
    cvy_text text = {0};
    print_command(call, out, true, &text);
    cli_note("go on with: %s", cvy_text_get(&text));
    cvy_text_free(&text);
}

/* ---- the command ---- */

/* Options that stand for a key of the recipe become settings, so that model.yaml in the run folder has them.
 */
static void options_to_settings(cli_call *call) {
    const options *o = call->options;
    char number[64];
    if (cli_given(call, "val-fraction")) {
        snprintf(number, sizeof number, "%.17g", o->val_fraction);
        cli_add_setting(call, "val_fraction", number);
    }
    if (o->data)
        cli_add_setting(call, "data", o->data);
    if (o->optimizer)
        cli_add_setting(call, "optimizer", o->optimizer);
    if (o->lr)
        cli_add_setting(call, "lr", o->lr);
    if (o->no_shuffle)
        cli_add_setting(call, "shuffle", "false");
    const struct {
        const char *key, *option;
        int value;
    } numbers[] = {{"epochs", "epochs", o->epochs},
                   {"batch_size", "batch-size", o->batch_size},
                   {"micro_batch", "micro-batch", o->micro_batch},
                   {"pieces", "pieces", o->pieces},
                   {"eval_every", "eval-every", o->eval_every}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (cli_given(call, numbers[i].option)) {
            snprintf(number, sizeof number, "%d", numbers[i].value);
            cli_add_setting(call, numbers[i].key, number);
        }
}

static json_t *result_json(const convoy_model *model, const convoy_device *device,
                           const convoy_train_result *r, const char *out) {
    return json_pack(
        "{s:o, s:o, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
        cli_string(convoy_model_name(model)), "device", cli_string(convoy_device_get_info(device)->name),
        "epochs", r->epochs, "steps", (json_int_t)r->steps, "train_loss", cli_number(r->train_loss),
        "train_accuracy", cli_number(r->train_accuracy), "test_loss", cli_number(r->test_loss),
        "test_accuracy", cli_number(r->test_accuracy), "best_test_accuracy",
        cli_number(r->best_test_accuracy), "best_epoch", r->best_epoch, "seconds", cli_number(r->seconds),
        "images_per_second", cli_number(r->images_per_second), "out", cli_string(out), "val_loss",
        cli_number(r->val_loss), "val_accuracy", cli_number(r->val_accuracy), "best_val_accuracy",
        cli_number(r->best_val_accuracy), "lr", cli_number(r->learning_rate));
}

/* The tutorials' last lines: results, so on stdout unless that belongs to the JSON object. */
static void print_result(const cli_call *call, const convoy_device *device, const convoy_train_result *r,
                         const char *out) {
    FILE *to = cli_common_of(call)->json ? stderr : stdout;
    cvy_text curves = {0};
    char *metrics = cvy_path_join(out, "metrics.csv");
    cli_curves_of_run(&curves, metrics);
    free(metrics);
    fputs(cvy_text_get(&curves), to);
    cvy_text_free(&curves);
    fprintf(to, "loss %.3f, train acc %.3f", r->train_loss, r->train_accuracy);
    if (isfinite(r->val_accuracy))
        fprintf(to, ", val acc %.3f", r->val_accuracy);
    if (isfinite(r->test_accuracy))
        fprintf(to, ", test acc %.3f", r->test_accuracy);
    fprintf(to, "\n");
    if (r->images_per_second > 0)
        fprintf(to, "%.1f examples/sec on %s\n", r->images_per_second, convoy_device_get_info(device)->name);
    fflush(to);
    if (r->images_per_second == 0)
        cli_note("nothing was left to do after %d epochs and %llu steps: more of --epochs or --max-steps "
                 "would train on",
                 r->epochs, r->steps);
    const cvy_collective *ranks = cli_ranks();
    if (cvy_ranks(ranks) > 1)
        cli_note("rank 0 sent %llu bytes to the others", ranks->bytes);
    cli_note("weights, metrics and checkpoint are in %s", out);
}

/* Who hears how training goes on. */
typedef struct listener {
    cli_progress progress;
    cli_pictures pictures;
    const cli_call *call;
    const char *out;
    const convoy_device *device;
} listener;

/* What the run was begun with, for `convoy report`. */
static void keep_beginning(const listener *l) {
    char *path = cvy_path_join(l->out, "run.yaml");
    cvy_text command = {0}, text = {0};
    const options *o = l->call->options;
    if (!o->resume || !cvy_file_exists(path)) {
        print_command(l->call, l->out, false, &command);
        cvy_run_print_beginning(cvy_text_get(&command), l->device, &text);
        if (cvy_file_write(path, cvy_text_get(&text), text.length))
            cvy_warning("the run's command is not kept: %s", convoy_error_message());
    }
    cvy_text_free(&command);
    cvy_text_free(&text);
    free(path);
}

/* The folder is the run's, and by now the row of metrics.csv is written. */
static int hear(void *context, const convoy_progress *event) {
    listener *l = context;
    const options *o = l->call->options;
    const bool draws = !o->no_pictures && cvy_canvas_check() == CONVOY_OK;
    if (event->kind == CONVOY_PROGRESS_START)
        keep_beginning(l);
    if (event->kind == CONVOY_PROGRESS_START && (draws || o->tensorboard))
        cli_pictures_start(&l->pictures, l->out, draws, o->tensorboard, event);
    if (event->kind == CONVOY_PROGRESS_EPOCH || event->kind == CONVOY_PROGRESS_TEST)
        cli_pictures_want(&l->pictures);
    return cli_progress_event(&l->progress, event);
}

/* What `convoy report` would write, on the same device and test images, and a picture of some of them. */
static convoy_status write_report(const cli_call *call, const char *out, convoy_device **device) {
    const options *o = call->options;
    const cli_data_request request = {
        .limit_test = (size_t)o->limit_test, .test_fraction = o->test_fraction, .test = true};
    const cli_report report = {.folders = &out,
                               .count = 1,
                               .out = cvy_arena_printf(call->arena, "%s/report.html", out),
                               .request = &request,
                               .pictures = !o->no_pictures};
    const cvy_answers *answers = NULL;
    convoy_status status = cli_report_write(call, &report, device, NULL, &answers);
    if (status)
        return status;
    cli_print_answers(answers, o->common.json ? stderr : stdout);
    cli_note("the report is %s", report.out);
    return status;
}

static convoy_status train(cli_call *call, convoy_model *model, convoy_device **device,
                           convoy_dataset *const sets[3], const char *out) {
    const options *o = call->options;
    listener heard = {.call = call, .out = out};
    cli_progress *progress = &heard.progress;
    const convoy_trainer wanted = {.model = model, .device = *device, .set = sets[0], .test = sets[1]};
    cvy_collective *ranks = cli_ranks();
    const bool writes = cvy_rank(ranks) == 0;
    convoy_train_result result = {.size = sizeof result};
    convoy_train_options train_options = {
        .size = sizeof train_options,
        .seed = (uint64_t)o->seed,
        .out = out,
        .init = o->init,
        .init_strict = o->init_strict,
        .resume = o->resume,
        .checkpoint_every = o->checkpoint_every,
        .max_steps = (unsigned long long)o->max_steps,
        .variant = call->variants,
        .progress = writes ? hear : NULL,
        .context = &heard,
        .interrupt = cli_catch_signals(),
        .validation = sets[2],
    };
    convoy_status status;
    cli_progress_start(progress, isatty(STDERR_FILENO));
    convoy_log_set_sink(cli_progress_log, progress);
    do {
        cli_progress_start(progress, isatty(STDERR_FILENO));
        heard.device = *device;
        cvy_device_observe_building(*device, cli_progress_building, progress);
        status = ranks ? cvy_train(ranks, &wanted, &train_options, &result)
                       : convoy_train(model, *device, sets[0], sets[1], &train_options, &result);
        cvy_device_observe_building(*device, NULL, NULL);
        cli_progress_end(progress);
        cli_pictures_end(&heard.pictures);
    } while (!ranks && result.steps == 0 && cli_fall_back(call, status, device));
    convoy_log_set_sink(cli_progress_log, NULL);
    status = cli_ranks_leave(status);
    if (status == CONVOY_INTERRUPTED && result.steps)
        say_how_to_resume(call, out);
    if (status || !writes)
        return status;
    print_result(call, *device, &result, out);
    if (o->common.json)
        call->result = result_json(model, *device, &result, out);
    return o->report ? write_report(call, out, device) : CONVOY_OK;
}

static void say_what(const convoy_model *model, convoy_dataset *const sets[3]) {
    const cvy_recipe *recipe = cvy_model_recipe(model);
    char validation[64] = "";
    if (sets[2])
        snprintf(validation, sizeof validation, ", %zu validation", convoy_dataset_count(sets[2]));
    cli_note("model %s: %zu training%s and %zu test images of %s, batches of %d, %d epochs",
             convoy_model_name(model), convoy_dataset_count(sets[0]), validation,
             convoy_dataset_count(sets[1]), convoy_dataset_name(sets[0]), recipe->batch_size, recipe->epochs);
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    convoy_dataset *sets[3] = {NULL, NULL, NULL}; /* training, test, validation */
    const char *out = o->out;
    cli_data_request request = {.data = o->data,
                                .limit_train = (size_t)o->limit_train,
                                .limit_test = (size_t)o->limit_test,
                                .test_fraction = o->test_fraction,
                                .run = o->resume ? o->out : NULL,
                                .train = true,
                                .test = true,
                                .validation = true,
                                .judge = &sets[2]};
    if (o->resume && !o->out)
        return cvy_fail(CONVOY_INVALID,
                        "convoy train: --resume needs --out, the folder of the run that it continues");
    if (o->report && cvy_canvas_check())
        return CONVOY_INVALID;
    options_to_settings(call);
    convoy_status status = cli_ranks_join(call, o->mpi, o->devices);
    const bool first = cvy_rank(cli_ranks()) == 0;
    if (!status && first) /* others may be where it cannot be made */
        status = cli_check_folder(call, o->out, "search.txt");
    if (!status && o->init)
        status = cli_check_file(call, "weights file", o->init);
    if (!status)
        status = cli_load(call, &request, &model, &sets[0], &sets[1]);
    if (!status)
        status = cli_open_device(call, &device);
    if (!status)
        status = cli_ranks_name(convoy_device_get_info(device)->name);
    if (!status && !out)
        status = cli_ranks_share_text(
            call, first ? cli_new_run_folder(call, convoy_model_name(model), &out) : CONVOY_OK, &out);
    if (status) {
        status = cli_ranks_leave(status);
        goto done;
    }
    say_what(model, sets);
    status = train(call, model, &device, sets, out);
    if (status && first && !o->out && rmdir(out) != 0)
        errno = 0; /* not empty: something of the run was kept */
done:
    for (int i = 0; i < 3; i++)
        convoy_dataset_free(sets[i]);
    convoy_model_free(model);
    convoy_device_close(device);
    return status;
}

const cli_command cli_train = {
    "train", "MODEL", "Train a model by its recipe.", 1, 1, params, sizeof(options), true, run};
