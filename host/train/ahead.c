/* The child of network/ahead.c: it opens the same network from its other end, last layer first, and makes the
   first launch of each kernel of a step and an evaluation, last one first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/step.h"

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

static convoy_status rehearse(convoy_network *network, convoy_device *device, bool trains) {
    const int n = cvy_network_batch_size(network);
    cvy_training training = {0};
    convoy_status status = trains ? cvy_training_create(network, device, n, &training) : CONVOY_OK;
    cvy_rehearsal_start(device);
    if (!status && trains)
        status = cvy_training_step(&training, NULL, n, 0);
    if (!status)
        status = cvy_network_forward(network, n, false, 0);
    const convoy_status ended = cvy_rehearsal_end(device);
    cvy_training_free(&training);
    return status ? status : ended;
}

convoy_status cvy_training_serve_ahead(cvy_child *parent, char *const *arguments) {
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
        status = rehearse(network, device, options.training);
    if (!status)
        cvy_child_say(parent, "built");
    convoy_network_close(network);
    convoy_device_close(device);
    convoy_model_free(model);
    return status;
}
