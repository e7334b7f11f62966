/* Building ahead: a driver that compiles each kernel when it is first launched, under one lock a process,
   makes a newcomer wait on one core. Where it is seen to compile, a child process opens the same network from
   its other end, last layer first, and runs each action once, last one first; the driver keeps what it built
   where this process finds it, and the two meet in the middle. A child that fails has only not helped:
   nothing that it computes is used. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "device/drivers.h"
#include "network/inside.h"

static const double compiles = 0.15; /* seconds of one kernel that no cache had */

/* ---- The side that opens the network for its own use ---- */

static bool is_worth_a_process(const convoy_network *network) {
    const char *wish = getenv("CONVOY_BUILD_AHEAD");
    const cvy_device_traits *traits = network->traits;
    const cvy_memory memory = cvy_network_memory(network);
    return (!wish || strcmp(wish, "0") != 0) && traits->cpu && traits->quirks & CVY_QUIRK_OWN_CACHE &&
           cvy_machine_cores() > 1 && cvy_memory_total(&memory) < cvy_machine_memory() / 8;
}

/* The model's file in pieces of its lines, behind each of which stands whether its line goes on; and an empty
   message. */
static bool say_model(cvy_child *child, const convoy_model *model) {
    enum { PIECE = CVY_LINE_SIZE / 2 };
    char *text = cvy_model_print(model), *rest = text, *line;
    bool said = text;
    while (said && (line = strsep(&rest, "\n")))
        for (; said && *line; line += strnlen(line, PIECE))
            said = cvy_child_say(child, "%.*s%c", PIECE, line, strlen(line) > PIECE ? '+' : '.');
    free(text);
    return said && cvy_child_say(child, "%s", "");
}

static bool ask(const convoy_network *network, cvy_child *child) {
    char batch[16], training[2] = {network->options.training ? '1' : '0'};
    snprintf(batch, sizeof batch, "%d", network->options.batch_size);
    const convoy_device_info *info = convoy_device_get_info(network->device);
    const char *variant = network->options.variant;
    const char *const arguments[] = {info->id, info->name, batch, training, variant ? variant : "", NULL};
    const bool hears = child->id > 0 ? cvy_child_go_on(child, "build-network", arguments)
                                     : cvy_child_start(child, "build-network", arguments, NULL) == CONVOY_OK;
    return hears && say_model(child, network->model);
}

void cvy_network_build_ahead(convoy_network *network) {
    cvy_child *child = &network->ahead;
    if (network->ahead_asked || network->options.last_first || network->options.parameters_of)
        return;
    *child = cvy_driver_take_child(); /* there is one where the driver was met for the first time */
    if (child->id <= 0 && cvy_device_building(network->device)->slowest <= compiles)
        return;
    network->ahead_asked = true;
    if (!is_worth_a_process(network) || !ask(network, child)) {
        cvy_debug("kernels are built by one process alone");
        cvy_child_end(child);
    }
}

/* ---- The child ---- */

/* A file in memory, by a path under which it can be read once more. */
static convoy_status hear_model(cvy_child *parent, char path[32], int *file) {
    const cvy_child_patience patience = {.limit = 60};
    cvy_child_answer heard;
    *file = memfd_create("model.yaml", MFD_CLOEXEC);
    if (*file < 0)
        return cvy_fail(CONVOY_FAILED, "no memory for a model");
    snprintf(path, 32, "/proc/self/fd/%d", *file);
    while (cvy_child_hear(parent, &patience, &heard) == CVY_CHILD_ANSWERED) {
        const size_t length = strlen(heard.line);
        if (!length)
            return CONVOY_OK;
        const char *end = heard.line[length - 1] == '+' ? "" : "\n";
        if (dprintf(*file, "%.*s%s", (int)length - 1, heard.line, end) < 0)
            break;
    }
    return cvy_fail(CONVOY_FAILED, "half a model came");
}

static convoy_status read_model(cvy_child *parent, convoy_model **model) {
    char path[32];
    int file = -1;
    convoy_status status = hear_model(parent, path, &file);
    if (!status)
        status = convoy_model_load(path, NULL, model);
    if (file >= 0)
        close(file);
    return status;
}

/* Every action once, in the order of a step and an evaluation. */
static convoy_status run_all(convoy_network *network) {
    const cvy_plan *plan = network->plan;
    const struct {
        const cvy_bound_action *actions;
        size_t count;
    } lists[] = {{network->train, plan->train.count},
                 {network->backward, plan->backward.count},
                 {network->evaluate, plan->evaluate.count}};
    const cvy_walk walk = {.n = network->options.batch_size};
    convoy_status status = CONVOY_OK;
    for (size_t l = network->options.training ? 0 : 2; l < sizeof lists / sizeof *lists; l++)
        for (size_t i = 0; i < lists[l].count && !status; i++)
            status = cvy_network_run(network, &lists[l].actions[i], &walk);
    return status;
}

static convoy_status rehearse(convoy_network *network) {
    cvy_rehearsal_start(network->device);
    const convoy_status ran = run_all(network), ended = cvy_rehearsal_end(network->device);
    return ran ? ran : ended;
}

convoy_status cvy_network_serve_ahead(cvy_child *parent, char *const *arguments) {
    convoy_model *model = NULL;
    convoy_device *device = NULL;
    convoy_network *network = NULL;
    cvy_network_options options = {.last_first = true, .as_before = true};
    for (int i = 0; i < 5; i++)
        if (!arguments[i])
            return cvy_fail(CONVOY_INVALID,
                            "building wants a device, its name, a batch and what to do with it");
    options.batch_size = (int)strtol(arguments[2], NULL, 10);
    options.training = strcmp(arguments[3], "1") == 0;
    options.variant = arguments[4];
    convoy_status status = read_model(parent, &model);
    if (!status)
        status = cvy_device_open_named(arguments[0], arguments[1], &device);
    if (!status)
        status = cvy_network_create(model, device, &options, &network);
    if (!status)
        status = rehearse(network);
    if (!status)
        cvy_child_say(parent, "built");
    convoy_network_close(network);
    convoy_device_close(device);
    convoy_model_free(model);
    return status;
}
