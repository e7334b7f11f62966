/* This process's place among the ranks that train together, where there are any: found by what a launcher
   says in the environment, joined through the plugin of its MPI. */
#include "cli/ranks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/status.h"

static cvy_collective ranks = {.transport.size = 1};
static bool joined;

/* What launchers tell the processes that they start. */
typedef struct launcher {
    const char *mpi;               /* as --mpi names it, and its plugin */
    const char *size, *local_rank; /* environment variables */
} launcher;

static const launcher launchers[] = {
    {"openmpi", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"mpich", "PMI_SIZE", "MPI_LOCALRANKID"},
};
enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

static long read_number(const char *variable) {
    const char *text = getenv(variable);
    return text ? strtol(text, NULL, 10) : 0;
}

/* This process's number among those of its machine, by its launcher or, under srun, by Slurm. */
static size_t local_rank(const launcher *by) {
    const char *const variable = getenv(by->local_rank) ? by->local_rank : "SLURM_LOCALID";
    const long place = read_number(variable);
    return place > 0 ? (size_t)place : 0;
}

/* NULL: this process is alone. `mpi`: 0 whatever the environment says, else 1 + the launcher. */
static const launcher *find_launcher(int mpi) {
    if (mpi)
        return &launchers[mpi - 1];
    for (int i = 0; i < LAUNCHERS; i++)
        if (read_number(launchers[i].size) > 1)
            return &launchers[i];
    return NULL;
}

/* ---- starting them ---- */

size_t cli_devices_count(const char *list) {
    size_t count = 1;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

static bool has_gap(const char *list) {
    return !*list || *list == ',' || list[strlen(list) - 1] == ',' || strstr(list, ",,");
}

const char *cli_devices_pick(cvy_arena *arena, const char *list, size_t place) {
    for (place %= cli_devices_count(list); place; place--)
        list = strchr(list, ',') + 1;
    return cvy_arena_strndup(arena, list, strcspn(list, ","));
}

convoy_status cli_devices_check(const cli_call *call, const char *list) {
    if (cli_common_of(call)->device)
        return cvy_fail(CONVOY_INVALID, "convoy %s: give --device or --devices", call->command->name);
    return has_gap(list) ? cvy_fail(CONVOY_INVALID,
                                    "convoy %s: --devices `%s`: a device is missing; a list as 0:0,1:0 is "
                                    "expected",
                                    call->command->name, list)
                         : CONVOY_OK;
}

convoy_status cli_devices_list(cvy_arena *arena, const char **text) {
    const convoy_device_info *const *list = NULL;
    size_t count = 0, best = 0;
    cvy_text all = {0};
    convoy_status status = convoy_device_list(&list, &count);
    if (status)
        return status;
    while (best < count && !list[best]->chosen)
        best++;
    for (size_t i = 0; i < count && best < count; i++)
        if (strcmp(list[i]->type, list[best]->type) == 0 && list[i]->score >= 0)
            cvy_text_add(&all, "%s%s", all.length ? "," : "", list[i]->id);
    *text = cvy_arena_strdup(arena, all.length ? cvy_text_get(&all) : "auto");
    cvy_text_free(&all);
    convoy_device_list_free(list);
    return CONVOY_OK;
}

/* Becomes `mpirun -n COUNT convoy ...`, with the command line as it is: each rank picks its device. */
static convoy_status start_ranks(const cli_call *call, size_t count) {
    static const char *const settings[][2] = {
        {"OMPI_MCA_rmaps_base_oversubscribe", "1"}, /* devices are counted here, not cores */
        {"OMPI_MCA_hwloc_base_binding_policy", "none"},
        {"OMPI_MCA_odls_base_sigkill_timeout", "3"}, /* seconds to save in, where a rank was lost */
    };
    const char **command = cvy_arena_alloc(call->arena, ((size_t)call->argc + 8) * sizeof *command);
    size_t at = 0;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        setenv(settings[i][0], settings[i][1], 0);
    if (geteuid() == 0) {
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    }
    command[at++] = "mpirun";
    command[at++] = "-n";
    command[at++] = cvy_arena_printf(call->arena, "%zu", count);
    char *self = realpath("/proc/self/exe", NULL);
    command[at++] = self ? self : call->argv[0];
    for (int i = 1; i < call->argc; i++)
        command[at++] = call->argv[i];
    execvp(command[0], (char *const *)(uintptr_t)command);
    const int reason = errno;
    free(self);
    return cvy_fail(
        CONVOY_INVALID,
        "--devices with %zu devices starts its ranks with mpirun, which cannot be run: %s. Install "
        "Open MPI or MPICH (Debian: openmpi-bin or mpich)",
        count, strerror(reason));
}

/* ---- joining ---- */

static convoy_status load_plugin(const char *mpi, cvy_transport *transport) {
    char name[64], failure[512];
    cvy_text tried = {0};
    snprintf(name, sizeof name, "convoy_%s.so", mpi);
    char *path = cvy_machine_find(name, &tried);
    convoy_status status = CONVOY_OK;
    if (!path)
        status =
            cvy_fail(CONVOY_INVALID,
                     "this is a rank of %s, for which this build of Convoy has no plugin (there is no %s). "
                     "Build it where pkg-config finds that MPI, or use the other one's mpirun",
                     mpi, cvy_text_get(&tried));
    cvy_transport_opener *open = NULL;
    if (!status) {
        void *symbol = cvy_machine_load(path, CVY_TRANSPORT_OPEN, failure, sizeof failure);
        memcpy(&open, &symbol, sizeof open);
        if (!open)
            status = cvy_fail(CONVOY_FAILED, "%s cannot be loaded: %s", path, failure);
    }
    if (!status && open(transport, failure, sizeof failure))
        status = cvy_fail(CONVOY_FAILED, "%s: %s", path, failure);
    free(path);
    cvy_text_free(&tried);
    return status;
}

/* Alone in the world of its MPI, where a list of devices or a launcher says otherwise, a process would train
   a network of its own, as would each of the others. */
static convoy_status check_company(const char *mpi, const char *devices) {
    long most = devices ? (long)cli_devices_count(devices) : 1;
    for (int i = 0; i < LAUNCHERS; i++)
        most = read_number(launchers[i].size) > most ? read_number(launchers[i].size) : most;
    return cvy_ranks(&ranks) > 1 || most < 2
               ? CONVOY_OK
               : cvy_fail(CONVOY_INVALID,
                          "this process is alone in %s, and not one of %ld ranks: leave out --mpi, so that "
                          "--devices starts them, or use the mpirun of that MPI",
                          mpi, most);
}

convoy_status cli_ranks_join(cli_call *call, int mpi, const char *devices) {
    const launcher *by = find_launcher(mpi);
    const char *told = cli_common_of(call)->device ? cli_common_of(call)->device : getenv("CONVOY_DEVICE");
    const char *const given = devices; /* an automatic list says nothing of how many ranks there are */
    cvy_transport transport;
    convoy_status status = devices ? cli_devices_check(call, devices) : CONVOY_OK;
    if (!status && (devices ? strcmp(devices, "auto") == 0 : by && !(told && *told)))
        status = cli_devices_list(call->arena, &devices);
    if (status)
        return status;
    if (devices && !by && cli_devices_count(devices) > 1)
        return start_ranks(call, cli_devices_count(devices));
    if (devices)
        cli_common_of(call)->device = cli_devices_pick(call->arena, devices, by ? local_rank(by) : 0);
    if (!by)
        return CONVOY_OK;
    status = load_plugin(by->mpi, &transport);
    if (!status)
        status = cvy_collective_open(&transport, &ranks);
    if (status)
        return status;
    joined = true;
    ranks.patient = true;
    ranks.interrupt = cli_catch_signals();
    cli_quiet = cvy_rank(&ranks) > 0;
    return check_company(by->mpi, given ? devices : NULL);
}

bool cli_ranks_launched(int mpi, size_t *place) {
    const launcher *by = find_launcher(mpi);
    *place = by ? local_rank(by) : 0;
    return by != NULL;
}

convoy_status cli_ranks_name(const char *device) {
    const size_t size = (size_t)cvy_ranks(&ranks);
    char host[64], name[CVY_RANK_NAME] = "";
    if (!joined)
        return CONVOY_OK;
    char(*names)[CVY_RANK_NAME] = calloc(size, sizeof *names);
    if (!names)
        return cvy_fail_memory("the names of ranks", size * sizeof *names);
    cvy_machine_name(host, sizeof host);
    snprintf(name, sizeof name, "%.40s, %.100s", host, device);
    convoy_status status =
        cvy_collective_gather_alike(&ranks, "names", CONVOY_OK, name, sizeof *names, names);
    if (status) {
        free(names);
        return status;
    }
    ranks.names = names;
    cli_note("%zu ranks over %s:", size, ranks.transport.library);
    for (size_t r = 0; r < size; r++)
        cli_note("  %s", cvy_collective_name(&ranks, (int)r));
    return CONVOY_OK;
}

convoy_status cli_ranks_share_text(cli_call *call, convoy_status own, const char **text) {
    char shared[4096] = "";
    if (cvy_ranks(&ranks) == 1)
        return own;
    if (!own && cvy_rank(&ranks) == 0)
        snprintf(shared, sizeof shared, "%s", *text);
    convoy_status status = cvy_collective_broadcast(&ranks, "run folder", own, shared, sizeof shared);
    if (!status)
        *text = cvy_arena_strdup(call->arena, shared);
    return status;
}

cvy_collective *cli_ranks(void) {
    return joined ? &ranks : NULL;
}

/* ---- leaving ---- */

convoy_status cli_ranks_leave(convoy_status status) {
    return joined ? cvy_collective_leave(&ranks, status) : status;
}

bool cli_ranks_speaks(void) {
    if (!joined || cvy_rank(&ranks) == 0)
        return !joined || !ranks.lost || cvy_collective_keeps(&ranks);
    return ranks.lost && cvy_collective_keeps(&ranks);
}

const char *cli_ranks_prefix(void) {
    static char prefix[CVY_RANK_NAME + 40];
    if (!joined || cvy_rank(&ranks) == 0)
        return "";
    snprintf(prefix, sizeof prefix, "%s: ", cvy_collective_name(&ranks, cvy_rank(&ranks)));
    return prefix;
}

void cli_ranks_end(int code) {
    static const double wait = 60; /* for the one that keeps, which ends all when it has written */
    if (!joined)
        return;
    if (ranks.lost) {
        if (!cvy_collective_keeps(&ranks))
            cvy_machine_pause(wait);
        ranks.transport.abort(ranks.transport.state, code);
    }
    cvy_collective_close(&ranks);
    joined = false;
}
