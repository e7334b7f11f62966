/* What most commands begin with: the model, its data, a device. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/node.h"
#include "base/status.h"
#include "cli/cli.h"
#include "data/dataset.h"
#include "data/files.h"
#include "device/device.h"
#include "model/model.h"
#include "train/evaluator.h"

convoy_status cli_check_file(const cli_call *call, const char *what, const char *path) {
    if (cvy_file_exists(path))
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "convoy %s: there is no %s `%s`", call->command->name, what, path);
}

convoy_status cli_check_apart(const cli_call *call, const char *option, const char *path, const char *input) {
    if (input == path || !cvy_file_same(path, input))
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID,
                    "convoy %s: %s %s would overwrite `%s`, which is to be read: name another file",
                    call->command->name, option, path, input);
}

/* The last failure, as one of this option. */
static convoy_status blame(const cli_call *call, const char *option, convoy_status status) {
    const char *reason = cvy_arena_strdup(call->arena, convoy_error_message());
    return cvy_fail(status, "convoy %s: %s: %s", call->command->name, option, reason);
}

convoy_status cli_check_output(const cli_call *call, const char *option, const char *path) {
    convoy_status status = CONVOY_OK;
    if (!path)
        return CONVOY_OK;
    for (size_t i = 0; i < call->operand_count && !status; i++)
        status = cli_check_apart(call, option, path, call->operands[i]);
    for (const cvy_param *row = call->command->params; row->name && !status; row++) {
        const char *const *text = (const void *)((const char *)call->options + row->offset);
        if (row->type == CVY_TEXT && *text)
            status = cli_check_apart(call, option, path, *text);
    }
    if (status)
        return status;
    status = cvy_file_check_output(path);
    return status ? blame(call, option, CONVOY_IO) : CONVOY_OK;
}

convoy_status cli_check_images(const cli_call *call, const char *option, const char *path,
                               const convoy_dataset *set) {
    if (!path || !cvy_file_exists(path))
        return CONVOY_OK;
    convoy_status status = cli_check_apart(call, option, path, set->source);
    for (size_t i = 0; i < convoy_dataset_count(set) && !status; i++) {
        const char *image = convoy_dataset_path(set, i);
        status = image ? cli_check_apart(call, option, path, image) : CONVOY_OK;
        if (i && image == convoy_dataset_path(set, 0))
            break; /* one file holds all */
    }
    return status;
}

convoy_status cli_check_folder(const cli_call *call, const char *path, const char *foreign) {
    if (!path)
        return CONVOY_OK;
    const convoy_status status = cvy_folder_check(path);
    if (status)
        return blame(call, "--out", status);
    char *file = cvy_path_join(path, foreign);
    const bool taken = cvy_file_exists(file);
    free(file);
    return taken ? cvy_fail(CONVOY_INVALID,
                            "convoy %s: --out: %s holds work of another command, as its %s says: choose "
                            "another --out",
                            call->command->name, path, foreign)
                 : CONVOY_OK;
}

static convoy_status read_model(const cli_call *call, int classes, convoy_model **model) {
    *model = NULL;
    convoy_status status = cli_check_file(call, "model file", call->operands[0]);
    const convoy_model_options options = {
        .classes = classes, .settings = call->settings, .setting_count = call->setting_count};
    return status ? status : cvy_model_read(call->operands[0], &options, model);
}

static convoy_status load_model(const cli_call *call, int classes, bool apart, convoy_model **model) {
    convoy_status status = read_model(call, classes, model);
    if (!status && apart)
        cvy_model_keep_apart(*model);
    if (!status)
        status = cvy_model_complete(*model, 0);
    if (status) {
        convoy_model_free(*model);
        *model = NULL;
    }
    return status;
}

convoy_status cli_load_model(const cli_call *call, int classes, convoy_model **model) {
    return load_model(call, classes, false, model);
}

convoy_status cli_load_layers(const cli_call *call, int classes, convoy_model **model) {
    return load_model(call, classes, true, model);
}

/* ---- data ---- */

convoy_dataset_options cli_dataset_options(const convoy_model *model) {
    int image[3];
    convoy_model_image(model, image);
    return (convoy_dataset_options){.channels = image[0],
                                    .height = image[1],
                                    .width = image[2],
                                    .resize = (convoy_resize)cvy_model_recipe(model)->resize,
                                    .short_side = cvy_model_recipe(model)->short_side,
                                    .skip_damaged = cvy_model_recipe(model)->skip_damaged,
                                    .fast_decode = cvy_model_recipe(model)->fast_decode,
                                    .as_stored = !cvy_model_recipe(model)->exif_orientation};
}

cvy_files_options cli_files_options(const convoy_model *model) {
    const convoy_dataset_options wanted = cli_dataset_options(model);
    return (cvy_files_options){.channels = wanted.channels,
                               .height = wanted.height,
                               .width = wanted.width,
                               .resize = (cvy_resize_mode)wanted.resize,
                               .short_side = wanted.short_side,
                               .fast_decode = wanted.fast_decode,
                               .as_stored = wanted.as_stored};
}

/* Is this the folder of a run that began before recipes had `test_split`? Then its sets are divided as they
   were. */
static bool is_older_run(const char *folder) {
    char *model = cvy_path_join(folder, "model.yaml"), *metrics = cvy_path_join(folder, "metrics.csv"),
         *text = NULL;
    size_t size;
    const bool older = cvy_file_exists(metrics) &&
                       cvy_file_read_regular(model, 1 << 24, &text, &size) == CONVOY_OK &&
                       !strstr(text, "  test_split: ");
    free(text);
    free(model);
    free(metrics);
    return older;
}

/* The run that goes on, or whose own model file is given. */
static bool divides_as_before(const cli_call *call, const cli_data_request *request) {
    const char *path = call->operands[0], *slash = strrchr(path, '/');
    const char *folder = slash ? cvy_arena_strndup(call->arena, path, (size_t)(slash - path)) : ".";
    for (size_t i = 0; i < call->setting_count; i++)
        if (strncmp(call->settings[i], "test_split=", strlen("test_split=")) == 0)
            return false;
    return (request->run && is_older_run(request->run)) ||
           (strcmp(slash ? slash + 1 : path, "model.yaml") == 0 && is_older_run(folder));
}

/* `classes`: of synthetic data. */
static convoy_status open_split(const convoy_model *model, const cli_data_request *request, const char *what,
                                int classes, const char *split, convoy_dataset **set) {
    const bool training = strcmp(split, "train") == 0;
    convoy_dataset_options options = cli_dataset_options(model);
    options.rounded_by_class = cvy_model_recipe(model)->test_split;
    options.test_fraction =
        request->test_fraction > 0 ? request->test_fraction : cvy_model_recipe(model)->test_fraction;
    const cvy_recipe *recipe = cvy_model_recipe(model);
    options.whole = training && !request->evaluation && cvy_transforms_of_images(&recipe->augment) &&
                    recipe->resize == CVY_SHORT_SIDE;
    options.limit = training ? request->limit_train : request->limit_test;
    options.synthetic_images = options.limit; /* as many as are asked for */
    options.synthetic_classes = classes;
    return convoy_dataset_open(what, split, &options, set);
}

/* Where a run was judged by a part of the training images, that part is what `val` means, and the rest is
   what it was trained on. */
static convoy_status open_as_trained(const convoy_model *model, const cli_data_request *request,
                                     const char *what, int classes, convoy_dataset **set) {
    convoy_dataset *rest = NULL, *part = NULL;
    if (request->limit_test || request->limit_train)
        return cvy_fail(
            CONVOY_INVALID,
            "the validation images of %s are a part of its training images (val_fraction %g), which a "
            "limit would change: leave out --limit, or evaluate the test images",
            what, cvy_model_recipe(model)->val_fraction);
    convoy_status status = open_split(model, request, what, classes, "train", &rest);
    if (!status)
        status = convoy_dataset_split(rest, cvy_model_recipe(model)->val_fraction, 0, &part);
    *set = request->validation ? part : rest;
    convoy_dataset_free(request->validation ? rest : part);
    return status;
}

/* Beside its training and test images. */
static bool has_validation(const char *what) {
    return cvy_folder_has_validation(what) || cvy_list_has_validation(what);
}

/* A validation set of its own, or of the training images. */
static convoy_status open_judge(const cli_call *call, const convoy_model *model,
                                const cli_data_request *request, const char *what, bool own,
                                convoy_dataset *sets[2]) {
    const double fraction = cvy_model_recipe(model)->val_fraction;
    if (own && fraction > 0)
        return cvy_fail(CONVOY_INVALID,
                        "%s has validation images: leave out --val-fraction (val_fraction: 0)", what);
    if (own)
        return open_split(model, request, what, 0, "val", request->judge);
    convoy_status status =
        fraction > 0 ? convoy_dataset_split(sets[0], fraction, 0, request->judge) : CONVOY_OK;
    if (status != CONVOY_INVALID)
        return status;
    return blame(call, cvy_arena_printf(call->arena, "--val-fraction (val_fraction: %g)", fraction), status);
}

/* The sets come first, because they know their classes; but synthetic images have as many classes as the
   model has outputs. */
static convoy_status load(const cli_call *call, const cli_data_request *request, convoy_model **model,
                          convoy_dataset *sets[2]) {
    cli_call as_before = *call;
    if (divides_as_before(call, request)) {
        as_before.settings = cvy_arena_alloc(call->arena, (call->setting_count + 1) * sizeof *call->settings);
        memcpy(as_before.settings, call->settings, call->setting_count * sizeof *call->settings);
        cli_add_setting(&as_before, "test_split", "per_class");
    }
    convoy_status status = read_model(&as_before, 0, model);
    if (status)
        return status;
    const char *what = request->data ? request->data : cvy_model_recipe(*model)->data;
    if (!what)
        return cvy_fail(CONVOY_INVALID, "the recipe of model %s names no data: give --data",
                        convoy_model_name(*model));
    bool synthetic = strcmp(what, "synthetic") == 0;
    if (synthetic)
        status = cvy_model_complete(*model, 0);
    int classes = synthetic && !status ? convoy_model_classes(*model) : 0;
    const bool parted = !request->judge && cvy_model_recipe(*model)->val_fraction > 0 &&
                        (request->validation || (request->train && request->evaluation)) &&
                        !has_validation(what);
    if (!status && parted)
        status = open_as_trained(*model, request, what, classes, &sets[request->validation]);
    else if (!status && request->train)
        status = open_split(*model, request, what, classes, "train", &sets[0]);
    const bool three = !status && request->judge && has_validation(what);
    const char *test = request->all ? "all" : request->validation && !three ? "val" : "test";
    if (!status && request->test && !sets[1])
        status = open_split(*model, request, what, classes, test, &sets[1]);
    if (!status && request->judge)
        status = open_judge(call, *model, request, what, three, sets);
    if (!status && !synthetic)
        status = cvy_model_complete(*model, convoy_dataset_classes(sets[0] ? sets[0] : sets[1]));
    return status;
}

convoy_status cli_load(const cli_call *call, const cli_data_request *request, convoy_model **model,
                       convoy_dataset **train, convoy_dataset **test) {
    convoy_dataset *sets[2] = {NULL, NULL};
    convoy_status status = load(call, request, model, sets);
    for (int i = 0; i < 2 && !status; i++)
        if (sets[i])
            status = cvy_feed_check(*model, sets[i]);
    if (status) {
        if (request->judge) {
            convoy_dataset_free(*request->judge);
            *request->judge = NULL;
        }
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

/* After which a driver that does not come back is told of; 0: never. */
static double watchdog_seconds(void) {
    const char *wish = getenv("CONVOY_WATCHDOG");
    double seconds = 60;
    return wish && *wish && cvy_text_to_double(wish, &seconds) ? seconds : 60;
}

static convoy_status open_device(const cli_call *call, const char *selector, convoy_device **device) {
    convoy_status status = strcmp(selector, "host") ? cvy_calls_watch(watchdog_seconds()) : CONVOY_OK;
    if (!status)
        status = convoy_device_open(selector, device);
    if (!status)
        status = convoy_device_set_precision(*device, (convoy_precision)cli_common_of(call)->precision);
    if (!status)
        status = convoy_device_verify(*device, cli_common_of(call)->verify);
    if (status) {
        convoy_device_close(*device);
        *device = NULL;
    }
    return status;
}

convoy_status cli_open_device(const cli_call *call, convoy_device **device) {
    return cli_open_selected(call, selector_of(call), device);
}

convoy_status cli_open_selected(const cli_call *call, const char *selector, convoy_device **device) {
    convoy_status status = open_device(call, selector, device);
    if (!status)
        say_device(call, *device);
    return status;
}

/* The best device with a lower score than the present one's. The host is left out: it has no more memory than
   the CPU, and where a driver failed in the middle of a run, its reference loops would take days. */
static const convoy_device_info *next_best(const convoy_device_info *const *list, size_t count,
                                           const convoy_device_info *present) {
    const convoy_device_info *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i]->type, "host") != 0 && strcmp(list[i]->id, present->id) != 0 &&
            list[i]->score < present->score && (!best || list[i]->score > best->score))
            best = list[i];
    return best;
}

bool cli_fall_back(const cli_call *call, convoy_status status, convoy_device **device) {
    const convoy_device_info *const *list = NULL;
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
    convoy_device_list_free(list);
    if (!opened)
        cvy_fail(status, "%s", reason); /* the lookups may have replaced the message */
    return opened;
}
