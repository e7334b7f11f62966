/* Figures of a classifier from its answers: the confusion matrix and what follows from it. */
#ifndef CVY_TRAIN_METRICS_H
#define CVY_TRAIN_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "convoy/train.h"

/* Counts (truth, answer) pairs into confusion [classes][classes]: rows true classes, columns answers.
   CONVOY_INVALID for a class outside 0..classes-1. */
convoy_status cvy_confusion_count(size_t classes, size_t count, const int32_t *truth, const int32_t *answers,
                                  unsigned long long *confusion);

/* Per class, as scikit-learn's precision_recall_fscore_support with zero_division=0: precision = right
   answers "c" / answers "c"; recall = right answers "c" / images of c; f1 = their harmonic mean; support =
   images of c. Names are left alone. */
void cvy_class_results(size_t classes, const unsigned long long *confusion, convoy_class_result *results);

#endif
