/* host/layers/layer_scale.c: a factor for each channel, and whose it is. */
#include "support/layer.h"

static const cvy_dims image = {6, 4, 5};
static const char front[] = "Conv2d: {out_channels: 6, kernel_size: 1}";

static void describes(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_ok(test_layer_describe("LayerScale", "{init: 0.5}", image, &facts));
    test_layer_tensor(&facts, 0, "layer_scale", 3, (const size_t[]){6, 1, 1});
    assert_true(facts.tensors[0].values[5] == 0.5f);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("LayerScale", "{init: a}", image, &facts), CONVOY_INVALID,
                 "`init` must be");
}

static void computes(void **state) {
    (void)state;
    test_layer_runs(front, "LayerScale: {init: 0.7}", false);
    test_layer_slopes(front, "LayerScale: {init: 0.7}", false);
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
