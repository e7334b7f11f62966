/* The formulas of tools/record_parity.py. */
#include "selftest/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/status.h"
#include "device/embedded.h"

enum { SEED = CVY_RECORD_SEED, WEIGHT = 101, IMAGE = 102, TEMPLATE = 103, LABEL = 104 };

const char *cvy_selftest_file(const char *name) {
    for (const cvy_embedded *file = cvy_embedded_files; file->name; file++)
        if (strcmp(file->name, name) == 0)
            return file->source;
    return NULL;
}

static size_t count_of(const convoy_tensor *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->dimensions; i++)
        count *= tensor->shape[i];
    return count;
}

json_t *cvy_record_row(const json_t *rows, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    return NULL;
}

convoy_status cvy_record_set_tensor(const json_t *row, const convoy_tensor *tensor) {
    const json_t *shape = json_object_get(row, "shape");
    const size_t count = count_of(tensor);
    bool fits = json_array_size(shape) == (size_t)tensor->dimensions;
    for (int i = 0; fits && i < tensor->dimensions; i++)
        fits = json_integer_value(json_array_get(shape, (size_t)i)) == (json_int_t)tensor->shape[i];
    if (!fits)
        return cvy_fail(CONVOY_INVALID, "the record has another shape for %s", tensor->name);
    cvy_rng rng = cvy_rng_stream(SEED, WEIGHT, (uint32_t)json_integer_value(json_object_get(row, "stream")));
    const float centre = (float)json_number_value(json_object_get(row, "centre"));
    const float bound = (float)json_number_value(json_object_get(row, "bound"));
    const bool signs = json_is_true(json_object_get(row, "signs"));
    for (size_t i = 0; i < count; i++) {
        float offset = (2 * cvy_rng_uniform(&rng) - 1) * bound;
        if (signs)
            offset = offset < 0 ? -1 : 1;
        /* Initialisation leaves a weight at 0 only where a connection table has no connection. */
        if (tensor->dimensions != 4 || tensor->values[i] != 0)
            tensor->values[i] = centre + offset;
    }
    return CONVOY_OK;
}

convoy_status cvy_record_set_tensors(const json_t *record, convoy_model *model) {
    const json_t *rows = json_object_get(record, "tensors");
    size_t set = 0;
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < convoy_model_tensor_count(model) && !status; i++) {
        const convoy_tensor tensor = *convoy_model_tensor(model, i);
        const json_t *row = cvy_record_row(rows, tensor.name);
        if (row) {
            status = cvy_record_set_tensor(row, &tensor);
            set++;
        } else if (tensor.trainable) {
            status = cvy_fail(CONVOY_INVALID, "the record lacks %s", tensor.name);
        }
    }
    if (!status && set != json_array_size(rows))
        status = cvy_fail(CONVOY_INVALID, "the record has tensors that the model lacks");
    return status;
}

void cvy_record_make_batch(uint32_t index, size_t n, int classes, size_t pixels, float *images,
                           int32_t *labels) {
    cvy_rng label_rng = cvy_rng_stream(SEED, LABEL, index), image_rng = cvy_rng_stream(SEED, IMAGE, index);
    for (size_t i = 0; i < n; i++) {
        labels[i] = (int32_t)(cvy_rng_u32(&label_rng) % (uint32_t)classes);
        cvy_rng template_rng = cvy_rng_stream(SEED, TEMPLATE, (uint32_t)labels[i]);
        for (size_t p = 0; p < pixels; p++) {
            const float sum = cvy_rng_uniform(&image_rng) + cvy_rng_uniform(&template_rng);
            images[i * pixels + p] = sum * 0.5f;
        }
    }
}

convoy_status cvy_record_set_batch(const cvy_record_batch *b, uint32_t index) {
    const size_t bytes = b->pixels * b->pitch * sizeof(float);
    const size_t n = (size_t)b->n;
    float *images = calloc(b->pixels * b->pitch, sizeof *images),
          *rows = malloc(n * b->pixels * sizeof *rows);
    int32_t *labels = calloc(b->pitch, sizeof *labels);
    convoy_status status = images && rows && labels ? CONVOY_OK : cvy_fail_memory("a batch", bytes);
    if (!status)
        cvy_record_make_batch(index, n, b->classes, b->pixels, rows, labels);
    for (size_t i = 0; !status && i < n; i++)
        for (size_t p = 0; p < b->pixels; p++)
            images[p * b->pitch + i] = rows[i * b->pixels + p];
    if (!status)
        status = cvy_buffer_write(b->images, 0, images, bytes);
    if (!status && b->labels)
        status = cvy_buffer_write(b->labels, 0, labels, b->pitch * sizeof *labels);
    free(rows);
    free(images);
    free(labels);
    return status;
}

double cvy_record_allowed(double yardstick) {
    return fmax(4 * yardstick, 1e-6);
}
