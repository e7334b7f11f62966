/* host/layers/euclidean_rbf.c: distances to bitmaps that stay apart. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shape_and_tensor(void **state) {
    (void)state;
    cvy_layer_facts facts;
    test_layer_output("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, (cvy_dims){10, 1, 1});
    assert_ok(test_layer_describe("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, &facts));
    test_layer_tensor(&facts, 0, "weight", 2, (const size_t[]){10, 84});
    assert_int_equal(facts.tensors[0].role, CVY_FIXED);
}

static void bitmaps_differ(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("EuclideanRBF", "{}", (cvy_dims){84, 1, 1}, &facts));
    const float *bitmaps = facts.tensors[0].values;
    for (size_t i = 0; i < 10; i++) {
        size_t ink = 0;
        for (size_t j = 0; j < 84; j++) {
            assert_true(fabsf(bitmaps[i * 84 + j]) == 1);
            ink += bitmaps[i * 84 + j] > 0;
        }
        assert_true(ink >= 15 && ink <= 50);
        for (size_t k = 0; k < i; k++) {
            size_t different = 0;
            for (size_t j = 0; j < 84; j++)
                different += bitmaps[i * 84 + j] != bitmaps[k * 84 + j];
            assert_true(different >= 4);
        }
    }
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("EuclideanRBF", "{}", image, &facts), CONVOY_INVALID,
                 "put a Flatten before it");
    assert_fails(test_layer_describe("EuclideanRBF", "{}", (cvy_dims){85, 1, 1}, &facts), CONVOY_INVALID,
                 "84 pixels");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Linear: {out_features: 84}", "EuclideanRBF", true);
    test_layer_slopes("Linear: {out_features: 84}", "EuclideanRBF", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_and_tensor),
        cmocka_unit_test(bitmaps_differ),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
