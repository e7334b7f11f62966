/* Confusion matrix, precision, recall, F1 against values worked out by hand (and equal to scikit-learn's),
   and all that `eval` says of all classes together against scikit-learn's own (tools/record_metrics.py). */
#include <jansson.h>

#include "support/test.h"
#include "train/metrics.h"

static void counts_answers(void **state) {
    (void)state;
    const int32_t truth[] = {0, 0, 0, 1, 1, 2}, answers[] = {0, 0, 1, 1, 0, 1};
    unsigned long long confusion[9] = {0};
    assert_ok(cvy_confusion_count(3, 6, truth, answers, confusion));
    const unsigned long long expected[9] = {2, 1, 0, 1, 1, 0, 0, 1, 0};
    assert_memory_equal(confusion, expected, sizeof expected);
}

static void follows_from_the_matrix(void **state) {
    (void)state;
    const unsigned long long confusion[9] = {2, 1, 0, 1, 1, 0, 0, 1, 0};
    convoy_class_result r[3];
    cvy_class_results(3, confusion, r);
    assert_true(r[0].support == 3 && r[1].support == 2 && r[2].support == 1);
    assert_true(fabs(r[0].precision - 2.0 / 3) < 1e-15 && fabs(r[0].recall - 2.0 / 3) < 1e-15);
    assert_true(fabs(r[1].precision - 1.0 / 3) < 1e-15 && fabs(r[1].recall - 0.5) < 1e-15);
    assert_true(fabs(r[0].f1 - 2.0 / 3) < 1e-15 && fabs(r[1].f1 - 0.4) < 1e-15);
}

static void is_zero_where_undefined(void **state) {
    (void)state;
    /* Class 2 is never the answer, class 3 neither occurs nor is answered. */
    const unsigned long long confusion[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    convoy_class_result r[4];
    cvy_class_results(4, confusion, r);
    assert_true(r[2].precision == 0 && r[2].recall == 0 && r[2].f1 == 0 && r[2].support == 1);
    assert_true(r[3].precision == 0 && r[3].recall == 0 && r[3].f1 == 0 && r[3].support == 0);
}

/* More classes than are summed at a time: class c has c images, all of which are answered with the class
 * after it. */
static void many_classes(void **state) {
    (void)state;
    enum { CLASSES = 150 };
    unsigned long long *confusion = calloc(CLASSES * CLASSES, sizeof *confusion);
    convoy_class_result r[CLASSES];
    cvy_averages averages;
    for (int c = 0; c < CLASSES; c++) {
        confusion[c * CLASSES + (c + 1) % CLASSES] = (unsigned long long)c;
        confusion[c * CLASSES + c] = 3;
    }
    cvy_class_results(CLASSES, confusion, r);
    cvy_class_averages(CLASSES, confusion, &averages);
    double recalls = 0;
    for (int c = 0; c < CLASSES; c++) {
        assert_int_equal(r[c].support, c + 3);
        assert_true(fabs(r[c].recall - 3.0 / (c + 3)) < 1e-15);
        assert_true(fabs(r[c].precision - 3.0 / (3 + (c + CLASSES - 1) % CLASSES)) < 1e-15);
        recalls += r[c].recall;
    }
    assert_true(fabs(averages.macro_recall - recalls / CLASSES) < 1e-12);
    free(confusion);
}

static void refuses_classes_that_do_not_exist(void **state) {
    (void)state;
    unsigned long long confusion[4] = {0};
    const int32_t good[] = {0, 1}, high[] = {1, 2}, low[] = {-1, 0};
    assert_fails(cvy_confusion_count(2, 2, good, high, confusion), CONVOY_INVALID, "image 1");
    assert_fails(cvy_confusion_count(2, 2, low, good, confusion), CONVOY_INVALID, "image 0");
}

static double figure(json_t *given, const char *key) {
    return json_number_value(json_object_get(given, key));
}

static void check(json_t *given, const char *key, double found) {
    if (!(fabs(found - figure(given, key)) <= 1e-12))
        fail_msg("%s of %s is %.17g, scikit-learn's %.17g", key,
                 json_string_value(json_object_get(given, "name")), found, figure(given, key));
}

static void check_case(json_t *given) {
    json_t *labels = json_object_get(given, "truth"), *values = json_object_get(given, "outputs");
    json_t *expected = json_object_get(given, "areas");
    const size_t classes = (size_t)figure(given, "classes"), images = json_array_size(labels);
    int32_t truth[128], answers[128];
    float outputs[128 * 16];
    unsigned long long confusion[16 * 16] = {0};
    double areas[16];
    cvy_averages a;
    assert_true(images <= 128 && classes <= 16);
    for (size_t i = 0; i < images * classes; i++)
        outputs[i] = (float)json_number_value(json_array_get(values, i));
    for (size_t i = 0; i < images; i++) {
        truth[i] = (int32_t)json_integer_value(json_array_get(labels, i));
        answers[i] = 0;
        for (size_t c = 1; c < classes; c++)
            if (outputs[i * classes + c] > outputs[i * classes + (size_t)answers[i]])
                answers[i] = (int32_t)c;
    }
    assert_ok(cvy_confusion_count(classes, images, truth, answers, confusion));
    cvy_class_averages(classes, confusion, &a);
    check(given, "macro_precision", a.macro_precision);
    check(given, "macro_recall", a.macro_recall);
    check(given, "macro_f1", a.macro_f1);
    check(given, "weighted_precision", a.weighted_precision);
    check(given, "weighted_recall", a.weighted_recall);
    check(given, "weighted_f1", a.weighted_f1);
    check(given, "balanced_accuracy", a.balanced_accuracy);
    check(given, "top5_accuracy", cvy_top_k(classes, images, truth, outputs, 5));
    assert_ok(cvy_roc_auc(classes, images, truth, outputs, areas));
    for (size_t c = 0; c < classes; c++) {
        json_t *area = json_array_get(expected, c);
        if (json_is_null(area) ? !isnan(areas[c]) : !(fabs(areas[c] - json_number_value(area)) <= 1e-12))
            fail_msg("the area of class %zu is %.17g", c, areas[c]);
    }
}

static void each_figure_is_scikit_learns(void **state) {
    (void)state;
    json_t *all = json_load_file(CONVOY_SOURCE_DIR "/tests/train/metrics.json", 0, NULL), *given;
    size_t i;
    assert_non_null(all);
    json_array_foreach(all, i, given) {
        check_case(given);
    }
    assert_int_equal(i, 4);
    json_decref(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_answers),
        cmocka_unit_test(follows_from_the_matrix),
        cmocka_unit_test(is_zero_where_undefined),
        cmocka_unit_test(many_classes),
        cmocka_unit_test(refuses_classes_that_do_not_exist),
        cmocka_unit_test(each_figure_is_scikit_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
