/* The schedules: their arguments, and the rate of each step in closed form. PyTorch computes most of them
   from the step before, which comes to the same but for rounding. */
#include "model/schedule.h"

#include <math.h>
#include <string.h>

#include "model/graph.h"

typedef unsigned long long ticks;

static const double pi = 3.14159265358979323846;

/* ---- rates ---- */

static double step_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    const ticks decays = t / (ticks)s->step_size;
    return base * pow(s->gamma, (double)decays);
}

/* The number of milestones that were reached. */
static size_t milestones_at(const cvy_schedule *s, ticks t) {
    size_t passed = 0;
    while (passed < s->bound_count && (ticks)s->bounds[passed] <= t)
        passed++;
    return passed;
}

static double multi_step_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    return base * pow(s->gamma, (double)milestones_at(s, t));
}

static double exponential_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    return base * pow(s->gamma, (double)t);
}

static double constant_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    return t < (ticks)s->total_iters ? base * s->factor : base;
}

/* How much of total_iters is over. */
static double part_done(const cvy_schedule *s, ticks t) {
    const ticks total = (ticks)s->total_iters;
    return t < total ? (double)t / (double)total : 1;
}

static double linear_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    return base * (s->start_factor + (s->end_factor - s->start_factor) * part_done(s, t));
}

static double polynomial_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    return base * pow(1 - part_done(s, t), s->power);
}

static double cosine(double from, double to, double part) {
    return to + (from - to) * (1 + cos(pi * part)) / 2;
}

/* Up again after T_max, as torch's. */
static double cosine_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    const ticks half = s->T_max ? (ticks)s->T_max : length ? length : 1;
    return cosine(base, s->eta_min, (double)(t % (2 * half)) / (double)half);
}

static double restarting_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    ticks period = (ticks)s->T_0;
    (void)length;
    if (s->T_mult == 1)
        t %= period;
    else
        for (; t >= period; period *= (ticks)s->T_mult)
            t -= period;
    return cosine(base, s->eta_min, (double)t / (double)period);
}

/* ---- OneCycleLR: Smith and Topin, 2017 ---- */

/* A phase of the cycle: until which step, and from what to what, of rate and momentum. */
typedef struct phase {
    double end, rate[2], momentum[2];
} phase;

static int list_phases(const cvy_schedule *s, double total, phase phases[3]) {
    const double low = s->max_lr / s->div_factor, least = low / s->final_div_factor, peak = s->max_lr;
    const double slow = s->base_momentum, fast = s->max_momentum;
    const double top = s->pct_start * total - 1;
    phases[0] = (phase){top, {low, peak}, {fast, slow}};
    phases[1] = (phase){total - 1, {peak, least}, {slow, fast}};
    if (!s->three_phase)
        return 2;
    phases[1] = (phase){2 * s->pct_start * total - 2, {peak, low}, {slow, fast}};
    phases[2] = (phase){total - 1, {low, least}, {fast, fast}};
    return 3;
}

/* Behind its end it stays where it is; torch refuses to go on. */
static void cycle(const cvy_schedule *s, ticks t, ticks length, double *rate, double *momentum) {
    const double total = s->total_steps ? s->total_steps : length ? (double)length : 1;
    const double at = fmin((double)t, total - 1);
    phase phases[3];
    double start = 0;
    int p = 0;
    for (const int count = list_phases(s, total, phases); p < count - 1 && at > phases[p].end; p++)
        start = phases[p].end;
    const phase *now = &phases[p];
    double part = now->end != start ? (at - start) / (now->end - start) : 1;
    if (s->anneal_strategy == 0)
        part = (1 - cos(pi * part)) / 2;
    *rate = now->rate[0] + (now->rate[1] - now->rate[0]) * part;
    *momentum = now->momentum[0] + (now->momentum[1] - now->momentum[0]) * part;
}

static double one_cycle_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    double rate, momentum;
    (void)base;
    cycle(s, t, length, &rate, &momentum);
    return rate;
}

static bool cycles_to_the_end(const cvy_schedule *s) {
    return s->total_steps == 0;
}

static bool anneals_to_the_end(const cvy_schedule *s) {
    return s->T_max == 0;
}

/* ---- SequentialLR ---- */

static double sequential_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    const size_t p = milestones_at(s, t + (ticks)s->early);
    const ticks begin = p && s->bounds[p - 1] > s->early ? (ticks)(s->bounds[p - 1] - s->early) : 0;
    const ticks end = p < s->bound_count ? (ticks)s->bounds[p] : length > begin ? length : begin + 1;
    return s->parts[p].type->rate(&s->parts[p], base, t - begin, end - begin);
}

static bool last_part_follows_length(const cvy_schedule *s) {
    return cvy_schedule_follows_length(&s->parts[s->part_count - 1]);
}

/* ---- ReduceLROnPlateau ---- */

/* `t`: reductions so far. */
static double plateau_rate(const cvy_schedule *s, double base, ticks t, ticks length) {
    (void)length;
    for (; t > 0; t--) {
        const double lower = fmax(base * s->factor, s->min_lr);
        if (!(base - lower > s->eps))
            break; /* and so it stays */
        base = lower;
    }
    return base;
}

bool cvy_schedule_is_plateau(const cvy_schedule *schedule) {
    return schedule->type && schedule->type->rate == plateau_rate;
}

static bool is_better(const cvy_schedule *s, double value, double best) {
    const double sign = s->mode == 0 ? -1 : 1;
    const double limit =
        s->threshold_mode == 0 ? best * (1 + sign * s->threshold) : best + sign * s->threshold;
    return s->mode == 0 ? value < limit : value > limit;
}

void cvy_plateau_note(const cvy_schedule *schedule, double value, cvy_plateau *state) {
    if (!state->begun || is_better(schedule, value, state->best)) {
        state->begun = state->begun || !isnan(value);
        state->best = value;
        state->bad_epochs = 0;
    } else {
        state->bad_epochs++;
    }
    if (state->cooldown > 0) {
        state->cooldown--;
        state->bad_epochs = 0;
    }
    if (state->bad_epochs > (unsigned)schedule->patience) {
        state->reductions++;
        state->cooldown = (unsigned)schedule->cooldown;
        state->bad_epochs = 0;
    }
}

/* ---- the table ---- */

#define ROW(key, kind, ...) CVY_PARAM(cvy_schedule, key, kind, __VA_ARGS__)
#define WHOLE(key, default, least, text)                                                                     \
    ROW(key, CVY_INT, .fallback = default, .minimum = least, .maximum = 1 << 30, .help = text)
#define NUMBER(key, default, least, most, text)                                                              \
    ROW(key, CVY_FLOAT, .fallback = default, .minimum = least, .maximum = most, .help = text)
#define BY(default)                                                                                          \
    ROW(by, CVY_CHOICE, .fallback = default, .choices = "epoch|step", .help = "what it counts")
#define GAMMA(default) NUMBER(gamma, default, 0, 1e6, "factor of each decay")
#define ETA_MIN NUMBER(eta_min, "0", 0, 1e6, "least rate")
#define TOTAL_ITERS WHOLE(total_iters, "5", 1, "how long it lasts")
#define MILESTONES(text) ROW(milestones, CVY_NODE, .fallback = NULL, .help = text)

static const cvy_param step_params[] = {WHOLE(step_size, NULL, 1, "between decays"), GAMMA("0.1"),
                                        BY("epoch"), CVY_PARAM_END};
static const cvy_param multi_step_params[] = {MILESTONES("when it decays, as [30, 80]"), GAMMA("0.1"),
                                              BY("epoch"), CVY_PARAM_END};
static const cvy_param exponential_params[] = {GAMMA(NULL), BY("epoch"), CVY_PARAM_END};
static const cvy_param constant_params[] = {
    NUMBER(factor, "0.3333333333333333", 0, 1, "of the rate until then"), TOTAL_ITERS, BY("epoch"),
    CVY_PARAM_END};
static const cvy_param linear_params[] = {
    NUMBER(start_factor, "0.3333333333333333", 1e-12, 1, "of the rate at first"),
    NUMBER(end_factor, "1", 0, 1, "at last"), TOTAL_ITERS, BY("epoch"), CVY_PARAM_END};
static const cvy_param polynomial_params[] = {NUMBER(power, "1", 0, 1e3, "of what is left"), TOTAL_ITERS,
                                              BY("epoch"), CVY_PARAM_END};
static const cvy_param cosine_params[] = {WHOLE(T_max, "0", 0, "half a wave; 0: to the end"), ETA_MIN,
                                          BY("epoch"), CVY_PARAM_END};
static const cvy_param restarting_params[] = {WHOLE(T_0, NULL, 1, "until the first restart"),
                                              WHOLE(T_mult, "1", 1, "of each period over the one before"),
                                              ETA_MIN, BY("epoch"), CVY_PARAM_END};
static const cvy_param one_cycle_params[] = {
    NUMBER(max_lr, NULL, 0, 1e6, "the peak; the optimizer's lr does not count"),
    WHOLE(total_steps, "0", 0, "of the cycle; 0: to the end"),
    NUMBER(pct_start, "0.3", 0, 1, "part of the cycle in which the rate rises"),
    ROW(anneal_strategy, CVY_CHOICE, .fallback = "cos", .choices = "cos|linear", .help = "form of the ways"),
    ROW(cycle_momentum, CVY_BOOL, .fallback = "true", .help = "momentum (Adam: beta1) the other way"),
    NUMBER(base_momentum, "0.85", 0, 1, "at the peak"),
    NUMBER(max_momentum, "0.95", 0, 1, "at both ends"),
    NUMBER(div_factor, "25", 1e-12, 1e12, "max_lr over the first rate"),
    NUMBER(final_div_factor, "10000", 1e-12, 1e12, "the first rate over the last"),
    ROW(three_phase, CVY_BOOL, .fallback = "false", .help = "a way down of its own to the last rate"),
    BY("step"),
    CVY_PARAM_END};
static const cvy_param sequential_params[] = {
    ROW(schedulers, CVY_NODE, .fallback = NULL, .help = "a list, one after the other"),
    MILESTONES("where the next begins, one less than schedulers"), BY("epoch"), CVY_PARAM_END};
static const cvy_param plateau_params[] = {
    ROW(monitor, CVY_CHOICE, .fallback = "loss", .choices = CVY_MONITORS, .help = "of the evaluation"),
    ROW(mode, CVY_CHOICE, .fallback = "min", .choices = "min|max", .help = "what is better"),
    NUMBER(factor, "0.1", 0, 0.999999999, "of each reduction"),
    WHOLE(patience, "10", 0, "epochs without an improvement that are let pass"),
    NUMBER(threshold, "0.0001", 0, 1e6, "of an improvement"),
    ROW(threshold_mode, CVY_CHOICE, .fallback = "rel", .choices = "rel|abs",
        .help = "of the best, or by itself"),
    WHOLE(cooldown, "0", 0, "epochs after a reduction that do not count"),
    NUMBER(min_lr, "0", 0, 1e6, "least rate"),
    NUMBER(eps, "1e-08", 0, 1e6, "a smaller reduction is none"),
    CVY_PARAM_END};

const cvy_schedule_type cvy_schedule_types[] = {
    {"StepLR", step_params, step_rate, NULL},
    {"MultiStepLR", multi_step_params, multi_step_rate, NULL},
    {"ExponentialLR", exponential_params, exponential_rate, NULL},
    {"ConstantLR", constant_params, constant_rate, NULL},
    {"LinearLR", linear_params, linear_rate, NULL},
    {"PolynomialLR", polynomial_params, polynomial_rate, NULL},
    {"CosineAnnealingLR", cosine_params, cosine_rate, anneals_to_the_end},
    {"CosineAnnealingWarmRestarts", restarting_params, restarting_rate, NULL},
    {"OneCycleLR", one_cycle_params, one_cycle_rate, cycles_to_the_end},
    {"ReduceLROnPlateau", plateau_params, plateau_rate, NULL},
    {"SequentialLR", sequential_params, sequential_rate, last_part_follows_length},
    {.name = NULL},
};

/* ---- reading ---- */

static bool cycles_momentum(const cvy_schedule *s) {
    return s->type && s->type->rate == one_cycle_rate && s->cycle_momentum;
}

static convoy_status fail_unknown(const cvy_node *name) {
    const char *known[16];
    size_t count = 0;
    for (const cvy_schedule_type *type = cvy_schedule_types; type->name && count < 16; type++)
        known[count++] = type->name;
    return cvy_named_unknown(name, "scheduler", known, count);
}

static convoy_status read_milestones(cvy_arena *arena, cvy_schedule *s) {
    const cvy_node *list = s->milestones;
    if (list->kind != CVY_SEQUENCE || list->count == 0)
        return cvy_node_fail(list, "%s: `milestones` must be a list of whole numbers, as [30, 80]",
                             s->type->name);
    s->bounds = cvy_arena_alloc(arena, list->count * sizeof *s->bounds);
    for (size_t i = 0; i < list->count; i++) {
        const cvy_node *item = list->items[i];
        long long value;
        if (item->kind != CVY_SCALAR || !cvy_text_to_long(item->text, &value) || value < 1 ||
            value > 1 << 30 || (i > 0 && value <= s->bounds[i - 1]))
            return cvy_node_fail(item,
                                 "%s: milestones are whole numbers from 1 to %d, each larger than the one "
                                 "before; found `%s`",
                                 s->type->name, 1 << 30, item->kind == CVY_SCALAR ? item->text : "a list");
        s->bounds[s->bound_count++] = (int)value;
    }
    return CONVOY_OK;
}

static convoy_status read_one(cvy_arena *arena, const cvy_node *node, cvy_schedule *s);

/* Each SequentialLR of torch that begins with another one steps it once when it is made, so that its
   milestones come a step sooner. */
static void begin_earlier(cvy_schedule *s) {
    for (; s->type->rate == sequential_rate; s = s->parts)
        s->early++;
}

static convoy_status read_part(cvy_arena *arena, const cvy_node *node, int by, bool first,
                               cvy_schedule *part) {
    convoy_status status = read_one(arena, node, part);
    if (status)
        return status;
    const cvy_node *arguments = node->kind == CVY_MAPPING ? node->items[0] : node;
    /* A OneCycleLR in torch's SequentialLR changes the rate that the others begin with. */
    if (part->type->rate == sequential_rate && !first)
        return cvy_node_fail(node, "a SequentialLR can be the first scheduler of another one only, as in "
                                   "PyTorch: write its schedulers into the outer list");
    if (part->type->rate == one_cycle_rate || cvy_schedule_is_plateau(part))
        return cvy_node_fail(node, "SequentialLR cannot have a %s among its schedulers", part->type->name);
    if (cvy_node_get(arguments, "by"))
        return cvy_node_fail(node,
                             "what a SequentialLR counts, it counts for all: give `by` to it, not to %s",
                             part->type->name);
    part->by = by;
    begin_earlier(part);
    return CONVOY_OK;
}

static convoy_status read_parts(cvy_arena *arena, cvy_schedule *s) {
    const cvy_node *list = s->schedulers;
    if (list->kind != CVY_SEQUENCE || list->count != s->bound_count + 1)
        return cvy_node_fail(
            list,
            "SequentialLR: `schedulers` must be a list of one more than there are milestones "
            "(%zu), found %zu",
            s->bound_count, list->kind == CVY_SEQUENCE ? list->count : (size_t)1);
    s->parts = cvy_arena_alloc(arena, list->count * sizeof *s->parts);
    s->part_count = list->count;
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < list->count && !status; i++)
        status = read_part(arena, list->items[i], s->by, i == 0, &s->parts[i]);
    return status;
}

static convoy_status read_one(cvy_arena *arena, const cvy_node *node, cvy_schedule *s) {
    const cvy_node *name, *arguments;
    if (!cvy_named(node, &name, &arguments))
        return cvy_node_fail(node,
                             "a scheduler is one name with its arguments, as {StepLR: {step_size: 30}}");
    const cvy_schedule_type *type = cvy_schedule_types;
    while (type->name && strcmp(type->name, name->text) != 0)
        type++;
    if (!type->name)
        return fail_unknown(name);
    *s = (cvy_schedule){.type = type};
    convoy_status status = cvy_params_read(type->params, s, arena, type->name, arguments, node);
    if (!status && s->milestones)
        status = read_milestones(arena, s);
    if (!status && type->rate == sequential_rate)
        status = read_parts(arena, s);
    if (!status && cvy_schedule_is_plateau(s) && (s->mode == 0) != cvy_monitor_is_least(s->monitor))
        status = cvy_node_fail(node, "ReduceLROnPlateau: of its monitor %s is better: write mode: %s",
                               s->mode == 0 ? "more" : "less", s->mode == 0 ? "max" : "min");
    return status;
}

convoy_status cvy_schedule_read(cvy_arena *arena, const cvy_node *node, cvy_optimizer *optimizer,
                                cvy_schedule *schedule) {
    *schedule = (cvy_schedule){0};
    if (!node || (node->kind == CVY_SCALAR && !*node->text))
        return CONVOY_OK;
    convoy_status status = read_one(arena, node, schedule);
    if (!status && cycles_momentum(schedule))
        optimizer->momentum = optimizer->betas[0] = schedule->max_momentum;
    return status;
}

void cvy_schedule_print(const cvy_schedule *schedule, cvy_text *text) {
    cvy_text_add(text, "{%s: {", schedule->type->name);
    for (const cvy_param *row = schedule->type->params; row->name; row++) {
        const bool parts = row->offset == offsetof(cvy_schedule, schedulers);
        const bool inherited = row->offset == offsetof(cvy_schedule, by) && schedule->by < 0;
        if (inherited)
            continue;
        cvy_text_add(text, "%s%s: ", row == schedule->type->params ? "" : ", ", row->name);
        if (!parts)
            cvy_params_print(row, schedule, text);
        for (size_t i = 0; parts && i < schedule->part_count; i++) {
            cvy_schedule part = schedule->parts[i];
            part.by = -1;
            cvy_text_add(text, "%s", i ? ", " : "[");
            cvy_schedule_print(&part, text);
        }
        if (parts)
            cvy_text_add(text, "]");
    }
    cvy_text_add(text, "}}");
}

/* ---- the rate of a step ---- */

bool cvy_schedule_follows_length(const cvy_schedule *schedule) {
    return schedule->type && schedule->type->follows_length && schedule->type->follows_length(schedule);
}

void cvy_schedule_apply(const cvy_schedule *schedule, const cvy_moment *at, const cvy_optimizer *base,
                        cvy_optimizer *now) {
    *now = *base;
    if (!schedule->type)
        return;
    const ticks t = cvy_schedule_is_plateau(schedule) ? at->reductions : schedule->by ? at->step : at->epoch;
    const ticks length = schedule->by ? at->steps : at->epochs;
    now->lr = schedule->type->rate(schedule, base->lr, t, length);
    if (cycles_momentum(schedule)) {
        double rate, momentum;
        cycle(schedule, t, length, &rate, &momentum);
        now->momentum = now->betas[0] = momentum;
    }
}
