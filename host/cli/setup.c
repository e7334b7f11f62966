/* What most commands begin with: the model, its data, a device. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/node.h"
#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"
#include "train/evaluator.h"

convoy_status cli_check_file(const cli_call *call, const char *what, const char *path) {
    if (cvy_file_exists(path))
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "convoy %s: there is no %s `%s`", call->command->name, what, path);
}

convoy_status cli_load_model(const cli_call *call, int classes, convoy_model **model) {
    convoy_status status = cli_check_file(call, "model file", call->operands[0]);
    if (status)
        return status;
    convoy_model_options options = {
        .classes = classes, .settings = call->settings, .setting_count = call->setting_count};
    return convoy_model_load(call->operands[0], &options, model);
}

/* ---- data ---- */

static convoy_status open_split(const convoy_model *model, const cli_data_request *request, bool training,
                                convoy_dataset **set) {
    const cvy_recipe *recipe = cvy_model_recipe(model);
    const char *what = request->data ? request->data : recipe->data;
    int input[3];
    convoy_model_input(model, input);
    convoy_dataset_options options = {
        .channels = input[0],
        .height = input[1] - 2 * recipe->border,
        .width = input[2] - 2 * recipe->border,
        .test_fraction = request->test_fraction > 0 ? request->test_fraction : recipe->test_fraction,
        .limit = training ? request->limit_train : request->limit_test,
        .synthetic_images =
            training ? request->limit_train : request->limit_test, /* as many as are asked for */
        .synthetic_classes = convoy_model_classes(model),
    };
    if (!what)
        return cvy_fail(CONVOY_INVALID, "the recipe of model %s names no data: give --data",
                        convoy_model_name(model));
    return convoy_dataset_open(what, training ? "train" : "test", &options, set);
}

/* Images per class do not matter here, only how many classes there are: the training split knows. */
static int classes_of(const convoy_dataset *train, const convoy_dataset *test) {
    return convoy_dataset_classes(train ? train : test);
}

convoy_status cli_load(const cli_call *call, const cli_data_request *request, convoy_model **model,
                       convoy_dataset **train, convoy_dataset **test) {
    convoy_dataset *sets[2] = {NULL, NULL};
    convoy_status status = cli_load_model(call, 0, model);
    if (!status && request->train)
        status = open_split(*model, request, true, &sets[0]);
    if (!status && request->test)
        status = open_split(*model, request, false, &sets[1]);
    if (!status && (sets[0] || sets[1]) && classes_of(sets[0], sets[1]) != convoy_model_classes(*model)) {
        int classes = classes_of(sets[0], sets[1]);
        convoy_model_free(*model);
        *model = NULL;
        status = cli_load_model(call, classes, model); /* no change where the file fixes its outputs */
    }
    for (int i = 0; i < 2 && !status; i++)
        if (sets[i])
            status = cvy_feed_check(*model, sets[i]);
    if (status) {
        convoy_dataset_free(sets[0]);
        convoy_dataset_free(sets[1]);
        convoy_model_free(*model);
        *model = NULL;
        return status;
    }
    if (train)
        *train = sets[0];
    if (test)
        *test = sets[1];
    return CONVOY_OK;
}

/* ---- devices ---- */

static const char *selector_of(const cli_call *call) {
    const char *selector = cli_common_of(call)->device;
    if (!selector)
        selector = getenv("CONVOY_DEVICE");
    return selector && *selector ? selector : "auto";
}

static bool is_auto(const cli_call *call) {
    return strcasecmp(selector_of(call), "auto") == 0;
}

static void say_device(const cli_call *call, const convoy_device *device) {
    const convoy_device_info *info = convoy_device_get_info(device);
    cli_note("device: %s (%s, %s)%s%s", info->name, info->id, info->platform,
             is_auto(call) && *info->reason ? "; auto: " : "", is_auto(call) ? info->reason : "");
}

static convoy_status open_device(const cli_call *call, const char *selector, convoy_device **device) {
    convoy_status status = convoy_device_open(selector, device);
    if (!status)
        status = convoy_device_set_precision(*device, (convoy_precision)cli_common_of(call)->precision);
    if (status) {
        convoy_device_close(*device);
        *device = NULL;
    }
    return status;
}

convoy_status cli_open_device(const cli_call *call, convoy_device **device) {
    convoy_status status = open_device(call, selector_of(call), device);
    if (!status)
        say_device(call, *device);
    return status;
}

/* The best device with a lower score than the present one's. The host is left out: it has no more memory than
   the CPU, and where a driver failed in the middle of a run, its reference loops would take days. */
static const convoy_device_info *next_best(const convoy_device_info *list, size_t count,
                                           const convoy_device_info *present) {
    const convoy_device_info *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].type, "host") != 0 && strcmp(list[i].id, present->id) != 0 &&
            list[i].score < present->score && (!best || list[i].score > best->score))
            best = &list[i];
    return best;
}

bool cli_fall_back(const cli_call *call, convoy_status status, convoy_device **device) {
    convoy_device_info *list = NULL;
    size_t count = 0;
    if (!is_auto(call) || (status != CONVOY_MEMORY && status != CONVOY_DEVICE))
        return false;
    char *reason = cvy_arena_strdup(call->arena, convoy_error_message());
    convoy_device_info present = *convoy_device_get_info(*device);
    bool opened = false;
    if (convoy_device_list(&list, &count) == CONVOY_OK) {
        const convoy_device_info *next = next_best(list, count, &present);
        convoy_device *other = NULL;
        if (next && open_device(call, next->id, &other) == CONVOY_OK) {
            cvy_warning("%s cannot be used (%s); trying the next device", present.name, reason);
            convoy_device_close(*device);
            *device = other;
            cli_note("device: %s (%s, %s)", convoy_device_get_info(other)->name, next->id, next->platform);
            opened = true;
        }
    }
    free(list);
    if (!opened)
        cvy_fail(status, "%s", reason); /* the lookups may have replaced the message */
    return opened;
}
