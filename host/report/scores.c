/* ROC and precision-recall from scores. */
#include "report/scores.h"

#include <math.h>
#include <stdlib.h>

#include "train/metrics.h"

/* All points: shares of the others and of the class's own, and precision. */
typedef struct rates {
    double *wrong, *right, *precision;
    size_t points;
} rates;

/* `sorted`: the lowest score first. */
static void walk(const cvy_score *sorted, size_t count, size_t positives, rates *r, cvy_scores *s) {
    const double others = (double)(count - positives), own = (double)positives;
    double right = 0, wrong = 0;
    s->average_precision = 0;
    r->wrong[0] = r->right[0] = 0;
    r->precision[0] = 1;
    r->points = 1;
    for (size_t i = count; i > 0; r->points++) {
        const double value = sorted[i - 1].value, right_before = right;
        for (; i > 0 && sorted[i - 1].value == value; i--)
            *(sorted[i - 1].positive ? &right : &wrong) += 1;
        r->wrong[r->points] = wrong / others;
        r->right[r->points] = right / own;
        r->precision[r->points] = right / (right + wrong);
        s->average_precision += (right - right_before) / own * r->precision[r->points];
    }
}

/* Without points that lie nearer to the one before than a dot of a picture; the last one stays. */
static cvy_unit_curve thin(cvy_arena *arena, const double *x, const double *y, size_t points) {
    static const double near = 1.0 / 250;
    double *kept = cvy_arena_alloc(arena, (2 * points + 1) * sizeof *kept), *kept_y = kept + points;
    size_t count = 0;
    for (size_t i = 0; i < points; i++)
        if (!count || i + 1 == points || hypot(x[i] - kept[count - 1], y[i] - kept_y[count - 1]) >= near) {
            kept[count] = x[i];
            kept_y[count++] = y[i];
        }
    return (cvy_unit_curve){count, kept, kept_y};
}

convoy_status cvy_scores_find(cvy_arena *arena, const double *scores, size_t pitch, const int32_t *truth,
                              int32_t class_index, size_t count, cvy_scores *found) {
    cvy_score *sorted = malloc((count + 1) * sizeof *sorted);
    double *values = malloc(3 * (count + 1) * sizeof *values);
    size_t positives = 0;
    *found = (cvy_scores){.auc = NAN, .average_precision = NAN};
    for (size_t i = 0; sorted && i < count; i++) {
        sorted[i] = (cvy_score){scores[i * pitch], truth[i] == class_index};
        positives += sorted[i].positive;
    }
    if (sorted && values && positives && positives < count) {
        rates r = {values, values + count + 1, values + 2 * (count + 1), 0};
        found->auc = cvy_roc_area(sorted, count);
        walk(sorted, count, positives, &r, found);
        found->roc = thin(arena, r.wrong, r.right, r.points);
        found->recall = thin(arena, r.right, r.precision, r.points);
    }
    convoy_status status =
        sorted && values ? CONVOY_OK : cvy_fail_memory("the scores", 4 * count * sizeof *values);
    free(sorted);
    free(values);
    return status;
}
