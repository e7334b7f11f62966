/* host/layers/softmax.c: over a vector; forward and backward. */
#include "support/layer.h"

static void shape_stays(void **state) {
    (void)state;
    test_layer_output("Softmax", "{dim: 1}", (cvy_dims){4, 1, 1}, (cvy_dims){4, 1, 1});
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("Softmax", "{}", (cvy_dims){3, 11, 14}, &facts), CONVOY_INVALID,
                 "put a Flatten before it");
    assert_fails(test_layer_describe("Softmax", "{dim: 2}", (cvy_dims){4, 1, 1}, &facts), CONVOY_INVALID,
                 "`dim` must be");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Linear: {out_features: 4}", "Softmax", true);
    test_layer_slopes("Linear: {out_features: 4}", "Softmax", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_stays),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
