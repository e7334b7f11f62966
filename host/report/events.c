/* Writing event files. */
#include "report/events.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

uint32_t cvy_crc32c(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0 - (crc & 1)));
    }
    return ~crc;
}

/* ---- protocol buffers ---- */

enum { MOST_BYTES = 2048 };

/* A message, or a part of one. None is longer than a few numbers and the name of a column. */
typedef struct message {
    unsigned char bytes[MOST_BYTES];
    size_t size;
} message;

static void add_bytes(message *m, const void *bytes, size_t size) {
    if (size > MOST_BYTES - m->size)
        size = MOST_BYTES - m->size;
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void add_varint(message *m, uint64_t value) {
    unsigned char byte;
    do {
        byte = (unsigned char)((value & 127) | (value > 127 ? 128 : 0));
        add_bytes(m, &byte, 1);
    } while (value >>= 7);
}

static void add_little_endian(message *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        const unsigned char byte = (unsigned char)(value >> 8 * i);
        add_bytes(m, &byte, 1);
    }
}

/* How a field is written, by its number and its type. */
enum { VARINT = 0, BITS64 = 1, BYTES = 2, BITS32 = 5 };

static void add_key(message *m, unsigned field, unsigned type) {
    add_varint(m, field << 3 | type);
}

static void add_double(message *m, unsigned field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_key(m, field, BITS64);
    add_little_endian(m, bits, 8);
}

static void add_float(message *m, unsigned field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_key(m, field, BITS32);
    add_little_endian(m, bits, 4);
}

static void add_integer(message *m, unsigned field, uint64_t value) {
    add_key(m, field, VARINT);
    add_varint(m, value);
}

static void add_part(message *m, unsigned field, const void *bytes, size_t size) {
    add_key(m, field, BYTES);
    add_varint(m, size);
    add_bytes(m, bytes, size);
}

/* ---- messages: their fields' numbers are event.proto's and summary.proto's ---- */

static message event_at(double time, uint64_t step) {
    message event = {.size = 0};
    add_double(&event, 1, time);
    if (step)
        add_integer(&event, 2, step);
    return event;
}

static message version_event(double time) {
    static const char version[] = "brain.Event:2";
    message event = event_at(time, 0);
    add_part(&event, 3, version, sizeof version - 1);
    return event;
}

/* The run goes on at `step`: its reader drops what it has from there on. */
static message start_event(double time, uint64_t step) {
    message session = {.size = 0}, event = event_at(time, step);
    add_integer(&session, 1, 1);
    add_part(&event, 7, session.bytes, session.size);
    return event;
}

static message scalar_event(double time, uint64_t step, const char *tag, double number) {
    message value = {.size = 0}, summary = {.size = 0}, event = event_at(time, step);
    add_part(&value, 1, tag, strlen(tag));
    add_float(&value, 2, (float)number);
    add_part(&summary, 1, value.bytes, value.size);
    add_part(&event, 5, summary.bytes, summary.size);
    return event;
}

/* ---- records ---- */

static uint32_t masked(uint32_t crc) {
    return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

static convoy_status add_record(const char *path, const message *event) {
    message record = {.size = 0};
    add_little_endian(&record, event->size, 8);
    add_little_endian(&record, masked(cvy_crc32c(record.bytes, 8)), 4);
    add_bytes(&record, event->bytes, event->size);
    add_little_endian(&record, masked(cvy_crc32c(event->bytes, event->size)), 4);
    return cvy_file_append(path, record.bytes, record.size);
}

convoy_status cvy_events_create(const char *folder, uint64_t step, double now, char **path) {
    cvy_text name = {0};
    cvy_text_add(&name, "events.out.tfevents.%010.0f.convoy.%ld", now, (long)getpid());
    *path = cvy_path_join(folder, cvy_text_get(&name));
    cvy_text_free(&name);
    const message version = version_event(now), start = start_event(now, step + 1);
    convoy_status status = add_record(*path, &version);
    return status || !step ? status : add_record(*path, &start);
}

/* "train_loss" is loss/train: TensorBoard puts what has the same first part side by side. */
static void name_tag(const char *column, char tag[64]) {
    const char *last = strrchr(column, '_');
    const bool split = strncmp(column, "train_", 6) == 0 || strncmp(column, "val_", 4) == 0 ||
                       strncmp(column, "test_", 5) == 0;
    if (split)
        snprintf(tag, 64, "%s/%.*s", last + 1, (int)(last - column), column);
    else
        snprintf(tag, 64, "%s", column);
}

convoy_status cvy_events_add(const char *path, const cvy_history *history, size_t first, double start) {
    const double *step = history->values + history->rows, *seconds = cvy_history_column(history, "seconds");
    convoy_status status = CONVOY_OK;
    for (size_t r = first; r < history->rows; r++)
        for (size_t c = 2; c < history->columns && !status; c++) {
            const double value = history->values[c * history->rows + r];
            char tag[64];
            if (isnan(value) || strcmp(history->names[c], "seconds") == 0)
                continue;
            name_tag(history->names[c], tag);
            const message event =
                scalar_event(start + (seconds ? seconds[r] : 0), (uint64_t)step[r], tag, value);
            status = add_record(path, &event);
        }
    return status;
}
