/* A model's state dict to and from safetensors, under PyTorch's names. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "base/log.h"
#include "model/graph.h"

static const char counter_name[] = "num_batches_tracked";

/* ---- saving ---- */

static size_t counters(const convoy_model *model, size_t *name_bytes) {
    size_t count = 0;
    *name_bytes = 0;
    for (size_t s = 0; s < model->step_count; s++)
        if (model->steps[s].facts.counts_batches) {
            count++;
            *name_bytes +=
                strlen(model->steps[s].name) + strlen(model->steps[s].older) + 2 * (sizeof counter_name + 1);
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
                                          .older = tensor->older,
                                          .dtype = "F32",
                                          .dimensions = tensor->about->dimensions,
                                          .data = model->data + tensor->offset,
                                          .bytes = tensor->count * sizeof(float)};
            memcpy(list[at++].shape, tensor->about->shape, sizeof list->shape);
        }
        if (!step->facts.counts_batches)
            continue;
        list[at] = (cvy_named_tensor){.name = names,
                                      .dtype = "I64",
                                      .shape = {1, 1, 1, 1},
                                      .data = &model->batches_tracked[s],
                                      .bytes = sizeof(int64_t)};
        names += sprintf(names, "%s.%s", step->name, counter_name) + 1;
        list[at++].older = names;
        names += sprintf(names, "%s.%s", step->older, counter_name) + 1;
    }
    *out = list;
    *count = total;
    return CONVOY_OK;
}

/* What an image is before the network sees it: channels, height and width without the border; what is done to
   pixels of 0..1; and how another size is brought to this one: the short side is resized, the centre cropped.
 */
static json_t *image_json(const convoy_model *model) {
    const cvy_image_spec image = cvy_model_image(model);
    json_t *mean = json_array(), *std = json_array();
    for (int c = 0; c < image.channels && c < 4; c++) {
        json_array_append_new(mean, json_real(model->recipe.mean[c]));
        json_array_append_new(std, json_real(model->recipe.std[c]));
    }
    char resize[64] = "short side, centre";
    if (image.resize != CVY_SHORT_SIDE)
        snprintf(resize, sizeof resize, "%s", image.resize == CVY_SQUASH ? "squash" : "letterbox");
    else if (image.short_side)
        snprintf(resize, sizeof resize, "short side %d, centre", image.short_side);
    return json_pack("{s:[i, i, i], s:i, s:o, s:o, s:s}", "size", image.channels, image.height, image.width,
                     "border", image.border, "mean", mean, "std", std, "resize", resize);
}

convoy_status convoy_model_save_weights(const convoy_model *model, const char *path) {
    cvy_named_tensor *tensors;
    size_t count;
    convoy_status status = CVY_GIVEN(model);
    if (!status)
        status = CVY_GIVEN_POINTER(path);
    if (!status)
        status = cvy_model_state(model, &tensors, &count);
    if (status)
        return status;
    json_t *json = image_json(model);
    char *image = json_dumps(json, JSON_COMPACT), *classes = cvy_classes_print(&model->classes);
    const char *metadata[] = {"format", "pt", "image", image, model->classes.count ? "class_names" : NULL,
                              classes,  NULL};
    status = image && classes ? cvy_tensor_file_save_as(path, tensors, count, metadata)
                              : cvy_fail_memory("a weights file", sizeof metadata);
    json_decref(json);
    free(image);
    free(classes);
    free(tensors);
    return status;
}

/* ---- loading ---- */

/* Its absent connections must be 0. */
static bool check_mask(const cvy_layer_tensor *about, const float *values, size_t count) {
    for (size_t i = 0; about->mask && i < count; i++)
        if (about->mask[i] == 0 && values[i] != 0)
            return false;
    return true;
}

/* What is wanted stands in the order of the model's tensors, counters between them. */
static void check_masks(const convoy_model *model, const cvy_named_tensor *wanted, const void **found,
                        size_t count, cvy_complaints *complaints) {
    for (size_t t = 0, i = 0; t < model->tensor_count; t++) {
        const cvy_model_tensor *tensor = &model->tensors[t];
        size_t at = i;
        while (at < count && wanted[at].name != tensor->name)
            at++;
        if (at == count)
            continue;
        i = at;
        if (found[i] && !check_mask(tensor->about, found[i], tensor->count))
            cvy_complain(complaints, "not 0 where the connection table has no connection: %s", tensor->name);
    }
}

/* Says what a file that need not fit leaves as it was. CONVOY_INVALID: nothing of it fits. */
static convoy_status report_kept(const convoy_model *model, const char *path, const cvy_named_tensor *wanted,
                                 const void *const *found, size_t count, cvy_complaints *differences) {
    size_t kept = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        bool counter = strcmp(wanted[i].dtype, "I64") == 0;
        all += !counter;
        kept += !counter && found[i];
    }
    if (kept == 0 && all) {
        cvy_text name = {0};
        cvy_text_add(&name, "any tensor of the model %s", model->name);
        convoy_status status = cvy_complaints_end(differences, path, cvy_text_get(&name));
        cvy_text_free(&name);
        return status;
    }
    if (differences->count)
        cvy_info(
            "%s: %zu of the %zu tensors of model %s are kept; what is missing or mismatched begins anew, "
            "what is unknown is left over:%s%s",
            path, kept, all, model->name, cvy_text_get(&differences->text),
            differences->count > CVY_COMPLAINTS_SHOWN ? "\n  ..." : "");
    cvy_text_free(&differences->text);
    return CONVOY_OK;
}

/* Who only answers has no use for heads that are there for training: those that the file lacks are not
   wanted. Returns how many are. */
static size_t drop_absent_heads(const convoy_model *model, const cvy_tensor_file *file, const char *prefix,
                                cvy_named_tensor *wanted, size_t count) {
    cvy_text name = {0};
    size_t kept = 0;
    for (size_t i = 0, t = 0; i < count; i++) {
        const bool tensor = t < model->tensor_count && wanted[i].name == model->tensors[t].name;
        const bool head = tensor && model->steps[model->tensors[t].step].auxiliary;
        name.length = 0;
        cvy_text_add(&name, "%s%s", prefix, wanted[i].name);
        if (!head || cvy_tensor_file_find(file, cvy_text_get(&name)).data)
            wanted[kept++] = wanted[i];
        t += tensor;
    }
    cvy_text_free(&name);
    return kept;
}

/* As cvy_weights_use has it, but for images. */
static convoy_status take_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                const char *prefix, cvy_weights_use use) {
    const bool strict = use != CVY_WEIGHTS_KEEP;
    cvy_named_tensor *wanted = NULL;
    size_t count = 0;
    cvy_complaints faults = {0}, differences = {0};
    convoy_status status = cvy_model_state(model, &wanted, &count);
    const void **found = calloc(count + 1, sizeof *found);
    if (!status && !found)
        status = cvy_fail_memory("the list of a file's tensors", count * sizeof *found);
    if (!status && use == CVY_WEIGHTS_ALL)
        count = drop_absent_heads(model, file, prefix, wanted, count);
    if (!status)
        status =
            cvy_tensors_match(wanted, count, file, prefix, found, strict ? &faults : &differences, &faults);
    if (status)
        goto done;
    check_masks(model, wanted, found, count, &faults);
    cvy_text name = {0};
    cvy_text_add(&name, "the model %s", model->name);
    status = cvy_complaints_end(&faults, path, cvy_text_get(&name));
    cvy_text_free(&name);
    if (!status && !strict)
        status = report_kept(model, path, wanted, found, count, &differences);
    for (size_t i = 0; i < count && !status; i++)
        if (found[i])
            memcpy(wanted[i].data, found[i], wanted[i].bytes);
        else if (strict)
            memset(wanted[i].data, 0, wanted[i].bytes);
done:
    cvy_text_free(&differences.text);
    free(found);
    free(wanted);
    return status;
}

convoy_status cvy_model_set_state(convoy_model *model, const cvy_tensor_file *file, const char *path,
                                  const char *prefix) {
    return take_state(model, file, path, prefix, CVY_WEIGHTS_BEGIN);
}

/* What differs is named; another size may be meant, as some networks take any. */
static convoy_status check_image(const convoy_model *model, const cvy_tensor_file *file, const char *path,
                                 bool begin) {
    const char *text = cvy_tensor_file_metadata(file, "image"), *key;
    json_t *theirs = text ? json_loads(text, 0, NULL) : NULL, *own = image_json(model), *value;
    convoy_status status = CONVOY_OK;
    if (text && !json_is_object(theirs))
        status = cvy_fail(CONVOY_INVALID, "%s is damaged: its metadata has no sensible \"image\"", path);
    json_object_foreach(theirs, key, value) {
        const json_t *other = json_object_get(own, key);
        if (status || json_equal(value, other))
            continue;
        char *has = json_dumps(value, JSON_ENCODE_ANY), *makes = json_dumps(other, JSON_ENCODE_ANY);
        status =
            cvy_fail(CONVOY_INVALID, "%s: its network saw images of %s %s, but model %s makes them with %s",
                     path, key, has ? has : "?", model->name, makes ? makes : "none");
        free(has);
        free(makes);
        if (begin || strcmp(key, "size") == 0) {
            cvy_warning("%s", convoy_error_message());
            status = CONVOY_OK;
        }
    }
    json_decref(theirs);
    json_decref(own);
    return status;
}

/* A prefix that is not the model's own. */
static const char *prefix_of(const convoy_model *model, const cvy_tensor_file *file) {
    const char *prefix = cvy_tensor_file_prefix(file);
    return model->tensor_count && strncmp(model->tensors[0].name, prefix, strlen(prefix)) == 0 ? "" : prefix;
}

static convoy_status check_classes(const convoy_model *model, const cvy_classes *classes, const char *path) {
    if (!classes->count || classes->count == convoy_model_classes(model))
        return CONVOY_OK;
    cvy_text list = {0};
    cvy_classes_list(classes, &list);
    convoy_status status =
        cvy_fail(CONVOY_INVALID,
                 "%s has the weights of a network for %d classes (%s), but model %s has %d outputs, as many "
                 "as its data "
                 "have classes",
                 path, classes->count, cvy_text_get(&list), model->name, convoy_model_classes(model));
    cvy_text_free(&list);
    return status;
}

convoy_status cvy_model_take_weights(convoy_model *model, cvy_tensor_file *file, const char *path,
                                     cvy_weights_use use) {
    const bool strict = use != CVY_WEIGHTS_KEEP;
    cvy_classes classes;
    convoy_status status = cvy_classes_read(model->arena, file, path, &classes);
    if (!strict && classes.count != convoy_model_classes(model))
        classes = (cvy_classes){0}; /* of a last layer that begins anew */
    if (!status)
        status = check_classes(model, &classes, path);
    if (!status)
        status = check_image(model, file, path, use != CVY_WEIGHTS_ALL);
    if (!status)
        status = cvy_tensor_file_to_float(file);
    if (!status)
        status = take_state(model, file, path, prefix_of(model, file), use);
    if (!status)
        model->classes = classes;
    return status;
}

cvy_classes cvy_model_classes(const convoy_model *model) {
    return model->classes;
}

void cvy_model_set_classes(convoy_model *model, const cvy_classes *classes) {
    const char **names = NULL;
    if (classes->names) {
        names = cvy_arena_alloc(model->arena, (size_t)classes->count * sizeof *names);
        for (int c = 0; c < classes->count; c++)
            names[c] = cvy_arena_strdup(model->arena, classes->names[c]);
    }
    model->classes = (cvy_classes){classes->count, names};
}

convoy_status convoy_model_load_weights(convoy_model *model, const char *path) {
    cvy_tensor_file *file;
    convoy_status status = CVY_GIVEN(model);
    if (!status)
        status = CVY_GIVEN_POINTER(path);
    if (!status)
        status = cvy_tensor_file_load(path, &file);
    if (status)
        return status;
    status = cvy_model_take_weights(model, file, path, CVY_WEIGHTS_ALL);
    cvy_tensor_file_free(file);
    return status;
}
