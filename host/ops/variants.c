/* The list of ops with variants, and how a variant is chosen, made ready, replaced and named. */
#include "ops/variants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/gemm.h"

const cvy_op *const cvy_ops[] = {&cvy_conv2d_op, &cvy_gemm_op, NULL};
_Static_assert(sizeof cvy_ops / sizeof *cvy_ops <= CVY_OPS_LIMIT + 1, "CVY_OPS_LIMIT");

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

const cvy_op *cvy_op_find(const char *name) {
    for (size_t i = 0; cvy_ops[i]; i++)
        if (same(cvy_ops[i]->name, name) || (cvy_ops[i]->alias && same(cvy_ops[i]->alias, name)))
            return cvy_ops[i];
    return NULL;
}

const cvy_variant *cvy_variant_find(const cvy_op *op, const char *name) {
    for (size_t i = 0; name && op->variants[i]; i++)
        if (same(op->variants[i]->name, name))
            return op->variants[i];
    return NULL;
}

/* ---- What the user forces ---- */

const cvy_variant **cvy_forced_of(cvy_forced *forced, const cvy_op *op) {
    size_t i = 0;
    while (cvy_ops[i] != op)
        i++;
    return &forced->variants[i];
}

const char *cvy_forced_name(const cvy_forced *forced, const cvy_op *op) {
    const cvy_variant *variant = *cvy_forced_of((cvy_forced *)forced, op);
    return variant ? variant->name : NULL;
}

static convoy_status read_forced(const char *text, char *word, cvy_forced *forced) {
    cvy_text list = {0};
    char *name = word, *op_name = strsep(&name, "=");
    if (!name)
        return cvy_fail(CONVOY_INVALID, "variant `%s`: expected op=name, as conv2d=im2col_gemm", text);
    const cvy_op *op = cvy_op_find(op_name);
    if (!op) {
        for (size_t i = 0; cvy_ops[i]; i++)
            cvy_text_add(&list, "%s%s", i ? " and " : "", cvy_ops[i]->name);
        cvy_fail(CONVOY_INVALID, "variant `%s=%s`: only the ops %s have variants to choose from", op_name,
                 name, cvy_text_get(&list));
    } else if (!(*cvy_forced_of(forced, op) = cvy_variant_find(op, name))) {
        for (size_t i = 0; op->variants[i]; i++)
            cvy_text_add(&list, "%s%s", i ? ", " : "", op->variants[i]->name);
        cvy_fail(CONVOY_INVALID, "variant %s=%s: there is no such variant; %s has: %s", op->name, name,
                 op->name, cvy_text_get(&list));
    } else
        return CONVOY_OK;
    cvy_text_free(&list);
    return CONVOY_INVALID;
}

convoy_status cvy_forced_read(const char *text, cvy_forced *forced) {
    convoy_status status = CONVOY_OK;
    char *copy = text ? strdup(text) : NULL, *rest = copy, *word;
    *forced = (cvy_forced){0};
    if (text && !copy)
        return cvy_fail_memory("variants", strlen(text));
    while (!status && (word = strsep(&rest, ",")))
        if (*word)
            status = read_forced(text, word, forced);
    free(copy);
    return status;
}

convoy_status cvy_forced_check(const cvy_op *op, const char *forced, const cvy_job *jobs, size_t count) {
    const cvy_variant *variant = cvy_variant_find(op, forced);
    if (!forced)
        return CONVOY_OK;
    if (!variant) {
        const char *names[CVY_VARIANTS_LIMIT];
        size_t known = 0;
        for (; op->variants[known]; known++)
            names[known] = op->variants[known]->name;
        const char *nearest = cvy_text_nearest(forced, names, known);
        return cvy_fail(CONVOY_INVALID, "%s has no variant \"%s\"; did you mean \"%s\"?", op->name, forced,
                        nearest ? nearest : names[0]);
    }
    for (size_t i = 0; i < count; i++)
        if (variant->supports(&jobs[i]))
            return CONVOY_OK;
    return cvy_fail(CONVOY_DEVICE, "%s: variant \"%s\" does not run on this device; leave the choice open",
                    op->name, forced);
}

/* ---- Choosing ---- */

cvy_job cvy_job_of(convoy_device *device, const void *shape, int pass) {
    return cvy_job_on(cvy_device_get_traits(device), device, shape, pass);
}

cvy_job cvy_job_on(const cvy_device_traits *traits, convoy_device *device, const void *shape, int pass) {
    return (cvy_job){device, traits, shape, pass, SIZE_MAX, false};
}

static cvy_key key_of(const cvy_op *op, const cvy_job *job) {
    cvy_key key = {.op = op->name, .pass = op->passes[job->pass]};
    op->write(job->shape, key.shape);
    return key;
}

static bool is_foreign(const cvy_variant *variant, const cvy_device_traits *traits) {
    return traits->cpu && variant->made_for == CVY_FOR_GPUS;
}

static bool is_preferred(const cvy_variant *variant, const cvy_job *job) {
    return !is_foreign(variant, job->traits) && (!variant->pays || variant->pays(job));
}

/* What the heuristics take, as long as none before it is taken; `any`: of what is left. */
static bool may_serve(const cvy_variant *variant, const cvy_job *job, const cvy_key *key, bool any) {
    return variant->supports(job) && (any || is_preferred(variant, job)) &&
           !cvy_choice_aside(job->device, key, variant->name);
}

/* NULL: none. */
static const cvy_variant *choose(const cvy_op *op, const cvy_job *job, const char *forced,
                                 cvy_origin *origin) {
    const cvy_key key = key_of(op, job);
    const cvy_variant *variant = cvy_variant_find(op, forced);
    *origin = CVY_FORCED;
    if (variant && variant->supports(job)) {
        const char *reason = cvy_choice_aside(job->device, &key, forced);
        if (reason && !job->describes)
            cvy_warning("%s's variant %s is forced, though it was set aside here for %s: %s", op->name,
                        forced, key.pass, reason);
        return variant;
    }
    *origin = CVY_MEASURED;
    variant = cvy_variant_find(op, cvy_choice_find(job->device, &key));
    if (variant && variant->supports(job))
        return variant;
    *origin = CVY_GUESSED;
    for (int any = 0; any < 2; any++)
        for (size_t i = 0; op->variants[i]; i++)
            if (may_serve(op->variants[i], job, &key, any))
                return op->variants[i];
    return NULL;
}

convoy_status cvy_prepared_choose(const cvy_op *op, const cvy_job *job, const char *forced, cvy_prepared *p) {
    *p = (cvy_prepared){.op = op, .job = *job};
    p->variant = choose(op, job, forced, &p->origin);
    return p->variant
               ? CONVOY_OK
               : cvy_fail(CONVOY_DEVICE,
                          "%s: no variant runs %s of this shape on this device; use another device, as "
                          "--device host, or `convoy tune --forget` to try those again that were set "
                          "aside",
                          op->name, op->passes[job->pass]);
}

static void close_state(cvy_prepared *p) {
    if (p->state && p->variant->release)
        p->variant->release(p->state);
    free(p->state);
    p->state = NULL;
}

static convoy_status make_ready(cvy_prepared *p) {
    p->state = calloc(1, p->variant->state_size);
    if (!p->state)
        return cvy_fail_memory("an op", p->variant->state_size);
    const convoy_status status = p->variant->prepare(&p->job, p->state, &p->needs);
    if (status || p->job.describes)
        close_state(p);
    return status;
}

/* A variant that cannot be made ready, and was not asked for by name, is set aside in this run, and
   the next one serves. */
convoy_status cvy_prepared_open(const cvy_op *op, const cvy_job *job, const char *forced, cvy_prepared *p) {
    convoy_status status;
    while (!(status = cvy_prepared_choose(op, job, forced, p))) {
        const cvy_key key = key_of(op, job);
        status = make_ready(p);
        if (status != CONVOY_DEVICE || p->origin == CVY_FORCED || !job->device)
            break;
        cvy_choice_set_aside(
            job->device, &key,
            &(cvy_aside){.variant = p->variant->name, .reason = convoy_error_message(), .all_shapes = true});
    }
    if (status)
        *p = (cvy_prepared){0};
    return status;
}

void cvy_prepared_close(cvy_prepared *p) {
    close_state(p);
    *p = (cvy_prepared){0};
}

/* ---- Running ---- */

/* Is the variant made ready in the place of another one, with no more workspace than that had? */
static bool take_place(cvy_prepared *p, const cvy_prepared *of, const cvy_variant *variant) {
    *p = (cvy_prepared){.op = of->op, .job = of->job, .variant = variant};
    p->job.room = of->needs.workspace;
    if (make_ready(p))
        return false;
    if (p->needs.workspace <= p->job.room)
        return true;
    close_state(p);
    return false;
}

/* In the place of a variant that failed, the first other one that makes do with its workspace and runs now.
   Where none does, the device is at fault and not the variant. */
static convoy_status replace(cvy_prepared *p, const void *operands, convoy_status failure) {
    cvy_prepared failed = *p;
    const cvy_key key = key_of(p->op, &p->job);
    char reason[512];
    snprintf(reason, sizeof reason, "%s", convoy_error_message());
    for (size_t i = 0; p->op->variants[i]; i++) {
        if (p->op->variants[i] == failed.variant || !may_serve(p->op->variants[i], &p->job, &key, false))
            continue;
        if (!take_place(p, &failed, failed.op->variants[i]))
            continue;
        if (p->variant->run(p->state, operands)) {
            close_state(p);
            continue;
        }
        if (failure == CONVOY_DEVICE)
            cvy_choice_set_aside(p->job.device, &key,
                                 &(cvy_aside){.variant = failed.variant->name, .reason = reason});
        else /* another time there may be memory */
            cvy_warning("%s's variant %s gives way to %s for %s: %s", p->op->name, failed.variant->name,
                        p->variant->name, key.shape, reason);
        close_state(&failed);
        return CONVOY_OK;
    }
    *p = failed;
    return cvy_fail(failure, "%s", reason);
}

static _Thread_local cvy_noted *noted;
static _Thread_local int depth; /* of runs within runs */

void cvy_prepared_note(cvy_noted *list) {
    noted = list;
    if (list)
        *list = (cvy_noted){.count = 0};
}

convoy_status cvy_prepared_replace(cvy_prepared *p, const char *reason) {
    const cvy_prepared wrong = *p;
    const cvy_key key = key_of(p->op, &p->job);
    if (p->origin == CVY_FORCED)
        return cvy_fail(CONVOY_DEVICE, "its variant %s is forced: leave the choice open", p->variant->name);
    cvy_choice_set_aside(p->job.device, &key, &(cvy_aside){.variant = p->variant->name, .reason = reason});
    for (int any = 0; any < 2; any++)
        for (size_t i = 0; p->op->variants[i]; i++) {
            if (p->op->variants[i] == wrong.variant || !may_serve(p->op->variants[i], &p->job, &key, any))
                continue;
            if (!take_place(p, &wrong, wrong.op->variants[i]))
                continue;
            if (p->needs.fuses == wrong.needs.fuses) {
                cvy_prepared left = wrong;
                close_state(&left);
                return CONVOY_OK;
            }
            close_state(p);
        }
    *p = wrong;
    return cvy_fail(CONVOY_DEVICE, "no other variant of %s can take its place", p->op->name);
}

convoy_status cvy_prepared_run(cvy_prepared *p, const void *operands) {
    if (noted && depth == 0 && noted->count < CVY_NOTED)
        noted->list[noted->count++] = p;
    depth++;
    const convoy_status status = p->variant->run(p->state, operands);
    depth--;
    const bool failed = status == CONVOY_DEVICE || status == CONVOY_MEMORY;
    return failed && p->op->replaces && p->origin != CVY_FORCED ? replace(p, operands, status) : status;
}

/* ---- Tasks ---- */

cvy_task cvy_task_of(const cvy_op *op, const void *shape, int pass) {
    const double balance = 10; /* flops in the time of a byte: CPUs' about, half of GPUs' */
    const cvy_cost cost = op->cost(shape, pass);
    cvy_task task = {.op = op, .pass = pass, .flops = cost.flops, .work = cost.flops, .uses = 1};
    if (balance * cost.bytes > task.work)
        task.work = balance * cost.bytes;
    memcpy(task.shape, shape, op->shape_size);
    return task;
}

cvy_key cvy_task_key(const cvy_task *task) {
    cvy_key key = {.op = task->op->name,
                   .pass = task->option_of ? task->option_of->name : task->op->passes[task->pass]};
    task->op->write(task->shape, key.shape);
    return key;
}

bool cvy_task_read(const cvy_key *key, cvy_task *task) {
    alignas(max_align_t) unsigned char shape[CVY_SHAPE_BYTES];
    const cvy_op *op = cvy_op_find(key->op);
    int pass = 0;
    if (!op || !op->read(key->shape, shape))
        return false;
    while (op->passes[pass] && !same(op->passes[pass], key->pass))
        pass++;
    const cvy_variant *option_of = op->passes[pass] ? NULL : cvy_variant_find(op, key->pass);
    if (!op->passes[pass] && !(option_of && option_of->option))
        return false;
    *task = cvy_task_of(op, shape, option_of ? 0 : pass);
    task->option_of = option_of;
    return true;
}

bool cvy_task_merge(cvy_task *list, size_t count, const cvy_task *task) {
    const cvy_key key = cvy_task_key(task);
    for (size_t i = 0; i < count; i++) {
        const cvy_key other = cvy_task_key(&list[i]);
        if (same(other.op, key.op) && same(other.pass, key.pass) && same(other.shape, key.shape)) {
            list[i].uses += task->uses;
            return true;
        }
    }
    return false;
}

cvy_job cvy_task_job(convoy_device *device, const cvy_task *task) {
    return cvy_job_of(device, task->shape, task->pass);
}

static size_t list_option(const cvy_variant *variant, const cvy_device_traits *traits,
                          cvy_candidate_variant *candidates) {
    size_t count = 0;
    for (; variant->option->names[count]; count++)
        candidates[count] = (cvy_candidate_variant){
            variant->option->names[count], is_foreign(variant, traits) ? CVY_FIT_FOREIGN : CVY_FIT_POSSIBLE};
    return count;
}

size_t cvy_task_candidates(convoy_device *device, const cvy_task *task, cvy_candidate_variant *candidates) {
    const cvy_job job = cvy_task_job(device, task);
    size_t count = 0;
    bool settled = false; /* no heuristic comes to the variants behind one that always pays */
    if (task->option_of)
        return list_option(task->option_of, job.traits, candidates);
    for (size_t i = 0; task->op->variants[i]; i++) {
        const cvy_variant *v = task->op->variants[i];
        if (!v->supports(&job))
            continue;
        const bool likely = !settled && is_preferred(v, &job);
        candidates[count++] =
            (cvy_candidate_variant){v->name, likely                      ? CVY_FIT_LIKELY
                                             : is_foreign(v, job.traits) ? CVY_FIT_FOREIGN
                                                                         : CVY_FIT_POSSIBLE};
        settled = settled || (likely && !v->pays);
    }
    return count;
}
