/* What `convoy search` tries: the settings of each trial, from --grid, --range and --random. */
#ifndef CVY_CLI_SEARCH_H
#define CVY_CLI_SEARCH_H

#include "cli/cli.h"

typedef struct search_axis {
    const char *option;  /* as it was given, for messages: "--grid lr=0.1,0.01" */
    const char *key;     /* of the recipe, its optimizer or the model's parameters */
    const char **values; /* of a grid */
    size_t count;
    enum { SEARCH_GRID, SEARCH_LOG, SEARCH_LINEAR, SEARCH_INTEGER } kind;
    double low, high; /* of a range */
} search_axis;

typedef struct search_plan {
    search_axis *axes;
    size_t axis_count;
    const char **settings; /* [trials][axes]: "key=value" */
    size_t trials;
} search_plan;

/* `random`: so many trials that are drawn by the seed; 0: all of the grid. Every value is tried on the model
   of the call. */
convoy_status search_plan_read(cli_call *call, size_t random, uint64_t seed, search_plan *plan);
static inline const char **search_settings(const search_plan *plan, size_t trial) {
    return plan->settings + trial * plan->axis_count;
}
/* The value of a setting. */
const char *search_value(const char *setting);

#endif
