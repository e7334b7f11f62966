/* convoy search MODEL: trains with one setting after another and says which is best. Each training is a run
   with a folder of its own; a row of search.csv is written when it is done, and what has a row is not done
   again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "cli/ranks.h"
#include "cli/search.h"
#include "data/dataset.h"
#include "model/model.h"
#include "report/trials.h"
#include "train/handshake.h"

typedef struct options {
    cli_common common;
    const char *grid, *range, *data, *out, *devices;
    long long random, seed, limit_train, limit_test;
    int epochs, folds, mpi;
    double test_fraction, val_fraction;
    bool halving, report;
} options;

static const cvy_param params[] = {
    {"grid", CVY_TEXT, offsetof(options, grid), "", 0, 0, NULL,
     "key=value,value: tries each, with each of the other grids; may be repeated"},
    {"random", CVY_SIZE, offsetof(options, random), "", 1, 10000, NULL,
     "draw so many trials from grids and ranges"},
    {"range", CVY_TEXT, offsetof(options, range), "", 0, 0, NULL,
     "key=log:LOW:HIGH, linear: or integer:, for --random; may be repeated"},
    {"halving", CVY_FLAG, offsetof(options, halving), "", 0, 0, NULL,
     "train all for a part of the epochs, the best third three times as long, and so on"},
    {"folds", CVY_INT, offsetof(options, folds), "", 2, 100, NULL,
     "cross-validation: judge by each of so many parts of the training images in turn"},
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL, "as of train; default: the recipe's"},
    CLI_ROW_DEVICE,
    {"devices", CVY_TEXT, offsetof(options, devices), "", 0, 0, NULL,
     "as 0:0,1:0, or auto: so many trials at once, each on the first of them that is free; under mpirun one "
     "of them for each rank of a machine"},
    CLI_ROW_MPI,
    {"epochs", CVY_INT, offsetof(options, epochs), "", 1, 1 << 20, NULL,
     "of each trial; default: the recipe's"},
    {"seed", CVY_SIZE, offsetof(options, seed), "0", 0, 9e18, NULL,
     "of the draws, and of each trial as of train"},
    {"out", CVY_TEXT, offsetof(options, out), "", 0, 0, NULL,
     "folder of all runs and search.csv; one that is there is gone on with; default: "
     "runs/search-<model>-<date>-<n>"},
    {"limit-train", CVY_SIZE, offsetof(options, limit_train), "", 1, 9e18, NULL,
     "use only so many training images"},
    {"limit-test", CVY_SIZE, offsetof(options, limit_test), "", 1, 9e18, NULL,
     "use only so many test images"},
    {"test-fraction", CVY_FLOAT, offsetof(options, test_fraction), "", 0.001, 0.999, NULL, "as of train"},
    {"val-fraction", CVY_FLOAT, offsetof(options, val_fraction), "", 0, 0.999, NULL, "as of train"},
    {"report", CVY_FLAG, offsetof(options, report), "", 0, 0, NULL,
     "at the end, write report.html into the search's folder, as `convoy report` does"},
    CLI_ROW_FAST_DECODE,
    CLI_ROW_SKIP_DAMAGED,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

typedef struct search {
    cli_call *call;
    const options *options;
    search_plan plan;
    search_table table;
    convoy_device *device;   /* NULL: workers have theirs */
    search_workers *workers; /* NULL: one trial after another, in this process */
    bool ranks;              /* a launcher started this process as one of several */
    search_report report;    /* of this rank's own child */
    cli_progress progress;
    int monitor;
    int *budgets; /* [rungs]: epochs */
    size_t done, all;
    bool draws;
    const char *best;              /* the best trial's run, when all is done */
    const search_work *table_work; /* of ranks: whose `done` writes the row */
} search;

/* ---- rungs: Jamieson and Talwalkar, 2016, with a third kept each time ---- */

static size_t survivors(const search *s, size_t rung) {
    size_t count = s->plan.trials;
    for (; rung > 0; rung--)
        count = (count + 2) / 3;
    return count;
}

static void plan_rungs(search *s, int epochs) {
    s->table.rungs = 1;
    for (size_t left = s->plan.trials; s->options->halving && left > 1 && epochs >> s->table.rungs > 0;
         left = (left + 2) / 3)
        s->table.rungs++;
    s->budgets = cvy_arena_alloc(s->call->arena, s->table.rungs * sizeof *s->budgets);
    for (size_t r = s->table.rungs; r-- > 0; epochs = (epochs + 2) / 3)
        s->budgets[r] = epochs;
}

/* Is trial a better than b? Of equals the first; what failed comes last. */
static bool precedes(const search *s, size_t rung, size_t a, size_t b) {
    const double x = search_table_value(&s->table, rung, a), y = search_table_value(&s->table, rung, b);
    if (isnan(x) || isnan(y))
        return isnan(x) == isnan(y) ? a < b : isnan(y);
    return x == y ? a < b : cvy_monitor_is_least(s->monitor) ? x < y : x > y;
}

/* All trials, the best of the rung first; in the arena. */
static size_t *rank(const search *s, size_t rung, const size_t *among, size_t count) {
    size_t *order = cvy_arena_alloc(s->call->arena, (count + 1) * sizeof *order);
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && precedes(s, rung, among[i], order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = among[i];
    }
    return order;
}

/* ---- the folder ---- */

/* What this search is. */
static void describe(const search *s, const convoy_model *model, cvy_text *to) {
    cvy_text text = {0};
    const options *o = s->options;
    for (size_t i = 0; i < s->plan.axis_count; i++)
        cvy_text_add(&text, "%s\n", s->plan.axes[i].option);
    cvy_text_add(
        &text,
        "--random %lld --halving %d --folds %d --epochs %d --seed %lld --limit-train %lld --limit-test "
        "%lld --test-fraction %g\nmodel %s",
        o->random, o->halving, o->folds, s->budgets[s->table.rungs - 1], o->seed, o->limit_train,
        o->limit_test, o->test_fraction, convoy_model_name(model));
    for (size_t i = 0; i < s->call->setting_count; i++)
        cvy_text_add(&text, " %s", s->call->settings[i]);
    cvy_text_add(&text, "\n");
    *to = text;
}

/* So that another one does not go on with its runs. */
static convoy_status claim_folder(search *s, const convoy_model *model) {
    char *path = cvy_path_join(s->table.out, "search.txt"), *there = NULL;
    size_t size;
    cvy_text text;
    describe(s, model, &text);
    convoy_status status = cvy_folder_create(s->table.out);
    if (!status && !cvy_file_exists(path))
        status = cvy_file_write(path, text.data, text.length);
    else if (!status && !(status = cvy_file_read_regular(path, 16 << 20, &there, &size)) &&
             strcmp(there, text.data) != 0)
        status = cvy_fail(CONVOY_INVALID,
                          "convoy search: %s holds another search, as %s says: choose another --out",
                          s->table.out, path);
    free(there);
    free(path);
    cvy_text_free(&text);
    return status;
}

/* ---- one training ---- */

static convoy_status load_trial(search *s, const search_job *job, convoy_model **model,
                                convoy_dataset *sets[3]) {
    cli_call call = *s->call;
    const options *o = s->options;
    const size_t own = s->plan.axis_count;
    call.settings = cvy_arena_alloc(call.arena, (call.setting_count + own + 1) * sizeof *call.settings);
    memcpy(call.settings, s->call->settings, call.setting_count * sizeof *call.settings);
    memcpy(call.settings + call.setting_count, search_settings(&s->plan, job->trial),
           own * sizeof *call.settings);
    call.setting_count += own;
    cli_data_request request = {.data = o->data,
                                .limit_train = (size_t)o->limit_train,
                                .limit_test = (size_t)o->limit_test,
                                .test_fraction = o->test_fraction,
                                .run = search_table_folder(&s->table, job->trial, job->fold),
                                .train = true,
                                .test = s->table.folds == 1,
                                .validation = true,
                                .judge = s->table.folds == 1 ? &sets[2] : NULL};
    convoy_status status = cli_load(&call, &request, model, &sets[0], &sets[1]);
    if (status || s->table.folds == 1)
        return status;
    status = cvy_dataset_fold(sets[0], job->fold, s->table.folds, (uint64_t)o->seed, &sets[2]);
    if (status != CONVOY_INVALID)
        return status;
    const char *reason = cvy_arena_strdup(call.arena, convoy_error_message());
    return cvy_fail(status, "--folds %d: %s", s->table.folds, reason);
}

/* Trains from where an earlier rung or a kill left it. A trial that diverges is one that failed. A
   search_work's. */
static convoy_status train_job(void *context, convoy_device *device, const search_job *job,
                               search_outcome *outcome) {
    search *s = context;
    convoy_model *model = NULL;
    convoy_dataset *sets[3] = {NULL, NULL, NULL};
    const char *out = search_table_folder(&s->table, job->trial, job->fold);
    char *checkpoint = cvy_path_join(out, "checkpoint.safetensors");
    convoy_train_result result = {.size = sizeof result};
    convoy_status status = load_trial(s, job, &model, sets);
    /* What is judged by a validation set leaves the test set alone. */
    const convoy_train_options train = {.size = sizeof train,
                                        .epochs = s->budgets[job->rung],
                                        .seed = (uint64_t)s->options->seed,
                                        .out = out,
                                        .resume = cvy_file_exists(checkpoint),
                                        .progress = cli_progress_event,
                                        .context = &s->progress,
                                        .interrupt = cli_catch_signals(),
                                        .validation = sets[2]};
    if (!status)
        status = convoy_train(model, device, sets[0], sets[2] ? NULL : sets[1], &train, &result);
    cli_progress_end(&s->progress);
    if (!status || status == CONVOY_FAILED) {
        *outcome = (search_outcome){true,
                                    result.epochs,
                                    result.best_epoch,
                                    status ? NAN : result.best_value,
                                    result.train_loss,
                                    result.train_accuracy,
                                    result.seconds};
        if (status)
            cvy_warning("trial %zu failed: %s", job->trial + 1, convoy_error_message());
        status = CONVOY_OK;
    }
    for (int i = 0; i < 3; i++)
        convoy_dataset_free(sets[i]);
    convoy_model_free(model);
    free(checkpoint);
    return status;
}

/* ---- what is said of it ---- */

static const char *monitor_name(const search *s) {
    const char *at = CVY_MONITORS;
    for (int i = 0; i < s->monitor; i++)
        at = strchr(at, '|') + 1;
    return cvy_arena_strndup(s->call->arena, at, strcspn(at, "|"));
}

static void add_line(const search *s, size_t rung, size_t trial, cvy_text *text) {
    const double value = search_table_value(&s->table, rung, trial);
    cvy_text_add(text, "trial %3zu  ", trial + 1);
    if (isnan(value))
        cvy_text_add(text, "%9s", "failed");
    else
        cvy_text_add(text, "%9.4f", value);
    cvy_text_add(text, "  %3d epochs", s->budgets[rung]);
    for (size_t i = 0; i < s->plan.axis_count; i++)
        cvy_text_add(text, "  %s", cli_visible(s->call->arena, search_settings(&s->plan, trial)[i]));
}

/* With all its folds. Where there are several devices, `device` is where the last was trained. */
static void say_done(const search *s, size_t rung, size_t trial, const char *device) {
    cvy_text text = {0};
    add_line(s, rung, trial, &text);
    if (s->workers)
        cvy_text_add(&text, "  on %s", cli_visible(s->call->arena, device));
    cli_note("[%zu/%zu] %s", s->done, s->all, cvy_text_get(&text));
    cvy_text_free(&text);
}

/* The rung that a trial came to last. */
static size_t last_rung(const search *s, size_t trial) {
    size_t rung = s->table.rungs - 1;
    while (rung > 0 && !search_table_outcome(&s->table, rung, trial, 0)->known)
        rung--;
    return rung;
}

static json_t *trial_json(const search *s, size_t trial) {
    const size_t rung = last_rung(s, trial);
    json_t *settings = json_object();
    for (size_t i = 0; i < s->plan.axis_count; i++)
        json_object_set_new(settings, s->plan.axes[i].key,
                            cli_string(search_value(search_settings(&s->plan, trial)[i])));
    return json_pack("{s:i, s:o, s:i, s:o, s:o}", "trial", (int)trial + 1, "settings", settings, "epochs",
                     s->budgets[rung], "value", cli_number(search_table_value(&s->table, rung, trial)), "out",
                     cli_string(search_table_folder(&s->table, trial, 0)));
}

/* Trials by how far they came, then by value. */
static void report(const search *s, const convoy_model *model, size_t *const orders[], const size_t *counts) {
    json_t *trials = json_array();
    const size_t best = orders[s->table.rungs - 1][0];
    FILE *to = s->options->common.json ? stderr : stdout;
    fprintf(to, "%s, best first:\n", monitor_name(s));
    for (size_t r = s->table.rungs; r-- > 0;)
        for (size_t i = 0; i < counts[r]; i++) {
            cvy_text text = {0};
            if (last_rung(s, orders[r][i]) != r)
                continue;
            add_line(s, r, orders[r][i], &text);
            fprintf(to, "%s\n", cli_visible(s->call->arena, cvy_text_get(&text)));
            cvy_text_free(&text);
            json_array_append_new(trials, trial_json(s, orders[r][i]));
        }
    fprintf(to, "best: trial %zu, in %s\n", best + 1,
            cli_visible(s->call->arena, search_table_folder(&s->table, best, 0)));
    fflush(to);
    cli_note("the table is %s", s->table.path);
    if (s->options->common.json)
        s->call->result =
            json_pack("{s:o, s:o, s:s, s:o, s:o}", "model", cli_string(convoy_model_name(model)), "device",
                      cli_string(s->device ? convoy_device_get_info(s->device)->name
                                           : search_workers_names(s->workers)),
                      "monitor", monitor_name(s), "trials", trials, "best", trial_json(s, best));
    else
        json_decref(trials);
}

/* ---- the command ---- */

/* What goes wrong with a picture takes nothing of the search. */
static void draw(search *s) {
    if (s->draws && cvy_trials_save(s->table.out)) {
        cvy_warning("the search has no new search.png: %s", convoy_error_message());
        s->draws = false;
    }
}

/* A search_work's: the row, and the line of a trial whose folds are all there. */
static convoy_status note_done(void *context, const search_job *job, const search_outcome *outcome,
                               const char *device) {
    search *s = context;
    bool whole = true;
    *search_table_outcome(&s->table, job->rung, job->trial, job->fold) = *outcome;
    s->done++;
    convoy_status status = search_table_add(&s->table, job, outcome, device);
    for (int f = 0; f < s->table.folds; f++)
        whole &= search_table_outcome(&s->table, job->rung, job->trial, f)->known;
    if (!status && whole) {
        say_done(s, job->rung, job->trial, device);
        draw(s);
    }
    return status;
}

static convoy_status run_here(search *s, const search_job *jobs, size_t count) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < count && !status; i++) {
        search_outcome outcome = {0};
        status = train_job(s, s->device, &jobs[i], &outcome);
        if (!status)
            status = note_done(s, &jobs[i], &outcome, convoy_device_get_info(s->device)->name);
    }
    return status;
}

static convoy_status run_rung(search *s, size_t rung, const size_t *among, size_t count) {
    search_job *jobs = cvy_arena_alloc(s->call->arena, count * (size_t)s->table.folds * sizeof *jobs);
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        for (int f = 0; f < s->table.folds; f++)
            if (search_table_outcome(&s->table, rung, among[i], f)->known)
                s->done++;
            else
                jobs[left++] = (search_job){rung, among[i], f};
    if (s->ranks)
        return search_ranks_run(s->workers, &s->report, s->table_work, jobs, left);
    return s->workers ? search_workers_run(s->workers, jobs, left) : run_here(s, jobs, left);
}

static convoy_status run_all(search *s, const convoy_model *model) {
    size_t **orders = cvy_arena_alloc(s->call->arena, s->table.rungs * sizeof *orders);
    size_t *counts = cvy_arena_alloc(s->call->arena, s->table.rungs * sizeof *counts);
    size_t *among = cvy_arena_alloc(s->call->arena, s->plan.trials * sizeof *among);
    convoy_status status = CONVOY_OK;
    for (size_t t = 0; t < s->plan.trials; t++)
        among[t] = t;
    for (size_t r = 0; r < s->table.rungs; r++)
        s->all += survivors(s, r) * (size_t)s->table.folds;
    for (size_t r = 0; r < s->table.rungs && !status; r++) {
        counts[r] = survivors(s, r);
        status = run_rung(s, r, among, counts[r]);
        orders[r] = among = rank(s, r, among, counts[r]);
    }
    if (status == CONVOY_INTERRUPTED)
        cli_note("go on by the same command with --out %s", s->table.out);
    if (!status && isnan(search_table_value(&s->table, s->table.rungs - 1, among[0])))
        status = cvy_fail(CONVOY_FAILED, "convoy search: every trial failed; see the warnings above");
    if (!status) {
        s->best = search_table_folder(&s->table, among[0], 0);
        draw(s); /* also what was done before, and by an older version */
        report(s, model, orders, counts);
    }
    return status;
}

static void options_to_settings(cli_call *call) {
    const options *o = call->options;
    if (o->data)
        cli_add_setting(call, "data", o->data);
    if (cli_given(call, "epochs"))
        cli_add_setting(call, "epochs", cvy_arena_printf(call->arena, "%d", o->epochs));
    if (cli_given(call, "val-fraction"))
        cli_add_setting(call, "val_fraction", cvy_arena_printf(call->arena, "%.17g", o->val_fraction));
}

static convoy_status prepare(search *s, const convoy_model *model) {
    const cvy_recipe *recipe = cvy_model_recipe(model);
    s->monitor = recipe->monitor;
    s->table.folds = s->options->folds ? s->options->folds : 1;
    if (s->table.folds > 1 && recipe->val_fraction > 0)
        return cvy_fail(CONVOY_INVALID,
                        "convoy search: --folds judges by parts of the training images already: leave "
                        "out --val-fraction (val_fraction: 0)");
    if (s->options->halving && cvy_schedule_follows_length(&recipe->schedule))
        return cvy_fail(
            CONVOY_INVALID,
            "convoy search: with --halving trials grow longer, which %s does not allow: give it T_max or "
            "total_steps",
            recipe->schedule.type->name);
    s->table.arena = s->call->arena;
    s->table.plan = &s->plan;
    plan_rungs(s, recipe->epochs);
    s->table.outcomes = cvy_arena_alloc(
        s->call->arena, s->table.rungs * s->plan.trials * (size_t)s->table.folds * sizeof *s->table.outcomes);
    return CONVOY_OK;
}

/* The folder and the table, which one process has. */
static convoy_status take_folder(search *s, const convoy_model *model) {
    convoy_status status =
        s->options->out
            ? cli_check_folder(s->call, s->options->out, "metrics.csv")
            : cli_new_run_folder(s->call,
                                 cvy_arena_printf(s->call->arena, "search-%s", convoy_model_name(model)),
                                 &s->table.out);
    if (status)
        return status;
    s->table.path = cvy_arena_printf(s->call->arena, "%s/search.csv", s->table.out);
    s->draws = cvy_canvas_check() == CONVOY_OK;
    status = claim_folder(s, model);
    return status ? status : search_table_open(&s->table);
}

/* ---- on ranks ---- */

/* A search_work's of a rank: its own child is done, which all are told. */
static convoy_status note_own(void *context, const search_job *job, const search_outcome *outcome,
                              const char *device) {
    search *s = context;
    (void)device;
    s->report.done = true;
    s->report.job = *job;
    s->report.outcome = *outcome;
    return CONVOY_OK;
}

/* All have been given the same. */
static convoy_status compare_ranks(const search *s, const convoy_model *model) {
    cvy_collective *c = cli_ranks();
    char mine[33], (*all)[33] = calloc((size_t)cvy_ranks(c), sizeof *all);
    char *text = NULL;
    size_t size = 0;
    cvy_text about;
    describe(s, model, &about);
    convoy_status status = cvy_file_read(s->call->operands[0], 16 << 20, &text, &size);
    cvy_hash *hash = cvy_hash_create();
    if (!status)
        status = cvy_handshake_build(hash);
    cvy_hash_add(hash, text ? text : "", size);
    cvy_hash_add_text(hash, cvy_text_get(&about));
    cvy_hash_finish(hash, mine);
    if (!all)
        status = cvy_fail_memory("the handshake of ranks", sizeof mine);
    status = cvy_collective_gather_alike(c, "handshake", status, mine, sizeof mine, all);
    for (int r = 1; r < cvy_ranks(c) && !status; r++)
        if (strcmp(all[r], all[0]) != 0)
            status = cvy_fail(CONVOY_INVALID,
                              "%s has another build, model, recipe or search than rank 0: give all the same "
                              "command line and files",
                              cvy_collective_name(c, r));
    cvy_text_free(&about);
    free(text);
    free(all);
    return status;
}

/* The folder is rank 0's; its name goes to each child with its jobs. */
static convoy_status meet_ranks(search *s, const convoy_model *model) {
    while (search_workers_busy(s->workers) && !*cli_catch_signals())
        search_workers_poll(s->workers);
    const convoy_status opened =
        cvy_collective_agree(cli_ranks(), "devices", search_workers_status(s->workers));
    convoy_status status = opened ? opened : cli_ranks_name(search_workers_names(s->workers));
    if (!status)
        status = compare_ranks(s, model);
    if (status)
        return status;
    if (cvy_rank(cli_ranks()) == 0)
        status = take_folder(s, model);
    return cli_ranks_share_text(s->call, status, &s->table.out);
}

static convoy_status run_on_ranks(search *s, const convoy_model *model, size_t place) {
    const search_work own = {s, s->table.folds, &s->table.out, train_job, note_own};
    const search_work table = {s, s->table.folds, NULL, train_job, note_done};
    cli_common *common = cli_common_of(s->call);
    const char *asked = common->device, *list = s->options->devices ? s->options->devices
                                                : asked             ? asked
                                                                    : "auto";
    s->ranks = true;
    s->table_work = &table;
    cli_progress_start(&s->progress, false);
    convoy_log_set_sink(cli_progress_log, &s->progress);
    convoy_status status =
        search_workers_start_one(s->call, list, s->options->devices || !asked ? place : 0, &own, &s->workers);
    if (!asked) /* it is the child's: no driver is loaded here */
        common->device = "host";
    const convoy_status joined = cli_ranks_join(s->call, s->options->mpi, NULL);
    status = joined ? joined : cvy_collective_agree(cli_ranks(), "processes", status);
    if (!status)
        status = meet_ranks(s, model);
    if (!status && cvy_rank(cli_ranks()) == 0) {
        cli_note("search: %zu trials of %s in %s", s->plan.trials, convoy_model_name(model), s->table.out);
        status = run_all(s, model);
        if (!status || (!cli_ranks()->failed && !cli_ranks()->lost && status == CONVOY_FAILED)) {
            const convoy_status ended = search_ranks_end(s->workers, &s->report);
            status = status ? status : ended;
        }
    } else if (!status) {
        status = search_ranks_serve(s->workers, &s->report);
    }
    convoy_log_set_sink(cli_progress_log, NULL);
    common->device = asked;
    return joined ? joined : cli_ranks_leave(status);
}

static convoy_status run_alone(search *s, const convoy_model *model) {
    const search_work work = {s, s->table.folds, NULL, train_job, note_done};
    const bool several = s->options->devices != NULL;
    convoy_status status = take_folder(s, model);
    if (!status && !several)
        status = cli_open_device(s->call, &s->device);
    if (status)
        return status;
    cli_note("search: %zu trials of %s in %s", s->plan.trials, convoy_model_name(model), s->table.out);
    cli_progress_start(&s->progress, !several && isatty(STDERR_FILENO));
    convoy_log_set_sink(cli_progress_log, &s->progress);
    if (several)
        status = search_workers_start(s->call, s->options->devices, &work, &s->workers);
    if (!status)
        status = run_all(s, model);
    convoy_log_set_sink(cli_progress_log, NULL);
    return status;
}

static convoy_status run(cli_call *call) {
    search s = {.call = call, .options = call->options};
    size_t place;
    convoy_model *model = NULL;
    options_to_settings(call);
    s.table.out = s.options->out;
    const convoy_model_options base = {.settings = call->settings, .setting_count = call->setting_count};
    convoy_status status = cli_check_file(call, "model file", call->operands[0]);
    if (!status && s.options->devices)
        status = cli_devices_check(call, s.options->devices);
    if (!status) /* its outputs may be left to the data */
        status = cvy_model_read(call->operands[0], &base, &model);
    if (!status)
        status = search_plan_read(call, (size_t)s.options->random, (uint64_t)s.options->seed, &s.plan);
    if (!status)
        status = prepare(&s, model);
    if (!status)
        status = cli_ranks_launched(s.options->mpi, &place) ? run_on_ranks(&s, model, place)
                                                            : run_alone(&s, model);
    search_workers_end(s.workers);
    if (!status && s.best) {
        const cli_data_request test = {.limit_test = (size_t)s.options->limit_test,
                                       .test_fraction = s.options->test_fraction,
                                       .test = true};
        if (s.options->devices && strcmp(s.options->devices, "auto") != 0) /* the others may not do */
            cli_common_of(call)->device = cli_devices_pick(call->arena, s.options->devices, 0);
        status = search_answer_best(call, s.table.out, s.best, &test, s.options->report, &s.device);
    }
    convoy_model_free(model);
    convoy_device_close(s.device);
    return status;
}

const cli_command cli_search = {"search",
                                "MODEL",
                                "Train with one setting after another, and find the best.",
                                1,
                                1,
                                params,
                                sizeof(options),
                                true,
                                run};
