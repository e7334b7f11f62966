/* Areas under curves beside what they mean, and text that a page may have. */
#include "support/test.h"

#include "report/html.h"
#include "report/run.h"
#include "report/scores.h"

static cvy_arena *arena;

static int set_up(void **state) {
    (void)state;
    arena = cvy_arena_create();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cvy_arena_free(arena);
    return 0;
}

enum { IMAGES = 300 };

/* The area is the chance that an image of the class has a larger score than another one; ties count half. */
static double chance(const double *scores, const int32_t *truth) {
    double won = 0, pairs = 0;
    for (int i = 0; i < IMAGES; i++)
        for (int k = 0; k < IMAGES; k++)
            if (truth[i] == 1 && truth[k] != 1) {
                won += scores[2 * i] > scores[2 * k] ? 1 : scores[2 * i] == scores[2 * k] ? 0.5 : 0;
                pairs++;
            }
    return won / pairs;
}

/* Precision at the threshold of each image of the class, on average. */
static double mean_precision(const double *scores, const int32_t *truth) {
    double sum = 0, own = 0;
    for (int i = 0; i < IMAGES; i++) {
        double right = 0, all = 0;
        for (int k = 0; k < IMAGES; k++)
            if (scores[2 * k] >= scores[2 * i]) {
                all++;
                right += truth[k] == 1;
            }
        if (truth[i] == 1) {
            sum += right / all;
            own++;
        }
    }
    return sum / own;
}

static void areas_are_what_they_mean(void **state) {
    (void)state;
    double scores[2 * IMAGES];
    int32_t truth[IMAGES];
    for (uint32_t seed = 0; seed < 8; seed++) {
        const double levels = seed < 4 ? 7 : 1e6; /* with many ties, and with hardly any */
        float *random = test_random(2 * IMAGES, seed);
        cvy_scores found;
        for (int i = 0; i < IMAGES; i++) {
            truth[i] = random[2 * i] > 0.3f ? 1 : random[2 * i] > -0.2f ? 0 : 2;
            scores[2 * i] = floor(levels * ((double)random[2 * i + 1] + 0.4 * (truth[i] == 1))) / levels;
            scores[2 * i + 1] = NAN; /* of another class */
        }
        assert_ok(cvy_scores_find(arena, scores, 2, truth, 1, IMAGES, &found));
        assert_true(fabs(found.auc - chance(scores, truth)) < 1e-12);
        assert_true(fabs(found.average_precision - mean_precision(scores, truth)) < 1e-12);
        const cvy_unit_curve *roc = &found.roc, *recall = &found.recall;
        assert_true(roc->x[0] == 0 && roc->y[0] == 0 && recall->x[0] == 0 && recall->y[0] == 1);
        assert_true(roc->x[roc->points - 1] == 1 && roc->y[roc->points - 1] == 1);
        assert_true(recall->x[recall->points - 1] == 1);
        for (size_t i = 1; i < roc->points; i++)
            assert_true(roc->x[i] >= roc->x[i - 1] && roc->y[i] >= roc->y[i - 1]);
        free(random);
    }
}

static void one_kind_has_no_area(void **state) {
    (void)state;
    const double scores[] = {0.1, 0.2};
    const int32_t truth[] = {1, 1};
    cvy_scores found;
    for (int c = 0; c < 2; c++) {
        assert_ok(cvy_scores_find(arena, scores, 1, truth, c, 2, &found));
        assert_true(isnan(found.auc) && isnan(found.average_precision));
        assert_int_equal(found.roc.points, 0);
    }
    assert_ok(cvy_scores_find(arena, scores, 1, truth, 0, 0, &found));
    assert_true(isnan(found.auc));
}

static void the_most_confident_mistakes_come_first(void **state) {
    (void)state;
    enum { COUNT = 40 };
    double p[2 * COUNT];
    int32_t truth[COUNT], given[COUNT];
    size_t wrong[COUNT], all = 0;
    float *random = test_random(COUNT, 3);
    for (int i = 0; i < COUNT; i++) {
        p[2 * i] = 0.5 + 0.5 * (double)random[i];
        p[2 * i + 1] = 1 - p[2 * i];
        given[i] = p[2 * i + 1] > p[2 * i];
        truth[i] = i % 3 ? given[i] : 1 - given[i];
        all += truth[i] != given[i];
    }
    const cvy_answers a = {.images = COUNT, .classes = 2, .probabilities = p, .truth = truth, .given = given};
    for (size_t most = 1; most <= COUNT; most += 13) {
        const size_t count = cvy_answers_wrong(&a, most, wrong);
        assert_int_equal(count, most < all ? most : all);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(wrong[i] % 3, 0);
            size_t before = 0; /* mistakes with more confidence */
            for (int k = 0; k < COUNT; k++)
                before += truth[k] != given[k] && fabs(p[2 * k] - 0.5) > fabs(p[2 * wrong[i]] - 0.5);
            assert_int_equal(before, i);
        }
    }
    free(random);
}

static void text_is_escaped(void **state) {
    (void)state;
    cvy_text page = {0};
    cvy_html_add(&page, "<a href=\"x\" onclick='y'>&amp;\x01\xff\n\xc3\xa4", false);
    assert_string_equal(cvy_text_get(&page),
                        "&#60;a href=&#34;x&#34; onclick=&#39;y&#39;&#62;&#38;amp;\\x01\\xFF\\x0A\xc3\xa4");
    cvy_text_free(&page);
    cvy_html_add(&page, "a\n\tb\r", true);
    assert_string_equal(cvy_text_get(&page), "a\n\tb\\x0D");
    cvy_text_free(&page);
}

static void data_are_base64(void **state) {
    (void)state;
    static const char *const expected[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                           "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"}; /* RFC 4648 */
    for (size_t length = 0; length <= 6; length++) {
        cvy_text page = {0};
        cvy_html_add_data(&page, "a/b", "foobar", length);
        assert_memory_equal(cvy_text_get(&page), "data:a/b;base64,", 16);
        assert_string_equal(cvy_text_get(&page) + 16, expected[length]);
        cvy_text_free(&page);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(areas_are_what_they_mean),
        cmocka_unit_test(one_kind_has_no_area),
        cmocka_unit_test(the_most_confident_mistakes_come_first),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(data_are_base64),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
