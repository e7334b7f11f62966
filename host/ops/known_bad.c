/* Reading the list, and asking it. */
#include "ops/known_bad.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "device/embedded.h"

static cvy_known_bad rows[CVY_KNOWN_BAD_LIMIT];
static size_t row_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void copy(const json_t *row, const char *key, char *out, size_t size) {
    const char *text = json_string_value(json_object_get(row, key));
    snprintf(out, size, "%s", text ? text : "");
}

static void read(const char *text) {
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;
    row_count = 0;
    for (size_t i = 0; i < json_array_size(list) && row_count < CVY_KNOWN_BAD_LIMIT; i++) {
        const json_t *row = json_array_get(list, i);
        cvy_known_bad *r = &rows[row_count++];
        copy(row, "platform", r->platform, sizeof r->platform);
        copy(row, "device", r->device, sizeof r->device);
        copy(row, "driver", r->driver, sizeof r->driver);
        copy(row, "op", r->op, sizeof r->op);
        copy(row, "variant", r->variant, sizeof r->variant);
        copy(row, "reason", r->reason, sizeof r->reason);
    }
    json_decref(list);
}

static void read_built_in(void) {
    const cvy_embedded *file = cvy_embedded_files;
    while (file->name && strcmp(file->name, "tests/matrix/known_bad.json") != 0)
        file++;
    read(file->source);
}

void cvy_known_bad_use(const char *json) {
    pthread_once(&once, read_built_in);
    read(json);
}

static bool is_about(const cvy_known_bad *row, const convoy_device_info *d) {
    return cvy_text_contains(d->platform, row->platform) && cvy_text_contains(d->name, row->device) &&
           cvy_text_contains(d->driver, row->driver);
}

size_t cvy_known_bad_of(const convoy_device_info *device, const cvy_known_bad **list) {
    static _Thread_local cvy_known_bad found[CVY_KNOWN_BAD_LIMIT];
    size_t count = 0;
    pthread_once(&once, read_built_in);
    for (size_t i = 0; i < row_count; i++)
        if (is_about(&rows[i], device))
            found[count++] = rows[i];
    *list = found;
    return count;
}

const char *cvy_known_bad_reason(const convoy_device_info *device, const char *op, const char *variant) {
    pthread_once(&once, read_built_in);
    for (size_t i = 0; i < row_count; i++)
        if (strcmp(rows[i].op, op) == 0 && strcmp(rows[i].variant, variant) == 0 &&
            is_about(&rows[i], device))
            return rows[i].reason;
    return NULL;
}
