/* host/layers/linear.c: torch.nn's shapes, tensors, costs and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shape_tensors_and_costs(void **state) {
    (void)state;
    cvy_layer_facts facts;
    test_layer_output("Linear", "{out_features: 7}", (cvy_dims){462, 1, 1}, (cvy_dims){7, 1, 1});
    assert_ok(
        test_layer_describe("Linear", "{in_features: 4, out_features: 3}", (cvy_dims){4, 1, 1}, &facts));
    test_layer_tensor(&facts, 0, "weight", 2, (const size_t[]){3, 4});
    test_layer_tensor(&facts, 1, "bias", 1, (const size_t[]){3});
    assert_ok(test_layer_describe("Linear", "{out_features: 5, bias: false}", (cvy_dims){7, 1, 1}, &facts));
    assert_int_equal(facts.multiply_adds, 35);
    assert_int_equal(facts.connections, 35);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("Linear", "{out_features: 4}", image, &facts), CONVOY_INVALID,
                 "put a Flatten before it");
    assert_fails(
        test_layer_describe("Linear", "{out_features: 4, in_features: 3}", (cvy_dims){4, 1, 1}, &facts),
        CONVOY_INVALID, "in_features is 3 but the input has 4");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Linear: {out_features: 4}", "Linear: {out_features: 3}", true);
    test_layer_slopes("Linear: {out_features: 4}", "Linear: {out_features: 3}", true);
    test_layer_runs("Linear: {out_features: 4}", "Linear: {out_features: 3, bias: false}", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_tensors_and_costs),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
