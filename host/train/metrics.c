/* Confusion matrix, precision, recall and F1. */
#include "train/metrics.h"

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

void cvy_class_results(size_t classes, const unsigned long long *confusion, convoy_class_result *results) {
    for (size_t c = 0; c < classes; c++) {
        unsigned long long right = confusion[c * classes + c], images = 0, answers = 0;
        for (size_t other = 0; other < classes; other++) {
            images += confusion[c * classes + other];
            answers += confusion[other * classes + c];
        }
        results[c].precision = ratio(right, answers);
        results[c].recall = ratio(right, images);
        results[c].f1 = ratio(2 * right, images + answers);
        results[c].support = images;
    }
}
