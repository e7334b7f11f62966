/* Outputs without labels: for sets, as files give them, and for pictures in memory (convoy/predict.h). */
#ifndef CVY_TRAIN_PREDICTOR_H
#define CVY_TRAIN_PREDICTOR_H

#include "convoy/predict.h"
#include "model/model.h"
#include "train/evaluator.h"

/* For sets of images of this size and, if `floats`, of floats. */
convoy_status cvy_predictor_open(convoy_model *model, convoy_device *device, const convoy_dataset *first,
                                 int batch_size, convoy_predictor **predictor);
/* outputs [images of the set][classes], before any softmax. */
convoy_status cvy_predictor_run(convoy_predictor *predictor, const convoy_dataset *set, float *outputs);

/* Softmax of the outputs, or of their negatives where the smallest output is the model's answer.
   CONVOY_FAILED where one is not finite; `what` was looked at. */
convoy_status cvy_probabilities(const convoy_model *model, const char *what, const float *outputs, double *p);

#endif
