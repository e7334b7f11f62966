/* Figures of a classifier from its answers: the confusion matrix and what follows from it. */
#ifndef CVY_TRAIN_METRICS_H
#define CVY_TRAIN_METRICS_H

#include <stdbool.h>
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

/* Of all classes together, as scikit-learn's `average` says (zero_division=0) and balanced_accuracy_score. */
typedef struct cvy_averages {
    double macro_precision, macro_recall, macro_f1, weighted_precision, weighted_recall, weighted_f1;
    double balanced_accuracy;
} cvy_averages;
void cvy_class_averages(size_t classes, const unsigned long long *confusion, cvy_averages *averages);

/* Of outputs [count][classes], of which the largest is the answer. The part whose right class is among the k
   largest; of equal ones that of a higher class counts first, as in scikit-learn's top_k_accuracy_score. */
double cvy_top_k(size_t classes, size_t count, const int32_t *truth, const float *outputs, size_t k);
/* What an image scored for a class, and whether it is of it. */
typedef struct cvy_score {
    double value;
    bool positive;
} cvy_score;
/* The area under the ROC curve, ties halved; NaN without scores of both kinds. Leaves them sorted, the lowest
   first. */
double cvy_roc_area(cvy_score *scores, size_t count);
/* For each class scikit-learn's roc_auc_score of its softmax probability against all others; NaN where that
   is undefined. CONVOY_MEMORY. */
convoy_status cvy_roc_auc(size_t classes, size_t count, const int32_t *truth, const float *outputs,
                          double *areas);

#endif
