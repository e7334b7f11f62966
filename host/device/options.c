/* Build options by name: their text, and whether a kernel file knows them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/opencl.h"

enum { TEXT_SIZE = 2048 };

convoy_status cvy_kernel_build(convoy_device *device, const char *file, const char *function,
                               const cvy_option *options, size_t count, cvy_kernel **kernel) {
    char text[TEXT_SIZE] = "";
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const int length = snprintf(text + used, sizeof text - used, "%s-D%s=%lld", i ? " " : "",
                                    options[i].name, options[i].value);
        used += (size_t)length;
        if (used >= sizeof text)
            return cvy_fail(CONVOY_INVALID, "kernel %s of %s.cl: its %zu options are too long", function,
                            file, count);
    }
    return cvy_kernel_get(device, file, function, text, kernel);
}

convoy_status cvy_kernels_build(convoy_device *device, const char *file, const cvy_option *options,
                                size_t count, const cvy_kernel_wanted *wanted) {
    convoy_status status = CONVOY_OK;
    for (; wanted->function && !status; wanted++)
        status = cvy_kernel_build(device, file, wanted->function, options, count, wanted->kernel);
    return status;
}

/* ---- The check ---- */

/* A copy with a space for every comment; kernels have no strings. NULL: no memory. */
static char *without_comments(const char *source) {
    char *code = malloc(strlen(source) + 1), *out = code;
    for (const char *c = source; code && *c;) {
        const char *end = c;
        if (strncmp(c, "/*", 2) == 0)
            end = (end = strstr(c + 2, "*/")) ? end + 2 : c + strlen(c);
        else if (strncmp(c, "//", 2) == 0)
            end = c + strcspn(c, "\n");
        *out++ = end == c ? *c : ' ';
        c = end == c ? c + 1 : end;
    }
    if (code)
        *out = '\0';
    return code;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static bool mentions(const char *code, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = code; (at = strstr(at, name)); at += length)
        if ((at == code || !is_word(at[-1])) && !is_word(at[length]))
            return true;
    return false;
}

convoy_status cvy_options_check(const char *file, const char *source, const char *options) {
    convoy_status status = CONVOY_OK;
    char *code = without_comments(source), *list = strdup(options), *rest = list, *word;
    if (!code || !list)
        status = cvy_fail_memory("a kernel's source", strlen(source));
    while (!status && (word = strsep(&rest, " "))) {
        if (strncmp(word, "-D", 2) != 0)
            continue;
        word[strcspn(word, "=")] = '\0';
        if (!mentions(code, word + 2))
            status =
                cvy_fail(CONVOY_DEVICE, "%s.cl knows no option %s; it was given %s", file, word + 2, options);
    }
    free(list);
    free(code);
    return status;
}
