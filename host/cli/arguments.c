/* Command lines: `--name value`, `--name=value`, `-d value`, operands anywhere, `--` before operands that
   begin with a dash. The rows of a command's table say the rest. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/cli.h"
#include "model/model.h"

enum { NAMES_LIMIT = 64 };

static const cvy_param *find_row(const cli_command *command, const char *name) {
    for (const cvy_param *row = command->params; row->name; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    return NULL;
}

static convoy_status fail_unknown(const cli_command *command, const char *given, const char *name) {
    const char *names[NAMES_LIMIT];
    size_t count = 0;
    for (const cvy_param *row = command->params; row->name && count < NAMES_LIMIT; row++)
        names[count++] = row->name;
    const char *nearest = cvy_text_nearest(name, names, count);
    if (nearest)
        return cvy_fail(CONVOY_INVALID, "convoy %s: unknown option %s; did you mean --%s?", command->name,
                        given, nearest);
    return cvy_fail(CONVOY_INVALID, "convoy %s: unknown option %s; `convoy %s --help` lists them all",
                    command->name, given, command->name);
}

bool cli_given(const cli_call *call, const char *name) {
    return call->given >> (find_row(call->command, name) - call->command->params) & 1;
}

void cli_add_setting(cli_call *call, const char *key, const char *value) {
    call->settings[call->setting_count++] = cvy_arena_printf(call->arena, "%s=%s", key, value);
}

static convoy_status set_option(cli_call *call, const cvy_param *row, const char *value) {
    const char *place = cvy_arena_printf(call->arena, "convoy %s", call->command->name);
    const char *what = cvy_arena_printf(call->arena, "--%s", row->name);
    convoy_status status = cvy_params_set(call->command->params, call->options, call->arena, what,
                                          cvy_node_scalar(call->arena, place, row->name),
                                          cvy_node_scalar(call->arena, place, value));
    if (status)
        return status;
    call->given |= UINT64_C(1) << (row - call->command->params);
    if (strcmp(row->name, "set") == 0) {
        if (!strchr(value, '='))
            return cvy_fail(CONVOY_INVALID, "convoy %s: --set takes key=value, found `%s`",
                            call->command->name, value);
        call->settings[call->setting_count++] = value;
    }
    if (strcmp(row->name, "fast-decode") == 0)
        cli_add_setting(call, "fast_decode", "true");
    if (strcmp(row->name, "skip-damaged") == 0)
        cli_add_setting(call, "skip_damaged", "true");
    if (strcmp(row->name, "grid") == 0 || strcmp(row->name, "range") == 0)
        call->axes[call->axis_count++] = cvy_arena_printf(call->arena, "%s %s", row->name, value);
    if (strcmp(row->name, "device") == 0)
        call->devices[call->device_count++] = value;
    if (strcmp(row->name, "variant") == 0)
        call->variants =
            call->variants ? cvy_arena_printf(call->arena, "%s,%s", call->variants, value) : value;
    return CONVOY_OK;
}

/* "--batch_size=3" -> its row and where the value begins (NULL: in the next argument). */
static convoy_status read_name(cli_call *call, const char *argument, const cvy_param **row,
                               const char **value) {
    static const char *const short_names[] = {"ddevice", "hhelp", "oout"};
    const char *name = argument + 1;
    *value = NULL;
    if (argument[1] == '-') {
        size_t length = strcspn(argument + 2, "=");
        char *copy = cvy_arena_strndup(call->arena, argument + 2, length);
        for (char *c = copy; *c; c++)
            if (*c == '_')
                *c = '-';
        *value = argument[2 + length] ? argument + 2 + length + 1 : NULL;
        name = copy;
    } else {
        for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
            if (argument[1] == short_names[i][0] && !argument[2])
                name = short_names[i] + 1;
    }
    *row = find_row(call->command, name);
    return *row ? CONVOY_OK : fail_unknown(call->command, argument, name);
}

static convoy_status read_option(cli_call *call, int count, char **arguments, int *i) {
    const cvy_param *row;
    const char *value;
    const char *given = arguments[*i];
    convoy_status status = read_name(call, given, &row, &value);
    if (status)
        return status;
    if (row->type == CVY_FLAG) {
        if (value)
            return cvy_fail(CONVOY_INVALID, "convoy %s: --%s takes no value, found `%s`", call->command->name,
                            row->name, value);
        return set_option(call, row, "true");
    }
    if (!value) {
        /* What looks like the next option is none: --json=--quick would be a file called so. */
        const char *next = *i + 1 < count ? arguments[*i + 1] : "--";
        if (strcmp(next, "--") == 0 || (strncmp(next, "--", 2) == 0 && find_row(call->command, next + 2)))
            return cvy_fail(CONVOY_INVALID, "convoy %s: %s needs a value (%s)", call->command->name, given,
                            row->help);
        value = arguments[++*i];
    }
    if (!*value)
        return cvy_fail(CONVOY_INVALID, "convoy %s: the value of %s is empty (%s)", call->command->name,
                        given, row->help);
    return set_option(call, row, value);
}

static convoy_status check_operands(const cli_call *call) {
    const cli_command *command = call->command;
    size_t count = call->operand_count;
    if (count < (size_t)command->operands_min)
        return cvy_fail(CONVOY_INVALID, "convoy %s: missing argument: convoy %s %s [options]", command->name,
                        command->name, command->operands);
    if (command->operands_max >= 0 && count > (size_t)command->operands_max)
        return cvy_fail(CONVOY_INVALID, "convoy %s: unexpected argument `%s`: convoy %s %s [options]",
                        command->name, call->operands[command->operands_max], command->name,
                        command->operands);
    return CONVOY_OK;
}

convoy_status cli_parse(cli_call *call, int count, char **arguments) {
    enum { SETTINGS_OF_OPTIONS = 16 };
    size_t room = (size_t)count + SETTINGS_OF_OPTIONS;
    call->options = cvy_arena_alloc(call->arena, call->command->options_size);
    call->operands = cvy_arena_alloc(call->arena, room * sizeof *call->operands);
    call->settings = cvy_arena_alloc(call->arena, room * sizeof *call->settings);
    call->axes = cvy_arena_alloc(call->arena, room * sizeof *call->axes);
    call->devices = cvy_arena_alloc(call->arena, room * sizeof *call->devices);
    convoy_status status = cvy_params_defaults(call->command->params, call->options, call->arena);
    bool only_operands = false;
    for (int i = 0; i < count && !status; i++)
        if (!only_operands && strcmp(arguments[i], "--") == 0)
            only_operands = true;
        else if (!only_operands && arguments[i][0] == '-' && arguments[i][1])
            status = read_option(call, count, arguments, &i);
        else
            call->operands[call->operand_count++] = arguments[i];
    if (!status && !cli_common_of(call)->help)
        status = check_operands(call);
    return status;
}

void cli_print_help(const cli_command *command, FILE *out) {
    cvy_text text = {0};
    cvy_text_add(&text, "convoy %s %s%s[options]\n\n%s\n\nOptions (name, type, default):\n", command->name,
                 command->operands, *command->operands ? " " : "", command->summary);
    cvy_params_help(command->params, "--", &text);
    if (command->recipe) {
        cvy_text_add(&text,
                     "\nKeys of the recipe, for --set key=value; the optimizer's own too, as --set lr=0.1 or "
                     "--set momentum=0.9:\n");
        cvy_params_help(cvy_recipe_params, "", &text);
        for (const cvy_optimizer_type *type = cvy_optimizer_types; type->name; type++) {
            cvy_text_add(&text, "\nParameters of the optimizer %s:\n", type->name);
            cvy_params_help(type->params, "", &text);
        }
        for (const cvy_schedule_type *type = cvy_schedule_types; type->name; type++) {
            cvy_text_add(&text, "\nArguments of the scheduler %s:\n", type->name);
            cvy_params_help(type->params, "", &text);
        }
    }
    fputs(cvy_text_get(&text), out);
    cvy_text_free(&text);
}
