/* Confusion matrix, precision, recall, F1: against values worked out by hand (and equal to scikit-learn's).
 */
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

static void refuses_classes_that_do_not_exist(void **state) {
    (void)state;
    unsigned long long confusion[4] = {0};
    const int32_t good[] = {0, 1}, high[] = {1, 2}, low[] = {-1, 0};
    assert_fails(cvy_confusion_count(2, 2, good, high, confusion), CONVOY_INVALID, "image 1");
    assert_fails(cvy_confusion_count(2, 2, low, good, confusion), CONVOY_INVALID, "image 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_answers),
        cmocka_unit_test(follows_from_the_matrix),
        cmocka_unit_test(is_zero_where_undefined),
        cmocka_unit_test(refuses_classes_that_do_not_exist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
