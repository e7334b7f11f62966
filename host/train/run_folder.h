/* The folder of a run: model.yaml, metrics.csv, last.safetensors, best.safetensors, checkpoint.safetensors.
   Every file but metrics.csv, which grows by rows, is replaced as a whole (base/file.h), so a kill at any
   instant leaves the last good one. */
#ifndef CVY_TRAIN_RUN_FOLDER_H
#define CVY_TRAIN_RUN_FOLDER_H

#include <stdbool.h>

#include "convoy/train.h"

typedef struct cvy_run_folder {
    char *path;
    int lock; /* meaningful where there is a path */
} cvy_run_folder;

/* Creates the folder where needed, claims it (CONVOY_INVALID: another run is at work there), and removes what
   writes that were killed left in it. */
convoy_status cvy_run_folder_open(const char *path, cvy_run_folder *folder);
void cvy_run_folder_close(cvy_run_folder *folder);

/* The path of one of its files, malloc'ed. */
char *cvy_run_folder_path(const cvy_run_folder *folder, const char *name);

/* An empty table, or, when `resumed`, the rows up to `step` of the file that is there. */
convoy_status cvy_run_folder_start_metrics(cvy_run_folder *folder, bool resumed, unsigned long long step);
/* One row from the figures of `progress`. */
convoy_status cvy_run_folder_add_metrics(cvy_run_folder *folder, const convoy_progress *progress);

convoy_status cvy_run_folder_save_text(cvy_run_folder *folder, const char *name, const char *text);
/* The model's weights as safetensors. */
convoy_status cvy_run_folder_save_weights(cvy_run_folder *folder, const char *name,
                                          const convoy_model *model);

#endif
