/* Small helpers of printing. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

bool cli_quiet;
const char *cli_prefix;

void cli_note(const char *format, ...) {
    cvy_text text = {0}, line = {0};
    va_list arguments;
    if (cli_quiet)
        return;
    if (cli_prefix)
        cvy_text_add(&text, "%s", cli_prefix);
    va_start(arguments, format);
    cvy_text_add_list(&text, format, arguments);
    va_end(arguments);
    cvy_text_add_visible(&line, cvy_text_get(&text), true);
    cvy_text_add(&line, "\n");
    fputs(cvy_text_get(&line), stderr);
    cvy_text_free(&text);
    cvy_text_free(&line);
}

json_t *cli_string(const char *text) {
    cvy_text visible = {0};
    json_t *json = json_string(text);
    if (json)
        return json;
    cvy_text_add_visible(&visible, text, true);
    json = json_string(cvy_text_get(&visible));
    cvy_text_free(&visible);
    return json;
}

const char *cli_visible(cvy_arena *arena, const char *text) {
    cvy_text visible = {0};
    cvy_text_add_visible(&visible, text, false);
    const char *kept = cvy_arena_strdup(arena, cvy_text_get(&visible));
    cvy_text_free(&visible);
    return kept;
}

json_t *cli_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cli_numbers(const int *values, size_t count) {
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(values[i]));
    return array;
}

const char *cli_bytes(double bytes, char text[32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

const char *cli_thousands(unsigned long long value, char text[32]) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", value), out = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

/* ---- memory by part ---- */

static json_t *parts_json(const cli_memory *memory, const cvy_memory *parts, size_t measured) {
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "parameters", (json_int_t)parts->parameters, "gradients",
                  (json_int_t)parts->gradients, "optimizer", (json_int_t)parts->optimizer, "activations",
                  (json_int_t)parts->activations, "workspace", (json_int_t)parts->workspace, "total",
                  (json_int_t)cvy_memory_total(parts));
    if (memory->on_device) {
        json_object_set_new(json, "data", json_integer((json_int_t)parts->data));
        json_object_set_new(json, "measured", json_integer((json_int_t)measured));
    }
    return json;
}

json_t *cli_memory_json(const cli_memory *memory) {
    return json_pack("{s:o, s:o}", "training",
                     parts_json(memory, &memory->training, memory->training_measured), "evaluation",
                     parts_json(memory, &memory->evaluation, memory->evaluation_measured));
}

static void print_column(size_t bytes) {
    char text[32];
    printf(" %12s", cli_bytes((double)bytes, text));
}

static void print_parts(const char *title, const cli_memory *memory, const cvy_memory *parts,
                        size_t measured) {
    printf("%-18s", title);
    print_column(parts->parameters);
    print_column(parts->gradients);
    print_column(parts->optimizer);
    print_column(parts->activations);
    print_column(parts->workspace + parts->data);
    print_column(cvy_memory_total(parts));
    if (memory->on_device)
        print_column(measured);
    printf("\n");
}

void cli_print_memory(const cli_memory *memory) {
    printf("%-18s %12s %12s %12s %12s %12s %12s%s\n", "device memory", "parameters", "gradients", "optimizer",
           "activations", "workspace", "total", memory->on_device ? "     measured" : "");
    print_parts("training", memory, &memory->training, memory->training_measured);
    print_parts("evaluation", memory, &memory->evaluation, memory->evaluation_measured);
}
