/* convoy-helper, the program of child processes (base/child.h): a table of the tasks that run in them. */
#include "base/child.h"
#include "network/network.h"
#include "tune/tune.h"

static const cvy_helper_task tasks[] = {
    {"build-network", cvy_network_serve_ahead},
    {"measure-variants", cvy_tune_serve},
    {NULL, NULL},
};

int main(int argc, char **argv) {
    return cvy_helper_main(tasks, argc, argv);
}
