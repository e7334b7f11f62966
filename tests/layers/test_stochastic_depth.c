/* host/layers/stochastic_depth.c: the shape stays; forward and backward with one draw for each image. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shape_stays(void **state) {
    (void)state;
    test_layer_output("StochasticDepth", "{p: 0.2}", image, (cvy_dims){3, 11, 14});
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("StochasticDepth", "{}", image, &facts), CONVOY_INVALID,
                 "`p` is missing");
    assert_fails(test_layer_describe("StochasticDepth", "{p: 0.1, mode: column}", image, &facts),
                 CONVOY_INVALID, "`mode` must be");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "StochasticDepth: {p: 0.4}", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "StochasticDepth: {p: 0.4}", false);
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
