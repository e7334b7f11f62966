/* convoy-helper, the program of child processes (base/child.h): a table of the tasks that run in them. */
#include <stdlib.h>

#include "base/child.h"
#include "device/drivers.h"
#include "selftest/selftest.h"
#include "train/step.h"
#include "tune/tune.h"

static const cvy_helper_task tasks[] = {
    {"build-network", cvy_training_serve_ahead},
    {"measure-variants", cvy_tune_serve},
    {"list-driver", cvy_driver_serve_list},
    {"open-device", cvy_driver_serve_open},
    {"selftest", cvy_selftest_serve},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    setenv("CONVOY_DRIVER_CHECK", "0", 1); /* this process may die of it */
    return cvy_helper_main(tasks, argc, argv);
}
