/* The table of commands, and what every one of them has in common: help, errors, exit codes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/ranks.h"
#include "device/drivers.h"

const cli_command *const cli_commands[] = {&cli_devices,  &cli_summary, &cli_train, &cli_search,
                                           &cli_eval,     &cli_predict, &cli_show,  &cli_report_command,
                                           &cli_explain,  &cli_convert, &cli_bench, &cli_tune,
                                           &cli_selftest, &cli_diff,    NULL};

static const char exit_codes[] =
    "Exit codes: 0 done; 1 the run failed (NaN loss, a file could not be written); 2 bad usage, model, data "
    "or\n"
    "weights; 3 device not available or failed; 4 out of memory; 130 interrupted.\n";

static void print_usage(FILE *out) {
    fprintf(out, "convoy trains and evaluates convolutional image classifiers on any OpenCL device or the "
                 "host CPU.\n\n"
                 "Usage: convoy COMMAND [options]\n\nCommands:\n");
    for (const cli_command *const *command = cli_commands; *command; command++) {
        char call[64];
        snprintf(call, sizeof call, "%s %s", (*command)->name, (*command)->operands);
        fprintf(out, "  %-24s %.*s\n", call, (int)strcspn((*command)->summary, "\n"), (*command)->summary);
    }
    fprintf(out,
            "\n`convoy COMMAND --help` lists a command's options. `convoy --version` prints the version.\n"
            "First steps: `convoy devices`, then `convoy train models/lenet.yaml`.\n\n"
            "Environment: CONVOY_DEVICE is --device's default; CONVOY_TUNE=0 leaves the choice of kernel "
            "variants\n"
            "to heuristics and measures nothing; CONVOY_CACHE_DIR is where built kernels and measurements "
            "are kept.\n\n%s",
            exit_codes);
}

static const cli_command *find_command(const char *name) {
    for (const cli_command *const *command = cli_commands; *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}

static convoy_status fail_unknown_command(const char *name) {
    const char *names[32];
    size_t count = 0;
    for (const cli_command *const *command = cli_commands; *command && count < 32; command++)
        names[count++] = (*command)->name;
    const char *nearest = cvy_text_nearest(name, names, count);
    if (nearest)
        return cvy_fail(CONVOY_INVALID, "unknown command `%s`; did you mean `%s`?", name, nearest);
    return cvy_fail(CONVOY_INVALID, "unknown command `%s`; `convoy --help` lists them all", name);
}

/* The command may not have come as far as reading its options. --json with a file's name asks for no output.
 */
static bool wants_json(int argc, char **argv) {
    const cli_command *command = argc > 1 ? find_command(argv[1]) : NULL;
    for (const cvy_param *row = command ? command->params : NULL; row && row->name; row++)
        if (strcmp(row->name, "json") == 0 && row->type != CVY_FLAG)
            return false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static convoy_status print_json(const json_t *value) {
    cvy_text visible = {0};
    char *json = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    if (!json)
        return cvy_fail_memory("the result as JSON", 0);
    cvy_text_add_visible_json(&visible, json);
    const bool written = fputs(cvy_text_get(&visible), stdout) != EOF && fputc('\n', stdout) != EOF;
    convoy_status status =
        written ? CONVOY_OK
                : cvy_fail(CONVOY_IO, "the result could not be written to stdout: %s", strerror(errno));
    cvy_text_free(&visible);
    free(json);
    return status;
}

static convoy_status flush_results(void) {
    if (fflush(stdout) != 0 || ferror(stdout))
        return cvy_fail(CONVOY_IO, "the result could not be written to stdout: %s", strerror(errno));
    return CONVOY_OK;
}

static void report_failure(convoy_status status, bool json) {
    if (!cli_ranks_speaks())
        return;
    cli_quiet = false;
    cli_note("%s%s: %s", cli_ranks_prefix(), status == CONVOY_INTERRUPTED ? "convoy" : "error",
             convoy_error_message());
    if (!json)
        return;
    json_t *error =
        json_pack("{s:{s:s, s:i, s:o}}", "error", "status", convoy_status_name(status), "exit_code",
                  convoy_status_exit_code(status), "message", cli_string(convoy_error_message()));
    print_json(error);
    json_decref(error);
    fflush(stdout);
}

static bool json_wanted;

/* Memory for something small was refused. There is none for words either; no destructor needs to run. */
static void end_without_memory(void) {
    static const char message[] = "error: out of host memory; use a smaller batch or free memory\n",
                      json[] = "{\"error\": {\"status\": \"MEMORY\", \"exit_code\": 4, "
                               "\"message\": \"out of host memory\"}}\n";
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0 ||
        (json_wanted && write(STDOUT_FILENO, json, sizeof json - 1) < 0))
        _exit(convoy_status_exit_code(CONVOY_MEMORY)); /* nobody is listening */
    _exit(convoy_status_exit_code(CONVOY_MEMORY));
}

/* `answered`: stdout has its JSON object, even of a command that failed in part. */
static convoy_status run_command(int argc, char **argv, cvy_arena *arena, bool *answered) {
    cli_call call = {.arena = arena, .argc = argc, .argv = argv, .command = find_command(argv[1])};
    if (!call.command)
        return fail_unknown_command(argv[1]);
    convoy_status status = cli_parse(&call, argc - 2, argv + 2);
    if (!status && cli_common_of(&call)->help) {
        cli_print_help(call.command, stdout);
        return flush_results();
    }
    if (!status)
        status = call.command->run(&call);
    convoy_status printed = call.result ? print_json(call.result) : CONVOY_OK;
    *answered = call.result && !printed;
    json_decref(call.result);
    if (!printed)
        printed = flush_results();
    return status ? status : printed;
}

int main(int argc, char **argv) {
    const char *first = argc > 1 ? argv[1] : NULL;
    if (!first) {
        print_usage(stderr);
        return convoy_status_exit_code(CONVOY_INVALID);
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
        print_usage(stdout);
        return convoy_status_exit_code(flush_results());
    }
    if (strcmp(first, "--version") == 0) {
        printf("convoy %s\n", convoy_version());
        return convoy_status_exit_code(flush_results());
    }
    convoy_log_set_sink(cli_progress_log, NULL);
    cvy_drivers_own_process();
    cvy_set_memory_handler(end_without_memory);
    signal(SIGXFSZ,
           SIG_IGN); /* a file that may not grow (ulimit -f) is an error of the writing, as a full disk */
    cvy_arena *arena = cvy_arena_create();
    if (!arena)
        cvy_abort_memory();
    bool answered = false;
    json_wanted = wants_json(argc, argv);
    convoy_status status = run_command(argc, argv, arena, &answered);
    if (status)
        report_failure(status, json_wanted && !answered);
    cli_ranks_end(convoy_status_exit_code(status));
    cvy_arena_free(arena);
    return convoy_status_exit_code(status);
}
