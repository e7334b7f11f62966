/* convoy tune MODEL...: measures the kernel variants for every shape of the models' networks on a device and
   keeps the fastest of those that are right. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/cli.h"
#include "device/device.h"
#include "model/model.h"
#include "network/network.h"
#include "tune/tune.h"

typedef struct options {
    cli_common common;
    int batch_size;
    double seconds, limit, build_limit;
    bool all, list, forget;
} options;

static const cvy_param params[] = {
    {"batch-size", CVY_INT, offsetof(options, batch_size), "", 1, 1 << 20, NULL,
     "images per step; default: the recipe's"},
    {"seconds", CVY_FLOAT, offsetof(options, seconds), "0.3", 0.001, 3600, NULL,
     "time to run each variant for each shape"},
    {"limit", CVY_FLOAT, offsetof(options, limit), "60", 0.1, 86400, NULL,
     "seconds after which a variant that runs counts as hung"},
    {"build-limit", CVY_FLOAT, offsetof(options, build_limit), "120", 0.1, 86400, NULL,
     "the same while it is built and run for the first time"},
    {"all", CVY_FLAG, offsetof(options, all), "", 0, 0, NULL,
     "measure variants too that are made for other kinds of devices"},
    {"list", CVY_FLAG, offsetof(options, list), "", 0, 0, NULL, "show what is known, and measure nothing"},
    {"forget", CVY_FLAG, offsetof(options, forget), "", 0, 0, NULL,
     "drop what is known about the device first, also what was set aside"},
    CLI_ROW_DEVICE,
    CLI_ROW_PRECISION,
    CLI_ROW_SET,
    CLI_ROW_JSON,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

static volatile int interrupt;

static void on_signal(int number) {
    (void)number;
    interrupt = 1;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- what is to be measured ---- */

typedef struct work {
    cvy_task *tasks;
    cvy_tuned *results;
    size_t count;
    bool terminal;
} work;

static convoy_status add_task(work *w, const cvy_task *task) {
    if (cvy_task_merge(w->tasks, w->count, task))
        return CONVOY_OK;
    cvy_task *grown = realloc(w->tasks, (w->count + 1) * sizeof *grown);
    if (!grown)
        return cvy_fail_memory("a list of shapes", (w->count + 1) * sizeof *grown);
    w->tasks = grown;
    grown[w->count++] = *task;
    return CONVOY_OK;
}

/* The options of variants come first, since other answers depend on them; `all`: for every shape, also those
   that another variant runs. */
static convoy_status add_options(work *w, const cvy_task *task, bool all) {
    convoy_status status = CONVOY_OK;
    if (!all || task->option_of)
        return task->option_of && !all ? add_task(w, task) : CONVOY_OK;
    for (size_t i = 0; task->op->variants[i] && !status; i++) {
        cvy_task option = *task;
        option.option_of = task->op->variants[i];
        if (option.option_of->option)
            status = add_task(w, &option);
    }
    return status;
}

static convoy_status add_tasks(work *w, const cvy_task *tasks, size_t count, bool all) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = add_options(w, &tasks[i], all);
    for (size_t i = 0; i < count && !status; i++)
        if (!tasks[i].option_of)
            status = add_task(w, &tasks[i]);
    return status;
}

/* The tasks of training; evaluation has no others. */
static convoy_status add_model(const cli_call *call, const char *path, convoy_device *device, work *w) {
    const options *o = call->options;
    const char *operands[] = {path};
    cli_call one = *call;
    convoy_model *model = NULL;
    cvy_task *tasks = NULL;
    size_t count = 0;
    one.operands = operands;
    convoy_status status = cli_load_model(&one, 0, &model);
    if (!status) {
        const int batch_size = o->batch_size ? o->batch_size : cvy_model_recipe(model)->batch_size;
        status = cvy_network_tasks(model, device,
                                   &(cvy_network_options){.batch_size = batch_size, .training = true}, &tasks,
                                   &count);
    }
    if (!status)
        status = add_tasks(w, tasks, count, o->all);
    free(tasks);
    convoy_model_free(model);
    return status;
}

/* ---- progress ---- */

static void begun(void *context, size_t index, const cvy_task *task, const char *variant) {
    const work *w = context;
    const cvy_key key = cvy_task_key(task);
    if (w->terminal)
        fprintf(stderr, "\r%zu/%zu %s %s %s: %s\033[K", index + 1, w->count, key.op, key.pass, key.shape,
                variant);
}

static void ended(void *context, size_t index, const cvy_tuned *tuned) {
    const work *w = context;
    const cvy_tuned_variant *best = tuned->winner < 0 ? NULL : &tuned->variants[tuned->winner];
    const cvy_key key = cvy_task_key(&tuned->task);
    if (w->terminal)
        fputs("\r\033[K", stderr);
    cli_note("%zu/%zu %s %s %s: %s", index + 1, w->count, key.op, key.pass, key.shape,
             best ? best->name : "nothing could be measured");
}

/* ---- results ---- */

static const char *outcome_text(const cvy_tuned_variant *v) {
    switch (v->outcome) {
    case CVY_OUTCOME_TIMED:
        return "timed";
    case CVY_OUTCOME_FAILED:
    case CVY_OUTCOME_ASIDE:
        return "set aside";
    case CVY_OUTCOME_SKIPPED:
        return "not for this device";
    case CVY_OUTCOME_MEMORY:
        return "out of memory";
    default:
        return "not measured";
    }
}

static double gflops(const cvy_task *task, double seconds) {
    return task->flops / seconds / 1e9;
}

static void print_tuned(const cvy_tuned *tuned) {
    const cvy_key key = cvy_task_key(&tuned->task);
    printf("%s %s %s\n", key.op, key.pass, key.shape);
    for (size_t i = 0; i < tuned->count; i++) {
        const cvy_tuned_variant *v = &tuned->variants[i];
        printf("  %c %-24s", (int)i == tuned->winner ? '*' : ' ', v->name);
        if (v->outcome == CVY_OUTCOME_TIMED)
            printf(" %11.3f ms %9.1f GFLOP/s\n", 1e3 * v->seconds, gflops(&tuned->task, v->seconds));
        else
            printf(" %s%s%s\n", outcome_text(v), *v->reason ? ": " : "", v->reason);
    }
}

static json_t *text_json(const char *text) {
    json_t *value = json_string(text);
    return value ? value : json_string("(not printable)");
}

static json_t *variant_json(const cvy_tuned *tuned, const cvy_tuned_variant *v) {
    const bool timed = v->outcome == CVY_OUTCOME_TIMED;
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "variant", v->name, "outcome", outcome_text(v), "ms",
                     timed ? cli_number(1e3 * v->seconds) : json_null(), "gflops",
                     timed ? cli_number(gflops(&tuned->task, v->seconds)) : json_null(), "reason",
                     text_json(v->reason));
}

static json_t *work_json(const convoy_device *device, const work *w) {
    json_t *shapes = json_array();
    for (size_t i = 0; i < w->count; i++) {
        const cvy_tuned *tuned = &w->results[i];
        const cvy_key key = cvy_task_key(&w->tasks[i]);
        json_t *variants = json_array();
        for (size_t k = 0; k < tuned->count; k++)
            json_array_append_new(variants, variant_json(tuned, &tuned->variants[k]));
        json_array_append_new(shapes, json_pack("{s:s, s:s, s:s, s:o, s:o}", "op", key.op, "pass", key.pass,
                                                "shape", key.shape, "winner",
                                                tuned->count && tuned->winner >= 0
                                                    ? json_string(tuned->variants[tuned->winner].name)
                                                    : json_null(),
                                                "variants", variants));
    }
    return json_pack("{s:s, s:o}", "device", convoy_device_get_info(device)->name, "shapes", shapes);
}

static void print_work(const convoy_device *device, const work *w) {
    printf("%s; * is what was kept\n", convoy_device_get_info(device)->name);
    for (size_t i = 0; i < w->count; i++)
        if (w->results[i].count)
            print_tuned(&w->results[i]);
}

/* ---- --list ---- */

static const char *const verdicts[] = {"best", "measured", "not seen through", "set aside",
                                       "set aside for this run"};

static bool is_aside(const cvy_choice *c) {
    return c->verdict == CVY_ASIDE || c->verdict == CVY_ASIDE_NOW;
}

static json_t *known_json(convoy_device *device) {
    size_t count;
    const cvy_choice *list = cvy_choice_list(device, &count);
    json_t *known = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            known, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "verdict", verdicts[list[i].verdict],
                             "op", text_json(list[i].op), "pass", text_json(list[i].pass), "shape",
                             text_json(list[i].shape), "variant", text_json(list[i].variant), "ms",
                             is_aside(&list[i]) ? json_null() : cli_number(1e3 * list[i].seconds), "reason",
                             text_json(list[i].reason)));
    return json_pack("{s:s, s:o}", "device", convoy_device_get_info(device)->name, "known", known);
}

static void print_known(convoy_device *device) {
    size_t count;
    const cvy_choice *list = cvy_choice_list(device, &count);
    printf("%zu answers are known for %s\n", count, convoy_device_get_info(device)->name);
    for (size_t i = 0; i < count; i++) {
        const cvy_choice *c = &list[i];
        printf("%-7s %-17s %-44s ", c->op, c->pass, c->shape);
        if (is_aside(c))
            printf("%-24s %s: %s\n", c->variant, verdicts[c->verdict], c->reason);
        else
            printf("%-24s %11.3f ms  %s\n", c->variant, 1e3 * c->seconds, verdicts[c->verdict]);
    }
}

/* ---- the command ---- */

static convoy_status measure(cli_call *call, convoy_device *device, work *w) {
    const options *o = call->options;
    const cvy_tune_options tune = {.seconds = o->seconds,
                                   .limit = o->limit,
                                   .build_limit = o->build_limit,
                                   .all = o->all,
                                   .interrupt = &interrupt,
                                   .begun = begun,
                                   .ended = ended,
                                   .context = w};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < call->operand_count && !status; i++)
        status = add_model(call, call->operands[i], device, w);
    w->results = calloc(w->count + 1, sizeof *w->results);
    if (!status && !w->results)
        status = cvy_fail_memory("a list of results", w->count * sizeof *w->results);
    if (status)
        return status;
    catch_signals();
    status = cvy_tune(device, w->tasks, w->count, &tune, w->results);
    if (w->terminal)
        fputs("\r\033[K", stderr);
    if (!status && o->common.json)
        call->result = work_json(device, w);
    else if (!o->common.json)
        print_work(device, w);
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_device *device = NULL;
    work w = {.terminal = isatty(STDERR_FILENO)};
    if (!call->operand_count && !o->list && !o->forget)
        return cvy_fail(
            CONVOY_INVALID,
            "convoy tune: missing argument: convoy tune MODEL... [options], or --list or --forget");
    convoy_status status = cli_open_device(call, &device);
    if (status)
        return status;
    if (cvy_device_get_traits(device)->host)
        status = cvy_fail(CONVOY_DEVICE, "the host has nothing to tune; name an OpenCL device with --device");
    if (!status && o->forget)
        cvy_choice_forget(device);
    if (!status && o->list && o->common.json)
        call->result = known_json(device);
    else if (!status && o->list)
        print_known(device);
    else if (!status && call->operand_count)
        status = measure(call, device, &w);
    else if (!status && o->common.json)
        call->result = known_json(device);
    free(w.tasks);
    free(w.results);
    convoy_device_close(device);
    return status;
}

const cli_command cli_tune = {"tune",
                              "MODEL...",
                              "Measure kernel variants for the models' shapes, and keep the fastest.",
                              0,
                              -1,
                              params,
                              sizeof(options),
                              false,
                              run};
