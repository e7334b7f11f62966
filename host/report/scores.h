/* How well a score tells one class from the rest, over all thresholds: ROC and precision-recall. */
#ifndef CVY_REPORT_SCORES_H
#define CVY_REPORT_SCORES_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

/* Points of a curve in the unit square, without those that no picture would show. */
typedef struct cvy_unit_curve {
    size_t points;
    const double *x, *y; /* [points] */
} cvy_unit_curve;

/* Over all different scores, from the highest down. */
typedef struct cvy_scores {
    cvy_unit_curve roc; /* share of the other images, and of the class's own, that are taken for the class */
    cvy_unit_curve recall;    /* share of the class's own, and precision; it begins with precision 1 */
    double auc;               /* area under ROC, ties halved; NaN without images of both kinds */
    double average_precision; /* the sum of precision over the steps of recall, as scikit-learn has it */
} cvy_scores;

/* `scores` [count] lie `pitch` apart; an image is of the class where truth [count] says so. CONVOY_MEMORY. */
convoy_status cvy_scores_find(cvy_arena *arena, const double *scores, size_t pitch, const int32_t *truth,
                              int32_t class_index, size_t count, cvy_scores *found);

#endif
