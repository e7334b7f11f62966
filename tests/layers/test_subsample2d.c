/* host/layers/subsample2d.c: LeNet-5's shapes, connections and messages; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shapes_and_connections(void **state) {
    (void)state;
    cvy_layer_facts facts;
    test_layer_output("Subsample2d", "{}", image, (cvy_dims){3, 5, 7});
    test_layer_output("Subsample2d", "{kernel_size: 3}", image, (cvy_dims){3, 3, 4});
    assert_ok(test_layer_describe("Subsample2d", "{}", (cvy_dims){6, 28, 28}, &facts));
    assert_int_equal(facts.connections, 5880);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("Subsample2d", "{kernel_size: 12}", image, &facts), CONVOY_INVALID,
                 "kernel_size 12 is larger");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Subsample2d", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "Subsample2d", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_and_connections),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
