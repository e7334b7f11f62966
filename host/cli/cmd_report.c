/* convoy report RUN...: one page about a run, or about several beside each other. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"
#include "report/curves.h"
#include "report/page.h"

typedef struct options {
    cli_common common;
    const char *data, *out;
    int split;
    long long limit;
    bool no_eval;
} options;

static const cvy_param params[] = {
    {"out", CVY_TEXT, offsetof(options, out), "", 0, 0, NULL,
     "the page; default: report.html in the run's folder, or here for several runs"},
    {"data", CVY_TEXT, offsetof(options, data), "", 0, 0, NULL,
     "what to evaluate the weights on; default: the recipe's"},
    {"split", CVY_CHOICE, offsetof(options, split), "test", 0, 0, "test|val", "which images of it"},
    {"limit", CVY_SIZE, offsetof(options, limit), "", 1, 9e18, NULL, "use only so many images"},
    {"no-eval", CVY_FLAG, offsetof(options, no_eval), "", 0, 0, NULL,
     "evaluate nothing: the page has curves, recipe and figures of the training"},
    CLI_ROW_DEVICE,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* A run and what its page draws on. */
typedef struct subject {
    cvy_run run;
    convoy_model *model;
    convoy_dataset *set;
} subject;

/* What may be missing where the page is made is a note on it. */
static convoy_status load(const cli_call *call, const cli_report *report, subject *s) {
    char *path = cvy_path_join(s->run.folder, "model.yaml");
    cli_call of_run = *call;
    of_run.operands = (const char *[]){path};
    of_run.setting_count = 0; /* the run's model has them all */
    convoy_status status = cli_load(&of_run, report->request, &s->model, NULL, &s->set);
    free(path);
    return status ? status : convoy_model_load_weights(s->model, s->run.weights);
}

static convoy_status answer(const cli_call *call, const cli_report *report, convoy_device **device,
                            subject *s) {
    if (!report->request || !s->run.weights || !s->run.recipe_text)
        return CONVOY_OK;
    if (load(call, report, s)) {
        cvy_run_note(call->arena, &s->run, "Nothing was evaluated: %s", convoy_error_message());
        return CONVOY_OK;
    }
    convoy_status status = cli_check_images(call, "--out", report->out, s->set);
    if (!status && !*device)
        status = cli_open_device(call, device);
    if (status)
        return status;
    do
        status = cvy_run_answer(call->arena, s->model, *device, s->set, &s->run);
    while (cli_fall_back(call, status, device));
    if (status != CONVOY_INVALID && status != CONVOY_FAILED)
        return status;
    cvy_run_note(call->arena, &s->run, "Nothing was evaluated: %s", convoy_error_message());
    return CONVOY_OK;
}

static json_t *result_json(const subject *subjects, size_t count, const char *out) {
    json_t *runs = json_array();
    for (size_t i = 0; i < count; i++) {
        const cvy_run *run = &subjects[i].run;
        const cvy_answers *a = run->answers;
        json_t *notes = json_array();
        for (size_t n = 0; n < run->note_count; n++)
            json_array_append_new(notes, cli_string(run->notes[n]));
        json_array_append_new(runs,
                              json_pack("{s:o, s:o, s:I, s:o, s:o}", "folder", cli_string(run->folder),
                                        "model", run->model_name ? cli_string(run->model_name) : json_null(),
                                        "images", (json_int_t)(a ? a->images : 0), "accuracy",
                                        a ? cli_number(a->accuracy) : json_null(), "notes", notes));
    }
    return json_pack("{s:o, s:o}", "out", cli_string(out), "runs", runs);
}

/* Runs of the same folder name are told apart by their paths. */
static void name_runs(cvy_arena *arena, subject *subjects, size_t count) {
    bool *twice = cvy_arena_alloc(arena, count * sizeof *twice);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            twice[i] |= k != i && strcmp(subjects[k].run.name, subjects[i].run.name) == 0;
    for (size_t i = 0; i < count; i++)
        if (twice[i])
            subjects[i].run.name = subjects[i].run.folder;
}

static convoy_status write_page(const cli_call *call, const cli_report *report, const subject *subjects) {
    const size_t count = report->count;
    cvy_run *runs = cvy_arena_alloc(call->arena, count * sizeof *runs);
    cvy_text page = {0};
    for (size_t i = 0; i < count; i++)
        runs[i] = subjects[i].run;
    convoy_status status = cvy_page_write(call->arena, report->search, runs, count, &page);
    if (!status)
        status = cvy_file_write(report->out, cvy_text_get(&page), page.length);
    cvy_text_free(&page);
    return status;
}

/* What goes wrong with a picture beside the page takes nothing of it. */
static void save_pictures(const cli_call *call, const cvy_run *run) {
    const char *curves = cvy_arena_printf(call->arena, "%s/curves.png", run->folder),
               *metrics = cvy_arena_printf(call->arena, "%s/metrics.csv", run->folder),
               *answers = cvy_arena_printf(call->arena, "%s/answers.png", run->folder);
    convoy_status status =
        run->has_history && !cvy_file_exists(curves) ? cvy_curves_save(metrics, curves) : CONVOY_OK;
    if (!status && run->answers)
        status = cvy_answers_save(run, answers);
    if (status)
        cvy_warning("%s has not all of its pictures: %s", run->folder, convoy_error_message());
    else if (run->answers)
        cli_note("test images with their answers are in %s", answers);
}

void cli_print_answers(const cvy_answers *a, FILE *to) {
    if (!a)
        return;
    fprintf(to,
            "best weights on %zu test images: accuracy %.4f; mean of the classes: precision %.4f, recall "
            "%.4f, F1 %.4f\n",
            a->images, a->accuracy, a->averages.macro_precision, a->averages.macro_recall,
            a->averages.macro_f1);
    fflush(to);
}

convoy_status cli_report_write(const cli_call *call, const cli_report *report, convoy_device **device,
                               json_t **result, const cvy_answers **answers) {
    const size_t count = report->count;
    subject *subjects = cvy_arena_alloc(call->arena, count * sizeof *subjects);
    convoy_status status = report->out || report->pictures ? cvy_canvas_check() : CONVOY_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = cvy_run_read(call->arena, report->folders[i], &subjects[i].run);
    if (!status && report->out)
        status = cvy_file_check_output(report->out);
    if (!status)
        name_runs(call->arena, subjects, count);
    for (size_t i = 0; i < count && !status; i++)
        status = answer(call, report, device, &subjects[i]);
    for (size_t i = 0; i < count && !status; i++)
        for (size_t n = 0; n < subjects[i].run.note_count; n++)
            cli_note("%s: %s", subjects[i].run.folder, subjects[i].run.notes[n]);
    if (!status && report->out)
        status = write_page(call, report, subjects);
    for (size_t i = 0; i < count && !status && report->pictures; i++)
        save_pictures(call, &subjects[i].run);
    if (!status && answers)
        *answers = subjects->run.answers;
    if (!status && result)
        *result = result_json(subjects, count, report->out);
    for (size_t i = 0; i < count; i++) {
        convoy_dataset_free(subjects[i].set);
        convoy_model_free(subjects[i].model);
    }
    return status;
}

/* A page over one of the files that it is made of? */
static convoy_status check_beside_run(const cli_call *call, const char *out, const char *folder) {
    static const char *const files[] = {"model.yaml",       "run.yaml",         "metrics.csv",
                                        "best.safetensors", "last.safetensors", "checkpoint.safetensors",
                                        "search.csv",       "search.txt"};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && !status; i++)
        status =
            cli_check_apart(call, "--out", out, cvy_arena_printf(call->arena, "%s/%s", folder, files[i]));
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    const size_t count = call->operand_count;
    const cli_data_request request = {
        .data = o->data, .limit_test = (size_t)o->limit, .test = true, .validation = o->split == 1};
    cli_report report = {.folders = call->operands,
                         .count = count,
                         .out = o->out ? o->out
                                : count == 1
                                    ? cvy_arena_printf(call->arena, "%s/report.html", *call->operands)
                                    : "report.html",
                         .request = o->no_eval ? NULL : &request};
    convoy_device *device = NULL;
    cvy_trials search;
    convoy_status status = CONVOY_OK;
    if (count == 1 && cvy_trials_are_in(*call->operands)) {
        status = cvy_trials_read(call->arena, *call->operands, &search);
        if (!status && !search.count)
            status = cvy_fail(CONVOY_INVALID, "%s is a search of which no trial is done", *call->operands);
        if (!status) {
            report.folders = &search.trials->folder;
            report.search = &search;
        }
    }
    for (size_t i = 0; i < count && !status; i++)
        status = check_beside_run(call, report.out, call->operands[i]);
    if (!status)
        status = cli_check_output(call, "--out", o->out);
    if (!status)
        status = cli_report_write(call, &report, &device, o->common.json ? &call->result : NULL, NULL);
    if (!status && !o->common.json)
        printf("%s\n", cli_visible(call->arena, report.out));
    convoy_device_close(device);
    return status;
}

const cli_command cli_report_command = {"report",
                                        "RUN...",
                                        "Write a page about a run or a search, or one that compares runs.",
                                        1,
                                        64,
                                        params,
                                        sizeof(options),
                                        false,
                                        run};
