/* Learning-rate schedules: names, arguments and definitions of torch.optim.lr_scheduler. The rate of a step
   is a function of the step alone, in closed form, so that a resumed run needs no state of them but
   ReduceLROnPlateau's. */
#ifndef CVY_MODEL_SCHEDULE_H
#define CVY_MODEL_SCHEDULE_H

#include "base/params.h"
#include "ops/optimizer.h"

/* What a run is judged by: its best weights, early stopping, ReduceLROnPlateau. */
#define CVY_MONITORS "accuracy|loss|macro_f1|balanced_accuracy"
typedef enum cvy_monitor {
    CVY_MONITOR_ACCURACY,
    CVY_MONITOR_LOSS,
    CVY_MONITOR_MACRO_F1,
    CVY_MONITOR_BALANCED_ACCURACY
} cvy_monitor;
static inline bool cvy_monitor_is_least(int monitor) {
    return monitor == CVY_MONITOR_LOSS;
}

/* The settings of all types; each reads those that its `params` name. */
typedef struct cvy_schedule {
    const struct cvy_schedule_type *type; /* NULL: the rate stays as it is */
    int by;                               /* what it counts: 0 epochs, 1 steps */
    int step_size, T_max, T_0, T_mult, total_iters, total_steps;
    double gamma, factor, start_factor, end_factor, power, eta_min;
    cvy_node *milestones, *schedulers; /* as the file has them */
    int *bounds;                       /* the milestones, ascending */
    size_t bound_count;
    struct cvy_schedule *parts; /* of SequentialLR */
    size_t part_count;
    int early; /* of a SequentialLR within others: so many steps before its milestones its parts begin */
    double max_lr, pct_start, base_momentum, max_momentum, div_factor, final_div_factor;
    int anneal_strategy;
    bool cycle_momentum, three_phase;
    int mode, monitor, patience, cooldown, threshold_mode;
    double threshold, min_lr, eps;
} cvy_schedule;

/* Where a run stands, and how long it is. */
typedef struct cvy_moment {
    unsigned long long epoch, step;   /* finished */
    unsigned long long epochs, steps; /* of the whole run */
    unsigned reductions;              /* of cvy_plateau */
} cvy_moment;

typedef struct cvy_schedule_type {
    const char *name;
    const cvy_param *params; /* of a cvy_schedule */
    /* The rate, of a group that begins with `base`, after `ticks` steps or epochs of a schedule that runs for
       `length` of them. */
    double (*rate)(const cvy_schedule *s, double base, unsigned long long ticks, unsigned long long length);
    bool (*follows_length)(const cvy_schedule *s); /* does `length` matter? NULL: no */
} cvy_schedule_type;

/* Every type; ends with a row whose name is NULL. */
extern const cvy_schedule_type cvy_schedule_types[];

/* `node`: a type's name, {Name: {arguments}}, or NULL. A schedule that cycles the momentum sets that of
   `optimizer`, as torch does. */
convoy_status cvy_schedule_read(cvy_arena *arena, const cvy_node *node, cvy_optimizer *optimizer,
                                cvy_schedule *schedule);
void cvy_schedule_print(const cvy_schedule *schedule, cvy_text *text);

/* The settings of the next step, of a group whose settings are `base`. */
void cvy_schedule_apply(const cvy_schedule *schedule, const cvy_moment *at, const cvy_optimizer *base,
                        cvy_optimizer *now);
/* Does the rate depend on how long the run is? Such a run must not become longer. */
bool cvy_schedule_follows_length(const cvy_schedule *schedule);

/* What ReduceLROnPlateau knows; begins as zeros. */
typedef struct cvy_plateau {
    bool begun;
    double best;
    unsigned bad_epochs, cooldown, reductions;
} cvy_plateau;
bool cvy_schedule_is_plateau(const cvy_schedule *schedule);
/* An epoch ended with this value of schedule->monitor. */
void cvy_plateau_note(const cvy_schedule *schedule, double value, cvy_plateau *state);

#endif
