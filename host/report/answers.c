/* What a run's weights answer to a set. */
#include <math.h>
#include <stdlib.h>

#include "data/dataset.h"
#include "report/run.h"
#include "train/predictor.h"

/* [images][classes] */
static convoy_status find_outputs(convoy_model *model, convoy_device *device, const convoy_dataset *set,
                                  float *outputs) {
    const size_t images = convoy_dataset_count(set), batch = (size_t)cvy_model_recipe(model)->batch_size;
    convoy_predictor *predictor = NULL;
    convoy_status status =
        cvy_predictor_open(model, device, set, (int)(images < batch ? images : batch), &predictor);
    if (!status)
        status = cvy_predictor_run(predictor, set, outputs);
    convoy_predictor_close(predictor);
    return status;
}

static convoy_status find_answers(convoy_model *model, const convoy_dataset *set, const float *outputs,
                                  double *p, int32_t *truth, int32_t *given) {
    const size_t images = convoy_dataset_count(set), classes = (size_t)convoy_model_classes(model);
    convoy_status status = CONVOY_OK;
    for (size_t i = 0; i < images && !status; i++) {
        double *own = p + i * classes;
        status = cvy_probabilities(model, convoy_dataset_path(set, i), outputs + i * classes, own);
        truth[i] = convoy_dataset_label(set, i);
        given[i] = 0;
        for (size_t c = 1; c < classes; c++)
            if (own[c] > own[given[i]])
                given[i] = (int32_t)c;
    }
    return status;
}

/* What follows from the answers. */
static convoy_status find_figures(cvy_arena *arena, const convoy_dataset *set, cvy_answers *a) {
    const size_t classes = (size_t)a->classes;
    unsigned long long *confusion = cvy_arena_alloc(arena, classes * classes * sizeof *confusion);
    convoy_class_result *results = cvy_arena_alloc(arena, classes * sizeof *results);
    cvy_scores *scores = cvy_arena_alloc(arena, classes * sizeof *scores);
    const char **names = cvy_arena_alloc(arena, classes * sizeof *names);
    unsigned long long right = 0;
    convoy_status status = cvy_confusion_count(classes, a->images, a->truth, a->given, confusion);
    for (size_t c = 0; c < classes && !status; c++) {
        right += confusion[c * classes + c];
        names[c] = convoy_dataset_class_name(set, (int)c);
        status = cvy_scores_find(arena, a->probabilities + c, classes, a->truth, (int32_t)c, a->images,
                                 &scores[c]);
    }
    if (!status) {
        cvy_class_results(classes, confusion, results);
        cvy_class_averages(classes, confusion, &a->averages);
    }
    a->names = names;
    a->confusion = confusion;
    a->results = results;
    a->scores = scores;
    a->accuracy = (double)right / (double)a->images;
    return status;
}

convoy_status cvy_run_answer(cvy_arena *arena, convoy_model *model, convoy_device *device,
                             convoy_dataset *set, cvy_run *run) {
    const cvy_classes known = cvy_model_classes(model);
    const size_t images = convoy_dataset_count(set), classes = (size_t)convoy_model_classes(model);
    convoy_status status = known.count ? cvy_dataset_order_classes(set, &known, run->weights) : CONVOY_OK;
    if (!status && convoy_dataset_classes(set) != (int)classes)
        status = cvy_fail(CONVOY_INVALID, "%s has no labels: nothing to compare answers with",
                          convoy_dataset_name(set));
    if (status)
        return status;
    float *outputs = malloc(images * classes * sizeof *outputs);
    cvy_answers *a = cvy_arena_alloc(arena, sizeof *a);
    double *p = cvy_arena_try(arena, images * classes * sizeof *p);
    int32_t *truth = cvy_arena_try(arena, 2 * images * sizeof *truth);
    if (!outputs || !p || !truth) {
        free(outputs);
        return cvy_fail_memory("the answers", images * classes * sizeof *p);
    }
    *a = (cvy_answers){.images = images,
                       .classes = (int)classes,
                       .probabilities = p,
                       .truth = truth,
                       .given = truth + images,
                       .device = cvy_arena_strdup(arena, convoy_device_get_info(device)->name)};
    status = find_outputs(model, device, set, outputs);
    if (!status)
        status = find_answers(model, set, outputs, p, truth, truth + images);
    if (!status)
        status = find_figures(arena, set, a);
    free(outputs);
    if (!status) {
        run->answers = a;
        run->model = model;
        run->set = set;
    }
    return status;
}

size_t cvy_answers_wrong(const cvy_answers *a, size_t most, size_t *indices) {
    size_t found = 0;
    for (size_t i = 0; i < a->images; i++) {
        const double *p = a->probabilities;
        const size_t classes = (size_t)a->classes;
        size_t place = found;
        if (a->truth[i] == a->given[i])
            continue;
        const double own = p[i * classes + (size_t)a->given[i]];
        while (place > 0 && p[indices[place - 1] * classes + (size_t)a->given[indices[place - 1]]] < own)
            place--;
        if (place == most)
            continue;
        found += found < most;
        for (size_t k = found - 1; k > place; k--)
            indices[k] = indices[k - 1];
        indices[place] = i;
    }
    return found;
}

size_t cvy_answers_spread(const cvy_answers *a, size_t most, size_t *indices) {
    const size_t count = a->images < most ? a->images : most;
    for (size_t i = 0; i < count; i++)
        indices[i] = i * a->images / count;
    return count;
}
