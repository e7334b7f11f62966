/* convoy selftest: does a device compute what the reference computes? A table for people, a JSON file for
   tests/matrix/. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/status.h"
#include "base/threads.h"
#include "cli/cli.h"
#include "selftest/selftest.h"

typedef struct options {
    cli_common common;
    bool quick, full, submit;
    const char *file, *part;
    double limit;
} options;

static const cvy_param params[] = {
    {"quick", CVY_FLAG, offsetof(options, quick), "", 0, 0, NULL,
     "a few shapes of each kernel: under a minute on a CPU"},
    {"full", CVY_FLAG, offsetof(options, full), "", 0, 0, NULL,
     "also the kernel variants that are made for other kinds of devices"},
    {"part", CVY_TEXT, offsetof(options, part), "", 0, 0, NULL,
     "only the parts whose names begin so, as conv2d or train:lenet"},
    {"json", CVY_TEXT, offsetof(options, file), "", 0, 0, NULL,
     "write the result to this file, without anything about the machine but its devices' names"},
    {"submit", CVY_FLAG, offsetof(options, submit), "", 0, 0, NULL,
     "write that file, and say where to attach it; nothing is sent"},
    {"limit", CVY_FLOAT, offsetof(options, limit), "120", 1, 86400, NULL,
     "seconds for one case, with the time that its kernels take to build"},
    CLI_ROW_DEVICE,
    CLI_ROW_HELP,
    CVY_PARAM_END,
};

/* ---- For people ---- */

static void print_part(void *context, const cvy_selftest_part *part) {
    char error[32] = "", figure[48] = "";
    (void)context;
    if (part->cases == 0)
        return;
    if (part->error > 0)
        snprintf(error, sizeof error, "%.1e", part->error);
    if (part->figure > 0)
        snprintf(figure, sizeof figure, ", %.0f images/s", part->figure);
    printf("%-24s %4d of %-4d %8s %7.1f s  %s%s\n", part->name, part->passed, part->cases, error,
           part->seconds, part->failed ? "FAILED" : "ok", figure);
    const int shown = part->failed < CVY_SELFTEST_FAILURES ? part->failed : CVY_SELFTEST_FAILURES;
    for (int i = 0; i < shown; i++)
        printf("    %s: %s\n", part->failures[i].name, part->failures[i].reason);
    if (part->failed > shown)
        printf("    and %d more\n", part->failed - shown);
    fflush(stdout);
}

/* ---- For files ---- */

/* Without paths, which a build log or a loader's message may hold: the file is for others. */
static json_t *reason_json(const char *reason) {
    cvy_text text = {0};
    for (const char *c = reason; *c;) {
        const bool begins = c == reason || strchr(" \"'(=:", c[-1]);
        const size_t length = strcspn(c, " \"'()=:,;");
        if (*c == '/' && begins && memchr(c + 1, '/', length ? length - 1 : 0)) {
            cvy_text_add(&text, "<path>");
            c += length;
        } else
            cvy_text_add(&text, "%c", *c++);
    }
    json_t *made = cli_string(cvy_text_get(&text));
    cvy_text_free(&text);
    return made;
}

static json_t *part_json(const cvy_selftest_part *part) {
    json_t *failures = json_array();
    for (int i = 0; i < part->failed && i < CVY_SELFTEST_FAILURES; i++)
        json_array_append_new(failures, json_pack("{s:o, s:o}", "case", cli_string(part->failures[i].name),
                                                  "reason", reason_json(part->failures[i].reason)));
    return json_pack("{s:s, s:i, s:i, s:o, s:o}", "name", part->name, "cases", part->cases, "passed",
                     part->passed, "worst_error", cli_number(part->error), "failures", failures);
}

static const char *const level_names[] = {"quick", "normal", "full"};

/* tests/matrix/schema.json says what each key is. */
static json_t *result_json(const convoy_device_info *d, const cvy_selftest_options *o,
                           const cvy_selftest_result *r) {
    json_t *parts = json_array(), *rates = json_object();
    char date[16];
    const time_t now = time(NULL);
    struct tm day;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    for (size_t i = 0; i < r->count; i++) {
        json_array_append_new(parts, part_json(&r->parts[i]));
        if (r->parts[i].figure > 0)
            json_object_set_new(rates, strchr(r->parts[i].name, ':') + 1, cli_number(r->parts[i].figure));
    }
    json_t *device = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:i}", "name", cli_string(d->name), "platform",
                               cli_string(d->platform), "vendor", cli_string(d->vendor), "driver",
                               cli_string(d->driver), "opencl_version", cli_string(d->opencl_version), "type",
                               d->type, "compute_units", d->compute_units);
    return json_pack("{s:i, s:s, s:s, s:o, s:s, s:i, s:i, s:o, s:o, s:o, s:o}", "schema", 1, "convoy",
                     convoy_version(), "date", date, "device", device, "level", level_names[o->level],
                     "cases", r->cases, "passed", r->passed, "worst_error", cli_number(r->error), "seconds",
                     cli_number(r->seconds), "parts", parts, "images_per_second", rates);
}

static convoy_status write_file(const char *path, const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
    cvy_text all = {0};
    if (!text)
        return cvy_fail(CONVOY_DEVICE, "the result could not be put into words");
    cvy_text_add(&all, "%s\n", text);
    const convoy_status status = cvy_file_write(path, all.data, all.length);
    cvy_text_free(&all);
    free(text);
    return status;
}

/* "selftest-<platform>-<device>.json", of letters and digits. */
static const char *name_file(cvy_arena *arena, const convoy_device_info *d) {
    char *name = cvy_arena_printf(arena, "selftest-%s-%s.json", d->platform, d->name);
    for (char *c = name; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.", *c))
            *c = '_';
    return name;
}

static void say_where(const char *path) {
    cli_note("the result is in %s; nothing was sent.\nTo add it to Convoy's table of devices, open an issue "
             "with the form "
             "\"Device result\" (.github/ISSUE_TEMPLATE/device_result.yml) and attach the file.",
             path);
}

/* ---- The command ---- */

static convoy_status check(cli_call *call, const convoy_device_info *device) {
    const options *o = call->options;
    const cvy_selftest_options selftest = {
        .level = o->full    ? CVY_SELFTEST_FULL
                 : o->quick ? CVY_SELFTEST_QUICK
                            : CVY_SELFTEST_NORMAL,
        .only = o->part,
        .limit = o->limit,
        /* On a GPU they would wait for each other; building kernels takes most of the time on a CPU. */
        .jobs = strcmp(device->type, "cpu") == 0 ? cvy_threads_wanted(0) : 1,
        .done = print_part};
    cvy_selftest_result *result = cvy_arena_alloc(call->arena, sizeof *result);
    convoy_status status = cvy_selftest_run(device, &selftest, result);
    if (status)
        return status;
    printf("%d of %d cases passed; the largest error is %.1e; %.0f s\n", result->passed, result->cases,
           result->error, result->seconds);
    const char *path = o->file ? o->file : o->submit ? name_file(call->arena, device) : NULL;
    if (path) {
        json_t *value = result_json(device, &selftest, result);
        status = write_file(path, value);
        json_decref(value);
    }
    if (!status && o->submit)
        say_where(path);
    if (!status && result->passed < result->cases)
        status = cvy_fail(CONVOY_FAILED, "%d of %d cases failed on %s", result->cases - result->passed,
                          result->cases, device->name);
    return status;
}

static convoy_status run(cli_call *call) {
    const options *o = call->options;
    convoy_device *device = NULL;
    if (o->quick && o->full)
        return cvy_fail(CONVOY_INVALID, "convoy selftest: --quick and --full exclude each other");
    convoy_status status = cli_check_output(call, "--json", o->file);
    if (!status)
        status = cli_open_device(call, &device);
    if (status)
        return status;
    const convoy_device_info info = *convoy_device_get_info(device);
    convoy_device_close(device); /* whatever happens from now on happens in children */
    return check(call, &info);
}

const cli_command cli_selftest = {
    "selftest",
    "",
    "Check a device: every kernel against its reference, training against PyTorch's losses.\n"
    "Then the same bits twice, and how fast it trains. The exit code is 1 where anything is wrong, 3 where "
    "the device cannot be used.",
    0,
    0,
    params,
    sizeof(options),
    false,
    run};
