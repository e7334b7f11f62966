/* Predicting: a network for inference, and the ways of images into it. */
#include "train/predictor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/given.h"
#include "data/dataset.h"
#include "data/image.h"
#include "train/evaluator.h"

struct convoy_predictor {
    convoy_network *network;
    convoy_device *device;
    cvy_buffer *labels; /* of no meaning, but the loader writes some */
    float *columns;     /* [classes][pitch] */
};

/* ---- sets ---- */

/* Columns 0..n-1 of [classes][pitch] as rows of outputs [n][classes]. */
static void transpose(const float *columns, size_t classes, size_t pitch, size_t n, float *outputs) {
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < classes; c++)
            outputs[i * classes + c] = columns[c * pitch + i];
}

convoy_status cvy_predictor_open(convoy_model *model, convoy_device *device, const convoy_dataset *first,
                                 int batch_size, convoy_predictor **out) {
    *out = NULL;
    cvy_sizes beside = {0};
    cvy_feed_sizes(model, device, first, NULL, CVY_PER_PIECE, &beside);
    cvy_sizes_add(&beside, cvy_loader_labels);
    const cvy_network_options options = {.batch_size = batch_size, .beside = &beside};
    convoy_predictor *p = calloc(1, sizeof *p);
    if (!p)
        return cvy_fail_memory("a predictor", sizeof *p);
    cvy_object_open(p);
    p->device = device;
    convoy_status status = cvy_network_create(model, device, &options, &p->network);
    if (status)
        goto done;
    size_t pitch = (size_t)cvy_network_pitch(p->network), classes = (size_t)convoy_model_classes(model);
    status = cvy_size_create(device, &cvy_loader_labels, pitch, &p->labels);
    p->columns = malloc(classes * pitch * sizeof *p->columns);
    if (!status && !p->columns)
        status = cvy_fail_memory("the outputs", classes * pitch * sizeof *p->columns);
done:
    if (status)
        convoy_predictor_close(p);
    else
        *out = p;
    return status;
}

void convoy_predictor_close(convoy_predictor *p) {
    if (!p || !cvy_object_close(__func__, "predictor", p))
        return;
    free(p->columns);
    cvy_buffer_free(p->labels);
    convoy_network_close(p->network);
    free(p);
}

convoy_status cvy_predictor_run(convoy_predictor *p, const convoy_dataset *set, float *outputs) {
    size_t classes = (size_t)convoy_model_classes(cvy_network_model(p->network));
    size_t pitch = (size_t)cvy_network_pitch(p->network);
    cvy_loader *loader = NULL;
    convoy_status status = cvy_feed_create(p->network, p->device, set, cvy_network_batch_size(p->network),
                                           false, 0, NULL, &loader);
    if (!status)
        status = cvy_loader_start(loader, 0, 0);
    while (!status) {
        int n = 0;
        status = cvy_loader_next(loader, cvy_network_input(p->network), p->labels, &n);
        if (status || n == 0)
            break;
        status = cvy_network_forward(p->network, n, false, 0);
        if (!status)
            status = cvy_buffer_read(cvy_network_output(p->network), 0, p->columns,
                                     classes * pitch * sizeof(float));
        if (!status)
            transpose(p->columns, classes, pitch, (size_t)n, outputs);
        outputs += (size_t)n * classes;
    }
    cvy_loader_free(loader);
    return status;
}

convoy_status cvy_probabilities(const convoy_model *model, const char *what, const float *outputs,
                                double *p) {
    const bool smallest = cvy_loss_answer_is_smallest((cvy_loss)cvy_model_recipe(model)->loss);
    const int classes = convoy_model_classes(model);
    double largest = -INFINITY, sum = 0;
    for (int c = 0; c < classes; c++) {
        if (!isfinite(outputs[c]))
            return cvy_fail(CONVOY_FAILED, "%s: output %d of the network is %g", what, c, (double)outputs[c]);
        p[c] = smallest ? -(double)outputs[c] : (double)outputs[c];
        largest = fmax(largest, p[c]);
    }
    for (int c = 0; c < classes; c++)
        sum += p[c] = exp(p[c] - largest);
    for (int c = 0; c < classes; c++)
        p[c] /= sum;
    return CONVOY_OK;
}

/* ---- pictures ---- */

/* A set with room for `count` images as the model takes them. */
static convoy_status make_set(const convoy_model *model, size_t count, convoy_dataset **out) {
    const cvy_image_spec image = cvy_model_image(model);
    convoy_dataset *set = *out = cvy_dataset_create();
    if (!set)
        return cvy_fail_memory("a set of pictures", sizeof *set);
    set->name = set->source = "the pictures";
    set->channels = image.channels;
    set->height = image.height;
    set->width = image.width;
    convoy_status status = cvy_dataset_reserve_labels(set, count);
    return status ? status : cvy_dataset_reserve_images(set);
}

static convoy_status check_picture(const char *function, size_t index, const convoy_picture *p) {
    if (!p->pixels || (p->channels != 1 && p->channels != 3) || p->height < 1 || p->width < 1 ||
        (size_t)p->height * (size_t)p->width > CVY_MOST_PIXELS)
        return cvy_fail(
            CONVOY_INVALID,
            "%s: picture %zu of %d channels and %d x %d pixels%s cannot be: 1 or 3 channels and 1 to %d "
            "pixels can",
            function, index, p->channels, p->height, p->width, p->pixels ? "" : " at NULL", CVY_MOST_PIXELS);
    if (p->row_bytes && p->row_bytes < (size_t)p->width * (size_t)p->channels)
        return cvy_fail(CONVOY_INVALID, "%s: picture %zu: row_bytes is %zu, but a row has %zu bytes",
                        function, index, p->row_bytes, (size_t)p->width * (size_t)p->channels);
    return CONVOY_OK;
}

/* As a file of these pixels is brought to the model's image. */
static convoy_status fit_picture(const char *function, const cvy_image_spec *image, size_t index,
                                 const convoy_picture *picture, uint8_t *to) {
    convoy_picture given;
    convoy_status status = cvy_given_pointer(function, "a picture", picture);
    if (!status)
        status = cvy_take_struct(function, "a picture", picture, &given, sizeof given);
    if (!status)
        status = check_picture(function, index, &given);
    if (!status && image->channels != 1 && image->channels != 3)
        status =
            cvy_fail(CONVOY_INVALID, "%s: the model takes images of %d channels, which pictures do not have",
                     function, image->channels);
    if (status)
        return status;
    const size_t row = (size_t)given.width * (size_t)given.channels, height = (size_t)given.height;
    cvy_pixels pixels = {.channels = given.channels,
                         .height = given.height,
                         .width = given.width,
                         .data = (uint8_t *)(uintptr_t)given.pixels};
    uint8_t *packed = NULL;
    if (given.row_bytes > row) {
        packed = malloc(row * height);
        if (!packed)
            return cvy_fail_memory("a picture", row * height);
        for (size_t y = 0; y < height; y++)
            memcpy(packed + y * row, given.pixels + y * given.row_bytes, row);
        pixels.data = packed;
    }
    const cvy_fitting fitting = {.channels = image->channels,
                                 .height = image->height,
                                 .width = image->width,
                                 .resize = image->resize,
                                 .short_side = image->short_side};
    status = cvy_image_bring(&pixels, &fitting, to);
    free(packed);
    return status;
}

convoy_status convoy_predictor_open(convoy_model *model, convoy_device *device, int batch_size,
                                    convoy_predictor **predictor) {
    convoy_dataset *like = NULL;
    convoy_status status = CVY_GIVEN_POINTER(predictor);
    if (status)
        return status;
    *predictor = NULL;
    status = CVY_GIVEN(model);
    if (!status)
        status = CVY_GIVEN(device);
    if (!status && batch_size < 0)
        status = cvy_fail(CONVOY_INVALID, "%s: a batch of %d pictures cannot be", __func__, batch_size);
    if (!status)
        status = make_set(model, 1, &like);
    if (!status)
        status = cvy_predictor_open(model, device, like,
                                    batch_size ? batch_size : cvy_model_recipe(model)->batch_size, predictor);
    convoy_dataset_free(like);
    return status;
}

static convoy_status answer(convoy_predictor *p, const convoy_dataset *set, size_t first, float *logits,
                            double *probabilities) {
    const convoy_model *model = cvy_network_model(p->network);
    const size_t classes = (size_t)convoy_model_classes(model);
    convoy_status status = cvy_predictor_run(p, set, logits);
    for (size_t i = 0; i < set->count && !status; i++) {
        char what[64];
        snprintf(what, sizeof what, "convoy_predictor_run: picture %zu", first + i);
        status = cvy_probabilities(model, what, logits + i * classes, probabilities + i * classes);
    }
    return status;
}

convoy_status convoy_predictor_run(convoy_predictor *predictor, const convoy_picture *const *pictures,
                                   size_t count, float *logits, double *probabilities) {
    convoy_dataset *set = NULL;
    convoy_status status = CVY_GIVEN(predictor);
    if (!status)
        status = CVY_GIVEN_POINTER(pictures);
    if (status || !count)
        return status;
    const convoy_model *model = cvy_network_model(predictor->network);
    const cvy_image_spec image = cvy_model_image(model);
    const size_t classes = (size_t)convoy_model_classes(model);
    const size_t batch = (size_t)cvy_network_batch_size(predictor->network),
                 room = count < batch ? count : batch;
    float *outputs = malloc(room * classes * sizeof *outputs);
    double *p = malloc(room * classes * sizeof *p);
    status = outputs && p ? make_set(model, room, &set)
                          : cvy_fail_memory("the answers", room * classes * sizeof *p);
    for (size_t done = 0; done < count && !status; done += set->count) {
        set->count = count - done < room ? count - done : room;
        for (size_t i = 0; i < set->count && !status; i++)
            status = fit_picture(__func__, &image, done + i, pictures[done + i],
                                 set->images + i * cvy_dataset_image_bytes(set));
        if (!status)
            status = answer(predictor, set, done, outputs, p);
        if (!status && logits)
            memcpy(logits + done * classes, outputs, set->count * classes * sizeof *outputs);
        if (!status && probabilities)
            memcpy(probabilities + done * classes, p, set->count * classes * sizeof *p);
    }
    convoy_dataset_free(set);
    free(outputs);
    free(p);
    return status;
}

convoy_status convoy_model_prepare(const convoy_model *model, const convoy_picture *picture, float *input) {
    convoy_dataset *set = NULL;
    convoy_status status = CVY_GIVEN(model);
    if (!status)
        status = CVY_GIVEN_POINTER(picture);
    if (!status)
        status = CVY_GIVEN_POINTER(input);
    if (!status)
        status = make_set(model, 1, &set);
    if (!status) {
        const cvy_image_spec image = cvy_model_image(model);
        status = fit_picture(__func__, &image, 0, picture, set->images);
        const cvy_gather_shape shape = {
            .pitch = 1, .in_height = image.height, .in_width = image.width, .image = image};
        const uint32_t index = 0;
        int32_t label;
        if (!status)
            cvy_gather_reference(&shape, 1, set->images, set->labels, &index, input, &label);
    }
    convoy_dataset_free(set);
    return status;
}
