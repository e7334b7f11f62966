/* host/layers/reshape.c: Flatten and Identity change no value. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shapes(void **state) {
    (void)state;
    test_layer_output("Flatten", "{}", image, (cvy_dims){462, 1, 1});
    test_layer_output("Identity", "{}", image, (cvy_dims){3, 11, 14});
}

static void take_no_parameters(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("Flatten", "{start_dim: 1}", image, &facts), CONVOY_INVALID,
                 "unknown `start_dim`");
    assert_fails(test_layer_describe("Identity", "{p: 1}", image, &facts), CONVOY_INVALID, "unknown `p`");
}

static void nothing_runs(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("Flatten", "{}", image, &facts));
    assert_true(facts.alias && facts.tensor_count == 0);
    assert_ok(test_layer_describe("Identity", "{}", image, &facts));
    assert_true(facts.alias && facts.tensor_count == 0);
}

static void compute(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Flatten", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Identity", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "Identity", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(take_no_parameters),
        cmocka_unit_test(nothing_runs),
        cmocka_unit_test(compute),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
