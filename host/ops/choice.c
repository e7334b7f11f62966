/* The store of choices: reading, writing and asking. */
#include "ops/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "convoy.h"
#include "ops/known_bad.h"
#include "ops/variants.h"

#define HEADER "convoy-tuning 2"
enum {
    FIELDS = 9, /* of a line, behind its check: key, verdict, op, pass, shape, variant, seconds, device,
                   reason */
    CHECK = 16, /* digits */
    REASON = 256,
    FILE_LIMIT = 16 << 20,
    RECORDS_LIMIT = 4096, /* beyond it the oldest go */
};

static const char *const verdict_names[] = {"best", "timed", "left", "aside"}; /* of those in the file */

typedef struct record {
    const char *key;
    cvy_choice choice;
} record;

/* Records in the order of the file, their strings in `strings`. */
typedef struct list {
    cvy_arena *strings;
    record *records;
    size_t count, capacity;
} list;

/* What a device keeps: the records under its key. */
typedef struct store {
    convoy_precision precision; /* that the key was made for */
    char key[33];
    list known;
    cvy_choice *listed; /* of cvy_choice_list */
} store;

/* ---- Lists ---- */

static void list_free(list *l) {
    cvy_arena_free(l->strings);
    free(l->records);
    *l = (list){0};
}

/* The strings are copied. */
static void list_add(list *l, const record *r) {
    if (!l->strings)
        l->strings = cvy_arena_create();
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->records = realloc(l->records, l->capacity * sizeof *l->records);
    }
    if (!l->strings || !l->records)
        cvy_abort_memory();
    const cvy_choice *c = &r->choice;
    l->records[l->count++] = (record){.key = cvy_arena_strdup(l->strings, r->key),
                                      .choice = {.verdict = c->verdict,
                                                 .op = cvy_arena_strdup(l->strings, c->op),
                                                 .pass = cvy_arena_strdup(l->strings, c->pass),
                                                 .shape = cvy_arena_strdup(l->strings, c->shape),
                                                 .variant = cvy_arena_strdup(l->strings, c->variant),
                                                 .seconds = c->seconds,
                                                 .reason = cvy_arena_strdup(l->strings, c->reason),
                                                 .device = cvy_arena_strdup(l->strings, c->device)}};
}

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static bool about(const cvy_choice *c, const char *op, const char *pass, const char *shape) {
    return same(c->shape, shape) && same(c->op, op) && same(c->pass, pass);
}

static bool is_aside(const cvy_choice *c) {
    return c->verdict == CVY_ASIDE || c->verdict == CVY_ASIDE_NOW;
}

/* Does `newer` take the place of `older`? A variant has one answer, and another one for being set aside; the
   best variant of a shape ends the comparison that the answers of single variants belong to. */
static bool replaces(const record *newer, const record *older) {
    const cvy_choice *n = &newer->choice, *o = &older->choice;
    if (!same(newer->key, older->key) || !about(o, n->op, n->pass, n->shape) || is_aside(n) != is_aside(o))
        return false;
    return n->verdict == CVY_BEST || (o->verdict != CVY_BEST && same(n->variant, o->variant));
}

static void list_put(list *l, const record *r) {
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (!replaces(r, &l->records[i]))
            l->records[kept++] = l->records[i];
    l->count = kept;
    list_add(l, r);
}

/* ---- File ---- */

static void check_of(const char *line, char digits[33]) {
    cvy_hash *hash = cvy_hash_create();
    cvy_hash_add_text(hash, line);
    cvy_hash_finish(hash, digits);
    digits[CHECK] = '\0';
}

/* Cuts the line up. */
static bool read_record(char *line, record *r) {
    char digits[33], *fields[FIELDS];
    if (strlen(line) <= CHECK || line[CHECK] != '\t')
        return false;
    line[CHECK] = '\0';
    char *rest = line + CHECK + 1;
    check_of(rest, digits);
    if (!same(digits, line))
        return false;
    for (int i = 0; i < FIELDS; i++)
        if (!(fields[i] = strsep(&rest, "\t")))
            return false;
    *r = (record){.key = fields[0],
                  .choice = {.op = fields[2],
                             .pass = fields[3],
                             .shape = fields[4],
                             .variant = fields[5],
                             .device = fields[7],
                             .reason = fields[8]}};
    if (rest || !cvy_text_to_double(fields[6], &r->choice.seconds))
        return false;
    for (int v = CVY_BEST; v <= CVY_ASIDE; v++)
        if (same(fields[1], verdict_names[v])) {
            r->choice.verdict = (cvy_verdict)v;
            return true;
        }
    return false;
}

/* Appends a word without what would end it. */
static void add_field(cvy_text *text, const char *word) {
    const size_t from = text->length + 1;
    cvy_text_add(text, "\t%s", word);
    for (size_t i = from; i < text->length; i++)
        if ((unsigned char)text->data[i] < ' ')
            text->data[i] = ' ';
}

static void write_record(cvy_text *text, const record *r) {
    const cvy_choice *c = &r->choice;
    cvy_text line = {0};
    char digits[33], seconds[32];
    snprintf(seconds, sizeof seconds, "%.0f", 1e9 * c->seconds); /* no decimal point: no locale */
    const char *const words[FIELDS] = {
        r->key,   verdict_names[c->verdict], c->op, c->pass, c->shape, c->variant, seconds, c->device,
        c->reason};
    for (int i = 0; i < FIELDS; i++)
        add_field(&line, words[i]);
    check_of(line.data + 1, digits);
    cvy_text_add(text, "%s%s\n", digits, line.data);
    cvy_text_free(&line);
}

static char *file_path(const char *name) {
    char *folder = cvy_cache_folder();
    char *path = folder ? cvy_path_join(folder, name) : NULL;
    free(folder);
    return path;
}

/* What is wrong is left out, and the next writing drops it from the file. */
static void load(list *out) {
    char *path = file_path("tuning.txt"), *data = NULL;
    size_t size = 0, lost = 0;
    if (!path || !cvy_file_exists(path))
        goto done;
    if (cvy_file_read_own(path, FILE_LIMIT, &data, &size)) {
        cvy_debug("what was measured is not read: %s", convoy_error_message());
        goto done;
    }
    char *rest = data, *line = strsep(&rest, "\n");
    if (!same(line, HEADER)) {
        cvy_debug("%s is not a file of measurements of this version; it is written anew", path);
        goto done;
    }
    while ((line = strsep(&rest, "\n"))) {
        record r;
        if (!*line)
            continue;
        if (read_record(line, &r)) {
            r.choice.seconds *= 1e-9;
            list_add(out, &r);
        } else
            lost++;
    }
    if (lost)
        cvy_debug("%zu lines of %s are damaged and count for nothing", lost, path);
done:
    free(data);
    free(path);
}

/* False: it is not kept. */
static bool save(const list *l) {
    char *path = file_path("tuning.txt");
    cvy_text text = {0};
    bool saved = path;
    cvy_text_add(&text, HEADER "\n");
    for (size_t i = l->count > RECORDS_LIMIT ? l->count - RECORDS_LIMIT : 0; i < l->count; i++)
        write_record(&text, &l->records[i]);
    if (path && cvy_file_write(path, text.data, text.length)) {
        cvy_debug("what was measured is not kept: %s", convoy_error_message());
        saved = false;
    }
    cvy_text_free(&text);
    free(path);
    return saved;
}

/* ---- Stores ---- */

static void find_key(convoy_device *device, char key[33]) {
    const char *ops[CVY_OPS_LIMIT + 1] = {NULL};
    for (size_t i = 0; cvy_ops[i]; i++)
        ops[i] = cvy_ops[i]->name;
    const convoy_device_info *info = convoy_device_get_info(device);
    char kernels[33], units[16], precision[16];
    cvy_kernels_digest(ops, kernels);
    snprintf(units, sizeof units, "%d", info->compute_units);
    snprintf(precision, sizeof precision, "%d", (int)cvy_device_get_traits(device)->precision);
    const char *const parts[] = {info->name, info->platform, info->driver,   info->opencl_version,
                                 units,      precision,      CONVOY_VERSION, kernels};
    cvy_hash *hash = cvy_hash_create();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cvy_hash_add_text(hash, parts[i]);
    cvy_hash_finish(hash, key);
}

static void release(void *data) {
    store *s = data;
    list_free(&s->known);
    free(s->listed);
    free(s);
}

/* What the file has about this device is known, and what holds for this run. In the file no record
   contradicts another one, so that none is compared with all the others here. */
static void take_own(store *s, const list *all) {
    list known = {0};
    for (size_t i = 0; i < all->count; i++)
        if (same(all->records[i].key, s->key))
            list_add(&known, &all->records[i]);
    for (size_t i = 0; i < s->known.count; i++)
        if (s->known.records[i].choice.verdict == CVY_ASIDE_NOW)
            list_add(&known, &s->known.records[i]);
    list_free(&s->known);
    s->known = known;
}

static void read_store(store *s, convoy_device *device) {
    list all = {0};
    list_free(&s->known);
    s->precision = cvy_device_get_traits(device)->precision;
    find_key(device, s->key);
    load(&all);
    take_own(s, &all);
    list_free(&all);
}

/* NULL for the host, which has one variant of everything, and without a device. */
static store *store_of(convoy_device *device) {
    const cvy_device_traits *traits = device ? cvy_device_get_traits(device) : NULL;
    if (!traits || traits->host)
        return NULL;
    store *s = cvy_device_attached(device);
    if (s && s->precision == traits->precision)
        return s;
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            cvy_abort_memory();
        cvy_device_attach(device, s, release);
    }
    read_store(s, device);
    return s;
}

/* ---- Asking ---- */

static bool is_off(void) {
    const char *wish = getenv("CONVOY_TUNE");
    return wish && same(wish, "0");
}

/* `now`: also what holds for this run alone. */
static const char *find_aside(convoy_device *device, const cvy_key *key, const char *variant, bool now) {
    const store *s = store_of(device);
    const char *known = s ? cvy_known_bad_reason(convoy_device_get_info(device), key->op, variant) : NULL;
    if (known)
        return known;
    for (size_t i = 0; s && i < s->known.count; i++) {
        const cvy_choice *c = &s->known.records[i].choice;
        if ((now ? is_aside(c) : c->verdict == CVY_ASIDE) && same(c->variant, variant) &&
            (about(c, key->op, key->pass, key->shape) || about(c, key->op, key->pass, "*")))
            return c->reason;
    }
    return NULL;
}

const char *cvy_choice_aside(convoy_device *device, const cvy_key *key, const char *variant) {
    return find_aside(device, key, variant, true);
}

const char *cvy_choice_aside_for_good(convoy_device *device, const cvy_key *key, const char *variant) {
    return find_aside(device, key, variant, false);
}

const char *cvy_choice_find(convoy_device *device, const cvy_key *key) {
    const store *s = is_off() ? NULL : store_of(device);
    for (size_t i = 0; s && i < s->known.count; i++) {
        const cvy_choice *c = &s->known.records[i].choice;
        if (c->verdict == CVY_BEST && about(c, key->op, key->pass, key->shape))
            return cvy_choice_aside(device, key, c->variant) ? NULL : c->variant;
    }
    return NULL;
}

const cvy_choice *cvy_choice_measured(convoy_device *device, const cvy_key *key, const char *variant) {
    const store *s = store_of(device);
    for (size_t i = 0; s && i < s->known.count; i++) {
        const cvy_choice *c = &s->known.records[i].choice;
        const bool whole = c->verdict == CVY_BEST && !variant;
        const bool single =
            (c->verdict == CVY_TIMED || c->verdict == CVY_LEFT) && variant && same(c->variant, variant);
        if ((whole || single) && about(c, key->op, key->pass, key->shape))
            return c;
    }
    return NULL;
}

const cvy_choice *cvy_choice_list(convoy_device *device, size_t *count) {
    store *s = store_of(device);
    *count = s ? s->known.count : 0;
    if (!*count)
        return NULL;
    free(s->listed);
    s->listed = malloc(*count * sizeof *s->listed);
    if (!s->listed)
        cvy_abort_memory();
    for (size_t i = 0; i < *count; i++)
        s->listed[i] = s->known.records[i].choice;
    return s->listed;
}

/* ---- Changing ---- */

void cvy_choice_keep(convoy_device *device, const cvy_choice *choices, size_t count) {
    store *s = store_of(device);
    list all = {0};
    if (!s || !count)
        return;
    int fd = cvy_cache_lock("tuning.lock");
    load(&all);
    for (size_t i = 0; i < count; i++) {
        record r = {s->key, choices[i]};
        r.choice.device = convoy_device_get_info(device)->name;
        list_put(&all, &r);
        list_put(&s->known, &r);
    }
    const bool saved = save(&all);
    cvy_cache_unlock(fd);
    if (saved)
        take_own(s, &all); /* with what other processes found meanwhile */
    list_free(&all);
}

void cvy_choice_set_aside(convoy_device *device, const cvy_key *key, const cvy_aside *aside) {
    store *s = store_of(device);
    cvy_key where = *key;
    char brief[REASON]; /* a build log may be long */
    if (!s)
        return;
    snprintf(brief, sizeof brief, "%s", aside->reason);
    if (aside->all_shapes)
        snprintf(where.shape, sizeof where.shape, "*");
    const cvy_choice choice = {.verdict = aside->for_good ? CVY_ASIDE : CVY_ASIDE_NOW,
                               .op = where.op,
                               .pass = where.pass,
                               .shape = where.shape,
                               .variant = aside->variant,
                               .reason = brief,
                               .device = convoy_device_get_info(device)->name};
    if (!find_aside(device, &where, aside->variant, !aside->for_good))
        cvy_warning("%s's variant %s is set aside on %s for %s, %s, %s: %s", key->op, aside->variant,
                    choice.device, key->pass, aside->all_shapes ? "all shapes" : key->shape,
                    aside->for_good ? "for good, having failed twice (`convoy tune --forget` tries it again)"
                                    : "for this run, whose digits may differ from those of others",
                    brief);
    if (aside->for_good)
        cvy_choice_keep(device, &choice, 1);
    else
        list_put(&s->known, &(record){s->key, choice});
}

void cvy_choice_forget(convoy_device *device) {
    store *s = store_of(device);
    list all = {0}, others = {0};
    if (!s)
        return;
    int fd = cvy_cache_lock("tuning.lock");
    load(&all);
    for (size_t i = 0; i < all.count; i++)
        if (!same(all.records[i].choice.device, convoy_device_get_info(device)->name))
            list_add(&others, &all.records[i]);
    save(&others);
    cvy_cache_unlock(fd);
    list_free(&all);
    list_free(&others);
    list_free(&s->known);
}
