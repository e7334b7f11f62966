/* From --grid and --range to trials. */
#include "cli/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/status.h"
#include "model/model.h"

enum { MOST_TRIALS = 10000 };

const char *search_value(const char *setting) {
    return strchr(setting, '=') + 1;
}

static convoy_status fail_axis(const search_axis *axis, const char *what) {
    return cvy_fail(CONVOY_INVALID, "convoy search: %s: %s", axis->option, what);
}

/* "0.1,{SGD: {lr: 1, momentum: 0.9}}": commas in brackets divide nothing. */
static convoy_status read_values(cvy_arena *arena, const char *text, search_axis *axis) {
    axis->values = cvy_arena_alloc(arena, (strlen(text) + 1) * sizeof *axis->values);
    int depth = 0;
    for (const char *begin = text, *c = text;; c++) {
        depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
        if (*c && (*c != ',' || depth > 0))
            continue;
        if (c == begin)
            return fail_axis(axis, "a value is empty; expected key=value,value");
        axis->values[axis->count++] = cvy_arena_strndup(arena, begin, (size_t)(c - begin));
        if (!*c)
            return CONVOY_OK;
        begin = c + 1;
    }
}

/* "log:1e-4:1e-1" */
static convoy_status read_range(cvy_arena *arena, const char *text, search_axis *axis) {
    static const char *const kinds[] = {"", "log:", "linear:", "integer:"};
    const char *colon = strchr(text, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;
    for (int k = SEARCH_LOG; k <= SEARCH_INTEGER; k++)
        if (strncmp(text, kinds[k], strlen(kinds[k])) == 0)
            axis->kind = k;
    const char *low = second ? cvy_arena_strndup(arena, colon + 1, (size_t)(second - colon - 1)) : "";
    if (axis->kind == SEARCH_GRID || !second || !cvy_text_to_double(low, &axis->low) ||
        !cvy_text_to_double(second + 1, &axis->high) || !(axis->low < axis->high))
        return fail_axis(axis,
                         "expected key=log:LOW:HIGH, key=linear:LOW:HIGH or key=integer:LOW:HIGH, the lower "
                         "number first");
    return axis->kind == SEARCH_LOG && axis->low <= 0 ? fail_axis(axis, "a logarithmic range begins above 0")
                                                      : CONVOY_OK;
}

/* `given`: "grid key=..." */
static convoy_status read_axis(cvy_arena *arena, const char *given, search_axis *axis) {
    const bool range = strncmp(given, "range ", 6) == 0;
    const char *text = strchr(given, ' ') + 1, *equals = strchr(text, '=');
    *axis = (search_axis){.option = cvy_arena_printf(arena, "--%s", given)};
    if (!equals || equals == text)
        return fail_axis(axis, range ? "expected key=log:LOW:HIGH" : "expected key=value,value");
    axis->key = cvy_arena_strndup(arena, text, (size_t)(equals - text));
    return range ? read_range(arena, equals + 1, axis) : read_values(arena, equals + 1, axis);
}

/* A uniform number as the axis has it. */
static const char *draw(cvy_arena *arena, const search_axis *axis, cvy_rng *rng) {
    const double part = (double)cvy_rng_u32(rng) / 4294967296.0;
    if (axis->kind == SEARCH_GRID)
        return axis->values[(size_t)(part * (double)axis->count)];
    if (axis->kind == SEARCH_INTEGER)
        return cvy_arena_printf(arena, "%.0f", floor(axis->low + part * (axis->high - axis->low + 1)));
    if (axis->kind == SEARCH_LINEAR)
        return cvy_arena_printf(arena, "%.4g", axis->low + part * (axis->high - axis->low));
    return cvy_arena_printf(arena, "%.4g", axis->low * pow(axis->high / axis->low, part));
}

static const char *end_of(const cli_call *call, double end) {
    return cvy_arena_printf(call->arena, "%.4g", end);
}

/* Does the model take this value, by itself or beside the first values of the other axes? SGD, for one, needs
   an lr. */
static convoy_status try_value(const cli_call *call, const search_plan *plan, const search_axis *axis,
                               const char *value) {
    const char **settings =
        cvy_arena_alloc(call->arena, (call->setting_count + plan->axis_count) * sizeof *settings);
    convoy_model_options options = {.settings = settings, .setting_count = call->setting_count + 1};
    convoy_model *model = NULL;
    memcpy(settings, call->settings, call->setting_count * sizeof *settings);
    settings[call->setting_count] = cvy_arena_printf(call->arena, "%s=%s", axis->key, value);
    convoy_status status = cvy_model_read(call->operands[0], &options, &model);
    if (status) {
        const char *reason = cvy_arena_strdup(call->arena, convoy_error_message());
        for (size_t i = 0; i < plan->axis_count; i++) {
            const search_axis *other = &plan->axes[i];
            if (other != axis)
                settings[options.setting_count++] = cvy_arena_printf(
                    call->arena, "%s=%s", other->key,
                    other->kind == SEARCH_GRID ? other->values[0] : end_of(call, other->low));
        }
        if (cvy_model_read(call->operands[0], &options, &model))
            return fail_axis(axis, reason);
    }
    convoy_model_free(model);
    return CONVOY_OK;
}

static convoy_status try_axis(const cli_call *call, const search_plan *plan, const search_axis *axis) {
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < axis->count && !status; i++)
        status = try_value(call, plan, axis, axis->values[i]);
    const double ends[2] = {axis->low, axis->high};
    for (int i = 0; i < 2 && axis->kind != SEARCH_GRID && !status; i++)
        status = try_value(call, plan, axis, end_of(call, ends[i]));
    return status;
}

static convoy_status read_axes(cli_call *call, bool random, search_plan *plan) {
    if (call->axis_count == 0)
        return cvy_fail(CONVOY_INVALID,
                        "convoy search: what is to be tried? Give --grid key=value,value, or --random N "
                        "with --range key=log:LOW:HIGH");
    plan->axes = cvy_arena_alloc(call->arena, call->axis_count * sizeof *plan->axes);
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < call->axis_count && !status; i++) {
        search_axis *axis = &plan->axes[plan->axis_count++];
        status = read_axis(call->arena, call->axes[i], axis);
        if (!status && axis->kind != SEARCH_GRID && !random)
            status = fail_axis(axis, "a range is drawn from: say how often with --random N");
        for (size_t k = 0; k < i && !status; k++)
            if (strcmp(plan->axes[k].key, axis->key) == 0)
                status = fail_axis(axis, "this key was given before");
    }
    for (size_t i = 0; i < plan->axis_count && !status; i++)
        status = try_axis(call, plan, &plan->axes[i]);
    return status;
}

convoy_status search_plan_read(cli_call *call, size_t random, uint64_t seed, search_plan *plan) {
    *plan = (search_plan){.trials = random ? random : 1};
    convoy_status status = read_axes(call, random > 0, plan);
    for (size_t i = 0; i < plan->axis_count && !random && !status; i++)
        plan->trials *= plan->trials > MOST_TRIALS ? 1 : plan->axes[i].count;
    if (!status && plan->trials > MOST_TRIALS)
        status =
            cvy_fail(CONVOY_INVALID, "convoy search: the grid has more than %d trials: --random N tries some",
                     MOST_TRIALS);
    if (status)
        return status;
    plan->settings = cvy_arena_alloc(call->arena, plan->trials * plan->axis_count * sizeof *plan->settings);
    for (size_t t = 0; t < plan->trials; t++) {
        cvy_rng rng = cvy_rng_stream(seed, CVY_RNG_SEARCH, (uint32_t)t);
        size_t place = t; /* the last axis changes fastest */
        for (size_t i = plan->axis_count; i-- > 0;) {
            const search_axis *axis = &plan->axes[i];
            const char *value;
            if (random) {
                value = draw(call->arena, axis, &rng);
            } else {
                value = axis->values[place % axis->count];
                place /= axis->count;
            }
            search_settings(plan, t)[i] = cvy_arena_printf(call->arena, "%s=%s", axis->key, value);
        }
    }
    return CONVOY_OK;
}
