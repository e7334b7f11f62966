/* Opening a set on a thread of its own. */
#include "data/opening.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

struct cvy_opening {
    char *what, *split;
    convoy_dataset_options options;
    pthread_t thread;
    bool started;
    convoy_status status;
    char *message; /* failures are told per thread: this one travels */
    convoy_dataset *dataset;
};

static void *work(void *argument) {
    cvy_opening *opening = argument;
    opening->status =
        convoy_dataset_open(opening->what, opening->split, &opening->options, &opening->dataset);
    if (opening->status != CONVOY_OK)
        opening->message = strdup(convoy_error_message());
    return NULL;
}

cvy_opening *cvy_opening_begin(const char *what, const char *split, const convoy_dataset_options *options) {
    cvy_opening *opening = calloc(1, sizeof *opening);
    if (!opening)
        return NULL;
    opening->what = strdup(what);
    opening->split = strdup(split);
    opening->options = options ? *options : (convoy_dataset_options){0};
    opening->started = pthread_create(&opening->thread, NULL, work, opening) == 0;
    if (!opening->started)
        work(opening);
    return opening;
}

convoy_status cvy_opening_end(cvy_opening *opening, convoy_dataset **dataset) {
    if (dataset)
        *dataset = NULL;
    if (!opening)
        return cvy_fail_memory("opening a data set", sizeof *opening);
    if (opening->started)
        pthread_join(opening->thread, NULL);
    convoy_status status = opening->status;
    if (status != CONVOY_OK)
        cvy_fail(status, "%s", opening->message ? opening->message : "the data set could not be opened");
    if (dataset)
        *dataset = opening->dataset;
    else
        convoy_dataset_free(opening->dataset);
    free(opening->what);
    free(opening->split);
    free(opening->message);
    free(opening);
    return status;
}
