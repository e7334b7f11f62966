/* Requests and replies, on both sides. */
#include "tune/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "tune/tune.h"

static const double start_limit = 60; /* seconds; a cold driver compiles its first kernel */
static const char *const precisions[] = {"float32", "tf32", "bf16"};

/* ---- The side that asks ---- */

/* With binaries not kept (losers' would fill the cache, and PoCL compiles once more to give one out) and no
   tuning within the tuning. */
static convoy_status start(cvy_child *child, convoy_device *device) {
    static const char *const environment[] = {"CONVOY_CACHE=0", "CONVOY_TUNE=0", NULL};
    const convoy_device_info *info = convoy_device_get_info(device);
    const char *const arguments[] = {info->id, info->name,
                                     precisions[cvy_device_get_traits(device)->precision], NULL};
    return cvy_child_start(child, "measure-variants", arguments,
                           &(cvy_child_options){.environment = environment});
}

static cvy_answer hear(cvy_child *child, double limit, const cvy_patience *patience,
                       cvy_child_answer *answer) {
    const cvy_child_patience one = {
        .limit = limit, .deadline = patience->deadline, .interrupt = patience->interrupt};
    switch (cvy_child_hear(child, &one, answer)) {
    case CVY_CHILD_ANSWERED:
        return CVY_ANSWER_BEST;
    case CVY_CHILD_FAILED:
        return CVY_ANSWER_FAILED;
    case CVY_CHILD_LATE:
        return CVY_ANSWER_LATE;
    case CVY_CHILD_STOPPED:
        return CVY_ANSWER_STOPPED;
    case CVY_CHILD_DIED:
        break;
    }
    return CVY_ANSWER_DIED;
}

static cvy_answer read_answers(cvy_child *child, const cvy_patience *patience, cvy_reply *reply) {
    cvy_child_answer answer;
    for (;;) {
        const bool runs = reply->stage == CVY_STAGE_CHECK || reply->stage == CVY_STAGE_TIME;
        const cvy_answer came =
            hear(child, runs ? patience->limit : patience->build_limit, patience, &answer);
        reply->status = answer.status;
        if (came != CVY_ANSWER_BEST)
            return came;
        if (strncmp(answer.line, "best\t", 5) == 0) {
            reply->seconds = 1e-9 * strtod(answer.line + 5, NULL);
            return CVY_ANSWER_BEST;
        }
        if (strncmp(answer.line, "done\t", 5) == 0)
            reply->stage = (cvy_stage)(strtol(answer.line + 5, NULL, 10) + 1);
    }
}

static cvy_answer begin(cvy_child *child, convoy_device *device, const cvy_patience *patience) {
    cvy_child_answer answer;
    if (start(child, device))
        return CVY_ANSWER_NOBODY;
    const cvy_answer came = hear(child, start_limit, patience, &answer);
    if (came == CVY_ANSWER_BEST || came == CVY_ANSWER_STOPPED)
        return came;
    cvy_child_end(child);
    if (came == CVY_ANSWER_LATE)
        cvy_fail(CONVOY_FAILED, "opening it took more than %.0f s", start_limit);
    else if (came == CVY_ANSWER_DIED)
        cvy_fail(CONVOY_FAILED, "opening it ended with %s", cvy_child_ending(child));
    return CVY_ANSWER_NOBODY;
}

cvy_answer cvy_tune_process_ask(cvy_child *child, convoy_device *device, const cvy_task *task,
                                const char *variant, double seconds, const cvy_patience *patience,
                                cvy_reply *reply) {
    cvy_answer answer = CVY_ANSWER_BEST;
    *reply = (cvy_reply){.stage = CVY_STAGE_BUILD};
    if (child->id <= 0)
        answer = begin(child, device, patience);
    if (answer != CVY_ANSWER_BEST)
        return answer;
    /* Where nobody hears it, nobody answers: that is told below. */
    const cvy_key key = cvy_task_key(task);
    cvy_child_say(child, "%s\t%s\t%s\t%s\t%.0f", key.op, key.pass, key.shape, variant, 1e9 * seconds);
    answer = read_answers(child, patience, reply);
    /* After a failed launch nothing on that device can be trusted. */
    if (answer != CVY_ANSWER_BEST && !(answer == CVY_ANSWER_FAILED && reply->status == CONVOY_FAILED))
        cvy_child_end(child);
    return answer;
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
    while (precision < 2 && strcmp(precisions[precision], arguments[2]) != 0)
        precision++;
    convoy_status status = convoy_device_open(arguments[0], device);
    if (!status && strcmp(convoy_device_get_info(*device)->name, arguments[1]) != 0)
        status = cvy_fail(CONVOY_DEVICE, "device %s is not %s", arguments[0], arguments[1]);
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
