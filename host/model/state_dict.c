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

/* Its absent connections must be 0. */
static bool check_mask(const cvy_layer_tensor *about, const float *values, size_t count) {
    for (size_t i = 0; about->mask && i < count; i++)
        if (about->mask[i] == 0 && values[i] != 0)
            return false;
    return true;
}

/* The model's tensors stand in the state in their order, counters between them. */
static void check_masks(const convoy_model *model, const cvy_named_tensor *wanted, const void **found,
                        cvy_complaints *complaints) {
    for (size_t t = 0, i = 0; t < model->tensor_count; t++, i++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        while (wanted[i].name != tensor->name)
            i++;
        if (found[i] && !check_mask(tensor->about, found[i], tensor->count))
            cvy_complain(complaints, "not 0 where the connection table has no connection: %s", tensor->name);
    }
}

convoy_status cvy_model_set_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                  const char *prefix) {
    cvy_named_tensor *wanted = NULL;
    size_t count = 0;
    cvy_complaints complaints = {0};
    convoy_status status = cvy_model_state(model, &wanted, &count);
    const void **found = calloc(count + 1, sizeof *found);
    if (!status && !found)
        status = cvy_fail_memory("the list of a file's tensors", count * sizeof *found);
    if (!status)
        status = cvy_tensors_match(wanted, count, file, prefix, found, &complaints);
    if (status)
        goto done;
    check_masks(model, wanted, found, &complaints);
    cvy_text name = {0};
    cvy_text_add(&name, "the model %s", model->name);
    status = cvy_complaints_end(&complaints, path, cvy_text_get(&name));
    cvy_text_free(&name);
    for (size_t i = 0; i < count && !status; i++)
        if (found[i])
            memcpy(wanted[i].data, found[i], wanted[i].bytes);
        else
            memset(wanted[i].data, 0, wanted[i].bytes);
done:
    free(found);
    free(wanted);
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
