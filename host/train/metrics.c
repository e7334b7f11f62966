/* Confusion matrix, precision, recall and F1. */
#include "train/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/status.h"

convoy_status cvy_confusion_count(size_t classes, size_t count, const int32_t *truth, const int32_t *answers,
                                  unsigned long long *confusion) {
    for (size_t i = 0; i < count; i++) {
        if (truth[i] < 0 || (size_t)truth[i] >= classes || answers[i] < 0 || (size_t)answers[i] >= classes)
            return cvy_fail(CONVOY_INVALID, "image %zu: class %d answered as %d, but there are %zu classes",
                            i, (int)truth[i], (int)answers[i], classes);
        confusion[(size_t)truth[i] * classes + (size_t)answers[i]]++;
    }
    return CONVOY_OK;
}

static double ratio(unsigned long long part, unsigned long long whole) {
    return whole ? (double)part / (double)whole : 0;
}

/* Sums of a few rows and columns at a time: a column of ten thousand classes alone would read a page for
 * each. */
enum { BLOCK = 64 };

typedef struct sums {
    size_t count;
    unsigned long long images[BLOCK], answers[BLOCK];
} sums;

static sums sum_classes(size_t classes, const unsigned long long *confusion, size_t first) {
    sums s = {.count = classes - first < BLOCK ? classes - first : BLOCK};
    for (size_t i = 0; i < s.count; i++)
        for (size_t other = 0; other < classes; other++)
            s.images[i] += confusion[(first + i) * classes + other];
    for (size_t other = 0; other < classes; other++)
        for (size_t i = 0; i < s.count; i++)
            s.answers[i] += confusion[other * classes + first + i];
    return s;
}

/* Of class after class, from the first on: `s` goes along. */
static convoy_class_result result_of(size_t classes, const unsigned long long *confusion, size_t c, sums *s) {
    if (c % BLOCK == 0)
        *s = sum_classes(classes, confusion, c);
    const unsigned long long right = confusion[c * classes + c], images = s->images[c % BLOCK],
                             answers = s->answers[c % BLOCK];
    return (convoy_class_result){.precision = ratio(right, answers),
                                 .recall = ratio(right, images),
                                 .f1 = ratio(2 * right, images + answers),
                                 .support = images};
}

void cvy_class_results(size_t classes, const unsigned long long *confusion, convoy_class_result *results) {
    sums s = {0};
    for (size_t c = 0; c < classes; c++)
        results[c] = result_of(classes, confusion, c, &s);
}

void cvy_class_averages(size_t classes, const unsigned long long *confusion, cvy_averages *averages) {
    double present = 0, supported = 0, images = 0;
    cvy_averages a = {0};
    sums s = {0};
    for (size_t c = 0; c < classes; c++) {
        const convoy_class_result r = result_of(classes, confusion, c, &s);
        const double weight = (double)r.support;
        present += r.support || s.answers[c % BLOCK];
        supported += r.support > 0;
        images += weight;
        a.macro_precision += r.precision;
        a.macro_recall += r.recall;
        a.macro_f1 += r.f1;
        a.weighted_precision += weight * r.precision;
        a.weighted_recall += weight * r.recall;
        a.weighted_f1 += weight * r.f1;
    }
    a.balanced_accuracy = supported > 0 ? a.macro_recall / supported : 0;
    double *const macro[] = {&a.macro_precision, &a.macro_recall, &a.macro_f1}, *const weighted[] = {
                                                                                    &a.weighted_precision,
                                                                                    &a.weighted_recall,
                                                                                    &a.weighted_f1};
    for (size_t i = 0; i < 3; i++) {
        *macro[i] = present > 0 ? *macro[i] / present : 0;
        *weighted[i] = images > 0 ? *weighted[i] / images : 0;
    }
    *averages = a;
}

double cvy_top_k(size_t classes, size_t count, const int32_t *truth, const float *outputs, size_t k) {
    size_t hits = 0;
    for (size_t i = 0; i < count; i++) {
        const float *row = outputs + i * classes, own = row[truth[i]];
        size_t above = 0;
        for (size_t c = 0; c < classes; c++)
            above += row[c] > own || (row[c] == own && c > (size_t)truth[i]);
        hits += above < k;
    }
    return count ? (double)hits / (double)count : 0;
}

/* ---- ROC-AUC ---- */

static int by_value(const void *a, const void *b) {
    const double x = ((const cvy_score *)a)->value, y = ((const cvy_score *)b)->value;
    return (x > y) - (x < y);
}

/* The chance that a positive stands above a negative, equal ones counting half: Mann and Whitney's U, which
   is the area under the curve. */
double cvy_roc_area(cvy_score *scores, size_t count) {
    double positives = 0, ranks = 0;
    qsort(scores, count, sizeof *scores, by_value);
    for (size_t first = 0, end; first < count; first = end) {
        double here = 0;
        for (end = first; end < count && scores[end].value == scores[first].value; end++)
            here += scores[end].positive;
        ranks += here * ((double)(first + end + 1) / 2);
        positives += here;
    }
    const double negatives = (double)count - positives;
    return positives > 0 && negatives > 0
               ? (ranks - positives * (positives + 1) / 2) / (positives * negatives)
               : NAN;
}

/* Of one image: softmax is exp(output - largest) / sum. */
typedef struct softmax {
    double largest, sum;
} softmax;

static softmax softmax_of(const float *row, size_t classes) {
    softmax s = {row[0], 0};
    for (size_t c = 1; c < classes; c++)
        s.largest = fmax(s.largest, row[c]);
    for (size_t c = 0; c < classes; c++)
        s.sum += exp(row[c] - s.largest);
    return s;
}

convoy_status cvy_roc_auc(size_t classes, size_t count, const int32_t *truth, const float *outputs,
                          double *areas) {
    cvy_score *scores = malloc((count + 1) * sizeof *scores);
    softmax *images = malloc((count + 1) * sizeof *images);
    convoy_status status = CONVOY_OK;
    if (!scores || !images)
        status = cvy_fail_memory("the answers", count * (sizeof *scores + sizeof *images));
    for (size_t i = 0; i < count && !status; i++)
        images[i] = softmax_of(outputs + i * classes, classes);
    for (size_t c = 0; c < classes && !status; c++) {
        for (size_t i = 0; i < count; i++) {
            const double chance = exp(outputs[i * classes + c] - images[i].largest) / images[i].sum;
            scores[i] = (cvy_score){chance, (size_t)truth[i] == c};
        }
        areas[c] = cvy_roc_area(scores, count);
    }
    free(scores);
    free(images);
    return status;
}
