/* The step on the first device is written down, value by value; that on the second one compared with it. */
#include "train/diff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/integer.h"
#include "train/evaluator.h"
#include "train/step.h"

/* A value of the first device: rows of n columns, without the padding. */
typedef struct value {
    cvy_diff_row row;
    size_t step; /* of the network */
    float *values;
    size_t rows, columns;
} value;

/* Where the step stands on one of both. */
typedef struct side {
    int which; /* 0: it writes down */
    value *list;
    size_t count, room;
    size_t compared;
    double tolerance;
    cvy_diff *diff;
    cvy_forced forced; /* variants that one of both runs */
} side;

/* [rows][pitch] -> [rows][n], or the other way with zeros in the padding. */
static void pack(float *wide, size_t pitch, float *packed, size_t n, size_t rows, bool unpack) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < pitch; i++)
            if (unpack)
                wide[r * pitch + i] = i < n ? packed[r * n + i] : 0;
            else if (i < n)
                packed[r * n + i] = wide[r * pitch + i];
}

static convoy_status write_down(side *s, const cvy_seen *seen, const float *packed, size_t rows) {
    const size_t bytes = rows * seen->n * sizeof *packed;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        value *list = realloc(s->list, s->room * sizeof *list);
        if (!list)
            return cvy_fail_memory("values to compare", s->room * sizeof *list);
        s->list = list;
    }
    value *v = &s->list[s->count];
    *v = (value){.step = seen->step, .rows = rows, .columns = seen->n, .values = malloc(bytes ? bytes : 1)};
    if (!v->values)
        return cvy_fail_memory("values to compare", bytes);
    s->count++;
    v->row = (cvy_diff_row){.pass = seen->pass, .type = seen->type};
    snprintf(v->row.what, sizeof v->row.what, "%s", seen->what);
    snprintf(v->row.layer, sizeof v->row.layer, "%s", seen->layer);
    snprintf(v->row.variants[0], sizeof v->row.variants[0], "%s", seen->variant);
    memcpy(v->values, packed, bytes);
    return CONVOY_OK;
}

/* NULL: the first device does not make it, for it does several layers at once. */
static value *find(const side *s, const cvy_seen *seen) {
    for (size_t i = 0; i < s->count; i++) {
        value *v = &s->list[i];
        if (v->step == seen->step && !strcmp(v->row.pass, seen->pass) && !strcmp(v->row.what, seen->what))
            return v;
    }
    return NULL;
}

static double difference(const value *v, const float *actual, double least) {
    double largest = fmax(least, 1e-20), worst = 0;
    for (size_t i = 0; i < v->rows * v->columns; i++) {
        const double a = v->values[i], b = actual[i];
        if (!isfinite(a) && !isfinite(b))
            continue;
        if (!isfinite(a) || !isfinite(b))
            return INFINITY;
        largest = fmax(largest, fabs(a));
        worst = fmax(worst, fabs(a - b));
    }
    return worst / largest;
}

/* The second device goes on with the first one's. */
static convoy_status compare(side *s, const cvy_seen *seen, float *wide, float *packed, size_t rows) {
    value *v = find(s, seen);
    if (!v || v->rows != rows || v->columns != seen->n)
        return CONVOY_OK;
    cvy_diff_row *row = &s->diff->rows[s->diff->count++];
    *row = v->row;
    snprintf(row->variants[1], sizeof row->variants[1], "%s", seen->variant);
    row->difference = difference(v, packed, seen->least);
    row->parted = row->difference > s->tolerance;
    if (row->parted && s->diff->first == SIZE_MAX)
        s->diff->first = s->diff->count - 1;
    pack(wide, seen->pitch, v->values, seen->n, rows, true);
    return cvy_buffer_write(seen->buffer, 0, wide, rows * seen->pitch * sizeof *wide);
}

static convoy_status see(void *context, const cvy_seen *seen) {
    side *s = context;
    const size_t floats = cvy_buffer_bytes(seen->buffer) / sizeof(float), rows = floats / seen->pitch;
    float *wide = malloc(floats ? floats * sizeof *wide : 1),
          *packed = malloc(floats ? floats * sizeof *packed : 1);
    convoy_status status = wide && packed ? cvy_buffer_read(seen->buffer, 0, wide, floats * sizeof *wide)
                                          : cvy_fail_memory("values to compare", 2 * floats * sizeof *wide);
    if (!status) {
        pack(wide, seen->pitch, packed, seen->n, rows, false);
        status = s->which ? compare(s, seen, wide, packed, rows) : write_down(s, seen, packed, rows);
    }
    free(wide);
    free(packed);
    return status;
}

/* ---- The step ---- */

/* What is seen beside the layers. */
static convoy_status see_alone(side *s, const char *pass, const char *what, cvy_buffer *buffer, size_t pitch,
                               size_t n) {
    return see(s, &(cvy_seen){.step = SIZE_MAX,
                              .pass = pass,
                              .layer = "",
                              .type = "",
                              .what = what,
                              .variant = "",
                              .buffer = buffer,
                              .pitch = pitch,
                              .n = n});
}

static convoy_status make_batch(const cvy_training *t, cvy_loader *loader, int *n) {
    const convoy_status status = cvy_loader_start(loader, 1, 0);
    return status ? status : cvy_loader_next(loader, cvy_network_input(t->network), t->labels, n);
}

static convoy_status take_step(side *s, cvy_training *t, cvy_loader *loader) {
    const size_t pitch = (size_t)cvy_network_pitch(t->network);
    int n = 0;
    convoy_status status = make_batch(t, loader, &n);
    t->mix = cvy_loader_mix(loader);
    if (!status)
        status = see_alone(s, "data", "batch", cvy_network_input(t->network), pitch, (size_t)n);
    cvy_network_observe(t->network, see, s);
    if (!status)
        status = cvy_network_forward(t->network, n, true, 0);
    if (!status)
        status = cvy_training_loss(t, n, 1.0f / (float)n, cvy_statistics_next_slot(&t->statistics, n), false);
    if (!status)
        status = see_alone(s, "loss", "gradient of the output", cvy_network_output_gradient(t->network),
                           pitch, (size_t)n);
    if (!status)
        status = cvy_network_backward(t->network, n, false);
    cvy_network_observe(t->network, NULL, NULL);
    if (!status)
        status = cvy_training_update(t, 0);
    if (!status)
        status = see_alone(s, "update", "weights", cvy_network_parameters(t->network), 1, 1);
    return status;
}

/* The same batch once more, as it is evaluated: by running statistics, which may be folded into weights. */
static convoy_status evaluate(side *s, const cvy_training *t, cvy_loader *loader) {
    int n = 0;
    convoy_status status = make_batch(t, loader, &n);
    if (!status)
        status = cvy_network_forward(t->network, n, false, 0);
    return status ? status
                  : see_alone(s, "evaluation", "output", cvy_network_output(t->network),
                              (size_t)cvy_network_pitch(t->network), (size_t)n);
}

/* A variant that is asked for and that neither device runs is not to be had. */
static convoy_status check_forced(side *s, const convoy_network *network, const cvy_diff_options *o) {
    cvy_forced asked;
    convoy_status status = cvy_forced_read(o->variant, &asked);
    for (size_t i = 0; cvy_ops[i] && !status; i++) {
        if (cvy_network_forced(network, cvy_ops[i]))
            s->forced.variants[i] = asked.variants[i];
        if (s->which && asked.variants[i] && !s->forced.variants[i])
            status = cvy_fail(CONVOY_DEVICE,
                              "variant %s=%s runs no layer with batches of %d on either device; leave the "
                              "choice open",
                              cvy_ops[i]->name, asked.variants[i]->name, o->batch_size);
    }
    return status;
}

static convoy_status run_side(side *s, convoy_model *model, convoy_device *device, const convoy_dataset *set,
                              const cvy_diff_options *o) {
    convoy_network *network = NULL;
    cvy_training training = {0};
    cvy_loader *loader = NULL;
    const cvy_network_options options = {.batch_size = o->batch_size,
                                         .training = true,
                                         .seed = o->seed,
                                         .variant = o->variant,
                                         .where_possible = true};
    convoy_status status = cvy_network_create(model, device, &options, &network);
    if (!status)
        status = check_forced(s, network, o);
    if (!status)
        status = cvy_training_create(network, device, o->batch_size, &training);
    if (!status)
        status = cvy_feed_create(network, device, set, o->batch_size, true, o->seed,
                                 &cvy_model_recipe(model)->augment, &loader);
    if (!status)
        status = take_step(s, &training, loader);
    if (!status)
        status = evaluate(s, &training, loader);
    cvy_loader_free(loader);
    cvy_training_free(&training);
    convoy_network_close(network);
    return status;
}

convoy_status cvy_diff_run(convoy_model *model, convoy_device *const devices[2], const convoy_dataset *set,
                           const cvy_diff_options *options, cvy_diff *diff) {
    side s = {.tolerance = options->tolerance, .diff = diff};
    *diff = (cvy_diff){.first = SIZE_MAX};
    convoy_status status = run_side(&s, model, devices[0], set, options);
    if (!status) {
        diff->rows = calloc(s.count + 1, sizeof *diff->rows);
        status = diff->rows ? CONVOY_OK : cvy_fail_memory("a table", s.count * sizeof *diff->rows);
    }
    s.which = 1;
    if (!status)
        status = run_side(&s, model, devices[1], set, options);
    for (size_t i = 0; i < s.count; i++)
        free(s.list[i].values);
    free(s.list);
    if (diff->first == SIZE_MAX)
        diff->first = diff->count;
    return status;
}

void cvy_diff_free(cvy_diff *diff) {
    free(diff->rows);
    *diff = (cvy_diff){0};
}
