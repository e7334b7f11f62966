/* host/layers/prelu.c: one slope or one for each channel. */
#include "support/layer.h"

static const cvy_dims image = {6, 4, 5};
static const char front[] = "Conv2d: {out_channels: 6, kernel_size: 1}";

static void describes(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("PReLU", "{}", image, &facts));
    test_layer_tensor(&facts, 0, "weight", 1, (const size_t[]){1});
    assert_true(facts.tensors[0].values[0] == 0.25f);
    assert_ok(test_layer_describe("PReLU", "{num_parameters: 6, init: 0.5}", image, &facts));
    test_layer_tensor(&facts, 0, "weight", 1, (const size_t[]){6});
    assert_true(facts.tensors[0].values[5] == 0.5f);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("PReLU", "{num_parameters: 5}", image, &facts), CONVOY_INVALID,
                 "num_parameters is 5 but the input has 6 channels");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs(front, "PReLU: {init: -0.7}", false);
    test_layer_runs(front, "PReLU: {num_parameters: 6}", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(computes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close();
    return failed;
}
