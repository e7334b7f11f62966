/* host/layers/activation.c: shapes stay, no parameters, forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {3, 11, 14};

static void shapes_stay(void **state) {
    (void)state;
    test_layer_output("ReLU", "{}", image, (cvy_dims){3, 11, 14});
    test_layer_output("Sigmoid", "{}", image, (cvy_dims){3, 11, 14});
    test_layer_output("Tanh", "{}", image, (cvy_dims){3, 11, 14});
    test_layer_output("ScaledTanh", "{}", image, (cvy_dims){3, 11, 14});
}

static void takes_no_parameters(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("ReLU", "{p: 1}", image, &facts), CONVOY_INVALID, "unknown `p`");
    assert_fails(test_layer_describe("Sigmoid", "{p: 1}", image, &facts), CONVOY_INVALID, "unknown `p`");
    assert_fails(test_layer_describe("Tanh", "{p: 1}", image, &facts), CONVOY_INVALID, "unknown `p`");
    assert_fails(test_layer_describe("ScaledTanh", "{p: 1}", image, &facts), CONVOY_INVALID, "unknown `p`");
}

static void takes_parameters(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("ReLU", "{inplace: true}", image, &facts));
    assert_ok(test_layer_describe("GELU", "{}", image, &facts));
    assert_int_equal(facts.activation, CVY_GELU);
    assert_ok(test_layer_describe("GELU", "{approximate: tanh}", image, &facts));
    assert_int_equal(facts.activation, CVY_GELU_TANH);
    assert_ok(test_layer_describe("LeakyReLU", "{negative_slope: 0.2, inplace: true}", image, &facts));
    assert_fails(test_layer_describe("ELU", "{beta: 1}", image, &facts), CONVOY_INVALID, "unknown `beta`");
    assert_fails(test_layer_describe("Softplus", "{beta: 0}", image, &facts), CONVOY_INVALID,
                 "`beta` must be");
}

static void computes_further(void **state) {
    (void)state;
    static const char front[] = "Conv2d: {out_channels: 3, kernel_size: 1}";
    test_layer_runs(front, "ReLU6", false);
    test_layer_runs(front, "SiLU", false);
    test_layer_slopes(front, "SiLU", false);
    test_layer_slopes(front, "GELU: {approximate: tanh}", false);
    test_layer_slopes(front, "ELU", false);
    test_layer_runs(front, "LeakyReLU: {negative_slope: 0.3}", false);
}

static void computes(void **state) {
    (void)state;
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "ReLU", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Sigmoid", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "Sigmoid", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "Tanh", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "Tanh", false);
    test_layer_runs("Conv2d: {out_channels: 3, kernel_size: 1}", "ScaledTanh", false);
    test_layer_slopes("Conv2d: {out_channels: 3, kernel_size: 1}", "ScaledTanh", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_stay),      cmocka_unit_test(takes_no_parameters), cmocka_unit_test(computes),
        cmocka_unit_test(takes_parameters), cmocka_unit_test(computes_further),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
