/* host/layers/local_response_norm.c: the shape stays; forward and backward. */
#include "support/layer.h"

static const cvy_dims image = {6, 4, 5};

static void shape_stays(void **state) {
    (void)state;
    test_layer_output("LocalResponseNorm", "{size: 5}", image, image);
}

static void refuses(void **state) {
    (void)state;
    cvy_layer_facts facts;
    assert_fails(test_layer_describe("LocalResponseNorm", "{}", image, &facts), CONVOY_INVALID,
                 "`size` is missing");
    assert_fails(test_layer_describe("LocalResponseNorm", "{size: 3, k: 0}", image, &facts), CONVOY_INVALID,
                 "`k` must be");
}

static void computes(void **state) {
    (void)state;
    static const char front[] = "Conv2d: {out_channels: 6, kernel_size: 1}",
                      layer[] = "LocalResponseNorm: {size: 4, alpha: 0.9}";
    test_layer_runs(front, layer, false);
    test_layer_slopes(front, layer, false);
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
