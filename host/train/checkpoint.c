/* Checkpoints: gathering a run's state from the device into a file, and checking and restoring it. */
#include "train/checkpoint.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

static const char format_name[] = "convoy-checkpoint-2";
static const char older_format[] = "convoy-checkpoint-1"; /* of 0.1: without class names and digest */

/* ---- the identity of a run ---- */

static bool may_differ(const char *line, size_t length) {
    (void)length;
    static const char *const keys[] = {
        "epochs:",     "data:",           "batch_size:", "micro_batch:", "reports_per_epoch:",
        "eval_every:", "early_stopping:", "pieces:",     "test_split:"};
    line += strspn(line, " ");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strncmp(line, keys[i], strlen(keys[i])) == 0)
            return true;
    return false;
}

/* "  key: value" of the recipe with that key's default? */
static bool is_default(const char *line, size_t length) {
    const char *key = line + 2, *colon = memchr(line, ':', length);
    if (length < 4 || strncmp(line, "  ", 2) != 0 || !colon || strncmp(colon, ": ", 2) != 0)
        return false;
    for (const cvy_param *row = cvy_recipe_params; row->name; row++) {
        const size_t left = length - (size_t)(colon + 2 - line);
        if (strlen(row->name) != (size_t)(colon - key) || strncmp(row->name, key, strlen(row->name)) != 0)
            continue;
        const char *fallback = row->fallback && *row->fallback ? row->fallback : "\"\"";
        return strlen(fallback) == left && strncmp(colon + 2, fallback, left) == 0;
    }
    return false;
}

/* Leaves out the recipe's lines for which `left_out` holds; in place. */
static void leave_out(char *text, bool (*left_out)(const char *line, size_t length)) {
    char *out = text;
    bool recipe = false;
    for (char *line = text, *next; *line; line = next) {
        const size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        if (recipe && left_out(line, length))
            continue;
        recipe = recipe || (length == strlen("recipe:") && strncmp(line, "recipe:", length) == 0);
        memmove(out, line, (size_t)(next - line));
        out += next - line;
    }
    *out = '\0';
}

char *cvy_identity_model(const convoy_model *model) {
    char *text = cvy_model_print(model);
    leave_out(text, may_differ);
    return text;
}

/* ---- what the file holds ---- */

static const char model_prefix[] = "model";

/* The tensors of a checkpoint as they lie in host memory. */
typedef struct content {
    cvy_named_tensor *tensors;
    size_t count;
    cvy_arena *names;
    float *state; /* [group][states][count], as on the device */
    float *average;
} content;

static void content_free(content *content) {
    cvy_arena_free(content->names);
    free(content->tensors);
    free(content->state);
    free(content->average);
}

/* Adds a copy of `tensor` named "<prefix>.<its name>" with other data. */
static void add_tensor(content *content, const char *prefix, const cvy_named_tensor *tensor, void *data) {
    cvy_named_tensor *added = &content->tensors[content->count++];
    *added = *tensor;
    added->name = cvy_arena_printf(content->names, "%s.%s", prefix, tensor->name);
    if (tensor->older)
        added->older = cvy_arena_printf(content->names, "%s.%s", prefix, tensor->older);
    added->data = data;
}

static convoy_status add_model(content *content, const convoy_model *model) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0;
    convoy_status status = cvy_model_state(model, &tensors, &count);
    if (status)
        return status;
    content->tensors = calloc(count * (2 + CVY_OPTIMIZER_STATES) + 1, sizeof *content->tensors);
    if (!content->tensors)
        status = cvy_fail_memory("the list of a checkpoint's tensors", count * sizeof *tensors);
    for (size_t i = 0; i < count && !status; i++)
        add_tensor(content, model_prefix, &tensors[i], tensors[i].data);
    free(tensors);
    return status;
}

/* Lists every tensor that a checkpoint of this run has; `data` points at the model's values and into
   content->state, which is zeroed. */
static convoy_status content_create(convoy_network *network, const cvy_kept *kept, content *content) {
    convoy_model *model = cvy_network_model(network);
    size_t parameters = cvy_network_parameter_count(network);
    int states = cvy_optimizer_states(kept->optimizer);
    content->names = cvy_arena_create();
    content->state = calloc(parameters * (size_t)states + 1, sizeof(float));
    content->average = calloc(kept->average ? parameters : 1, sizeof(float));
    if (!content->names || !content->state || !content->average)
        return cvy_fail_memory("a checkpoint", parameters * (size_t)states * sizeof(float));
    convoy_status status = add_model(content, model);
    for (size_t i = 0, at = 0; i < convoy_model_tensor_count(model) && !status; i++) {
        const float *values = convoy_model_tensor(model, i)->values;
        size_t offset = cvy_network_parameter_offset(network, i);
        while (content->tensors[at].data != values) /* counters stand between them */
            at++;
        cvy_named_tensor named = content->tensors[at];
        named.name += sizeof model_prefix;
        if (named.older)
            named.older += sizeof model_prefix;
        for (int s = 0; s < states && offset != SIZE_MAX; s++)
            add_tensor(content, kept->optimizer->type->states[s], &named,
                       content->state + cvy_network_state_offset(network, i, states, s));
        if (kept->average && offset != SIZE_MAX)
            add_tensor(content, "ema", &named, content->average + offset);
    }
    return status;
}

/* ---- saving ---- */

static convoy_status check_finite(const cvy_named_tensor *tensor, unsigned long long step) {
    const float *values = tensor->data;
    for (size_t i = 0; strcmp(tensor->dtype, "F32") == 0 && i < tensor->bytes / sizeof(float); i++)
        if (!isfinite(values[i]))
            return cvy_fail(
                CONVOY_FAILED,
                "after step %llu, %s holds %s: training has diverged. Lower the learning rate or start from "
                "other weights",
                step, tensor->name, isnan(values[i]) ? "nan" : "infinity");
    return CONVOY_OK;
}

convoy_status cvy_checkpoint_fetch(convoy_network *network, unsigned long long step) {
    cvy_named_tensor *tensors = NULL;
    size_t count = 0;
    convoy_status status = cvy_network_download(network);
    if (!status)
        status = cvy_model_state(cvy_network_model(network), &tensors, &count);
    for (size_t i = 0; i < count && !status; i++)
        status = check_finite(&tensors[i], step);
    free(tensors);
    return status;
}

/* The scalars as pairs of strings. */
typedef struct metadata {
    const char *pairs[96];
    int count;
    cvy_arena *arena;
} metadata;

static void put(metadata *m, const char *key, const char *text) {
    m->pairs[m->count++] = key;
    m->pairs[m->count++] = text;
}

static void put_whole(metadata *m, const char *key, unsigned long long value) {
    put(m, key, cvy_arena_printf(m->arena, "%llu", value));
}

/* "%a" and strtod use the radix character of the locale, the file always '.'. */
static char radix(void) {
    return *localeconv()->decimal_point;
}

static void put_real(metadata *m, const char *key, double value) {
    char text[64];
    snprintf(text, sizeof text, "%a", value);
    char *point = strchr(text, radix());
    if (point)
        *point = '.';
    put(m, key, cvy_arena_strdup(m->arena, text));
}

static void describe(metadata *m, const cvy_identity *identity, const cvy_position *position,
                     const char *classes) {
    put(m, "format", format_name);
    put(m, "class_names", classes);
    put(m, "model", identity->model);
    put_whole(m, "seed", identity->seed);
    put_whole(m, "batch_size", (unsigned long long)identity->batch_size);
    put_whole(m, "micro_batch", (unsigned long long)identity->micro_batch);
    put_whole(m, "pieces", identity->pieces);
    put_whole(m, "train_images", identity->train_images);
    put(m, "shuffle", identity->shuffle ? "true" : "false");
    put_whole(m, "epoch", (unsigned long long)position->epoch);
    put_whole(m, "step", position->step);
    put_whole(m, "images", position->images);
    put(m, "unfinished_step", position->unfinished_step ? "true" : "false");
    put_real(m, "loss_sum", position->loss_sum);
    put_whole(m, "correct", position->correct);
    put_real(m, "batch_loss", position->batch_loss);
    put_real(m, "test_loss", position->test_loss);
    put_real(m, "test_accuracy", position->test_accuracy);
    put_real(m, "epoch_train_loss", position->epoch_train_loss);
    put_real(m, "epoch_train_accuracy", position->epoch_train_accuracy);
    put_real(m, "best_accuracy", position->best_accuracy);
    put_whole(m, "best_epoch", (unsigned long long)position->best_epoch);
    put_real(m, "seconds", position->seconds);
    put_whole(m, "length", identity->length);
    put_real(m, "val_loss", position->val_loss);
    put_real(m, "val_accuracy", position->val_accuracy);
    put_real(m, "best", position->best);
    put(m, "plateau_begun", position->plateau.begun ? "true" : "false");
    put_real(m, "plateau_best", position->plateau.best);
    put_whole(m, "plateau_bad_epochs", position->plateau.bad_epochs);
    put_whole(m, "plateau_cooldown", position->plateau.cooldown);
    put_whole(m, "plateau_reductions", position->plateau.reductions);
    put_real(m, "stop_best", position->stop_best);
    put_whole(m, "waiting", position->waiting);
    put(m, "stopped", position->stopped ? "true" : "false");
}

/* All that the device has beside the parameters. */
static convoy_status move_kept(convoy_network *network, const cvy_kept *kept, content *content, bool write) {
    const size_t parameters = cvy_network_parameter_count(network) * sizeof(float);
    const struct {
        cvy_buffer *buffer;
        float *values;
        size_t bytes;
    } parts[] = {{kept->state, content->state, parameters * (size_t)cvy_optimizer_states(kept->optimizer)},
                 {kept->average, content->average, parameters}};
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++)
        if (parts[i].buffer && parts[i].bytes)
            status = write ? cvy_buffer_write(parts[i].buffer, 0, parts[i].values, parts[i].bytes)
                           : cvy_buffer_read(parts[i].buffer, 0, parts[i].values, parts[i].bytes);
    return status;
}

convoy_status cvy_checkpoint_save(const char *path, convoy_network *network, const cvy_kept *kept,
                                  const cvy_identity *identity, const cvy_position *position) {
    content content = {0};
    metadata metadata = {0};
    const cvy_classes classes = cvy_model_classes(cvy_network_model(network));
    char *names = cvy_classes_print(&classes);
    convoy_status status = names ? content_create(network, kept, &content)
                                 : cvy_fail_memory("a checkpoint", (unsigned long long)classes.count);
    if (status)
        goto done;
    status = move_kept(network, kept, &content, false);
    for (size_t i = 0; i < content.count && !status; i++)
        status = check_finite(&content.tensors[i], position->step);
    if (status)
        goto done;
    metadata.arena = content.names;
    describe(&metadata, identity, position, names);
    char digest[33];
    status = cvy_tensors_digest(content.tensors, content.count, metadata.pairs, digest);
    put(&metadata, "digest", digest);
    if (!status)
        status = cvy_tensor_file_save(path, content.tensors, content.count, metadata.pairs);
done:
    free(names);
    content_free(&content);
    return status;
}

/* ---- loading ---- */

/* Reads scalars one after the other; the first that is missing or no number is remembered. */
typedef struct reader {
    const cvy_tensor_file *file;
    const char *bad;
} reader;

static const char *get(reader *r, const char *key) {
    const char *text = cvy_tensor_file_metadata(r->file, key);
    if (!text && !r->bad)
        r->bad = key;
    return text ? text : "";
}

static unsigned long long get_whole(reader *r, const char *key, unsigned long long most) {
    const char *text = get(r, key);
    unsigned long long value = 0;
    int end = 0;
    if ((*text < '0' || *text > '9' || sscanf(text, "%20llu%n", &value, &end) != 1 || text[end] ||
         value > most) &&
        !r->bad)
        r->bad = key;
    return value;
}

static double get_real(reader *r, const char *key) {
    char text[64], *end = text;
    snprintf(text, sizeof text, "%s", get(r, key));
    char *point = strchr(text, '.');
    if (point)
        *point = radix();
    double value = strtod(text, &end);
    if ((end == text || *end) && !r->bad)
        r->bad = key;
    return value;
}

static bool get_flag(reader *r, const char *key) {
    const char *text = get(r, key);
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0 && !r->bad)
        r->bad = key;
    return strcmp(text, "true") == 0;
}

/* What files of older versions do not have; they had none of it. */
static void read_later_keys(reader *r, cvy_position *p) {
    p->val_loss = p->val_accuracy = p->stop_best = NAN;
    p->best = p->best_accuracy;
    p->plateau = (cvy_plateau){0};
    p->waiting = 0;
    p->stopped = false;
    if (!cvy_tensor_file_metadata(r->file, "stopped"))
        return;
    p->val_loss = get_real(r, "val_loss");
    p->val_accuracy = get_real(r, "val_accuracy");
    p->best = get_real(r, "best");
    p->plateau.begun = get_flag(r, "plateau_begun");
    p->plateau.best = get_real(r, "plateau_best");
    p->plateau.bad_epochs = (unsigned)get_whole(r, "plateau_bad_epochs", INT32_MAX);
    p->plateau.cooldown = (unsigned)get_whole(r, "plateau_cooldown", INT32_MAX);
    p->plateau.reductions = (unsigned)get_whole(r, "plateau_reductions", INT32_MAX);
    p->stop_best = get_real(r, "stop_best");
    p->waiting = (unsigned)get_whole(r, "waiting", INT32_MAX);
    p->stopped = get_flag(r, "stopped");
}

static void read_position(reader *r, cvy_position *p) {
    p->epoch = (int)get_whole(r, "epoch", INT32_MAX);
    p->step = get_whole(r, "step", UINT64_MAX);
    p->images = get_whole(r, "images", UINT64_MAX);
    p->unfinished_step = get_flag(r, "unfinished_step");
    p->loss_sum = get_real(r, "loss_sum");
    p->correct = get_whole(r, "correct", UINT64_MAX);
    p->batch_loss = get_real(r, "batch_loss");
    p->test_loss = get_real(r, "test_loss");
    p->test_accuracy = get_real(r, "test_accuracy");
    p->epoch_train_loss = get_real(r, "epoch_train_loss");
    p->epoch_train_accuracy = get_real(r, "epoch_train_accuracy");
    p->best_accuracy = get_real(r, "best_accuracy");
    p->best_epoch = (int)get_whole(r, "best_epoch", INT32_MAX);
    p->seconds = get_real(r, "seconds");
    read_later_keys(r, p);
}

/* The first line in which two texts differ, of both. */
static convoy_status fail_model(const char *path, const char *recorded, const char *present) {
    for (;;) {
        size_t a = strcspn(recorded, "\n"), b = strcspn(present, "\n");
        if (a != b || memcmp(recorded, present, a) != 0 || !recorded[a] || !present[b])
            return cvy_fail(
                CONVOY_INVALID,
                "%s was written by a run of another model or recipe: it has `%.*s` where this run has "
                "`%.*s`. Resume with the model.yaml beside it, or start anew without resume",
                path, (int)a, recorded, (int)b, present);
        recorded += a + 1;
        present += b + 1;
    }
}

static convoy_status check_model(const char *path, const char *recorded, const char *present) {
    char *texts[2] = {strdup(recorded), strdup(present)};
    convoy_status status =
        texts[0] && texts[1] ? CONVOY_OK : cvy_fail_memory("a model's text", strlen(present));
    for (int i = 0; i < 2 && !status; i++)
        leave_out(texts[i], is_default);
    if (!status && strcmp(texts[0], texts[1]) != 0)
        status = fail_model(path, texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
    return status;
}

static convoy_status check_whole(const char *path, const char *what, const char *option,
                                 unsigned long long recorded, unsigned long long present) {
    if (recorded == present)
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID, "%s was written by a run with %s %llu, not %llu: resume with the same %s",
                    path, what, recorded, present, option);
}

static convoy_status check_identity(const char *path, reader *r, const cvy_identity *identity) {
    const char *model = get(r, "model");
    unsigned long long batch_size = get_whole(r, "batch_size", INT32_MAX);
    unsigned long long micro_batch = batch_size; /* files that do not name it had none */
    if (cvy_tensor_file_metadata(r->file, "micro_batch"))
        micro_batch = get_whole(r, "micro_batch", INT32_MAX);
    const unsigned pieces = cvy_checkpoint_pieces(r->file);
    unsigned long long seed = get_whole(r, "seed", UINT64_MAX);
    unsigned long long images = get_whole(r, "train_images", UINT64_MAX);
    bool shuffle = get_flag(r, "shuffle");
    if (r->bad)
        return CONVOY_OK; /* reported with the others */
    convoy_status status = check_model(path, model, identity->model);
    if (!status && cvy_tensor_file_metadata(r->file, "length"))
        status = check_whole(path, "a schedule over", "number of epochs", get_whole(r, "length", UINT64_MAX),
                             identity->length);
    if (!status)
        status = check_whole(path, "a batch size of", "batch size", batch_size,
                             (unsigned long long)identity->batch_size);
    if (!status)
        status = check_whole(path, "a number of pieces of", "pieces", pieces, identity->pieces);
    if (!status)
        status = check_whole(path, "a micro-batch of", "micro-batch", micro_batch,
                             (unsigned long long)identity->micro_batch);
    if (!status)
        status = check_whole(path, "seed", "seed", seed, identity->seed);
    if (!status)
        status = check_whole(path, "a number of training images of", "data and limit", images,
                             identity->train_images);
    if (!status && shuffle != identity->shuffle)
        status = cvy_fail(CONVOY_INVALID, "%s was written by a run %s shuffling: resume in the same way",
                          path, shuffle ? "with" : "without");
    return status;
}

/* `found` receives the file's values of each tensor. */
static convoy_status match_tensors(const char *path, const cvy_tensor_file *file, const content *content,
                                   const void **found) {
    cvy_complaints complaints = {0};
    convoy_status status =
        cvy_tensors_match(content->tensors, content->count, file, "", found, &complaints, &complaints);
    for (size_t i = 0; i < content->count && !status; i++)
        if (!found[i] && strcmp(content->tensors[i].dtype, "I64") == 0)
            cvy_complain(&complaints, "missing %s", content->tensors[i].name);
    return status ? status : cvy_complaints_end(&complaints, path, "this run");
}

static convoy_status check_position(const char *path, const reader *r, const cvy_identity *identity,
                                    const cvy_position *p) {
    if (r->bad)
        return cvy_fail(CONVOY_INVALID, "%s is damaged: its metadata has no sensible \"%s\"", path, r->bad);
    if (p->epoch < 1 || p->images > identity->train_images || p->correct > p->images ||
        (p->images % (unsigned long long)identity->batch_size != 0 && p->images != identity->train_images))
        return cvy_fail(CONVOY_INVALID,
                        "%s is damaged: epoch %d, image %llu of %llu is no place to go on from", path,
                        p->epoch, p->images, identity->train_images);
    return CONVOY_OK;
}

static bool has_format(const cvy_tensor_file *file, const char *wanted) {
    const char *format = cvy_tensor_file_metadata(file, "format");
    return format && strcmp(format, wanted) == 0;
}

static convoy_status check_format(const char *path, const cvy_tensor_file *file) {
    const char *format = cvy_tensor_file_metadata(file, "format");
    if (has_format(file, format_name) ||
        (has_format(file, older_format) && !cvy_tensor_file_metadata(file, "digest")))
        return CONVOY_OK;
    return cvy_fail(CONVOY_INVALID,
                    "%s is no checkpoint that this version reads (format \"%.40s\", wanted \"%s\"); weights "
                    "alone can start a new run as `init`",
                    path, format ? format : "", format_name);
}

/* One flipped bit would be a run to other bits, without a word. */
convoy_status cvy_checkpoint_open(const char *path, cvy_tensor_file **file) {
    char found[33];
    convoy_status status = cvy_tensor_file_load(path, file);
    if (!status)
        status = check_format(path, *file);
    if (!status && has_format(*file, older_format)) {
        cvy_info(
            "%s is of version 0.1: the run goes on, but where kernels have changed since, not to the bits "
            "that it would have come to then",
            path);
        return CONVOY_OK;
    }
    if (!status)
        status = cvy_tensor_file_digest(*file, "digest", found);
    const char *written = status ? NULL : cvy_tensor_file_metadata(*file, "digest");
    if (!status && (!written || strcmp(written, found) != 0))
        status =
            cvy_fail(CONVOY_INVALID, "%s is damaged: its content has the digest %s, but was written with %s",
                     path, found, written ? written : "none");
    if (status) {
        cvy_tensor_file_free(*file);
        *file = NULL;
    }
    return status;
}

convoy_status cvy_checkpoint_classes(const char *path, const cvy_tensor_file *file, convoy_model *model) {
    cvy_arena *arena = cvy_arena_create();
    cvy_classes classes;
    if (!arena)
        return cvy_fail_memory("class names", sizeof classes);
    convoy_status status = cvy_classes_read(arena, file, path, &classes);
    if (!status)
        cvy_model_set_classes(model, &classes);
    cvy_arena_free(arena);
    return status;
}

convoy_status cvy_checkpoint_load(const char *path, const cvy_tensor_file *file, convoy_network *network,
                                  const cvy_kept *kept, const cvy_identity *identity,
                                  cvy_position *position) {
    content content = {0};
    const void **found = NULL;
    cvy_position p;
    reader r = {.file = file};
    convoy_status status = check_identity(path, &r, identity);
    if (status)
        goto done;
    read_position(&r, &p);
    status = check_position(path, &r, identity, &p);
    if (!status)
        status = content_create(network, kept, &content);
    if (status)
        goto done;
    found = calloc(content.count + 1, sizeof *found);
    status = found ? match_tensors(path, file, &content, found)
                   : cvy_fail_memory("a checkpoint's tensors", content.count * sizeof *found);
    if (status)
        goto done;
    for (size_t i = 0; i < content.count; i++)
        memcpy(content.tensors[i].data, found[i], content.tensors[i].bytes);
    status = cvy_network_upload(network);
    if (!status)
        status = move_kept(network, kept, &content, true);
    if (!status)
        *position = p;
done:
    free(found);
    content_free(&content);
    return status;
}

unsigned cvy_checkpoint_pieces(const cvy_tensor_file *file) {
    reader r = {.file = file};
    return cvy_tensor_file_metadata(file, "pieces") ? (unsigned)get_whole(&r, "pieces", INT32_MAX) : 1;
}

convoy_status cvy_checkpoint_step(const char *path, unsigned long long *step) {
    *step = 0;
    if (!cvy_file_exists(path))
        return CONVOY_OK;
    cvy_tensor_file *file = NULL;
    convoy_status status = cvy_tensor_file_load(path, &file);
    if (status)
        return status;
    reader r = {.file = file};
    *step = get_whole(&r, "step", UINT64_MAX);
    if (r.bad)
        status = cvy_fail(CONVOY_INVALID, "%s is no checkpoint: its metadata has no \"step\"", path);
    cvy_tensor_file_free(file);
    return status;
}
