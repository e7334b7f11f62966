/* Small helpers of printing. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

void cli_note(const char *format, ...) {
    cvy_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add_list(&text, format, arguments);
    va_end(arguments);
    cvy_text_add(&text, "\n");
    fputs(cvy_text_get(&text), stderr);
    cvy_text_free(&text);
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
