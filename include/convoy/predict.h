/* Answers for pictures of any size, as a camera or a decoder gives them. What `convoy predict` does to the
   files that it reads is done to them: resized and cropped, grey or RGB, normalised, with the model's border.
 */
#ifndef CONVOY_PREDICT_H
#define CONVOY_PREDICT_H

#include <stddef.h>
#include <stdint.h>

#include "convoy/device.h"
#include "convoy/model.h"
#include "convoy/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of pixels from the top, channels side by side. */
typedef struct convoy_picture {
    size_t size;
    const uint8_t *pixels; /* [height][width][channels] */
    int channels;          /* 1: grey, 3: RGB; brought to the model's */
    int height, width;
    size_t row_bytes; /* from one row to the next; 0: width * channels */
} convoy_picture;

/* A model made ready to answer on a device. It holds a copy of the weights of that moment; the model and the
   device must outlive it. */
typedef struct convoy_predictor convoy_predictor;

/* For up to batch_size pictures at a time; 0: the recipe's. */
CONVOY_API convoy_status convoy_predictor_open(convoy_model *model, convoy_device *device, int batch_size,
                                               convoy_predictor **predictor);
CONVOY_API void convoy_predictor_close(convoy_predictor *predictor); /* NULL is allowed */

/* Answers for `count` pictures, any number, pictures[0..count-1] each for itself. logits [count][classes]:
   the network's outputs. probabilities [count][classes]: their softmax (of their negatives where the recipe's
   loss takes the smallest output for the answer); output c is convoy_model_class_name(model, c). Either may
   be NULL. CONVOY_INVALID: a picture that cannot be; CONVOY_FAILED: an output is NaN or infinite; the message
   tells which picture. */
CONVOY_API convoy_status convoy_predictor_run(convoy_predictor *predictor,
                                              const convoy_picture *const *pictures, size_t count,
                                              float *logits, double *probabilities);

/* A picture as a network's input, [channels][height][width] of convoy_model_input: for
   convoy_network_predict, and for whoever wants to see what the network sees. */
CONVOY_API convoy_status convoy_model_prepare(const convoy_model *model, const convoy_picture *picture,
                                              float *input);

#ifdef __cplusplus
}
#endif
#endif
