/* Grad-CAM from the activations of a layer and the gradient of a class's output by them. */
#include "report/gradcam.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/model.h"
#include "train/evaluator.h"
#include "train/predictor.h"

static bool gives_maps(const convoy_layer_info *info) {
    return info->output[1] * info->output[2] > 1;
}

size_t cvy_gradcam_layer(const convoy_model *model) {
    static const char *const others[] = {"Pool", "Subsample", "Dropout", "Flatten"};
    for (size_t i = convoy_model_layer_count(model); i-- > 0;) {
        const convoy_layer_info *info = convoy_model_layer(model, i);
        bool other = cvy_model_layer_is_auxiliary(model, i);
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            other |= strstr(info->type, others[k]) != NULL;
        if (gives_maps(info) && !other)
            return i;
    }
    return SIZE_MAX;
}

convoy_status cvy_gradcam_find_layer(const convoy_model *model, const char *name, size_t *layer) {
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < convoy_model_layer_count(model); i++) {
        const convoy_layer_info *info = convoy_model_layer(model, i);
        if (strcmp(info->name, name) == 0 && cvy_model_layer_is_auxiliary(model, i))
            return cvy_fail(CONVOY_INVALID,
                            "layer %s is part of an Auxiliary, which answers nothing: choose another", name);
        if (strcmp(info->name, name) == 0 && gives_maps(info)) {
            *layer = i;
            return CONVOY_OK;
        }
        if (strcmp(info->name, name) == 0)
            return cvy_fail(CONVOY_INVALID,
                            "layer %s (%s) gives %d values, and no maps: choose one before it", name,
                            info->type, info->output[0]);
        if (gives_maps(info) && count < 256)
            names[count++] = info->name;
    }
    const char *nearest = cvy_text_nearest(name, names, count);
    return cvy_fail(CONVOY_INVALID, "the model has no layer `%s`%s%s%s; `convoy summary` lists them all",
                    name, nearest ? "; did you mean `" : "", nearest ? nearest : "", nearest ? "`?" : "");
}

/* ---- one image ---- */

static convoy_status load_image(convoy_network *network, convoy_device *device, const convoy_dataset *set,
                                cvy_gradcam *g) {
    const convoy_model *model = cvy_network_model(network);
    cvy_buffer *labels = NULL;
    cvy_loader *loader = NULL;
    int n = 0, shape[3];
    convoy_model_input(model, shape);
    const size_t values = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * g->pitch;
    convoy_status status = cvy_size_create(device, &cvy_loader_labels, g->pitch, &labels);
    if (!status)
        status = cvy_feed_create(network, device, set, 1, false, 0, NULL, &loader);
    if (!status)
        status = cvy_loader_start(loader, 0, 0);
    if (!status)
        status = cvy_loader_next(loader, cvy_network_input(network), labels, &n);
    if (!status && !(g->input = malloc(values * sizeof *g->input)))
        status = cvy_fail_memory("an image", values * sizeof *g->input);
    if (!status)
        status = cvy_buffer_read(cvy_network_input(network), 0, g->input, values * sizeof *g->input);
    cvy_loader_free(loader);
    cvy_buffer_free(labels);
    return status;
}

/* The network's answer, and the gradient of the class's output alone. */
static convoy_status choose_class(convoy_network *network, int class_index, cvy_gradcam *g) {
    const convoy_model *model = cvy_network_model(network);
    const size_t classes = (size_t)convoy_model_classes(model), values = classes * g->pitch;
    const bool smallest = cvy_loss_answer_is_smallest((cvy_loss)cvy_model_recipe(model)->loss);
    float *columns = calloc(values, sizeof *columns), *outputs = calloc(classes, sizeof *outputs);
    g->probabilities = calloc(classes, sizeof *g->probabilities);
    convoy_status status =
        columns && outputs && g->probabilities
            ? cvy_buffer_read(cvy_network_output(network), 0, columns, values * sizeof *columns)
            : cvy_fail_memory("the answers", values * sizeof *columns);
    for (size_t c = 0; c < classes && !status; c++)
        outputs[c] = columns[c * g->pitch];
    if (!status)
        status = cvy_probabilities(model, "the image", outputs, g->probabilities);
    if (!status) {
        g->class_index = class_index < 0 ? 0 : class_index;
        for (size_t c = 1; c < classes && class_index < 0; c++)
            if (g->probabilities[c] > g->probabilities[g->class_index])
                g->class_index = (int)c;
        memset(columns, 0, values * sizeof *columns);
        columns[(size_t)g->class_index * g->pitch] = smallest ? -1 : 1;
        status = cvy_buffer_write(cvy_network_output_gradient(network), 0, columns, values * sizeof *columns);
    }
    free(columns);
    free(outputs);
    return status;
}

/* The formula: map = ReLU(sum over channels of mean(gradient) * activation). */
static void combine(const float *gradient, cvy_gradcam *g) {
    const size_t pixels = (size_t)g->height * (size_t)g->width;
    for (size_t c = 0; c < (size_t)g->channels; c++) {
        double weight = 0;
        for (size_t i = 0; i < pixels; i++)
            weight += (double)gradient[(c * pixels + i) * g->pitch];
        weight /= (double)pixels;
        for (size_t i = 0; i < pixels; i++)
            g->map[i] += weight * (double)g->activation[(c * pixels + i) * g->pitch];
    }
    for (size_t i = 0; i < pixels; i++)
        g->map[i] = g->map[i] > 0 ? g->map[i] : 0;
}

convoy_status cvy_gradcam_find(convoy_model *model, convoy_device *device, const convoy_dataset *set,
                               size_t layer, int class_index, cvy_gradcam *found) {
    const convoy_layer_info *info = convoy_model_layer(model, layer);
    const cvy_network_options options = {.batch_size = 1, .training = true};
    convoy_network *network = NULL;
    float *gradient = NULL;
    *found = (cvy_gradcam){
        .layer = layer, .channels = info->output[0], .height = info->output[1], .width = info->output[2]};
    convoy_status status = cvy_network_create(model, device, &options, &network);
    if (status)
        return status;
    found->pitch = (size_t)cvy_network_pitch(network);
    const size_t pixels = (size_t)found->height * (size_t)found->width,
                 values = pixels * (size_t)found->channels * found->pitch;
    found->activation = malloc(values * sizeof *gradient);
    found->map = calloc(pixels, sizeof *found->map);
    gradient = malloc(values * sizeof *gradient);
    if (!found->activation || !found->map || !gradient)
        status = cvy_fail_memory("the maps of a layer", 2 * values * sizeof *gradient);
    if (!status)
        status = load_image(network, device, set, found);
    if (!status)
        status = cvy_network_watch_forward(network, 1, layer, found->activation);
    if (!status)
        status = choose_class(network, class_index, found);
    if (!status)
        status = cvy_network_watch_backward(network, 1, layer, gradient);
    if (!status)
        combine(gradient, found);
    free(gradient);
    convoy_network_close(network);
    return status;
}

void cvy_gradcam_free(cvy_gradcam *found) {
    free(found->input);
    free(found->activation);
    free(found->map);
    free(found->probabilities);
    *found = (cvy_gradcam){0};
}
