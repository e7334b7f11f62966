/* The ranks that train together, as the command has them: ranks.c. */
#ifndef CVY_CLI_RANKS_H
#define CVY_CLI_RANKS_H

#include "cli/cli.h"
#include "train/collective.h"

/* Rows of a command with ranks, whose `options` have `devices` and `mpi`. */
#define CLI_ROW_DEVICES                                                                                      \
    {                                                                                                        \
        "devices", CVY_TEXT, offsetof(options, devices), "", 0, 0, NULL,                                     \
            "as 0:0,1:0, or auto: a rank on each, started with mpirun, and one of them for each rank of a "  \
            "machine under mpirun"                                                                           \
    }
#define CLI_ROW_MPI                                                                                          \
    {                                                                                                        \
        "mpi", CVY_CHOICE, offsetof(options, mpi), "auto", 0, 0, "auto|openmpi|mpich",                       \
            "whose rank this process is; auto: as mpirun or srun says"                                       \
    }

/* Joins the others where a launcher started this process as one of several, or --mpi (an index of the
   choices) says which one did. `devices`, or NULL: a list of which each process of a machine takes one, in
   turn; without a launcher this process becomes one that starts so many ranks. "auto": the devices of this
   machine that are of the kind that `auto` takes; so do ranks that were told of no device. */
convoy_status cli_ranks_join(cli_call *call, int mpi, const char *devices);
/* A list of devices, as 0:0,1:0: one at least, none missing, and not beside --device. */
convoy_status cli_devices_check(const cli_call *call, const char *list);
size_t cli_devices_count(const char *list);
/* "0:0,0:1": what `auto` takes, and the devices of this machine that are as good, or as little; in the arena.
   Drivers are loaded for it. */
convoy_status cli_devices_list(cvy_arena *arena, const char **text);
/* One of them, in turn; in the arena. */
const char *cli_devices_pick(cvy_arena *arena, const char *list, size_t place);
/* Did a launcher start this process as one of several, by its environment or --mpi? *place: its number among
   those of its machine. */
bool cli_ranks_launched(int mpi, size_t *place);
/* Tells the others what this one runs on. */
convoy_status cli_ranks_name(const char *device);
/* Rank 0's text, on all; in the arena. `own`: how this rank came by it. */
convoy_status cli_ranks_share_text(cli_call *call, convoy_status own, const char **text);
/* NULL: alone. */
cvy_collective *cli_ranks(void);

/* After all other calls to them: how it went for all. */
convoy_status cli_ranks_leave(convoy_status status);
/* Who tells of a failure that all know: rank 0, or who takes its place. */
bool cli_ranks_speaks(void);
/* "rank 1 (host, device): ", or "" of rank 0 and where there are none. */
const char *cli_ranks_prefix(void);
/* Before the process ends with this code. */
void cli_ranks_end(int code);

#endif
