/* Requests and replies, on both sides. */
#include "tune/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const double start_limit = 60; /* seconds; a cold driver compiles its first kernel */

/* ---- The side that asks ---- */

/* With binaries not kept (losers' would fill the cache) and no tuning within the tuning. */
static convoy_status start(cvy_child *child, convoy_device *device) {
    static const char *const environment[] = {"CONVOY_CACHE=0", "CONVOY_TUNE=0", NULL};
    const convoy_device_info *info = convoy_device_get_info(device);
    const char *const arguments[] = {info->id, info->name,
                                     cvy_precision_names[cvy_device_get_traits(device)->precision], NULL};
    return cvy_child_start(child, "measure-variants", arguments,
                           &(cvy_child_options){.environment = environment});
}

static cvy_child_event hear(cvy_child *child, double limit, const cvy_tune_options *o,
                            cvy_child_answer *answer) {
    const cvy_child_patience patience = {.limit = limit, .deadline = o->deadline, .interrupt = o->interrupt};
    return cvy_child_hear(child, &patience, answer);
}

static cvy_child_event read_answers(cvy_child *child, const cvy_tune_options *o, cvy_reply *reply) {
    cvy_child_answer answer;
    for (;;) {
        const bool runs = reply->stage == CVY_STAGE_CHECK || reply->stage == CVY_STAGE_TIME;
        const cvy_child_event event = hear(child, runs ? o->limit + o->seconds : o->build_limit, o, &answer);
        reply->status = answer.status;
        if (event != CVY_CHILD_ANSWERED)
            return event;
        if (strncmp(answer.line, "best\t", 5) == 0) {
            reply->seconds = 1e-9 * strtod(answer.line + 5, NULL);
            return CVY_CHILD_ANSWERED;
        }
        if (strncmp(answer.line, "done\t", 5) == 0)
            reply->stage = (cvy_stage)(strtol(answer.line + 5, NULL, 10) + 1);
    }
}

static cvy_child_event begin(cvy_child *child, convoy_device *device, const cvy_tune_options *o) {
    cvy_child_answer answer;
    if (start(child, device))
        return CVY_CHILD_NONE;
    const cvy_child_event event = hear(child, start_limit, o, &answer);
    if (event == CVY_CHILD_ANSWERED || event == CVY_CHILD_STOPPED)
        return event;
    cvy_child_end(child);
    if (event == CVY_CHILD_LATE)
        cvy_fail(CONVOY_FAILED, "opening it took more than %.0f s", start_limit);
    else if (event == CVY_CHILD_DIED)
        cvy_fail(CONVOY_FAILED, "opening it ended with %s", cvy_child_ending(child));
    return CVY_CHILD_NONE;
}

cvy_child_event cvy_tune_process_ask(cvy_child *child, convoy_device *device, const cvy_task *task,
                                     const char *variant, const cvy_tune_options *options, cvy_reply *reply) {
    *reply = (cvy_reply){.stage = CVY_STAGE_BUILD};
    cvy_child_event event = child->id > 0 ? CVY_CHILD_ANSWERED : begin(child, device, options);
    if (event != CVY_CHILD_ANSWERED)
        return event;
    /* Where nobody hears it, nobody answers: that is told below. */
    const cvy_key key = cvy_task_key(task);
    cvy_child_say(child, "%s\t%s\t%s\t%s\t%.0f", key.op, key.pass, key.shape, variant,
                  1e9 * options->seconds);
    event = read_answers(child, options, reply);
    /* After a failed launch nothing on that device can be trusted. */
    if (event != CVY_CHILD_ANSWERED && !(event == CVY_CHILD_FAILED && reply->status == CONVOY_FAILED))
        cvy_child_end(child);
    return event;
}

/* ---- The child ---- */

static void tell_stage(void *parent, cvy_stage stage) {
    cvy_child_say(parent, "done\t%d", (int)stage);
}

static convoy_status serve(cvy_child *parent, convoy_device *device, char *line) {
    char *fields[5], *rest = line;
    cvy_key key;
    cvy_task task;
    double nanoseconds, best = 0;
    convoy_status status = CONVOY_OK;
    for (int i = 0; i < 5; i++)
        if (!(fields[i] = strsep(&rest, "\t")))
            status = CONVOY_INVALID;
    if (!status) {
        key = (cvy_key){.op = fields[0], .pass = fields[1]};
        snprintf(key.shape, sizeof key.shape, "%s", fields[2]);
    }
    if (status || !cvy_task_read(&key, &task) || !cvy_text_to_double(fields[4], &nanoseconds))
        return cvy_fail(CONVOY_INVALID, "no such task");
    status = cvy_measure(device, &task, fields[3], 1e-9 * nanoseconds, tell_stage, parent, &best);
    if (!status)
        cvy_child_say(parent, "best\t%.0f", 1e9 * best);
    return status;
}

static convoy_status open_device(char *const *arguments, convoy_device **device) {
    int precision = 0;
    for (int i = 0; i < 3; i++)
        if (!arguments[i])
            return cvy_fail(CONVOY_INVALID, "measuring wants a device's id, its name, and a precision");
    while (cvy_precision_names[precision] && strcmp(cvy_precision_names[precision], arguments[2]) != 0)
        precision++;
    convoy_status status = cvy_device_open_named(arguments[0], arguments[1], device);
    return status ? status : convoy_device_set_precision(*device, (convoy_precision)precision);
}

convoy_status cvy_tune_serve(cvy_child *parent, char *const *arguments) {
    const cvy_child_patience forever = {.limit = INFINITY};
    cvy_child_answer request;
    convoy_device *device = NULL;
    convoy_status status = open_device(arguments, &device);
    if (!status)
        cvy_child_say(parent, "ready");
    while (!status && cvy_child_hear(parent, &forever, &request) == CVY_CHILD_ANSWERED) {
        const convoy_status served = serve(parent, device, request.line);
        if (served)
            cvy_child_say_failure(parent, served);
    }
    convoy_device_close(device);
    return status;
}
