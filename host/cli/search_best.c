/* The end of a search: the best trial is evaluated on the test images, which no trial that was judged by a
   validation set has touched. */
#include "base/status.h"
#include "cli/search.h"
#include "report/canvas.h"
#include "report/run.h"
#include "report/trials.h"

static json_t *figures_json(const cvy_answers *a) {
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "images", (json_int_t)a->images, "accuracy",
                     cli_number(a->accuracy), "macro_precision", cli_number(a->averages.macro_precision),
                     "macro_recall", cli_number(a->averages.macro_recall), "macro_f1",
                     cli_number(a->averages.macro_f1));
}

static convoy_status answer(cli_call *call, cli_report *report, const char *folder, convoy_device **device,
                            const cvy_answers **answers) {
    cvy_trials trials;
    if (!report->out)
        return cli_report_write(call, report, device, NULL, answers);
    convoy_status status = cvy_trials_read(call->arena, folder, &trials);
    report->search = &trials;
    return status ? status : cli_report_write(call, report, device, NULL, answers);
}

convoy_status search_answer_best(cli_call *call, const char *folder, const char *best,
                                 const cli_data_request *test, bool page, convoy_device **device) {
    const bool json = cli_common_of(call)->json;
    cli_report report = {.folders = &best,
                         .count = 1,
                         .out = page ? cvy_arena_printf(call->arena, "%s/report.html", folder) : NULL,
                         .request = test,
                         .pictures = cvy_canvas_check() == CONVOY_OK};
    const cvy_answers *answers = NULL;
    convoy_status status = answer(call, &report, folder, device, &answers);
    if (status && page)
        return status;
    if (status)
        cvy_warning("the best trial was not evaluated: %s", convoy_error_message());
    cli_print_answers(answers, json ? stderr : stdout);
    if (json)
        json_object_set_new(call->result, "test", answers ? figures_json(answers) : json_null());
    if (page)
        cli_note("the report is %s", report.out);
    return CONVOY_OK;
}
