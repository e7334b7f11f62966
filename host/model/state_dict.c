/* A model's state dict to and from safetensors, under PyTorch's names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/graph.h"

static const char counter_name[] = "num_batches_tracked";

/* ---- saving ---- */

static size_t counters(const convoy_model *model, size_t *name_bytes) {
    size_t count = 0;
    *name_bytes = 0;
    for (size_t s = 0; s < model->step_count; s++)
        if (model->steps[s].facts.counts_batches) {
            count++;
            *name_bytes += strlen(model->steps[s].name) + sizeof counter_name + 1;
        }
    return count;
}

convoy_status cvy_model_state(const convoy_model *model, cvy_named_tensor **out, size_t *count) {
    size_t name_bytes, total = model->tensor_count + counters(model, &name_bytes), at = 0;
    cvy_named_tensor *list = malloc(total * sizeof *list + name_bytes + 1);
    *out = NULL;
    *count = 0;
    if (!list)
        return cvy_fail_memory("the list of a model's tensors", total * sizeof *list + name_bytes);
    char *names = (char *)(list + total);
    for (size_t s = 0; s < model->step_count; s++) {
        const cvy_step *step = &model->steps[s];
        for (size_t i = 0; i < (size_t)step->facts.tensor_count; i++) {
            const cvy_model_tensor *tensor = &model->tensors[step->first_tensor + i];
            list[at] = (cvy_named_tensor){.name = tensor->name,
                                          .dtype = "F32",
                                          .dimensions = tensor->about->dimensions,
                                          .data = model->data + tensor->offset,
                                          .bytes = tensor->count * sizeof(float)};
            memcpy(list[at++].shape, tensor->about->shape, sizeof list->shape);
        }
        if (!step->facts.counts_batches)
            continue;
        list[at++] = (cvy_named_tensor){.name = names,
                                        .dtype = "I64",
                                        .shape = {1, 1, 1, 1},
                                        .data = &model->batches_tracked[s],
                                        .bytes = sizeof(int64_t)};
        names += sprintf(names, "%s.%s", step->name, counter_name) + 1;
    }
    *out = list;
    *count = total;
    return CONVOY_OK;
}

convoy_status cvy_model_save_weights_with(const convoy_model *model, const char *path,
                                          const char *const *metadata) {
    cvy_named_tensor *tensors;
    size_t count, pairs = 0;
    convoy_status status = cvy_model_state(model, &tensors, &count);
    if (status)
        return status;
    while (metadata && metadata[2 * pairs])
        pairs++;
    const char **all = malloc((2 * pairs + 3) * sizeof *all);
    if (all) {
        all[0] = "format";
        all[1] = "pt";
        for (size_t i = 0; i < 2 * pairs; i++)
            all[2 + i] = metadata[i];
        all[2 + 2 * pairs] = NULL;
        status = cvy_tensor_file_save(path, tensors, count, all);
    } else {
        status = cvy_fail_memory("a weights file", (2 * pairs + 3) * sizeof *all);
    }
    free(all);
    free(tensors);
    return status;
}

convoy_status convoy_model_save_weights(const convoy_model *model, const char *path) {
    return cvy_model_save_weights_with(model, path, NULL);
}

/* ---- loading ---- */

static void add_shape(cvy_text *text, const size_t *shape, int dimensions) {
    cvy_text_add(text, "[");
    for (int i = 0; i < dimensions; i++)
        cvy_text_add(text, "%s%zu", i ? ", " : "", shape[i]);
    cvy_text_add(text, "]");
}

/* Lists what is wrong, a line each, up to a screenful. */
static void complain(cvy_text *text, size_t *count, const char *what, const char *name,
                     const cvy_named_tensor *wanted, const cvy_named_tensor *found) {
    enum { SHOWN = 20 };
    if (++*count > SHOWN)
        return;
    cvy_text_add(text, "\n  %s %s", what, name);
    if (found) {
        cvy_text_add(text, ": %s ", found->dtype);
        add_shape(text, found->shape, found->dimensions);
        cvy_text_add(text, " instead of %s ", wanted->dtype);
        add_shape(text, wanted->shape, wanted->dimensions);
    }
}

/* Does a tensor of the file fit the model's? Its absent connections must be 0. */
static bool check_mask(const cvy_layer_tensor *about, const float *values, size_t count) {
    for (size_t i = 0; about->mask && i < count; i++)
        if (about->mask[i] == 0 && values[i] != 0)
            return false;
    return true;
}

static bool same_shape(const cvy_named_tensor *a, const cvy_named_tensor *b) {
    return strcmp(a->dtype, b->dtype) == 0 && a->dimensions == b->dimensions &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const cvy_named_tensor *)a)->name, ((const cvy_named_tensor *)b)->name);
}

static const cvy_model_tensor *find_tensor(const convoy_model *model, const char *name) {
    for (size_t t = 0; t < model->tensor_count; t++)
        if (strcmp(model->tensors[t].name, name) == 0)
            return &model->tensors[t];
    return NULL;
}

static size_t compare_states(const convoy_model *model, const cvy_named_tensor *wanted, size_t wanted_count,
                             const cvy_named_tensor *given, size_t given_count, size_t prefix,
                             cvy_text *text) {
    size_t wrong = 0;
    for (size_t i = 0; i < wanted_count; i++) {
        const cvy_named_tensor *found = bsearch(&wanted[i], given, given_count, sizeof *given, compare_names);
        if (!found &&
            strcmp(wanted[i].dtype, "I64") != 0) /* files of old PyTorch versions have no counters */
            complain(text, &wrong, "missing", wanted[i].name, NULL, NULL);
        if (!found)
            continue;
        if (!same_shape(&wanted[i], found)) {
            complain(text, &wrong, "mismatched", wanted[i].name, &wanted[i], found);
            continue;
        }
        const cvy_model_tensor *tensor = find_tensor(model, wanted[i].name);
        if (tensor && !check_mask(tensor->about, found->data, tensor->count))
            complain(text, &wrong, "not 0 where the connection table has no connection:", wanted[i].name,
                     NULL, NULL);
    }
    for (size_t i = 0; i < given_count; i++)
        if (!bsearch(&given[i], wanted, wanted_count, sizeof *wanted, compare_names))
            complain(text, &wrong, "unknown", given[i].name - prefix, NULL, NULL);
    return wrong;
}

convoy_status cvy_model_set_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                  const char *prefix) {
    cvy_named_tensor *wanted = NULL, *given = NULL;
    size_t wanted_count = 0, given_count = 0, skip = strlen(prefix);
    cvy_text text = {0};
    convoy_status status = cvy_model_state(model, &wanted, &wanted_count);
    given = malloc((cvy_tensor_file_count(file) + 1) * sizeof *given);
    if (!status && !given)
        status = cvy_fail_memory("the list of a file's tensors", cvy_tensor_file_count(file) * sizeof *given);
    if (status)
        goto done;
    for (size_t i = 0; i < cvy_tensor_file_count(file); i++) {
        cvy_named_tensor tensor = cvy_tensor_file_get(file, i);
        if (strncmp(tensor.name, prefix, skip) != 0)
            continue;
        tensor.name += skip;
        given[given_count++] = tensor;
    }
    qsort(wanted, wanted_count, sizeof *wanted, compare_names);
    qsort(given, given_count, sizeof *given, compare_names);
    size_t wrong = compare_states(model, wanted, wanted_count, given, given_count, skip, &text);
    if (wrong) {
        status = cvy_fail(CONVOY_INVALID, "%s does not fit the model %s; %zu %s wrong:%s%s", path,
                          model->name, wrong, wrong == 1 ? "tensor is" : "tensors are", cvy_text_get(&text),
                          wrong > 20 ? "\n  ..." : "");
        goto done;
    }
    for (size_t i = 0; i < wanted_count; i++) {
        const cvy_named_tensor *found = bsearch(&wanted[i], given, given_count, sizeof *given, compare_names);
        if (found)
            memcpy(wanted[i].data, found->data, found->bytes);
        else
            memset(wanted[i].data, 0, wanted[i].bytes);
    }
done:
    cvy_text_free(&text);
    free(wanted);
    free(given);
    return status;
}

convoy_status convoy_model_load_weights(convoy_model *model, const char *path) {
    cvy_tensor_file *file;
    convoy_status status = cvy_tensor_file_load(path, &file);
    if (status)
        return status;
    status = cvy_model_set_state(model, file, path, "");
    cvy_tensor_file_free(file);
    return status;
}
